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
// pattern matches something. It reads names, no contents.
func Check(dir string, p *Pipeline) Diagnostics {
	c := &projectCheck{dir: dir, plain: map[string]bool{}, seen: map[string]bool{}}
	defer c.close()
	for _, s := range p.Sources {
		c.one(s.Path, s.Glob, s.PathRange, fmt.Sprintf("Source %s", quoted(s.Name)))
	}
	for i := range p.Stages {
		for _, in := range p.Stages[i].Inputs {
			if in.Kind == InputPath {
				c.one(in.Path, in.Glob, in.Range, fmt.Sprintf("Stage %s", quoted(p.Stages[i].Name)))
			}
		}
	}
	for _, image := range p.Images {
		if image.Archive != "" {
			c.one(image.Archive, false, image.LocatorRange, fmt.Sprintf("Image %s", quoted(image.Name)))
		}
	}
	return c.finish()
}

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

func (c *projectCheck) one(p string, glob bool, at Range, who string) {
	if c.seen[p] {
		return
	}
	c.seen[p] = true
	if glob {
		c.pattern(p, at, who)
		return
	}
	c.follow(p, at, who)
}

func (c *projectCheck) report(at Range, summary, detail, hint string) {
	c.diags = append(c.diags, Diagnostic{Severity: SeverityError, Summary: summary, Detail: detail, Hint: hint, Subject: at})
}

// follow finds out what a path leads to. The usual case, a file in directories
// that are no links, costs one lstat.
func (c *projectCheck) follow(p string, at Range, who string) {
	info, err := os.Lstat(filepath.Join(c.dir, filepath.FromSlash(p)))
	if err == nil && info.Mode()&fs.ModeSymlink == 0 && c.isPlain(path.Dir(p)) {
		return
	}
	if err == nil {
		err = c.resolve(p)
	}
	switch {
	case err == nil:
	case errors.Is(err, errOutside):
		c.report(at, "Link leaves the project",
			fmt.Sprintf("%s reads %s, which leads out of the project through a symbolic link.", who, quoted(p)),
			"put the data into the project, or link inside of it")
	case errors.Is(err, fs.ErrNotExist):
		c.report(at, "Input does not exist", fmt.Sprintf("%s reads %s, which is not there.", who, quoted(p)), c.nearby(p))
	default:
		c.report(at, "Input cannot be read", fmt.Sprintf("%s reads %s: %s.", who, quoted(p), reasonOf(err)), "")
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

// nearby proposes the name in the same directory that is closest.
func (c *projectCheck) nearby(p string) string {
	entries, err := os.ReadDir(filepath.Join(c.dir, filepath.FromSlash(path.Dir(p))))
	if err != nil {
		return "" // the directory is missing too: there is nothing to propose
	}
	var names []string
	for _, e := range entries {
		names = append(names, path.Join(path.Dir(p), e.Name()))
	}
	return didYouMean(p, names, "%q")
}

func (c *projectCheck) pattern(p string, at Range, who string) {
	names, err := c.glob(p)
	switch {
	case err != nil:
		c.report(at, "Bad pattern", fmt.Sprintf("%s reads %s: %s.", who, quoted(p), reasonOf(err)), "")
	case len(names) == 0:
		c.report(at, "Pattern matches nothing", fmt.Sprintf("%s reads %s, and no file of the project matches.", who, quoted(p)),
			"* stays inside of one directory, ** goes through all below")
	}
	for _, name := range names {
		c.one(name, false, at, who)
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
