package agent

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"plumb/engine"
	"plumb/engine/event"
)

// callHeader carries the client's name for a run, by which it can cancel it.
const callHeader = "Plumb-Call"

// ErrGone says that the agent ended before it had answered.
var ErrGone = errors.New("the agent ended before it had answered")

// ErrLeaving says that the agent takes no new runs.
var ErrLeaving = errors.New("the agent is leaving")

// Client is the engine's API, answered by the agent of a store.
type Client struct {
	http *http.Client
	dial func(ctx context.Context) (net.Conn, error)
	pid  int
}

// Dial connects to the agent that listens now; an error when there is none.
func Dial(ctx context.Context, dir string) (*Client, *Status, error) {
	return DialFor(ctx, dir, Place{})
}

// DialFor also asks whether the agent sees a project as the client does.
func DialFor(ctx context.Context, dir string, project Place) (*Client, *Status, error) {
	c := &Client{dial: func(ctx context.Context) (net.Conn, error) {
		path, done, err := address(dir)
		if err != nil {
			return nil, err
		}
		defer done()
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}
	c.http = &http.Client{Transport: &http.Transport{
		DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx) },
		DisableCompression: true,
	}}
	short, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	st, err := call[Status](short, c, "status", project)
	if err != nil {
		if short.Err() != nil && ctx.Err() == nil {
			err = fmt.Errorf("%w: within %s; %s holds its process id", ErrSilent, answerWithin, filepath.Join(dir, pidName))
		}
		return nil, nil, err
	}
	c.pid = st.PID
	return c, st, nil
}

// answerWithin is how long an agent may take to say what it is. One that is busy
// answers in a millisecond; one that is stopped never does.
const answerWithin = 10 * time.Second

// ErrSilent says that something listens and does not answer.
var ErrSilent = errors.New("the agent does not answer")

// Close lets go of the connection.
func (c *Client) Close() { c.http.CloseIdleConnections() }

var _ engine.API = (*Client)(nil)

// Plan implements engine.API.
func (c *Client) Plan(ctx context.Context, r engine.Request) (*engine.PlanDoc, error) {
	return call[engine.PlanDoc](ctx, c, "plan", r)
}

// Why implements engine.API.
func (c *Client) Why(ctx context.Context, r engine.WhyRequest) (*engine.WhyDoc, error) {
	return call[engine.WhyDoc](ctx, c, "why", r)
}

// Diff implements engine.API.
func (c *Client) Diff(ctx context.Context, r engine.DiffRequest) (*engine.DiffDoc, error) {
	return call[engine.DiffDoc](ctx, c, "diff", r)
}

// Runs implements engine.API.
func (c *Client) Runs(ctx context.Context, r engine.RunsRequest) (*engine.RunsDoc, error) {
	return call[engine.RunsDoc](ctx, c, "runs", r)
}

// Compare implements engine.API.
func (c *Client) Compare(ctx context.Context, r engine.CompareRequest) (*engine.CompareDoc, error) {
	return call[engine.CompareDoc](ctx, c, "runs/compare", r)
}

// Annotate implements engine.API.
func (c *Client) Annotate(ctx context.Context, r engine.AnnotateRequest) (*engine.AnnotateDoc, error) {
	return call[engine.AnnotateDoc](ctx, c, "runs/annotate", r)
}

// Show implements engine.API.
func (c *Client) Show(ctx context.Context, r engine.ShowRequest) (*engine.ShowDoc, error) {
	return call[engine.ShowDoc](ctx, c, "show", r)
}

// Get implements engine.API.
func (c *Client) Get(ctx context.Context, r engine.GetRequest) (*engine.GetDoc, error) {
	return call[engine.GetDoc](ctx, c, "get", r)
}

// Lineage implements engine.API.
func (c *Client) Lineage(ctx context.Context, r engine.LineageRequest) (*engine.LineageDoc, error) {
	return call[engine.LineageDoc](ctx, c, "lineage", r)
}

