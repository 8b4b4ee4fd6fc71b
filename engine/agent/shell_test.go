package agent

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"plumb/engine"
	"plumb/engine/event"
	"plumb/engine/runtime"
)

type ends struct{ ours, theirs *os.File }

// joined is a pipe for each stream, ours and theirs.
func joined(t *testing.T) [3]ends {
	t.Helper()
	var all [3]ends
	for n := range all {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		all[n] = ends{ours: r, theirs: w}
		if n == 0 {
			all[n] = ends{ours: w, theirs: r}
		}
		t.Cleanup(func() { r.Close(); w.Close() }) //nolint:errcheck // closed by the test as a rule
	}
	return all
}

func theirs(all [3]ends) runtime.Streams {
	return runtime.Streams{Files: [3]*os.File{all[0].theirs, all[1].theirs, all[2].theirs}}
}

func closeTheirs(t *testing.T, all [3]ends) {
	t.Helper()
	for _, e := range all {
		if err := e.theirs.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestShellStreams(t *testing.T) {
	r := newRig(t, &fake{}, Options{})
	all := joined(t)
	if _, err := all[0].ours.WriteString("typed"); err != nil {
		t.Fatal(err)
	}
	if err := all[0].ours.Close(); err != nil {
		t.Fatal(err)
	}
	var told []event.Event
	// A request that takes several reads brings its files with the first.
	req := engine.ShellRequest{Stage: "s", Args: []string{strings.Repeat("x", 1<<20)}}
	doc, err := r.client.Shell(t.Context(), req, theirs(all), func(e event.Event) { told = append(told, e) })
	if err != nil || doc.ExitCode != 7 || doc.Stage != "s" {
		t.Fatalf("the answer is %+v, %v", doc, err)
	}
	if len(told) != 1 || told[0].Type != event.ShellOpened || told[0].Stage != "s" {
		t.Errorf("told %+v", told)
	}
	closeTheirs(t, all)
	if got, err := io.ReadAll(all[1].ours); err != nil || string(got) != "typed" {
		t.Errorf("printed %q, %v", got, err)
	}
	if got, err := io.ReadAll(all[2].ours); err != nil || string(got) != "" {
		t.Errorf("complained %q, %v", got, err)
	}
}

func TestShellConsole(t *testing.T) {
	r := newRig(t, &fake{}, Options{})
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	defer ours.Close()
	if _, err := r.client.Shell(t.Context(), engine.ShellRequest{Stage: "s"}, runtime.Streams{Console: theirs}, func(event.Event) {}); err != nil {
		t.Fatal(err)
	}
	if err := theirs.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(ours); err != nil || string(got) != "console" {
		t.Errorf("through the socket came %q, %v", got, err)
	}
}

// TestShellHangUp ends what the client asked for when it goes, and keeps none of its files.
func TestShellHangUp(t *testing.T) {
	r := newRig(t, &fake{}, Options{})
	all := joined(t)
	if err := all[0].ours.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, hangUp := context.WithCancel(t.Context())
	opened, ended := make(chan bool, 1), make(chan error, 1)
	go func() {
		_, err := r.client.Shell(ctx, engine.ShellRequest{Fresh: true}, theirs(all), func(event.Event) { opened <- true })
		ended <- err
	}()
	await(t, opened, "the shell")
	closeTheirs(t, all)
	hangUp()
	if err := await(t, ended, "the end of the call"); engine.AsError(err).Kind != engine.Interrupted {
		t.Errorf("the client got %v", err)
	}
	if got, err := io.ReadAll(all[2].ours); err != nil || string(got) != "gone" {
		t.Errorf("the other side was told %q, %v", got, err)
	}
}

func TestShellRefusals(t *testing.T) {
	r := newRig(t, &fake{}, Options{})
	before := openFiles(t)
	for _, n := range []int{0, 2, 4, 200} {
		all := make([]*os.File, n)
		for i := range all {
			f, err := os.Open("/dev/null")
			if err != nil {
				t.Fatal(err)
			}
			all[i] = f
		}
		conn := dialRaw(t, r.dir)
		body := `{"stage":"s"}`
		request := "POST /v1/shell HTTP/1.1\r\nHost: agent\r\nConnection: close\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body
		if _, err := (&sending{UnixConn: conn, files: all}).Write([]byte(request)); err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(conn)
		want := "a shell takes 1 or 3 files, and " + strconv.Itoa(min(n, maxPassed)) + " came"
		if n > maxPassed {
			want = "a shell takes 1 or 3 files, and 0 came"
		}
		if err != nil || !strings.Contains(string(answer), want) {
			t.Errorf("with %d files the answer is %q, %v", n, answer, err)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		for _, f := range all {
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	for end := time.Now().Add(tooLong); openFiles(t) > before; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d files are open, and %d were before", openFiles(t), before)
		}
	}
}

func dialRaw(t *testing.T, dir string) *net.UnixConn {
	t.Helper()
	conn, err := net.Dial("unix", filepath.Join(dir, socketName))
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(tooLong)); err != nil {
		t.Fatal(err)
	}
	return conn.(*net.UnixConn)
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
