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

func fileTools() map[string]tool {
	return map[string]tool{
		"cp":       {run: cp, usage: "[-aAdfHiLnpPrRTuv] [-t dir] source… target", lacks: "-i, -l, -s, --sparse, --reflink, backups, holes; xattrs are not copied"},
		"mv":       {run: mv, usage: "[-fnTuv] [-t dir] source… target", lacks: "-i and backups"},
		"rm":       {run: rm, usage: "[-dfrRv] file…", lacks: "-i and -I"},
		"rmdir":    {run: rmdir, usage: "[-p] [-v] [--ignore-fail-on-non-empty] dir…"},
		"mkdir":    {run: mkdir, usage: "[-p] [-v] [-m mode] dir…"},
		"ln":       {run: ln, usage: "[-fnrsTv] target… link", lacks: "-i, -b, -L and -P"},
		"touch":    {run: touch, usage: "[-acm] [-h] [-d time | -t [[CC]YY]MMDDhhmm[.ss] | -r file] file…", lacks: "times in words, like 'yesterday'"},
		"chmod":    {run: chmod, usage: "[-fRv] [--reference=file] mode file…", lacks: "-c"},
		"chown":    {run: chown, usage: "[-fhRv] owner[:group] file…", lacks: "-c, --from, --reference, -H, -L and -P"},
		"chgrp":    {run: chown, usage: "[-fhRv] group file…", lacks: "-c, --reference, -H, -L and -P"},
		"install":  {run: install, usage: "[-dDTv] [-m mode] [-o owner] [-g group] [-t dir] source… target", lacks: "-s, -b and -C"},
		"mktemp":   {run: mktemp, usage: "[-dqu] [-p dir] [--tmpdir[=dir]] [--suffix=text] [template]", lacks: "-t with a prefix of BSD's"},
		"truncate": {run: truncate, usage: "-s [+-]size [-c] file…", lacks: "-r, -o and the signs < > / %"},
		"readlink": {run: readlink, usage: "[-fem] [-n] [-z] file…", lacks: "-q and -v, which are taken and do nothing"},
		"realpath": {run: realpath, usage: "[-em] [-s] [-z] [--relative-to=dir] file…", lacks: "-L and --relative-base"},
		"dd":       {run: dd, usage: "[if=file] [of=file] [bs=n] [count=n] [skip=n] [seek=n] [conv=notrunc,fsync] [status=none]", lacks: "ibs and obs, other conversions, iflag and oflag"},
	}
}

// targets calls f for each source and where it goes: to the last operand, into it
// when it is a directory, or into -t's.
func (c *Call) targets(o *options, f func(from, to string) error) error {
	args, dir := o.operands, o.value("t", "")
	if !o.has("t") {
		if len(args) < 2 {
			return usageError("needs a source and a target")
		}
		last := args[len(args)-1]
		info, err := os.Stat(c.path(last))
		into := err == nil && info.IsDir() && !o.has("T") && !(o.has("n") && c.Args[0] == "ln" && c.isLink(last))
		if !into && len(args) > 2 {
			return fmt.Errorf("the target %q is not a directory", last)
		}
		if !into {
			return c.carry(f, args[0], last)
		}
		args, dir = args[:len(args)-1], last
	}
	if len(args) == 0 {
		return usageError("needs a source")
	}
	for _, from := range args {
		to := strings.TrimRight(dir, "/") + "/" + filepath.Base(from)
		if err := c.carry(f, from, to); err != nil {
			return err
		}
	}
	return nil
}

func (c *Call) isLink(name string) bool {
	info, err := os.Lstat(c.path(strings.TrimRight(name, "/")))
	return err == nil && info.Mode()&fs.ModeSymlink != 0
}

// carry calls f; what goes wrong with one file is told, and the others go on.
func (c *Call) carry(f func(from, to string) error, from, to string) error {
	if err := f(from, to); err != nil {
		return c.warn(err)
	}
	return nil
}

// perFile calls f for each operand like carry.
func (c *Call) perFile(o *options, f func(name string) error) error {
	if len(o.operands) == 0 {
		return usageError("needs a file")
	}
	for _, name := range o.operands {
		if err := f(name); err != nil {
			if err := c.warn(err); err != nil {
				return err
			}
		}
	}
	return nil
}

// told prints what was done, for -v.
func (c *Call) told(o *options, format string, args ...any) {
	if o.has("v") {
		fmt.Fprintf(c.out(), format+"\n", args...)
	}
}

func mv(_ context.Context, c *Call) error {
	o, err := c.options("f,force n,no-clobber T,no-target-directory u,update v,verbose t,target-directory:")
	if err != nil {
		return err
	}
	return c.targets(o, func(from, to string) error {
		if o.last("n", "f") == "n" && c.exists(to) || o.has("u") && !c.newer(from, to) {
			return nil
		}
		if err := c.rename(from, to); err != nil {
			return err
		}
		c.told(o, "renamed '%s' -> '%s'", from, to)
		return nil
	})
}

func (c *Call) exists(name string) bool {
	_, err := os.Lstat(c.path(name))
	return err == nil
}

func (c *Call) newer(a, b string) bool {
	x, err := os.Stat(c.path(a))
	if err != nil {
		return false
	}
	y, err := os.Stat(c.path(b))
	return err != nil || x.ModTime().After(y.ModTime())
}

