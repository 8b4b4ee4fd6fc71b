package engine

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"plumb/engine/event"
	"plumb/store"
)

// training appends to its checkpoint in each attempt, and does what a test wants then.
func training(rest string) string {
	return `
param "lr" { default = "1" }
stage "train" {
  command    = ["append", "ckpt/epochs", "x", ";", ` + rest + `, ";", "copy", "ckpt/epochs", "out", ";", "append", "out", param.lr]
  outputs    = { out = "out" }
  checkpoint = "ckpt"
  retry {
    exit    = 1
    backoff = "1ms"
  }
}`
}

func (r *rig) checkpoints() []string {
	r.t.Helper()
	names, err := filepath.Glob(filepath.Join(r.cfg.Dir, "checkpoints", "*"))
	if err != nil {
		r.t.Fatal(err)
	}
	return names
}

// reopen is what a next owner of the store finds.
func (r *rig) reopen() {
	r.t.Helper()
	dir := r.cfg.Dir
	if err := r.Close(); err != nil {
		r.t.Fatal(err)
	}
	r.open(dir)
}

func attemptsOf(events []event.Event) (out []store.Attempt) {
	for _, e := range events {
		if e.Type == event.AttemptDone {
			out = append(out, *e.Attempt)
		}
	}
	return out
}

