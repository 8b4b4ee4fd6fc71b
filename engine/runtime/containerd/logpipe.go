package containerd

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"plumb/engine/runtime"
)

// logPipe carries stdout and stderr, in the order of writing, to a writer.
type logPipe struct {
	path  string // of one that has a name
	read  *os.File
	write *os.File
	done  chan struct{} // closed when the last writer is gone and all is copied
	fault error         // of the writer, valid then
}

// newLogPipe makes the pipe the container user's: /dev/stdout is opened by name.
func newLogPipe(to io.Writer, uid, gid int) (*logPipe, error) {
	if to == nil {
		to = io.Discard
	}
	// Reading waits in the kernel: a pipe that Go's poller watches wakes it at each line.
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("making the log's pipe: %w", err)
	}
	r, w := os.NewFile(uintptr(fds[0]), "log"), os.NewFile(uintptr(fds[1]), "log")
	if err := w.Chown(uid, gid); err != nil {
		return nil, errors.Join(fmt.Errorf("making the log's pipe: %w", err), r.Close(), w.Close())
	}
	// A user may have only so much in pipes: then it stays as it is.
	_, _ = unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, pipeSize)
	p := &logPipe{read: r, write: w, done: make(chan struct{})}
	go p.copy(to)
	return p, nil
}

// claimStreams makes pipes the container user's, for the same reason. Whatever else
// the files are is somebody's already.
func claimStreams(s runtime.Streams, uid, gid int) error {
	for _, f := range s.Files {
		if f == nil {
			continue
		}
		info, err := f.Stat()
		if err == nil && info.Mode()&os.ModeNamedPipe != 0 {
			err = f.Chown(uid, gid)
		}
		if err != nil {
			return fmt.Errorf("passing on a stream: %w", err)
		}
	}
	return nil
}

// A pipe of the usual size makes a stage that prints much wait at every turn, and so
// does a small buffer behind it.
const (
	pipeSize   = 1 << 20
	pipeBuffer = 128 << 10
)

// copy goes on reading when the writer fails: a full pipe would stop the stage.
func (p *logPipe) copy(to io.Writer) {
	defer close(p.done)
	buf := make([]byte, pipeBuffer)
	from := &gathering{f: p.read}
	if _, p.fault = io.CopyBuffer(struct{ io.Writer }{to}, from, buf); p.fault != nil {
		_, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, from, buf)
	}
}

// gathering reads a pipe in larger pieces than they are written in, when they come fast:
// a program that writes each line by itself would else have each one looked at, kept and
// told by itself, which costs more than to make it. Who writes seldom is read at once.
type gathering struct {
	f     *os.File
	last  time.Time // when the previous piece was read
	small int       // pieces in a row that were small and came fast
	more  bool      // the previous piece was as large as could be: there is more already
}

const (
	smallPiece = 16 << 10
	fastPieces = 32
	gatherTime = 4 * time.Millisecond // in which a fast writer fills half of the pipe
)

func (g *gathering) Read(b []byte) (int, error) {
	if g.small >= fastPieces && !g.more {
		time.Sleep(gatherTime)
	}
	n, err := g.f.Read(b)
	now := time.Now()
	switch {
	case now.Sub(g.last) > 4*gatherTime:
		g.small = 0
	case g.small < fastPieces && n < smallPiece:
		g.small++
	}
	g.last, g.more = now, n == len(b)
	return n, err
}

// handedOver closes this process's end, so that the container's is the last.
func (p *logPipe) handedOver() error { return p.write.Close() }

// abandon is for when nobody can say whether it will be written to.
func (p *logPipe) abandon() error {
	_ = p.write.Close() // as a rule it is
	err := p.read.Close()
	<-p.done
	return errors.Join(err, os.Remove(p.path))
}

func (p *logPipe) err() error {
	if p.fault != nil {
		return fmt.Errorf("writing the log: %w", p.fault)
	}
	return nil
}

// close is for after the processes are gone, or were never there.
func (p *logPipe) close() error {
	if err := p.write.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	<-p.done
	err := p.read.Close()
	if p.path != "" {
		err = errors.Join(err, os.Remove(p.path))
	}
	return err
}
