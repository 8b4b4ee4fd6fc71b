package engine

import (
	"context"

	"plumb/engine/plan"
)

// Plan says what a run would do and why. It changes nothing.
func (e *Engine) Plan(ctx context.Context, req Request) (*PlanDoc, error) {
	doc, err := e.plan(ctx, req)
	return doc, shown(req.Project.Dir, err)
}

func (e *Engine) plan(ctx context.Context, req Request) (*PlanDoc, error) {
	s, err := e.open(ctx, req, pinning{locked: req.Locked, offline: req.Offline}, nil)
	if err != nil {
		return nil, err
	}
	if err := s.consider(req.Project.Dir); err != nil {
		return nil, err
	}
	doc := &PlanDoc{Schema: Schema, Pipeline: s.pipeline.Name, Stages: []PlannedStage{}}
	for _, i := range s.planner.Graph().Order() {
		if !s.selected[i] || s.outside[i] {
			continue
		}
		d := s.planner.Decision(i)
		switch d.Verdict {
		case plan.Hit:
			doc.Hits++
		case plan.Execute:
			doc.Runs++
		case plan.Pending:
			doc.Pending++
		case plan.Skip:
			doc.Skips++
		case plan.Refused:
			doc.Refused++
		}
		st := s.planner.Stage(i)
		doc.Stages = append(doc.Stages, PlannedStage{
			Name: st.Name, Decision: d.Verdict, Key: d.Key, Reasons: d.Reasons, Image: s.images[st.Image].digest.String(),
			Effect: st.Effect, Idempotent: st.Idempotent,
		})
	}
	return doc, nil
}