func TestCheckpointGoesFromAttemptToAttempt(t *testing.T) {
	r := newRig(t, training(`"killed-once", "m", "survived"`))
	_, events, err := r.ran(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := r.content("train.out"); got != "xx1" {
		t.Errorf("the checkpoint held %q", got)
	}
	var resumed []bool
	for _, a := range attemptsOf(events) {
		resumed = append(resumed, a.Resumed)
	}
	if !slices.Equal(resumed, []bool{false, true}) {
		t.Errorf("resumed %v", resumed)
	}
	if !slices.ContainsFunc(events, func(e event.Event) bool {
		return e.Type == event.Resumed && e.Message == "goes on from the checkpoint of attempt 1"
	}) {
		t.Error("nobody was told")
	}
	if left := r.checkpoints(); len(left) > 0 {
		t.Errorf("left after the success: %v", left)
	}
	doc, err := r.Show(t.Context(), ShowRequest{Dir: r.dir})
	if err != nil {
		t.Fatal(err)
	}
	if a := doc.Stages[0].Attempts; len(a) != 2 || a[0].Resumed || !a[1].Resumed {
		t.Errorf("recorded attempts %+v", a)
	}
}

func TestCheckpointGoesFromRunToRun(t *testing.T) {
	r := newRig(t, training(`"fail", "3"`))
	if _, _, err := r.ran(t.Context()); err == nil {
		t.Fatal("it did not fail")
	}
	r.reopen()
	other := func(q *RunRequest) { q.Project.Params = map[string]string{"lr": "2"} }
	_, events, err := r.ran(t.Context(), other)
	if err == nil {
		t.Fatal("it did not fail")
	}
	if a := attemptsOf(events); a[0].Resumed {
		t.Error("another key found the checkpoint")
	}
	if n := len(r.checkpoints()); n != 2 {
		t.Errorf("%d checkpoints of two keys", n)
	}
	r.reopen()
	_, events, err = r.ran(t.Context())
	if err == nil {
		t.Fatal("it did not fail")
	}
	if a := attemptsOf(events); !a[0].Resumed {
		t.Error("the next run did not find the checkpoint")
	}
	if !slices.ContainsFunc(events, func(e event.Event) bool {
		return e.Type == event.Resumed && strings.HasPrefix(e.Message, "goes on from the checkpoint of attempt 2 of run ")
	}) {
		t.Error("nobody was told")
	}
	b, err := os.ReadFile(filepath.Join(r.checkpointDir(r.keyOf("train")), "data", "epochs"))
	if err != nil || string(b) != "xxxx" {
		t.Errorf("after four attempts it holds %q, %v", b, err)
	}
}

// keyOf is the key that a stage has now.
func (r *rig) keyOf(stage string) store.Key {
	r.t.Helper()
	doc, err := r.Plan(context.Background(), r.request().Request)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, st := range doc.Stages {
		if st.Name == stage {
			return st.Key
		}
	}
	r.t.Fatalf("no stage %q", stage)
	return store.Key{}
}

func TestCheckpointStaysWhenTheRunIsCanceled(t *testing.T) {
	r := newRig(t, training(`"sleep"`))
	r.rt.hold, r.rt.running = make(chan struct{}), make(chan string, 9)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-r.rt.running
		cancel()
	}()
	if _, _, err := r.ran(ctx); err == nil {
		t.Fatal("the run was not canceled")
	}
	close(r.rt.hold)
	if _, _, err := r.ran(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := r.content("train.out"); got != "xx1" {
		t.Errorf("the checkpoint held %q", got)
	}
}

func TestForcedStageStartsFromNothing(t *testing.T) {
	r := newRig(t, training(`"fail", "3"`))
	if _, _, err := r.ran(t.Context()); err == nil {
		t.Fatal("it did not fail")
	}
	_, events, err := r.ran(t.Context(), func(q *RunRequest) { q.Force = []string{"train"} })
	if err == nil {
		t.Fatal("it did not fail")
	}
	a := attemptsOf(events)
	if len(a) != 2 || a[0].Resumed || !a[1].Resumed {
		t.Errorf("attempts %+v", a)
	}
}

func TestCheckpointIsInTheKey(t *testing.T) {
	r := newRig(t, strings.Replace(training(`"print", "x"`), `checkpoint = "ckpt"`, "", 1))
	without := r.keyOf("train")
	r.project(training(`"print", "x"`))
	with := r.keyOf("train")
	r.project(strings.Replace(training(`"print", "x"`), `checkpoint = "ckpt"`, `checkpoint = "ckpt2"`, 1))
	if elsewhere := r.keyOf("train"); without == with || with == elsewhere {
		t.Errorf("keys %s, %s, %s", without.Short(), with.Short(), elsewhere.Short())
	}
}

func TestCheckpointBesideInputs(t *testing.T) {
	r := newRig(t, `
stage "a" {
  inputs     = ["data/in.txt"]
  command    = ["append", "data/ckpt/x", "1", ";", "copy", "data/in.txt", "data/out"]
  outputs    = { out = "data/out" }
  checkpoint = "data/ckpt"
}`)
	r.write("data/in.txt", "hello")
	if _, _, err := r.ran(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := r.content("a.out"); got != "hello" {
		t.Errorf("output %q", got)
	}
}

// TestCheckpointOfASuccessIsNotFound: the machine stopped after the result was recorded
// and before the checkpoint was dropped.
func TestCheckpointOfASuccessIsNotFound(t *testing.T) {
	r := newRig(t, training(`"print", "x"`))
	if _, _, err := r.ran(t.Context()); err != nil {
		t.Fatal(err)
	}
	k := r.keyOf("train")
	rec, err := r.store.Record(k)
	if err != nil {
		t.Fatal(err)
	}
	r.plant(k, rec.Run)
	r.plant(store.Key{7}, "another")
	r.reopen()
	if left := r.checkpoints(); len(left) != 1 || filepath.Base(left[0]) != (store.Key{7}).Hex() {
		t.Errorf("left: %v", left)
	}
}

// plant makes a checkpoint as an attempt of run would have left it.
func (r *rig) plant(k store.Key, run store.RunID) {
	r.t.Helper()
	data := filepath.Join(r.checkpointDir(k), "data")
	if err := os.MkdirAll(data, 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(data, "epochs"), []byte("x"), 0o644); err != nil {
		r.t.Fatal(err)
	}
	if err := r.noteCheckpoint(checkpointOf{Key: k, Run: run, When: time.Now()}); err != nil {
		r.t.Fatal(err)
	}
}

func TestCheckpointsAreCollected(t *testing.T) {
	for _, c := range []struct {
		name string
		req  GCRequest
		want int // left
		said int
	}{
		{"young", GCRequest{KeepAge: time.Hour}, 1, 0},
		{"old", GCRequest{KeepAge: 0}, 0, 1},
		{"asked only", GCRequest{DryRun: true}, 1, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, training(`"fail", "3"`))
			if _, _, err := r.ran(t.Context()); err == nil {
				t.Fatal("it did not fail")
			}
			doc, err := r.GC(t.Context(), c.req)
			if err != nil {
				t.Fatal(err)
			}
			if n := len(r.checkpoints()); n != c.want || doc.Checkpoints != c.said {
				t.Errorf("%d left, %d said to go", n, doc.Checkpoints)
			}
		})
	}
}

func TestCheckpointOfARunningStageIsNotCollected(t *testing.T) {
	r := newRig(t, training(`"sleep"`))
	r.rt.hold, r.rt.running = make(chan struct{}), make(chan string, 9)
	go func() {
		<-r.rt.running
		if _, err := r.GC(context.Background(), GCRequest{}); err != nil {
			t.Error(err)
		}
		close(r.rt.hold)
	}()
	if _, _, err := r.ran(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := r.content("train.out"); got != "x1" {
		t.Errorf("the checkpoint held %q", got)
	}
}
