package erase

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// deep makes directories in directories, with a file in each.
func deep(t *testing.T, dir string, levels int) {
	t.Helper()
	must(t, os.MkdirAll(dir, 0o755))
	at, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	must(t, err)
	for range levels {
		must(t, unix.Mkdirat(at, "d", 0o755))
		must(t, unix.Mknodat(at, "f", unix.S_IFREG|0o644, 0))
		next, err := unix.Openat(at, "d", unix.O_PATH|unix.O_DIRECTORY, 0)
		must(t, errors.Join(err, unix.Close(at)))
		at = next
	}
	must(t, unix.Close(at))
}

func TestAll(t *testing.T) {
	for _, tt := range []struct {
		name string
		make func(t *testing.T, path string)
	}{
		{"nothing", func(*testing.T, string) {}},
		{"a file", func(t *testing.T, path string) { must(t, os.WriteFile(path, nil, 0o600)) }},
		{"an empty directory", func(t *testing.T, path string) { must(t, os.Mkdir(path, 0)) }},
		{"a link", func(t *testing.T, path string) { must(t, os.Symlink("kept", path)) }},
		{"links inside", func(t *testing.T, path string) {
			must(t, errors.Join(os.Mkdir(path, 0o755), os.Symlink("../kept", path+"/a"), os.Symlink("/", path+"/b")))
		}},
		{"special files", func(t *testing.T, path string) {
			must(t, errors.Join(os.Mkdir(path, 0o755), unix.Mkfifo(path+"/fifo", 0), unix.Mknod(path+"/socket", unix.S_IFSOCK, 0)))
		}},
		{"as deep as is open at a time", func(t *testing.T, path string) { deep(t, path, maxLevels) }},
		{"one deeper", func(t *testing.T, path string) { deep(t, path, maxLevels+1) }},
		{"deeper than files may be open", func(t *testing.T, path string) {
			var limit unix.Rlimit
			must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
			t.Cleanup(func() { must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)) })
			must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 2 * maxLevels, Max: limit.Max}))
			deep(t, path, 3000)
		}},
		{"many deep ones", func(t *testing.T, path string) {
			for n := range 5 {
				deep(t, filepath.Join(path, strconv.Itoa(n)), 3*maxLevels)
			}
		}},
		{"the names that deep ones get", func(t *testing.T, path string) {
			deep(t, path, 3*maxLevels)
			must(t, errors.Join(os.WriteFile(path+"/.deep-1", nil, 0o600), os.Mkdir(path+"/.deep-2", 0o700)))
		}},
		{"many files", func(t *testing.T, path string) {
			must(t, os.Mkdir(path, 0o755))
			for n := range 2000 {
				must(t, os.WriteFile(filepath.Join(path, strconv.Itoa(n)), nil, 0o600))
			}
		}},
		{"closed to the owner", func(t *testing.T, path string) {
			deep(t, path, 2)
			for _, p := range []string{"/d/d", "/d", ""} {
				must(t, os.Chmod(path+p, 0))
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "gone")
			must(t, os.WriteFile(filepath.Join(dir, "kept"), []byte("kept"), 0o600))
			tt.make(t, path)
			must(t, All(t.Context(), path))
			if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("it is still there: %v", err)
			}
			if b, err := os.ReadFile(filepath.Join(dir, "kept")); err != nil || string(b) != "kept" {
				t.Errorf("what is beside it: %q, %v", b, err)
			}
		})
	}
}

func TestAllIsCanceled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d")
	deep(t, path, 3)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := All(ctx, path); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	must(t, All(t.Context(), path))
}
