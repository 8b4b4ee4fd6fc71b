package engine

import (
	"context"
	"errors"
	"slices"
	"strings"

	"plumb/engine/plan"
	"plumb/store"
)

// The bounds of one answer. A graph of more is for no reader.
const (
	usualActions = 500
	manyMade     = 20 // actions that made the same content, among which one is chosen
	rootMade     = 10 // of those that are told of the content that is asked about
)

// walk goes through the graph.
type walk struct {
	ctx   context.Context
	e     *Engine
	req   LineageRequest
	doc   *LineageDoc
	limit int

	asked   *store.Digest   // what the name says
	hashed  *store.Artifact // the file that the name says
	refused *Error          // why it is no run

	of     *store.Run         // that is asked about, or has what is: its table of stages decides
	ofKeys map[store.Key]bool // its stages' actions

	roots    []node         // what is asked about
	contents []store.Digest // content that is, whoever made it
	had      []*store.Run   // that are known to have had it

	actions map[store.Key]int
	recs    []*store.Record // of the document's actions
	runs    map[store.RunID]*store.Run
	tables  map[store.RunID]map[string]*store.StageResult
	links   map[linkOf]linked
	kinds   map[store.Digest]store.Kind // of what was read
	uses    map[store.Key][]LineageUse
	in      map[store.Key]madeIn
}

// linkOf is what links were followed from, linked what was found.
type linkOf struct {
	kind   store.Link
	digest store.Digest
}

type linked struct {
	recs  []*store.Record
	limit int
	more  bool
}

func newWalk(ctx context.Context, e *Engine, req LineageRequest) *walk {
	w := &walk{
		ctx: ctx, e: e, req: req, limit: req.Limit, doc: &LineageDoc{Schema: Schema, Artifacts: []LineageArtifact{}, Actions: []LineageAction{}},
		ofKeys: map[store.Key]bool{}, actions: map[store.Key]int{}, runs: map[store.RunID]*store.Run{}, tables: map[store.RunID]map[string]*store.StageResult{},
		links: map[linkOf]linked{}, kinds: map[store.Digest]store.Kind{}, uses: map[store.Key][]LineageUse{}, in: map[store.Key]madeIn{},
	}
	if w.limit == 0 {
		w.limit = usualActions
	}
	w.doc.Of = LineageOf{Name: req.Name, Up: req.Up || !req.Down, Down: req.Down || !req.Up}
	return w
}

// about takes a run for the one that is asked about.
func (w *walk) about(run *store.Run) {
	w.of, w.runs[run.ID] = run, run
	for i := range run.Stages {
		if k := run.Stages[i].Key; !k.IsZero() {
			w.ofKeys[k] = true
		}
	}
}

// nameOneOf is the hint that lists what was meant perhaps.
const nameOneOf = "name one of"

// notARun keeps what is of use when the name turns out to be nothing else either.
func notARun(e *Error) *Error {
	if strings.HasPrefix(e.Hint, "did you mean ") || strings.HasPrefix(e.Hint, nameOneOf) || strings.HasPrefix(e.Hint, "plumb pin ") {
		return e
	}
	return nil
}

// hasStage reports whether the newest runs of the project know a stage.
func (w *walk) hasStage(name string) bool {
	last, err := w.e.store.LastRun(w.req.Project.Dir)
	if err != nil || last == nil {
		return false
	}
	run, err := w.e.store.Run(last.ID)
	return err == nil && slices.ContainsFunc(run.Stages, func(s store.StageResult) bool { return s.Name == name })
}

// step is an action that the walk goes on from.
type step struct {
	rec   *store.Record
	depth int // actions between it and what is asked about, and itself
}

func steps(recs []*store.Record) []step {
	var out []step
	for _, r := range recs {
		out = append(out, step{r, 1})
	}
	return out
}

// spread begins at actions.
func (w *walk) spread(recs []*store.Record) error {
	for _, r := range recs {
		if _, err := w.action(r); err != nil {
			return err
		}
	}
	if w.doc.Of.Up {
		if err := w.up(steps(recs)); err != nil {
			return err
		}
	}
	if w.doc.Of.Down {
		return w.down(steps(recs))
	}
	return nil
}

