// Package fetch reads over HTTP what must not be cut short: it asks again after a
// failure that may pass, waits as long as a server asks for, goes on where a
// connection broke, and notices when what it reads is no longer what it began with.
// Container registries and data by URL come through here.
//
//	fetch.go     what to read, and how patiently
//	request.go   one request, with its retries
//	reader.go    a body that goes on after a cut
//	download.go  a file that goes on after a killed process
//	errors.go    what can go wrong, told apart
//
// A retry begins the count of attempts anew once bytes have arrived: a large file
// over a bad line is read in the end, and a server that answers nothing is given up
// soon. Errors name URLs without user, password and query, which hold secrets.
package fetch

import (
	"context"
	"net"
	"net/http"
	"time"
)

// Client reads objects. The zero value works.
type Client struct {
	HTTP     *http.Client                                     // nil for one with the limits of NewTransport
	Attempts int                                              // at a time without progress; 0 for 5
	Idle     time.Duration                                    // how long a body may stand still; 0 for 60 s
	MaxWait  time.Duration                                    // the longest Retry-After that is waited for; 0 for 2 min
	Backoff  time.Duration                                    // before the second attempt, then doubled, blurred by half; 0 for 500 ms
	Sleep    func(ctx context.Context, d time.Duration) error // nil for the real one
	Notify   func(Retry)                                      // is told before each wait; may be nil
}

// Retry says why something is asked for again.
type Retry struct {
	URL     string // as in errors
	Err     error
	Wait    time.Duration
	Attempt int // the one that failed, from 1
}

// Object is what to read.
type Object struct {
	URL    string
	Header http.Header // sent with each request
	Size   int64       // expected, of the whole; 0 for unknown
	Offset int64       // where to begin
	// Unchecked says that nobody holds what is read against a digest. It is then gone on
	// with after a cut only where the server tells that the object is still the same.
	Unchecked bool
}

// NewTransport makes a transport that gives up on what does not answer: 10 s to
// connect, 30 s for headers. It is otherwise Go's own, with the machine's proxies.
func NewTransport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DialContext = (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	t.ResponseHeaderTimeout = 30 * time.Second
	t.DisableCompression = true // bytes are wanted as they are digested
	return t
}

func (c *Client) http() *http.Client {
	if c.HTTP != nil {
		return c.HTTP
	}
	return sharedClient
}

// sharedClient keeps connections for clients that bring none of their own.
var sharedClient = &http.Client{Transport: NewTransport()}

func orDefault[T int | time.Duration](v, byDefault T) T {
	if v == 0 {
		return byDefault
	}
	return v
}

func (c *Client) attempts() int          { return orDefault(c.Attempts, 5) }
func (c *Client) idle() time.Duration    { return orDefault(c.Idle, time.Minute) }
func (c *Client) maxWait() time.Duration { return orDefault(c.MaxWait, 2*time.Minute) }

func (c *Client) sleep(ctx context.Context, d time.Duration) error {
	if c.Sleep != nil {
		return c.Sleep(ctx, d)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
