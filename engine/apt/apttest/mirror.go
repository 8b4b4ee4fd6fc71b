// Package apttest runs small Debian mirrors for tests: on a loopback port, signed by
// a key made for them, with real .deb files, and failing in the ways that mirrors and
// networks do.
//
//	mirror.go   the server and its faults
//	publish.go  what a mirror has: package lists, the release file, its signature
//	deb.go      making packages
package apttest

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
)

// Mirror is a mirror with one suite. It serves nothing until Publish was called.
type Mirror struct {
	URL     string
	Keyring string // file with the key that signs it
	Key     *openpgp.Entity

	tb  testing.TB
	now time.Time

	mu     sync.Mutex
	files  map[string][]byte // by path, "/dists/…"
	faults []*fault
	down   bool
	asked  []Request
}

// Request is one that the mirror was asked.
type Request struct {
	Path  string
	Range string // "bytes=100-" when it was for the rest of a file
}

// fault is something wrong with the paths that contain part.
type fault struct {
	part   string
	times  int // -1 for always
	answer func(w http.ResponseWriter, r *http.Request, b []byte)
}

// New runs a mirror until the test ends. Its releases are of two hours before now.
func New(tb testing.TB, now time.Time) *Mirror {
	tb.Helper()
	m := &Mirror{tb: tb, now: now, Key: NewKey(tb, "mirror", now)}
	m.Keyring = WriteKeyring(tb, m.Key)
	s := httptest.NewServer(m)
	tb.Cleanup(s.Close)
	m.URL = s.URL
	return m
}

// ServeHTTP implements http.Handler.
func (m *Mirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, answer := m.take(r)
	if answer == nil {
		answer = serve
	}
	answer(w, r, b)
}

// take finds the file that is asked for, and what is to be done with it.
func (m *Mirror) take(r *http.Request) ([]byte, func(http.ResponseWriter, *http.Request, []byte)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked = append(m.asked, Request{r.URL.Path, r.Header.Get("Range")})
	if m.down {
		return nil, func(w http.ResponseWriter, _ *http.Request, _ []byte) { w.WriteHeader(http.StatusBadGateway) }
	}
	b := m.files[r.URL.Path]
	for _, f := range m.faults {
		if f.times != 0 && b != nil && strings.Contains(r.URL.Path, f.part) {
			f.times--
			return b, f.answer
		}
	}
	return b, nil
}

func serve(w http.ResponseWriter, r *http.Request, b []byte) {
	if b == nil {
		http.NotFound(w, r)
		return
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
}

func (m *Mirror) add(part string, times int, answer func(http.ResponseWriter, *http.Request, []byte)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults = append(m.faults, &fault{part, times, answer})
}

// Down makes the mirror answer everything with 502, or end that.
func (m *Mirror) Down(down bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = down
}

// Heal takes all faults away.
func (m *Mirror) Heal() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults, m.down = nil, false
}

// Lose answers with 404.
func (m *Mirror) Lose(part string) {
	m.add(part, -1, func(w http.ResponseWriter, r *http.Request, _ []byte) { http.NotFound(w, r) })
}

// Damage serves files with another byte in the middle.
func (m *Mirror) Damage(part string) {
	m.add(part, -1, func(w http.ResponseWriter, r *http.Request, b []byte) {
		b = slices.Clone(b)
		b[len(b)/2] ^= 1
		serve(w, r, b)
	})
}

// Replace serves something else.
func (m *Mirror) Replace(part string, with []byte) {
	m.add(part, -1, func(w http.ResponseWriter, r *http.Request, _ []byte) { serve(w, r, with) })
}

// Cut breaks so many answers off in the middle; -1 times for all.
func (m *Mirror) Cut(part string, times int) {
	m.add(part, times, func(w http.ResponseWriter, r *http.Request, b []byte) {
		if r.Header.Get("Range") != "" {
			serve(w, r, b)
			return
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(b)))
		_, _ = w.Write(b[:len(b)/2]) // the answer is to break
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
}

// Slow waits in the middle of each answer, until the client goes away.
func (m *Mirror) Slow(part string, wait time.Duration) {
	m.add(part, -1, func(w http.ResponseWriter, r *http.Request, b []byte) {
		w.Header().Set("Content-Length", fmt.Sprint(len(b)))
		_, _ = w.Write(b[:len(b)/2]) // an error shows at the end
		w.(http.Flusher).Flush()
		select {
		case <-time.After(wait):
		case <-r.Context().Done():
		}
		_, _ = w.Write(b[len(b)/2:]) // the client may be gone
	})
}

// Asked lists the requests so far that contain part.
func (m *Mirror) Asked(part string) []Request {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(m.asked), func(r Request) bool { return !strings.Contains(r.Path, part) })
}

// Forget forgets what was asked.
func (m *Mirror) Forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked = nil
}

// WriteTo makes the mirror a directory, to be named by a file URL.
func (m *Mirror) WriteTo(dir string) {
	m.tb.Helper()
	m.mu.Lock()
	files := maps.Clone(m.files)
	m.mu.Unlock()
	for name, b := range files {
		full := filepath.Join(dir, name)
		check(m.tb, os.MkdirAll(filepath.Dir(full), 0o755))
		check(m.tb, os.WriteFile(full, b, 0o644))
	}
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
