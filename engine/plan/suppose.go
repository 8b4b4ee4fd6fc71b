package plan

import (
	"plumb/hcl"
	"plumb/store"
)

// What a stage would do if all that is not made again is what is recorded of it: asked
// when it has to be known whether the bytes of one before it are needed.
//
// It is asked in two steps. Which result a stage has depends on the results of those
// before it alone, so that goes along the graph and never in a circle. Whether it stays a
// hit depends on those before it, which must not be made again, and, where bytes of it are
// not kept, on those behind it; that goes in circles. All of a circle are hits unless one
// of them, or one that it leads to, is none. So a stage is reached once and taken for a
// hit, and one that is none makes the answer to who asked first "needed". The bytes are
// found unneeded only when every stage that was reached is a hit, is skipped or is
// refused, and each of these finds no other answer when it is its turn: all that it
// reaches was reached before. That holds as long as the store keeps what was found, so
// who asks has to see to that.

// supposition is one such question.
type supposition struct {
	p       *Planner
	results map[int]Verdict // by the results of those before it alone
	reached map[int]bool
	records []int // stages that have a record for as long as the question is asked
}

// suppose says who would need the bytes of stage i, whose result is r, or if nobody does,
// which results the answer relies on. The planner is locked.
func (p *Planner) suppose(i int, r *store.Record) (need, []store.Key) {
	q := &supposition{p: p, results: map[int]Verdict{i: Hit}, reached: map[int]bool{i: true}}
	defer q.close()
	q.lend(i, r)
	if n := p.demand(i, r, q.verdict); n.level != unneeded {
		return n, nil
	}
	var relied []store.Key
	for _, n := range q.records {
		if n != i {
			relied = append(relied, p.states[n].record.Key)
		}
	}
	return need{}, relied
}

func (q *supposition) lend(i int, r *store.Record) {
	if st := &q.p.states[i]; st.record == nil {
		st.record = r
		q.records = append(q.records, i)
	}
}

func (q *supposition) close() {
	for _, i := range q.records {
		q.p.states[i].record = nil
	}
}

// verdict says whether stage i is a hit with all that it leads to. That one is skipped,
// or refused, holds too only as long as those before it stay what they are.
func (q *supposition) verdict(i int) (Verdict, error) {
	v, err := q.result(i)
	if v == Execute || v == Pending || err != nil || q.reached[i] || q.decided(i) {
		return v, err
	}
	q.reached[i] = true
	for _, u := range q.p.shape.data[i] {
		if q.decided(u) {
			continue
		}
		before, err := q.verdict(u)
		switch {
		case err == nil && before == Skip && v == Skip:
			return Skip, nil // whatever else is before it
		case before != Hit || err != nil:
			return Pending, err
		}
	}
	if v != Hit {
		return v, nil
	}
	if q.p.demand(i, q.p.states[i].record, q.verdict).level != unneeded {
		return Pending, nil
	}
	return Hit, nil
}

func (q *supposition) decided(i int) bool { return q.p.states[i].decision.Verdict != Pending }

// result is the verdict on stage i if those before it give what is recorded of them.
func (q *supposition) result(i int) (Verdict, error) {
	if v, ok := q.results[i]; ok {
		return v, nil
	}
	if q.decided(i) {
		return q.p.states[i].decision.Verdict, nil
	}
	v, err := q.find(i)
	q.results[i] = v
	return v, err
}

func (q *supposition) find(i int) (Verdict, error) {
	for _, u := range q.p.shape.data[i] {
		if q.p.states[u].record != nil {
			continue
		}
		v, err := q.result(u)
		if v == Skip || err != nil {
			return v, err
		}
		if v != Hit || q.p.states[u].record == nil {
			return Pending, nil
		}
	}
	d, err := q.p.scratch(q.p.Stage(i))
	if err == nil && d.Verdict == Hit {
		q.lend(i, d.Record)
	}
	return d.Verdict, err
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
