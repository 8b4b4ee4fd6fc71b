package engine

import (
	"context"
	"fmt"
	"slices"

	"plumb/engine/compare"
	"plumb/engine/plan"
	"plumb/store"
	"plumb/store/tree"
)

// Why says precisely what differs. Without runs it compares what the stage would
// do now with what it did in the last run; of a stage that is up to date it says who made
// its result, and what differed from the run before (whymade.go). With runs it compares what is recorded.
func (e *Engine) Why(ctx context.Context, req WhyRequest) (*WhyDoc, error) {
	x := &explainer{e: e, ctx: ctx, dir: req.Project.Dir, at: req.Place, noData: req.NoData, lines: req.Lines}
	answer := x.now
	if req.RunB != "" {
		answer = x.betweenRuns
	}
	doc, err := answer(req)
	return doc, shown(req.Project.Dir, err)
}

// explainer lays reasons open. inputs, image and unpinned are the stage's as they are in
// the project, which are not in the store before a run.
type explainer struct {
	e      *Engine
	ctx    context.Context
	dir    string
	at     Place          // whose images are looked into
	noData bool           // tables are not opened
	lines  int            // of each comparison of lines, 0 for all
	runs   [2]store.RunID // that are compared, "" where it is not a run
	inputs []plan.Resolved
	scan   *tree.Scanner

	image    *pinned   // nil while it is not
	unpinned [2]string // of the image's block, what is another than what was pinned: then and now, line by line

	malformed []string // files that were found not to be what their names say
}

// about turns to a stage as it is in the project.
func (x *explainer) about(s *session, stage int) {
	x.inputs, x.scan, x.image, x.unpinned = s.planner.Inputs(stage), s.scanner, nil, [2]string{}
	name := s.planner.Stage(stage).Image
	if pin, ok := s.images[name]; ok {
		x.image = &pin
		return
	}
	x.unpinned = s.sincePinned(name)
}

// recorded is a stage's action in a run.
type recorded struct {
	run    store.RunID
	key    store.Key
	fields []plan.Field
	note   plan.Note
}

func (x *explainer) recorded(run, stage string) (*recorded, error) {
	head, err := x.e.findRun(x.dir, run)
	if err != nil {
		return nil, err
	}
	full, err := x.e.store.Run(head.ID)
	if err != nil {
		return nil, fmt.Errorf("reading run %q: %w", head.ID, err)
	}
	for i := range full.Stages {
		if full.Stages[i].Name != stage {
			continue
		}
		if full.Stages[i].Key.IsZero() {
			return nil, invalid("plumb show tells what happened", "stage %q was %s in run %s: it never came to what it would have done", stage, full.Stages[i].Status, head.ID)
		}
		r, err := x.action(full.Stages[i].Key)
		if err != nil {
			return nil, err
		}
		if r == nil {
			return nil, invalid("compare with a newer run", "the action of stage %q in run %s is not kept any more", stage, head.ID)
		}
		r.run = head.ID
		return r, nil
	}
	return nil, invalid("plumb show lists its stages", "run %s has no stage %q", head.ID, stage)
}

// action reads a kept action; nil when it is not kept.
func (x *explainer) action(k store.Key) (*recorded, error) {
	b, note, err := actionOf(x.e.store, k)
	if err != nil || b == nil {
		return nil, err
	}
	r := &recorded{key: k}
	if r.fields, err = plan.Decode(b); err != nil {
		return nil, fmt.Errorf("reading the action %s: %w", k.Short(), err)
	}
	if r.note, err = plan.DecodeNote(note); err != nil {
		return nil, err
	}
	if rec, err := x.e.store.Remembered(k); err == nil && rec != nil {
		r.run = rec.Run
	} else if f, err := x.e.store.Failure(k); err == nil && f != nil {
		r.run = f.Run
	}
	return r, nil
}

func (x *explainer) betweenRuns(req WhyRequest) (*WhyDoc, error) {
	a, err := x.recorded(req.RunA, req.Stage)
	if err != nil {
		return nil, err
	}
	b, err := x.recorded(req.RunB, req.Stage)
	if err != nil {
		return nil, err
	}
	x.runs = [2]store.RunID{a.run, b.run}
	doc := &WhyDoc{Schema: Schema, Stage: req.Stage, Key: b.key, OldKey: a.key, OldRun: a.run, NewRun: b.run}
	x.compare(doc, a, b)
	return doc, x.upstream(doc, a, b)
}

// upstream names what was changed in the stages before this one, when it differs
// because of them: the same causes that diff tells of the two runs.
func (x *explainer) upstream(doc *WhyDoc, a, b *recorded) error {
	var runs [2]*store.Run
	for i, id := range []store.RunID{a.run, b.run} {
		var err error
		if runs[i], err = x.e.store.Run(id); err != nil {
			return fmt.Errorf("reading run %q: %w", id, err)
		}
	}
	result, err := x.e.comparedRuns(runs[0], runs[1])
	if err != nil {
		return err
	}
	x.varied(doc, result)
	before := result.Upstream(doc.Stage)
	if len(before) == 0 {
		return nil
	}
	for i := range doc.Changes {
		c := &doc.Changes[i]
		if w := b.note.Whence(c.Name); c.Kind == plan.ReasonInput && before[w.Stage] {
			c.From = w.Stage
		}
	}
	var causes []compare.Change
	for _, c := range result.Causes {
		c.Stages = slices.DeleteFunc(slices.Clone(c.Stages), func(s string) bool { return !before[s] })
		if len(c.Stages) > 0 {
			causes = append(causes, c)
		}
	}
	doc.Causes, err = x.lay(causes)
	return err
}

