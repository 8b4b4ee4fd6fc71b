package hcl

import (
	"maps"
	"strings"

	hashi "github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// An image of Debian packages takes a line for each of hundreds of packages, and
// the lock is read before every plan. The parser of HCL takes 75 milliseconds for
// the 600 lines that a few comparisons read in one (BenchmarkDecodeLock600). So a
// line that stands exactly as Encode writes it is read here, and the parser is given
// what is left. A line that differs, be it by a space, is left to the parser, which
// reads or reports it like any other: what is read does not depend on who reads it,
// which FuzzLock holds.
//
// Whether such a line is one of its own, and not part of a comment or of another
// block, shows when the pieces before and behind it are parsed: a piece that begins
// or ends inside of something is not whole, and then all is parsed in one.

// parseLock parses a lock but for the packages that scanPackages knows.
func (ev *evaluation) parseLock(data []byte) (*hclsyntax.Body, []packageLine) {
	lines, rest := scanPackages(string(data))
	if len(lines) > 0 {
		if body := joined(parseChunks(File{LockFile, data}, rest)); body != nil {
			return body, lines
		}
	}
	return ev.parseWhole(data)
}

// parseWhole is parseLock without the scanner.
func (ev *evaluation) parseWhole(data []byte) (*hclsyntax.Body, []packageLine) {
	body, diags := parseBody(File{LockFile, data})
	for _, d := range untilOpenString(diags) {
		ev.reportSyntax(d)
	}
	return body, nil
}

// joined makes one body of several, nil when they are not parts of one.
func joined(bodies []*hclsyntax.Body) *hclsyntax.Body {
	if bodies == nil {
		return nil
	}
	all := &hclsyntax.Body{Attributes: hclsyntax.Attributes{}}
	for _, b := range bodies {
		for name := range b.Attributes {
			if all.Attributes[name] != nil {
				return nil
			}
		}
		maps.Copy(all.Attributes, b.Attributes)
		all.Blocks = append(all.Blocks, b.Blocks...)
	}
	return all
}

// scanPackages reads the package lines that are as Encode writes them. The rest is
// what stands between them.
func scanPackages(text string) (lines []packageLine, rest []chunk) {
	lines = make([]packageLine, 0, strings.Count(text, "\npackage "))
	piece := startPos // where what is left begins
	platform := ""    // the last good one: most lines have the same
	for at, n := 0, 1; at < len(text); n++ {
		length := strings.IndexByte(text[at:], '\n')
		if length < 0 {
			break
		}
		next := at + length + 1
		if line, ok := scanPackage(text[at : next-1]); ok && (line.platform == platform || IsPlatform(line.platform)) {
			platform = line.platform
			if piece.Byte < at {
				rest = append(rest, chunk{piece, at})
			}
			piece = hashi.Pos{Line: n + 1, Column: 1, Byte: next}
			line.at.File = LockFile
			line.at.Start = Pos{n, 1, at}
			line.at.End = Pos{n, line.at.End.Column, at + line.at.End.Column - 1}
			lines = append(lines, line)
		}
		at = next
	}
	if piece.Byte < len(text) {
		rest = append(rest, chunk{piece, len(text)})
	}
	return lines, rest
}

// scanPackage reads one line. Of the range it sets the column where the head ends.
func scanPackage(text string) (packageLine, bool) {
	c := cutter{rest: text, ok: true}
	var line packageLine
	line.image = c.value("package ", "")
	line.platform = c.value(" ", "")
	p := &line.pin
	p.Name = c.value(" ", "")
	line.at.End.Column = len(text) - len(c.rest) + 1
	p.Version = c.value(" { deb = { version = ", "version")
	p.Architecture = c.value(", architecture = ", "architecture")
	p.Suite = c.value(", suite = ", "suite")
	p.Path = c.value(", path = ", "path")
	p.Size = c.number(", size = ")
	p.SHA256 = c.value(", sha256 = ", "sha256")
	p.Layer = c.value(", layer = ", "layer")
	c.skip(" } }")
	return line, c.ok && c.rest == "" && isLockedName(p.Name) && isBelow(p.Path)
}

// cutter takes a line apart from the left, as long as it is as expected.
type cutter struct {
	rest string
	ok   bool
}

func (c *cutter) skip(text string) {
	if c.ok {
		c.rest, c.ok = strings.CutPrefix(c.rest, text)
	}
}

// value takes a quoted value of some form; "" is any.
func (c *cutter) value(before, form string) string {
	c.skip(before)
	c.skip(`"`)
	if !c.ok {
		return ""
	}
	value, rest, ok := strings.Cut(c.rest, `"`)
	c.rest, c.ok = rest, ok && isPlain(value) && (form == "" || wellFormed(form, value))
	return value
}

// number takes a whole number that is written as plumb does.
func (c *cutter) number(before string) int64 {
	c.skip(before)
	var n int64
	digits := 0
	for c.ok && digits < len(c.rest) && c.rest[digits] >= '0' && c.rest[digits] <= '9' {
		n = 10*n + int64(c.rest[digits]-'0')
		digits++
	}
	c.ok = c.ok && digits > 0 && digits <= 18 && (c.rest[0] != '0' || digits == 1)
	if c.ok {
		c.rest = c.rest[digits:]
	}
	return n
}

// isPlain tells a text that stands in quotes as it is: no character of it means
// something else there.
func isPlain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '$' || c == '%' {
			return false
		}
	}
	return true
}