// rename moves, by a copy where the file system changes.
func (c *Call) rename(from, to string) error {
	a, err := os.Lstat(c.path(from))
	if err != nil {
		return c.named(from, err)
	}
	if b, err := os.Lstat(c.path(to)); err == nil && os.SameFile(a, b) {
		return fmt.Errorf("'%s' and '%s' are the same file", from, to)
	}
	err = syscall.Rename(strings.TrimRight(c.path(from), "/"), strings.TrimRight(c.path(to), "/"))
	if !errors.Is(err, syscall.EXDEV) {
		if err != nil {
			return fmt.Errorf("moving '%s' to '%s': %w", from, to, err)
		}
		return nil
	}
	copier := &copying{c: c, recursive: true, keep: true}
	if err := errors.Join(copier.copy(from, to, true), copier.failed()); err != nil {
		return err
	}
	return os.RemoveAll(c.path(from))
}

func rm(_ context.Context, c *Call) error {
	o, err := c.options("d,dir f,force r,recursive,R v,verbose preserve-root no-preserve-root one-file-system")
	if err != nil {
		return err
	}
	if len(o.operands) == 0 && o.has("f") {
		return nil
	}
	return c.perFile(o, func(name string) error {
		base := filepath.Base(strings.TrimRight(name, "/"))
		if base == "." || base == ".." {
			return fmt.Errorf("refusing to remove '%s'", name)
		}
		path := c.path(name)
		if o.has("r") && filepath.Clean(path) == "/" {
			return errors.New("refusing to remove '/'")
		}
		info, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) && o.has("f") {
			return nil
		}
		if err != nil {
			return c.named(name, err)
		}
		switch {
		case info.IsDir() && o.has("r"):
			err = os.RemoveAll(path)
		case info.IsDir() && !o.has("d"):
			return fmt.Errorf("%s: is a directory", name)
		default:
			err = os.Remove(path)
		}
		if err != nil {
			return c.within(name, path, err)
		}
		c.told(o, "removed '%s'", name)
		return nil
	})
}

// within is an error below path in the words of the operand name.
func (c *Call) within(name, path string, err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return &os.PathError{Op: p.Op, Path: name + strings.TrimPrefix(p.Path, path), Err: p.Err}
	}
	return err
}

func rmdir(_ context.Context, c *Call) error {
	o, err := c.options("p,parents v,verbose ignore-fail-on-non-empty")
	if err != nil {
		return err
	}
	return c.perFile(o, func(name string) error {
		for dir := strings.TrimRight(name, "/"); ; dir = filepath.Dir(dir) {
			if err := syscall.Rmdir(c.path(dir)); err != nil {
				if o.has("ignore-fail-on-non-empty") && errors.Is(err, syscall.ENOTEMPTY) {
					return nil
				}
				return &os.PathError{Op: "rmdir", Path: dir, Err: err}
			}
			c.told(o, "rmdir: removing directory, '%s'", dir)
			if !o.has("p") || filepath.Dir(dir) == "." || filepath.Dir(dir) == "/" {
				return nil
			}
		}
	})
}

func mkdir(_ context.Context, c *Call) error {
	o, err := c.options("p,parents v,verbose m,mode:")
	if err != nil {
		return err
	}
	return c.perFile(o, func(name string) error {
		return c.mkdir(o, name)
	})
}

func (c *Call) mkdir(o *options, name string) error {
	path := c.path(name)
	if info, err := os.Stat(path); o.has("p") && err == nil && info.IsDir() {
		return nil
	}
	if parent := filepath.Dir(strings.TrimRight(name, "/")); o.has("p") && parent != "." && parent != "/" {
		if err := c.mkdir(&options{given: []option{{"p", ""}}}, parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(path, 0o777); err != nil {
		if errors.Is(err, fs.ErrExist) && o.has("p") {
			// Another one may have been faster; what is no directory is an error.
			if info, e := os.Stat(path); e == nil && info.IsDir() {
				return nil
			}
		}
		return c.named(name, err)
	}
	c.told(o, "mkdir: created directory '%s'", name)
	if !o.has("m") {
		return nil
	}
	mode, err := parseMode(o.value("m", ""), 0o777|fs.ModeDir)
	if err != nil {
		return err
	}
	return syscall.Chmod(path, mode)
}

func ln(_ context.Context, c *Call) error {
	o, err := c.options("f,force n,no-dereference r,relative s,symbolic T,no-target-directory v,verbose t,target-directory:")
	if err != nil {
		return err
	}
	if len(o.operands) == 1 && !o.has("t") {
		o.operands = append(o.operands, "./"+filepath.Base(o.operands[0]))
	}
	return c.targets(o, func(from, to string) error {
		target := from
		if o.has("r") && o.has("s") {
			if target, err = c.relative(from, filepath.Dir(to)); err != nil {
				return err
			}
		}
		if o.has("f") {
			if a, err := os.Lstat(c.path(from)); err == nil && !o.has("s") {
				if b, err := os.Lstat(c.path(to)); err == nil && os.SameFile(a, b) {
					return fmt.Errorf("'%s' and '%s' are the same file", from, to)
				}
			}
			if err := os.Remove(c.path(to)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return c.named(to, err)
			}
		}
		if o.has("s") {
			err = os.Symlink(target, c.path(to))
		} else {
			err = os.Link(c.path(from), c.path(to))
		}
		var l *os.LinkError
		if errors.As(err, &l) {
			return fmt.Errorf("linking '%s' to '%s': %w", to, from, l.Err)
		}
		c.told(o, "'%s' -> '%s'", to, target)
		return err
	})
}

// relative is a path as seen from a directory, links resolved.
func (c *Call) relative(name, dir string) (string, error) {
	to, err := c.canonical(name, 'm')
	if err != nil {
		return "", err
	}
	from, err := c.canonical(dir, 'm')
	if err != nil {
		return "", err
	}
	return filepath.Rel(from, to)
}
