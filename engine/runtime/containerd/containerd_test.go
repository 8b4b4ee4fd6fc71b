package containerd_test

import (
	"context"
	"log/slog"
	"os"
	"testing"

	"plumb/engine/runtime"
	"plumb/engine/runtime/containerd"
	"plumb/engine/runtime/containerd/early"
	"plumb/engine/runtime/runtimetest"
)

func newRuntime(tb testing.TB) *containerd.Runtime {
	tb.Helper()
	return newRuntimeOf(tb, options(tempDir(tb)))
}

func newRuntimeOf(tb testing.TB, o containerd.Options) *containerd.Runtime {
	tb.Helper()
	o.Logger = slog.New(slog.NewTextHandler(tb.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	r, err := containerd.New(context.Background(), o)
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

func options(dir string) containerd.Options {
	return containerd.Options{Root: dir + "/root", State: dir + "/state"}
}

// tempDir is not called after the test: a benchmark's name makes a long path.
func tempDir(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "plumb-")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			tb.Error(err)
		}
	})
	return dir
}

func TestRuntime(t *testing.T) {
	runtimetest.Run(t, func(t *testing.T) runtime.Runtime { return newRuntime(t) }, lacks(t)...)
}

// lacks is what these tests do without when an ordinary user runs them.
func lacks(t *testing.T) (all []runtimetest.Lack) {
	if !early.Rootless() {
		return nil
	}
	all = append(all, runtimetest.OtherIDs)
	if !containerd.HasCgroups() {
		all = append(all, runtimetest.Limits)
	}
	own, err := early.Mapped()
	if err != nil {
		t.Fatal(err)
	}
	if early.Total(own.UIDs) == 1 {
		all = append(all, runtimetest.ManyIDs)
	}
	return all
}
