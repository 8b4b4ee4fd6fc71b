package agent

import (
	"net"
	"net/http"
	"sync"
	"time"
)

// A client may send as slowly as it likes and read nothing: it is waited for a while,
// and never while the agent leaves.

// toRead gives the client so long to read what is written from now on. Where no
// deadline can be set, there is no connection that could block either.
func toRead(w http.ResponseWriter, d time.Duration) {
	var end time.Time // none
	if d > 0 {
		end = time.Now().Add(d)
	}
	_ = http.NewResponseController(w).SetWriteDeadline(end)
}

// hurried bounds the time for answers that are given at once, like those to a wrong
// path. Who answers later, or goes on answering, says so by toRead again.
func hurried(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		toRead(w, requestTime)
		next.ServeHTTP(w, r)
	})
}

// newcomers are connections on which nothing was asked yet. net/http waits for those
// for five seconds when it is to end.
type newcomers struct {
	mu      sync.Mutex
	all     map[net.Conn]bool
	leaving bool
}

// changed is a http.Server's ConnState.
func (n *newcomers) changed(c net.Conn, s http.ConnState) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if s != http.StateNew {
		delete(n.all, c)
		return
	}
	if n.leaving {
		c.Close() //nolint:errcheck // nothing was said on it
		return
	}
	n.all[c] = true
}

// dismiss hangs up on all of them.
func (n *newcomers) dismiss() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.leaving = true
	for c := range n.all {
		c.Close() //nolint:errcheck // nothing was said on it
	}
}
