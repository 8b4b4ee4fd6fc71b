package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/y"
	"google.golang.org/protobuf/proto"
)

// Badger ends the process, or does not open, when some of its files are not as it
// left them. Those that hold nothing are made anew here before it looks.

// discardSize is the size that Badger gives the file in which it counts how much of a
// value log is out of date. No value of ours goes to one, so that it counts nothing.
const discardSize = 1 << 20

// readyMeta prepares Badger's directory for a writer.
func readyMeta(dir string) error {
	if err := errors.Join(dropEmptyLogs(dir), readyKeys(dir)); err != nil {
		return err
	}
	path := filepath.Join(dir, "DISCARD")
	fi, err := os.Lstat(path)
	if err == nil && fi.Mode().IsRegular() && fi.Size() == discardSize {
		return nil
	}
	if err == nil {
		err = os.Remove(path)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("making %q anew: %w", path, err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(discardSize), f.Close()); err != nil {
		return errors.Join(fmt.Errorf("making %q: %w", path, err), os.Remove(path))
	}
	return nil
}

// dropEmptyLogs deletes the logs of length zero, which hold nothing: one killed
// between making a log and giving it its size, or between emptying and deleting
// it, leaves such a file, and Badger does not open a directory that has one.
func dropEmptyLogs(dir string) error {
	for _, pattern := range []string{"*.mem", "*.vlog"} {
		logs, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return err
		}
		for _, path := range logs {
			if size, ok := fileSize(path); !ok || size > 0 {
				continue
			}
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	return nil
}

// readyKeys removes a registry of keys that is none: nothing is encrypted, so that it
// holds no key, and Badger makes it anew.
func readyKeys(dir string) error {
	const (
		vector = 16 // random
		text   = "Hello Badger"
	)
	path := filepath.Join(dir, "KEYREGISTRY")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(b) == vector+len(text) && string(b[vector:]) == text {
		return nil
	}
	if err != nil {
		return err
	}
	return os.Remove(path)
}

// maxIndex is larger than the index of any table.
const maxIndex = 64 << 20

// setBadTablesAside renames the tables whose index is damaged, of which Badger ends
// the process. What they held is lost, and the manifest has to be mended.
func setBadTablesAside(dir string, deep bool, log *slog.Logger) (n int, err error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil {
		return 0, err
	}
	for _, path := range names {
		why := checkTable(path, deep)
		if why == nil {
			continue
		}
		if path := (*fs.PathError)(nil); errors.As(why, &path) { // it cannot be read now, which says nothing of it
			return n, why
		}
		if err := setAsideTable(path, why, log); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

func setAsideTable(path string, why error, log *slog.Logger) error {
	log.Warn("a table of the records is damaged, and what it held is lost", "table", path, "error", why)
	if err := os.Rename(path, path+".damaged"); err != nil {
		return fmt.Errorf("setting a damaged table aside: %w", err)
	}
	return nil
}

// badTable is an error when there is a damaged one.
func badTable(dir string) error {
	names, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil {
		return err
	}
	for _, path := range names {
		if err := checkTable(path, false); err != nil {
			return fmt.Errorf("the table %q: %w", path, err)
		}
	}
	return nil
}

// checkTable looks at a table's end: the index, its length, the checksum of the index,
// and its length. Badger ends the process when the lengths are none, and says that the
// checksum is wrong by itself, so that only deep compares it. Blocks have checksums of
// their own, which are compared when one is read.
func checkTable(path string, deep bool) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() {
		return errors.New("it is no file")
	}
	at := fi.Size()
	back := func(n int64) ([]byte, error) {
		if n > at || n > maxIndex {
			return nil, fmt.Errorf("it has no index at the end of its %d bytes", fi.Size())
		}
		at -= n
		b := make([]byte, n)
		_, err := f.ReadAt(b, at)
		return b, err
	}
	length := func() (int64, error) {
		b, err := back(4)
		if err != nil {
			return 0, err
		}
		return int64(binary.BigEndian.Uint32(b)), nil
	}
	n, err := length()
	if err != nil {
		return err
	}
	sum, err := back(n)
	if err != nil {
		return err
	}
	if n, err = length(); err != nil {
		return err
	}
	if n == 0 || n > at {
		return errors.New("it has no index")
	}
	if !deep {
		return nil
	}
	index, err := back(n)
	if err != nil {
		return err
	}
	want := &pb.Checksum{}
	if err := proto.Unmarshal(sum, want); err != nil {
		return errors.New("its index has no checksum")
	}
	return y.VerifyChecksum(index, want)
}
