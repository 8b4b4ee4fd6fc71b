package agent

import (
	"time"

	"plumb/engine"
)

// A store may be removed or moved away under its agent, and another may come to the
// same path, with an agent of its own. The first one must not clear away the socket, or
// anything else, by paths that are another's now. So it looks whether the store is
// there at each request and now and then, and when it is not it cancels what runs, says
// so, and leaves everything as it lies.

const (
	lookAfter    = 2 * time.Second
	lostPatience = 5 * time.Second // with what runs, which has nowhere to write
)

// present reports whether the store is there. The first time that it is not makes the
// agent leave.
func (s *Server) present() error {
	if s.opts.Present == nil {
		return nil
	}
	s.mu.Lock()
	lost := s.lost
	s.mu.Unlock()
	if lost != nil {
		return lost
	}
	err := s.opts.Present()
	if err == nil {
		return nil
	}
	err = &engine.Error{Kind: engine.Machine, Message: "the agent leaves: " + err.Error(), Hint: "run again; a store that was moved keeps what is in it"}
	s.mu.Lock()
	s.lost, s.leaving = err, true
	s.mu.Unlock()
	s.cancelAll(err)
	s.leave()
	return err
}

// watch looks for the store now and then until stop is called.
func (s *Server) watch() (stop func()) {
	if s.opts.Present == nil {
		return func() {}
	}
	done := make(chan struct{})
	tick := time.NewTicker(lookAfter)
	go func() {
		defer tick.Stop()
		for s.present() == nil {
			select {
			case <-tick.C:
			case <-done:
				return
			}
		}
	}()
	return func() { close(done) }
}
