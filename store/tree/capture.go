package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"plumb/store"
)

// What a stage leaves behind is not to be trusted: a symlink may point anywhere,
// a directory may be unreadable, a file may be another name of an input. Nothing
// runs there any more, but every step goes by directory descriptors and follows
// no symlink, so that a name is never looked up twice with different results.

// capturer takes over one output.
type capturer struct {
	ctx    context.Context
	batch  *store.Batch
	hollow atomic.Int64 // bytes of holes so far
}

// Capture takes over the file or directory at the slash-separated path rel below
// dir, and puts it into the batch. Large files leave dir, by renaming; their
// content is read once. The error says in words what cannot be captured: nothing
// there (fs.ErrNotExist), a symlink, or one inside that leaves the output, a FIFO,
// socket or device, or more holes than maxHoles.
func Capture(ctx context.Context, _ *store.Store, b *store.Batch, dir, rel string) (store.Artifact, error) {
	if !filepath.IsLocal(rel) {
		return store.Artifact{}, fmt.Errorf("capturing %q: the path leaves the workspace", rel)
	}
	c := &capturer{ctx: ctx, batch: b}
	a, err := c.capture(dir, path.Clean(rel))
	if err != nil {
		return store.Artifact{}, fmt.Errorf("capturing %q: %w", rel, err)
	}
	return a, nil
}

func (c *capturer) capture(dir, rel string) (a store.Artifact, err error) {
	parent, err := openBeneath(dir, path.Dir(rel))
	if err != nil {
		return a, err
	}
	defer func() { err = errors.Join(err, parent.Close()) }()
	name := path.Base(rel)
	st, err := lstatAt(parent, name)
	if err != nil {
		return a, err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return c.file(parent, name, &st)
	case unix.S_IFDIR:
		return c.tree(parent, name)
	case unix.S_IFLNK:
		return a, errors.New("it is a symlink; an output must be a file or a directory itself")
	}
	return a, special(&st)
}

// openBeneath opens the directory rel below dir without following a symlink.
func openBeneath(dir, rel string) (*os.File, error) {
	at, err := openWorkspace(dir)
	if err != nil || rel == "." {
		return at, err
	}
	for name := range strings.SplitSeq(rel, "/") {
		next, err := openDir(at, name)
		if err = errors.Join(err, at.Close()); err != nil {
			return nil, err
		}
		at = next
	}
	return at, nil
}

// openWorkspace opens the stage's own directory, whose name it could not change, but
// whose mode it could.
func openWorkspace(dir string) (*os.File, error) {
	at, err := os.Open(dir)
	if errors.Is(err, fs.ErrPermission) {
		if err := os.Chmod(dir, 0o700); err != nil {
			return nil, err
		}
		at, err = os.Open(dir)
	}
	return at, err
}

// openDir opens a directory of parent. One that was made unreadable is made
// readable, which its owner may do.
func openDir(parent *os.File, name string) (*os.File, error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := openReadable(parent, name, flags, 0o700)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil, fmt.Errorf("%q is not a directory", name)
	}
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

func openReadable(parent *os.File, name string, flags int, mode uint32) (int, error) {
	fd, err := unix.Openat(int(parent.Fd()), name, flags, 0)
	if errors.Is(err, unix.EACCES) {
		if err := unix.Fchmodat(int(parent.Fd()), name, mode, 0); err != nil {
			return -1, &fs.PathError{Op: "chmod", Path: name, Err: err}
		}
		fd, err = unix.Openat(int(parent.Fd()), name, flags, 0)
	}
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return fd, nil
}

func lstatAt(parent *os.File, name string) (st unix.Stat_t, err error) {
	if err := unix.Fstatat(int(parent.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return st, &fs.PathError{Op: "lstat", Path: name, Err: err}
	}
	return st, nil
}

// file takes over one file. A file with another name is copied: that may be a
// blob's, which must change neither its mode nor its place.
func (c *capturer) file(parent *os.File, name string, st *unix.Stat_t) (a store.Artifact, err error) {
	if err := c.ctx.Err(); err != nil {
		return a, err
	}
	fd, err := openReadable(parent, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return a, err
	}
	f := os.NewFile(uintptr(fd), name)
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := c.holes(f, st); err != nil {
		return a, err
	}
	if st.Nlink > 1 {
		return c.batch.PutFile(f, executable(st))
	}
	return c.batch.Adopt(parent, name, f, executable(st))
}

// tree takes over a directory.
func (c *capturer) tree(parent *os.File, name string) (store.Artifact, error) {
	var entries []Entry
	if err := c.dir(parent, name, "", &entries); err != nil {
		return store.Artifact{}, err
	}
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Path, b.Path) })
	manifest, err := c.batch.Put(strings.NewReader(string(Encode(entries))), false)
	if err != nil {
		return store.Artifact{}, err
	}
	return artifactOf(entries, manifest.Digest), nil
}

// maxPath is how long a path in a tree may be: nobody could open one that is longer by
// its name, and each level costs an open file while it is captured.
const maxPath = unix.PathMax - 1

// dir adds what is in a directory: its files on all cores, then its directories.
func (c *capturer) dir(parent *os.File, name, rel string, entries *[]Entry) (err error) {
	if len(rel) > maxPath {
		return fmt.Errorf("%.40q… in it: its path is longer than %d bytes", rel, maxPath)
	}
	d, err := openDir(parent, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return err
	}
	here := make([]Entry, len(names))
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, n := range names {
		e := &here[i]
		e.Path = path.Join(rel, n)
		group.Go(func() error {
			if err := c.entry(d, n, e); err != nil {
				return fmt.Errorf("%q in it: %w", e.Path, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	*entries = append(*entries, here...)
	for i, n := range names {
		if here[i].Kind == KindDir {
			if err := c.dir(d, n, here[i].Path, entries); err != nil {
				return err
			}
		}
	}
	return nil
}

// entry fills in one path of a tree; a directory's content comes later.
func (c *capturer) entry(d *os.File, name string, e *Entry) error {
	st, err := lstatAt(d, name)
	if err != nil {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		a, err := c.file(d, name, &st)
		if err != nil {
			return err
		}
		e.Kind, e.Exec, e.Size, e.Digest = KindFile, a.Exec, a.Size, a.Digest
	case unix.S_IFDIR:
		e.Kind = KindDir
	case unix.S_IFLNK:
		target, err := readLink(int(d.Fd()), name)
		if err != nil {
			return err
		}
		if leaves(e.Path, target) {
			return fmt.Errorf("it is a symlink that leaves the output, to %q", target)
		}
		e.Kind, e.Link = KindLink, target
	default:
		return special(&st)
	}
	return nil
}
