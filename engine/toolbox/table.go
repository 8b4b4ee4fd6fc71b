package toolbox

import "maps"

// tools is the table of all names. It is made on demand: a plumb that runs no tool
// does not pay for it.
func tools() map[string]tool {
	all := map[string]tool{
		"sh": shTool(), "awk": awkTool(), "jq": jqTool(), "sed": sedTool(), "grep": grepTool(),
		"sort": sortTool(), "tr": trTool(), "cut": cutTool(), "join": joinTool(), "date": dateTool(), "find": findTool(), "tar": tarTool(),
		"echo":   builtinTool("[-neE] [text]…", "escapes without -e"),
		"printf": printfTool(),
		"test":   builtinTool("expression", ""),
		"[":      builtinTool("expression ]", ""),
		"pwd":    builtinTool("[-LP]", ""),
	}
	for _, more := range []map[string]tool{textTools(), fileTools(), valueTools(), byteTools(), listTools(), runTools(), gzipTools()} {
		maps.Copy(all, more)
	}
	return all
}
