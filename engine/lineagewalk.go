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
	refused error           // why it is no run

	actions   map[store.Key]int
	artifacts map[store.Digest]int
	prefer    map[store.Key]bool // of the run that is asked about
	runs      map[store.RunID]*store.Run
}

func newWalk(ctx context.Context, e *Engine, req LineageRequest) *walk {
	w := &walk{
		ctx: ctx, e: e, req: req, limit: req.Limit, doc: &LineageDoc{Schema: Schema, Artifacts: []LineageArtifact{}, Actions: []LineageAction{}},
		actions: map[store.Key]int{}, artifacts: map[store.Digest]int{}, prefer: map[store.Key]bool{}, runs: map[store.RunID]*store.Run{},
	}
	if w.limit == 0 {
		w.limit = usualActions
	}
	w.doc.Of = LineageOf{Name: req.Name, Up: req.Up || !req.Down, Down: req.Down || !req.Up}
	return w
}

// done names what made the inputs of actions that were not gone up from, where it is
// known. A stage may hand on what it read: that does not make it the maker of its input.
func (w *walk) done() *LineageDoc {
	for i := range w.doc.Actions {
		a := &w.doc.Actions[i]
		for n := range a.Inputs {
			in := &a.Inputs[n]
			if !in.By.IsZero() {
				if _, told := w.actions[in.By]; !told { // beyond a bound
					in.By = store.Key{}
				}
				continue
			}
			if foundBy(w.runs[a.Run], *in) != nil {
				continue
			}
			for _, k := range w.doc.Artifacts[w.artifact(in.Digest)].MadeBy {
				if k != a.Key && !w.doc.Actions[w.actions[k]].Created.After(a.Created) {
					in.By = k
					break
				}
			}
		}
	}
	return w.doc
}

// notARun keeps what is of use when the name turns out to be nothing else either.
func notARun(name string, e *Error) error {
	if strings.HasPrefix(e.Hint, "did you mean ") || strings.HasPrefix(e.Hint, "name one of") || strings.HasPrefix(e.Hint, "plumb pin ") {
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

// root begins at content: at every action that made it, and every one that read it.
func (w *walk) root(d store.Digest) error {
	w.artifact(d)
	if w.doc.Of.Up {
		recs, more, err := w.e.store.Linked(w.ctx, store.LinkMade, d, rootMade)
		if err != nil {
			return err
		}
		w.doc.More = w.doc.More || more
		if err := w.up(steps(recs)); err != nil {
			return err
		}
	}
	if !w.doc.Of.Down {
		return nil
	}
	recs, more, err := w.e.store.Linked(w.ctx, store.LinkRead, d, w.limit)
	if err != nil {
		return err
	}
	w.doc.More = w.doc.More || more
	return w.down(steps(recs))
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
		if rec != nil && !w.prefer[rec.Key] {
			w.prefer[rec.Key] = true
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
	return &store.Record{Key: f.Key, Action: f.Action, Run: f.Run, Stage: f.Stage, Created: f.When, Attempts: f.Attempts}, nil
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
		for n, in := range w.doc.Actions[i].Inputs {
			if w.req.Depth > 0 && s.depth >= w.req.Depth {
				break
			}
			made, also, err := w.producer(in, s.rec)
			if err != nil {
				return err
			}
			w.doc.Artifacts[w.artifact(in.Digest)].Also = also
			if made != nil {
				w.doc.Actions[i].Inputs[n].By = made.Key
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
			recs, more, err := w.e.store.Linked(w.ctx, store.LinkRead, out.Digest, w.limit)
			if err != nil {
				return err
			}
			w.doc.More = w.doc.More || more
			for _, r := range recs {
				queue = append(queue, step{r, s.depth + 1})
			}
		}
	}
	return nil
}

// artifact gives the index of content in the document.
func (w *walk) artifact(d store.Digest) int {
	i, ok := w.artifacts[d]
	if !ok {
		i = len(w.doc.Artifacts)
		w.artifacts[d] = i
		w.doc.Artifacts = append(w.doc.Artifacts, LineageArtifact{Digest: d, Kind: store.KindFile})
	}
	return i
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
		at := &w.doc.Artifacts[w.artifact(o.Digest)]
		at.Kind, at.Size = o.Kind, o.Size
		if !slices.Contains(at.MadeBy, rec.Key) {
			at.MadeBy = append(at.MadeBy, rec.Key)
		}
		w.place(o.Digest, run, store.PlaceExport)
		a.Outputs = append(a.Outputs, LineageUse{Name: strings.TrimPrefix(o.Name, "."), Path: o.Path, Digest: o.Digest})
	}
	for _, in := range a.Inputs {
		at := &w.doc.Artifacts[w.artifact(in.Digest)]
		at.ReadBy = append(at.ReadBy, rec.Key)
		w.place(in.Digest, run, store.PlaceInput)
		w.place(in.Digest, run, store.PlaceOutside)
	}
	w.actions[rec.Key] = len(w.doc.Actions)
	w.doc.Actions = append(w.doc.Actions, a)
	return len(w.doc.Actions) - 1, nil
}

func failedLast(rec *store.Record) bool {
	n := len(rec.Attempts)
	return n > 0 && rec.Attempts[n-1].Class != store.ClassOK
}

// describe reads an action's ingredients. One of another plumb's form has none.
func (w *walk) describe(a *LineageAction, rec *store.Record) error {
	fields, err := plan.Decode(rec.Action)
	if errors.Is(err, plan.ErrEncoding) {
		return nil
	}
	if err != nil {
		return err
	}
	parsed, err := plan.Parse(fields)
	if err != nil {
		return nil //nolint:nilerr // an ingredient that only a newer plumb knows
	}
	a.Image, a.Platform, a.Command, a.Seed = parsed.Image, parsed.Platform, parsed.Command, parsed.Seed
	for _, p := range parsed.Params {
		v := p.Value
		if p.Sensitive {
			v = "(sensitive)"
		}
		a.Params = append(a.Params, LineageText{p.Name, v})
	}
	sizes := map[store.Digest]int64{}
	for _, in := range rec.Inputs {
		sizes[in.Digest] = in.Size
	}
	for _, in := range parsed.Inputs {
		at := &w.doc.Artifacts[w.artifact(in.Digest)]
		at.Kind = in.Kind
		if n, ok := sizes[in.Digest]; ok {
			at.Size = n
		}
		a.Inputs = append(a.Inputs, LineageUse{Path: in.Path, Digest: in.Digest})
	}
	return nil
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

// place notes where a run had content. Many runs had the same at the same place: the
// first that is met tells it.
func (w *walk) place(d store.Digest, run *store.Run, role store.PlaceRole) {
	if run == nil {
		return
	}
	at := &w.doc.Artifacts[w.artifact(d)]
	for _, p := range run.Places {
		if p.Digest != d || p.Role != role {
			continue
		}
		known := slices.ContainsFunc(at.Places, func(o LineagePlace) bool {
			return o.Project == run.Project && o.Path == p.Path && o.Role == p.Role && o.From == p.From
		})
		if known {
			continue
		}
		at.Places = append(at.Places, LineagePlace{run.ID, run.Project, p})
		if p.Size > 0 {
			at.Size = p.Size
		}
	}
}
