package plan

import (
	"slices"
	"sync"

	"plumb/hcl"
	"plumb/store"
)

// Memory keeps the hits of a plan, so that the next plan of the same pipeline need
// not encode, hash and look up each stage again: a stage whose image and inputs are
// what they were is what it was. It is an index into what decide would say, and
// never says anything else. Its owner drops it when a record is written or removed,
// and when the pipeline is another.
type Memory struct {
	mu     sync.RWMutex
	stages map[int]remembered
}

type remembered struct {
	image  store.Digest
	inputs []Input
	key    store.Key
	record *store.Record // outputs, metrics and run; the rest is left in the store
}

// NewMemory is empty.
func NewMemory() *Memory { return &Memory{stages: map[int]remembered{}} }

// recall gives the remembered hit of a stage, if nothing that it depends on moved.
// Whatever else enters the key is part of the pipeline.
func (p *Planner) recall(i int, s *hcl.Stage, st *state) (Decision, bool, error) {
	if p.cfg.Memory == nil || p.cfg.Forced[s.Name] || p.cfg.Forced[s.Block] || len(s.MetricRefs()) > 0 || s.Effect || st.need.level != unneeded {
		return Decision{}, false, nil
	}
	m, ok := p.cfg.Memory.get(i)
	if !ok || m.image != p.cfg.Images[s.Image] || !p.cfg.Records.Intact(m.record) {
		return Decision{}, false, nil
	}
	inputs, err := p.inputs(s)
	if err != nil {
		return Decision{}, false, err
	}
	if !slices.EqualFunc(inputs, m.inputs, func(r Resolved, in Input) bool { return r.Input == in }) {
		return Decision{}, false, nil
	}
	return Decision{Verdict: Hit, Key: m.key, Record: m.record, Reasons: noReason}, true, nil
}

// noReason is shared by all hits.
var noReason = []Reason{{Kind: ReasonNone}}

func (m *Memory) get(i int) (remembered, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	r, ok := m.stages[i]
	return r, ok
}

// Forget makes the planner look stage i up again: its result was dropped.
func (p *Planner) Forget(i int) {
	if m := p.cfg.Memory; m != nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.stages, i)
	}
}

func (m *Memory) keep(i int, a *Action, inputs []Resolved, d Decision) {
	if m == nil {
		return
	}
	r := remembered{image: a.Image, inputs: make([]Input, len(inputs)), key: d.Key, record: &store.Record{
		Key: d.Record.Key, Outputs: d.Record.Outputs, Metrics: d.Record.Metrics, Run: d.Record.Run, Stage: d.Record.Stage,
	}}
	for n, in := range inputs {
		r.inputs[n] = in.Input
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stages[i] = r
}
