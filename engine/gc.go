package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"plumb/store"
)

// GC drops what nothing needs any more. On a disk that is full it begins with what can
// go without a word written: the reserve, what failed attempts left, old downloads.
func (e *Engine) GC(ctx context.Context, req GCRequest) (*GCDoc, error) {
	e.sweeps.Add(1)
	defer e.sweeps.Add(1)
	if !req.DryRun && !e.cfg.ReadOnly {
		if err := e.roomForGC(); err != nil {
			return nil, err
		}
	}
	rep, err := e.store.GC(ctx, store.Policy{KeepRuns: req.KeepRuns, KeepAge: req.KeepAge, KeepSize: req.KeepSize, KeepCount: req.KeepCount, DryRun: req.DryRun})
	if err != nil {
		return nil, fmt.Errorf("collecting garbage: %w", err)
	}
	if !req.DryRun {
		if err := errors.Join(e.dropDownloads(), e.dropDebs(req.KeepAge), e.dropAllFailed(), e.restock()); err != nil {
			return nil, fmt.Errorf("collecting garbage: %w", err)
		}
	}
	doc := &GCDoc{Schema: Schema, GCReport: rep}
	doc.Checkpoints, err = e.trimCheckpoints(req.DryRun, func(last time.Time, _ *checkpointOf) bool { return e.cfg.Now().Sub(last) >= req.KeepAge })
	return doc, err
}

func (e *Engine) dropAllFailed() error {
	return e.trimFailed(func(int, *failedAttempt) bool { return true })
}

// roomForGC makes the little room that dropping takes: what is dropped is written down.
func (e *Engine) roomForGC() error {
	if roomFor(e.cfg.Dir, reserve) == nil {
		return nil
	}
	if err := errors.Join(store.ReleaseReserve(e.cfg.Dir), e.dropAllFailed(), e.dropDownloads()); err != nil {
		return fmt.Errorf("making room to collect garbage: %w", err)
	}
	err := roomFor(e.cfg.Dir, openReserve)
	var full *Error
	if errors.As(err, &full) {
		full.Hint = "plumb gc writes down what it drops, and has no room for that: remove something else from that disk first"
	}
	return err
}

// restock takes the reserve again when there is plenty of room.
func (e *Engine) restock() error {
	if e.cfg.ReadOnly || roomFor(e.cfg.Dir, 5*reserve/2) != nil {
		return nil
	}
	return e.store.MakeReserve()
}
