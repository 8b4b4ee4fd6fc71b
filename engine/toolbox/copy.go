package toolbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// copying is cp at work.
type copying struct {
	c         *Call
	o         *options
	recursive bool
	follow    bool // links are copied as what they point to
	operands  bool // -H: only those that were named
	keep      bool // -p: mode, owner, times
	keepTimes bool
	links     map[[2]uint64]string // -d, -a: where a file with several names went
	made      map[[2]uint64]bool   // directories made, which are not copied into themselves
	errs      []error
}

func cp(_ context.Context, c *Call) error {
	o, err := c.options("a,archive d f,force H L,dereference n,no-clobber p P,no-dereference r,recursive,R T,no-target-directory t,target-directory: u,update v,verbose preserve? reflink? sparse: x,one-file-system")
	if err != nil {
		return err
	}
	if s := o.value("sparse", "auto"); s != "auto" && s != "never" {
		return usageError("--sparse is not supported")
	}
	if o.has("x") {
		return usageError("-x is not supported")
	}
	k := &copying{c: c, o: o, recursive: o.has("r") || o.has("a")}
	k.keep, k.keepTimes = o.has("a") || o.has("p"), false
	for what := range strings.SplitSeq(o.value("preserve", "-"), ",") {
		switch what {
		case "-":
		case "timestamps":
			k.keepTimes = true
		case "", "mode", "ownership", "all", "mode,ownership,timestamps":
			k.keep = true
		case "links":
			k.links = map[[2]uint64]string{}
		default:
			return usageError(fmt.Sprintf("--preserve=%s is not supported", what))
		}
	}
	switch o.last("L", "P", "H", "d", "a") {
	case "L":
		k.follow = true
	case "":
		k.follow = !k.recursive
	case "H":
		k.operands = true
	}
	if o.has("a") || o.has("d") {
		k.links = map[[2]uint64]string{}
	}
	err = c.targets(o, func(from, to string) error { return k.copy(from, to, true) })
	return errors.Join(err, k.failed())
}

// failed says the errors of single files.
func (k *copying) failed() error {
	for _, err := range k.errs {
		if err := k.c.warn(err); err != nil {
			return err
		}
	}
	k.errs = nil
	return nil
}

func (k *copying) has(flag string) bool { return k.o != nil && k.o.has(flag) }

// copy copies one file or tree. Errors below a directory are kept for later.
func (k *copying) copy(from, to string, operand bool) error {
	stat := os.Lstat
	if k.follow || operand && k.operands {
		stat = os.Stat
	}
	info, err := stat(k.c.path(from))
	if err != nil {
		return k.c.named(from, err)
	}
	if !info.IsDir() {
		if k.has("n") && k.c.exists(to) || k.has("u") && !k.c.newer(from, to) {
			return nil
		}
	}
	if there, err := os.Stat(k.c.path(to)); err == nil {
		switch {
		case os.SameFile(info, there):
			return fmt.Errorf("'%s' and '%s' are the same file", from, to)
		case there.IsDir() && !info.IsDir():
			return fmt.Errorf("cannot overwrite directory '%s' with a file", to)
		case !there.IsDir() && info.IsDir():
			return fmt.Errorf("cannot overwrite '%s' with a directory", to)
		}
	}
	if !info.IsDir() && k.linked(info, to) {
		return nil
	}
	switch mode := info.Mode(); {
	case mode.IsDir():
		return k.dir(from, to, info)
	case mode&fs.ModeSymlink != 0:
		err = k.link(from, to)
	case mode.IsRegular() || !k.recursive:
		err = k.file(from, to, info)
	default:
		err = k.special(to, info)
	}
	if err != nil {
		return err
	}
	if k.o != nil {
		k.c.told(k.o, "'%s' -> '%s'", from, to)
	}
	return k.like(to, info)
}

