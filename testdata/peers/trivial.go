package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"
)

// trivial measures one container that does nothing, the image being there.
func (b *bench) trivial(ctx context.Context) (err error) {
	dir := b.path("projects", "trivial")
	if err := b.image.project(dir, trivialGraph, 1, 1); err != nil {
		return err
	}
	if _, err := b.plumb.run(ctx, dir); err != nil { // unpacks the image
		return err
	}
	own := map[string]series{}
	all := []contender{b.forced(dir, own)}
	if b.has("runc", "runc") {
		for _, name := range []string{"runc", "runc3"} {
			u, err := b.newBundle(name, name == "runc")
			if err != nil {
				return err
			}
			all = append(all, contender{name, pause, func(ctx context.Context, _ int) (time.Duration, error) { return u.run(ctx) }})
		}
	}
	if b.has("containerd", "containerd") && b.has("ctr", "containerd") {
		d, err := b.startDaemon(ctx)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, d.stop()) }()
		all = append(all, contender{"ctr", pause, d.run})
	}
	b.say("one trivial container, %d rounds", b.single)
	times, err := interleave(ctx, b.single, all)
	if err != nil {
		return err
	}
	b.trivialRows(times, own)
	return nil
}

// trivialRows adds the rows. "runc3" is runc with the filter for three
// architectures, which is what Docker and ctr give it. Plumb deletes the container
// when nobody waits for it any more, which is in none of its figures; the 1,000 of
// "many" have it in theirs.
func (b *bench) trivialRows(times, own map[string]series) {
	peers := []string{"runc", "runc3", "ctr"}
	b.table.times("plumb run --force, from outside", times["plumb"], times, peers...)
	b.table.times("start of the run to recorded", own["whole"], times, peers...).below("runc", 0.8)
	b.table.times("start of the container to its exit", own["command"], times, peers...).atMost(0.005)
	b.table.times("exit to recorded", own["recorded"], times)
}

// forced runs the one stage although nothing changed, and keeps plumb's own times.
func (b *bench) forced(dir string, own map[string]series) contender {
	return contender{"plumb", pause, func(ctx context.Context, round int) (time.Duration, error) {
		t, err := b.plumb.force(ctx, dir, "trivial")
		if err == nil && round > 0 {
			own["command"] = append(own["command"], t.command.Seconds())
			own["whole"] = append(own["whole"], t.whole.Seconds())
			own["recorded"] = append(own["recorded"], t.recorded.Seconds())
		}
		return t.wall, err
	}}
}

// many measures a pipeline of independent trivial stages, recorded and all,
// beside the bare containers.
func (b *bench) many(ctx context.Context) error {
	dir := b.path("projects", "many")
	if err := b.image.project(dir, manyGraph, b.count, 0); err != nil {
		return err
	}
	all := []contender{{"plumb", pause, func(ctx context.Context, round int) (time.Duration, error) {
		took, err := b.plumb.run(ctx, dir, "--param", fmt.Sprintf("salt=%d-%d", os.Getpid(), round))
		if err != nil {
			return 0, err
		}
		return took, b.plumb.did(ctx, dir, b.count, 0)
	}}}
	if b.has("runc", "runc") {
		u, err := b.newBundle("runc-many", true)
		if err != nil {
			return err
		}
		all = append(all, contender{"runc", pause, func(ctx context.Context, _ int) (time.Duration, error) {
			return u.runMany(ctx, b.count, runtime.NumCPU())
		}})
	}
	b.say("%d trivial containers, %d rounds", b.count, b.long)
	times, err := interleave(ctx, b.long, all)
	if err != nil {
		return err
	}
	b.table.times(fmt.Sprintf("%d trivial stages", b.count), times["plumb"], times, "runc").below("runc", 0.7)
	b.table.value("  as many a second", rate, float64(b.count)/times["plumb"].median())
	return nil
}

// runMany runs n containers, so many at once, and ends with the first error.
func (u bundle) runMany(ctx context.Context, n, atOnce int) (time.Duration, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	turns := make(chan struct{})
	var wg sync.WaitGroup
	start := time.Now()
	for range atOnce {
		wg.Go(func() {
			for range turns {
				if _, err := u.run(ctx); err != nil {
					cancel(err)
				}
			}
		})
	}
	for range n {
		turns <- struct{}{}
	}
	close(turns)
	wg.Wait()
	return time.Since(start), context.Cause(ctx)
}
