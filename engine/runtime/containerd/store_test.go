package containerd_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"plumb/engine/runtime/containerd"
	"plumb/engine/runtime/runtimetest"
)

// counting counts what is read of an image.
type counting struct {
	runtimetest.Source
	reads atomic.Int64
	done  atomic.Int64
	total atomic.Int64
	spoil func(io.ReadCloser) io.ReadCloser
}

func (c *counting) Blob(ctx context.Context, d string) (io.ReadCloser, error) {
	c.reads.Add(1)
	r, err := c.Source.Blob(ctx, d)
	if err == nil && c.spoil != nil && d != c.Manifest() {
		r = c.spoil(r)
	}
	return r, err
}

func (c *counting) Progress(done, total int64) {
	c.done.Store(max(c.done.Load(), done))
	c.total.Store(total)
}

func TestPrepare(t *testing.T) {
	dir := tempDir(t)
	r, err := containerd.New(t.Context(), options(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}()
	img := &counting{Source: runtimetest.Image{Layers: 2}.Source(t)}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := r.Prepare(t.Context(), img); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := img.reads.Load(); got != 6 { // manifest twice, config, three layers
		t.Errorf("eight at once read %d blobs", got)
	}
	if img.done.Load() != img.total.Load() || img.total.Load() < 1<<20 {
		t.Errorf("progress ended at %d of %d", img.done.Load(), img.total.Load())
	}
	if err := cycle(t.Context(), r, trivial(1, img.Source)); err != nil {
		t.Error(err)
	}
	if err := r.Remove(t.Context(), img.Manifest()); err != nil {
		t.Fatal(err)
	}
	for _, kept := range []string{"io.containerd.content.v1.content/blobs/sha256", "io.containerd.snapshotter.v1.overlayfs/snapshots", "furnish"} {
		if left, err := os.ReadDir(filepath.Join(dir, "root", kept)); err != nil || len(left) > 0 {
			t.Errorf("after the removal %s has %v, %v", kept, left, err)
		}
	}
	if _, err := r.Create(t.Context(), trivial(2, img.Source)); err == nil || !strings.Contains(err.Error(), "not prepared") {
		t.Errorf("a removed image gave %v", err)
	}
	if err := errors.Join(r.Prepare(t.Context(), img), cycle(t.Context(), r, trivial(3, img.Source))); err != nil {
		t.Error(err)
	}
	if got := img.reads.Load(); got != 12 {
		t.Errorf("after the removal %d blobs were read in all", got)
	}
}

// Images that share layers come and go.
func TestRemoveShared(t *testing.T) {
	r := newRuntime(t)
	a, b := runtimetest.Image{Layers: 1}.Source(t), runtimetest.Image{Layers: 2}.Source(t)
	for n := range int64(3) {
		if err := errors.Join(
			r.Prepare(t.Context(), a), cycle(t.Context(), r, trivial(3*n, a)),
			r.Prepare(t.Context(), b), cycle(t.Context(), r, trivial(3*n+1, b)),
			r.Remove(t.Context(), a.Manifest()), cycle(t.Context(), r, trivial(3*n+2, b)),
		); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(r.Remove(t.Context(), b.Manifest()), r.Remove(t.Context(), b.Manifest())); err != nil {
		t.Error(err)
	}
}

func TestPrepareDamaged(t *testing.T) {
	r := newRuntime(t)
	img := &counting{Source: runtimetest.ToolImage().Source(t)}
	for name, spoil := range map[string]func(io.ReadCloser) io.ReadCloser{
		"cut off": func(r io.ReadCloser) io.ReadCloser { return io.NopCloser(io.LimitReader(r, 10)) },
		"changed": func(r io.ReadCloser) io.ReadCloser {
			b, _ := io.ReadAll(r)
			b[len(b)/2] ^= 1
			return io.NopCloser(bytes.NewReader(b))
		},
	} {
		t.Run(name, func(t *testing.T) {
			img.spoil = spoil
			if err := r.Prepare(t.Context(), img); err == nil {
				t.Error("a damaged image was prepared")
			}
		})
	}
	img.spoil = nil
	if err := errors.Join(r.Prepare(t.Context(), img), cycle(t.Context(), r, trivial(1, img.Source))); err != nil {
		t.Error(err)
	}
}

// TestReopen opens a store again and again after what may have happened to it.
func TestReopen(t *testing.T) {
	dir := tempDir(t)
	img := &counting{Source: runtimetest.ToolImage().Source(t)}
	for _, c := range []struct {
		name   string
		happen func() error
		reads  int64 // of blobs
	}{
		{"new", func() error { return nil }, 4},
		{"closed", func() error { return nil }, 0},
		{"killed in this boot", func() error { return copyFile("/proc/sys/kernel/random/boot_id", dir+"/root/boot") }, 0},
		{"killed in another boot", func() error { return os.WriteFile(dir+"/root/boot", []byte("another\n"), 0o600) }, 4},
		{"after a power cut that lost the note", func() error { return os.WriteFile(dir+"/root/boot", nil, 0o600) }, 4},
		{"metadata overwritten", func() error { return spoilFile(dir + "/root/io.containerd.metadata.v1.bolt/meta.db") }, 4},
		{"snapshots overwritten", func() error { return spoilFile(dir + "/root/io.containerd.snapshotter.v1.overlayfs/metadata.db") }, 4},
		{"left in peace", func() error { return nil }, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := c.happen(); err != nil {
				t.Fatal(err)
			}
			img.reads.Store(0)
			r, err := containerd.New(t.Context(), options(dir))
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(r.Prepare(t.Context(), img), cycle(t.Context(), r, trivial(1, img.Source)), r.Close()); err != nil {
				t.Error(err)
			}
			if got := img.reads.Load(); got != c.reads {
				t.Errorf("%d blobs were read, want %d", got, c.reads)
			}
		})
	}
}

func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o600)
}

