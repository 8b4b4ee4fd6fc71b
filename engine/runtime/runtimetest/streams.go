package runtimetest

import (
	"bufio"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// testStreams is what a person has who looks around in a container.
func (b *bench) testStreams(t *testing.T) {
	t.Run("pipes", b.testPipes)
	t.Run("terminal", b.testTerminal)
	t.Run("some and no others", func(t *testing.T) {
		s := b.spec(t, Image{}, "true")
		s.Streams.Files[1] = os.Stdout
		if _, err := b.rt.Create(t.Context(), s); err == nil || !strings.Contains(err.Error(), "some streams and no others") {
			t.Errorf("creating it gives %v", err)
		}
	})
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() }) //nolint:errcheck // closed by the test as a rule
	return r, w
}

func (b *bench) testPipes(t *testing.T) {
	inR, inW := pipe(t)
	outR, outW := pipe(t)
	errR, errW := pipe(t)
	script, printed := "cat; echo apart >&2; echo by name > /dev/stdout; exit 3", "typed\nby name\n"
	if slices.Contains(b.lacks, Alone) {
		script, printed = "cat; echo apart >&2; exit 3", "typed\n"
	}
	s := b.spec(t, Image{}, script)
	s.Streams.Files = [3]*os.File{inR, outW, errW}
	c, log := b.create(t, s)
	for _, f := range s.Streams.Files {
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := inW.WriteString("typed\n"); err != nil {
		t.Fatal(err)
	}
	if err := inW.Close(); err != nil {
		t.Fatal(err)
	}
	for _, of := range []struct {
		name string
		from *os.File
		want string
	}{{"output", outR, printed}, {"error", errR, "apart\n"}} {
		if got, err := io.ReadAll(of.from); err != nil || string(got) != of.want {
			t.Errorf("standard %s is %q, %v; want %q", of.name, got, err, of.want)
		}
	}
	if exit, err := c.Wait(t.Context()); err != nil || exit.Code != 3 {
		t.Errorf("it ended with %+v, %v", exit, err)
	}
	if log.Len() > 0 {
		t.Errorf("the log has %q", log)
	}
}

// testTerminal types into a terminal of the container's own.
func (b *bench) testTerminal(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "console"), os.NewFile(uintptr(fds[1]), "console")
	defer ours.Close()
	names := "readlink /proc/self/fd/0; readlink /proc/self/fd/2; ls /dev/pts; "
	if slices.Contains(b.lacks, Mounts) {
		names = "echo begun; " // it has a name of another place
	}
	s := b.spec(t, Image{}, names+`read word; echo "got $word"; read word || exit 4; sleep 600`)
	s.Streams.Console = theirs
	c, _ := b.create(t, s)
	if err := theirs.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	terminal := receive(t, ours)
	defer terminal.Close()
	lines := make(chan string, 16)
	go func() {
		defer close(lines)
		for in := bufio.NewScanner(terminal); in.Scan(); {
			lines <- strings.TrimSuffix(in.Text(), "\r")
		}
	}()
	expect := func(want string) {
		t.Helper()
		select {
		case got := <-lines:
			if got != want {
				t.Fatalf("the terminal shows %q, want %q", got, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("the terminal does not show %q", want)
		}
	}
	if slices.Contains(b.lacks, Mounts) {
		expect("begun")
	} else {
		expect("/dev/pts/0")
		expect("/dev/pts/0")
		expect("0")
		expect("ptmx")
	}
	if _, err := terminal.WriteString("hello\n"); err != nil {
		t.Fatal(err)
	}
	expect("hello") // its echo
	expect("got hello")
	// What reads from it ends when it is closed. (A signal would not reach the first
	// process of a container that has no handler for it.)
	if err := terminal.Close(); err != nil {
		t.Fatal(err)
	}
	within(t, 10*time.Second, "hanging up", func() {
		exit, err := c.Wait(t.Context())
		if err != nil || exit.Code != 4 && !(exit.Code == 129 && slices.Contains(b.lacks, Alone)) {
			t.Errorf("it ended with %+v, %v", exit, err)
		}
	})
}

// receive takes the terminal's other side and lets the command begin.
func receive(t *testing.T, console *os.File) *os.File {
	t.Helper()
	conn, err := net.FileConn(console)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := conn.(*net.UnixConn).ReadMsgUnix(make([]byte, 1), oob)
	if err != nil {
		t.Fatal(err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 {
		t.Fatalf("%d messages came, %v", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		t.Fatalf("%d descriptors came, %v", len(fds), err)
	}
	// As a terminal's other side is read: without waiting in the kernel, so that closing it wakes the reader.
	if err := unix.SetNonblock(fds[0], true); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte{0}); err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fds[0]), "terminal")
}
