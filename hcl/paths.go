package hcl

import (
	"path"
	"strings"
)

// pathProblem says why a path cannot be used, as summary and detail.
type pathProblem struct{ summary, detail, hint string }

// cleanPath checks a path that must lie inside the project or the workspace and
// returns it clean; dir is set for a trailing slash.
func cleanPath(raw string) (clean string, dir bool, problem *pathProblem) {
	switch {
	case raw == "":
		return "", false, &pathProblem{"Empty path", "A path must name a file or a directory.", ""}
	case strings.ContainsAny(raw, "\x00\n\r"):
		return "", false, &pathProblem{"Bad path", "A path cannot contain line breaks or NUL characters.", ""}
	case strings.Contains(raw, `\`):
		return "", false, &pathProblem{"Bad path", "Paths are written with forward slashes on all systems.",
			"write " + quoted(strings.ReplaceAll(raw, `\`, "/"))}
	case path.IsAbs(raw):
		return "", false, &pathProblem{"Absolute path",
			"The path " + quoted(raw) + " is absolute. Paths are relative to the directory of the pipeline, so that the pipeline works on every machine.",
			"write it relative to the project, without the leading slash"}
	case raw == "~" || strings.HasPrefix(raw, "~/"):
		return "", false, &pathProblem{"Absolute path",
			"The path " + quoted(raw) + " starts in a home directory. Paths are relative to the directory of the pipeline.", ""}
	}
	for part := range strings.SplitSeq(raw, "/") {
		if part == ".." {
			return "", false, &pathProblem{"Path leaves the project",
				"The path " + quoted(raw) + " contains \"..\". A path must stay below the directory of the pipeline.",
				"copy or move the file into the project"}
		}
	}
	clean = path.Clean(raw)
	if clean == "." {
		return "", false, &pathProblem{"Path is the whole project",
			"A path must name something inside of the project, not the project itself.",
			"list the files and directories that are needed"}
	}
	return clean, strings.HasSuffix(raw, "/"), nil
}

// isGlob reports whether a path is a pattern rather than a name.
func isGlob(p string) bool { return strings.ContainsAny(p, "*?[{") }

// globBase is the part of a pattern before the first component with a wildcard,
// "" when that is the first one.
func globBase(pattern string) string {
	parts := strings.Split(pattern, "/")
	for i, part := range parts {
		if isGlob(part) {
			return strings.Join(parts[:i], "/")
		}
	}
	return pattern
}

// within reports whether p is root or below it.
func within(p, root string) bool {
	return p == root || len(p) > len(root) && p[len(root)] == '/' && strings.HasPrefix(p, root)
}

// overlaps reports whether two paths are equal or one is inside the other.
func overlaps(a, b string) bool { return within(a, b) || within(b, a) }

// pathIndex finds, among many paths, those that equal, contain or lie inside a
// given one, in time proportional to the depth of the path. Values are indices
// into whatever the caller keeps.
type pathIndex struct {
	exact  map[string]int
	inside map[string]int // every proper ancestor of an entry → that entry
}

func newPathIndex(size int) *pathIndex {
	return &pathIndex{exact: make(map[string]int, size), inside: make(map[string]int, size)}
}

// add enters a path; the first entry at a path stays.
func (x *pathIndex) add(p string, owner int) {
	if _, ok := x.exact[p]; ok {
		return
	}
	x.exact[p] = owner
	for a := parent(p); a != ""; a = parent(a) {
		if _, ok := x.inside[a]; ok {
			return // its ancestors were entered then
		}
		x.inside[a] = owner
	}
}

// container returns the entry that equals p or is an ancestor of it.
func (x *pathIndex) container(p string) (int, bool) {
	for a := p; a != ""; a = parent(a) {
		if owner, ok := x.exact[a]; ok {
			return owner, true
		}
	}
	return 0, false
}

// overlap returns an entry that equals, contains or lies inside p.
func (x *pathIndex) overlap(p string) (int, bool) {
	if owner, ok := x.container(p); ok {
		return owner, true
	}
	owner, ok := x.inside[p]
	return owner, ok
}

// parent returns the directory of a clean relative path, "" at the top.
func parent(p string) string {
	i := strings.LastIndexByte(p, '/')
	if i < 0 {
		return ""
	}
	return p[:i]
}
