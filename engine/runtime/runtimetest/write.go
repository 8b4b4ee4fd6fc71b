package runtimetest

import (
	_ "crypto/sha256" // for go-digest
	"fmt"
	"os"
	"path/filepath"
)

// Write makes the image's OCI layout at dir, which appears whole or not at all. A
// layout that is there already is left alone.
func (i Image) Write(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "index.json")); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return fmt.Errorf("making the image %q: %w", dir, err)
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), ".image-")
	if err != nil {
		return fmt.Errorf("making the image %q: %w", dir, err)
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil {
		return fmt.Errorf("making the image %q: %w", dir, err)
	}
	l := layout{dir: tmp}
	if err := l.write(i); err != nil {
		return fmt.Errorf("making the image %q: %w", dir, err)
	}
	return os.Rename(tmp, dir)
}
