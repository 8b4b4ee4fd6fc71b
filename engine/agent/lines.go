package agent

import (
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"plumb/engine"
	"plumb/engine/event"
)

// lines writes a stream of values, one JSON object a line. With optional set the
// sender never waits for the client: one that was stopped, or reads slowly, must not
// hold up a run and with it everybody who waits for its stages. What is queued is
// written by a goroutine; when the queue is long, what may be left out is. Without
// optional nothing is left out, and the sender waits.
type lines[T any] struct {
	optional func(T) bool // nil: no value is
	w        http.ResponseWriter
	drained  chan struct{}

	mu       sync.Mutex
	more     *sync.Cond
	queue    []T
	finished bool
	gone     bool // the client hung up; the request's context ends with the connection
}

// lastWords is how long a client may take to read the end of its stream.
const lastWords = 10 * time.Second

// longQueue is from where on optional values are left out.
const longQueue = 16384

func newLines[T any](w http.ResponseWriter, optional func(T) bool) *lines[T] {
	w.Header().Set("Content-Type", "application/x-ndjson")
	toRead(w, 0)
	l := &lines[T]{w: w, optional: optional, drained: make(chan struct{})}
	l.more = sync.NewCond(&l.mu)
	go l.write()
	return l
}

// optionalEvent is what a client that does not keep up can do without: a stage's
// log has all lines.
func optionalEvent(e event.Event) bool {
	return e.Type == event.StageLog || e.Type == event.StageUsage || e.Type == event.Progress
}

func (l *lines[T]) send(v T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.optional == nil && len(l.queue) >= longQueue && !l.finished && !l.gone {
		l.more.Wait()
	}
	if l.finished || l.gone || len(l.queue) >= longQueue && l.optional(v) {
		return
	}
	l.queue = append(l.queue, v)
	l.more.Broadcast()
}

// write sends what is queued, and flushes whenever the queue was emptied.
func (l *lines[T]) write() {
	defer close(l.drained)
	enc := json.NewEncoder(l.w)
	flusher, _ := l.w.(http.Flusher)
	for {
		l.mu.Lock()
		for len(l.queue) == 0 && !l.finished {
			l.more.Wait()
		}
		batch := l.queue
		l.queue = nil
		l.more.Broadcast() // there is room again
		l.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		for _, v := range batch {
			if enc.Encode(answer{Doc: v}) != nil {
				l.mu.Lock()
				l.gone, l.queue = true, nil
				l.more.Broadcast()
				l.mu.Unlock()
				return
			}
		}
		if flusher != nil {
			flusher.Flush()
		}
	}
}

// finish writes what is queued and the last line.
func (l *lines[T]) finish(err error) {
	l.mu.Lock()
	if l.finished {
		l.mu.Unlock()
		return
	}
	l.finished = true
	l.more.Broadcast()
	l.mu.Unlock()
	toRead(l.w, lastWords) // a client that reads nothing must not keep the agent
	<-l.drained
	a := answer{End: true}
	if err != nil {
		a.Error = engine.AsError(err)
	}
	if json.NewEncoder(l.w).Encode(a) != nil {
		return // the client is gone
	}
	if f, ok := l.w.(http.Flusher); ok {
		f.Flush()
	}
}
