package agent

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"plumb/engine"
)

// strangerVariable makes the test binary a client of the socket that it names.
const strangerVariable = "PLUMB_TEST_STRANGER"

// TestMain lets the test binary be a process of another user.
func TestMain(m *testing.M) {
	if socket := os.Getenv(strangerVariable); socket != "" {
		fmt.Println(asStranger(socket))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// asStranger asks for the status, and says how far it came.
func asStranger(socket string) string {
	c, err := net.Dial("unix", socket)
	switch {
	case errors.Is(err, syscall.EACCES):
		return "cannot connect"
	case err != nil:
		return err.Error()
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(tooLong)) // else it waits as long as the test
	_, werr := io.WriteString(c, "POST /v1/status HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
	b, rerr := io.ReadAll(c)
	if len(b) > 0 {
		return "answered: " + string(b)
	}
	if werr != nil || errors.Is(rerr, syscall.ECONNRESET) || rerr == nil {
		return "hung up"
	}
	return rerr.Error()
}

// Another user cannot connect, and gets nothing where the socket's mode lets him.
func TestAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can be another user")
	}
	const stranger = 54321
	open := func(t *testing.T) string {
		dir, err := os.MkdirTemp("", "plumb-agent-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := os.RemoveAll(dir); err != nil {
				t.Error(err)
			}
		})
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	self := filepath.Join(open(t), "stranger")
	program, err := os.ReadFile("/proc/self/exe")
	if err := errors.Join(err, os.WriteFile(self, program, 0o755)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		uid  uint32
		mode os.FileMode
		want string
	}{
		{"another user", stranger, 0o600, "cannot connect"},
		{"another user, the socket open to all", stranger, 0o666, "hung up"},
		{"the owner", 0, 0o600, "answered: HTTP/1.1 200 OK"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, &fake{}, Options{Dir: open(t)})
			socket := filepath.Join(r.dir, socketName)
			if err := os.Chmod(socket, tt.mode); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(self)
			cmd.Dir, cmd.Env = "/", []string{strangerVariable + "=" + socket}
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: tt.uid, Gid: tt.uid}}
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.HasPrefix(string(out), tt.want) {
				t.Errorf("it says %q, %v; want %q", out, err, tt.want)
			}
			r.asked()
		})
	}
}

// asked is what the agent says to another client.
func (r *rig) asked() *Status {
	r.t.Helper()
	c, st, err := Dial(r.t.Context(), r.dir)
	if err != nil {
		r.t.Fatal(err)
	}
	c.Close()
	return st
}

// crowd are connections that take their time. They stay until the test ends.
func (r *rig) crowd(n int, send func(n int, c net.Conn)) {
	r.t.Helper()
	for i := range n {
		c, err := net.Dial("unix", filepath.Join(r.dir, socketName))
		if err != nil {
			r.t.Fatalf("connection %d: %v", i, err)
		}
		r.t.Cleanup(func() { c.Close() }) //nolint:errcheck // whatever state it is in
		send(i, c)
	}
}

// dribble sends a byte at a time until nobody reads any more.
func dribble(c net.Conn, text string, pause time.Duration) {
	for i := range text {
		if _, err := c.Write([]byte(text[i : i+1])); err != nil {
			return
		}
		time.Sleep(pause)
	}
}

// Clients that send nothing, or too slowly, or what is no request, neither keep the
// agent from its work nor from leaving.
func TestCrowd(t *testing.T) {
	const slow = "POST /v1/run HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n{\"project\":{\"dir\":\"/"
	for _, tt := range []struct {
		name string
		send func(n int, c net.Conn)
	}{
		{"sends nothing", func(int, net.Conn) {}},
		{"a byte at a time", func(_ int, c net.Conn) { go dribble(c, slow, 50*time.Millisecond) }},
		{"half a header", func(_ int, c net.Conn) { _, _ = io.WriteString(c, slow[:20]) }},
		{"half a body", func(_ int, c net.Conn) { _, _ = io.WriteString(c, slow) }},
		{"garbage", func(n int, c net.Conn) { _, _ = io.WriteString(c, strings.Repeat(string(rune(n)), 1000)+"\r\n\r\n") }},
		{"pipelines and reads nothing", func(_ int, c net.Conn) {
			_ = c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
			_, _ = io.WriteString(c, strings.Repeat("POST /v1/status HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 1000))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := newHeld()
			r := newRig(t, &fake{run: h.run}, Options{})
			r.crowd(200, tt.send)
			out := r.runs(t.Context(), engine.RunRequest{})
			await(t, h.began, "the run's begin")
			if st := r.asked(); st.Runs != 1 {
				t.Errorf("status: %+v", st)
			}
			close(h.letGo)
			if got := await(t, out, "the run's end"); got.err != nil || len(got.events) != 2 {
				t.Errorf("the run: %+v", got)
			}
			if _, err := r.client.Leave(t.Context(), true); err != nil {
				t.Fatal(err)
			}
			r.gone()
		})
	}
}

// An agent that is idle leaves, though somebody is connected who never asks.
func TestIdleInACrowd(t *testing.T) {
	r := serveRig(t, &fake{}, Options{Idle: 300 * time.Millisecond})
	r.crowd(50, func(n int, c net.Conn) {
		if n%2 == 0 {
			go dribble(c, strings.Repeat("x", 1000), 20*time.Millisecond)
		}
	})
	r.gone()
}
