package plan

import (
	"fmt"
	"slices"

	"plumb/hcl"
	"plumb/store"
)

// Outputs with retain = "none" are known by digest and have no bytes. A stage behind
// them that is a hit needs none; one that is executed does, and then they are made
// again. So what is decided of the producer depends on what is behind it:
//
//	somebody is executed and reads them           executed: the bytes are needed
//	somebody is pending and reads them            pending: they may be needed
//	all who read them are hits                    a hit
//
// The first round of decisions takes bytes to be there. Then producers are gone through
// from the end of the graph to its beginning, so that one that is executed needs those of
// its own producers; what is behind one that is executed is pending from then on, since
// the bytes may come out differently; also one whose condition is false, or that is
// refused, as that may come out differently then. That is repeated until nothing changes:
// a verdict only moves from hit to pending to executed.
//
// In a run a pending producer is decided when it is its turn, by what its readers would
// do if its bytes were what is recorded (suppose.go). Where that cannot be told, because
// another producer of theirs is not done, the bytes are needed; Waits says for which
// stages it is worth to wait, so that this is rare. To make them without need is slow and
// not wrong; only an effect that is done is refused instead, as it may not be repeated.

type needLevel int

const (
	unneeded needLevel = iota
	maybeNeeded
	needed
)

// need says whether, and by whom, bytes are needed that are not kept.
type need struct {
	level  needLevel
	output string
	who    string // "stage b needs it"
}

// remake is the verdict on a hit whose bytes are needed.
func (p *Planner) remake(s *hcl.Stage, st *state, d Decision) Decision {
	st.hit = d.Record
	d.Record = nil
	d.Reasons = []Reason{{Kind: ReasonNotKept, Name: st.need.output, Detail: fmt.Sprintf("its output %s is not kept, and %s", st.need.output, st.need.who)}}
	switch f := p.facts(s, Note{}); {
	case st.need.level == maybeNeeded:
		d.Verdict = Pending
	case f.effect && !f.repeatable:
		d.Verdict = Refused
		d.Reasons[0].Kind = ReasonEffect
		d.Reasons[0].Detail += "; " + doneText(st.hit)
	default:
		d.Verdict = Execute
	}
	return d
}

// dropped says whether bytes of a result are not kept.
func dropped(r *store.Record) bool {
	return r != nil && slices.ContainsFunc(r.Outputs, func(o store.Output) bool { return o.Dropped })
}

// settleNeeds decides again about what the first round took to have bytes.
func (p *Planner) settleNeeds() error {
	found := false
	for i := range p.states {
		if st := &p.states[i]; p.selected[i] && st.decision.Verdict == Hit && dropped(st.record) {
			st.hit, found = st.record, true
		}
	}
	for found {
		changed, err := p.demandAll()
		if err != nil || !changed {
			return err
		}
		if err := p.follow(); err != nil {
			return err
		}
	}
	return nil
}

// demandAll goes from the end of the graph to its beginning.
func (p *Planner) demandAll() (changed bool, err error) {
	for _, i := range slices.Backward(p.shape.graph.Order()) {
		st := &p.states[i]
		if !p.selected[i] || st.hit == nil || st.decision.Verdict != Hit && st.need.level != maybeNeeded {
			continue
		}
		n := p.demand(i, st.hit, p.verdictOf)
		if n.level <= st.need.level {
			continue
		}
		st.need, changed = n, true
		if len(p.waitingFor(i)) > 0 {
			continue // pending already, and decided when it is its turn
		}
		if _, err := p.Consider(i); err != nil {
			return changed, err
		}
	}
	return changed, nil
}

// follow makes pending what is behind a stage that will or may run now.
func (p *Planner) follow() error {
	for _, i := range p.shape.graph.Order() {
		v := p.states[i].decision.Verdict
		if !p.selected[i] || v == Pending || len(p.waitingFor(i)) == 0 {
			continue
		}
		if _, err := p.Consider(i); err != nil {
			return err
		}
	}
	return nil
}

func (p *Planner) waitingFor(i int) []string {
	waiting, _ := p.upstream(i)
	return waiting
}

