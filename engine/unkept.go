package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"plumb/engine/event"
	"plumb/engine/graph"
	"plumb/engine/plan"
	"plumb/engine/sched"
	"plumb/hcl"
	"plumb/store"
)

// The bytes of outputs with retain = "none" go when every stage of the pipeline that
// reads them has its result and they were exported, if they are: in the middle of a run,
// so that the next stage has the room. Where a reader failed, or is not up to date and
// not part of the run, they stay. What must be made again is plan's to say (plan/need.go).
//
// Another run may rely on the same result. It has a lease on it then, and the run that
// ends last drops the bytes. One that is just being planned takes its leases and looks
// whether anything was dropped since it began; if so it plans again.

// drops orders dropping against planning.
type drops struct {
	mu    sync.Mutex
	count atomic.Int64 // of results whose bytes went
}

// now is how many there were; none is on its way.
func (d *drops) now() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.count.Load()
}

// leavings are the attempts that have ended, and whose containers are being deleted: they
// have their inputs still.
type leavings struct {
	mu  sync.Mutex
	all map[chan struct{}]bool
}

func (l *leavings) begin() (done func()) {
	c := make(chan struct{})
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all == nil {
		l.all = map[chan struct{}]bool{}
	}
	l.all[c] = true
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.all, c)
		close(c)
	}
}

// wait is for those that are leaving now.
func (l *leavings) wait() {
	l.mu.Lock()
	all := slices.Collect(maps.Keys(l.all))
	l.mu.Unlock()
	for _, c := range all {
		<-c
	}
}

// wanted says, for the planner, who needs an output besides stages.
func (s *session) wanted(ctx context.Context, keep map[string]bool) func(stage string, o store.Output) string {
	return func(stage string, o store.Output) string {
		if keep[stage] {
			return "it was asked for (--keep)"
		}
		for i := range s.pipeline.Exports {
			ex := &s.pipeline.Exports[i]
			if ex.Stage != stage || ex.Output != o.Name {
				continue
			}
			if now, err := s.scanner.Scan(ctx, ex.Path); err != nil || !same(now, o.Artifact) {
				return fmt.Sprintf("export %s needs it", ex.Path)
			}
		}
		return ""
	}
}

// order is the graph that the scheduler goes through: with stages that wait until it is
// known whether their bytes are needed, unless a failure elsewhere would then skip them.
func (r *run) order() *graph.Graph {
	g := r.s.planner.Graph()
	waits := r.s.planner.Waits()
	if len(waits) == 0 || r.req.KeepGoing {
		return g
	}
	names, deps := make([]string, g.Len()), make([][]int, g.Len())
	for i := range names {
		names[i], deps[i] = g.Name(i), append(slices.Clone(g.Deps(i)), waits[i]...)
	}
	return graph.New(names, deps)
}

// unkept drops bytes behind the scenes of a run.
type unkept struct {
	mu    sync.Mutex
	state map[int]sched.State // how stages ended
	gone  map[int]bool        // stages of which outputs were dropped
	own   map[store.Key]int   // leases of this run
	work  sync.WaitGroup
	queue []store.Artifact // known to be dropped, and there still
	busy  bool
}

func (u *unkept) leased(keys []store.Key) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.own == nil {
		u.own = map[store.Key]int{}
	}
	for _, k := range keys {
		u.own[k]++
	}
}

// released says that the run has no lease any more.
func (u *unkept) released() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.own = nil
}

func (u *unkept) ended(i int, st sched.State) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.state == nil {
		u.state = map[int]sched.State{}
	}
	u.state[i] = st
}

func (u *unkept) dropped(i int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.gone == nil {
		u.gone = map[int]bool{}
	}
	u.gone[i] = true
}

// outputs are those of a stage's result as they are now.
func (r *run) outputs(i int, rec *store.Record) map[string]event.Output {
	out := outputsOf(rec)
	r.unkept.mu.Lock()
	defer r.unkept.mu.Unlock()
	if r.unkept.gone[i] {
		for _, name := range unkeptOutputs(r.s.planner.Stage(i)) {
			o := out[name]
			o.Dropped = true
			out[name] = o
		}
	}
	return out
}

// dropBehind drops what was only needed by stage i, which ended.
func (r *run) dropBehind(i int, st sched.State) {
	if !r.s.unkeptStages {
		return
	}
	r.unkept.ended(i, st)
	for _, p := range append(slices.Clone(r.s.planner.Graph().Deps(i)), i) {
		if len(unkeptOutputs(r.s.planner.Stage(p))) > 0 && !r.exported(p) {
			r.unkept.work.Go(func() { r.dropOutputs(p) })
		}
	}
}

// dropRest drops what the end of a run allows: exports are done, and its leases are gone.
func (r *run) dropRest(succeeded bool) {
	r.unkept.work.Wait()
	if !r.s.unkeptStages {
		return
	}
	for i := range r.s.pipeline.Stages {
		if r.s.selected[i] && len(unkeptOutputs(r.s.planner.Stage(i))) > 0 && (succeeded || !r.exported(i)) {
			r.unkept.work.Go(func() { r.dropOutputs(i) })
		}
	}
	r.unkept.work.Wait()
}

