package cmd

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestHostile sends to the agent's socket what no plumb would: it answers what can
// be answered, serves others meanwhile, and leaves when it is asked to.
func TestHostile(t *testing.T) {
	s := newSite(t)
	dir := s.project("p", "stage \"a\" { command = \"true\" }\n")
	s.want(0, dir, "run")
	pid := s.agentPID()
	for _, c := range []struct {
		name, send string
		want       string // in the answer's status or body
	}{
		{"garbage", "\x00\xff\x16\x03\x01 garbage\r\n\r\n", "400 Bad Request"},
		{"a wrong path", "POST /v1/nothing HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "404 Not Found"},
		{"a path that climbs", "POST /v1/../../etc/passwd HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "307 Temporary Redirect"},
		{"a wrong method", "GET /v1/run HTTP/1.1\r\nHost: a\r\n\r\n", "405 Method Not Allowed"},
		{"no JSON", rawRequest("run", "garbage"), "reading the request"},
		{"JSON of another shape", rawRequest("run", `[1, 2]`), "reading the request"},
		{"nothing", rawRequest("plan", ""), "reading the request"},
		{"an empty object", rawRequest("run", `{}`), `"error"`},
		{"a project that is none", rawRequest("run", `{"project":{"dir":"/proc/self/fd/0"}}`), `"error"`},
		{"a relative project", rawRequest("plan", `{"project":{"dir":"../.."}}`), `"error"`},
		{"a nesting without end", rawRequest("plan", strings.Repeat(`{"project":`, 100000)), "reading the request"},
		{"a long header", "POST /v1/status HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 2<<20), "431 Request Header Fields Too Large"},
		{"an oversized body", rawRequest("run", `{"project":{"dir":"`+strings.Repeat("x", 17<<20)+`"}}`), "too large"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := s.in(t).exchange(c.send); !strings.Contains(got, c.want) {
				t.Errorf("want %q in the answer, got %.300q", c.want, got)
			}
		})
	}
	for range 20 { // these stay
		for _, half := range []string{"POST /v1/run HT", "POST /v1/run HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{\"project\""} {
			if _, err := io.WriteString(s.dial(), half); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.want(0, dir, "run")
	if now := s.agentPID(); now != pid {
		t.Errorf("the agent is process %d now and was %d%s", now, pid, s.agentLog())
	}
	began := time.Now()
	s.want(0, "", "agent", "stop")
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("half requests kept the agent for %v", took)
	}
}

func rawRequest(verb, body string) string {
	return fmt.Sprintf("POST /v1/%s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", verb, len(body), body)
}

func (s *site) dial() net.Conn {
	s.t.Helper()
	c, err := net.Dial("unix", filepath.Join(s.store, "agent.sock"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() }) //nolint:errcheck // whatever state it is in
	return c
}

// exchange sends bytes and gives the status and the body of what is answered. The
// agent may hang up before it has read all.
func (s *site) exchange(send string) string {
	s.t.Helper()
	c := s.dial()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		io.WriteString(c, send) //nolint:errcheck // see above
	}()
	defer func() { c.Close(); <-sent }() //nolint:errcheck // it was read
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		s.t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		s.t.Fatalf("reading the answer: %v", err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Errorf("reading the answer's body: %v", err)
	}
	return resp.Status + "\n" + string(body)
}

// TestLongStorePath has a store whose socket does not fit into an address.
func TestLongStorePath(t *testing.T) {
	s := newSite(t)
	s.store = filepath.Join(s.root, strings.Repeat("a", 100), strings.Repeat("b", 100), "store")
	dir := s.project("p", "stage \"a\" {\n command = \"echo a > out\"\n outputs = { out = \"out\" }\n}\n")
	s.want(0, dir, "run")
	pid := s.agentPID()
	s.env = append(s.env, "XDG_RUNTIME_DIR="+t.TempDir(), "TMPDIR="+t.TempDir())
	s.want(0, dir, "run")
	if now := s.agentPID(); now != pid {
		t.Errorf("another environment found another agent: %d, not %d", now, pid)
	}
	kill(t, pid, false)
	s.want(0, dir, "run")
	if _, err := os.Lstat(filepath.Join(s.store, "agent.sock")); err != nil {
		t.Error(err)
	}
}
