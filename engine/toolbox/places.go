package toolbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

func install(_ context.Context, c *Call) error {
	o, err := c.options("d,directory D m,mode: o,owner: g,group: t,target-directory: T,no-target-directory v,verbose c p,preserve-timestamps")
	if err != nil {
		return err
	}
	mode, err := parseMode(o.value("m", "755"), 0)
	if err != nil {
		return err
	}
	uid, gid, err := parseOwner(o.value("o", "") + ":" + o.value("g", ""))
	if err != nil {
		return err
	}
	finish := func(name string) error {
		return c.named(name, errors.Join(syscall.Chmod(c.path(name), mode), os.Lchown(c.path(name), uid, gid)))
	}
	if o.has("d") {
		return c.perFile(o, func(name string) error {
			if err := c.mkdir(&options{given: []option{{"p", ""}}}, name); err != nil {
				return err
			}
			return finish(name)
		})
	}
	if o.has("D") {
		dir := o.value("t", "")
		if dir == "" && len(o.operands) > 1 {
			dir = filepath.Dir(o.operands[len(o.operands)-1])
		}
		if err := c.mkdir(&options{given: []option{{"p", ""}}}, dir); err != nil {
			return err
		}
	}
	return c.targets(o, func(from, to string) error {
		if err := os.Remove(c.path(to)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return c.named(to, err)
		}
		k := &copying{c: c, follow: true, keepTimes: o.has("p")}
		if err := k.copy(from, to, true); err != nil {
			return err
		}
		c.told(o, "'%s' -> '%s'", from, to)
		return finish(to)
	})
}

func mktemp(_ context.Context, c *Call) error {
	o, err := c.options("d,directory q,quiet u,dry-run p: tmpdir? suffix: t")
	if err != nil {
		return err
	}
	dir := c.getenv("TMPDIR")
	if dir == "" {
		dir = "/tmp"
	}
	template := "tmp.XXXXXXXXXX"
	switch {
	case len(o.operands) > 1:
		return usageError("too many templates")
	case len(o.operands) == 1:
		template = o.operands[0]
		if !o.has("p") && !o.has("tmpdir") && !o.has("t") {
			dir = ""
		}
	}
	if given := o.value(o.last("p", "tmpdir"), ""); given != "" {
		dir = given
	}
	template += o.value("suffix", "")
	i := strings.LastIndex(template, "XXX")
	if i < 0 {
		return usageError(fmt.Sprintf("too few X's in template %q", template))
	}
	end := i + 3
	start := len(strings.TrimRight(template[:end], "X"))
	// os puts random digits where the star is.
	pattern := filepath.Base(template[:start] + "x")[:max(0, len(filepath.Base(template[:start]+"x"))-1)] + "*" + template[end:]
	if prefix := filepath.Dir(template[:start] + "x"); prefix != "." {
		dir = filepath.Join(dir, prefix)
	}
	name, err := c.temporary(dir, pattern, o.has("d"))
	if err != nil {
		if o.has("q") {
			return exit(1)
		}
		return err
	}
	if o.has("u") {
		if err := os.Remove(c.path(name)); err != nil {
			return err
		}
	}
	fmt.Fprintln(c.out(), name)
	return nil
}

func (c *Call) temporary(dir, pattern string, directory bool) (string, error) {
	where := c.path(dir)
	if dir == "" {
		if where = c.Dir; where == "" {
			where = "."
		}
	}
	var path string
	if directory {
		made, err := os.MkdirTemp(where, pattern)
		if err != nil {
			return "", err
		}
		path = made
	} else {
		f, err := os.CreateTemp(where, pattern)
		if err != nil {
			return "", err
		}
		if err := f.Close(); err != nil {
			return "", err
		}
		path = f.Name()
	}
	if dir == "" {
		return filepath.Base(path), nil
	}
	return filepath.Join(dir, filepath.Base(path)), nil
}