func spoilFile(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return os.WriteFile(path, bytes.Repeat([]byte{0x5a}, int(info.Size())), 0o600)
}

func TestTwoRuntimes(t *testing.T) {
	a, b := newRuntime(t), newRuntime(t)
	img := runtimetest.ToolImage().Source(t)
	var wg sync.WaitGroup
	for _, r := range []*containerd.Runtime{a, b} {
		wg.Go(func() {
			if err := r.Prepare(t.Context(), img); err != nil {
				t.Error(err)
				return
			}
			for n := range int64(5) {
				if err := cycle(t.Context(), r, trivial(n, img)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestSecondOwner(t *testing.T) {
	dir := tempDir(t)
	r, err := containerd.New(t.Context(), options(dir))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := containerd.New(t.Context(), options(dir)); err == nil || !strings.Contains(err.Error(), "another process owns it") {
		t.Errorf("the second owner got %v", err)
	}
	if err := errors.Join(r.Close(), r.Close()); err != nil {
		t.Error(err)
	}
}

// TestLeaks runs many containers, one in four not started, and looks at what is
// left.
func TestLeaks(t *testing.T) {
	dir := tempDir(t)
	r, img := preparedOf(t, options(dir))
	run := func(n int64) {
		if n%4 != 0 {
			if err := cycle(t.Context(), r, trivial(n, img)); err != nil {
				t.Fatal(err)
			}
			return
		}
		c, err := r.Create(t.Context(), trivial(n, img))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Delete(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for n := range int64(8) {
		run(n)
	}
	before := census(t, dir)
	for n := range int64(100) {
		run(n)
	}
	var after map[string]int
	for range 50 { // goroutines and the trash take their time
		if after = census(t, dir); !grew(before, after) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("(-before +after):\n%s", cmp.Diff(before, after))
}

func grew(before, after map[string]int) bool {
	for name := range before {
		if after[name] > before[name] {
			return true
		}
	}
	return false
}

// census counts what a runtime has in this process and, of its own, on the machine.
func census(t *testing.T, dir string) map[string]int {
	t.Helper()
	count := func(pattern string) int {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		return len(found)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	name := containerd.NameOf(dir + "/root")
	return map[string]int{
		"descriptors": count("/proc/self/fd/*"),
		"goroutines":  goruntime.NumGoroutine(),
		"mounts":      bytes.Count(mounts, []byte("\n")),
		"processes":   count("/proc/[0-9]*"),
		"cgroups":     count("/sys/fs/cgroup/*/plumb-" + name + "/c[0-9]*"),
		"scratch":     count(dir + "/root/scratch/*"),
		"trash":       count(dir + "/root/trash/*"),
		"snapshots":   count(dir + "/root/io.containerd.snapshotter.v1.overlayfs/snapshots/*"),
		"state":       count(dir+"/state/*/*") + count("/run/plumb-"+name+"/*"),
	}
}
