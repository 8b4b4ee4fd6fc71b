package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// InUseError says which process owns a store; PID is 0 when it is not known. It
// is ErrInUse.
type InUseError struct{ PID int }

func (e *InUseError) Error() string {
	if e.PID == 0 {
		return ErrInUse.Error()
	}
	return fmt.Sprintf("%v (process %d)", ErrInUse, e.PID)
}

// Is makes the error ErrInUse.
func (e *InUseError) Is(target error) bool { return target == ErrInUse }

// lockExclusive makes the caller the owner, or fails at once.
func lockExclusive(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return nil, lockError(err)
	}
	return flock(f, unix.LOCK_EX)
}

// lockShared keeps owners out while the caller reads. It makes no file.
func lockShared(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, lockError(err)
	}
	return flock(f, unix.LOCK_SH)
}

// lockError says what stands in the lock's place.
func lockError(err error) error {
	if errors.Is(err, unix.ELOOP) {
		return fmt.Errorf("opening the lock: it is a symlink, which is not followed: %w", err)
	}
	return fmt.Errorf("opening the lock: %w", err)
}

func flock(f *os.File, how int) (*os.File, error) {
	err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
	if err == nil {
		return f, nil
	}
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		err = &InUseError{PID: readOwner(f)}
	case errors.Is(err, unix.ENOLCK), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EOPNOTSUPP):
		dir := filepath.Dir(f.Name())
		err = &FileSystemError{dir, mountType(dir), fmt.Sprintf("it has no locks: %v", err)}
	default:
		err = fmt.Errorf("locking: %w", err)
	}
	return nil, errors.Join(err, f.Close())
}

// readOwner gives the owner's process id as far as it can be told.
func readOwner(f *os.File) int {
	b, err := io.ReadAll(io.LimitReader(f, 32))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0
	}
	return pid
}

func writeOwner(f *os.File, pid int) error {
	if err := f.Truncate(0); err != nil {
		return fmt.Errorf("writing the lock: %w", err)
	}
	if _, err := f.WriteAt([]byte(strconv.Itoa(pid)+"\n"), 0); err != nil {
		return fmt.Errorf("writing the lock: %w", err)
	}
	return nil
}
