package engine

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plumb/engine/event"
	"plumb/engine/runtime"
	"plumb/store"
)

const killedMidway = `
stage "first" {
  command = ["write", "first.txt", "1"]
  outputs = { out = "first.txt" }
}
stage "flaky" {
  inputs  = [stage.first.out]
  command = ["fail", "3", ";", "sleep"]
  retry { exit = 1 }
}
stage "second" {
  inputs  = [stage.first.out]
  command = ["sleep"]
}
stage "never" {
  inputs  = [stage.first.out]
  after   = [stage.second]
  command = ["write", "never.txt", "1"]
}
`

// A killed agent leaves the store as it is at that moment: a copy of it, made while a
// run is under way, is what the next agent finds. It records what had ended, and what
// had not as preempted. Somebody who only reads sees the same before.
func TestKilledRunIsRecorded(t *testing.T) {
	r := newRig(t, killedMidway)
	r.rt.hold, r.rt.running = make(chan struct{}), make(chan string, 8)
	ended := make(chan struct{})
	flaky := make(chan struct{})
	go func() {
		defer close(ended)
		r.Run(context.Background(), r.request(), func(e event.Event) { //nolint:errcheck // it fails in the end, as it should
			if e.Type == event.AttemptDone && e.Stage == "flaky" && e.Number == 1 {
				close(flaky)
			}
		})
	}()
	<-flaky
	<-r.rt.running
	copied := filepath.Join(t.TempDir(), "killed")
	if err := os.CopyFS(copied, os.DirFS(r.cfg.Dir)); err != nil {
		t.Fatal(err)
	}
	close(r.rt.hold)
	<-ended
	reader, err := Open(Config{Dir: copied, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]store.Class{"first": {store.ClassOK}, "flaky": {store.ClassExit}, "second": {store.ClassPreempted}}
	wantKilled(t, "read", reader, want)
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}
	next, err := Open(Config{Dir: copied, Version: "test", NewRuntime: func(context.Context, Place) (runtime.Runtime, error) { return r.rt, nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	wantKilled(t, "recorded", next, want)
	if left, err := os.ReadDir(filepath.Join(copied, "running")); err != nil || len(left) > 0 {
		t.Errorf("journals left: %v, %v", left, err)
	}
	if left, err := os.ReadDir(r.journalDir()); err != nil || len(left) > 0 {
		t.Errorf("journals left of a run that came to its end: %v, %v", left, err)
	}
}

func wantKilled(t *testing.T, how string, e *Engine, want map[string][]store.Class) {
	t.Helper()
	doc, err := e.Show(t.Context(), ShowRequest{})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]store.Class{}
	for _, s := range doc.Stages {
		for _, a := range s.Attempts {
			got[s.Name] = append(got[s.Name], a.Class)
		}
	}
	if doc.Status != "canceled" || doc.Counts.Ran != 1 {
		t.Errorf("%s: the run is %q, %+v", how, doc.Status, doc.Counts)
	}
	// Whether the second attempt of flaky had begun is up to its pause.
	if n := len(got["flaky"]); n == 2 && got["flaky"][1] == store.ClassPreempted {
		got["flaky"] = got["flaky"][:1]
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s: attempts (-want +got):\n%s", how, d)
	}
}

// A journal may end in the middle of a line, hold anything, or be a directory: what
// can be read of it counts, and the run is closed in any case.
func TestDamagedJournal(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"cut":       {`{"stage":"a","number":1,"began":"2026-01-02T03:04:05Z"}` + "\n" + `{"stage":"a","done":{"na`, []string{"a canceled preempted"}},
		"garbage":   {"\x00\xff\n[]\n7\n{}\n", nil},
		"empty":     {"", nil},
		"done":      {`{"stage":"a","done":{"name":"a","status":"ran","attempts":[{"class":"ok"}]}}` + "\n", []string{"a ran ok"}},
		"no begin":  {`{"stage":"a","attempt":{"class":"exit"}}` + "\n", []string{"a canceled exit"}},
		"very long": {strings.Repeat("x", 1<<20), nil},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "journal")
			if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			run := &store.Run{ID: "r", Status: statusRunning}
			if err := interrupted(path, run); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, s := range run.Stages {
				line := s.Name + " " + s.Status
				for _, a := range s.Attempts {
					line += " " + string(a.Class)
				}
				got = append(got, line)
			}
			if d := cmp.Diff(c.want, got); d != "" || run.Status != statusCanceled {
				t.Errorf("status %q, stages (-want +got):\n%s", run.Status, d)
			}
		})
	}
	run := &store.Run{ID: "r", Status: statusRunning}
	if err := interrupted(t.TempDir(), run); err != nil || run.Status != statusCanceled || run.Stages != nil {
		t.Errorf("a directory as a journal: %v, %+v", err, run)
	}
}

// What a signal to the agent ends is preempted, what a person ends is canceled.
func TestPreempted(t *testing.T) {
	for want, cause := range map[store.Class]error{store.ClassPreempted: ErrPreempted, store.ClassCanceled: nil} {
		t.Run(string(want), func(t *testing.T) {
			r := newRig(t, "stage \"a\" {\n command = [\"sleep\"]\n}\n")
			r.rt.hold, r.rt.running = make(chan struct{}), make(chan string, 1)
			ctx, cancel := context.WithCancelCause(t.Context())
			go func() {
				<-r.rt.running
				cancel(cause)
			}()
			var got []store.Class
			err := r.Run(ctx, r.request(), func(e event.Event) {
				if e.Type == event.AttemptDone {
					got = append(got, e.Attempt.Class)
				}
			})
			if AsError(err).Kind != Interrupted {
				t.Errorf("error %v", err)
			}
			if d := cmp.Diff([]store.Class{want}, got); d != "" {
				t.Errorf("attempts (-want +got):\n%s", d)
			}
		})
	}
}
