package engine

import (
	"encoding/hex"
	"fmt"

	"plumb/hcl"
)

// hcl parses about two megabytes a second, and ten thousand written-out stages
// take most of a second. So an evaluated pipeline is kept by the digest of all it
// was made from: in memory for the next request, in the store for the next agent.
// Both are only caches: what cannot be read is evaluated again.

// maxPipelines bounds how many evaluated pipelines stay in memory.
const maxPipelines = 16

func (e *Engine) load(p Project) (*hcl.Pipeline, error) {
	files, diags := hcl.ReadFiles(p.Dir)
	if diags.HasErrors() {
		return nil, diags
	}
	opts := hcl.Options{Params: p.Params, ParamFiles: p.Files, Environ: p.Environ, Profile: p.Profile, Version: e.cfg.Version}
	print := hcl.Fingerprint(files, opts)
	if pl := e.pipelines.get(print); pl != nil && hcl.ReadsUnchanged(p.Dir, pl) {
		return pl, nil
	}
	name := "pipeline/" + hex.EncodeToString(print[:])
	if b, ok := e.store.GetCache(name); ok {
		if pl, err := hcl.Decode(b); err == nil && hcl.ReadsUnchanged(p.Dir, pl) {
			e.pipelines.put(print, pl)
			return pl, nil
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
	e.pipelines.put(print, pl)
	if !e.cfg.ReadOnly {
		if err := e.store.PutCache(name, hcl.Encode(pl)); err != nil {
			return nil, fmt.Errorf("keeping the evaluated pipeline: %w", err)
		}
	}
	return pl, nil
}

func (c *pipelines) get(print [32]byte) *hcl.Pipeline {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all[print]
}

func (c *pipelines) put(print [32]byte, p *hcl.Pipeline) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil || len(c.all) >= maxPipelines {
		c.all = map[[32]byte]*hcl.Pipeline{}
	}
	c.all[print] = p
}
