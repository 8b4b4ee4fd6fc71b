package engine

import (
	"context"
	"fmt"
	"slices"

	"plumb/engine/compare"
	"plumb/engine/plan"
	"plumb/store"
)

// Diff says what differs between two runs: the causes laid open down to lines, packages
// and rows, and then what came of them.
//
// What is recorded of both runs goes to compare.Runs, which knows nothing of a store.
// Records are read of stages alone whose keys differ: two runs of a thousand stages of
// which one was changed cost two tables of stages and two records. What stages gave is
// said by the runs: a record may have been replaced since.
func (e *Engine) Diff(ctx context.Context, req DiffRequest) (*DiffDoc, error) {
	doc, err := e.diff(ctx, req)
	return doc, shown(req.Project.Dir, err)
}

func (e *Engine) diff(ctx context.Context, req DiffRequest) (*DiffDoc, error) {
	a, b, err := e.diffed(req)
	if err != nil {
		return nil, err
	}
	result, err := e.comparedRuns(a, b)
	if err != nil {
		return nil, err
	}
	doc := &DiffDoc{Schema: Schema, A: diffRun(a), B: diffRun(b), Equal: result.Equal, Notes: []string{}, Files: []FileChange{}}
	x := &explainer{e: e, ctx: ctx, dir: req.Project.Dir, at: req.Place, noData: req.NoData, lines: req.Lines, runs: [2]store.RunID{a.ID, b.ID}}
	if doc.Causes, err = x.lay(result.Causes); err != nil {
		return nil, err
	}
	doc.Consequences, doc.Unknown = differences(result.Consequences), differences(result.Unknown)
	if err := x.config(doc, a, b); err != nil {
		return nil, err
	}
	doc.Malformed = append([]string{}, slices.Compact(slices.Sorted(slices.Values(x.malformed)))...)
	doc.Same = result.Same() && len(doc.Causes) == 0
	return doc, nil
}

// diffed finds the two runs. They need not be of one project: what was restored
// elsewhere is compared with what it was.
func (e *Engine) diffed(req DiffRequest) (a, b *store.Run, err error) {
	if b, err = e.finished(req.Project.Dir, req.B); err != nil {
		return nil, nil, err
	}
	if req.A != "" {
		a, err = e.finished(req.Project.Dir, req.A)
		return a, b, err
	}
	older, err := e.store.Runs(store.RunFilter{Project: b.Project, Before: b.ID, Limit: lookBack})
	if err != nil {
		return nil, nil, fmt.Errorf("listing runs: %w", err)
	}
	i := slices.IndexFunc(older, func(r store.Run) bool { return r.Status != statusRunning })
	if i < 0 {
		return nil, nil, invalid("plumb show tells what it did", "run %s is the first of its project: there is none before it to compare it with", b.ID)
	}
	a, err = e.store.Run(older[i].ID)
	return a, b, err
}

// finished reads a run that is over.
func (e *Engine) finished(dir, name string) (*store.Run, error) {
	head, err := e.findRun(dir, name)
	if err != nil {
		return nil, err
	}
	run, err := e.store.Run(head.ID)
	if err != nil {
		return nil, fmt.Errorf("reading run %q: %w", head.ID, err)
	}
	if err := e.asFound(run); err != nil {
		return nil, err
	}
	if run.Status == statusRunning {
		return nil, invalid("plumb logs -f follows it; compare it when it is over", "run %s is still under way", run.ID)
	}
	return run, nil
}

func diffRun(r *store.Run) DiffRun {
	return DiffRun{Run: r.ID, Status: r.Status, Started: r.Started, Seconds: r.Seconds, Stages: len(r.Stages), Version: r.Version, Origin: r.Origin}
}

