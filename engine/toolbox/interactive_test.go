package toolbox

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// openTerminal gives both sides of a new terminal.
func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	// It takes its flags by value, which the library does not offer.
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, master.Fd(), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		t.Fatal(errno)
	}
	t.Cleanup(func() { master.Close() }) //nolint:errcheck // closed by the test as a rule
	return master, os.NewFile(uintptr(fd), "terminal")
}

// typist types into a terminal and waits for what it shows.
type typist struct {
	t      *testing.T
	master *os.File
	shown  chan []byte
	have   string
}

func (p *typist) wants(text string) {
	p.t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		if _, after, ok := strings.Cut(p.have, text); ok {
			p.have = after
			return
		}
		select {
		case b, ok := <-p.shown:
			if !ok {
				p.t.Fatalf("the shell ended, and showed %q, not %q", p.have, text)
			}
			p.have += string(b)
		case <-deadline:
			p.t.Fatalf("the terminal shows %q, not %q", p.have, text)
		}
	}
}

func (p *typist) types(keys string) {
	p.t.Helper()
	if _, err := p.master.WriteString(keys); err != nil {
		p.t.Fatal(err)
	}
}

// TestTyped is a shell at a terminal: it goes on after what went wrong, keeps its state,
// and Ctrl-C ends what runs and not the shell.
func TestTyped(t *testing.T) {
	bin := links(t)
	master, slave := openTerminal(t)
	c := exec.Command(filepath.Join(bin, "sh"))
	c.Env, c.Dir = environ(bin, t.TempDir()), t.TempDir()
	c.Stdin, c.Stdout, c.Stderr = slave, slave, slave
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if err := slave.Close(); err != nil {
		t.Fatal(err)
	}
	p := &typist{t: t, master: master, shown: make(chan []byte, 64)}
	go func() {
		defer close(p.shown)
		for {
			b := make([]byte, 4096)
			n, err := master.Read(b)
			if err != nil {
				return // EIO when the last one has closed it
			}
			p.shown <- b[:n]
		}
	}()
	prompt := filepath.Base(c.Dir) + "$ "
	p.wants(prompt)
	p.types("x=5; echo \"x is $x\"\r")
	p.wants("\r\nx is 5\r\n")
	p.wants(prompt)
	p.types("sleep 60; echo not\"\"seen\r")
	time.Sleep(200 * time.Millisecond) // so that it runs
	p.types("\x03")
	p.wants(prompt)
	p.types("while :; do :; done\r")
	time.Sleep(200 * time.Millisecond)
	p.types("\x03")
	p.wants(prompt)
	p.types("echo never\x03")
	p.wants(prompt)
	p.types("for i in a b; do\r")
	p.wants("> ")
	p.types("echo \"$i$x\"; done\r")
	p.wants("\r\na5\r\nb5\r\n")
	p.wants(prompt)
	p.types("done\r")
	p.wants("can only be used to end a loop")
	p.wants(prompt)
	p.types("no-such-thing\r")
	p.wants("command not found")
	p.wants(prompt)
	p.types("cat\r")
	p.wants("cat\r\n")
	time.Sleep(200 * time.Millisecond) // so that it reads
	p.types("for cat\r")
	p.wants("for cat\r\nfor cat\r\n") // its echo, and cat's
	p.types("\x04")
	p.wants(prompt)
	p.types("mkdir d; cd d\r")
	p.wants("d$ ")
	p.types("\x1b[A\x1b[A\x1b[A\r") // an earlier line again
	p.wants("no-such-thing: command not found")
	p.wants("d$ ")
	if strings.Contains(p.have, "notseen") || strings.Contains(p.have, "never\r\nnever") {
		t.Errorf("it shows %q", p.have)
	}
	done := make(chan error, 1)
	go func() { done <- c.Wait() }()
	p.types("exit 3\r")
	select {
	case <-done:
		if code := c.ProcessState.ExitCode(); code != 3 {
			t.Errorf("it ended with status %d", code)
		}
	case <-time.After(10 * time.Second):
		t.Error("it does not end")
	}
}
