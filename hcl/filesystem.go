package hcl

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"

	"plumb/hcl/funcs"
)

// Check compares a pipeline with the files of its project: every path it reads
// exists, stays in the project when symbolic links are followed, and every
// pattern matches something, and so does what lies in its directories. It reads
// names, no contents.
func Check(dir string, p *Pipeline) Diagnostics {
	c := &projectCheck{dir: dir, plain: map[string]bool{}, seen: map[string]bool{}}
	defer c.close()
	made := newPathIndex(len(p.Stages)) // an input made by a stage is a mistake that was reported
	for i := range p.Stages {
		for _, out := range p.Stages[i].Outputs {
			made.add(out.Path, i)
		}
	}
	for _, s := range p.Sources {
		if s.Remote() {
			continue
		}
		c.one(s.Path, s.Glob, reader{s.PathRange, "source", s.Name})
	}
	for i := range p.Stages {
		for _, in := range p.Stages[i].Inputs {
			if _, made := made.container(in.Path); in.Kind == InputPath && !made {
				c.one(in.Path, in.Glob, reader{in.Range, "stage", p.Stages[i].Block})
			}
		}
	}
	for _, image := range p.Images {
		if image.Archive != "" {
			c.one(image.Archive, false, reader{image.LocatorRange, "image", image.Name})
		}
		if image.Debian != nil && image.Debian.Keyring != "" {
			c.one(image.Debian.Keyring, false, reader{image.Debian.Range, "image", image.Name})
		}
	}
	return c.finish()
}

// reader is the block that reads a path, and where it says so.
type reader struct {
	at         Range
	kind, name string
}

func (r reader) String() string { return capitalised(r.context()) }

func (r reader) context() string { return r.kind + " " + quoted(r.name) }

// projectCheck looks at each path once, however many stages read it.
type projectCheck struct {
	dir   string
	root  *os.Root
	diags Diagnostics
	seen  map[string]bool
	plain map[string]bool // directories that are no symbolic links, nor below one
}

func (c *projectCheck) close() {
	if c.root != nil {
		c.root.Close() //nolint:errcheck // it was only read
	}
}

func (c *projectCheck) one(p string, glob bool, who reader) {
	if c.seen[p] {
		return
	}
	c.seen[p] = true
	if glob {
		c.pattern(p, who)
		return
	}
	c.follow(p, who)
}

func (c *projectCheck) report(who reader, summary, detail, hint string) {
	c.diags = append(c.diags, Diagnostic{Severity: SeverityError, Summary: summary, Detail: detail, Hint: hint, Context: who.context(), Subject: who.at})
}

// follow finds out what a path leads to. The usual case, a file in directories
// that are no links, costs one lstat.
func (c *projectCheck) follow(p string, who reader) {
	info, err := os.Lstat(filepath.Join(c.dir, filepath.FromSlash(p)))
	if err == nil && info.Mode()&fs.ModeSymlink == 0 && c.isPlain(path.Dir(p)) {
		if info.IsDir() {
			c.links(p, who)
		}
		return
	}
	if err == nil {
		err = c.resolve(p)
	}
	switch {
	case err == nil:
	case errors.Is(err, errOutside):
		c.report(who, "Link leaves the project",
			fmt.Sprintf("%s reads %s, which leads out of the project through a symbolic link.", who, quoted(p)),
			"put the data into the project, or link inside of it")
	case errors.Is(err, fs.ErrNotExist):
		c.report(who, "Input does not exist", fmt.Sprintf("%s reads %s, which is not there.", who, quoted(p)), c.nearby(p))
	default:
		c.report(who, "Input cannot be read", fmt.Sprintf("%s reads %s: %s.", who, quoted(p), reasonOf(err)), "make it readable for the user who runs plumb")
	}
}

