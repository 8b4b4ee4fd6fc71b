package containerd

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"plumb/engine/runtime"
)

// A daemon is given names of pipes and no open files. So the first program of a container
// that has streams of its own fetches them: from a socket that is bound into the container,
// which it connects to before the command and its filter are there.

// streamSocket gives the streams of one container to whoever connects, once.
type streamSocket struct {
	path   string
	listen *net.UnixListener
	files  []*os.File // own copies
	done   chan struct{}
}

// handStreams answers nil when there are none.
func (d *daemon) handStreams(id string, s runtime.Streams, uid, gid int) (_ *streamSocket, err error) {
	all := s.Files[:]
	if s.Console != nil {
		all = []*os.File{s.Console}
	}
	if all[0] == nil {
		return nil, nil
	}
	h := &streamSocket{path: filepath.Join(d.pipes, id+".streams"), done: make(chan struct{})}
	defer func() {
		if err != nil {
			err = fmt.Errorf("handing over streams: %w", errors.Join(err, h.drop()))
		}
	}()
	for _, f := range all {
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		h.files = append(h.files, os.NewFile(uintptr(fd), f.Name()))
	}
	if h.listen, err = net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: h.path}); err != nil {
		return nil, err
	}
	if err := os.Chown(h.path, uid, gid); err != nil {
		return nil, err
	}
	go h.serve()
	return h, nil
}

// serve ends when the container has them, or the socket is closed.
func (h *streamSocket) serve() {
	defer close(h.done)
	conn, err := h.listen.AcceptUnix()
	if err != nil {
		return // closed: the container never began
	}
	defer conn.Close()
	var fds []int
	for _, f := range h.files {
		fds = append(fds, int(f.Fd()))
	}
	// One that does not take them fails, and says so.
	_, _, _ = conn.WriteMsgUnix([]byte{0}, unix.UnixRights(fds...), nil)
	for _, f := range h.files {
		f.Close() //nolint:errcheck // the container has its own
	}
}

// close is for when the container is gone, or was never there.
func (h *streamSocket) close() error {
	if h == nil {
		return nil
	}
	err := h.listen.Close() // which removes the name
	<-h.done
	return errors.Join(err, h.drop())
}

func (h *streamSocket) drop() error {
	var errs []error
	for _, f := range h.files {
		if err := f.Close(); !errors.Is(err, os.ErrClosed) {
			errs = append(errs, err)
		}
	}
	h.files = nil
	return errors.Join(errs...)
}
