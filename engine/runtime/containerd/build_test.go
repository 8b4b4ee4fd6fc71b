package containerd_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"plumb/engine/runtime"
	"plumb/engine/runtime/containerd"
	"plumb/engine/runtime/runtimetest"
)

func TestBuilder(t *testing.T) {
	runtimetest.RunBuilder(t, func(t *testing.T) runtime.Runtime { return newRuntime(t) })
}

// A store in memory: other code of the kernel, and no file system to sync.
func TestBuilderInMemory(t *testing.T) {
	runtimetest.RunBuilder(t, func(t *testing.T) runtime.Runtime { return inMemory(t) })
}

// inMemory is a runtime with its store on a tmpfs.
func inMemory(tb testing.TB) *containerd.Runtime {
	tb.Helper()
	dir := tempDir(tb)
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755,size=1g"); err != nil {
		tb.Skipf("mounting a tmpfs: %v", err)
	}
	tb.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			tb.Error(err)
		}
	})
	r, err := containerd.New(context.Background(), options(dir))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := r.Close(); err != nil {
			tb.Error(err)
		}
	})
	return r
}

// kept is how many blobs and half-written ones the store of a runtime has.
func kept(t *testing.T, r *containerd.Runtime) (blobs, ingests int) {
	t.Helper()
	count := func(dir string) int {
		entries, err := os.ReadDir(filepath.Join(r.Root(), "io.containerd.content.v1.content", dir))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		return len(entries)
	}
	return count("blobs/sha256"), count("ingest")
}

func TestAdd(t *testing.T) {
	r := newRuntime(t)
	b, err := r.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	long := strings.Repeat("0123456789", 200_000)
	failed := errors.New("no more")
	for _, c := range []struct {
		name  string
		write func(io.Writer) error
		want  string
		err   error
	}{
		{"nothing", func(io.Writer) error { return nil }, "", nil},
		{"long", func(w io.Writer) error { _, err := io.WriteString(w, long); return err }, long, nil},
		{"the same in small pieces", func(w io.Writer) error {
			for i := 0; i < len(long); i += 1000 {
				if _, err := io.WriteString(w, long[i:i+1000]); err != nil {
					return err
				}
			}
			return nil
		}, long, nil},
		{"failed", func(w io.Writer) error { _, err := io.WriteString(w, long+"!"); return errors.Join(err, failed) }, "", failed},
		{"cancelled", func(w io.Writer) error {
			cancel()
			for {
				if _, err := io.WriteString(w, long); err != nil {
					return err
				}
			}
		}, "", context.Canceled},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, size, err := b.Add(ctx, c.write)
			if !errors.Is(err, c.err) {
				t.Fatal(err)
			}
			if err == nil && (d != digestOf([]byte(c.want)) || size != int64(len(c.want))) {
				t.Errorf("added %s of %d bytes", d, size)
			}
		})
	}
	if blobs, ingests := kept(t, r); blobs != 2 || ingests != 0 {
		t.Errorf("the store has %d blobs and %d half-written ones", blobs, ingests)
	}
	if err := errors.Join(b.Close(t.Context()), b.Close(t.Context())); err != nil {
		t.Error(err)
	}
	if blobs, ingests := kept(t, r); blobs != 0 || ingests != 0 {
		t.Errorf("the closed build left %d blobs and %d half-written ones", blobs, ingests)
	}
}

// Two builds share a layer. What one lets go of stays for the other, and what an image
// needs stays for good.
func TestBuildsShare(t *testing.T) {
	r := newRuntime(t)
	img := craft(t, layer{raw: tarball(t, []member{file("f", "text", 0o644)})}, layer{raw: tarball(t, []member{file("g", "text", 0o644)})})
	builds := make([]runtime.Build, 2)
	for n := range builds {
		var err error
		if builds[n], err = r.Build(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, blob := range img.blobs {
			if _, _, err := builds[n].Add(t.Context(), func(w io.Writer) error { _, err := w.Write(blob); return err }); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := builds[0].Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	none := &crafted{manifest: img.manifest} // everything is there
	if err := errors.Join(builds[1].Prepare(t.Context(), none), builds[1].Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	if got := unpacked(t, r, none); !strings.Contains(got, `"g"`) {
		t.Errorf("unpacked:\n%s", got)
	}
	if blobs, _ := kept(t, r); blobs != 4 {
		t.Errorf("the store has %d blobs", blobs)
	}
	if err := r.Remove(t.Context(), img.manifest); err != nil {
		t.Fatal(err)
	}
	if blobs, _ := kept(t, r); blobs != 0 {
		t.Errorf("after the removal the store has %d blobs", blobs)
	}
}

// An image that does not unpack takes nothing from the build.
func TestBuildGoesOn(t *testing.T) {
	r := newRuntime(t)
	bad := craft(t, layer{raw: tarball(t, []member{file("f", "text", 0o644)}), lie: true})
	good := craft(t, layer{raw: tarball(t, []member{file("f", "text", 0o644)})})
	b, err := r.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Prepare(t.Context(), bad); !errors.Is(err, runtime.ErrBadImage) {
		t.Errorf("got %v", err)
	}
	for d, blob := range good.blobs {
		if _, there := bad.blobs[d]; !there {
			if _, _, err := b.Add(t.Context(), func(w io.Writer) error { _, err := w.Write(blob); return err }); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := errors.Join(b.Prepare(t.Context(), &crafted{manifest: good.manifest}), b.Close(t.Context())); err != nil {
		t.Error(err)
	}
	if blobs, ingests := kept(t, r); blobs != 3 || ingests != 0 {
		t.Errorf("the store has %d blobs and %d half-written ones", blobs, ingests)
	}
}
