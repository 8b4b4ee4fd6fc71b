package plan

import (
	"plumb/hcl"
	"plumb/store"
)

// What a stage would do if all that is not made again is what is recorded of it: asked
// when it has to be known whether the bytes of one before it are needed.
//
// A verdict of a stage depends on records of those before it, and for one whose bytes are
// not kept on the verdicts of those behind it, so verdicts go in circles. One that is
// asked for while it is being found out counts as a hit: whoever of the circle turns out
// to be no hit makes the whole of it none, and with it the answer to who asked first. So
// the bytes are found unneeded only when every stage that was asked is a hit, and each of
// them then is one also when it is its turn.

// supposition is one such question.
type supposition struct {
	p        *Planner
	verdicts map[int]Verdict
	records  []int // stages that have a record for as long as the question is asked
}

// suppose says who would need the bytes of stage i, whose result is r.
func (p *Planner) suppose(i int, r *store.Record) need {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := &supposition{p: p, verdicts: map[int]Verdict{i: Hit}}
	defer q.close()
	return p.demand(i, r, q.verdict)
}

func (q *supposition) close() {
	for _, i := range q.records {
		q.p.states[i].record = nil
	}
}

func (q *supposition) verdict(i int) (Verdict, error) {
	if v, ok := q.verdicts[i]; ok {
		return v, nil
	}
	if v := q.p.states[i].decision.Verdict; v != Pending {
		return v, nil
	}
	q.verdicts[i] = Hit
	v, err := q.find(i)
	q.verdicts[i] = v
	return v, err
}

func (q *supposition) find(i int) (Verdict, error) {
	for _, u := range q.p.shape.data[i] {
		if q.p.states[u].record != nil {
			continue
		}
		v, err := q.verdict(u)
		if v == Skip || err != nil {
			return v, err
		}
		if v != Hit || q.p.states[u].record == nil {
			return Pending, nil
		}
	}
	d, err := q.p.scratch(q.p.Stage(i))
	if err != nil || d.Verdict != Hit {
		return d.Verdict, err
	}
	if q.p.states[i].record == nil {
		q.p.states[i].record = d.Record
		q.records = append(q.records, i)
	}
	switch q.p.demand(i, d.Record, q.verdict).level {
	case needed:
		return Execute, nil
	case maybeNeeded:
		return Pending, nil
	}
	return Hit, nil
}

// scratch decides about a stage whose inputs are known and keeps nothing of it.
func (p *Planner) scratch(s *hcl.Stage) (Decision, error) {
	if s.When != nil {
		if ok, err := p.condition(s); err != nil || !ok {
			return Decision{Verdict: Skip}, err
		}
	}
	if _, ok := p.cfg.Images[s.Image]; !ok {
		return Decision{Verdict: Execute}, nil
	}
	var st state
	a, note, err := p.resolve(s, &st)
	if err != nil {
		return Decision{}, err
	}
	return decide(p.cfg.Records, p.facts(s, note), a.Encode())
}

// UpToDate says whether a stage that a run is not about has its result, as far as that
// can be told from the results that there are.
func (p *Planner) UpToDate(i int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if waiting, skipped := p.upstream(i); skipped != "" || len(waiting) > 0 {
		return skipped != ""
	}
	d, err := p.scratch(p.Stage(i))
	return err == nil && (d.Verdict == Hit || d.Verdict == Skip)
}
