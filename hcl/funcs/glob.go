package funcs

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Glob lists the files that match a pattern, sorted, relative to the root of
// fsys and with slashes. In a pattern * and ? stay inside of one name, [a-z] is
// one character, {a,b} either text, and ** any number of directories. Names that
// start with a dot match only where the pattern has the dot.
func Glob(fsys fs.FS, pattern string) ([]string, error) {
	var all []string
	for _, one := range expandBraces(pattern) {
		if _, err := path.Match(one, ""); err != nil {
			return nil, fmt.Errorf("pattern %q: %w", one, err)
		}
		g := globber{fsys: fsys}
		if err := g.walk(".", strings.Split(path.Clean(one), "/")); err != nil {
			return nil, err
		}
		all = append(all, g.found...)
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// Match reports whether a path matches a pattern of the same syntax.
func Match(pattern, name string) bool {
	for _, one := range expandBraces(pattern) {
		if matchParts(strings.Split(path.Clean(one), "/"), strings.Split(name, "/")) {
			return true
		}
	}
	return false
}

func matchParts(pattern, name []string) bool {
	if len(pattern) == 0 {
		return len(name) == 0
	}
	if pattern[0] == "**" {
		for i := range len(name) + 1 {
			if matchParts(pattern[1:], name[i:]) {
				return true
			}
			if i < len(name) && strings.HasPrefix(name[i], ".") {
				return false
			}
		}
		return false
	}
	return len(name) > 0 && matchName(pattern[0], name[0]) && matchParts(pattern[1:], name[1:])
}

// matchName matches one path component; Glob checked the pattern's form.
func matchName(pattern, name string) bool {
	if strings.HasPrefix(name, ".") && !strings.HasPrefix(pattern, ".") {
		return false
	}
	ok, err := path.Match(pattern, name)
	return err == nil && ok
}

type globber struct {
	fsys  fs.FS
	found []string
}

// walk adds what matches below a directory.
func (g *globber) walk(dir string, pattern []string) error {
	entries, err := fs.ReadDir(g.fsys, dir)
	if err != nil {
		return err
	}
	rest := pattern[1:]
	deep := pattern[0] == "**"
	if deep && len(rest) > 0 {
		if err := g.walk(dir, rest); err != nil { // ** stands for no directory, too
			return err
		}
	}
	for _, e := range entries {
		here := path.Join(dir, e.Name())
		switch {
		case deep && strings.HasPrefix(e.Name(), "."):
		case deep && e.IsDir():
			err = g.walk(here, pattern)
		case deep && len(rest) == 0:
			g.add(here)
		case !deep && matchName(pattern[0], e.Name()):
			err = g.matched(here, e, rest)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (g *globber) matched(p string, e fs.DirEntry, rest []string) error {
	if len(rest) == 0 {
		if !e.IsDir() {
			g.add(p)
		}
		return nil
	}
	if e.IsDir() {
		return g.walk(p, rest)
	}
	return nil
}

func (g *globber) add(p string) { g.found = append(g.found, p) }

// maxBraces bounds what alternatives expand to.
const maxBraces = 1024

// expandBraces turns {a,b} into one pattern for each text. Unbalanced braces
// stand for themselves.
func expandBraces(pattern string) []string {
	open := strings.IndexByte(pattern, '{')
	if open < 0 {
		return []string{pattern}
	}
	depth, from := 0, open+1
	var options []string
	for i := open; i < len(pattern); i++ {
		switch pattern[i] {
		case '{':
			depth++
		case ',':
			if depth == 1 {
				options, from = append(options, pattern[from:i]), i+1
			}
		case '}':
			if depth--; depth == 0 {
				return combine(pattern[:open], append(options, pattern[from:i]), pattern[i+1:])
			}
		}
	}
	return []string{pattern}
}

func combine(prefix string, options []string, suffix string) []string {
	var all []string
	for _, option := range options {
		for _, one := range expandBraces(prefix + option + suffix) {
			if len(all) < maxBraces {
				all = append(all, one)
			}
		}
	}
	return all
}
