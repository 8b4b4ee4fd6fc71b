package engine

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"plumb/engine/event"
	"plumb/engine/plan"
	"plumb/store"
)

// A stage with effect = true changes something outside, of which the store knows nothing
// but what it has noted itself:
//
//	pull, sandbox, container created        nothing: fails and is repeated like any stage
//	note that it begins, synced   ◀──────── from here on the effect may have happened
//	container started … command ended
//	outputs captured
//	record and "done", one transaction ◀─── from here on it has, and is a hit for ever
//
// What ends between the two lines, in whatever way, is not repeated by itself: not by the
// retry block, not by the client of a killed agent, not by the next run. A container
// that could not be started counts as started, since a machine may say so of one that
// runs. idempotent = true allows to repeat it; so does a person, by name, for one run
// and one attempt. The decision itself is plan's (plan/effect.go), asked again under the
// key's lock, so that two runs never have the same effect at once.

// mayRepeat finds the stages of which people allow that, and refuses others.
func (s *session) mayRepeat(req Request) (map[string]bool, error) {
	named, err := stagesNamed(s.pipeline, req.Repeat)
	if err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for _, i := range named {
		st := &s.pipeline.Stages[i]
		if !st.Effect {
			return nil, invalid("--force runs a stage again that writes nowhere else", "stage %q has no effect to be repeated", st.Name)
		}
		out[st.Name] = true
	}
	return out, nil
}

// beginEffect notes that an effect may happen from now on. What is left of an earlier
// attempt is ended first.
func (r *run) beginEffect(ctx context.Context, i int, a *attempt) error {
	s, d := r.s.planner.Stage(i), r.s.planner.Decision(i)
	if !s.Effect {
		return nil
	}
	if err := errors.Join(ctx.Err(), r.e.room()); err != nil {
		return err
	}
	before, err := r.e.store.Effect(d.Key)
	if err != nil {
		return err
	}
	if before != nil && before.Begun != nil && len(before.Begun.Place) > 0 {
		var at Place
		if err := json.Unmarshal(before.Begun.Place, &at); err != nil {
			return fmt.Errorf("reading where the effect of stage %q began: %w", s.Name, err)
		}
		if _, err := r.e.runtimeOf(ctx, at); err != nil {
			return fmt.Errorf("making sure that nothing is left of an earlier attempt: %w", err)
		}
	}
	place, err := json.Marshal(r.req.Place)
	if err != nil {
		return fmt.Errorf("noting where the effect of stage %q begins: %w", s.Name, err)
	}
	err = r.e.store.BeginEffect(d.Key, store.Beginning{Run: r.id, Stage: s.Name, Attempt: a.number, When: r.e.cfg.Now().UTC(), Place: place})
	a.begun = err == nil
	return err
}

// refused is the failure of a stage that is not executed.
func (r *run) refused(i int, d plan.Decision) error {
	s := r.s.planner.Stage(i)
	f := event.Failure{Class: store.ClassEffect, File: s.Range.File, Line: s.Range.Start.Line}
	f.Message = fmt.Sprintf("not executed: %s (PLUMB_KEY=%s)", firstReason(d), d.Key.Hex())
	f.Hint = repeatHint(s.Name)
	return &failedError{f}
}

func repeatHint(stage string) string {
	return fmt.Sprintf("look outside for what has that key; --repeat-effect %s executes it again, and idempotent = true says that repeating it does no harm", stage)
}

// explainEffect adds to the failure of an effect what comes of it.
func (r *run) explainEffect(i int, fail *event.Failure) {
	s, d := r.s.planner.Stage(i), r.s.planner.Decision(i)
	fail.Message += fmt.Sprintf("; its effect may have happened, so it is not tried again (PLUMB_KEY=%s)", d.Key.Hex())
	fail.Hint = joinHints(fail.Hint, repeatHint(s.Name))
}

func joinHints(a, b string) string {
	if a == "" || b == "" {
		return cmp.Or(a, b)
	}
	return a + "; " + b
}

// rememberDone notes for ever that an effect is done whose result was made when the stage
// was not said to have one.
func (r *run) rememberDone(d plan.Decision) error {
	known, err := r.e.store.Effect(d.Key)
	if err != nil || known != nil {
		return err
	}
	return r.e.store.PutDone(d.Record)
}
