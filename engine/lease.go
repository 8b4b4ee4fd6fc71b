package engine

import (
	"errors"

	"plumb/engine/plan"
	"plumb/store"
)

// A run has leases on all results that it relies on, from before its first stage until
// it is over: gc and other runs leave them alone.

// errDropped says that another run dropped bytes meanwhile.
var errDropped = errors.New("results are dropped while they are looked up")

// lease keeps gc, and other runs, from the results that a run relies on.
func (s *session) lease(e *Engine) error {
	for i, sel := range s.selected {
		if k := s.planner.Decision(i).Key; sel && !k.IsZero() {
			s.keys = append(s.keys, k)
		}
	}
	s.leases = append(s.leases, e.store.Lease(s.keys...))
	if e.drops.now() != s.drops {
		return errDropped
	}
	return nil
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

func (r *run) letGo() {
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
// which may be known only now.
func (r *run) reconsider(i int) (plan.Decision, error) {
	for {
		dropped := r.e.drops.now()
		d, err := r.s.planner.Reconsider(i)
		if err != nil || d.Key.IsZero() {
			return d, err
		}
		r.hold(r.e.store.Lease(d.Key))
		r.unkept.leased([]store.Key{d.Key})
		if r.e.drops.now() == dropped {
			return d, nil
		}
	}
}
