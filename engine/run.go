package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	goruntime "runtime"
	"strings"
	"sync"
	"time"

	"plumb/engine/event"
	"plumb/engine/mask"
	"plumb/engine/origin"
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
	dir     os.FileInfo // of the project, when the run began
	live    *liveRun
	origin  *tracing
	masks   *mask.Set // hides secrets in logs, nil for none

	emitMu sync.Mutex
	sink   func(event.Event)

	mu      sync.Mutex
	results []store.StageResult // by stage
	ready   map[int]*attempt    // prepared and not started yet
	fails   map[int]*event.Failure
	begun   bool            // a record with status running was written
	journal *journal        // of what happens since
	traced  bool            // the origin stands in that record, or in the journal
	noted   map[string]bool // what was told of containers
	leases  []func()
	held    map[int][]string // devices, by stage
	unkept  unkept
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
	if err := errors.Join(checkSecrets(req.Secrets), e.room(), e.putOverdue(), e.restock()); err != nil {
		return err
	}
	dir, err := os.Stat(req.Project.Dir)
	if err != nil {
		return invalid("-C names the directory of a project", "opening the project: %v", err)
	}
	s, err := e.prepare(ctx, req, throttled(emit))
	if err != nil {
		return err
	}
	id, err := e.newRunID()
	if err != nil {
		return err
	}
	r := &run{
		e: e, s: s, dir: dir, req: req, id: id, started: started, sink: emit, masks: masksOf(s.pipeline, req.Secrets),
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
func (e *Engine) prepare(ctx context.Context, req RunRequest, tell func(event.Event)) (*session, error) {
	const tries = 5
	var held []func() // leases of plans that came to nothing: the next one is not robbed, too
	defer func() {
		for _, release := range held {
			release()
		}
	}()
	var err error
	for range tries {
		var s *session
		if s, err = e.prepareOnce(ctx, req, tell, &held); err == nil {
			return s, nil
		}
		if !errors.Is(err, errMoved) && !errors.Is(err, errDropped) {
			break
		}
	}
	return nil, err
}

func (e *Engine) prepareOnce(ctx context.Context, req RunRequest, tell func(event.Event), held *[]func()) (_ *session, err error) {
	s, err := e.open(ctx, req.Request, pinning{write: !req.ExpectCached && !req.Locked, locked: req.Locked, offline: req.Offline, ingest: !req.ExpectCached}, tell)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	defer func() {
		if err != nil {
			*held = append(*held, s.leases...)
		}
	}()
	if err := s.checkResources(req); err != nil {
		return nil, err
	}
	if err := s.consider(req.Project.Dir); err != nil {
		return nil, err
	}
	if err := s.keepFiles(ctx, e.store, req.Project); err != nil {
		return nil, err
	}
	if err := s.imagePlaces(ctx, e.store, !req.ExpectCached); err != nil {
		return nil, s.placed(req.Project.Dir, err)
	}
	if req.ExpectCached {
		return s, nil
	}
	if err := s.lease(e); err != nil {
		return nil, err
	}
	if err := s.fitOut(req.Place, e.cfg.CDI); err != nil {
		return nil, err
	}
	if err := s.wantSecrets(req.Secrets); err != nil {
		// What was read for planning is not read again when the run comes back.
		return nil, errors.Join(err, s.keepRead(ctx, e.store))
	}
	if err := s.presentOffline(ctx, e); err != nil {
		return nil, err
	}
	if err := s.ingest(ctx, e.store); err != nil {
		return nil, s.placed(req.Project.Dir, err)
	}
	return s, nil
}

func (r *run) execute(ctx context.Context) error {
	r.traceOrigin(ctx)
	r.live = r.e.live.begin(r.id, r.req.Project.Dir)
	defer r.e.live.end(r.live)
	r.emit(event.Event{Type: event.RunStarted, Count: r.count(), Pipeline: r.s.pipeline.Name})
	r.warnOfSecrets()
	r.unkept.leased(r.s.keys)
	defer r.letGo()
	for name, pin := range r.s.images {
		tell := throttled(r.emit)
		if made, ok := pin.source.(*debianImage); ok {
			made.build.tell = tell
			continue
		}
		pin.source.onProgress(func(done, total int64) {
			tell(event.Event{Type: event.Progress, Message: "image " + name, Done: done, Total: total})
		})
	}
	res := sched.Go(ctx, r.order(), r.s.selected, r, r.options())
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
	r.letGo()
	r.dropRest(status == "succeeded")
	if err := r.s.scanner.Save(); err != nil {
		r.emit(event.Event{Type: event.Warning, Message: "what is known of the project's files could not be kept: " + err.Error()})
	}
	r.finish(rec, exports)
	return r.outcome(ctx, status, res, exportErr)
}

// tracing is the search for where a run comes from.
type tracing struct {
	known chan struct{} // closed when it is found
	found store.Origin
}

// traceOrigin looks where the run comes from, beside everything else.
func (r *run) traceOrigin(ctx context.Context) {
	t := &tracing{known: make(chan struct{}), found: r.req.Origin}
	r.origin = t
	go func() {
		t.found.Host = r.e.host()
		t.found.Git = origin.Git(context.WithoutCancel(ctx), r.req.Project.Dir, r.s.scanner.Content)
		close(t.known)
		r.noteOrigin()
	}()
}

// wait gives what was found when it is.
func (t *tracing) wait() *store.Origin {
	<-t.known
	return &t.found
}

// soFar is nil while nothing is known: what is worth having is asked for together.
func (t *tracing) soFar() *store.Origin {
	select {
	case <-t.known:
		return &t.found
	default:
		return nil
	}
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
	l.Devices = r.s.outfit.pool
	return sched.Options{Limits: l, KeepGoing: r.req.KeepGoing, Given: r.given, Machine: r.e.machine, Waiting: r.waiting}
}

// waiting says why a stage that could run does not.
func (r *run) waiting(i int) {
	name := r.s.planner.Graph().Name(i)
	r.emit(event.Event{Type: event.Warning, Stage: name, Message: fmt.Sprintf("stage %s waits for cores, memory or devices that another run has", name)})
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
		verb := "would run"
		if d.Verdict == plan.Refused {
			verb = "is refused"
		}
		would = append(would, fmt.Sprintf("stage %s %s: %s", r.s.planner.Graph().Name(i), verb, firstReason(d)))
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
		if d, err = r.reconsider(i); err != nil {
			return sched.Run, undecided(err)
		}
	}
	if d.Verdict == plan.Refused && !r.e.keys.busy(d.Key) {
		// Since it was planned, the run that was at it may have come to its end.
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
		if r.s.planner.Stage(i).Effect {
			return sched.Hit, r.rememberDone(d)
		}
		return sched.Hit, nil
	case plan.Skip:
		return sched.Skip, nil
	case plan.Refused:
		if !r.e.keys.busy(d.Key) {
			return sched.Run, r.refused(i, d)
		}
		// Another run is at it now. What comes of that is looked at when it is done.
	}
	if err := r.s.outfit.lacks[i]; err != nil {
		return sched.Run, err
	}
	_, err := r.secrets(i)
	return sched.Run, err
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
	n := r.s.outfit.needs[i]
	n.CPU, n.Memory = res.CPU, res.Memory
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
		r.dropBehind(i, st)
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