// demand asks those behind stage i, whose result is r, for what they will do.
func (p *Planner) demand(i int, r *store.Record, verdict func(int) (Verdict, error)) need {
	var most need
	for _, o := range r.Outputs {
		if !o.Dropped {
			continue
		}
		if p.cfg.Wanted != nil {
			if who := p.cfg.Wanted(p.Stage(i).Name, o); who != "" {
				return need{needed, o.Name, who}
			}
		}
		for _, c := range p.shape.graph.Dependents(i) {
			if !p.selected[c] || !reads(p.Stage(c), p.Stage(i).Name, o.Name) {
				continue
			}
			name := p.Stage(c).Name
			v, err := verdict(c)
			switch {
			case err != nil || v == Execute: // it will meet the error itself
				return need{needed, o.Name, fmt.Sprintf("stage %s needs it", name)}
			case v == Pending && most.level == unneeded:
				most = need{maybeNeeded, o.Name, fmt.Sprintf("stage %s may need it", name)}
			}
		}
	}
	return most
}

func (p *Planner) verdictOf(i int) (Verdict, error) { return p.states[i].decision.Verdict, nil }

// reads says whether a stage reads that output.
func reads(s *hcl.Stage, stage, output string) bool {
	return slices.ContainsFunc(s.Inputs, func(in hcl.Input) bool {
		return in.Kind == hcl.InputOutput && in.Stage == stage && in.Output == output
	})
}

// Reconsider is Consider in a run, when all that stage i depends on is complete: what is
// behind it is asked whether it needs bytes that are not kept. Others that ask meanwhile
// see the verdict when it is final: one that was a hit for a moment would mislead them.
//
// Relied are the keys of results, of stages that are not decided yet, for which the bytes
// were found not to be needed: the decision is right as long as these are there.
func (p *Planner) Reconsider(i int) (d Decision, relied []store.Key, err error) {
	st := &p.states[i]
	st.need = need{}
	if d, err = p.found(i); err != nil {
		return d, nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if d.Verdict == Hit && dropped(d.Record) {
		var n need
		if n, relied = p.suppose(i, d.Record); n.level != unneeded {
			n.level = needed // it is now or never
			st.need = n
			if d, err = p.found(i); err != nil {
				return d, nil, err
			}
		}
	}
	st.settle(d)
	return d, relied, nil
}

// Needed says whether bytes of a result that turned up for stage i are needed and not
// kept: who reads them is not decided yet.
func (p *Planner) Needed(i int, r *store.Record) bool {
	if !dropped(r) {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.demand(i, r, p.verdictOf).level != unneeded
}

// Made is the result that a stage has in the store while it is executed only because
// bytes of it are needed; nil for any other.
func (p *Planner) Made(i int) *store.Record {
	if st := &p.states[i]; st.decision.Verdict == Execute && st.need.level == needed {
		return st.hit
	}
	return nil
}

// Waits gives, for each stage that may have to be made again, those that it is worth to
// wait for: then it is known whether who reads it is executed. No cycle comes of it. Those
// that may have to be made again themselves are not waited for: they would be made one
// after the other.
func (p *Planner) Waits() map[int][]int {
	waits := map[int][]int{}
	for i := range p.states {
		st := &p.states[i]
		if !p.selected[i] || st.decision.Verdict != Pending || st.need.level != maybeNeeded {
			continue
		}
		for _, c := range p.shape.graph.Dependents(i) {
			if !p.selected[c] || p.states[c].decision.Verdict != Pending {
				continue
			}
			for _, u := range p.shape.data[c] {
				if u != i && p.selected[u] && p.states[u].record == nil && p.states[u].need.level != maybeNeeded && !slices.Contains(waits[i], u) && !p.leadsTo(u, i, waits) {
					waits[i] = append(waits[i], u)
				}
			}
		}
	}
	return waits
}

// leadsTo says whether stage from comes, directly or not, after stage to.
func (p *Planner) leadsTo(from, to int, waits map[int][]int) bool {
	seen := map[int]bool{}
	stack := []int{from}
	for len(stack) > 0 {
		i := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if i == to {
			return true
		}
		if seen[i] {
			continue
		}
		seen[i] = true
		stack = append(append(stack, p.shape.graph.Deps(i)...), waits[i]...)
	}
	return false
}
