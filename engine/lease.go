package engine

import (
	"errors"

	"plumb/engine/plan"
	"plumb/store"
)

// A run has leases on all results that it relies on, from before its first stage until
// it is over: gc and other runs leave them alone.

// errDropped says that gc dropped a result, or another run bytes, meanwhile.
var errDropped = errors.New("results are dropped while they are looked up")

// before is what had been dropped before a plan began to look results up.
type before struct {
	bytes   int64 // of results that are not kept
	records int64
}

func (e *Engine) dropped() before { return before{e.drops.now(), e.store.Drops()} }

// undropped reports whether results that were found since b, and leased since, are there.
func (e *Engine) undropped(b before, hits ...store.Key) (bool, error) {
	now := e.dropped()
	if now.bytes != b.bytes {
		return false, nil
	}
	if now.records == b.records {
		return true, nil
	}
	return e.store.Recorded(hits...)
}

// lease keeps gc, and other runs, from the results that a run relies on.
func (s *session) lease(e *Engine) error {
	var hits []store.Key
	for i, sel := range s.selected {
		d := s.planner.Decision(i)
		if !sel || d.Key.IsZero() {
			continue
		}
		s.keys = append(s.keys, d.Key)
		if d.Verdict == plan.Hit {
			hits = append(hits, d.Key)
		}
	}
	s.leases = append(s.leases, e.store.Lease(s.keys...))
	ok, err := e.undropped(s.before, hits...)
	if err == nil && !ok {
		return errDropped
	}
	return err
}

func (s *session) release() {
	for _, release := range s.leases {
		release()
	}
	s.leases = nil
}

// hold keeps a lease until the run is over.
func (r *run) hold(release func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leases = append(r.leases, release)
}

// letGo waits for whoever drops bytes, who tells this run's leases from others'.
func (r *run) letGo() {
	r.unkept.work.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, release := range r.leases {
		release()
	}
	r.leases = nil
	r.s.release()
	r.unkept.released()
}

// reconsider decides about a stage when all before it is done, with a lease on its key,
// which may be known only now, and on those that the decision relies on: when its bytes
// are not needed, that is because stages behind it have their results.
func (r *run) reconsider(i int) (plan.Decision, error) {
	for {
		before := r.e.dropped()
		if before.bytes != r.s.before.bytes {
			r.s.planner.Forget(i) // what is remembered may be of bytes that are gone
		}
		before.records = r.s.before.records // the planner remembers hits since then
		d, relied, err := r.s.planner.Reconsider(i)
		if err != nil || d.Key.IsZero() {
			return d, err
		}
		keys := append([]store.Key{d.Key}, relied...)
		r.hold(r.e.store.Lease(keys...))
		r.unkept.leased(keys)
		hits := relied
		if d.Verdict == plan.Hit {
			hits = keys
		}
		ok, err := r.e.undropped(before, hits...)
		if ok || err != nil {
			return d, err
		}
		r.s.planner.Forget(i)
	}
}
