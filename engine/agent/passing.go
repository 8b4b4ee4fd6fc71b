package agent

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// A shell's streams are open files of its client, or a socket through which a terminal
// comes back. They are passed beside the bytes of the request, on the connection that
// the request comes on: what is typed and printed never goes through the agent.

// maxPassed is how many files are taken from a request, which is one more than any has
// a use for: of a message with more none is kept.
const maxPassed = 4

// passing is a connection that takes open files.
type passing struct {
	*net.UnixConn
	mu    sync.Mutex
	files []*os.File
}

// passingKey is under what a request's context has its connection.
type passingKey struct{}

// Read takes files along with bytes.
func (p *passing) Read(b []byte) (int, error) {
	oob := make([]byte, unix.CmsgSpace(4*maxPassed))
	n, m, flags, _, err := p.ReadMsgUnix(b, oob)
	if m > 0 {
		p.keep(oob[:m], flags&unix.MSG_CTRUNC != 0)
	}
	if err != nil {
		return max(n, 0), err // it may be -1
	}
	if n == 0 && len(b) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (p *passing) keep(oob []byte, tooMany bool) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			f := os.NewFile(uintptr(fd), "passed")
			if tooMany || len(p.files) == maxPassed {
				f.Close() //nolint:errcheck // it was never wanted
				continue
			}
			p.files = append(p.files, f)
		}
	}
}

// take gives the files that came; they are the caller's to close.
func (p *passing) take() []*os.File {
	p.mu.Lock()
	defer p.mu.Unlock()
	files := p.files
	p.files = nil
	return files
}

// Close closes what nobody took, too.
func (p *passing) Close() error {
	err := p.UnixConn.Close()
	for _, f := range p.take() {
		err = errors.Join(err, f.Close())
	}
	return err
}

// sending is a connection whose first bytes bring files along.
type sending struct {
	*net.UnixConn
	once  sync.Once
	files []*os.File
}

// Write sends the files with the first bytes.
func (s *sending) Write(b []byte) (n int, err error) {
	first := false
	s.once.Do(func() {
		first = true
		var fds []int
		for _, f := range s.files {
			fds = append(fds, int(f.Fd()))
		}
		n, _, err = s.WriteMsgUnix(b, unix.UnixRights(fds...), nil)
	})
	if !first {
		return s.UnixConn.Write(b)
	}
	for err == nil && n < len(b) {
		var m int
		m, err = s.UnixConn.Write(b[n:])
		n += m
	}
	return n, err
}
