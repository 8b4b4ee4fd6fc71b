package agent

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"plumb/engine"
	"plumb/engine/event"
)

func TestStatus(t *testing.T) {
	for _, length := range []int{0, maxAddress + 20} {
		t.Run(strconv.Itoa(length)+" bytes of path", func(t *testing.T) {
			opts := Options{Build: "b1", Version: "v1", PID: 4711}
			if length > 0 {
				opts.Dir = deep(t, length)
			}
			r := newRig(t, &fake{}, opts)
			want := &Status{Schema: engine.Schema, Running: true, PID: 4711, Build: "b1", Version: "v1", Store: r.dir}
			if d := cmp.Diff(want, r.status, cmpopts.IgnoreFields(Status{}, "Seconds", "Memory")); d != "" {
				t.Errorf("status (-want +got):\n%s", d)
			}
			if r.status.Seconds <= 0 || r.status.Memory < 1<<20 {
				t.Errorf("after %v s it takes %d bytes", r.status.Seconds, r.status.Memory)
			}
			if b, err := os.ReadFile(filepath.Join(r.dir, pidName)); err != nil || string(b) != "4711\n" {
				t.Errorf("the process id is recorded as %q, %v", b, err)
			}
			if st, err := os.Stat(filepath.Join(r.dir, socketName)); err != nil || st.Mode() != os.ModeSocket|0o600 {
				t.Errorf("the socket is %v, %v", st.Mode(), err)
			}
		})
	}
}

// What stands in the socket's place was left by a dead agent.
func TestListenClearsTheWay(t *testing.T) {
	tests := []struct {
		name  string
		leave func(t *testing.T, path string) error
		ok    bool
	}{
		{"nothing", func(*testing.T, string) error { return nil }, true},
		{"file", func(_ *testing.T, path string) error { return os.WriteFile(path, nil, 0o600) }, true},
		{"dead socket", func(_ *testing.T, path string) error {
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
			if err != nil {
				return err
			}
			l.SetUnlinkOnClose(false)
			return l.Close()
		}, true},
		{"full directory", func(_ *testing.T, path string) error { return os.MkdirAll(filepath.Join(path, "x"), 0o700) }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, socketName)
			if err := tt.leave(t, path); err != nil {
				t.Fatal(err)
			}
			l, err := NewServer(&fake{}, Options{Dir: dir}).listen()
			if (err == nil) != tt.ok {
				t.Fatalf("listening: %v", err)
			}
			if err != nil {
				if !strings.Contains(err.Error(), strconv.Quote(path)) {
					t.Errorf("%q does not name %q", err, path)
				}
				return
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// gone checks that an agent that ended left nothing that a client could find.
func (r *rig) gone() {
	r.t.Helper()
	if err := r.ended(); err != nil {
		r.t.Errorf("serving: %v", err)
	}
	names, err := filepath.Glob(filepath.Join(r.dir, "agent.*"))
	if err != nil || len(names) > 0 {
		r.t.Errorf("left behind: %q, %v", names, err)
	}
	if _, st, err := Dial(context.Background(), r.dir); !errors.Is(err, ErrGone) {
		r.t.Errorf("dialing gives %+v, %v", st, err)
	}
}

func TestLeaveWaitsForRuns(t *testing.T) {
	h := newHeld()
	r := newRig(t, &fake{run: h.run}, Options{})
	out := r.runs(t.Context(), engine.RunRequest{})
	await(t, h.began, "the run's begin")
	if _, err := r.client.Leave(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	other, st, err := Dial(t.Context(), r.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if !st.Leaving || st.Runs != 1 {
		t.Errorf("a leaving agent says %+v", st)
	}
	if err := other.Run(t.Context(), engine.RunRequest{}, func(event.Event) {}); !errors.Is(err, ErrLeaving) {
		t.Errorf("a new run gives %v", err)
	}
	close(h.letGo)
	if got := await(t, out, "the run's end"); got.err != nil || len(got.events) != 2 {
		t.Errorf("the run under way: %+v", got)
	}
	r.gone()
}

func TestEndCancelsRuns(t *testing.T) {
	tests := []struct {
		name, want string
		end        func(r *rig) error
	}{
		{"asked to leave now", "the run was canceled: the agent was stopped", func(r *rig) error {
			_, err := r.client.Leave(r.t.Context(), true)
			return err
		}},
		{"told to end from outside", "the run was canceled: the agent was told to end by a signal", func(r *rig) error {
			r.stop()
			return nil
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHeld()
			r := newRig(t, &fake{run: h.run}, Options{})
			out := r.runs(t.Context(), engine.RunRequest{})
			await(t, h.began, "the run's begin")
			if err := tt.end(r); err != nil {
				t.Fatal(err)
			}
			got := await(t, out, "the run's end")
			wantKind(t, got.err, engine.Interrupted, tt.want)
			if d := cmp.Diff([]event.Event{{Type: event.RunStarted, Run: "r1"}, {Type: event.RunFinished, Status: "canceled"}}, got.events); d != "" {
				t.Errorf("events (-want +got):\n%s", d)
			}
			r.gone()
		})
	}
}

func TestLeaveWithNothingToDo(t *testing.T) {
	for _, now := range []bool{false, true} {
		t.Run("now "+strconv.FormatBool(now), func(t *testing.T) {
			r := newRig(t, &fake{}, Options{})
			if _, err := r.client.Leave(t.Context(), now); err != nil {
				t.Fatal(err)
			}
			r.gone()
		})
	}
}

func TestIdle(t *testing.T) {
	const idle = 20 * time.Millisecond
	t.Run("leaves", func(t *testing.T) {
		serveRig(t, &fake{}, Options{Idle: idle}).gone()
	})
	t.Run("not while a run is under way", func(t *testing.T) {
		h := newHeld()
		r := serveRig(t, &fake{run: h.run}, Options{Idle: 20 * idle})
		var err error
		if r.client, _, err = Dial(t.Context(), r.dir); err != nil {
			t.Fatal(err)
		}
		out := r.runs(t.Context(), engine.RunRequest{})
		await(t, h.began, "the run's begin")
		select {
		case err := <-r.served:
			t.Fatalf("it left in the middle of a run: %v", err)
		case <-time.After(22 * idle):
		}
		close(h.letGo)
		if got := await(t, out, "the run's end"); got.err != nil {
			t.Error(got.err)
		}
		r.gone()
	})
}
