package cmd

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"plumb/engine/runtime"
)

// streams join a command in a container to this process's own standard streams. At a
// terminal the command has one inside, whose other side comes through a socket; else it
// has pipes. Files of this process never get into a container themselves: a terminal
// that did could be typed into from there.
type streams struct {
	theirs runtime.Streams
	term   string // kind of the terminal, "" for pipes
	opened chan struct{}
	once   sync.Once
	ours   []io.Closer
	copies sync.WaitGroup // of output
	undo   func() error
	fault  error // of the terminal, valid when copies are done
}

// openStreams makes them. Machines get a document on standard output, and the command
// has standard error alone.
func (e *Env) openStreams(json bool) (*streams, error) {
	s := &streams{opened: make(chan struct{}), undo: func() error { return nil }}
	out, isFile := e.Stdout.(*os.File)
	if e.Stdin != nil && isFile && !json && term.IsTerminal(int(e.Stdin.Fd())) && term.IsTerminal(int(out.Fd())) {
		if s.term = e.getenv("TERM"); s.term == "" {
			s.term = "dumb"
		}
		return s, s.console(e.Stdin, out)
	}
	to := e.Stdout
	if json {
		to = e.Stderr
	}
	return s, s.pipes(e.Stdin, to, e.Stderr)
}

// begin lets a terminal go: what there was to say before was said.
func (s *streams) begin() { s.once.Do(func() { close(s.opened) }) }

func (s *streams) pipes(in *os.File, out, complaints io.Writer) error {
	var ends [3][2]*os.File
	for n := range ends {
		r, w, err := os.Pipe()
		if err != nil {
			return errors.Join(fmt.Errorf("making a pipe: %w", err), s.close())
		}
		ends[n] = [2]*os.File{r, w}
		their, our := r, w
		if n > 0 {
			their, our = w, r
		}
		s.theirs.Files[n] = their
		s.ours = append(s.ours, our)
		// Whoever gets it expects to wait when it reads and writes.
		if err := unix.SetNonblock(int(their.Fd()), false); err != nil {
			return errors.Join(fmt.Errorf("making a pipe: %w", err), s.close())
		}
	}
	go func() {
		w := ends[0][1]
		if in != nil {
			io.Copy(w, in) //nolint:errcheck // the command may read as much as it likes
		}
		w.Close() //nolint:errcheck // it was read, or nobody reads
	}()
	for n, to := range []io.Writer{out, complaints} {
		from := ends[n+1][0]
		s.copies.Go(func() {
			if _, err := io.Copy(to, from); err != nil && !errors.Is(err, os.ErrClosed) {
				io.Copy(io.Discard, from) //nolint:errcheck // so that the command does not wait for ever
			}
		})
	}
	return nil
}

func (s *streams) console(in, out *os.File) error {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("making a socket for the terminal: %w", err)
	}
	s.theirs.Console = os.NewFile(uintptr(fds[1]), "console")
	f := os.NewFile(uintptr(fds[0]), "console")
	conn, err := net.FileConn(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(fmt.Errorf("making a socket for the terminal: %w", err), s.theirs.Console.Close())
	}
	s.ours = append(s.ours, conn)
	s.copies.Go(func() { s.fault = s.attend(conn.(*net.UnixConn), in, out) })
	return nil
}

// attend waits for the terminal, and passes on what is typed and shown until the last
// process that has it open is gone.
func (s *streams) attend(conn *net.UnixConn, in, out *os.File) error {
	master, err := receiveFile(conn)
	if err != nil {
		return nil //nolint:nilerr // nothing was started: the answer to the request says why
	}
	defer master.Close()
	select {
	case <-s.opened:
	case <-time.After(time.Second): // the note comes too late, which is no reason to wait for it
	}
	resize := func() {
		if size, err := unix.IoctlGetWinsize(int(in.Fd()), unix.TIOCGWINSZ); err == nil {
			unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, size) //nolint:errcheck // it keeps the size it has
		}
	}
	resize()
	before, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return fmt.Errorf("preparing the terminal: %w", err)
	}
	var once sync.Once
	s.undo = func() (err error) {
		once.Do(func() { err = term.Restore(int(in.Fd()), before) })
		return err
	}
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGWINCH)
	defer signal.Stop(changed)
	go func() {
		for range changed {
			resize()
		}
	}()
	if _, err := conn.Write([]byte{0}); err != nil {
		return nil //nolint:nilerr // the container is gone: the answer to the request says why
	}
	go io.Copy(master, in) //nolint:errcheck // until this process ends, or the terminal is gone
	// The kernel answers EIO when the last one inside has closed it.
	if _, err := io.Copy(out, master); err != nil && !errors.Is(err, syscall.EIO) {
		return fmt.Errorf("showing the terminal: %w", err)
	}
	return nil
}

// receiveFile takes one open file from a socket.
func receiveFile(conn *net.UnixConn) (*os.File, error) {
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := conn.ReadMsgUnix(make([]byte, 1), oob)
	if err != nil {
		return nil, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 {
		return nil, errors.Join(errNoTerminal, err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, errors.Join(errNoTerminal, err)
	}
	unix.CloseOnExec(fds[0])
	return os.NewFile(uintptr(fds[0]), "terminal"), nil
}

// close lets go of the container's ends, shows what is left to show, and gives the
// terminal back as it was.
func (s *streams) close() error {
	s.begin()
	for _, f := range append(s.theirs.Files[:], s.theirs.Console) {
		if f != nil {
			f.Close() //nolint:errcheck // the container has them, or nobody
		}
	}
	if s.term != "" && s.theirs.Console != nil {
		// Nobody sends a terminal any more.
		for _, c := range s.ours {
			if conn, ok := c.(*net.UnixConn); ok {
				conn.CloseRead() //nolint:errcheck // it is closed below
			}
		}
	}
	s.copies.Wait()
	err := errors.Join(s.undo(), s.fault)
	for _, c := range s.ours {
		c.Close() //nolint:errcheck // read to the end
	}
	return err
}
