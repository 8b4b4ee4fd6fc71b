package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// checkLayout refuses a store whose directories are something else: files would be
// made, and deleted, where a symlink leads.
func (s *Store) checkLayout() error {
	for _, dir := range []string{"blobs", "blobs/sha256", "cache", "meta", "placed", "tmp"} {
		fi, err := os.Lstat(s.path(dir))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("looking at the store: %w", err)
		}
		if err := wantDir(s.path(dir), fi.Mode()); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(s.path("blobs", "sha256"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("looking at the store: %w", err)
	}
	for _, e := range entries {
		if len(e.Name()) != 2 && e.Type()&fs.ModeSymlink == 0 {
			continue // nothing of ours: fsck tells of it
		}
		if err := wantDir(s.path("blobs", "sha256", e.Name()), e.Type()); err != nil {
			return err
		}
	}
	return nil
}

func wantDir(path string, mode fs.FileMode) error {
	switch {
	case mode.IsDir():
		return nil
	case mode&fs.ModeSymlink != 0:
		return fmt.Errorf("%q is a symlink, and a directory is expected: nothing is written where it leads", path)
	default:
		return fmt.Errorf("%q is no directory, and one is expected: move it away", path)
	}
}
