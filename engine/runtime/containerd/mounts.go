package containerd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"plumb/engine/runtime"
)

// check refuses what no container can be made from, before anything is made.
func check(s runtime.Spec) error {
	switch {
	case !validID(s.ID):
		return errors.New("its id must be of [a-z0-9-], at most 63")
	case len(s.Args) == 0:
		return errors.New("it has no command")
	case slices.Contains(s.Streams.Files[:], nil) && s.Streams.Files != [3]*os.File{}, s.Streams.Console != nil && s.Streams.Files[0] != nil:
		return errors.New("it has some streams and no others")
	case s.Bare && (s.Network || s.Home != ""):
		return errors.New("a bare one has no network and no home")
	case s.Bare && s.Devices != nil:
		return errors.New("a bare one has no devices")
	}
	paths := []string{s.Dir, s.Home}
	for _, m := range s.Mounts {
		if m.Target == "" || m.Target == "/" || m.Source == "" {
			return fmt.Errorf("mount %q of %q: both ends must be named", m.Target, m.Source)
		}
		paths = append(paths, m.Target)
	}
	for name := range s.Secrets.Files {
		if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
			return fmt.Errorf("%q is no name for a secret", name)
		}
		paths = append(paths, s.Secrets.Dir)
	}
	for _, p := range paths {
		if p != "" && (!filepath.IsAbs(p) || filepath.Clean(p) != p || strings.Contains(p, "\x00")) {
			return fmt.Errorf("path %q must be absolute and clean", p)
		}
	}
	return nil
}

// validID keeps ids fit for names of files and cgroups.
func validID(id string) bool {
	return id != "" && len(id) <= 63 && id[0] != '-' && strings.Trim(id, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// claimMounts checks the sources of the mounts and gives writable ones to the
// container's user. A source may not lead through a symbolic link: something
// that a container could write may be on the way to it, and would decide which
// file of the host is mounted.
func claimMounts(mounts []runtime.Mount, uid, gid int) error {
	for _, m := range mounts {
		if err := claimMount(m, uid, gid); err != nil {
			return fmt.Errorf("mounting %q: %w", m.Target, err)
		}
	}
	return nil
}

func claimMount(m runtime.Mount, uid, gid int) error {
	fd, err := unix.Openat2(unix.AT_FDCWD, m.Source, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err == unix.ELOOP {
		return fmt.Errorf("its source %q leads through a symbolic link", m.Source)
	}
	if err != nil {
		return &os.PathError{Op: "open", Path: m.Source, Err: err}
	}
	defer unix.Close(fd)
	if m.ReadOnly {
		return nil
	}
	if err := unix.Fchownat(fd, "", uid, gid, unix.AT_EMPTY_PATH); err != nil {
		return &os.PathError{Op: "chown", Path: m.Source, Err: err}
	}
	if m.Lasting { // what is in it has the owners that a container gave it
		return nil
	}
	return ownDirectories(fd, m.Source, uid, gid)
}

// ownDirectories gives the directories that stand in a writable source already to
// the container's user: those that its outputs are to be written into. No process
// of a container has been there yet, so nothing in it is a trap.
func ownDirectories(fd int, source string, uid, gid int) error {
	root, err := os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", fd))
	if errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return &os.PathError{Op: "open", Path: source, Err: err}
	}
	defer root.Close()
	return fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() || path == "." {
			return err
		}
		return root.Lchown(path, uid, gid)
	})
}

// makeDevices makes the /dev of all containers: a small read-only file system
// with the devices that do no harm, and the places where each container mounts
// its own. Binding it is one mount where making it would be a dozen. Without root no
// device can be made, and the machine's are bound.
func makeDevices(dir string, rootless bool) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making devices: %w", err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC, "mode=0755,size=64k"); err != nil {
		return fmt.Errorf("making devices: mounting %q: %w", dir, err)
	}
	return fillDevices(dir, rootless)
}

// fillDevices makes what is in an empty /dev.
func fillDevices(dir string, rootless bool) error {
	for name, dev := range map[string]uint64{
		"null": unix.Mkdev(1, 3), "zero": unix.Mkdev(1, 5), "full": unix.Mkdev(1, 7), "random": unix.Mkdev(1, 8), "urandom": unix.Mkdev(1, 9),
		"tty": unix.Mkdev(5, 0),
	} {
		make := makeDevice
		if rootless {
			make = bindDevice
		}
		if err := make(filepath.Join(dir, name), dev); err != nil {
			return fmt.Errorf("making device %q: %w", name, err)
		}
	}
	for _, name := range []string{"pts", "shm", "mqueue"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			return fmt.Errorf("making devices: %w", err)
		}
	}
	// Some runcs give a file system in memory the mode of what it is mounted on.
	if err := unix.Chmod(filepath.Join(dir, "shm"), 0o1777); err != nil {
		return fmt.Errorf("making devices: %w", err)
	}
	for name, target := range map[string]string{
		"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
		"core": "/proc/kcore", "ptmx": "pts/ptmx",
	} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("making devices: %w", err)
		}
	}
	return nil
}

func makeDevice(path string, dev uint64) error {
	if err := unix.Mknod(path, unix.S_IFCHR|0o666, int(dev)); err != nil {
		return err
	}
	return unix.Chmod(path, 0o666)
}

// bindDevice makes sure that the machine's device of that name is the one meant.
func bindDevice(path string, dev uint64) error {
	from := filepath.Join("/dev", filepath.Base(path))
	var st unix.Stat_t
	if err := unix.Stat(from, &st); err != nil {
		return &os.PathError{Op: "stat", Path: from, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != dev {
		return fmt.Errorf("%q is not that device", from)
	}
	if err := os.WriteFile(path, nil, 0o666); err != nil {
		return err
	}
	return unix.Mount(from, path, "", unix.MS_BIND, "")
}
