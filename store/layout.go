package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"plumb/store/erase"
)

// The modes of blobs. Hard links share a mode, hence a file for each.
const (
	modeFile = 0o444
	modeExec = 0o555
)

// ContentTime is the one modification time of all content: 2000-01-01 UTC. A stage
// must not see when its input came into the store, and archivers refuse 1970.
func ContentTime() time.Time { return time.Unix(946684800, 0) }

func (s *Store) path(elem ...string) string {
	return filepath.Join(append([]string{s.dir}, elem...)...)
}

// blobPath is where a blob too large for Badger lies.
func (s *Store) blobPath(d Digest, exec bool) string {
	name := d.Hex()
	dir := name[:2]
	if exec {
		name += ".x"
	}
	return s.dir + "/blobs/sha256/" + dir + "/" + name
}

// makeLayout creates the directories. Stages run as other users: what leads to
// placed content can be passed through, and only that.
func (s *Store) makeLayout() error {
	for _, d := range []string{"blobs/sha256", "placed", "tmp"} {
		if err := makeDirs(s.path(d)); err != nil {
			return err
		}
	}
	// Records hold commands, environments and small outputs, in files whose names
	// can be guessed.
	for _, d := range []string{"meta", "cache"} {
		if err := os.MkdirAll(s.path(d), 0o700); err != nil {
			return err
		}
		if err := os.Chmod(s.path(d), 0o700); err != nil {
			return err
		}
	}
	boot, err := bootID()
	if err != nil {
		return err
	}
	if err := s.setAside(boot); err != nil {
		return err
	}
	for _, d := range []string{s.path("tmp"), s.path("placed", boot)} {
		if err := os.MkdirAll(d, 0o711); err != nil {
			return err
		}
	}
	return nil
}

// asidePrefix begins the names of what is being deleted.
const asidePrefix = "sweep-"

// setAside renames what the last owner left, which is quick however much it is:
// unfinished writing, and what was placed before the machine last started, which
// was never synced and cannot be trusted after a power loss.
func (s *Store) setAside(boot string) error {
	full, err := holdsSomething(s.path("tmp"))
	if err != nil {
		return err
	}
	if full {
		if err := os.Rename(s.path("tmp"), s.asideName()); err != nil {
			return err
		}
	}
	placed, err := os.ReadDir(s.path("placed"))
	if err != nil {
		return err
	}
	for _, e := range placed {
		if e.Name() == boot {
			continue
		}
		if err := os.Rename(s.path("placed", e.Name()), s.asideName()); err != nil {
			return err
		}
	}
	return nil
}

// holdsSomething looks for one entry: there may be very many.
func holdsSomething(dir string) (bool, error) {
	d, err := os.Open(dir)
	if err != nil {
		return false, err
	}
	names, err := d.Readdirnames(1)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return len(names) > 0, errors.Join(err, d.Close())
}

func (s *Store) asideName() string {
	for n := s.now().UnixNano(); ; n++ {
		p := s.path(asidePrefix + strconv.FormatInt(n, 36))
		if _, err := os.Lstat(p); errors.Is(err, fs.ErrNotExist) {
			return p
		}
	}
}

// leftovers lists what was set aside, by this owner or one before.
func (s *Store) leftovers() ([]string, error) {
	return filepath.Glob(s.path(asidePrefix + "*"))
}

// bootID tells one start of the machine from the next.
func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("reading the boot id: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// TempDir makes a directory on the store's file system for something that is
// being made. The next owner deletes it if the caller does not.
func (s *Store) TempDir(prefix string) (string, error) {
	if !s.isWritable() {
		return "", fmt.Errorf("making a temporary directory: %w", ErrReadOnly)
	}
	if err := s.Present(); err != nil { // at its path there may be another one by now
		return "", fmt.Errorf("making a temporary directory: %w", err)
	}
	dir, err := os.MkdirTemp(s.path("tmp"), prefix)
	if err != nil {
		return "", fmt.Errorf("making a temporary directory: %w", err)
	}
	return dir, nil
}

func writeSynced(path string, data []byte) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("syncing the directory %q: %w", path, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("syncing the directory %q: %w", path, err)
	}
	return nil
}

// sweeper deletes in the background what was set aside.
type sweeper struct {
	cancel context.CancelFunc
	done   chan struct{}
}

func (w *sweeper) start(log *slog.Logger, list func() ([]string, error)) {
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel, w.done = cancel, make(chan struct{})
	go func(done chan struct{}) {
		defer close(done)
		names, err := list()
		for _, n := range names {
			err = errors.Join(err, erase.All(ctx, n))
		}
		if err != nil && ctx.Err() == nil {
			log.Warn("deleting leftovers", "error", err)
		}
	}(w.done)
}

// stop gives up deleting; the next owner goes on.
func (w *sweeper) stop() {
	if w.cancel == nil {
		return
	}
	w.cancel()
	<-w.done
	w.cancel = nil
}
