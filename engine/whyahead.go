package engine

import (
	"fmt"
	"slices"

	"plumb/engine/plan"
	"plumb/store"
)

// ahead names, before a run, what changed in the stages before one since the run that it
// is compared with, where its inputs differ because of them. They have results already,
// other than in that run: else the stage would wait for them.
func (x *explainer) ahead(doc *WhyDoc, s *session, stage int) error {
	if doc.OldRun == "" || !slices.ContainsFunc(doc.Changes, func(c Change) bool { return c.Kind == plan.ReasonInput }) {
		return nil
	}
	old, err := x.e.store.Run(doc.OldRun)
	if err != nil || old == nil {
		return err
	}
	keys := map[string]store.Key{}
	for i := range old.Stages {
		keys[old.Stages[i].Name] = old.Stages[i].Key
	}
	defer x.about(s, stage)
	a := ascent{x: x, doc: doc, s: s, keys: keys, seen: map[string]bool{}}
	note := s.planner.Note(stage)
	for i := range doc.Changes {
		c := &doc.Changes[i]
		if w := note.Whence(c.Name); c.Kind == plan.ReasonInput && w.Produced() {
			differs, err := a.stage(w.Stage)
			if err != nil {
				return err
			}
			if differs {
				c.From = w.Stage
			}
		}
	}
	return nil
}

// ascent goes up from a stage through those that differ from a run.
type ascent struct {
	x    *explainer
	doc  *WhyDoc
	s    *session
	keys map[string]store.Key // of that run, by stage
	seen map[string]bool      // stages, and whether they differ
}

// stage reports whether one differs, and adds what in it does to the causes.
func (a *ascent) stage(name string) (bool, error) {
	if differs, ok := a.seen[name]; ok {
		return differs, nil
	}
	a.seen[name] = false
	i, ok := a.s.planner.Index(name)
	was := a.keys[name]
	if !ok || was.IsZero() {
		return false, nil
	}
	d := a.s.planner.Decision(i)
	if d.Action == nil || d.Key == was {
		return false, nil
	}
	before, err := a.x.action(was)
	if before == nil || err != nil {
		return false, err
	}
	fields, err := plan.Decode(d.Action)
	if err != nil {
		return false, fmt.Errorf("reading the action of stage %q: %w", name, err)
	}
	a.seen[name] = true
	note := a.s.planner.Note(i)
	for _, r := range plan.Causes(plan.Diff(before.fields, fields), before.note, note) {
		if w := note.Whence(r.Name); r.Kind == plan.ReasonInput && w.Produced() {
			if differs, err := a.stage(w.Stage); differs || err != nil {
				if err != nil {
					return true, err
				}
				continue // it is told there
			}
		}
		a.x.about(a.s, i)
		a.x.addCause(a.doc, name, r)
	}
	return true, nil
}

// addCause adds a reason that a stage has to the causes, once for all that have it.
func (x *explainer) addCause(doc *WhyDoc, stage string, r plan.Reason) {
	if i := slices.IndexFunc(doc.Causes, func(o Difference) bool { return o.Reason == r }); i >= 0 {
		doc.Causes[i].Stage, doc.Causes[i].Stages = "", append(doc.Causes[i].Stages, stage)
		return
	}
	doc.Causes = append(doc.Causes, Difference{Change: x.change(r), Stage: stage, Stages: []string{stage}})
}
