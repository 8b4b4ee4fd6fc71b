package registrytest

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
)

// Proxy stands before a registry and answers some requests otherwise.
type Proxy struct {
	Host string

	mu     sync.Mutex
	faults []*fault
	asked  []string
	sent   map[string]int64 // bytes of bodies by path
}

type fault struct {
	part   string // of the path
	times  int
	answer func(w http.ResponseWriter, r *http.Request, onward http.Handler)
}

// NewProxy puts a proxy before a registry that has neither TLS nor a password.
func NewProxy(tb testing.TB, r *Registry) *Proxy {
	tb.Helper()
	target, err := url.Parse("http://" + r.Host)
	check(tb, err)
	p := &Proxy{sent: map[string]int64{}}
	onward := httputil.NewSingleHostReverseProxy(target)
	onward.ErrorLog = nil
	onward.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { p.serve(w, req, onward) }))
	tb.Cleanup(s.Close)
	p.Host = strings.TrimPrefix(s.URL, "http://")
	return p
}

func (p *Proxy) serve(w http.ResponseWriter, r *http.Request, onward http.Handler) {
	var answer func(http.ResponseWriter, *http.Request, http.Handler)
	p.mu.Lock()
	p.asked = append(p.asked, r.Method+" "+r.URL.Path)
	for _, f := range p.faults {
		if f.times != 0 && strings.Contains(r.URL.Path, f.part) {
			f.times--
			answer = f.answer
			break
		}
	}
	p.mu.Unlock()
	counted := &countedWriter{ResponseWriter: w, p: p, path: r.URL.Path}
	if answer != nil {
		answer(counted, r, onward)
		return
	}
	onward.ServeHTTP(counted, r)
}

type countedWriter struct {
	http.ResponseWriter
	p    *Proxy
	path string
}

func (c *countedWriter) Write(b []byte) (int, error) {
	n, err := c.ResponseWriter.Write(b)
	c.p.mu.Lock()
	c.p.sent[c.path] += int64(n)
	c.p.mu.Unlock()
	return n, err
}

func (c *countedWriter) Flush() { c.ResponseWriter.(http.Flusher).Flush() }

// Asked lists the requests so far.
func (p *Proxy) Asked() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.asked...)
}

// Sent is how many bytes went out for paths that contain part.
func (p *Proxy) Sent(part string) (n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for path, sent := range p.sent {
		if strings.Contains(path, part) {
			n += sent
		}
	}
	return n
}

func (p *Proxy) add(part string, times int, answer func(http.ResponseWriter, *http.Request, http.Handler)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = append(p.faults, &fault{part, times, answer})
}

// Heal takes all faults away.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = nil
}

// Status answers so many requests for paths that contain part with a status; -1
// times for all.
func (p *Proxy) Status(part string, times, code int, header http.Header) {
	p.add(part, times, func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		for k, v := range header {
			w.Header()[k] = v
		}
		w.WriteHeader(code)
	})
}

// Cut breaks the connection after so many bytes of a body.
func (p *Proxy) Cut(part string, times, after int) {
	p.add(part, times, func(w http.ResponseWriter, r *http.Request, onward http.Handler) {
		rec := httptest.NewRecorder()
		onward.ServeHTTP(rec, r)
		for k, v := range rec.Header() {
			w.Header()[k] = v
		}
		w.WriteHeader(rec.Code)
		_, _ = w.Write(rec.Body.Bytes()[:min(after, rec.Body.Len())])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
}

// Change passes bodies through edit, which may make them longer or shorter.
func (p *Proxy) Change(part string, edit func([]byte) []byte) {
	p.add(part, -1, func(w http.ResponseWriter, r *http.Request, onward http.Handler) {
		rec := httptest.NewRecorder()
		onward.ServeHTTP(rec, r)
		body := edit(rec.Body.Bytes())
		for k, v := range rec.Header() {
			w.Header()[k] = v
		}
		w.Header().Del("Docker-Content-Digest")
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		w.WriteHeader(rec.Code)
		_, _ = w.Write(body)
	})
}

// Serve answers requests with a body of its own.
func (p *Proxy) Serve(part, contentType string, body []byte) {
	p.add(part, -1, func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write(body)
	})
}

func trusting(tb testing.TB, ca string) http.RoundTripper {
	t := http.DefaultTransport.(*http.Transport).Clone()
	if ca == "" {
		return t
	}
	f, err := os.Open(ca)
	check(tb, err)
	defer f.Close()
	pem, err := io.ReadAll(f)
	check(tb, err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	t.TLSClientConfig = &tls.Config{RootCAs: pool}
	return t
}
