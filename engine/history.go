package engine

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"plumb/engine/event"
	"plumb/hcl"
	"plumb/store"
)

// Runs lists recorded runs, newest first, or as they are to be sorted.
func (e *Engine) Runs(_ context.Context, req RunsRequest) (_ *RunsDoc, err error) {
	if req.IDs != nil {
		doc := &RunsDoc{Schema: Schema}
		doc.Runs, err = e.rows(req.IDs)
		return doc, err
	}
	if req.Before != "" {
		before, err := e.findRun(req.Dir, req.Before)
		if err != nil {
			return nil, err
		}
		req.Before = string(before.ID)
	}
	limit := req.Limit
	if limit > 0 {
		req.Limit++ // to see whether there are more
	}
	p, err := e.newPicker(req)
	if err != nil {
		return nil, err
	}
	ids, err := p.pick()
	if err != nil {
		return nil, err
	}
	doc := &RunsDoc{Schema: Schema, More: limit > 0 && len(ids) > limit}
	if doc.More {
		ids = ids[:limit]
	}
	if req.Bare {
		doc.Runs, doc.IDs = []RunRow{}, ids
		return doc, nil
	}
	doc.Runs, err = e.rows(ids)
	return doc, err
}

// rows reads the runs of a list.
func (e *Engine) rows(ids []store.RunID) ([]RunRow, error) {
	runs, err := e.store.Heads(ids)
	if err != nil {
		return nil, err
	}
	out := make([]RunRow, 0, len(runs))
	for i := range runs {
		if err := e.headAsFound(&runs[i]); err != nil {
			return nil, err
		}
		a, err := e.store.Annotation(runs[i].ID)
		if err != nil {
			return nil, err
		}
		sum, err := e.store.Summary(runs[i].ID)
		if err != nil {
			return nil, err
		}
		row := RunRow{Run: runs[i], Annotation: *a}
		if sum != nil {
			row.Metrics = sum.Metrics
		}
		out = append(out, row)
	}
	return out, nil
}

// asFound tells of a run that is not over how far it is, and of one whose agent was killed
// what the next owner of the store will record: a store that is opened to read has no
// owner, so nothing is under way.
func (e *Engine) asFound(r *store.Run) error {
	switch {
	case r.Status != statusRunning:
		return nil
	case !e.cfg.ReadOnly:
		return e.underWay(r)
	}
	unfinished, err := interrupted(filepath.Join(e.journalDir(), string(r.ID)), r)
	for _, f := range unfinished {
		e.unfinished.Store(f.Key, f)
	}
	return err
}

// headAsFound is asFound for a run that was read without its stages.
func (e *Engine) headAsFound(r *store.Run) error {
	if r.Status != statusRunning {
		return nil
	}
	full, err := e.store.Run(r.ID)
	if err != nil {
		return fmt.Errorf("reading run %q: %w", r.ID, err)
	}
	*r = *full
	return e.asFound(r)
}

// findRun resolves what people type for a run.
func (e *Engine) findRun(dir, name string) (*store.Run, error) {
	run, candidates, err := e.store.FindRun(dir, name)
	if err != nil {
		return nil, fmt.Errorf("looking for run %q: %w", name, err)
	}
	switch {
	case run != nil:
		return run, nil
	case name == "" || name == "latest":
		return nil, invalid("plumb run makes one", "there is no run of this project yet")
	case len(candidates) > 1 && strings.HasPrefix(string(candidates[0]), name):
		return nil, invalid("name one of: "+joined(candidates), "%q is the beginning of several runs", name)
	case len(candidates) > 1 && strings.HasSuffix(string(candidates[0]), "-"+name):
		return nil, invalid("name one of: "+joined(candidates), "%q is the end of several runs", name)
	}
	if run, err := e.otherRun(dir, name); run != nil || err != nil {
		return run, err
	}
	var names []string
	for _, c := range candidates {
		names = append(names, string(c))
	}
	tags, err := e.store.Tags(dir)
	if err != nil {
		return nil, err
	}
	names = slices.AppendSeq(names, maps.Keys(tags))
	if near := hcl.Nearest(name, names); near != "" {
		return nil, invalid("did you mean "+near+"?", "there is no run %q", name)
	}
	return nil, invalid("plumb runs lists them", "there is no run %q", name)
}

// joined names the newest few of many.
func joined(ids []store.RunID) string {
	const few = 5
	var s []string
	for _, id := range ids[:min(len(ids), few)] {
		s = append(s, string(id))
	}
	text := strings.Join(s, ", ")
	if more := len(ids) - few; more > 0 {
		text += fmt.Sprintf(", and %d more", more)
	}
	return text
}

// Show tells one run in full. What a cached stage gave and how it was made comes
// from the record of the run that made it.
func (e *Engine) Show(_ context.Context, req ShowRequest) (*ShowDoc, error) {
	head, err := e.findRun(req.Dir, req.Run)
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
	said, err := e.store.Annotation(run.ID)
	if err != nil {
		return nil, err
	}
	doc := &ShowDoc{Schema: Schema, Run: *run, Annotation: *said, Files: run.Files, Stages: []ShownStage{}}
	if doc.Files == nil {
		doc.Files = []store.RunFile{}
	}
	doc.Places = e.shownPlaces(run.Places)
	stages := run.Stages
	if req.Stage != "" {
		if stages, err = oneStage(run, req.Stage); err != nil {
			return nil, err
		}
	}
	for i := range stages {
		st, err := e.shown(run.ID, &stages[i])
		if err == nil {
			err = e.ingredients(st)
		}
		if err != nil {
			return nil, err
		}
		doc.Stages = append(doc.Stages, *st)
	}
	return doc, nil
}

func (e *Engine) shown(run store.RunID, r *store.StageResult) (*ShownStage, error) {
	st := &ShownStage{
		Name: r.Name, Status: r.Status, Key: r.Key, Reason: r.Reason, Seconds: r.Seconds, Image: r.Image,
		Attempts: r.Attempts, Metrics: r.Metrics, Outputs: map[string]event.Output{}, Error: r.Error,
	}
	if st.Attempts == nil {
		st.Attempts = []store.Attempt{}
	}
	if st.Metrics == nil {
		st.Metrics = map[string]float64{}
	}
	if r.Key.IsZero() || r.Status != "ran" && r.Status != "cached" {
		return st, nil
	}
	rec, err := e.store.Remembered(r.Key)
	if err != nil {
		return nil, fmt.Errorf("reading the result of stage %q: %w", r.Name, err)
	}
	now := &store.Record{Outputs: r.Outputs, Run: r.MadeBy}
	if rec != nil {
		if r.Outputs == nil && r.MadeBy == "" { // of before runs kept them
			now.Outputs, now.Run = rec.Outputs, rec.Run
		}
		if r.Status == "cached" && rec.Run == now.Run {
			st.Attempts = rec.Attempts
		}
		dropped(now.Outputs, rec.Outputs)
	}
	st.Outputs, st.MadeBy = outputsOf(now), now.Run
	if r.Status == "ran" {
		st.MadeBy = run
	}
	return st, nil
}

// dropped marks those outputs of which the record says that their bytes were dropped
// since.
func dropped(of, rec []store.Output) {
	for i := range of {
		if slices.ContainsFunc(rec, func(o store.Output) bool { return o.Dropped && o.Name == of[i].Name && o.Digest == of[i].Digest }) {
			of[i].Dropped = true
		}
	}
}