func truncate(_ context.Context, c *Call) error {
	o, err := c.options("s,size: c,no-create")
	if err != nil {
		return err
	}
	n, sign, err := amount(o.value("s", ""))
	if err != nil {
		return err
	}
	return c.perFile(o, func(name string) error {
		path := c.path(name)
		info, err := os.Stat(path)
		if err != nil {
			if o.has("c") {
				return nil
			}
			f, err := c.create(name, 0)
			if err != nil {
				return err
			}
			if err := f.Close(); err != nil {
				return err
			}
			if info, err = os.Stat(path); err != nil {
				return err
			}
		}
		to := int64(n)
		switch sign {
		case '+':
			to += info.Size()
		case '-':
			to = max(info.Size()-to, 0)
		}
		return c.named(name, os.Truncate(path, to))
	})
}

func readlink(_ context.Context, c *Call) error {
	o, err := c.options("f,canonicalize e,canonicalize-existing m,canonicalize-missing n,no-newline z,zero q,quiet s,silent v,verbose")
	if err != nil {
		return err
	}
	if len(o.operands) == 0 {
		return usageError("needs a file")
	}
	end := "\n"
	if o.has("z") {
		end = "\x00"
	}
	if o.has("n") && len(o.operands) == 1 {
		end = ""
	}
	for _, name := range o.operands {
		var to string
		if way := o.last("f", "e", "m"); way != "" {
			to, err = c.canonical(name, way[0])
		} else {
			to, err = os.Readlink(c.path(name))
		}
		if err != nil {
			c.status = 1 // readlink says nothing
			continue
		}
		fmt.Fprint(c.out(), to+end)
	}
	return nil
}

func realpath(_ context.Context, c *Call) error {
	o, err := c.options("e,canonicalize-existing m,canonicalize-missing s,strip,no-symlinks z,zero relative-to: q,quiet P,physical")
	if err != nil {
		return err
	}
	end := "\n"
	if o.has("z") {
		end = "\x00"
	}
	way := byte('f')
	if last := o.last("e", "m"); last != "" {
		way = last[0]
	}
	return c.perFile(o, func(name string) error {
		to, err := c.canonical(name, way)
		if o.has("s") {
			to, err = filepath.Abs(c.path(name))
		}
		if err != nil {
			if o.has("q") {
				c.status = 1
				return nil
			}
			return err
		}
		if o.has("relative-to") {
			base, err := c.canonical(o.value("relative-to", ""), way)
			if err != nil {
				return err
			}
			if to, err = filepath.Rel(base, to); err != nil {
				return err
			}
		}
		fmt.Fprint(c.out(), to+end)
		return nil
	})
}

// canonical is the path without links. way is 'e' when all of it must exist, 'f' all
// but the last, 'm' none.
func (c *Call) canonical(name string, way byte) (string, error) {
	path, err := filepath.Abs(c.path(name))
	if err != nil {
		return "", err
	}
	if strings.Contains(name, "..") {
		path = c.path(name) // with its dots, which count behind a link
		if !filepath.IsAbs(path) {
			if path, err = os.Getwd(); err != nil {
				return "", err
			}
			path += "/" + name
		}
	}
	parts := strings.Split(path, "/")
	at := "/"
	for hops := 0; len(parts) > 0; {
		p := parts[0]
		parts = parts[1:]
		switch p {
		case "", ".":
			continue
		case "..":
			at = filepath.Dir(at)
			continue
		}
		next := filepath.Join(at, p)
		info, err := os.Lstat(next)
		rest := strings.Trim(strings.Join(parts, ""), ".")
		switch {
		case err != nil && (way == 'e' || way == 'f' && (rest != "" || !errors.Is(err, fs.ErrNotExist))):
			return "", c.named(name, err)
		case err == nil && info.Mode()&fs.ModeSymlink != 0:
			if hops++; hops > 40 {
				return "", &os.PathError{Op: "resolve", Path: name, Err: syscall.ELOOP}
			}
			to, err := os.Readlink(next)
			if err != nil {
				return "", c.named(name, err)
			}
			parts = append(strings.Split(to, "/"), parts...)
			if strings.HasPrefix(to, "/") {
				at = "/"
			}
			continue
		}
		at = next
	}
	return at, nil
}
