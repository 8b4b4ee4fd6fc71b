package engine

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"plumb/engine/event"
	"plumb/engine/runtime"
)

// An engine that is killed at one certain point: the test binary is started again as one
// that kills itself there. What it did outside stands in a file.

// crashAt names the point, in a process that is to be killed.
const crashAt = "PLUMB_TEST_ENGINE_CRASH_AT"

// mortal is a runtime that ends its process at a point.
type mortal struct {
	*fakeRuntime
	at      string
	outside string
}

func (m *mortal) dieAt(point string) {
	if m.at == point {
		syscall.Kill(os.Getpid(), syscall.SIGKILL) //nolint:errcheck // it returns or it does not
		select {}
	}
}

func (m *mortal) Create(ctx context.Context, s runtime.Spec) (runtime.Container, error) {
	c, err := m.fakeRuntime.Create(ctx, s)
	m.dieAt("created")
	return &mortalContainer{c, m, s}, err
}

type mortalContainer struct {
	runtime.Container
	m    *mortal
	spec runtime.Spec
}

func (c *mortalContainer) Start(ctx context.Context) error {
	c.m.dieAt("noted, not started")
	f, err := os.OpenFile(c.m.outside, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(f, "it happened"); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	c.m.dieAt("started")
	return c.Container.Start(ctx)
}

func (c *mortalContainer) Wait(ctx context.Context) (runtime.Exit, error) {
	x, err := c.Container.Wait(ctx)
	c.m.dieAt("ended, not recorded")
	return x, err
}

func (c *mortalContainer) Delete(ctx context.Context) error {
	c.m.dieAt("recorded")
	return c.Container.Delete(ctx)
}

// TestCrashingEngine is such a process; by itself it does nothing.
func TestCrashingEngine(t *testing.T) {
	at := os.Getenv(crashAt)
	if at == "" {
		t.Skip("it is started by the tests that kill it")
	}
	dir, store, outside := os.Getenv("PLUMB_TEST_PROJECT"), os.Getenv("PLUMB_TEST_STORE"), os.Getenv("PLUMB_TEST_OUTSIDE")
	m := &mortal{&fakeRuntime{}, at, outside}
	e, err := Open(Config{Dir: store, Version: "test", NewRuntime: func(context.Context, Place) (runtime.Runtime, error) { return m, nil }})
	if err != nil {
		t.Fatal(err)
	}
	err = e.Run(t.Context(), RunRequest{Request: Request{Project: Project{Dir: dir}}}, func(event.Event) {})
	t.Fatalf("it lived through %q: %v, %v", at, err, e.Close())
}

// crash runs the project in a process that dies at a point.
func (r *rig) crash(at, outside string) {
	r.t.Helper()
	if err := r.Close(); err != nil {
		r.t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestCrashingEngine$", "-test.v")
	cmd.Env = append(os.Environ(), crashAt+"="+at, "PLUMB_TEST_PROJECT="+r.dir, "PLUMB_TEST_STORE="+r.cfg.Dir, "PLUMB_TEST_OUTSIDE="+outside)
	out, err := cmd.CombinedOutput()
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || ws.Signal() != syscall.SIGKILL {
		r.t.Fatalf("it was not killed: %v\n%s", err, out)
	}
	r.open(r.cfg.Dir)
}

func TestEffectAndCrash(t *testing.T) {
	for _, c := range []struct {
		at         string
		attributes string
		outside    int    // how often it happened when the process was dead
		next       string // what the next run makes of it, "" when it is refused
	}{
		{at: "created", outside: 0, next: "ran"},
		{at: "noted, not started", outside: 0},
		{at: "started", outside: 1},
		{at: "ended, not recorded", outside: 1},
		{at: "recorded", outside: 1, next: "cached"},
		{at: "noted, not started", attributes: "idempotent = true", outside: 0, next: "ran"},
		{at: "started", attributes: "idempotent = true", outside: 1, next: "ran"},
		{at: "recorded", attributes: "idempotent = true", outside: 1, next: "cached"},
	} {
		t.Run(c.at+" "+c.attributes, func(t *testing.T) {
			r := newRig(t, loading(`"print", "x"`, c.attributes))
			outside := filepath.Join(t.TempDir(), "outside")
			r.crash(c.at, outside)
			b, err := os.ReadFile(outside)
			if err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			if n := strings.Count(string(b), "it happened"); n != c.outside {
				t.Errorf("it happened %d times, want %d", n, c.outside)
			}
			if c.next == "" {
				r.wantRefused("attempt 1 of run ")
				r.wantRefused("attempt 1 of run ", forcing)
				return
			}
			status, _, err := r.ran(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			wantStatus(t, status, map[string]string{"load": c.next})
		})
	}
}

func TestCheckpointAndCrash(t *testing.T) {
	for _, c := range []struct {
		at   string
		next string
		want string // the checkpoint as the next run saw it, with what it added
	}{
		{at: "created", next: "ran", want: "x1"},
		{at: "ended, not recorded", next: "ran", want: "xx1"},
		{at: "recorded", next: "cached", want: "x1"},
	} {
		t.Run(c.at, func(t *testing.T) {
			r := newRig(t, training(`"print", "x"`))
			r.crash(c.at, filepath.Join(t.TempDir(), "outside"))
			status, _, err := r.ran(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			wantStatus(t, status, map[string]string{"train": c.next})
			if got := r.content("train.out"); got != c.want {
				t.Errorf("the checkpoint held %q, want %q", got, c.want)
			}
			if left := r.checkpoints(); len(left) > 0 {
				t.Errorf("left after the success: %v", left)
			}
		})
	}
}
