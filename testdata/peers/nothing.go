package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// settle is the pause before each turn, for what the one before left running.
const settle = 50 * time.Millisecond

// nothing measures how long it takes to find that there is nothing to do.
func (b *bench) nothing(ctx context.Context) error {
	for _, n := range b.sizes {
		if err := b.nothingOf(ctx, n); err != nil {
			return fmt.Errorf("%d stages: %w", n, err)
		}
	}
	return nil
}

func (b *bench) nothingOf(ctx context.Context, n int) error {
	dir, err := b.recorded(ctx, n)
	if err != nil {
		return err
	}
	all := []contender{b.warm(dir, n), b.cold(dir, n), b.unseen(dir, n)}
	var peers []string
	for _, p := range b.availableBuilders(n) {
		b.say("%s makes everything once, %d stages", p.name, n)
		place := b.path("peers", fmt.Sprintf("%s-%d", p.name, n))
		if err := p.project(ctx, place, n); err != nil {
			return err
		}
		all = append(all, contender{p.name, pause, func(ctx context.Context, _ int) (time.Duration, error) {
			return p.command(ctx, place, p.proof)
		}})
		peers = append(peers, p.name)
	}
	b.say("nothing to do, %d stages, %d rounds", n, b.rounds)
	times, err := interleave(ctx, b.rounds, all)
	if err != nil {
		return err
	}
	b.nothingRows(n, times, peers)
	return nil
}

// nothingRows adds the rows of one size, with those targets that are set for it.
func (b *bench) nothingRows(n int, times map[string]series, peers []string) {
	limits := map[int]map[string]float64{
		10:    {"warm": 0.025, "cold": 0.060},
		10000: {"cold": 0.4, "unseen": 2},
	}
	for _, way := range []string{"warm", "cold", "unseen"} {
		r := b.table.times(fmt.Sprintf("%d stages, %s", n, way), times[way], times, peers...)
		if limit, ok := limits[n][way]; ok {
			r.atMost(limit)
		}
		if way == "warm" && n == 10000 {
			r.below("ninja", 2)
		}
		r.below("snakemake", 0.05)
	}
}

func pause(ctx context.Context, _ int) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(settle):
		return nil
	}
}

// recorded is a project of n stages that have all run, once. Running them is a
// figure by itself.
func (b *bench) recorded(ctx context.Context, n int) (string, error) {
	if dir, ok := b.built[n]; ok {
		return dir, nil
	}
	dir := b.path("projects", fmt.Sprint(n))
	if err := b.image.project(dir, plumbGraph, n, n); err != nil {
		return "", err
	}
	b.say("plumb runs %d stages for the first time", n)
	took, err := b.plumb.run(ctx, dir)
	if err != nil {
		return "", err
	}
	if err := b.plumb.did(ctx, dir, n, 0); err != nil {
		return "", err
	}
	b.table.value(fmt.Sprintf("%d stages run for the first time", n), seconds, took.Seconds())
	b.table.value("  as many a second", rate, float64(n)/took.Seconds())
	b.built[n] = dir
	return dir, nil
}

// idleRun is plumb run where nothing is left to do, and the proof of it.
func (b *bench) idleRun(ctx context.Context, dir string, n int) (time.Duration, error) {
	took, err := b.plumb.run(ctx, dir)
	if err != nil {
		return 0, err
	}
	return took, b.plumb.did(ctx, dir, 0, n)
}

// warm has an agent that has seen the project before.
func (b *bench) warm(dir string, n int) contender {
	return contender{"warm", func(ctx context.Context, round int) error {
		if _, err := b.plumb.run(ctx, dir); err != nil {
			return err
		}
		return pause(ctx, round)
	}, func(ctx context.Context, _ int) (time.Duration, error) { return b.idleRun(ctx, dir, n) }}
}

// cold has no agent.
func (b *bench) cold(dir string, n int) contender {
	return contender{"cold", func(ctx context.Context, round int) error {
		if err := b.plumb.stop(ctx); err != nil {
			return err
		}
		return pause(ctx, round)
	}, func(ctx context.Context, _ int) (time.Duration, error) { return b.idleRun(ctx, dir, n) }}
}

// unseen is another clone of the project, that nobody has looked at before: each
// file has to be read and hashed. A comment makes the pipeline's text new as well,
// so that it has to be parsed. The agent is there, and all results are.
func (b *bench) unseen(dir string, n int) contender {
	place := func(round int) string { return b.path("projects", fmt.Sprintf("%d-clone-%d", n, round)) }
	return contender{"unseen", func(ctx context.Context, round int) error {
		if err := os.RemoveAll(place(round - 1)); err != nil {
			return err
		}
		if err := b.image.project(place(round), plumbGraph, n, n); err != nil {
			return err
		}
		if err := appendTo(filepath.Join(place(round), "plumb.hcl"), fmt.Sprintf("# clone %d\n", round)); err != nil {
			return err
		}
		if _, err := b.plumb.run(ctx, dir); err != nil { // starts the agent where the turn before ended it
			return err
		}
		return pause(ctx, round)
	}, func(ctx context.Context, round int) (time.Duration, error) { return b.idleRun(ctx, place(round), n) }}
}

func appendTo(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(text); err != nil {
		f.Close() //nolint:errcheck // the write's error is the one that tells
		return err
	}
	return f.Close()
}
