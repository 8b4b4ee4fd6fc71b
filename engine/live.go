package engine

import (
	"sync"

	"plumb/store"
)

// liveRuns knows the runs under way in this process, so that their logs can be
// followed from another terminal.
type liveRuns struct {
	mu  sync.Mutex
	all map[store.RunID]*liveRun
}

// liveRun is a run under way: the logs it has begun, in order.
type liveRun struct {
	id      store.RunID
	project string

	mu       sync.Mutex
	segments []*segment
	over     bool
	changed  chan struct{} // closed and replaced when a segment is added or ends, and at the end
}

// segment is the log of one attempt: a growing file, then a blob.
type segment struct {
	live    *liveRun
	stage   string
	attempt int
	log     *stageLog
	done    bool
	digest  store.Digest
}

func (l *liveRuns) begin(id store.RunID, project string) *liveRun {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all == nil {
		l.all = map[store.RunID]*liveRun{}
	}
	r := &liveRun{id: id, project: project, changed: make(chan struct{})}
	l.all[id] = r
	return r
}

func (l *liveRuns) end(r *liveRun) {
	l.mu.Lock()
	delete(l.all, r.id)
	l.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	r.notify()
}

// find gives the run of that id when it is under way.
func (l *liveRuns) find(id store.RunID) *liveRun {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all[id]
}

// notify wakes whoever waits; r.mu is held.
func (r *liveRun) notify() {
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *liveRun) segment(stage string, attempt int, log *stageLog) *segment {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &segment{live: r, stage: stage, attempt: attempt, log: log}
	r.segments = append(r.segments, s)
	r.notify()
	return s
}

func (s *segment) finished(digest store.Digest) {
	s.live.mu.Lock()
	defer s.live.mu.Unlock()
	s.done, s.digest = true, digest
	s.live.notify()
}

// view is a copy of what is there now, and what to wait for.
func (r *liveRun) view() (segments []segment, over bool, changed <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.segments {
		segments = append(segments, *s)
	}
	return segments, r.over, r.changed
}
