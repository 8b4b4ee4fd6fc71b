package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Badger ends the process, or does not open, when some of its files are not as it
// left them. Those that hold nothing are made anew here before it looks.

// discardSize is the size that Badger gives the file in which it counts how much of a
// value log is out of date. No value of ours goes to one, so that it counts nothing.
const discardSize = 1 << 20

// readyMeta prepares Badger's directory for a writer.
func readyMeta(dir string) error {
	if err := dropEmptyLogs(dir); err != nil {
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

const keyRegistry = "KEYREGISTRY"

// badKeys is an error when the registry of keys, which Badger makes anew when it is not
// there, is none.
func badKeys(dir string) error {
	const (
		vector = 16 // random
		text   = "Hello Badger"
	)
	b, err := os.ReadFile(filepath.Join(dir, keyRegistry))
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(b) == vector+len(text) && string(b[vector:]) == text {
		return nil
	}
	if err == nil {
		err = errors.New("it is none")
	}
	return fmt.Errorf("the registry of keys: %w", err)
}
