package containerd

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Without mounts a root file system is a directory with the files of all layers in it.
// That of an image is made once, of hard links: nothing ever writes to it. Those of
// stages are copies, since a stage that is root could write through any link; where the
// disk can share blocks they are no copies of bytes.

// flatten makes dir what an overlay of the layers, topmost first, would show.
func flatten(layers []string, dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	times := map[string]string{} // directories, and the topmost layer that has them
	for n := len(layers) - 1; n >= 0; n-- {
		layer := layers[n]
		err := filepath.WalkDir(layer, func(from string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(layer, from)
			if err != nil {
				return err
			}
			if d.IsDir() {
				times[rel] = from
				return flattenDir(from, filepath.Join(dir, rel))
			}
			delete(times, rel)
			return flattenFile(from, filepath.Join(dir, rel), d)
		})
		if err != nil {
			return err
		}
	}
	for rel, from := range times {
		if err := copyTimes(from, filepath.Join(dir, rel)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func flattenDir(from, to string) error {
	info, err := os.Lstat(to)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = os.Mkdir(to, 0o755)
	case err == nil && (!info.IsDir() || isOpaque(from)):
		if err = os.RemoveAll(to); err == nil {
			err = os.Mkdir(to, 0o755)
		}
	}
	if err != nil {
		return err
	}
	return copyOwner(from, to)
}

func flattenFile(from, to string, d fs.DirEntry) error {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	if d.Type()&fs.ModeCharDevice != 0 && isWhiteout(from) {
		return nil
	}
	return os.Link(from, to)
}

// copier copies trees into one root, with owners, modes, times, hard links and
// capabilities.
type copier struct {
	mu    sync.Mutex
	links map[uint64]string // of a file with several names, the first copy, by inode
	tasks errgroup.Group
	no    bool // blocks are not shared here, found out once; guarded by mu
}

// copyAtOnce is how many files are copied at a time.
const copyAtOnce = 4

// copyTree copies from, whatever it is, to the name to, or into the directory that is
// there.
func copyTree(from, to string) error {
	c := &copier{links: map[uint64]string{}}
	c.tasks.SetLimit(copyAtOnce)
	err := c.copy(from, to)
	return errors.Join(err, c.tasks.Wait(), c.settle(from, to))
}

func (c *copier) copy(from, to string) error {
	var st unix.Stat_t
	if err := unix.Lstat(from, &st); err != nil {
		return &os.PathError{Op: "lstat", Path: from, Err: err}
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return c.directory(from, to, &st)
	case unix.S_IFREG:
		return c.file(from, to, &st)
	case unix.S_IFLNK:
		target, err := os.Readlink(from)
		if err == nil {
			err = replacing(to, func() error { return os.Symlink(target, to) })
		}
		return errors.Join(err, os.Lchown(to, int(st.Uid), int(st.Gid)), setTimes(to, &st))
	case unix.S_IFIFO, unix.S_IFCHR, unix.S_IFBLK:
		err := replacing(to, func() error { return unix.Mknod(to, st.Mode, int(st.Rdev)) })
		if err == unix.EPERM {
			return nil // no device can be made here; the stage has those of its own /dev
		}
		return errors.Join(err, copyOwner(from, to), setTimes(to, &st))
	}
	return nil // a socket is nothing without who listens
}

func (c *copier) directory(from, to string, st *unix.Stat_t) error {
	if info, err := os.Lstat(to); err == nil && !info.IsDir() {
		if err := os.Remove(to); err != nil {
			return err
		}
	}
	if err := os.Mkdir(to, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := copyOwner(from, to); err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := c.copy(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// file copies now when it has several names, and else behind the scenes.
func (c *copier) file(from, to string, st *unix.Stat_t) error {
	if st.Nlink > 1 {
		if first, ok := c.links[st.Ino]; ok {
			return replacing(to, func() error { return os.Link(first, to) })
		}
		c.links[st.Ino] = to
		return c.content(from, to, *st)
	}
	one := *st
	c.tasks.Go(func() error { return c.content(from, to, one) })
	return nil
}

func (c *copier) content(from, to string, st unix.Stat_t) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := os.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if err := c.bytes(out, in, st.Size); err != nil {
		return err
	}
	if err := unix.Fchown(int(out.Fd()), int(st.Uid), int(st.Gid)); err != nil {
		return &os.PathError{Op: "chown", Path: to, Err: err}
	}
	if err := unix.Fchmod(int(out.Fd()), st.Mode&0o7777); err != nil {
		return &os.PathError{Op: "chmod", Path: to, Err: err}
	}
	if caps, err := xattr(from, capabilityAttr); err == nil && caps != nil {
		if err := unix.Fsetxattr(int(out.Fd()), capabilityAttr, caps, 0); err != nil && err != unix.EPERM {
			return &os.PathError{Op: "setxattr", Path: to, Err: err}
		}
	}
	return setTimes(to, &st)
}

// bytes shares blocks where the disk can, and else copies in the kernel.
func (c *copier) bytes(out, in *os.File, size int64) error {
	c.mu.Lock()
	no := c.no
	c.mu.Unlock()
	if !no && size > 0 {
		err := unix.IoctlFileClone(int(out.Fd()), int(in.Fd()))
		if err == nil {
			return nil
		}
		c.mu.Lock()
		c.no = true
		c.mu.Unlock()
	}
	n, err := io.Copy(out, in) // copy_file_range where it can be
	if err == nil && n != size {
		err = fmt.Errorf("copying %q: it has %d bytes and should have %d", in.Name(), n, size)
	}
	return err
}

// settle gives directories their times, which writing into them has changed.
func (c *copier) settle(from, to string) error {
	info, err := os.Lstat(from)
	if err != nil || !info.IsDir() {
		return err
	}
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		return copyTimes(path, filepath.Join(to, rel))
	})
}

// replacing makes something anew where something may be already.
func replacing(to string, make func() error) error {
	err := make()
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	return make()
}

// copyOwner gives to the owner and mode of from.
func copyOwner(from, to string) error {
	var st unix.Stat_t
	if err := unix.Lstat(from, &st); err != nil {
		return &os.PathError{Op: "lstat", Path: from, Err: err}
	}
	if err := os.Lchown(to, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if err := unix.Fchmodat(unix.AT_FDCWD, to, st.Mode&0o7777, 0); err != nil {
		return &os.PathError{Op: "chmod", Path: to, Err: err}
	}
	return nil
}

func copyTimes(from, to string) error {
	var st unix.Stat_t
	if err := unix.Lstat(from, &st); err != nil {
		return &os.PathError{Op: "lstat", Path: from, Err: err}
	}
	return setTimes(to, &st)
}

func setTimes(to string, st *unix.Stat_t) error {
	times := []unix.Timespec{st.Atim, st.Mtim}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, to, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "utimensat", Path: to, Err: err}
	}
	return nil
}