// stages begins at the stages of a run.
func (w *walk) stages(run *store.Run) error {
	var recs []*store.Record
	told := map[store.Key]bool{}
	for i := range run.Stages {
		st := &run.Stages[i]
		ls := LineageStage{Name: st.Name, Status: st.Status, Key: st.Key, Image: st.Image, Error: st.Error, Seconds: st.Seconds}
		if n := len(st.Attempts); n > 0 {
			ls.Started = st.Attempts[n-1].Started
		}
		rec, err := w.recordOf(st)
		if err != nil {
			return err
		}
		if rec != nil && st.Status != "failed" {
			w.in[rec.Key] = madeIn{run, st}
			rec = asThen(rec, w.in[rec.Key])
		}
		if rec != nil && !told[rec.Key] {
			told[rec.Key] = true
			w.doc.Of.Keys = append(w.doc.Of.Keys, rec.Key)
			recs = append(recs, rec)
		}
		if rec != nil && rec.Run != run.ID {
			ls.MadeBy = rec.Run
		}
		w.doc.Stages = append(w.doc.Stages, ls)
	}
	return w.spread(recs)
}

// recordOf is the result of a stage, or of its failure as much as tells what it read; nil
// when there is none any more.
func (w *walk) recordOf(st *store.StageResult) (*store.Record, error) {
	if st.Key.IsZero() {
		return nil, nil
	}
	rec, err := w.e.store.Record(st.Key)
	if rec != nil || err != nil || st.Status != "failed" {
		return rec, err
	}
	f, err := w.e.store.Failure(st.Key)
	if f == nil || err != nil {
		return nil, err
	}
	return &store.Record{Key: f.Key, Action: f.Action, Note: f.Note, Run: f.Run, Stage: f.Stage, Created: f.When, Attempts: f.Attempts}, nil
}

// up follows what actions read to what made it.
func (w *walk) up(queue []step) error {
	seen := map[store.Key]bool{}
	for len(queue) > 0 {
		s := queue[0]
		queue = queue[1:]
		if seen[s.rec.Key] {
			continue
		}
		seen[s.rec.Key] = true
		i, err := w.action(s.rec)
		if err != nil || i < 0 {
			return err
		}
		if w.req.Depth > 0 && s.depth >= w.req.Depth {
			continue
		}
		for _, in := range w.doc.Actions[i].Inputs {
			if in.By.IsZero() || seen[in.By] {
				continue
			}
			made, err := w.load(in.By)
			if err != nil {
				return err
			}
			if made != nil {
				queue = append(queue, step{made, s.depth + 1})
			}
		}
	}
	return nil
}

// down follows what actions made to what read it.
func (w *walk) down(queue []step) error {
	seen := map[store.Key]bool{}
	for len(queue) > 0 {
		s := queue[0]
		queue = queue[1:]
		if seen[s.rec.Key] {
			continue
		}
		seen[s.rec.Key] = true
		i, err := w.action(s.rec)
		if err != nil || i < 0 {
			return err
		}
		if w.req.Depth > 0 && s.depth >= w.req.Depth {
			continue
		}
		for _, out := range w.doc.Actions[i].Outputs {
			recs, err := w.readers(node{out.Digest, s.rec.Key})
			if err != nil {
				return err
			}
			for _, r := range recs {
				queue = append(queue, step{r, s.depth + 1})
			}
		}
	}
	return nil
}

// readers gives the records that read content from what made it.
func (w *walk) readers(n node) ([]*store.Record, error) {
	recs, err := w.linked(store.LinkRead, n.digest, w.limit)
	if err != nil {
		return nil, err
	}
	var out []*store.Record
	for _, r := range recs {
		uses, err := w.usesOf(r)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(uses, func(u LineageUse) bool { return u.Digest == n.digest && u.By == n.by }) {
			out = append(out, r)
		}
	}
	w.doc.More = w.doc.More || w.links[linkOf{store.LinkRead, n.digest}].more
	return out, nil
}

