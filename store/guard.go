package store

import (
	"sync"
	"time"
)

// grace is how long a blob that was put by itself or found here is safe from gc
// without being referred to: longer than it takes from hashing an input to
// leasing it, or from a log to the record of its attempt.
const grace = time.Hour

// guard knows what gc must leave alone although no record refers to it yet. One
// process owns a store, so memory is the place for it: what an earlier owner had
// under way is over. A batch leases what is in it; what is committed while gc
// runs is told to gc, which had looked at the records before.
type guard struct {
	mu     sync.Mutex
	recent map[Digest]time.Time
	blobs  map[Digest]int
	keys   map[Key]int
	during map[Key]bool // leased at any time since gc began, also when not any more
	gc     bool
	fresh  []Artifact // committed since gc began
}

// keep must be called before looking whether the blob is there: a sweep that
// comes first is then seen, one that comes later leaves the blob alone.
func (g *guard) keep(d Digest, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.recent == nil {
		g.recent = map[Digest]time.Time{}
	}
	g.recent[d] = now
}

// forget ends the grace of what is referred to now.
func (g *guard) forget(d Digest) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.recent, d)
}

// begin and end bracket a gc. Whose lease ends meanwhile may have recorded a run that needs
// the record, after gc had looked which runs there are.
func (g *guard) begin() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.gc, g.fresh, g.during = true, nil, make(map[Key]bool, len(g.keys))
	for k := range g.keys {
		g.during[k] = true
	}
}

func (g *guard) end() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.gc, g.fresh, g.during = false, nil, nil
}

// committed tells a gc under way what is referred to since.
func (g *guard) committed(refs []Artifact) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.gc {
		g.fresh = append(g.fresh, refs...)
	}
}

// news gives what was committed since it was last asked.
func (g *guard) news() []Artifact {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := g.fresh
	g.fresh = nil
	return out
}

// expire forgets what is older than the grace.
func (g *guard) expire(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for d, t := range g.recent {
		if now.Sub(t) > grace {
			delete(g.recent, d)
		}
	}
}

// noted tells a gc under way which keys somebody takes a lease on.
func (g *guard) noted(keys []Key) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, k := range keys {
		if g.gc {
			g.during[k] = true
		}
	}
}

func (g *guard) leased(k Key) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.keys[k] > 0 || g.during[k]
}

// held lists the leased and the recent blobs.
func (g *guard) held() []Digest {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make([]Digest, 0, len(g.blobs)+len(g.recent))
	for d := range g.blobs {
		out = append(out, d)
	}
	for d := range g.recent {
		out = append(out, d)
	}
	return out
}

func (g *guard) safe(d Digest) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, ok := g.recent[d]
	return ok || g.blobs[d] > 0
}

// Lease keeps gc from the records of keys, recorded already or not, until release
// is called.
func (s *Store) Lease(keys ...Key) (release func()) {
	s.guard.noted(keys)
	return take(&s.guard.mu, &s.guard.keys, keys)
}

// Leases counts the leases on a key.
func (s *Store) Leases(k Key) int {
	s.guard.mu.Lock()
	defer s.guard.mu.Unlock()
	return s.guard.keys[k]
}

// LeaseBlobs keeps gc from artifacts, and from the members of trees, until release
// is called.
func (s *Store) LeaseBlobs(artifacts ...Artifact) (release func()) {
	digests := make([]Digest, len(artifacts))
	for i, a := range artifacts {
		digests[i] = a.Digest
	}
	return take(&s.guard.mu, &s.guard.blobs, digests)
}

// take counts each of keys once more in m, until release is first called.
func take[K comparable](mu *sync.Mutex, m *map[K]int, keys []K) (release func()) {
	mu.Lock()
	defer mu.Unlock()
	if *m == nil {
		*m = map[K]int{}
	}
	for _, k := range keys {
		(*m)[k]++
	}
	return sync.OnceFunc(func() {
		mu.Lock()
		defer mu.Unlock()
		for _, k := range keys {
			if (*m)[k]--; (*m)[k] == 0 {
				delete(*m, k)
			}
		}
	})
}