// GC implements engine.API.
func (c *Client) GC(ctx context.Context, r engine.GCRequest) (*engine.GCDoc, error) {
	return call[engine.GCDoc](ctx, c, "gc", r)
}

// Leave asks the agent to end when it has nothing to do, or now.
func (c *Client) Leave(ctx context.Context, now bool) (*Status, error) {
	return call[Status](ctx, c, "leave", leaveRequest{now})
}

// Run implements engine.API. When ctx ends the run is canceled and its last
// events are still told; the connection is given up when the run does not end
// within half a minute, which kills what is left of it.
func (c *Client) Run(ctx context.Context, r engine.RunRequest, emit func(event.Event)) error {
	id := rand.Text()
	conn, hangUp := context.WithCancel(context.WithoutCancel(ctx))
	defer hangUp()
	stop := context.AfterFunc(ctx, func() {
		if err := c.cancel(conn, id); err != nil {
			hangUp()
			return
		}
		time.AfterFunc(30*time.Second, hangUp)
	})
	defer stop()
	return stream(conn, c, "run", r, map[string]string{callHeader: id}, emit)
}

// cancel asks until the run is known: the request for it may still be on its way.
func (c *Client) cancel(ctx context.Context, id string) error {
	for ctx.Err() == nil {
		known, err := call[bool](ctx, c, "cancel", id)
		if err != nil || *known {
			return err
		}
		pause(ctx, 5*time.Millisecond)
	}
	return nil
}

// Logs implements engine.API.
func (c *Client) Logs(ctx context.Context, r engine.LogsRequest, emit func(engine.LogLine)) error {
	return stream(ctx, c, "logs", r, nil, emit)
}

func (c *Client) post(ctx context.Context, verb string, req any, header map[string]string) (*http.Response, error) {
	body, err := json.Marshal(req)
	if err != nil {
		return nil, fmt.Errorf("encoding the request %q: %w", verb, err)
	}
	hr, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://agent/v1/"+verb, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("making the request %q: %w", verb, err)
	}
	for k, v := range header {
		hr.Header.Set(k, v)
	}
	resp, err := c.http.Do(hr)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrGone, err)
	}
	switch resp.StatusCode {
	case http.StatusOK:
		return resp, nil
	case http.StatusServiceUnavailable:
		err = ErrLeaving
	default:
		err = fmt.Errorf("the agent does not know the request %q: %s", verb, resp.Status)
	}
	return nil, errors.Join(err, resp.Body.Close())
}

// line is an answer as the client reads it.
type line struct {
	Doc   json.RawMessage `json:"doc"`
	Error *engine.Error   `json:"error"`
	End   bool            `json:"end"`
}

func call[Doc any](ctx context.Context, c *Client, verb string, req any) (_ *Doc, err error) {
	resp, err := c.post(ctx, verb, req, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	var l line
	if err := json.NewDecoder(resp.Body).Decode(&l); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrGone, err)
	}
	if l.Error != nil {
		return nil, l.Error
	}
	doc := new(Doc)
	if err := json.Unmarshal(l.Doc, doc); err != nil {
		return nil, fmt.Errorf("reading the agent's answer to %q: %w", verb, err)
	}
	return doc, nil
}

func stream[T any](ctx context.Context, c *Client, verb string, req any, header map[string]string, emit func(T)) (err error) {
	resp, err := c.post(ctx, verb, req, header)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	in := bufio.NewReaderSize(resp.Body, 64<<10)
	for {
		b, err := in.ReadBytes('\n')
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				return fmt.Errorf("%w: %w", ErrGone, err)
			}
			return ErrGone
		}
		var l line
		if err := json.Unmarshal(b, &l); err != nil {
			return fmt.Errorf("reading the agent's answer to %q: %w", verb, err)
		}
		if l.End {
			if l.Error != nil {
				return l.Error
			}
			return nil
		}
		var v T
		if err := json.Unmarshal(l.Doc, &v); err != nil {
			return fmt.Errorf("reading the agent's answer to %q: %w", verb, err)
		}
		emit(v)
	}
}