// linked follows links once.
func (w *walk) linked(kind store.Link, d store.Digest, limit int) ([]*store.Record, error) {
	at := linkOf{kind, d}
	l, ok := w.links[at]
	if !ok || l.limit < limit && l.more {
		recs, more, err := w.e.store.Linked(w.ctx, kind, d, limit)
		if err != nil {
			return nil, err
		}
		l = linked{recs, limit, more}
		w.links[at] = l
	}
	return l.recs, nil
}

// action adds an action with what it read and made; -1 when there are enough.
func (w *walk) action(rec *store.Record) (int, error) {
	if i, ok := w.actions[rec.Key]; ok {
		return i, nil
	}
	if err := w.ctx.Err(); err != nil {
		return -1, err
	}
	if len(w.doc.Actions) >= w.limit {
		w.doc.More = true
		return -1, nil
	}
	a := LineageAction{Key: rec.Key, Stage: rec.Stage, Run: rec.Run, Created: rec.Created, Failed: len(rec.Outputs) == 0 && failedLast(rec), Inputs: []LineageUse{}, Outputs: []LineageUse{}}
	if n := len(rec.Attempts); n > 0 {
		a.Seconds = rec.Attempts[n-1].Seconds
	}
	run, err := w.runOf(rec.Run)
	if err != nil {
		return -1, err
	}
	if run != nil {
		a.Project, a.Pipeline = run.Project, run.Pipeline
	}
	if err := w.describe(&a, rec); err != nil {
		return -1, err
	}
	for _, o := range rec.Outputs {
		a.Outputs = append(a.Outputs, LineageUse{Name: strings.TrimPrefix(o.Name, "."), Path: o.Path, Digest: o.Digest})
	}
	w.actions[rec.Key] = len(w.doc.Actions)
	w.doc.Actions, w.recs = append(w.doc.Actions, a), append(w.recs, rec)
	return len(w.doc.Actions) - 1, nil
}

func failedLast(rec *store.Record) bool {
	n := len(rec.Attempts)
	return n > 0 && rec.Attempts[n-1].Class != store.ClassOK
}

// describe reads an action's ingredients.
func (w *walk) describe(a *LineageAction, rec *store.Record) error {
	parsed, err := parse(rec)
	if parsed == nil || err != nil {
		return err
	}
	a.Image, a.Platform, a.Command, a.Seed = parsed.Image, parsed.Platform, parsed.Command, parsed.Seed
	for _, p := range parsed.Params {
		v := p.Value
		if p.Sensitive {
			v = "(sensitive)"
		}
		a.Params = append(a.Params, LineageText{p.Name, v})
	}
	uses, err := w.usesOf(rec)
	a.Inputs = append(a.Inputs, uses...)
	return err
}

// parse gives what an action is made of; nil for one of another plumb's form.
func parse(rec *store.Record) (*plan.Action, error) {
	fields, err := plan.Decode(rec.Action)
	if errors.Is(err, plan.ErrEncoding) {
		return nil, nil //nolint:nilnil // it has nothing that can be told
	}
	if err != nil {
		return nil, err
	}
	parsed, err := plan.Parse(fields)
	if err != nil {
		return nil, nil //nolint:nilerr,nilnil // an ingredient that only a newer plumb knows
	}
	return parsed, nil
}

// usesOf gives what an action read, with what made it.
func (w *walk) usesOf(rec *store.Record) ([]LineageUse, error) {
	uses, ok := w.uses[rec.Key]
	if ok {
		return uses, nil
	}
	parsed, err := parse(rec)
	if err != nil {
		return nil, err
	}
	if parsed != nil {
		for _, in := range parsed.Inputs {
			u := LineageUse{Path: in.Path, Digest: in.Digest}
			if err := w.resolve(&u, rec); err != nil {
				return nil, err
			}
			uses = append(uses, u)
			w.kinds[in.Digest] = in.Kind
		}
	}
	w.uses[rec.Key] = uses
	return uses, nil
}

// runOf reads a run once; nil when it was collected.
func (w *walk) runOf(id store.RunID) (*store.Run, error) {
	run, ok := w.runs[id]
	if ok || id == "" {
		return run, nil
	}
	run, err := w.e.store.Run(id)
	if errors.Is(err, store.ErrNotFound) {
		run, err = nil, nil
	}
	w.runs[id] = run
	return run, err
}
