package runtimetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"plumb/engine/runtime"
)

// testLimits is what happens at a limit, and what is counted.
func (b *bench) testLimits(t *testing.T) {
	const limit = 64 << 20
	for _, c := range []struct {
		name   string
		script string
		memory int64
		oom    bool
		code   int
	}{
		{"out of memory", "exec probe-memory 500", limit, true, 137},
		{"child out of memory", "probe-memory 500 || exit 3", limit, true, 3},
		{"137 by itself", "exit 137", limit, false, 137},
		{"137 of a child", "sh -c '/bin/kill -9 $$' || exit 137", limit, false, 137},
		{"enough memory", "probe-memory 30", limit, false, 0},
		{"no limit", "probe-memory 200", 0, false, 0},
		{"files in memory count", "dd of=/dev/shm/x bs=1000000 count=60; exec probe-memory 20", limit, true, 137},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.oom {
				b.need(t, Limits)
			}
			s := b.spec(t, ToolImage(), c.script)
			s.Memory = c.memory
			got := b.run(t, s)
			if got.Code != c.code || got.OOM != c.oom {
				t.Errorf("exit status %d, oom %v; want %d, %v\n%s", got.Code, got.OOM, c.code, c.oom, got.log)
			}
		})
	}
	t.Run("processes", func(t *testing.T) {
		b.need(t, Namespaces)
		s := b.spec(t, ToolImage(), "probe-fork 100")
		s.Pids = 30
		var n int
		got := b.run(t, s)
		if _, err := fmt.Sscanf(got.log, "%d processes", &n); err != nil || n < 1 || n > 29 {
			t.Errorf("a limit of 30 let %q (%v)", got.log, err)
		}
	})
	t.Run("cpu", func(t *testing.T) {
		b.need(t, Limits)
		s := b.spec(t, ToolImage(), "probe-spin 1000")
		s.CPU = 0.2
		got := b.run(t, s)
		if u := got.Usage.CPU; u < 20*time.Millisecond || u > 500*time.Millisecond {
			t.Errorf("a fifth of a core for a second used %v", u)
		}
	})
	t.Run("shared memory", func(t *testing.T) {
		s := b.spec(t, ToolImage(), "dd of=/dev/shm/x bs=1000000 count=20 && stat /dev/shm/x")
		s.Memory = limit
		if got := b.run(t, s); got.Code != 0 || !strings.Contains(got.log, " 20000000 ") {
			t.Errorf("exit status %d: %s", got.Code, got.log)
		}
	})
	t.Run("usage", func(t *testing.T) {
		got := b.run(t, b.spec(t, ToolImage(), "probe-memory 50; probe-spin 100"))
		u := got.Usage
		if u.CPU < 20*time.Millisecond || u.CPU > 2*time.Second {
			t.Errorf("used %+v", u)
		}
		if !slices.Contains(b.lacks, Limits) && (u.Memory < 50<<20 || u.Memory > 500<<20) || slices.Contains(b.lacks, Limits) && u.Memory != -1 {
			t.Errorf("used %+v", u)
		}
		if took := got.Finished.Sub(got.Started); took < 100*time.Millisecond || took > 5*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// testLifecycle is what the engine does to containers.
func (b *bench) testLifecycle(t *testing.T) {
	t.Run("terminate", func(t *testing.T) {
		c, _ := b.create(t, b.exec(t, "sleep", "60"))
		b.start(t, c)
		b.kill(t, c, syscall.SIGTERM, false, 143)
	})
	t.Run("terminate all", func(t *testing.T) {
		b.need(t, Alone) // where it is no first process the shell ends, too
		c, log := b.create(t, b.spec(t, ToolImage(), "sleep 60 || true; echo went on"))
		b.start(t, c)
		b.kill(t, c, syscall.SIGTERM, true, 0)
		if log.String() != "went on\n" {
			t.Errorf("printed %q", log)
		}
	})
	t.Run("kill", func(t *testing.T) {
		c, _ := b.create(t, b.spec(t, ToolImage(), "sleep 60 & sleep 60"))
		b.start(t, c)
		if exit := b.kill(t, c, syscall.SIGKILL, true, 137); exit.Signal != 9 || exit.OOM {
			t.Errorf("got %+v", exit)
		}
	})
	t.Run("daemon left behind", func(t *testing.T) {
		within(t, 10*time.Second, "waiting", func() {
			if got := b.run(t, b.spec(t, ToolImage(), "probe-daemon 60; echo left")); got.log != "left\n" || got.Code != 0 {
				t.Errorf("exit status %d, printed %q", got.Code, got.log)
			}
		})
	})
	t.Run("delete while running", func(t *testing.T) {
		c, _ := b.create(t, b.spec(t, ToolImage(), "sleep 60"))
		b.start(t, c)
		within(t, 10*time.Second, "deleting", func() {
			if err := errors.Join(c.Delete(t.Context()), c.Delete(t.Context())); err != nil {
				t.Error(err)
			}
		})
	})
	t.Run("delete without a start", func(t *testing.T) {
		c, log := b.create(t, b.spec(t, ToolImage(), "echo ran"))
		if err := c.Delete(t.Context()); err != nil || log.Len() > 0 {
			t.Errorf("%v, printed %q", err, log)
		}
	})
	t.Run("wait is cancelled", func(t *testing.T) {
		c, _ := b.create(t, b.spec(t, ToolImage(), "sleep 60"))
		b.start(t, c)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := c.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("wait twice", func(t *testing.T) {
		c, _ := b.create(t, b.spec(t, ToolImage(), "exit 5"))
		b.start(t, c)
		for range 2 {
			if exit, err := c.Wait(t.Context()); exit.Code != 5 || err != nil {
				t.Errorf("got %+v, %v", exit, err)
			}
		}
	})
	t.Run("log that cannot be written", func(t *testing.T) {
		s := b.spec(t, ToolImage(), "seq 100000")
		s.Log = fullDisk{}
		c, err := b.rt.Create(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		b.start(t, c)
		exit, err := c.Wait(t.Context())
		if !errors.Is(err, syscall.ENOSPC) || exit.Code != 0 {
			t.Errorf("got %+v, %v", exit, err)
		}
		if err := c.Delete(t.Context()); err != nil {
			t.Error(err)
		}
	})
	t.Run("many at once", b.testManyAtOnce)
}

// fullDisk takes nothing.
type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

// exec is a container whose first process is the command itself.
func (b *bench) exec(t *testing.T, args ...string) runtime.Spec {
	s := b.spec(t, ToolImage(), "")
	s.Args = args
	return s
}

func (b *bench) start(t *testing.T, c runtime.Container) {
	t.Helper()
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// kill signals when the command had time to begin, and waits.
func (b *bench) kill(t *testing.T, c runtime.Container, sig syscall.Signal, all bool, code int) (exit runtime.Exit) {
	t.Helper()
	time.Sleep(200 * time.Millisecond)
	within(t, 10*time.Second, "ending", func() {
		if err := c.Kill(t.Context(), int(sig), all); err != nil {
			t.Error(err)
		}
		var err error
		if exit, err = c.Wait(t.Context()); err != nil || exit.Code != code {
			t.Errorf("got %+v, %v; want status %d", exit, err, code)
		}
	})
	return exit
}

func (b *bench) testManyAtOnce(t *testing.T) {
	var wg sync.WaitGroup
	for n := range 8 {
		s := b.spec(t, ToolImage(), fmt.Sprintf("echo %d > /tmp/mine; cat /tmp/mine; exit %d", n, n))
		wg.Go(func() {
			if got := b.run(t, s); got.Code != n || got.log != fmt.Sprintln(n) {
				t.Errorf("container %d: exit status %d, printed %q", n, got.Code, got.log)
			}
		})
	}
	wg.Wait()
}
