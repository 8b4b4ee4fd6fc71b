package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// beside makes the project in a directory beside the one asked for. The directories that
// this one lies in are made, too, and go again when it does not come to be.
func (r *restoring) beside() (err error) {
	parents, tmp, done, err := beginIn(filepath.Dir(r.req.To))
	defer func() {
		if err != nil {
			err = errors.Join(err, unmake(parents))
		}
	}()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	made := filepath.Join(tmp, "new")
	if err := r.write(made); err != nil {
		return err
	}
	return os.Rename(made, r.req.To)
}

// beginIn begins a restore in a directory that may have to be made, and says what was.
// Another restore that fails may remove it again before there is anything in it.
func beginIn(dir string) (parents []string, tmp string, done func() error, err error) {
	const often = 20
	for range often {
		var made []string
		made, err = makeDirs(dir)
		parents = append(parents, made...)
		if err == nil {
			tmp, done, err = beginRestore(dir)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return parents, tmp, done, err
}

// makeDirs makes a directory and those that it lies in, and lists what was not there, the
// outermost first; also of what it could not make as a whole.
func makeDirs(dir string) (made []string, err error) {
	if above := filepath.Dir(dir); above != dir {
		if _, err := os.Stat(dir); err == nil {
			return nil, nil
		}
		if made, err = makeDirs(above); err != nil {
			return made, err
		}
	}
	err = os.Mkdir(dir, 0o777)
	if err == nil {
		return append(made, dir), nil
	}
	info, serr := os.Stat(dir)
	switch {
	case serr == nil && info.IsDir():
		return made, nil // somebody else was quicker
	case errors.Is(serr, fs.ErrNotExist) && errors.Is(err, fs.ErrExist):
		return made, serr // and removed it again
	}
	return made, err
}

// unmake removes directories that were made, unless there is something in them by now.
func unmake(dirs []string) error {
	var errs []error
	for i := len(dirs) - 1; i >= 0; i-- {
		if err := os.Remove(dirs[i]); !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

const restoreTemp = ".plumb-restore-"

// beginRestore makes the directory in which a restore comes to be. It is locked for as
// long as it is in use, so that the next restore beside it can tell and remove those that
// a killed plumb left.
func beginRestore(parent string) (tmp string, done func() error, err error) {
	left, err := filepath.Glob(filepath.Join(globQuoted(parent), restoreTemp+"*"))
	if err != nil {
		return "", nil, err
	}
	for _, old := range left {
		if lock, err := lockDir(old, unix.LOCK_NB); err == nil {
			if err := errors.Join(os.RemoveAll(old), lock.Close()); err != nil {
				return "", nil, err
			}
		}
	}
	for {
		if tmp, err = os.MkdirTemp(parent, restoreTemp+"*"); err != nil {
			return "", nil, err
		}
		lock, err := lockDir(tmp, 0)
		if errors.Is(err, fs.ErrNotExist) { // another restore came before the lock, and took it for left
			continue
		}
		if err != nil {
			return "", nil, errors.Join(err, os.RemoveAll(tmp))
		}
		return tmp, func() error { return errors.Join(os.RemoveAll(tmp), lock.Close()) }, nil
	}
}

// abandoned reports whether a path is what a killed restore left.
func abandoned(path string) bool {
	if !strings.HasPrefix(filepath.Base(path), restoreTemp) {
		return false
	}
	lock, err := lockDir(path, unix.LOCK_NB)
	return err == nil && lock.Close() == nil
}

// lockDir locks a directory, which is at its path still when that is done: else somebody
// who had the lock removed it, and it is not there. With LOCK_NB nobody is waited for.
func lockDir(dir string, how int) (_ *os.File, err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	for err = unix.EINTR; errors.Is(err, unix.EINTR); {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|how)
	}
	if err != nil {
		return nil, fmt.Errorf("locking %q: %w", dir, err)
	}
	locked, err := f.Stat()
	if err != nil {
		return nil, err
	}
	now, err := os.Lstat(dir)
	if err != nil {
		return nil, err
	}
	if !os.SameFile(locked, now) {
		return nil, fmt.Errorf("locking %q: %w", dir, fs.ErrNotExist)
	}
	return f, nil
}

// globQuoted makes a path match itself alone.
func globQuoted(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}
