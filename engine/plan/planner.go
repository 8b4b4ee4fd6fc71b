// Package plan decides, for every stage, whether its result is there already.
//
// A stage with everything resolved is an action (action.go); the digest of the
// action is its key; a key that has a usable record is a hit (decide.go). A stage
// that reads from one that will run is pending: its own key is known only when its
// inputs are, and when they come out as they were before, it is a hit even then.
//
// The Planner goes through the stages in order. Planning and running share it:
//
//	plan:  ConsiderAll stages; what depends on a stage that would run is pending
//	run:   Reconsider a pending stage when all that it depends on is complete
//
// so that a plan never says something else than the run then does. A hit whose bytes
// are not kept is executed all the same when somebody needs them (need.go), and an
// effect is not executed when it may have happened already (effect.go). The package
// does no I/O but through Sources and Records.
package plan

import (
	"fmt"
	"runtime"
	"sync"

	"plumb/engine/graph"
	"plumb/hcl"
	"plumb/store"
)

// Sources gives the content of the project as it is now.
type Sources interface {
	// Scan gives the artifact at a path of the project.
	Scan(path string) (store.Artifact, error)
	// Glob lists the project's files that match, sorted.
	Glob(pattern string) ([]string, error)
}

// Config is what a Planner works from.
type Config struct {
	Pipeline  *hcl.Pipeline
	Images    map[string]store.Digest // by name of the image block
	Platforms map[string]string       // by name of the image block
	Isolation string
	Sources   Sources
	Records   Records
	Forced    map[string]bool // stage names
	Repeat    map[string]bool // names of stages whose effects may be repeated
	Shape     *Shape          // of the pipeline, nil to make it
	Memory    *Memory         // hits of an earlier plan of the same pipeline, nil for none
	Concealer *Concealer      // what earlier plans worked out, nil for one of its own

	// Wanted says who needs the bytes of an output besides the stages behind it, in
	// words, "" for nobody; nil for nobody at all.
	Wanted func(stage string, o store.Output) string
}

// Resolved is an input with the place it comes from: Project is a path of the
// project, "" for the output of a stage. Discard is set for a source that is not
// to be kept.
type Resolved struct {
	Input
	Name    string
	Project string
	Discard bool
	Unkept  bool // the output of a stage that does not keep its bytes
}

// Planner holds what is known so far about each stage. Consider and Complete may
// be called from several goroutines for different stages.
type Planner struct {
	cfg     Config
	shape   *Shape
	params  map[string]hcl.Param
	states  []state
	discard map[string]bool // sources of which no bytes are kept
	scans   sync.Map        // path → scanned
	globs   sync.Map        // pattern → names

	selected []bool     // what ConsiderAll was about
	mu       sync.Mutex // held to write results, and to read those of stages that may be running
}

type state struct {
	decision Decision
	known    bool // considered
	inputs   []Resolved
	command  []string
	env      []string      // NAME=value as the stage sees it
	record   *store.Record // set by a hit or Complete
	hit      *store.Record // that has outputs which are not kept
	need     need          // of the bytes of such outputs
}

// New makes a planner. The pipeline has been checked: names resolve, no cycles.
func New(cfg Config) *Planner {
	p := &Planner{cfg: cfg, shape: cfg.Shape, params: map[string]hcl.Param{}, discard: map[string]bool{}}
	if p.shape == nil {
		p.shape = ShapeOf(cfg.Pipeline)
	}
	if cfg.Concealer == nil {
		p.cfg.Concealer = &Concealer{}
	}
	for _, src := range cfg.Pipeline.Sources {
		p.discard[src.Name] = src.Discard && !src.Remote() // what is not in the project can only be read from the store
	}
	p.states = make([]state, len(cfg.Pipeline.Stages))
	for _, v := range cfg.Pipeline.Params {
		p.params[v.Name] = v
	}
	return p
}

// Index finds a stage by name.
func (p *Planner) Index(name string) (int, bool) {
	i, ok := p.shape.index[name]
	return i, ok
}

// Graph is the pipeline's graph; node i is stage i of the pipeline.
func (p *Planner) Graph() *graph.Graph { return p.shape.graph }

// Stage is the i-th stage's declaration.
func (p *Planner) Stage(i int) *hcl.Stage { return &p.cfg.Pipeline.Stages[i] }

// Decision is what Consider last said about stage i.
func (p *Planner) Decision(i int) Decision { return p.states[i].decision }

// Inputs is what stage i reads, once it was considered with all inputs known.
func (p *Planner) Inputs(i int) []Resolved { return p.states[i].inputs }

// Env is the declared environment of stage i as the stage sees it.
func (p *Planner) Env(i int) []string { return p.states[i].env }

// Command is the resolved argument list of stage i.
func (p *Planner) Command(i int) []string { return p.states[i].command }

// Record is the result of stage i, nil while there is none.
func (p *Planner) Record(i int) *store.Record { return p.states[i].record }

// Complete tells the result of a stage that ran.
func (p *Planner) Complete(i int, r *store.Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.states[i].record = r
}

// Hit tells that the result of a stage turned up after Consider had said run:
// another run made it meanwhile.
func (p *Planner) Hit(i int, r *store.Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.states[i].record = r
	p.states[i].decision.Verdict, p.states[i].decision.Record = Hit, r
	p.states[i].decision.Reasons = []Reason{{Kind: ReasonNone}}
}

