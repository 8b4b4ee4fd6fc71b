package containerd

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"plumb/engine/runtime/containerd/seccomp"
)

// capabilities are what a stage has: the ones that tar, cp -a, chown and su
// need on files and processes that are the container's own.
func capabilities() []string {
	return []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID"}
}

// shim are the two files that every container is started with: plumb's own
// program, which is executed as an unprivileged user there, and the seccomp
// filter that it loads.
type shim struct {
	exe    *os.File
	filter *os.File
}

func newShim() (_ *shim, err error) {
	s := &shim{}
	if s.filter, err = sealedFilter(); err != nil {
		return nil, err
	}
	if s.exe, err = ownProgram(); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// sealedFilter is the filter of stages, with changes, in memory.
func sealedFilter(changes ...seccomp.Change) (*os.File, error) {
	code, err := seccomp.Filter(capabilities(), changes...)
	if err != nil {
		return nil, err
	}
	return sealed("plumb-seccomp", func(f *os.File) error {
		_, err := f.Write(code)
		return err
	})
}

// ownProgram opens this program so that others may execute it. Where the file
// says that only its owner may, a copy in memory does.
func ownProgram() (*os.File, error) {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		return nil, fmt.Errorf("opening the own program: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the own program: %w", err), f.Close())
	}
	if info.Mode().Perm()&0o001 != 0 {
		return f, nil
	}
	defer f.Close()
	return sealed("plumb", func(to *os.File) error {
		_, err := io.Copy(to, f)
		return err
	})
}

// sealed makes a file in memory that nobody can change.
func sealed(name string, fill func(*os.File) error) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("making file %q in memory: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	err = fill(f)
	if err == nil {
		err = f.Chmod(0o555)
	}
	if err == nil {
		_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("making file %q in memory: %w", name, err), f.Close())
	}
	return f, nil
}

func (s *shim) close() error {
	var errs []error
	for _, f := range []*os.File{s.exe, s.filter} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}
