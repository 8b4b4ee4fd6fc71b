package engine

import (
	"context"
	"errors"
	"fmt"
	goruntime "runtime"
	"strings"
	"sync"
	"time"

	"plumb/engine/event"
	"plumb/engine/plan"
	"plumb/engine/sched"
	"plumb/hcl"
	"plumb/store"
)

// tellAll is up to how many stages each is told by itself, also the cached ones;
// beyond it only those that something happens to, unless Full is asked for.
const tellAll = 200

// run is one execution: the scheduler's Work, and what is recorded at its end.
type run struct {
	e       *Engine
	s       *session
	req     RunRequest
	id      store.RunID
	started time.Time
	live    *liveRun

	emitMu sync.Mutex
	sink   func(event.Event)

	mu      sync.Mutex
	results []store.StageResult // by stage
	ready   map[int]*attempt    // prepared and not started yet
	fails   map[int]*event.Failure
	begun   bool // a record with status running was written
}

// Run brings the requested stages up to date. Every fact is told to emit, in
// order, from one goroutine at a time; the last event is run_finished. The error
// says why the run did not succeed.
func (e *Engine) Run(ctx context.Context, req RunRequest, emit func(event.Event)) error {
	return shown(req.Project.Dir, e.run(ctx, req, emit))
}

func (e *Engine) run(ctx context.Context, req RunRequest, emit func(event.Event)) error {
	started := e.cfg.Now()
	if e.cfg.ReadOnly {
		return &Error{Kind: Machine, Message: "the store is open for reading only"}
	}
	if err := errors.Join(e.room(), e.putOverdue()); err != nil {
		return err
	}
	s, err := e.prepare(ctx, req)
	if err != nil {
		return err
	}
	r := &run{
		e: e, s: s, req: req, id: e.newRunID(), started: started, sink: emit,
		results: make([]store.StageResult, len(s.pipeline.Stages)), ready: map[int]*attempt{}, fails: map[int]*event.Failure{},
	}
	if req.ExpectCached {
		if err := r.expectCached(); err != nil {
			return err
		}
	}
	return r.execute(ctx)
}

// prepare plans a run and takes what it will read into the store. A project that
// changes at this moment is planned again.
func (e *Engine) prepare(ctx context.Context, req RunRequest) (*session, error) {
	const tries = 5
	var err error
	for range tries {
		var s *session
		if s, err = e.prepareOnce(ctx, req); err == nil {
			return s, nil
		}
		if !errors.Is(err, errMoved) {
			break
		}
	}
	return nil, err
}

func (e *Engine) prepareOnce(ctx context.Context, req RunRequest) (_ *session, err error) {
	s, err := e.open(ctx, req.Request, pinning{write: !req.ExpectCached, locked: req.Locked, offline: req.Offline}, !req.ExpectCached)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.checkResources(req); err != nil {
		return nil, err
	}
	if err := s.consider(req.Project.Dir); err != nil {
		return nil, err
	}
	if req.ExpectCached {
		return s, nil
	}
	if err := s.ingest(ctx, e.store); err != nil {
		return nil, s.placed(req.Project.Dir, err)
	}
	return s, nil
}

func (r *run) execute(ctx context.Context) error {
	r.live = r.e.live.begin(r.id, r.req.Project.Dir)
	defer r.e.live.end(r.live)
	r.emit(event.Event{Type: event.RunStarted, Count: r.count(), Pipeline: r.s.pipeline.Name})
	release := r.lease()
	defer release()
	for name, pin := range r.s.images {
		pin.source.OnProgress = func(done, total int64) {
			r.emit(event.Event{Type: event.Progress, Message: "image " + name, Done: done, Total: total})
		}
	}
	res := sched.Go(ctx, r.s.planner.Graph(), r.s.selected, r, r.options())
	status := r.status(ctx, res)
	var exports []event.Export
	var exportErr error
	if status == "succeeded" {
		exports, exportErr = r.export(ctx)
		if exportErr != nil {
			status = "failed"
		}
	}
	rec, err := r.record(status)
	if err != nil {
		return err
	}
	if err := r.s.scanner.Save(); err != nil {
		r.emit(event.Event{Type: event.Warning, Message: "what is known of the project's files could not be kept: " + err.Error()})
	}
	r.finish(rec, exports)
	return r.outcome(ctx, status, res, exportErr)
}

// count is how many stages the run is about.
func (r *run) count() int {
	n := 0
	for i, sel := range r.s.selected {
		if sel && !r.s.outside[i] {
			n++
		}
	}
	return n
}

