package engine

import (
	"encoding/hex"
	"errors"
	"slices"
	"sync"

	"plumb/engine/plan"
	"plumb/hcl"
)

// hcl parses about two megabytes a second, and ten thousand written-out stages
// take most of a second. So an evaluated pipeline is kept by the digest of all it
// was made from: in memory for the next request, in the store for the next agent.
// Both are only caches: what cannot be read is evaluated again. Only a run writes
// one, and none with a sensitive value in it.

// maxPipelines bounds how many evaluated pipelines stay in memory.
const maxPipelines = 16

func (e *Engine) load(p Project, keep bool) (*loaded, error) {
	l, _, err := e.loadFrom(p, keep)
	return l, err
}

// loadFrom also gives the pipeline's files.
func (e *Engine) loadFrom(p Project, keep bool) (*loaded, []hcl.File, error) {
	files, diags := hcl.ReadFiles(p.Dir)
	if diags.HasErrors() {
		return nil, nil, diags
	}
	l, err := e.evaluate(p, files, keep)
	return l, files, err
}

func (e *Engine) evaluate(p Project, files []hcl.File, keep bool) (*loaded, error) {
	opts := hcl.Options{Params: p.Params, ParamFiles: p.Files, Environ: p.Environ, Profile: p.Profile, Version: e.cfg.Version}
	print := hcl.Fingerprint(files, opts)
	if l := e.pipelines.get(print); l != nil && hcl.ReadsUnchanged(p.Dir, l.pipeline) {
		return l, nil
	}
	name := cacheName(print)
	if b, ok := e.store.GetCache(name); ok {
		if pl, err := hcl.Decode(b); err == nil && hcl.ReadsUnchanged(p.Dir, pl) {
			return e.pipelines.put(print, pl), nil
		}
	}
	pl, diags := hcl.Evaluate(p.Dir, files, opts)
	if diags.HasErrors() {
		// What is not there is said together with what is wrong: all at once.
		if pl != nil {
			diags = append(diags, hcl.Check(p.Dir, pl)...)
			diags.Sort()
		}
		return nil, diags
	}
	if keep && !sensitive(pl) {
		e.keepEvaluated(name, pl, files)
	}
	return e.pipelines.put(print, pl), nil
}

// keepEvaluated keeps a pipeline for the next agent: under all that it was made from, and
// under what is recorded of a run of it, by which diff asks.
func (e *Engine) keepEvaluated(name string, p *hcl.Pipeline, files []hcl.File) {
	b := hcl.Encode(p)
	err := e.store.PutCache(name, b)
	if opts, oerr := recordedOptions(p.Profile, recordedParams(p)); oerr == nil && len(p.Reads) == 0 {
		err = errors.Join(err, e.store.PutCache(cacheName(hcl.Fingerprint(files, opts)), b))
	}
	if err != nil {
		e.cfg.Logger.Warn("keeping an evaluated pipeline", "error", err)
	}
}

func cacheName(print [32]byte) string { return "pipeline/" + hex.EncodeToString(print[:]) }

// sensitive reports whether values must not be written to disk.
func sensitive(p *hcl.Pipeline) bool {
	return slices.ContainsFunc(p.Params, func(v hcl.Param) bool { return v.Sensitive })
}

// loaded is an evaluated pipeline with what is worth keeping beside it.
type loaded struct {
	pipeline *hcl.Pipeline
	shape    *plan.Shape

	mu      sync.Mutex
	memory  *plan.Memory
	commits int64 // at which memory was begun
	sweeps  int64
	before  before
}

// remembered gives the memory of the last plan, a new one when a record was written
// or removed since.
func (l *loaded) remembered(commits, sweeps int64, dropped before) *plan.Memory {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.memory == nil || l.commits != commits || l.sweeps != sweeps || l.before != dropped {
		l.memory, l.commits, l.sweeps, l.before = plan.NewMemory(), commits, sweeps, dropped
	}
	return l.memory
}

// pipelines keeps what was evaluated, by the content of all that went into it.
type pipelines struct {
	mu  sync.Mutex
	all map[[32]byte]*loaded
}

func (c *pipelines) get(print [32]byte) *loaded {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all[print]
}

func (c *pipelines) put(print [32]byte, p *hcl.Pipeline) *loaded {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil || len(c.all) >= maxPipelines {
		c.all = map[[32]byte]*loaded{}
	}
	l := &loaded{pipeline: p, shape: plan.ShapeOf(p)}
	c.all[print] = l
	return l
}
