package engine

import (
	"context"
	"errors"

	"plumb/engine/event"
	"plumb/engine/sched"
	"plumb/hcl"
	"plumb/store"
)

// The states of a run, and of its stages, that are asked for.
const (
	statusRunning  = "running"
	statusCanceled = "canceled"
	statusPending  = "pending" // of a stage, while its run is under way
)

// notReached is the reason of a stage that was canceled before its first attempt.
const notReached = "not reached"

// statusOf is how a final state is called in records.
var statusOf = map[sched.State]string{
	sched.Cached: "cached", sched.Succeeded: "ran", sched.Failed: "failed", sched.Skipped: "skipped", sched.Canceled: "canceled",
}

// settle fills in the result of a stage that is done.
func (r *run) settle(i int, st sched.State, reason string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	res := &r.results[i]
	defer func() { r.journal.write(entry{Stage: res.Name, Done: res}) }()
	stage := r.s.planner.Stage(i)
	res.Name, res.Status, res.Key, res.Reason = stage.Name, statusOf[st], r.s.planner.Decision(i).Key, reason
	if st == sched.Canceled && len(res.Attempts) == 0 {
		res.Reason = notReached
	}
	if st == sched.Succeeded || st == sched.Failed || st == sched.Cached {
		res.Image = r.s.images[stage.Image].digest.String()
	}
	if rec := r.s.planner.Record(i); rec != nil && (st == sched.Cached || st == sched.Succeeded) {
		res.Metrics, res.Outputs = rec.Metrics, rec.Outputs
		if st == sched.Cached {
			res.MadeBy = rec.Run
		}
	}
	if err == nil || st != sched.Failed {
		return
	}
	res.Error = r.masks.String(err.Error())
	var fe *failedError
	if errors.As(err, &fe) {
		r.fails[i] = &fe.failure
	}
	if r.fails[i] == nil {
		ee := AsError(err)
		r.fails[i] = &event.Failure{Class: store.ClassInfra, Message: ee.Error(), Hint: ee.Hint, File: stage.Range.File, Line: stage.Range.Start.Line}
	}
	r.hide(r.fails[i])
}

// begin records that the run is under way, so that it is seen from elsewhere and
// found if this process dies: with all that is known beforehand, so that it can be
// compared and restored then. A run with nothing to do is recorded once, at its end.
//
// No stage runs yet, so nobody else writes what is read here of the stages.
func (r *run) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.begun {
		return
	}
	r.begun = true
	rec := r.runRecord(statusRunning, r.stages())
	for i := range rec.Stages {
		if rec.Stages[i].Status == "" {
			rec.Stages[i].Status = statusPending
		}
	}
	rec.Origin, rec.Places = r.origin.soFar(), r.recordPlaces(false)
	if err := r.e.store.PutRun(rec); err != nil {
		r.e.cfg.Logger.Warn("recording that a run is under way", "run", r.id, "error", err)
		return
	}
	r.traced = rec.Origin != nil
	r.journal = r.e.openJournal(r.id)
	r.journalOrigin()
}

// noteOrigin adds to the journal where the run comes from, once it is known.
func (r *run) noteOrigin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.journalOrigin()
}

// journalOrigin is called with r.mu held, when there is a journal and when the origin is
// known, whichever is first.
func (r *run) journalOrigin() {
	if o := r.origin.soFar(); o != nil && r.journal != nil && !r.traced {
		r.traced = true
		r.journal.write(entry{Origin: o})
	}
}

// stages lists those that the run is about, in the order of the graph, as far as their
// results are known.
func (r *run) stages() []store.StageResult {
	var out []store.StageResult
	for _, i := range r.s.planner.Graph().Order() {
		if !r.s.selected[i] || r.s.outside[i] {
			continue
		}
		res := r.results[i]
		if res.Status == "" {
			res.Name, res.Key = r.s.planner.Stage(i).Name, r.s.planner.Decision(i).Key
		}
		out = append(out, res)
	}
	return out
}

func (r *run) runRecord(status string, stages []store.StageResult) *store.Run {
	rec := &store.Run{
		ID: r.id, Project: r.req.Project.Dir, Pipeline: r.s.pipeline.Name, Profile: r.s.pipeline.Profile,
		Targets: append(append([]string(nil), r.req.Targets...), r.req.Until...), Status: status,
		Started: r.started.UTC(), Seconds: r.e.cfg.Now().Sub(r.started).Seconds(), Version: r.e.cfg.Version, Isolation: r.req.Place.isolation(), Containerd: r.req.Place.Containerd, Stages: stages, Files: r.s.files,
	}
	rec.Params = recordedParams(r.s.pipeline)
	rec.Counts = countsOf(stages)
	return rec
}

func recordedParams(p *hcl.Pipeline) []store.RunParam {
	var out []store.RunParam
	for _, v := range p.Params {
		rp := store.RunParam{Name: v.Name, Value: v.Value, Origin: v.Origin}
		if v.Sensitive {
			rp.Value = ""
		}
		out = append(out, rp)
	}
	return out
}

func countsOf(stages []store.StageResult) (c store.Counts) {
	for i := range stages {
		switch stages[i].Status {
		case "ran":
			c.Ran++
		case "cached":
			c.Cached++
		case "failed":
			c.Failed++
		case "skipped":
			c.Skipped++
		case statusCanceled:
			c.Canceled++
		}
	}
	return c
}

func (r *run) status(ctx context.Context, res sched.Result) string {
	switch {
	case ctx.Err() != nil:
		return "canceled"
	case len(res.Errors) > 0:
		return "failed"
	}
	return "succeeded"
}

// record writes the run, the one synced write of a run with nothing to do.
func (r *run) record(status string) (*store.Run, error) {
	rec := r.runRecord(status, r.stages())
	rec.Origin, rec.Places = r.origin.wait(), r.recordPlaces(status == "succeeded")
	r.mu.Lock()
	kept := r.journal
	r.journal = nil
	r.mu.Unlock()
	if err := r.e.putRun(rec); err != nil {
		return nil, errors.Join(err, kept.keep())
	}
	if err := kept.close(); err != nil {
		r.e.cfg.Logger.Warn("the journal of a run", "run", r.id, "error", err)
	}
	return rec, nil
}
