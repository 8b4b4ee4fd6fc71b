package agent

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"plumb/engine"
	"plumb/engine/event"
)

// oneConn is a listener with a single connection to accept.
type oneConn struct {
	conns chan net.Conn
	addr  net.Addr
}

func (l oneConn) Addr() net.Addr { return l.addr }

func (l oneConn) Accept() (net.Conn, error) {
	if c, ok := <-l.conns; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (l oneConn) Close() error {
	close(l.conns)
	return nil
}

// connected are the two ends of a connection.
func connected(t *testing.T) (client *net.UnixConn, server net.Conn) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]net.Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socket")
		if ends[i], err = net.FileConn(f); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return ends[0].(*net.UnixConn), ends[1]
}

// FuzzAPI sends any bytes to the agent. Nothing panics; whatever is answered is HTTP,
// and each body that says that it is JSON ends as answers do.
func FuzzAPI(f *testing.F) {
	for _, verb := range []string{"status", "leave", "cancel", "run", "logs", "plan", "why", "runs", "show", "get", "gc", "lock", "images", "images/remove", "images/show", "images/diff", "images/export"} {
		for _, body := range []string{``, `{}`, `[1]`, `"call"`, `{"now":true}`, `{"project":{"dir":"/p"},"targets":["a"],"detach":true}`, `{"limit":-1}`, `{"limit":1e30}`, `{"stage":"\ud800"}`} {
			f.Add([]byte(rawCall(verb, body)))
		}
	}
	for _, s := range []string{
		"", "\r\n\r\n", "\x16\x03\x01\x02\x00", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"POST /v1/run HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"a\":\r\nffffffffffffffff\r\n",
		"POST /v1/run HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
		"POST /v1/../../etc HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
		rawCall("status", "") + rawCall("leave", `{"now":true}`) + rawCall("run", `{}`),
		rawCall("plan", strings.Repeat("[", 20000)), "HEAD /v1/status HTTP/1.0\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		answers, said := exchange(t, raw)
		if said != "" {
			t.Fatalf("the server says: %s", said)
		}
		wellFormed(t, answers)
	})
}

func rawCall(verb, body string) string {
	return fmt.Sprintf("POST /v1/%s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", verb, len(body), body)
}

// exchange gives what comes back for raw, and what the server logs of panics.
func exchange(t *testing.T, raw []byte) (answers []byte, said string) {
	t.Helper()
	api := &fake{
		run: func(_ context.Context, req engine.RunRequest, emit func(event.Event)) error {
			emit(event.Event{Type: event.RunStarted, Run: "r1"})
			return &engine.Error{Kind: engine.Invalid, Message: req.Project.Dir}
		},
		logs: func(_ context.Context, req engine.LogsRequest, emit func(engine.LogLine)) error {
			emit(engine.LogLine{Stage: req.Stage})
			return errors.New("no such log")
		},
	}
	var printed bytes.Buffer
	client, server := connected(t)
	l := oneConn{make(chan net.Conn, 1), server.LocalAddr()}
	l.conns <- server
	h := &http.Server{Handler: hurried(NewServer(api, Options{}).handler()), ReadHeaderTimeout: requestTime, ErrorLog: log.New(&printed, "", 0)}
	served := make(chan error, 1)
	go func() { served <- h.Serve(l) }()
	if err := client.SetDeadline(time.Now().Add(tooLong)); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _ = client.Write(raw) // the server may have hung up
		_ = client.CloseWrite()
	}()
	answers, err := io.ReadAll(client)
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("no end comes: %v", err)
	}
	_ = client.Close()
	if err := h.Shutdown(t.Context()); err != nil {
		t.Errorf("it does not end: %v", err)
	}
	<-served
	return answers, printed.String()
}

// wellFormed reads one answer after the other.
func wellFormed(t *testing.T, answers []byte) {
	t.Helper()
	for in := bufio.NewReader(bytes.NewReader(answers)); ; {
		if _, err := in.Peek(1); err != nil {
			return
		}
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatalf("no HTTP: %v\n%q", err, answers)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return // cut off by the end of the connection, which is the client's doing: it hung up on its sending side
		}
		if !strings.Contains(resp.Header.Get("Content-Type"), "json") || len(body) == 0 {
			continue
		}
		lines := bytes.Split(bytes.TrimSpace(body), []byte("\n"))
		var last answer
		if err := json.Unmarshal(lines[len(lines)-1], &last); err != nil || !last.End {
			t.Fatalf("the answer ends in %q, %v", lines[len(lines)-1], err)
		}
	}
}
