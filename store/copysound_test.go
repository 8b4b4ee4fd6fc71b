package store

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// What was written into since its content was known is found, whatever its times are set
// to; what was not is copied as it is.
func TestCopySound(t *testing.T) {
	for _, c := range []struct {
		name   string
		spoil  func(path string) error
		damage bool
	}{
		{"sound", func(string) error { return nil }, false},
		{"written into, with its time set back", func(path string) error {
			err := errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, bytesOf("other", 500_000), 0o600), os.Chmod(path, 0o444))
			return errors.Join(err, os.Chtimes(path, ContentTime(), ContentTime()))
		}, true},
		{"shorter", func(path string) error { return cut(path, 499_999) }, true},
		{"touched", func(path string) error {
			now := time.Now()
			return os.Chtimes(path, now, now)
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := openStore(t, t.TempDir(), Options{})
			data := bytesOf("x", 500_000)
			a := mustPut(t, s, data, false)
			if err := c.spoil(s.blobPath(a.Digest, false)); err != nil {
				t.Fatal(err)
			}
			f, err := os.Create(filepath.Join(t.TempDir(), "copy"))
			if err != nil {
				t.Fatal(err)
			}
			err = s.CopySound(f, a)
			if cerr := f.Close(); cerr != nil {
				t.Fatal(cerr)
			}
			if c.damage {
				if !errors.Is(err, ErrDamaged) {
					t.Errorf("the error is %v", err)
				}
				return
			}
			got, rerr := os.ReadFile(f.Name())
			if err != nil || rerr != nil || !bytes.Equal(got, data) {
				t.Errorf("%d bytes, %v, %v", len(got), err, rerr)
			}
		})
	}
}