// comparedRuns compares what is recorded of two runs.
func (e *Engine) comparedRuns(a, b *store.Run) (*compare.Result, error) {
	runs := [2]*store.Run{a, b}
	var keys [2]map[string]store.Key
	for i, r := range runs {
		keys[i] = make(map[string]store.Key, len(r.Stages))
		for n := range r.Stages {
			keys[i][r.Stages[n].Name] = r.Stages[n].Key
		}
	}
	var sides [2]*compare.Run
	for i, r := range runs {
		side := &compare.Run{ID: r.ID, Profile: r.Profile, Targets: r.Targets, Params: r.Params, Maker: e.makers(r)}
		for n := range r.Stages {
			st := &r.Stages[n]
			s := compare.Stage{Name: st.Name, Status: st.Status, Error: st.Error, Reason: st.Reason, Key: st.Key, Metrics: st.Metrics, Outputs: st.Outputs}
			if other, ok := keys[1-i][st.Name]; ok && other != st.Key && !st.Key.IsZero() {
				if err := e.fillIn(&s); err != nil {
					return nil, err
				}
			}
			side.Stages = append(side.Stages, s)
		}
		sides[i] = side
	}
	return compare.Runs(sides[0], sides[1]), nil
}

// fillIn reads what a stage was and what it gave, as far as it is kept.
func (e *Engine) fillIn(s *compare.Stage) error {
	rec, err := e.store.Record(s.Key)
	if err != nil {
		return fmt.Errorf("reading the record of stage %q: %w", s.Name, err)
	}
	var action, note []byte
	if rec != nil {
		action, note = rec.Action, rec.Note
		if s.Outputs == nil {
			s.Outputs = rec.Outputs
		}
		if n := len(rec.Attempts); n > 0 {
			s.Seconds = rec.Attempts[n-1].Seconds
		}
	} else if action, note, err = actionOf(e.store, s.Key); err != nil {
		return err
	}
	if left, ok := e.unfinished.Load(s.Key); ok && action == nil {
		action, note = left.(store.Failure).Action, left.(store.Failure).Note
	}
	if action == nil {
		return nil
	}
	if s.Fields, err = plan.Decode(action); err != nil {
		s.Fields = nil // of another format: it is not known what it was
		return nil
	}
	if n, err := plan.DecodeNote(note); err == nil { // a damaged one makes the explanation poorer, and no more
		s.Note = n
	}
	return nil
}

// makers finds who made a content in a run, for records that do not note where inputs
// came from. Nothing is read until somebody asks.
func (e *Engine) makers(r *store.Run) func(store.Digest) (string, string, bool) {
	type made struct{ stage, output string }
	var all map[store.Digest]made
	return func(d store.Digest) (string, string, bool) {
		if all == nil {
			all = map[store.Digest]made{}
			for i := range r.Stages {
				outputs := r.Stages[i].Outputs
				if outputs == nil {
					rec, err := e.store.Record(r.Stages[i].Key)
					if err != nil || rec == nil {
						continue // whose outputs are not known
					}
					outputs = rec.Outputs
				}
				for _, o := range outputs {
					if _, ok := all[o.Digest]; !ok {
						all[o.Digest] = made{r.Stages[i].Name, o.Name}
					}
				}
			}
		}
		m, ok := all[d]
		return m.stage, m.output, ok
	}
}

func differences(all []compare.Change) []Difference {
	out := make([]Difference, 0, len(all))
	for i := range all {
		out = append(out, difference(&all[i]))
	}
	return out
}

func difference(c *compare.Change) Difference {
	d := Difference{Change: Change{Reason: c.Reason}, Stages: c.Stages, OldFrom: c.OldFrom, NewFrom: c.NewFrom, Relative: c.Relative, Equal: c.Equal, OldName: c.OldName, unwritten: !c.Written(), reads: c.Reads}
	if len(d.Stages) == 1 {
		d.Stage = d.Stages[0]
	}
	if d.Stages == nil {
		d.Stages = []string{}
	}
	return d
}

// lay lays causes open. A file that is told as an entry of a directory, too, is told
// there, with the stages that read it by itself.
func (x *explainer) lay(causes []compare.Change) ([]Difference, error) {
	out := make([]Difference, 0, len(causes))
	for i := range causes {
		if err := x.ctx.Err(); err != nil {
			return nil, err
		}
		d := difference(&causes[i])
		d.Change = x.changeAt(d.Reason, causes[i].Path)
		out = append(out, d)
	}
	return told(out), nil
}
