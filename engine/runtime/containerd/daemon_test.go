package containerd_test

import (
	"bytes"
	"context"
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"

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

// tellAll is what a stage can find out about where it is.
const tellAll = `
	id; cat /proc/self/cgroup /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups /proc/self/limits
	grep '^(Cap|NoNewPrivs|Seccomp:|Groups|Uid|Gid|Umask)' /proc/self/status
	cat /etc/passwd /etc/group /etc/hosts /proc/sys/kernel/hostname; env | sort
	for f in $(find / -maxdepth 2 | grep -v '^/(proc|sys|dev/pts)/' | sort); do stat $f | awk '{ print $1, $2, $3, $5 }'; done
	cat /proc/slabinfo || true; ls /sys /sys/fs/cgroup; cat /proc/net/dev | wc -l
	awk '{ print $5, $6, $7 }' /proc/self/mountinfo | grep -v '^/proc/slabinfo |^/run/secrets rw' | sort`

// What a container finds by a daemon is what it finds by the containerd inside, but for
// two mounts: that of plumb's program, and what runc has mounted for the secrets to be
// mounted on.
func TestDaemonShowsTheSame(t *testing.T) {
	var found []string
	for _, r := range []*containerd.Runtime{newRuntime(t), newDaemonRuntime(t)} {
		img := runtimetest.Image{User: "worker", Env: []string{"OF=image"}}.Source(t)
		if err := r.Prepare(t.Context(), img); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		c, err := r.Create(t.Context(), runtime.Spec{
			ID: "same", Image: img.Manifest(), Home: "/home/stage", Dir: "/home/stage", Log: &log, Memory: 1 << 30, CPU: 1,
			Args: []string{"sh", "-c", tellAll}, Secrets: runtime.Secrets{Dir: "/run/secrets", Files: map[string][]byte{"a": []byte("b")}},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if exit, err := c.Wait(t.Context()); err != nil || exit.Code != 0 {
			t.Errorf("%+v, %v: %s", exit, err, &log)
		}
		found = append(found, log.String())
		if err := c.Delete(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if diff := cmp.Diff(found[0], found[1]); diff != "" {
		t.Errorf("inside (-) and by a daemon (+):\n%s", diff)
	}
}
