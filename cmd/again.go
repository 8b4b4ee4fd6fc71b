package cmd

import (
	"context"
	"errors"

	"plumb/engine"
	"plumb/engine/agent"
)

// lasting asks again when the agent that was asked has ended before it had answered:
// for verbs that change nothing the next one, or this process, answers as well.
type lasting struct {
	engine.API
	env  *Env
	g    global
	done func()
}

// tries bounds how often: agents do not end so often by chance.
const tries = 4

func again[Req, Doc any](ctx context.Context, l *lasting, req Req, ask func(engine.API, context.Context, Req) (*Doc, error)) (*Doc, error) {
	for n := 1; ; n++ {
		doc, err := ask(l.API, ctx, req)
		if n == tries || !errors.Is(err, agent.ErrGone) || ctx.Err() != nil {
			return doc, err
		}
		l.done()
		l.done = func() {}
		api, done, err := l.env.answers(ctx, l.g)
		if err != nil {
			return nil, err
		}
		l.API, l.done = api, done
	}
}

// Plan implements engine.API, as do the others.
func (l *lasting) Plan(ctx context.Context, req engine.Request) (*engine.PlanDoc, error) {
	return again(ctx, l, req, engine.API.Plan)
}

// Why asks again.
func (l *lasting) Why(ctx context.Context, req engine.WhyRequest) (*engine.WhyDoc, error) {
	return again(ctx, l, req, engine.API.Why)
}

// Diff asks again.
func (l *lasting) Diff(ctx context.Context, req engine.DiffRequest) (*engine.DiffDoc, error) {
	return again(ctx, l, req, engine.API.Diff)
}

// Compare asks again.
func (l *lasting) Compare(ctx context.Context, req engine.CompareRequest) (*engine.CompareDoc, error) {
	return again(ctx, l, req, engine.API.Compare)
}

// Lineage asks again.
func (l *lasting) Lineage(ctx context.Context, req engine.LineageRequest) (*engine.LineageDoc, error) {
	return again(ctx, l, req, engine.API.Lineage)
}

// Logs asks again while no line has come: none is to come twice.
func (l *lasting) Logs(ctx context.Context, req engine.LogsRequest, emit func(engine.LogLine)) error {
	var begun bool
	var whole error
	_, err := again(ctx, l, req, func(api engine.API, ctx context.Context, req engine.LogsRequest) (*struct{}, error) {
		err := api.Logs(ctx, req, func(line engine.LogLine) { begun = true; emit(line) })
		if begun {
			whole, err = err, nil
		}
		return nil, err
	})
	return errors.Join(whole, err)
}

// Runs asks again.
func (l *lasting) Runs(ctx context.Context, req engine.RunsRequest) (*engine.RunsDoc, error) {
	return again(ctx, l, req, engine.API.Runs)
}

// Show asks again.
func (l *lasting) Show(ctx context.Context, req engine.ShowRequest) (*engine.ShowDoc, error) {
	return again(ctx, l, req, engine.API.Show)
}

// Get asks again.
func (l *lasting) Get(ctx context.Context, req engine.GetRequest) (*engine.GetDoc, error) {
	return again(ctx, l, req, engine.API.Get)
}
