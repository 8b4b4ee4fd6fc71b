package cmd

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// typist sits at a terminal at which plumb was called.
type typist struct {
	t        *testing.T
	terminal *os.File // its other side
	kept     *os.File // the side that plumb has
	shown    *lineBuffer
	ended    chan error
	cmd      *exec.Cmd
	seen     int
}

// sit calls plumb at a new terminal of 90 columns and 30 rows.
func (s *site) sit(dir string, args ...string) *typist {
	s.t.Helper()
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(terminal.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		s.t.Fatal(err)
	}
	// It takes its flags by value, which the library does not offer.
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, terminal.Fd(), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		s.t.Fatal(errno)
	}
	p := &typist{t: s.t, terminal: terminal, kept: os.NewFile(fd, "terminal"), shown: &lineBuffer{}, ended: make(chan error, 1)}
	if err := unix.IoctlSetWinsize(int(terminal.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 30, Col: 90}); err != nil {
		s.t.Fatal(err)
	}
	p.cmd = exec.Command(s.exe, append([]string{"--store", s.store}, args...)...)
	p.cmd.Dir, p.cmd.Env = dir, append(s.env, "TERM=xterm", "NO_COLOR=1")
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = p.kept, p.kept, p.kept
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := p.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() { p.ended <- p.cmd.Wait() }()
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := terminal.Read(b)
			if err != nil {
				return
			}
			p.shown.Write(b[:n]) //nolint:errcheck // into memory
		}
	}()
	s.t.Cleanup(func() {
		p.kept.Close()   //nolint:errcheck // nothing is written any more
		terminal.Close() //nolint:errcheck // the same
	})
	return p
}

// wants waits for a text behind what was waited for before.
func (p *typist) wants(text string) {
	p.t.Helper()
	eventually(p.t, "the terminal shows "+text+", but only "+p.shown.String(), func() bool {
		all := p.shown.String()
		if at := strings.Index(all[p.seen:], text); at >= 0 {
			p.seen += at + len(text)
			return true
		}
		return false
	})
}

func (p *typist) types(keys string) {
	p.t.Helper()
	if _, err := p.terminal.WriteString(keys); err != nil {
		p.t.Fatal(err)
	}
}

// status waits for plumb's end and looks whether the terminal is as it was.
func (p *typist) status(before *term.State) int {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.t.Fatalf("plumb does not end; the terminal shows %q", p.shown.String())
	}
	after, err := term.GetState(int(p.kept.Fd()))
	if err != nil || *after != *before {
		p.t.Errorf("the terminal is left as %+v, %v; it was %+v", after, err, before)
	}
	return p.cmd.ProcessState.ExitCode()
}

const shellPipeline = `
source "data" { path = "data.csv" }
image "tools" { builtin = "toolbox" }
stage "sized" { command = "probe-winsize" }
stage "s" {
  image   = image.tools
  inputs  = { d = source.data }
  command = "cat data.csv > out"
  outputs = { out = "out" }
}
`

// TestShellAtATerminal types into a shell in a sandbox.
func TestShellAtATerminal(t *testing.T) {
	s := newSite(t)
	dir := s.project("p", shellPipeline)
	if err := os.WriteFile(filepath.Join(dir, "data.csv"), []byte("a,b\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	p := s.sit(dir, "shell", "s")
	before, err := term.GetState(int(p.kept.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	p.wants("the sandbox of stage s\r\n")
	p.wants("workspace$ ")
	p.types("cat data.csv; readlink /proc/self/fd/0; echo $TERM\r")
	p.wants("\r\na,b\r\n/dev/pts/0\r\nxterm\r\n")
	p.types("sleep 600\r")
	p.wants("sleep 600\r\n")
	time.Sleep(200 * time.Millisecond) // so that it runs
	p.types("\x03")
	p.wants("workspace$ ")
	p.types("exit 4\r")
	if got := p.status(before); got != 4 {
		t.Errorf("exit status %d, want 4; the terminal shows %q", got, p.shown.String())
	}

	// A command alone, with its terminal's size.
	p = s.sit(dir, "shell", "sized", "--quiet", "--", "probe-winsize")
	p.wants("30 90\r\n")
	if got := p.status(before); got != 0 {
		t.Errorf("exit status %d; the terminal shows %q", got, p.shown.String())
	}

	// Who is gone leaves no container behind.
	p = s.sit(dir, "shell", "s")
	p.wants("workspace$ ")
	p.types("cat > /tmp/x\r")
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-p.ended
	eventually(t, "no container is left", func() bool { return !s.containers() })
	s.want(0, dir, "agent", "stop")
	s.wantNothingLeft()
}

// TestShellEndsWithTheAgent tells the person why.
func TestShellEndsWithTheAgent(t *testing.T) {
	s := newSite(t)
	dir := s.project("p", shellPipeline)
	if err := os.WriteFile(filepath.Join(dir, "data.csv"), []byte("a,b\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	p := s.sit(dir, "shell", "s")
	before, err := term.GetState(int(p.kept.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	p.wants("workspace$ ")
	kill(t, s.agentPID(), false)
	p.wants("the agent ended, and the shell with it")
	if got := p.status(before); got != exitMachine {
		t.Errorf("exit status %d; the terminal shows %q", got, p.shown.String())
	}
	s.want(0, dir, "agent", "stop")
	s.wantNothingLeft()
}

// TestShellIsQuick measures what a person waits for: the agent is there.
func TestShellIsQuick(t *testing.T) {
	s := newSite(t)
	dir := s.project("p", shellPipeline)
	if err := os.WriteFile(filepath.Join(dir, "data.csv"), []byte("a,b\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.want(0, dir, "shell", "s", "--", "true")
	best := time.Hour
	for range 5 {
		began := time.Now()
		s.want(0, dir, "shell", "s", "--", "true")
		best = min(best, time.Since(began))
	}
	t.Logf("a shell there and gone: %v", best)
	if best > time.Second { // 150 ms is the aim; other tests run beside
		t.Errorf("a shell there and gone takes %v", best)
	}
}
