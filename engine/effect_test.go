package engine

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"plumb/engine/event"
	"plumb/store"
)

// loading has an effect and then does what a test wants.
func loading(rest, attributes string) string {
	return `
stage "load" {
  command = ["effect", ";", ` + rest + `]
  effect  = true
` + attributes + `
  retry {
    exit    = 2
    backoff = "1ms"
  }
}`
}

// happened sums up the effects.
func (r *rig) happened() (n int) {
	r.rt.mu.Lock()
	defer r.rt.mu.Unlock()
	for _, c := range r.rt.effects {
		n += c
	}
	return n
}

func (r *rig) wantEffects(n int) {
	r.t.Helper()
	if got := r.happened(); got != n {
		r.t.Errorf("the effect happened %d times, want %d", got, n)
	}
}

// wantRefused requires that a run does not execute stage load, and says why and what to do.
func (r *rig) wantRefused(why string, change ...func(*RunRequest)) {
	r.t.Helper()
	before := r.happened()
	_, events, err := r.ran(r.t.Context(), change...)
	var e *Error
	if !errors.As(err, &e) || e.Kind != StageFailed {
		r.t.Fatalf("error %v, want a failed stage", err)
	}
	var f *event.Failure
	for _, st := range events[len(events)-1].Stages {
		if st.Name == "load" {
			f = st.Error
		}
	}
	if f == nil || f.Class != store.ClassEffect || !strings.Contains(f.Message, why) || !strings.Contains(f.Message, "PLUMB_KEY=") || !strings.Contains(f.Hint, "--repeat-effect load") {
		r.t.Errorf("failure %+v, want %q", f, why)
	}
	r.wantEffects(before)
}

func repeating(q *RunRequest) { q.Repeat = []string{"load"} }

func forcing(q *RunRequest) { q.Force = []string{"load"} }

func TestEffectHappensOnce(t *testing.T) {
	r := newRig(t, loading(`"print", "done"`, "network = true"))
	for n, want := range []string{"ran", "cached", "cached"} {
		status, _, err := r.ran(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		wantStatus(t, status, map[string]string{"load": want})
		if n == 1 {
			if _, err := r.GC(t.Context(), GCRequest{}); err != nil {
				t.Fatal(err)
			}
			r.reopen()
		}
	}
	r.wantEffects(1)
}

func TestEffectIsKnownWhenItsRecordIsCollected(t *testing.T) {
	r := newRig(t, loading(`"write", "out", "receipt"`, `outputs = { out = "out" }`)+`
stage "after" {
  inputs  = [stage.load.out]
  command = ["copy", "out", "copied"]
  outputs = { copied = "copied" }
}`)
	if _, _, err := r.ran(t.Context()); err != nil {
		t.Fatal(err)
	}
	k := r.keyOf("load")
	// No run is kept, and so no record.
	if rep, err := r.store.GC(t.Context(), store.Policy{}); err != nil || rep.Records != 2 {
		t.Fatalf("dropped %+v, %v", rep, err)
	}
	if rec, err := r.store.Record(k); err != nil || rec != nil {
		t.Fatalf("the record is still there: %v", err)
	}
	r.commits.Add(1)
	status, _, err := r.ran(t.Context(), func(q *RunRequest) { q.Targets = []string{"load"} })
	if err != nil {
		t.Fatal(err)
	}
	wantStatus(t, status, map[string]string{"load": "cached"})
	r.wantEffects(1)
	r.wantRefused("stage after needs it; its effect is done already, by run ")
	plan, err := r.Plan(t.Context(), r.request().Request)
	if err != nil {
		t.Fatal(err)
	}
	if plan.Refused != 1 || plan.Pending != 1 || !plan.Stages[0].Effect {
		t.Errorf("plan %+v", plan)
	}
	if status, _, err = r.ran(t.Context(), repeating); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, status, map[string]string{"load": "ran", "after": "ran"})
	r.wantEffects(2)
}

func TestEffectIsNotRepeatedByItself(t *testing.T) {
	for _, c := range []struct {
		name       string
		rest       string
		attributes string
		class      store.Class
	}{
		{name: "failed", rest: `"fail", "3"`, class: store.ClassExit},
		{name: "killed", rest: `"killed-once", "m", "f"`, class: store.ClassPreempted},
		{name: "out of memory", rest: `"oom-until", "99999999999", "f"`, class: store.ClassOOM, attributes: "resources {\n memory = \"64MiB\"\n }"},
		{name: "without its output", rest: `"print", "x"`, class: store.ClassOutput, attributes: `outputs = { out = "out" }`},
		{name: "timed out", rest: `"sleep"`, class: store.ClassTimeout, attributes: "timeout = \"30ms\""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, loading(c.rest, c.attributes))
			_, events, err := r.ran(t.Context())
			if err == nil {
				t.Fatal("it did not fail")
			}
			a := attemptsOf(events)
			if len(a) != 1 || a[0].Class != c.class {
				t.Errorf("attempts %+v", a)
			}
			if f := events[len(events)-1].Stages[0].Error; !strings.Contains(f.Message, "its effect may have happened") || !strings.Contains(f.Hint, "--repeat-effect load") {
				t.Errorf("failure %+v", f)
			}
			r.wantEffects(1)
			id := string(events[0].Run)
			r.wantRefused("attempt 1 of run " + id + " began at ")
			r.reopen()
			r.wantRefused("attempt 1 of run " + id + " began at ")
			r.wantRefused("attempt 1 of run "+id+" began at ", forcing)
			if _, _, err := r.ran(t.Context(), repeating); r.happened() != 2 {
				t.Errorf("it was not repeated: %v", err)
			}
		})
	}
}

