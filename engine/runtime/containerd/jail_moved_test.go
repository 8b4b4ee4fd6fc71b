package containerd

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestPutBack(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(t *testing.T, from, to string)
		back  bool
	}{
		{"killed while it ran", func(*testing.T, string, string) {}, true},
		{"killed before it was moved", func(t *testing.T, from, to string) { rename(t, to, from) }, true},
		{"the stage put a link in its place", func(t *testing.T, _, to string) {
			rename(t, to, to+"-away")
			if err := os.Symlink("/etc", to); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"the stage put another directory in its place", func(t *testing.T, _, to string) {
			rename(t, to, to+"-away")
			if err := os.Mkdir(to, 0o755); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"nobody waits for it", func(t *testing.T, from, _ string) {
			if err := os.Remove(filepath.Dir(from)); err != nil {
				t.Fatal(err)
			}
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			top := t.TempDir()
			from, to := filepath.Join(top, "checkpoint", "data"), filepath.Join(top, "scratch", "a", "u", "workspace", "ckpt")
			for _, d := range []string{from, filepath.Dir(to)} {
				if err := os.MkdirAll(d, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(filepath.Join(from, "epoch"), []byte("7"), 0o644); err != nil {
				t.Fatal(err)
			}
			var st unix.Stat_t
			if err := unix.Lstat(from, &st); err != nil {
				t.Fatal(err)
			}
			if err := noteMoved(filepath.Join(top, "scratch", "a"), moved{from, to, st.Ino}); err != nil {
				t.Fatal(err)
			}
			rename(t, from, to)
			c.spoil(t, from, to)
			if err := putBack(filepath.Join(top, "scratch")); err != nil {
				t.Fatal(err)
			}
			if b, err := os.ReadFile(filepath.Join(from, "epoch")); (err == nil && string(b) == "7") != c.back {
				t.Errorf("back: %q, %v", b, err)
			}
		})
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}
