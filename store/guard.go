package store

import (
	"fmt"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
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
	going  map[Digest]bool // being deleted this moment
	gone   *sync.Cond      // told when one is
	blobs  map[Digest]int
	keys   map[Key]int
	gc     bool
	since  map[Key]bool // keys that were leased at some time since gc began
	busy   bool         // something was committed since gc began
	fresh  []Artifact   // what that refers to, as far as gc does not know it yet
}

// keep must be called before looking whether the blob is there: a sweep that
// comes first is then seen, one that comes later leaves the blob alone.
func (g *guard) keep(d Digest, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.settle(d)
	if g.recent == nil {
		g.recent = map[Digest]time.Time{}
	}
	g.recent[d] = now
}

// settle waits, with the lock held, until a blob is not being deleted: who looks for it
// after that finds it or not, and for good.
func (g *guard) settle(d Digest) {
	for g.going[d] {
		g.gone.Wait()
	}
}

// remove deletes a blob unless somebody needs it. Whoever wants to need it meanwhile
// waits, so that several can be deleted at a time.
func (g *guard) remove(d Digest, del func() error) (bool, error) {
	g.mu.Lock()
	if _, ok := g.recent[d]; ok || g.blobs[d] > 0 {
		g.mu.Unlock()
		return false, nil
	}
	if g.going == nil {
		g.going, g.gone = map[Digest]bool{}, sync.NewCond(&g.mu)
	}
	g.settle(d) // its twin in the other mode
	g.going[d] = true
	g.mu.Unlock()
	err := del()
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.going, d)
	g.gone.Broadcast()
	return err == nil, err
}

// hold leases blobs.
func (g *guard) hold(digests []Digest) (release func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, d := range digests {
		g.settle(d)
	}
	return takeLocked(&g.mu, &g.blobs, digests)
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
	g.gc, g.busy, g.fresh, g.since = true, false, nil, map[Key]bool{}
	for k := range g.keys {
		g.since[k] = true
	}
}

func (g *guard) end() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.gc, g.fresh, g.since = false, nil, nil
}

// committed tells a gc under way what is referred to since.
func (g *guard) committed(refs []Artifact) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.gc {
		g.busy = true
		g.fresh = append(g.fresh, refs...)
	}
}

// quiet reports whether nothing was committed since gc began.
func (g *guard) quiet() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.busy
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

// leased reports whether gc must leave an action's record alone. A run lets go of its
// leases when it is recorded, which gc may not have seen: what was leased when gc began,
// or since, it leaves to the next.
func (g *guard) leased(k Key) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.keys[k] > 0 || g.since[k]
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
	g := &s.guard
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.gc {
		for _, k := range keys {
			g.since[k] = true
		}
	}
	return takeLocked(&g.mu, &g.keys, keys)
}

// Leases is how many leases there are on an action.
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
	return s.guard.hold(digests)
}

// drops counts the removals of records. Planning looks records up, leases them, and then
// asks whether any went in between: one that was not leased yet when gc came by.
type drops struct {
	mu sync.RWMutex
	n  int64
}

// count is how many there were; none is on its way.
func (d *drops) count() int64 {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.n
}

// while counts what fn removes as one, and has those who ask wait for it.
func (d *drops) while(fn func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.n++
	return fn()
}

// Drops counts how often records were removed. Who found a record, has leased it since and
// sees the count of before has it for good; otherwise Recorded tells.
func (s *Store) Drops() int64 { return s.drops.count() }

// Recorded reports whether all of keys have a record, or are of effects that are done.
func (s *Store) Recorded(keys ...Key) (bool, error) {
	all := true
	err := s.view(func(txn *badger.Txn) error {
		for _, k := range keys {
			ok, err := has(txn, keyOf(inRecords, k))
			if err == nil && !ok {
				ok, err = has(txn, keyOf(inDone, k))
			}
			if err != nil {
				return err
			}
			all = all && ok
		}
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("looking whether %d results are still there: %w", len(keys), err)
	}
	return all, nil
}

// take counts each of keys once more in m, until release is first called.
func take[K comparable](mu *sync.Mutex, m *map[K]int, keys []K) (release func()) {
	mu.Lock()
	defer mu.Unlock()
	return takeLocked(mu, m, keys)
}

// takeLocked is take of one who has the lock.
func takeLocked[K comparable](mu *sync.Mutex, m *map[K]int, keys []K) (release func()) {
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
