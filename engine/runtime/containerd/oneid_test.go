package containerd_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plumb/engine/runtime"
	"plumb/engine/runtime/containerd/early"
	"plumb/engine/runtime/runtimetest"
)

// TestOneID is what becomes of an image with several owners where there is one id.
// TestRootlessWithOneID runs it.
func TestOneID(t *testing.T) {
	own, err := early.Mapped()
	if err != nil {
		t.Fatal(err)
	}
	if early.Total(own.UIDs) != 1 {
		t.Skip("this process has more than one id")
	}
	r := newRuntime(t)
	img := runtimetest.Image{User: "worker", Files: []runtimetest.File{{Path: "data/a", UID: 1000, GID: 29, Mode: 0o4750}, {Path: "data/b", UID: 5_000_000, Mode: 0o640}}}.Source(t)
	if err := r.Prepare(t.Context(), img); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	c, err := r.Create(t.Context(), runtime.Spec{
		ID: "one", Image: img.Manifest(), Home: "/home/stage", Log: &log,
		Args: []string{"/bin/sh", "-c", "id; stat /data/a /data/b /home/worker"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if exit, err := c.Wait(t.Context()); err != nil || exit.Code != 0 {
		t.Errorf("%+v, %v", exit, err)
	}
	want := "uid=0(root) gid=0 groups=[]\n4750 0 0 0 /data/a\n640 0 0 0 /data/b\n755 0 0 4096 /home/worker\n"
	if diff := cmp.Diff(want, log.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if note := c.(runtime.Noted).Note(); !strings.Contains(note, `the image's user is "worker"`) || !strings.Contains(note, "plumb doctor") {
		t.Errorf("it notes %q", note)
	}
	if err := c.Delete(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := r.Build(t.Context()); err == nil || !strings.Contains(err.Error(), "plumb doctor") {
		t.Errorf("making an image: %v", err)
	}
}
