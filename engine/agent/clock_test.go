package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"plumb/engine"
	"plumb/engine/event"
)

// What takes seconds is tested against a clock that stands still while anything
// has something to do. That needs connections of the same making: pipes.

// pipes is a listener whose connections come from dial.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	close(p.done)
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	near, far := net.Pipe()
	p.conns <- far
	return near, nil
}

// piped serves in a bubble of synctest; end must be called before the bubble ends.
func piped(t *testing.T, s *Server) (c *Client, end func()) {
	p := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	h := &http.Server{Handler: s.handler()}
	served := make(chan error, 1)
	go func() { served <- h.Serve(p) }()
	c = &Client{http: &http.Client{Transport: &http.Transport{DialContext: p.dial, DisableCompression: true}}}
	return c, func() {
		c.Close()
		if err := h.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}
}

func TestRestAndSleep(t *testing.T) {
	const moment = time.Millisecond
	type act struct {
		by          int           // calls that begin or end
		wait        time.Duration // then
		rest, sleep int           // called in all
	}
	tests := []struct {
		name  string
		acts  []act
		ended bool
	}{
		{"nobody comes", []act{{0, restAfter - moment, 0, 0}, {0, restAfter + moment, 1, 0}, {0, sleepAfter + moment, 2, 1}, {0, time.Hour, 3, 2}}, false},
		{"each call begins the wait again", []act{{0, time.Second, 0, 0}, {1, moment, 0, 0}, {-1, restAfter - moment, 0, 0}, {1, moment, 0, 0}}, false},
		{"not during a call", []act{{1, time.Hour, 0, 0}, {-1, restAfter - moment, 0, 0}, {1, moment, 0, 0}, {-1, time.Hour, 1, 1}}, false},
		{"not during the second of two", []act{{1, 0, 0, 0}, {1, 0, 0, 0}, {-1, time.Hour, 0, 0}, {-1, time.Hour, 1, 1}}, false},
		{"not after the end", []act{{0, time.Hour, 0, 0}}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rest, sleep := 0, 0
				s := NewServer(&fake{}, Options{Rest: func() { rest++ }, Sleep: func() { sleep++ }})
				s.ended = tt.ended
				for i, a := range tt.acts {
					s.touch(a.by)
					time.Sleep(a.wait)
					synctest.Wait()
					if rest != a.rest || sleep != a.sleep {
						t.Errorf("after act %d it rested %d and slept %d times, not %d and %d", i, rest, sleep, a.rest, a.sleep)
					}
				}
			})
		})
	}
}

// Callers are counted, whatever they ask for.
func TestCallsPutOffIdleness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewServer(&fake{run: func(ctx context.Context, _ engine.RunRequest, _ func(event.Event)) error {
			time.Sleep(time.Hour)
			return ctx.Err()
		}}, Options{Idle: time.Minute})
		c, end := piped(t, s)
		defer end()
		s.touch(0)
		began := time.Now()
		go func() {
			<-s.done
			if d := time.Since(began); d != time.Hour+80*time.Second {
				t.Errorf("it left after %v", d)
			}
		}()
		time.Sleep(10 * time.Second)
		// Longer than requestTime as well: that is for what a client sends only.
		if err := c.Run(t.Context(), engine.RunRequest{}, func(event.Event) {}); err != nil {
			t.Errorf("the run of an hour: %v", err)
		}
		time.Sleep(10 * time.Second)
		if _, err := c.Plan(t.Context(), engine.Request{}); err != nil {
			t.Error(err)
		}
		<-s.done
		synctest.Wait()
	})
}

// A call may come while the idle clock runs out. It is answered, or told to go
// elsewhere; it is never begun and then canceled.
func TestCallAsTheIdleClockRunsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewServer(&fake{}, Options{})
		c, end := piped(t, s)
		defer end()
		s.touch(1)
		s.expire()
		if st := s.status(); st.Leaving {
			t.Error("it leaves in the middle of a call")
		}
		s.touch(-1)
		s.expire()
		<-s.done
		if err := c.Run(t.Context(), engine.RunRequest{}, func(event.Event) {}); !errors.Is(err, ErrLeaving) {
			t.Errorf("a run that comes too late gives %v", err)
		}
	})
}

// A client that was stopped, or reads slowly, holds up nobody's run. It misses
// printed lines and nothing else.
func TestSlowClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// One queue is being written, one is full: more than both must come.
		const lines, each = 5 * longQueue / 2, 1000
		over := make(chan struct{})
		c, end := piped(t, NewServer(&fake{run: func(_ context.Context, _ engine.RunRequest, emit func(event.Event)) error {
			defer close(over)
			for i := range lines {
				emit(event.Event{Type: event.StageLog, Number: i})
				if i%each == 0 {
					emit(event.Event{Type: event.StageState, Number: i})
				}
			}
			return nil
		}}, Options{}))
		defer end()
		told, states := 0, 0
		err := c.Run(t.Context(), engine.RunRequest{}, func(e event.Event) {
			<-over
			switch {
			case e.Type == event.StageLog:
				told++
			case e.Number != states*each:
				t.Errorf("state %d came after line %d", states, e.Number)
			default:
				states++
			}
		})
		if err != nil || states != (lines+each-1)/each || told < longQueue/2 || told >= lines {
			t.Errorf("%d lines and %d states came, and %v", told, states, err)
		}
	})
}

// stalled is a body whose second half never comes.
type stalled struct {
	io.Reader
	until <-chan struct{}
}

func (s *stalled) Read(b []byte) (int, error) {
	if n, err := s.Reader.Read(b); err == nil {
		return n, nil
	}
	<-s.until
	return 0, io.ErrUnexpectedEOF
}

func TestSlowRequestIsAnswered(t *testing.T) {
	for _, verb := range []string{"run", "plan", "logs", "leave", "cancel"} {
		t.Run(verb, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := NewServer(&fake{}, Options{Idle: time.Minute})
				c, end := piped(t, s)
				defer end()
				until := make(chan struct{})
				defer close(until)
				began := time.Now()
				resp, err := c.http.Post("http://agent/v1/"+verb, "", &stalled{bytes.NewReader([]byte(`{"project":`)), until})
				if err != nil {
					t.Fatal(err)
				}
				var l line
				if err := json.NewDecoder(resp.Body).Decode(&l); err != nil || l.Error == nil || l.Error.Kind != engine.Invalid {
					t.Errorf("the answer is %+v, %v", l, err)
				}
				if d := time.Since(began); d != requestTime {
					t.Errorf("it came after %v", d)
				}
				if err := resp.Body.Close(); err != nil {
					t.Error(err)
				}
				if s.active != 0 {
					t.Errorf("%d calls count as under way", s.active)
				}
			})
		})
	}
}
