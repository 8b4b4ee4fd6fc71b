// Package erase removes what a stage wrote, whatever that is.
//
// A stage may leave directories in directories, deeper than a path can be long and
// than a process may have files open. os.RemoveAll keeps one open for each level, so
// a hundred thousand levels, which a stage makes in a second, would take all that the
// agent may open, and stay. Here a directory that is too deep is moved up to the top
// of what is removed, and its turn comes there. Directories that deny access to their
// owner are opened to him first. No symlink is followed.
package erase

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// maxLevels is how many directories are open at a time.
const maxLevels = 64

// All removes path and all below it, until ctx is done. It is no error that there is
// nothing. Nobody else may write there meanwhile.
func All(ctx context.Context, path string) error {
	if err := all(ctx, path); err != nil {
		return fmt.Errorf("removing %q: %w", path, err)
	}
	return nil
}

func all(ctx context.Context, path string) error {
	parent, err := os.Open(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer parent.Close()
	name := filepath.Base(path)
	if done, err := unlink(parent, name); done {
		return err
	}
	top, err := openDir(parent, name)
	if err != nil {
		return err
	}
	defer top.Close()
	e := &eraser{ctx: ctx, top: top}
	// Each round finds what the one before moved up.
	for moved := -1; moved != e.moved; {
		moved = e.moved
		if err := e.empty(top, 1); err != nil {
			return err
		}
	}
	return rmdir(parent, name)
}

type eraser struct {
	ctx   context.Context
	top   *os.File
	moved int // directories, so far
}

// empty removes what is in a directory, or moves it up.
func (e *eraser) empty(dir *os.File, level int) error {
	for {
		if _, err := dir.Seek(0, io.SeekStart); err != nil {
			return err
		}
		names, err := dir.Readdirnames(1024)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if len(names) == 0 {
			return nil
		}
		for _, name := range names {
			if err := e.remove(dir, name, level); err != nil {
				return err
			}
		}
	}
}

func (e *eraser) remove(dir *os.File, name string, level int) error {
	if err := e.ctx.Err(); err != nil {
		return err
	}
	if done, err := unlink(dir, name); done {
		return err
	}
	if level == maxLevels {
		return e.moveUp(dir, name)
	}
	d, err := openDir(dir, name)
	if err != nil {
		return err
	}
	if err := errors.Join(e.empty(d, level+1), d.Close()); err != nil {
		return err
	}
	return rmdir(dir, name)
}

// unlink removes what is no directory, and a directory that is empty. Done is false
// for others.
func unlink(dir *os.File, name string) (done bool, err error) {
	err = unix.Unlinkat(int(dir.Fd()), name, 0)
	if errors.Is(err, unix.EACCES) { // the directory's own mode
		if err := dir.Chmod(0o700); err != nil {
			return true, err
		}
		err = unix.Unlinkat(int(dir.Fd()), name, 0)
	}
	switch {
	case err == nil, errors.Is(err, unix.ENOENT):
		return true, nil
	case !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EPERM):
		return true, &fs.PathError{Op: "unlink", Path: name, Err: err}
	}
	var st unix.Stat_t
	if serr := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); serr != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return true, &fs.PathError{Op: "unlink", Path: name, Err: errors.Join(err, serr)}
	}
	return rmdir(dir, name) == nil, nil
}

func rmdir(dir *os.File, name string) error {
	if err := unix.Unlinkat(int(dir.Fd()), name, unix.AT_REMOVEDIR); err != nil && !errors.Is(err, unix.ENOENT) {
		return &fs.PathError{Op: "rmdir", Path: name, Err: err}
	}
	return nil
}

// openDir opens a directory so that what is in it can be listed and removed.
func openDir(dir *os.File, name string) (*os.File, error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat(int(dir.Fd()), name, flags, 0)
	if errors.Is(err, unix.EACCES) {
		if err := chmod(dir, name); err != nil {
			return nil, err
		}
		fd, err = unix.Openat(int(dir.Fd()), name, flags, 0)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// chmod is for directories alone; a link that took the place of one since would be
// followed, but nobody writes here.
func chmod(dir *os.File, name string) error {
	if err := unix.Fchmodat(int(dir.Fd()), name, 0o700, 0); err != nil {
		return &fs.PathError{Op: "chmod", Path: name, Err: err}
	}
	return nil
}

// moveUp gives a directory a name at the top. Moving it writes its "..", which its own
// mode has to allow.
func (e *eraser) moveUp(dir *os.File, name string) error {
	for try := 0; ; try++ {
		e.moved++
		to := ".deep-" + strconv.Itoa(e.moved)
		err := unix.Renameat2(int(dir.Fd()), name, int(e.top.Fd()), to, unix.RENAME_NOREPLACE)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EEXIST): // the stage's own, or an earlier try's
			continue
		case errors.Is(err, unix.EACCES) && try == 0:
			if err := errors.Join(chmod(dir, name), e.top.Chmod(0o700)); err != nil {
				return err
			}
			continue
		}
		return &fs.PathError{Op: "rename", Path: name, Err: err}
	}
}
