package agent

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// deep makes a directory whose socket's path has length bytes.
func deep(t *testing.T, length int) string {
	t.Helper()
	dir := t.TempDir()
	rest := length - len(filepath.Join(dir, socketName)) - 1
	if rest < 1 {
		t.Fatalf("the temporary directory %q is too long for this test", dir)
	}
	for ; rest > 200; rest -= 101 {
		dir = filepath.Join(dir, strings.Repeat("d", 100))
	}
	dir = filepath.Join(dir, strings.Repeat("e", rest))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestAddress(t *testing.T) {
	tests := []struct {
		name   string
		length int
		long   bool
	}{
		{"fits", 100, false},
		{"just fits", maxAddress, false},
		{"one byte too long", maxAddress + 1, true},
		{"much too long", 900, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := deep(t, tt.length)
			path, done, err := address(dir)
			if err != nil {
				t.Fatal(err)
			}
			if len(path) > maxAddress {
				t.Errorf("%q has %d bytes", path, len(path))
			}
			if own := path == filepath.Join(dir, socketName); own == tt.long {
				t.Errorf("%q is the store's own path: %v", path, own)
			}
			if err := os.WriteFile(filepath.Join(dir, socketName), []byte("here"), 0o600); err != nil {
				t.Fatal(err)
			}
			if b, err := os.ReadFile(path); err != nil || string(b) != "here" {
				t.Errorf("%q leads to %q, %v", path, b, err)
			}
			done()
			if _, err := os.Stat(path); (err != nil) != tt.long {
				t.Errorf("after done, looking at %q: %v", path, err)
			}
		})
	}
}

func TestAddressOfMissingDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("m", maxAddress))
	if path, _, err := address(dir); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), dir) {
		t.Errorf("address is %q, %v", path, err)
	}
}
