package containerd

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// The databases and the unpacked layers are written without fsync: containers
// would take twice as long otherwise. The page cache outlives the process, so
// only a machine that stops may lose some of it, and what it loses is not known.
// A file says in which boot of the machine the store was last opened, and loses
// that name when the store is closed and synced. An open store of another boot
// is thus one that a power cut met: it is discarded, images are imported again.

const bootFile = "boot"

// Unpacked layers have the owners that containers have, as the process that unpacked
// them had its ids: others are of no use to one with other ids, as a user has who was
// given subordinate ids meanwhile. A file says which they were.
const idsFile = "ids"

// trustIDs discards a store whose layers were unpacked with other ids.
func trustIDs(root string, log *slog.Logger) error {
	now := ""
	for _, file := range []string{"/proc/self/uid_map", "/proc/self/gid_map"} {
		b, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("reading the mapping of ids: %w", err)
		}
		for line := range strings.Lines(string(b)) {
			now += strings.Join(strings.Fields(line), " ") + "\n"
		}
		now += "\n"
	}
	path := filepath.Join(root, idsFile)
	then, err := os.ReadFile(path)
	switch {
	case err == nil && string(then) == now:
		return nil
	case err == nil:
		log.Warn("this user has other ids than when the images were unpacked, starting without them", "root", root)
		if err := discardStore(root); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("reading %q: %w", path, err)
	}
	if err := os.WriteFile(path, []byte(now), 0o600); err != nil {
		return fmt.Errorf("writing %q: %w", path, err)
	}
	return nil
}

// trustStore discards a store that a power cut may have damaged, and notes that
// it is open from now on.
func trustStore(root string) error {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return fmt.Errorf("reading the machine's boot id: %w", err)
	}
	path := filepath.Join(root, bootFile)
	opened, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading %q: %w", path, err)
	}
	if err == nil && bytes.Equal(opened, boot) {
		return nil
	}
	if err == nil {
		if err := discardStore(root); err != nil {
			return err
		}
	}
	// Not synced: the name gets to the disk with the file system's next commit,
	// before any page of the databases is old enough to be written back.
	if err := os.WriteFile(path, boot, 0o600); err != nil {
		return fmt.Errorf("writing %q: %w", path, err)
	}
	return nil
}

// settleStore waits for the disk and notes that the store is closed.
func settleStore(root string) error {
	if err := syncFS(root); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(root, bootFile)); err != nil {
		return fmt.Errorf("closing the store: %w", err)
	}
	return nil
}

// syncFS waits for the disk that dir is on.
func syncFS(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("opening directory %q: %w", dir, err)
	}
	defer d.Close()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return fmt.Errorf("syncing the file system of %q: %w", dir, err)
	}
	return nil
}

// discardStore moves away all that containerd keeps; the trash is emptied
// behind everyone's back. The lock and the trash stay.
func discardStore(root string) error {
	entries, err := os.ReadDir(root)
	if err != nil {
		return fmt.Errorf("discarding the store: %w", err)
	}
	bin := filepath.Join(root, "trash")
	if err := os.MkdirAll(bin, 0o700); err != nil {
		return fmt.Errorf("discarding the store: %w", err)
	}
	away, err := os.MkdirTemp(bin, "store-")
	if err != nil {
		return fmt.Errorf("discarding the store: %w", err)
	}
	for _, e := range entries {
		if e.Name() == lockFile || e.Name() == "trash" || e.Name() == bootFile || e.Name() == idsFile {
			continue
		}
		if err := os.Rename(filepath.Join(root, e.Name()), filepath.Join(away, e.Name())); err != nil {
			return fmt.Errorf("discarding the store: %w", err)
		}
	}
	return nil
}

const lockFile = "lock"

// lockRoot keeps a second owner out, with a word; containerd's own databases
// would make it wait in silence.
func lockRoot(root string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(root, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.New("another process owns it")
		}
		return nil, fmt.Errorf("locking: %w", err)
	}
	return f, nil
}