// links finds links in a directory that lead out of the project.
func (c *projectCheck) links(dir string, who reader) {
	root := filepath.Join(c.dir, filepath.FromSlash(dir))
	err := filepath.WalkDir(root, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.Type()&fs.ModeSymlink == 0 {
			return err
		}
		rel, err := filepath.Rel(c.dir, name)
		if err != nil {
			return err
		}
		if rel = filepath.ToSlash(rel); errors.Is(c.resolve(rel), errOutside) {
			c.report(who, "Link leaves the project",
				fmt.Sprintf("%s reads %s, in which %s leads out of the project through a symbolic link.", who, quoted(dir), quoted(rel)),
				"put the data into the project, or link inside of it")
		}
		return nil
	})
	if err != nil {
		c.report(who, "Input cannot be read", fmt.Sprintf("%s reads %s: %s.", who, quoted(dir), reasonOf(err)), "make it readable for the user who runs plumb")
	}
}

// isPlain reports whether a directory of the project is reached without links.
func (c *projectCheck) isPlain(dir string) bool {
	if dir == "." {
		return true
	}
	known, ok := c.plain[dir]
	if !ok {
		info, err := os.Lstat(filepath.Join(c.dir, filepath.FromSlash(dir)))
		known = err == nil && info.IsDir() && c.isPlain(path.Dir(dir))
		c.plain[dir] = known
	}
	return known
}

// errOutside says that a link leads out of the project.
var errOutside = errors.New("leaves the project")

// resolve follows all links of a path and compares where it ends.
func (c *projectCheck) resolve(p string) error {
	base, err := filepath.EvalSymlinks(c.dir)
	if err != nil {
		return err
	}
	if base, err = filepath.Abs(base); err != nil {
		return err
	}
	target, err := filepath.EvalSymlinks(filepath.Join(base, filepath.FromSlash(p)))
	if err != nil {
		return err
	}
	if !within(filepath.ToSlash(target), filepath.ToSlash(base)) {
		return errOutside
	}
	return nil
}

// nearby proposes the name in the same directory that is closest, or says what to
// do without.
func (c *projectCheck) nearby(p string) string {
	entries, err := os.ReadDir(filepath.Join(c.dir, filepath.FromSlash(path.Dir(p))))
	if err != nil {
		return "put it there, or correct the path: its directory is missing too"
	}
	var names []string
	for _, e := range entries {
		names = append(names, path.Join(path.Dir(p), e.Name()))
	}
	if hint := didYouMean(p, names, "%q"); hint != "" {
		return hint
	}
	return "put it there, or correct the path, which is relative to the project's directory"
}

func (c *projectCheck) pattern(p string, who reader) {
	names, err := c.glob(p)
	switch {
	case err != nil:
		c.report(who, "Bad pattern", fmt.Sprintf("%s reads %s: %s.", who, quoted(p), reasonOf(err)), "")
	case len(names) == 0:
		c.report(who, "Pattern matches nothing", fmt.Sprintf("%s reads %s, and no file of the project matches.", who, quoted(p)),
			"* stays inside of one directory, ** goes through all below")
	}
	for _, name := range names {
		c.one(name, false, who)
	}
}

func (c *projectCheck) glob(p string) ([]string, error) {
	if c.root == nil {
		root, err := os.OpenRoot(c.dir)
		if err != nil {
			return nil, err
		}
		c.root = root
	}
	return funcs.Glob(c.root.FS(), p)
}

// finish adds the source lines, reading each file that is named once.
func (c *projectCheck) finish() Diagnostics {
	texts := map[string][]byte{}
	for i := range c.diags {
		d := &c.diags[i]
		text, ok := texts[d.Subject.File]
		if !ok {
			// A file that is gone meanwhile leaves the diagnostic without its lines.
			text, _ = os.ReadFile(filepath.Join(c.dir, filepath.FromSlash(d.Subject.File)))
			texts[d.Subject.File] = text
		}
		d.Snippet = snippet(text, d.Subject)
	}
	c.diags.Sort()
	return slices.Clip(c.diags.Dedupe())
}