func TestIdempotentEffectIsRepeated(t *testing.T) {
	r := newRig(t, loading(`"killed-once", "m", "f"`, "idempotent = true"))
	_, events, err := r.ran(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if a := attemptsOf(events); len(a) != 2 {
		t.Errorf("attempts %+v", a)
	}
	r.wantEffects(2)
	if status, _, err := r.ran(t.Context()); err != nil || status["load"] != "cached" {
		t.Errorf("status %v, %v", status, err)
	}
	if status, _, err := r.ran(t.Context(), forcing); err != nil || status["load"] != "ran" {
		t.Errorf("status %v, %v", status, err)
	}
	r.wantEffects(3)
}

func TestEffectThatDidNotBeginIsRetried(t *testing.T) {
	r := newRig(t, loading(`"print", "x"`, ""))
	r.rt.broken = 2
	if _, _, err := r.ran(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.wantEffects(1)
}

// TestEffectThatCouldNotBeStarted: a machine may say so of what runs.
func TestEffectThatCouldNotBeStarted(t *testing.T) {
	r := newRig(t, loading(`"print", "x"`, ""))
	r.rt.unstartable = 1
	_, events, err := r.ran(t.Context())
	if err == nil || len(attemptsOf(events)) != 1 {
		t.Fatalf("error %v, attempts %+v", err, attemptsOf(events))
	}
	r.wantRefused("may have happened already")
	r.wantEffects(0)
}

func TestCanceledEffectIsNotRepeated(t *testing.T) {
	r := newRig(t, loading(`"sleep"`, ""))
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
	r.wantRefused("may have happened already")
}

func TestForcedEffect(t *testing.T) {
	r := newRig(t, loading(`"print", "x"`, ""))
	if _, _, err := r.ran(t.Context(), forcing); err != nil { // it never happened
		t.Fatal(err)
	}
	r.wantRefused("its effect is done already, by run ", forcing)
	if status, _, err := r.ran(t.Context(), repeating); err != nil || status["load"] != "cached" {
		t.Errorf("status %v, %v", status, err)
	}
	if status, _, err := r.ran(t.Context(), repeating, forcing); err != nil || status["load"] != "ran" {
		t.Errorf("status %v, %v", status, err)
	}
	r.wantEffects(2)
}

func TestEffectOfWhatWasNotSaidToHaveOne(t *testing.T) {
	r := newRig(t, strings.Replace(loading(`"print", "x"`, ""), "effect  = true", "", 1))
	if _, _, err := r.ran(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.project(loading(`"print", "x"`, ""))
	for range 2 {
		if status, _, err := r.ran(t.Context()); err != nil || status["load"] != "cached" {
			t.Fatalf("status %v, %v", status, err)
		}
		if _, err := r.store.GC(t.Context(), store.Policy{}); err != nil {
			t.Fatal(err)
		}
	}
	r.wantEffects(1)
}

func TestOnlyEffectsAreRepeated(t *testing.T) {
	r := newRig(t, `stage "a" { command = ["print", "x"] }`)
	var e *Error
	if _, _, err := r.ran(t.Context(), func(q *RunRequest) { q.Repeat = []string{"a"} }); !errors.As(err, &e) || e.Kind != Invalid {
		t.Errorf("error %v", err)
	}
}

// TestRunsThatWantOneEffect start at once: it happens once, or where it fails at most
// once.
func TestRunsThatWantOneEffect(t *testing.T) {
	for _, c := range []struct {
		name, rest, attributes string
		succeed                int
		effects                int
	}{
		{"it succeeds", `"print", "x"`, "", 6, 1},
		{"it fails", `"fail", "3"`, "", 0, 1},
		{"it is idempotent and dies", `"killed-once", "m", "f"`, "idempotent = true", 6, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, loading(c.rest, c.attributes))
			var wg sync.WaitGroup
			var mu sync.Mutex
			succeeded := 0
			for range 6 {
				wg.Go(func() {
					err := r.Run(context.Background(), r.request(), func(event.Event) {})
					mu.Lock()
					defer mu.Unlock()
					if err == nil {
						succeeded++
					}
				})
			}
			wg.Wait()
			if succeeded != c.succeed {
				t.Errorf("%d runs succeeded, want %d", succeeded, c.succeed)
			}
			r.wantEffects(c.effects)
			if r.rt.together {
				t.Error("it happened twice at once")
			}
		})
	}
}

func TestDamagedNoteOfAnEffect(t *testing.T) {
	r := newRig(t, loading(`"print", "x"`, ""))
	if err := r.store.BeginEffect(r.keyOf("load"), store.Beginning{}); err != nil {
		t.Fatal(err)
	}
	r.wantRefused("what is known of it is damaged")
}