// lease keeps gc from the records that this run relies on.
func (r *run) lease() func() {
	var keys []store.Key
	for i, sel := range r.s.selected {
		if k := r.s.planner.Decision(i).Key; sel && !k.IsZero() {
			keys = append(keys, k)
		}
	}
	return r.e.store.Lease(keys...)
}

// options is what the machine has, or what the user allows.
func (r *run) options() sched.Options {
	l := sched.Limits{CPU: float64(goruntime.NumCPU()), Memory: machineMemory(), Jobs: r.req.Jobs, Ahead: goruntime.NumCPU()}
	if r.req.Jobs > 0 {
		l.CPU = float64(r.req.Jobs)
	}
	if r.req.CPU > 0 {
		l.CPU = r.req.CPU
	}
	if r.req.Memory > 0 {
		l.Memory = r.req.Memory
	}
	return sched.Options{Limits: l, KeepGoing: r.req.KeepGoing}
}

// checkResources refuses stages that can never fit, before anything runs.
func (s *session) checkResources(req RunRequest) error {
	limit := machineMemory()
	if req.Memory > 0 {
		limit = req.Memory
	}
	var diags hcl.Diagnostics
	for i := range s.pipeline.Stages {
		st := &s.pipeline.Stages[i]
		if !s.selected[i] || limit == 0 || st.Resources.Memory <= limit {
			continue
		}
		diags = append(diags, hcl.Diagnostic{
			Severity: hcl.SeverityError, Summary: "Stage needs too much memory", Subject: st.Range,
			Detail: fmt.Sprintf("Stage %q asks for %d MiB and there are %d MiB. Lower resources.memory, or run it on a larger machine.", st.Name, st.Resources.Memory>>20, limit>>20),
		})
	}
	if len(diags) > 0 {
		return diags
	}
	return nil
}

func (r *run) expectCached() error {
	var would []string
	for _, i := range r.s.planner.Graph().Order() {
		d := r.s.planner.Decision(i)
		if !r.s.selected[i] || d.Verdict == plan.Hit || d.Verdict == plan.Skip {
			continue
		}
		would = append(would, fmt.Sprintf("stage %s would run: %s", r.s.planner.Graph().Name(i), firstReason(d)))
	}
	if len(would) == 0 {
		return nil
	}
	return &Error{Kind: Differs, Message: strings.Join(would, "\n"), Hint: "plumb why STAGE tells more"}
}

func firstReason(d plan.Decision) string {
	if len(d.Reasons) == 0 {
		return ""
	}
	return d.Reasons[0].String()
}

// emit tells one event, with the run's id and the time.
func (r *run) emit(ev event.Event) {
	ev.Schema, ev.Run, ev.Time = event.Schema, r.id, r.e.cfg.Now().UTC()
	r.emitMu.Lock()
	defer r.emitMu.Unlock()
	r.sink(ev)
}

// Decide implements sched.Work.
func (r *run) Decide(_ context.Context, i int) (sched.Verdict, error) {
	d := r.s.planner.Decision(i)
	if d.Verdict == plan.Pending {
		var err error
		if d, err = r.s.planner.Consider(i); err != nil {
			return sched.Run, undecided(err)
		}
	}
	if r.s.outside[i] && d.Verdict != plan.Hit {
		return sched.Run, invalid("run without --from, or with an earlier stage", "stage %q, which --from %s relies on, is not up to date: %s", r.s.planner.Graph().Name(i), r.req.From, firstReason(d))
	}
	switch d.Verdict {
	case plan.Hit:
		r.e.store.Touch(d.Key)
		return sched.Hit, nil
	case plan.Skip:
		return sched.Skip, nil
	}
	return sched.Run, nil
}

// undecided makes a failure of the stage out of what only showed when the stages
// before it had run, like a metric that is not reported.
func undecided(err error) error {
	var st *plan.StageError
	if !errors.As(err, &st) {
		return err
	}
	return &failedError{event.Failure{Class: store.ClassOutput, Message: st.Err.Error(), File: st.Range.File, Line: st.Range.Start.Line}}
}

// Needs implements sched.Work.
func (r *run) Needs(i int) sched.Needs {
	res := r.s.planner.Stage(i).Resources
	n := sched.Needs{CPU: res.CPU, Memory: res.Memory}
	if n.CPU == 0 {
		n.CPU = 1
	}
	return n
}

