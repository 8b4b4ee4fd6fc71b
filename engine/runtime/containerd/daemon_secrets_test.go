package containerd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"plumb/engine/runtime/containerd/early"
)

// The hook writes where runc has mounted, and nowhere else: the links of an image lead
// within the image.
func TestPlaceSecrets(t *testing.T) {
	if early.Rootless() {
		t.Skip("a daemon's containers are root's")
	}
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "etc/secrets"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc", filepath.Join(root, "run")); err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{"a": []byte("hunter2")}
	if err := placeSecrets(root, "/run/secrets", files, 1000, 1000); err == nil || !strings.Contains(err.Error(), "is no tmpfs") {
		t.Errorf("where nothing is mounted: %v", err)
	}
	at := filepath.Join(root, "etc/secrets")
	if err := unix.Mount("tmpfs", at, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unmountBelow(root); err != nil {
			t.Error(err)
		}
	})
	if err := placeSecrets(root, "/run/secrets", files, 1000, 1000); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(at, "a"), &st); err != nil || st.Uid != 1000 || st.Mode&0o777 != 0o400 {
		t.Errorf("the secret is of %d with mode %o, %v", st.Uid, st.Mode, err)
	}
	if b, err := os.ReadFile(filepath.Join(at, "a")); string(b) != "hunter2" || err != nil {
		t.Errorf("the secret is %q, %v", b, err)
	}
	if err := os.WriteFile(filepath.Join(at, "b"), nil, 0o600); err == nil {
		t.Error("it can be written to")
	}
}

func TestHookIsAskedFor(t *testing.T) {
	for _, args := range [][]string{nil, {"plumb"}, {"plumb", hookName}} {
		if _, ok := hook(args); ok {
			t.Errorf("%q is taken for the hook", args)
		}
	}
	for _, state := range []string{"", "{}", `{"pid": 1}`} {
		if err := runHook([]string{"/no/such"}, strings.NewReader(state)); err == nil {
			t.Errorf("the state %q is taken", state)
		}
	}
}
