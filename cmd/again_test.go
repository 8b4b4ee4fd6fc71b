package cmd

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"plumb/engine"
	"plumb/engine/agent"
)

// leaving is an agent that ends before it has answered.
type leaving struct {
	engine.API
	asked int
	lines int // of a log that come before
}

func leaves[Doc any](g *leaving) (*Doc, error) { g.asked++; return nil, agent.ErrGone }

func (g *leaving) Plan(context.Context, engine.Request) (*engine.PlanDoc, error) {
	return leaves[engine.PlanDoc](g)
}
func (g *leaving) Why(context.Context, engine.WhyRequest) (*engine.WhyDoc, error) {
	return leaves[engine.WhyDoc](g)
}
func (g *leaving) Diff(context.Context, engine.DiffRequest) (*engine.DiffDoc, error) {
	return leaves[engine.DiffDoc](g)
}
func (g *leaving) Runs(context.Context, engine.RunsRequest) (*engine.RunsDoc, error) {
	return leaves[engine.RunsDoc](g)
}
func (g *leaving) Show(context.Context, engine.ShowRequest) (*engine.ShowDoc, error) {
	return leaves[engine.ShowDoc](g)
}
func (g *leaving) Compare(context.Context, engine.CompareRequest) (*engine.CompareDoc, error) {
	return leaves[engine.CompareDoc](g)
}
func (g *leaving) Lineage(context.Context, engine.LineageRequest) (*engine.LineageDoc, error) {
	return leaves[engine.LineageDoc](g)
}
func (g *leaving) Get(context.Context, engine.GetRequest) (*engine.GetDoc, error) {
	return leaves[engine.GetDoc](g)
}
func (g *leaving) Logs(_ context.Context, _ engine.LogsRequest, emit func(engine.LogLine)) error {
	for range g.lines {
		emit(engine.LogLine{})
	}
	_, err := leaves[engine.LogLine](g)
	return err
}

// TestReadersAskAgain asks each verb that a reader has of an agent that ends: this process
// answers instead.
func TestReadersAskAgain(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	for name, ask := range map[string]func(engine.API) error{
		"plan": func(a engine.API) error {
			_, err := a.Plan(ctx, engine.Request{Project: engine.Project{Dir: dir}})
			return err
		},
		"why":     func(a engine.API) error { _, err := a.Why(ctx, engine.WhyRequest{}); return err },
		"diff":    func(a engine.API) error { _, err := a.Diff(ctx, engine.DiffRequest{}); return err },
		"runs":    func(a engine.API) error { _, err := a.Runs(ctx, engine.RunsRequest{Dir: dir}); return err },
		"show":    func(a engine.API) error { _, err := a.Show(ctx, engine.ShowRequest{Dir: dir}); return err },
		"compare": func(a engine.API) error { _, err := a.Compare(ctx, engine.CompareRequest{}); return err },
		"lineage": func(a engine.API) error { _, err := a.Lineage(ctx, engine.LineageRequest{Name: "x"}); return err },
		"get": func(a engine.API) error {
			_, err := a.Get(ctx, engine.GetRequest{Path: filepath.Join(dir, "x")})
			return err
		},
		"logs": func(a engine.API) error { return a.Logs(ctx, engine.LogsRequest{Dir: dir}, func(engine.LogLine) {}) },
	} {
		var stderr strings.Builder
		g := &leaving{}
		l := &lasting{API: g, env: &Env{Stderr: &stderr, Now: time.Now}, g: global{dir: dir, store: filepath.Join(dir, "store")}, done: func() {}}
		err := ask(l)
		l.done()
		if errors.Is(err, agent.ErrGone) || g.asked != 1 || l.API == engine.API(g) {
			t.Errorf("%s: asked %d times: %v %s", name, g.asked, err, stderr.String())
		}
	}
}

// TestLogsComeOnce: of a log that broke off nothing comes again.
func TestLogsComeOnce(t *testing.T) {
	g, lines := &leaving{lines: 3}, 0
	l := &lasting{API: g, env: &Env{Stderr: &strings.Builder{}, Now: time.Now}, g: global{store: filepath.Join(t.TempDir(), "store")}, done: func() {}}
	if err := l.Logs(t.Context(), engine.LogsRequest{}, func(engine.LogLine) { lines++ }); !errors.Is(err, agent.ErrGone) || lines != 3 || g.asked != 1 {
		t.Errorf("%d lines, asked %d times: %v", lines, g.asked, err)
	}
}