// varied says that the stage gave something else for the same, when it did.
func (x *explainer) varied(doc *WhyDoc, result *compare.Result) {
	for i := range result.Causes {
		c := &result.Causes[i]
		if c.Kind != compare.Varied || !slices.Contains(c.Stages, doc.Stage) {
			continue
		}
		if len(doc.Changes) == 0 { // nothing else differs
			doc.Reasons = nil
		}
		doc.Reasons = append(doc.Reasons, c.Reason)
		doc.Changes = append(doc.Changes, x.changeAt(c.Reason, c.Path))
	}
}

// waiting names what makes the stages run that a stage waits for.
func (x *explainer) waiting(doc *WhyDoc, s *session, stage int) {
	for _, j := range s.planner.Graph().Order() {
		d := s.planner.Decision(j)
		if j == stage || d.Verdict != plan.Execute {
			continue
		}
		name := s.planner.Stage(j).Name
		x.about(s, j)
		for _, r := range d.Reasons {
			x.addCause(doc, name, r)
		}
	}
	x.about(s, stage)
}

func (x *explainer) compare(doc *WhyDoc, a, b *recorded) {
	reasons := plan.Diff(a.fields, b.fields)
	if len(reasons) > 0 {
		reasons = plan.Causes(reasons, a.note, b.note)
	}
	x.fill(doc, reasons)
}

func (x *explainer) fill(doc *WhyDoc, reasons []plan.Reason) {
	doc.Reasons, doc.Changes = reasons, []Change{}
	if len(reasons) == 0 {
		doc.Reasons = []plan.Reason{{Kind: plan.ReasonNone}}
	}
	for _, r := range reasons {
		if r.Kind != plan.ReasonNone {
			doc.Changes = append(doc.Changes, x.change(r))
		}
	}
}

func (x *explainer) now(req WhyRequest) (*WhyDoc, error) {
	req.Targets = []string{req.Stage}
	s, err := x.e.open(x.ctx, req.Request, pinning{}, nil)
	if err == nil && s.unkept(req.Stage) { // whether it is made again depends on what is behind it
		req.Targets = nil
		s, err = x.e.open(x.ctx, req.Request, pinning{}, nil)
	}
	if err != nil {
		return nil, err
	}
	if err := s.consider(x.dir); err != nil {
		return nil, err
	}
	i, ok := s.planner.Index(req.Stage)
	if !ok {
		return nil, invalid("name one instance, like "+firstInstance(s, req.Stage), "%q is a block of several stages", req.Stage)
	}
	x.about(s, i)
	d := s.planner.Decision(i)
	doc := &WhyDoc{Schema: Schema, Stage: req.Stage, Decision: d.Verdict, Key: d.Key}
	if d.Verdict == plan.Hit {
		doc.NewRun, doc.MadeBy = d.Record.Run, d.Record.Run
	}
	if req.RunA != "" {
		if err := x.againstRun(doc, req, d, s.planner.Note(i)); err != nil {
			return nil, err
		}
		return doc, x.ahead(doc, s, i)
	}
	if d.Verdict == plan.Pending {
		x.waiting(doc, s, i)
	}
	x.fill(doc, d.Reasons)
	if err := x.before(doc, req.Stage, d, s.planner.Note(i)); err != nil || doc.Since != "" {
		return doc, err
	}
	return doc, x.ahead(doc, s, i)
}

func firstInstance(s *session, block string) string {
	for i := range s.pipeline.Stages {
		if s.pipeline.Stages[i].Block == block {
			return "'" + s.pipeline.Stages[i].Name + "'"
		}
	}
	return block
}

func (x *explainer) againstRun(doc *WhyDoc, req WhyRequest, d plan.Decision, note plan.Note) error {
	a, err := x.recorded(req.RunA, req.Stage)
	if err != nil {
		return err
	}
	doc.OldKey, doc.OldRun, x.runs[0] = a.key, a.run, a.run
	if d.Action == nil { // pending: what is known of it is in the reasons
		x.fill(doc, d.Reasons)
		return nil
	}
	fields, err := plan.Decode(d.Action)
	if err != nil {
		return fmt.Errorf("reading the action of stage %q: %w", req.Stage, err)
	}
	x.compare(doc, a, &recorded{key: d.Key, fields: fields, note: note})
	return nil
}

// before names what a stage that will run is compared with, and for a hit who made its
// result and what changed then.
func (x *explainer) before(doc *WhyDoc, stage string, d plan.Decision, note plan.Note) error {
	if d.Action == nil {
		return nil
	}
	fields, err := plan.Decode(d.Action)
	if err != nil {
		return fmt.Errorf("reading the action of stage %q: %w", stage, err)
	}
	if d.Verdict == plan.Hit {
		return x.made(doc, d.Record.Run, &recorded{key: d.Key, fields: fields, note: note})
	}
	near, reasons, err := plan.Compared(&records{store: x.e.store, project: x.dir}, stage, fields, note)
	if near == nil || err != nil || !slices.Equal(reasons, d.Reasons) { // the reason is another one
		return err
	}
	if doc.OldKey, doc.OldRun = near.Key, near.Run; doc.OldRun != "" {
		return nil
	}
	old, err := x.action(near.Key)
	if old != nil {
		doc.OldRun = old.run
	}
	return err
}
