package containerd

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"plumb/engine/runtime"
)

// A mount of this process does not reach the daemon, and a file that does may come to
// a disk, or stay when this process is killed. So the container's runc runs this program
// as a hook, when the container's mounts are made and before its root is changed: it
// reads the secrets from a pipe and mounts them there. They are in memory, in that one
// mount namespace, and gone with it.
//
//	agent ─▶ pipe with a name ─▶ hook ─▶ tmpfs in the container's mount namespace
//
// A pipe keeps nothing: the bytes are in memory until they are read.

// hookName is what the hook finds as its own name.
const hookName = "plumb-secrets"

// handout is a pipe with secrets in it, nil for none.
type handout struct {
	path string
	pipe *os.File
	done chan error
}

// handSecrets begins to write the secrets of a container, as a tar file.
func (d *daemon) handSecrets(id string, s runtime.Secrets) (*handout, error) {
	if len(s.Files) == 0 {
		return nil, nil
	}
	h := &handout{path: filepath.Join(d.pipes, id+".secrets"), done: make(chan error, 1)}
	if err := unix.Mkfifo(h.path, 0o600); err != nil {
		return nil, fmt.Errorf("handing over secrets: %w", err)
	}
	var err error
	// For reading, too, so that opening it does not wait, and nothing is lost when the
	// hook comes later.
	if h.pipe, err = os.OpenFile(h.path, os.O_RDWR|unix.O_NONBLOCK, 0); err != nil {
		return nil, errors.Join(fmt.Errorf("handing over secrets: %w", err), os.Remove(h.path))
	}
	go func() { h.done <- writeSecrets(h.pipe, s.Files) }()
	return h, nil
}

func writeSecrets(to io.Writer, files map[string][]byte) error {
	w := tar.NewWriter(to)
	for name, value := range files {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(value)), Mode: 0o400}); err != nil {
			return err
		}
		if _, err := w.Write(value); err != nil {
			return err
		}
	}
	return w.Close()
}

// close is for when the container is made, or cannot be.
func (h *handout) close() error {
	if h == nil {
		return nil
	}
	err := errors.Join(h.pipe.Close(), os.Remove(h.path))
	if werr := <-h.done; werr != nil && !errors.Is(werr, os.ErrClosed) {
		err = errors.Join(err, werr)
	}
	if err != nil {
		return fmt.Errorf("handing over secrets: %w", err)
	}
	return nil
}

// What links this package can be the hook, as it can be a container's first process (see
// package runcinit, which is why this init has an effect), or what watches over a stage
// without a container (jailer.go). It may not depend on main: a program that did not know
// would do whatever else it does, as root.
func init() {
	if len(os.Args) == 1 && os.Args[0] == jailerName {
		os.Exit(jailer())
	}
	if status, ok := hook(os.Args); ok {
		os.Exit(status)
	}
}

// hook is what this program does when the runc of a daemon calls it: args are its
// arguments. ok says whether it was.
func hook(args []string) (status int, ok bool) {
	if len(args) == 0 || args[0] != hookName {
		return 0, false
	}
	if err := runHook(args[1:], os.Stdin); err != nil {
		fmt.Fprintf(os.Stderr, "plumb: mounting secrets: %v\n", err) // runc passes it on
		return 1, true
	}
	return 0, true
}

func runHook(args []string, stdin io.Reader) error {
	var state specs.State
	if err := json.NewDecoder(stdin).Decode(&state); err != nil {
		return fmt.Errorf("reading the state of the container: %w", err)
	}
	if len(args) != 4 || state.Pid <= 0 {
		return errors.New("it is called in another way than it expects")
	}
	uid, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(args[3])
	if err != nil {
		return err
	}
	files, err := readSecrets(args[0])
	if err != nil {
		return fmt.Errorf("reading them: %w", err)
	}
	// The thread is of no use to anybody afterwards; this process ends.
	goruntime.LockOSThread()
	if err := enterMounts(state.Pid); err != nil {
		return err
	}
	return placeSecrets(filepath.Join(state.Bundle, "rootfs"), args[1], files, uid, gid)
}

func readSecrets(pipe string) (map[string][]byte, error) {
	f, err := os.OpenFile(pipe, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := f.SetReadDeadline(time.Now().Add(answerTime)); err != nil {
		return nil, err
	}
	files, r := map[string][]byte{}, tar.NewReader(f)
	for {
		h, err := r.Next()
		if err == io.EOF {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		if files[h.Name], err = io.ReadAll(r); err != nil {
			return nil, err
		}
	}
}

// enterMounts lets this thread see what the container will.
func enterMounts(pid int) error {
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/mnt", pid))
	if err != nil {
		return err
	}
	defer ns.Close()
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unsharing the root: %w", err)
	}
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("entering the container's mounts: %w", err)
	}
	return nil
}

// placeSecrets mounts them on dir, a tmpfs that runc has mounted for it. The image's
// links lead within the image, as they did for runc.
func placeSecrets(rootfs, dir string, files map[string][]byte, uid, gid int) error {
	at, err := openIn(rootfs, dir)
	if err != nil {
		return err
	}
	if err := mountSecrets(at.path(), files, uid, gid); err != nil {
		return errors.Join(fmt.Errorf("mounting %q: %w", dir, err), at.Close())
	}
	if err := at.Close(); err != nil {
		return err
	}
	if at, err = openIn(rootfs, dir); err != nil { // what is on top now
		return err
	}
	defer at.Close()
	for name, value := range files {
		if err := writeSecret(filepath.Join(at.path(), name), value, uid, gid); err != nil {
			return fmt.Errorf("writing the secret %q: %w", name, err)
		}
	}
	const flags = unix.MS_REMOUNT | unix.MS_BIND | unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := unix.Mount("", at.path(), "", flags, ""); err != nil {
		return fmt.Errorf("making %q read-only: %w", dir, err)
	}
	return nil
}

// directory is an open one, and a name for it.
type directory struct{ *os.File }

func (d directory) path() string { return fmt.Sprintf("/proc/thread-self/fd/%d", d.Fd()) }

// openIn opens the tmpfs at dir in rootfs.
func openIn(rootfs, dir string) (directory, error) {
	root, err := unix.Open(rootfs, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return directory{}, &os.PathError{Op: "open", Path: rootfs, Err: err}
	}
	defer unix.Close(root)
	fd, err := unix.Openat2(root, strings.TrimPrefix(dir, "/"), &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return directory{}, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil || st.Type != unix.TMPFS_MAGIC {
		return directory{}, errors.Join(fmt.Errorf("%q is no tmpfs", dir), err, unix.Close(fd))
	}
	return directory{os.NewFile(uintptr(fd), dir)}, nil
}
