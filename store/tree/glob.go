package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Glob lists the files below root that match a pattern, sorted, as slash-separated
// paths relative to root. * and ? match within a name, [a-z] one character, {a,b}
// either text, ** any number of directories. A name that begins with a dot is only
// matched by a pattern that says the dot. Directories do not match, and symlinks
// to directories are not entered.
func Glob(root, pattern string) ([]string, error) {
	all := map[string]bool{}
	for _, p := range alternatives(pattern) {
		if !filepath.IsLocal(p) {
			return nil, fmt.Errorf("pattern %q: it leaves the project", pattern)
		}
		if _, err := path.Match(p, "x"); err != nil {
			return nil, fmt.Errorf("pattern %q: %w", pattern, err)
		}
		g := glob{root: root, add: func(p string) { all[p] = true }}
		if err := g.match("", strings.Split(path.Clean(p), "/")); err != nil {
			return nil, fmt.Errorf("pattern %q: %w", pattern, err)
		}
	}
	out := make([]string, 0, len(all))
	for p := range all {
		out = append(out, p)
	}
	slices.Sort(out)
	return out, nil
}

type glob struct {
	root string
	add  func(string)
}

// match finds what fits parts below dir. A part without wildcards costs one lstat
// and no listing.
func (g *glob) match(dir string, parts []string) error {
	if part := parts[0]; !strings.ContainsAny(part, `*?[\`) {
		fi, err := os.Lstat(filepath.Join(g.root, dir, part))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return g.step(path.Join(dir, part), fi.IsDir(), parts[1:])
	}
	entries, err := os.ReadDir(filepath.Join(g.root, dir))
	if err != nil {
		return err
	}
	if parts[0] == "**" {
		return g.deep(dir, entries, parts)
	}
	for _, e := range entries {
		if fits(parts[0], e.Name()) {
			if err := g.step(path.Join(dir, e.Name()), e.IsDir(), parts[1:]); err != nil {
				return err
			}
		}
	}
	return nil
}

// step goes on with a path that fits so far.
func (g *glob) step(p string, dir bool, rest []string) error {
	switch {
	case len(rest) == 0 && !dir:
		g.add(p)
	case len(rest) > 0 && dir:
		return g.match(p, rest)
	}
	return nil
}

// deep lets ** stand for no directory, and for every one below.
func (g *glob) deep(dir string, entries []os.DirEntry, parts []string) error {
	if len(parts) > 1 {
		if err := g.match(dir, parts[1:]); err != nil {
			return err
		}
	}
	for _, e := range entries {
		p := path.Join(dir, e.Name())
		switch {
		case strings.HasPrefix(e.Name(), "."):
		case e.IsDir():
			if err := g.match(p, parts); err != nil {
				return err
			}
		case len(parts) == 1:
			g.add(p)
		}
	}
	return nil
}

func fits(pattern, name string) bool {
	if strings.HasPrefix(name, ".") && !strings.HasPrefix(pattern, ".") {
		return false
	}
	ok, err := path.Match(pattern, name)
	return ok && err == nil // the pattern was checked as a whole
}

// alternatives writes {a,b} out. Braces without a partner stand for themselves.
func alternatives(p string) []string {
	open := strings.IndexByte(p, '{')
	if open < 0 {
		return []string{p}
	}
	cuts, closing := braces(p, open)
	if closing < 0 {
		return []string{p}
	}
	var out []string
	for i := range len(cuts) - 1 {
		for _, rest := range alternatives(p[cuts[i]+1:cuts[i+1]] + p[closing+1:]) {
			out = append(out, p[:open]+rest)
		}
	}
	return out
}

// braces finds the commas between the brace at open and its partner, with both of
// these; closing is -1 without a partner.
func braces(p string, open int) (cuts []int, closing int) {
	depth := 0
	for i := open; i < len(p); i++ {
		switch {
		case p[i] == '{':
			depth++
		case p[i] == '}':
			depth--
		}
		if i == open || depth == 1 && p[i] == ',' || depth == 0 {
			cuts = append(cuts, i)
		}
		if depth == 0 {
			return cuts, i
		}
	}
	return nil, -1
}
