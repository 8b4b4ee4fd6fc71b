package containerd_test

import (
	"context"
	"log/slog"
	"testing"

	"plumb/engine/runtime"
	"plumb/engine/runtime/containerd"
	"plumb/engine/runtime/runtimetest"
)

// daemonOptions are a store of that daemon.
func daemonOptions(tb testing.TB, dir, socket string) containerd.Options {
	o := options(dir)
	o.Socket = socket
	o.Logger = slog.New(slog.NewTextHandler(tb.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	return o
}

func newDaemonRuntime(tb testing.TB) *containerd.Runtime {
	tb.Helper()
	_, socket := startDaemon(tb, "")
	r, err := containerd.New(context.Background(), daemonOptions(tb, tempDir(tb), socket))
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

// The same suites as of the containerd inside.
func TestDaemonRuntime(t *testing.T) {
	runtimetest.Run(t, func(t *testing.T) runtime.Runtime { return newDaemonRuntime(t) })
}

func TestDaemonBuilder(t *testing.T) {
	runtimetest.RunBuilder(t, func(t *testing.T) runtime.Runtime { return newDaemonRuntime(t) })
}

// BenchmarkDaemonCycle is BenchmarkCycle by a daemon. Its processes are not counted as
// this one's children.
func BenchmarkDaemonCycle(b *testing.B) {
	r := newDaemonRuntime(b)
	img := runtimetest.ToolImage().Source(b)
	if err := r.Prepare(b.Context(), img); err != nil {
		b.Fatal(err)
	}
	var n int64
	for b.Loop() {
		n++
		if err := cycle(b.Context(), r, trivial(n, img)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDaemonStartToExit is what is left of one created ahead.
func BenchmarkDaemonStartToExit(b *testing.B) {
	r := newDaemonRuntime(b)
	img := runtimetest.ToolImage().Source(b)
	if err := r.Prepare(b.Context(), img); err != nil {
		b.Fatal(err)
	}
	startToExit(b, r, img)
}