func unkeptOutputs(s *hcl.Stage) (names []string) {
	for _, o := range s.Outputs {
		if o.Unkept {
			names = append(names, o.Name)
		}
	}
	return names
}

func (s *session) unkept(stage string) bool {
	i, ok := s.planner.Index(stage)
	return ok && len(unkeptOutputs(s.planner.Stage(i))) > 0
}

func (r *run) exported(i int) bool {
	name := r.s.planner.Stage(i).Name
	return slices.ContainsFunc(r.s.pipeline.Exports, func(x hcl.Export) bool {
		return x.Stage == name && slices.Contains(unkeptOutputs(r.s.planner.Stage(i)), x.Output)
	})
}

// dropOutputs drops those of stage i unless somebody still needs them.
func (r *run) dropOutputs(i int) {
	s := r.s.planner.Stage(i)
	if r.s.keep[s.Name] || r.s.outside[i] || !r.unneeded(i) {
		return
	}
	rec := r.s.planner.Record(i)
	gone, err := r.markDropped(rec.Key, unkeptOutputs(s))
	if err == nil && len(gone) > 0 {
		r.unkept.dropped(i)
		err = r.dropBytes(gone)
	}
	if err != nil {
		r.emit(event.Event{Type: event.Warning, Stage: s.Name, Message: fmt.Sprintf("the outputs of stage %s could not be dropped: %v", s.Name, err)})
	}
}

// unneeded says whether stage i has its result and all who read it have theirs.
func (r *run) unneeded(i int) bool {
	r.unkept.mu.Lock()
	st, ended := r.unkept.state[i]
	r.unkept.mu.Unlock()
	if !ended || st != sched.Succeeded && st != sched.Cached || r.s.planner.Record(i) == nil {
		return false
	}
	for _, c := range r.s.planner.Graph().Dependents(i) {
		if !r.reads(c, i) {
			continue
		}
		if !r.s.selected[c] {
			if !r.s.planner.UpToDate(c) {
				return false
			}
			continue
		}
		r.unkept.mu.Lock()
		st, ended := r.unkept.state[c]
		r.unkept.mu.Unlock()
		left := st == sched.Skipped && r.s.planner.Decision(c).Verdict == plan.Skip // by its condition
		if !ended || st != sched.Succeeded && st != sched.Cached && !left {
			return false
		}
	}
	return true
}

func (r *run) reads(c, i int) bool {
	name := r.s.planner.Stage(i).Name
	unkept := unkeptOutputs(r.s.planner.Stage(i))
	return slices.ContainsFunc(r.s.planner.Stage(c).Inputs, func(in hcl.Input) bool {
		return in.Kind == hcl.InputOutput && in.Stage == name && slices.Contains(unkept, in.Output)
	})
}

// markDropped lets the record say it, unless another run relies on it.
func (r *run) markDropped(k store.Key, names []string) ([]store.Artifact, error) {
	r.unkept.mu.Lock()
	own := r.unkept.own[k]
	r.unkept.mu.Unlock()
	r.e.drops.mu.Lock()
	defer r.e.drops.mu.Unlock()
	if r.e.store.Leases(k) > own {
		return nil, nil
	}
	gone, err := r.e.store.Drop(k, names)
	if len(gone) > 0 {
		r.e.commits.Add(1)
		r.e.drops.count.Add(1)
	}
	return gone, err
}

// dropBytes takes what was marked, together with what is marked meanwhile: each time all
// records are gone through.
func (r *run) dropBytes(gone []store.Artifact) error {
	u := &r.unkept
	u.mu.Lock()
	u.queue = append(u.queue, gone...)
	if u.busy {
		u.mu.Unlock()
		return nil
	}
	u.busy = true
	var err error
	for len(u.queue) > 0 && err == nil {
		next := u.queue
		u.queue = nil
		u.mu.Unlock()
		r.e.leavings.wait()
		_, err = r.e.store.DropBlobs(context.Background(), next)
		u.mu.Lock()
	}
	u.busy = false
	u.mu.Unlock()
	return err
}

// compare warns when what was made again is not what it was.
func (r *run) compare(i int, former, rec *store.Record) {
	if former == nil {
		return
	}
	name := r.s.planner.Stage(i).Name
	for _, o := range rec.Outputs {
		n := slices.IndexFunc(former.Outputs, func(f store.Output) bool { return f.Name == o.Name })
		if n >= 0 && !same(former.Outputs[n].Artifact, o.Artifact) {
			r.emit(event.Event{Type: event.Warning, Stage: name, Message: fmt.Sprintf("stage %s was executed again for its output %s, which is not kept, and it came out differently: the same action does not give the same result", name, o.Name)})
		}
	}
}

// recordedInputs is what a result refers to for explanations: not what is not kept.
func (r *run) recordedInputs(i int) []store.Artifact {
	var out []store.Artifact
	for _, in := range r.s.planner.Inputs(i) {
		if !in.Discard && !in.Unkept {
			out = append(out, in.Artifact)
		}
	}
	return out
}
