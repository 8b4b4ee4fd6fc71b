package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

// refusals is how often nobody may listen: a server that is being started again is
// there soon, one that is not running never is.
const refusals = 2

// patience counts attempts without progress, and knows how long to wait between.
type patience struct {
	c      *Client
	url    string
	failed int
}

// again waits before the next attempt; an error when there is to be none.
func (p *patience) again(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	p.failed++
	if !passing(err) {
		return err
	}
	if p.failed >= p.c.attempts() || p.failed >= refusals && errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%w (%d attempts)", err, p.failed)
	}
	wait, err2 := p.wait(err)
	if err2 != nil {
		return err2
	}
	if p.c.Notify != nil {
		p.c.Notify(Retry{URL: Display(p.url), Err: err, Wait: wait, Attempt: p.failed})
	}
	return p.c.sleep(ctx, wait)
}

// wait is what the server asks for, else longer each time and blurred, so that
// many who failed together do not come back together.
func (p *patience) wait(err error) (time.Duration, error) {
	var status *StatusError
	if errors.As(err, &status) && status.RetryAfter > 0 {
		if status.RetryAfter > p.c.maxWait() {
			return 0, fmt.Errorf("%w, which is longer than the %s that are waited for", err, p.c.maxWait())
		}
		return status.RetryAfter, nil
	}
	d := orDefault(p.c.Backoff, 500*time.Millisecond) << (p.failed - 1)
	return d/2 + rand.N(d), nil
}

// progress forgets what failed before.
func (p *patience) progress() { p.failed = 0 }

// Do sends a request until it is answered with a success, and gives the answer. The
// request has no body.
func (c *Client) Do(req *http.Request) (*http.Response, error) {
	p := &patience{c: c, url: req.URL.String()}
	for {
		resp, err := c.once(req)
		if err == nil {
			return resp, nil
		}
		if err := p.again(req.Context(), err); err != nil {
			return nil, err
		}
	}
}

// once sends one request. A status that is no success is an error. A body that
// stands still ends with errStill, whoever reads it.
func (c *Client) once(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(req.Context())
	resp, err := c.http().Do(req.WithContext(ctx))
	if err != nil {
		cancel()
		return nil, fmt.Errorf("asking %s: %w", Display(req.URL.String()), shown(err))
	}
	resp.Body = &watched{body: resp.Body, cancel: cancel, idle: c.idle()}
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		return resp, nil
	}
	// A little of the body lets the connection be used again; what it says is the
	// server's own affair.
	_, _ = io.CopyN(io.Discard, resp.Body, 4<<10)
	_ = resp.Body.Close()
	return nil, &StatusError{URL: Display(req.URL.String()), Code: resp.StatusCode, RetryAfter: retryAfter(resp.Header.Get("Retry-After"))}
}

// watched hangs up on a body that stands still.
type watched struct {
	body   io.ReadCloser
	cancel context.CancelFunc
	idle   time.Duration
}

func (w *watched) Read(b []byte) (int, error) {
	var still atomic.Bool
	t := time.AfterFunc(w.idle, func() {
		still.Store(true)
		w.cancel()
	})
	n, err := w.body.Read(b)
	if !t.Stop() && err != nil && still.Load() {
		err = errStill
	}
	return n, err
}

// Close ends the request.
func (w *watched) Close() error {
	w.cancel()
	return w.body.Close()
}

// retryAfter reads seconds or a date.
func retryAfter(value string) time.Duration {
	if n, err := strconv.Atoi(value); err == nil && n > 0 {
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(time.Until(at), 0)
	}
	return 0
}