func identity(info fs.FileInfo) (key [2]uint64, names uint64) {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return [2]uint64{uint64(st.Dev), st.Ino}, uint64(st.Nlink)
	}
	return key, 0
}

// linked makes to another name of what was copied before under one name.
func (k *copying) linked(info fs.FileInfo, to string) bool {
	key, names := identity(info)
	if k.links == nil || names < 2 {
		return false
	}
	before, ok := k.links[key]
	if !ok {
		k.links[key] = to
		return false
	}
	// Where a link cannot be made the file is copied.
	if err := os.Remove(k.c.path(to)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	return os.Link(k.c.path(before), k.c.path(to)) == nil
}

func (k *copying) dir(from, to string, info fs.FileInfo) error {
	if !k.recursive {
		return fmt.Errorf("-r not specified; omitting directory '%s'", from)
	}
	if key, _ := identity(info); k.made[key] {
		return fmt.Errorf("cannot copy the directory '%s' into itself", from)
	}
	err := os.Mkdir(k.c.path(to), info.Mode().Perm()|0o700)
	fresh := err == nil
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return k.c.named(to, err)
	}
	if made, err := os.Stat(k.c.path(to)); err == nil && fresh {
		if k.made == nil {
			k.made = map[[2]uint64]bool{}
		}
		key, _ := identity(made)
		k.made[key] = true
	}
	entries, err := os.ReadDir(k.c.path(from))
	if err != nil {
		return k.c.named(from, err)
	}
	for _, e := range entries {
		if err := k.copy(filepath.Join(from, e.Name()), filepath.Join(to, e.Name()), false); err != nil {
			k.errs = append(k.errs, err)
		}
	}
	if fresh && !k.keep && info.Mode().Perm()&0o700 != 0o700 {
		if err := os.Chmod(k.c.path(to), info.Mode().Perm()&^fs.FileMode(umask())); err != nil {
			return k.c.named(to, err)
		}
	}
	return k.like(to, info)
}

func (k *copying) link(from, to string) error {
	target, err := os.Readlink(k.c.path(from))
	if err != nil {
		return k.c.named(from, err)
	}
	if err := os.Remove(k.c.path(to)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return k.c.named(to, err)
	}
	return os.Symlink(target, k.c.path(to))
}

func (k *copying) file(from, to string, info fs.FileInfo) error {
	in, err := os.Open(k.c.path(from))
	if err != nil {
		return k.c.named(from, err)
	}
	defer in.Close() // was only read
	path := k.c.path(to)
	open := func() (*os.File, error) {
		return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, info.Mode().Perm())
	}
	out, err := open()
	if err != nil && k.has("f") {
		if err := os.Remove(path); err != nil {
			return k.c.named(to, err)
		}
		out, err = open()
	}
	if err != nil {
		return k.c.named(to, err)
	}
	_, err = io.Copy(out, in)
	return errors.Join(k.c.named(to, err), out.Close())
}

// special is a FIFO or a device.
func (k *copying) special(to string, info fs.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("'%s' cannot be made", to)
	}
	if err := unix.Mknod(k.c.path(to), st.Mode, int(st.Rdev)); err != nil {
		return &os.PathError{Op: "mknod", Path: to, Err: err}
	}
	return nil
}

// like gives the copy what -p keeps. An owner that may not be given is left.
func (k *copying) like(to string, info fs.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !k.keep && !k.keepTimes {
		return nil
	}
	path := k.c.path(to)
	if k.keep {
		if err := os.Lchown(path, int(st.Uid), int(st.Gid)); err != nil && !errors.Is(err, fs.ErrPermission) {
			return k.c.named(to, err)
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			if err := syscall.Chmod(path, st.Mode&0o7777); err != nil {
				return &os.PathError{Op: "chmod", Path: to, Err: err}
			}
		}
	}
	stamps := []unix.Timespec{unix.Timespec(st.Atim), unix.Timespec(st.Mtim)}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, stamps, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "utimensat", Path: to, Err: err}
	}
	return nil
}