// ConsiderAll considers every selected stage in order, a level of the graph at a
// time, and stops at the first error.
func (p *Planner) ConsiderAll(selected []bool) error {
	p.selected = selected
	if err := p.considerAll(selected); err != nil {
		return err
	}
	return p.settleNeeds()
}

func (p *Planner) considerAll(selected []bool) error {
	const chunk = 32
	for _, level := range p.shape.graph.Levels() {
		var wg sync.WaitGroup
		var mu sync.Mutex
		var first error
		slots := make(chan struct{}, runtime.GOMAXPROCS(0))
		for from := 0; from < len(level); from += chunk {
			part := level[from:min(from+chunk, len(level))]
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				for _, i := range part {
					if !selected[i] {
						continue
					}
					if _, err := p.Consider(i); err != nil {
						mu.Lock()
						if first == nil {
							first = err
						}
						mu.Unlock()
						return
					}
				}
			})
		}
		wg.Wait()
		if first != nil {
			return first
		}
	}
	return nil
}

// Consider decides about stage i with what is known now. It may be called again
// when more is known.
func (p *Planner) Consider(i int) (Decision, error) {
	d, err := p.found(i)
	if err != nil {
		return d, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.states[i].settle(d)
	return d, nil
}

// found is what there is to say about stage i now; nobody else sees it yet.
func (p *Planner) found(i int) (Decision, error) {
	s := p.Stage(i)
	d, err := p.consider(i, s, &p.states[i])
	if err != nil {
		return d, &StageError{Stage: s.Name, Range: s.Range, Err: err}
	}
	return d, nil
}

func (st *state) settle(d Decision) { st.decision, st.known, st.record = d, true, d.Record }

// StageError is an error about one stage, with the range of its block.
type StageError struct {
	Stage string
	Range hcl.Range
	Err   error
}

func (e *StageError) Error() string { return fmt.Sprintf("stage %q: %v", e.Stage, e.Err) }

// Unwrap gives the cause.
func (e *StageError) Unwrap() error { return e.Err }

func (p *Planner) consider(i int, s *hcl.Stage, st *state) (Decision, error) {
	waiting, skipped := p.upstream(i)
	if skipped != "" {
		return Decision{Verdict: Skip, Reasons: []Reason{{Kind: ReasonWhen, Name: skipped, Detail: fmt.Sprintf("stage %s is skipped", skipped)}}}, nil
	}
	if len(waiting) > 0 {
		return p.pending(s, waiting)
	}
	if s.When != nil {
		ok, err := p.condition(s)
		if err != nil || !ok {
			return Decision{Verdict: Skip, Reasons: []Reason{{Kind: ReasonWhen, Detail: "its condition is false: " + s.When.Source}}}, err
		}
	}
	if _, ok := p.cfg.Images[s.Image]; !ok {
		return Decision{Verdict: Execute, Reasons: []Reason{{Kind: ReasonImage, Name: s.Image, Detail: fmt.Sprintf("image %s is not pinned yet", s.Image)}}}, nil
	}
	if d, ok, err := p.recall(i, s, st); ok || err != nil {
		return d, err
	}
	a, note, err := p.resolve(s, st)
	if err != nil {
		return Decision{}, err
	}
	d, err := decide(p.cfg.Records, p.facts(s, note), a.Encode())
	if err == nil && d.Verdict == Hit && st.need.level != unneeded && dropped(d.Record) {
		return p.remake(s, st, d), nil
	}
	if err == nil && d.Verdict == Hit {
		p.cfg.Memory.keep(i, a, st.inputs, d)
		st.inputs, st.env, st.command = nil, nil, nil // only running it needs them
	}
	return d, err
}

// stageFacts is what a decision depends on besides the action.
type stageFacts struct {
	name        string
	note        Note
	forced      bool
	uncached    bool
	whyUncached string
	effect      bool
	repeatable  bool // the effect: by itself, or because the user allows it
}

func (p *Planner) facts(s *hcl.Stage, note Note) stageFacts {
	f := stageFacts{name: s.Name, note: note, forced: p.cfg.Forced[s.Name] || p.cfg.Forced[s.Block]}
	f.effect, f.repeatable = s.Effect, s.Idempotent || p.cfg.Repeat[s.Name] || p.cfg.Repeat[s.Block]
	switch {
	case s.Effect: // that it is done is always remembered
	case s.Cache != nil && !*s.Cache:
		f.uncached, f.whyUncached = true, "cache = false: it runs every time"
	case s.Cache == nil && s.Network:
		f.uncached, f.whyUncached = true, "network = true: it runs every time unless it says cache = true"
	}
	return f
}

func passedName(param string) string { return "PLUMB_PARAM_" + param }

// upstream says which producers have no result yet, or which one was skipped.
func (p *Planner) upstream(i int) (waiting []string, skipped string) {
	for _, n := range p.shape.data[i] {
		u := &p.states[n]
		switch {
		case u.known && u.decision.Verdict == Skip:
			return nil, p.shape.graph.Name(n)
		case u.record == nil:
			waiting = append(waiting, p.shape.graph.Name(n))
		}
	}
	return waiting, ""
}
