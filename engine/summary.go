package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"plumb/engine/event"
	"plumb/engine/sched"
	"plumb/hcl"
	"plumb/store"
)

// finish tells the summary.
func (r *run) finish(rec *store.Run, exports []event.Export) {
	previous := r.previousMetrics()
	ev := event.Event{Type: event.RunFinished, Status: rec.Status, Seconds: rec.Seconds, Exports: exports, Pipeline: r.s.pipeline.Name, Counts: &rec.Counts}
	every := r.req.Full || len(r.results) <= tellAll
	for _, i := range r.s.planner.Graph().Order() {
		res := &r.results[i]
		if !r.s.selected[i] || r.s.outside[i] || !every && res.Status == "cached" && res.Metrics == nil {
			continue
		}
		ev.Stages = append(ev.Stages, r.summary(i, res, previous[res.Name]))
	}
	r.emit(ev)
}

func (r *run) summary(i int, res *store.StageResult, previous map[string]float64) event.Stage {
	st := event.Stage{
		Name: res.Name, Status: res.Status, Key: res.Key, Reason: res.Reason, Seconds: res.Seconds, Attempts: len(res.Attempts),
		Image: r.s.images[r.s.planner.Stage(i).Image].digest.String(), Outputs: map[string]event.Output{}, Metrics: res.Metrics, Previous: previous, Error: r.fails[i],
	}
	if st.Metrics == nil {
		st.Metrics = map[string]float64{}
	}
	if rec := r.s.planner.Record(i); rec != nil && (res.Status == "ran" || res.Status == "cached") {
		st.Outputs = r.outputs(i, rec)
	}
	return st
}

// outputsOf lists the declared outputs; what plumb keeps for itself begins with a dot.
func outputsOf(rec *store.Record) map[string]event.Output {
	out := map[string]event.Output{}
	for _, o := range rec.Outputs {
		if !strings.HasPrefix(o.Name, ".") {
			out[o.Name] = event.Output{Digest: o.Digest, Size: o.Size, Kind: o.Kind, Path: o.Path, Dropped: o.Dropped}
		}
	}
	return out
}

// previousMetrics is what the project's last successful run before this one reported.
func (r *run) previousMetrics() map[string]map[string]float64 {
	out := map[string]map[string]float64{}
	runs, err := r.e.store.Runs(store.RunFilter{Project: r.req.Project.Dir, Before: r.id, Status: "succeeded", Limit: 1})
	if err != nil || len(runs) == 0 {
		return out
	}
	full, err := r.e.store.Run(runs[0].ID)
	if err != nil {
		return out
	}
	for _, s := range full.Stages {
		if len(s.Metrics) > 0 {
			out[s.Name] = s.Metrics
		}
	}
	return out
}

// outcome is the error that the run as a whole ends with.
func (r *run) outcome(ctx context.Context, status string, res sched.Result, exportErr error) error {
	switch status {
	case "succeeded":
		return nil
	case "canceled":
		return &Error{Kind: Interrupted, Message: "the run was canceled"}
	}
	if exportErr != nil {
		return exportErr
	}
	machine := true
	var names []string
	for _, i := range r.s.planner.Graph().Order() {
		err, ok := res.Errors[i]
		if !ok {
			continue
		}
		names = append(names, r.s.planner.Graph().Name(i))
		var ee *Error
		if errors.As(err, &ee) && ee.Kind == Invalid {
			return ee
		}
		var diags hcl.Diagnostics
		if errors.As(err, &diags) {
			return diags
		}
		var fe *failedError
		machine = machine && errors.As(err, &fe) && fe.failure.Class == store.ClassInfra
	}
	kind := StageFailed
	if machine {
		kind = Machine
	}
	word := "stage"
	if len(names) > 1 {
		word = "stages"
	}
	return &Error{Kind: kind, Message: fmt.Sprintf("%s %s failed", word, strings.Join(names, ", "))}
}