// Changed implements sched.Work: each change of state is an event, and the last
// one is the stage's result.
func (r *run) Changed(i int, st sched.State, cause int, err error) {
	if r.s.outside[i] && st != sched.Failed {
		return
	}
	d := r.s.planner.Decision(i)
	name := r.s.planner.Graph().Name(i)
	ev := event.Event{Type: event.StageState, Stage: name, State: st.String(), Key: d.Key, Reason: firstReason(d)}
	if st == sched.Cached || st == sched.Pending || st == sched.Ready {
		ev.Reason = ""
	}
	if cause >= 0 {
		ev.Reason = "stage " + r.s.planner.Graph().Name(cause) + " failed"
	}
	if st.Done() {
		r.settle(i, st, ev.Reason, err)
	}
	if st == sched.Running {
		r.begin()
	}
	if st == sched.Ready || (st == sched.Cached || st == sched.Skipped) && !r.req.Full && len(r.results) > tellAll {
		return
	}
	r.mu.Lock()
	ev.Seconds = r.results[i].Seconds
	if f := r.fails[i]; f != nil {
		ev.Message, ev.Hint = f.Message, f.Hint
	}
	r.mu.Unlock()
	r.emit(ev)
}

// statusOf is how a final state is called in records.
var statusOf = map[sched.State]string{
	sched.Cached: "cached", sched.Succeeded: "ran", sched.Failed: "failed", sched.Skipped: "skipped", sched.Canceled: "canceled",
}

// settle fills in the result of a stage that is done.
func (r *run) settle(i int, st sched.State, reason string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	res := &r.results[i]
	stage := r.s.planner.Stage(i)
	res.Name, res.Status, res.Key, res.Reason = stage.Name, statusOf[st], r.s.planner.Decision(i).Key, reason
	if st == sched.Succeeded || st == sched.Failed || st == sched.Cached {
		res.Image = r.s.images[stage.Image].digest.String()
	}
	if rec := r.s.planner.Record(i); rec != nil && (st == sched.Cached || st == sched.Succeeded) {
		res.Metrics = rec.Metrics
	}
	if err == nil || st != sched.Failed {
		return
	}
	res.Error = err.Error()
	var fe *failedError
	if errors.As(err, &fe) {
		r.fails[i] = &fe.failure
	}
	if r.fails[i] == nil {
		ee := AsError(err)
		r.fails[i] = &event.Failure{Class: store.ClassInfra, Message: ee.Error(), Hint: ee.Hint, File: stage.Range.File, Line: stage.Range.Start.Line}
	}
}

// begin records that the run is under way, so that it is seen from elsewhere and
// found if this process dies. A run with nothing to do is recorded once, at its end.
func (r *run) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.begun {
		return
	}
	r.begun = true
	if err := r.e.store.PutRun(r.runRecord("running", nil)); err != nil {
		r.e.cfg.Logger.Warn("recording that a run is under way", "run", r.id, "error", err)
	}
}

func (r *run) runRecord(status string, stages []store.StageResult) *store.Run {
	rec := &store.Run{
		ID: r.id, Project: r.req.Project.Dir, Pipeline: r.s.pipeline.Name, Profile: r.s.pipeline.Profile,
		Targets: append(append([]string(nil), r.req.Targets...), r.req.Until...), Status: status,
		Started: r.started.UTC(), Seconds: r.e.cfg.Now().Sub(r.started).Seconds(), Version: r.e.cfg.Version, Stages: stages,
	}
	for _, p := range r.s.pipeline.Params {
		rp := store.RunParam{Name: p.Name, Value: p.Value, Origin: p.Origin}
		if p.Sensitive {
			rp.Value = ""
		}
		rec.Params = append(rec.Params, rp)
	}
	for i := range stages {
		switch stages[i].Status {
		case "ran":
			rec.Counts.Ran++
		case "cached":
			rec.Counts.Cached++
		case "failed":
			rec.Counts.Failed++
		case "skipped":
			rec.Counts.Skipped++
		case "canceled":
			rec.Counts.Canceled++
		}
	}
	return rec
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
	var stages []store.StageResult
	for _, i := range r.s.planner.Graph().Order() {
		if r.s.selected[i] && !r.s.outside[i] {
			stages = append(stages, r.results[i])
		}
	}
	rec := r.runRecord(status, stages)
	if err := r.e.putRun(rec); err != nil {
		return nil, err
	}
	return rec, nil
}

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
		st.Outputs = outputsOf(rec)
	}
	return st
}

// outputsOf lists the declared outputs; what plumb keeps for itself begins with a dot.
func outputsOf(rec *store.Record) map[string]event.Output {
	out := map[string]event.Output{}
	for _, o := range rec.Outputs {
		if !strings.HasPrefix(o.Name, ".") {
			out[o.Name] = event.Output{Digest: o.Digest, Size: o.Size, Kind: o.Kind, Path: o.Path}
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
