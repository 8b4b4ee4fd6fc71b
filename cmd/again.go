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
