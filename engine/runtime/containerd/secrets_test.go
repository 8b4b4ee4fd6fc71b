package containerd_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"plumb/engine/runtime"
	"plumb/engine/runtime/containerd"
	"plumb/engine/runtime/runtimetest"
)

// TestSecretsAreInMemory finds the secrets of a container on a tmpfs while it
// lives, and nowhere when it is deleted.
func TestSecretsAreInMemory(t *testing.T) {
	dir := tempDir(t)
	o := options(dir)
	r, err := containerd.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	img := runtimetest.ToolImage().Source(t)
	if err := r.Prepare(t.Context(), img); err != nil {
		t.Fatal(err)
	}
	c, err := r.Create(t.Context(), runtime.Spec{
		ID: "secretive", Image: img.Manifest(), Args: []string{"sh", "-c", "test ${#PASSWORD} = 13"}, Env: []string{"PASSWORD=correct-horse"},
		Secrets: runtime.Secrets{Dir: "/run/secrets", Files: map[string][]byte{"db": []byte("hunter2")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	place := filepath.Join(o.State, "secrets", "secretive")
	if b, err := os.ReadFile(filepath.Join(place, "db")); err != nil || string(b) != "hunter2" {
		t.Errorf("read %q, %v: the test looks in the wrong place", b, err)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(place, &st); err != nil || st.Type != unix.TMPFS_MAGIC {
		t.Errorf("the secrets are on a file system of type %x, %v", st.Type, err)
	}
	err = c.Start(t.Context())
	if exit, werr := c.Wait(t.Context()); err != nil || werr != nil || exit.Code != 0 {
		t.Errorf("the command has not the environment: %+v, %v, %v", exit, err, werr)
	}
	for _, where := range []string{dir, o.State} {
		wantNowhere(t, where, "correct-horse")
	}
	if err := c.Delete(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(place); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%q is still there after the container: %v", place, err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}

// wantNowhere requires that no file below dir holds the text: sensitive values of the
// environment, too, are for memory only.
func wantNowhere(t *testing.T, dir, text string) {
	t.Helper()
	read := 0
	var top unix.Stat_t
	if err := unix.Stat(dir, &top); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			return nil
		}
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if d.IsDir() && unix.Stat(path, &st) == nil && st.Dev != top.Dev { // of the machine: /proc has files without an end
			return fs.SkipDir
		}
		if !d.Type().IsRegular() {
			return nil
		}
		b, err := os.ReadFile(path)
		if read++; bytes.Contains(b, []byte(text)) {
			t.Errorf("%q holds it", path)
		}
		return err
	})
	if err != nil || read == 0 {
		t.Errorf("%d files were read below %q, %v", read, dir, err)
	}
}
