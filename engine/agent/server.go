package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"plumb/engine"
	"plumb/engine/event"
)

// restAfter is how long nothing was asked before the agent tidies up: long enough
// not to be in the way of the next command of a script. After sleepAfter it forgets
// what it only keeps to be quick.
const (
	restAfter  = 2 * time.Second
	sleepAfter = 15 * time.Second
)

// A client sends what it asks for at once. One that sends more than maxRequest
// bytes, or takes longer than requestTime over it, is answered with an error, so
// that it cannot keep the agent from leaving.
const (
	maxRequest  = 16 << 20
	requestTime = 5 * time.Second
)

// Server answers the calls of one store's clients.
type Server struct {
	api     engine.API
	opts    Options
	started time.Time

	mu      sync.Mutex
	active  int
	runs    map[string]context.CancelCauseFunc // by call id
	idle    *time.Timer
	rest    *time.Timer
	sleep   *time.Timer
	leaving bool
	stopped error // why what ran was canceled, when the agent has to end
	lost    error
	done    chan struct{}
	once    sync.Once

	quiet sync.Mutex // held by what is done at rest
	ended bool       // guarded by quiet: nothing is done at rest any more
}

// Options says who the agent is and how long it stays.
type Options struct {
	Dir     string // the store
	Build   string
	Version string
	PID     int           // as the outside sees it
	Idle    time.Duration // 0: stays
	Rest    func()        // called when nothing was asked for a moment, nil for nothing
	Sleep   func()        // called when nothing was asked for longer
	Logger  *slog.Logger

	// Ended is told of a detached run that is over and has a Report, nil for nobody.
	Ended func(ctx context.Context, req engine.RunRequest, run string)

	// Present reports whether the store is still there, nil for always.
	Present func() error
}

// NewServer makes a server that passes calls to api.
func NewServer(api engine.API, opts Options) *Server {
	return &Server{api: api, opts: opts, started: time.Now(), runs: map[string]context.CancelCauseFunc{}, done: make(chan struct{})}
}

// Serve listens and answers until the context ends, nothing was asked for a while,
// or a client asks it to leave. It calls ready when clients can connect. What runs
// when the context ends is canceled and recorded before Serve returns.
func (s *Server) Serve(ctx context.Context, ready func()) error {
	l, err := s.listen()
	if err != nil {
		return err
	}
	socket := filepath.Join(s.opts.Dir, socketName)
	pid := filepath.Join(s.opts.Dir, pidName)
	if err := replaceFile(pid, strconv.Itoa(s.opts.PID)+"\n"); err != nil {
		return errors.Join(fmt.Errorf("writing %q: %w", pid, err), l.Close())
	}
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	fresh := &newcomers{all: map[net.Conn]bool{}}
	h := &http.Server{
		Handler: hurried(s.handler()), BaseContext: func(net.Listener) context.Context { return base },
		ReadHeaderTimeout: requestTime, ConnState: fresh.changed,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, passingKey{}, c) },
	}
	s.touch(0)
	served := make(chan error, 1)
	go func() { served <- h.Serve(l) }()
	defer s.watch()()
	ready()
	var cause error
	select {
	case <-ctx.Done():
		cause = engine.ErrPreempted
	case <-s.done:
	case err := <-served:
		return fmt.Errorf("serving %q: %w", socket, err)
	}
	// The socket goes first: whoever comes now starts the next agent, which waits
	// for the store's lock.
	patience := time.Minute
	if err = s.present(); err == nil {
		err = errors.Join(removeIfThere(socket), removeIfThere(pid))
	} else {
		patience = lostPatience // and they are another's, or nobody's
	}
	s.cancelAll(cause)
	cancel() // also those who only read, like logs -f
	fresh.dismiss()
	end, stop := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer stop()
	if e := h.Shutdown(end); e != nil && !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, fmt.Errorf("ending the connections: %w", e))
	}
	s.quiet.Lock()
	defer s.quiet.Unlock()
	s.ended = true
	return err
}

// atRest makes f wait for what else is done at rest, and leaves it out once Serve
// has returned: the store is closed then.
func (s *Server) atRest(f func()) func() {
	return func() {
		s.quiet.Lock()
		defer s.quiet.Unlock()
		if !s.ended && s.present() == nil {
			f()
		}
	}
}

// listen takes the socket's place. The caller owns the store's lock, so whatever
// stands there was left by a dead agent.
func (s *Server) listen() (net.Listener, error) {
	path, done, err := address(s.opts.Dir)
	if err != nil {
		return nil, err
	}
	defer done()
	if err := removeIfThere(path); err != nil {
		return nil, fmt.Errorf("clearing the way for the socket %q: %w", path, err)
	}
	old := unix.Umask(0o177)
	l, err := net.Listen("unix", path)
	unix.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("listening on %q: %w", path, err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // it is removed by Serve, before its successor's can be there
	return &checkedListener{l, s.opts.Logger}, nil
}

// checkedListener lets in the store's owner and root.
type checkedListener struct {
	net.Listener
	log *slog.Logger
}

func (l *checkedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		uid, err := peerUID(c)
		if err == nil && (uid == 0 || uid == os.Geteuid()) {
			return &passing{UnixConn: c.(*net.UnixConn)}, nil
		}
		l.log.Warn("a connection of another user was refused", "uid", uid, "error", err)
		if err := c.Close(); err != nil {
			l.log.Warn("closing a refused connection", "error", err)
		}
	}
}

func peerUID(c net.Conn) (int, error) {
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return -1, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return -1, err
	}
	if credErr != nil {
		return -1, credErr
	}
	return int(cred.Uid), nil
}

// touch counts calls under way and starts the idle clock when there are none.
func (s *Server) touch(by int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active += by
	for _, t := range []*time.Timer{s.idle, s.rest, s.sleep} {
		if t != nil {
			t.Stop()
		}
	}
	if s.active > 0 {
		return
	}
	if s.leaving {
		s.leave()
		return
	}
	if s.opts.Idle > 0 {
		s.idle = time.AfterFunc(s.opts.Idle, s.expire)
	}
	if s.opts.Rest != nil {
		s.rest = time.AfterFunc(restAfter, s.atRest(s.opts.Rest))
	}
	if s.opts.Sleep != nil {
		s.sleep = time.AfterFunc(sleepAfter, s.atRest(s.opts.Sleep))
	}
}

// expire leaves when there is still nothing to do: a call may have come while the
// clock ran out. One that comes after is told to find the next agent.
func (s *Server) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.active > 0 {
		return
	}
	s.leaving = true
	s.leave()
}

func (s *Server) leave() { s.once.Do(func() { close(s.done) }) }

// cancelAll ends what is under way; cause is nil when a person asked for it.
func (s *Server) cancelAll(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaving, s.stopped = true, cmp.Or(cause, errStopped)
	for _, cancel := range s.runs {
		cancel(cause)
	}
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/status", s.counted(s.handleStatus))
	mux.HandleFunc("POST /v1/leave", s.counted(s.handleLeave))
	mux.HandleFunc("POST /v1/cancel", s.counted(s.handleCancel))
	mux.HandleFunc("POST /v1/run", s.counted(s.handleRun))
	mux.HandleFunc("POST /v1/logs", s.counted(s.handleLogs))
	mux.HandleFunc("POST /v1/shell", s.counted(s.handleShell))
	mux.HandleFunc("POST /v1/plan", s.counted(unary(s.api.Plan)))
	mux.HandleFunc("POST /v1/why", s.counted(unary(s.api.Why)))
	mux.HandleFunc("POST /v1/diff", s.counted(unary(s.api.Diff)))
	mux.HandleFunc("POST /v1/runs", s.counted(unary(s.api.Runs)))
	mux.HandleFunc("POST /v1/runs/compare", s.counted(unary(s.api.Compare)))
	mux.HandleFunc("POST /v1/runs/annotate", s.counted(unary(s.api.Annotate)))
	mux.HandleFunc("POST /v1/show", s.counted(unary(s.api.Show)))
	mux.HandleFunc("POST /v1/get", s.counted(unary(s.api.Get)))
	mux.HandleFunc("POST /v1/lineage", s.counted(unary(s.api.Lineage)))
	mux.HandleFunc("POST /v1/restore", s.counted(telling(s.api.Restore)))
	mux.HandleFunc("POST /v1/gc", s.counted(unary(s.api.GC)))
	mux.HandleFunc("POST /v1/fsck", s.counted(telling(s.api.Fsck)))
	mux.HandleFunc("POST /v1/lock", s.counted(telling(s.api.Lock)))
	mux.HandleFunc("POST /v1/images", s.counted(unary(s.api.Images)))
	mux.HandleFunc("POST /v1/images/remove", s.counted(unary(s.api.RemoveImages)))
	mux.HandleFunc("POST /v1/images/show", s.counted(telling(s.api.ShowImage)))
	mux.HandleFunc("POST /v1/images/diff", s.counted(telling(s.api.DiffImages)))
	mux.HandleFunc("POST /v1/images/export", s.counted(telling(s.api.ExportImage)))
	return mux
}

func (s *Server) counted(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.touch(1)
		defer s.touch(-1)
		if err := s.present(); err != nil {
			reply(w, nil, err)
			return
		}
		h(w, r)
	}
}

func (s *Server) handleStatus(w http.ResponseWriter, r *http.Request) {
	var project Place
	if err := read(w, r, &project); err != nil {
		reply(w, nil, err)
		return
	}
	st := s.status()
	st.Blind = !project.seen()
	reply(w, st, nil)
}

func (s *Server) status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Status{Schema: engine.Schema, Running: true, PID: s.opts.PID, Build: s.opts.Build, Version: s.opts.Version,
		Store: s.opts.Dir, Runs: len(s.runs), Leaving: s.leaving, Seconds: time.Since(s.started).Seconds(), Memory: residentMemory()}
}

// residentMemory reads the process's own size; 0 where /proc does not tell.
func residentMemory() int64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(b), &size, &resident); err != nil {
		return 0
	}
	return resident * int64(os.Getpagesize())
}

// handleLeave makes the agent leave when nothing is under way any more; with
// {"now":true} it cancels what is.
func (s *Server) handleLeave(w http.ResponseWriter, r *http.Request) {
	var req leaveRequest
	if err := read(w, r, &req); err != nil {
		reply(w, nil, err)
		return
	}
	reply(w, s.status(), nil)
	if req.Now {
		s.leave() // Serve cancels what is under way, and waits for it
		return
	}
	s.mu.Lock()
	s.leaving = true
	s.mu.Unlock()
}

type leaveRequest struct {
	Now bool `json:"now"`
}

func (s *Server) handleCancel(w http.ResponseWriter, r *http.Request) {
	var call string
	if err := read(w, r, &call); err != nil {
		reply(w, nil, err)
		return
	}
	s.mu.Lock()
	cancel := s.runs[call]
	s.mu.Unlock()
	if cancel != nil {
		cancel(nil)
	}
	reply(w, cancel != nil, nil)
}

func (s *Server) handleRun(w http.ResponseWriter, r *http.Request) {
	var req engine.RunRequest
	if err := read(w, r, &req); err != nil {
		reply(w, nil, err)
		return
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	if req.Detach {
		ctx, cancel = context.WithCancelCause(context.WithoutCancel(r.Context()))
	}
	defer cancel(nil)
	call := r.Header.Get(callHeader)
	s.mu.Lock()
	if s.leaving {
		s.mu.Unlock()
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	s.runs[call] = cancel
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.runs, call)
		s.mu.Unlock()
	}()
	out := newLines(w, optionalEvent)
	if !req.Detach {
		out.finish(s.explained(s.api.Run(ctx, req, out.send)))
		return
	}
	s.runDetached(ctx, req, out)
}

// errStopped says that a person asked the agent to end.
var errStopped = errors.New("the agent was stopped")

// explained tells a client that did not cancel its run who did.
func (s *Server) explained(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil && s.lost != nil {
		return s.lost
	}
	if err == nil || s.stopped == nil || engine.AsError(err).Kind != engine.Interrupted {
		return err
	}
	return &engine.Error{Kind: engine.Interrupted, Message: "the run was canceled: " + s.stopped.Error(), Hint: "run again; what was done stays done"}
}

// runDetached answers as soon as the run has its id, or could not begin, and
// returns when the run is over, so that the agent does not leave meanwhile.
func (s *Server) runDetached(ctx context.Context, req engine.RunRequest, out *lines[event.Event]) {
	var once sync.Once
	run := ""
	err := s.api.Run(ctx, req, func(e event.Event) {
		if e.Type == event.RunStarted {
			once.Do(func() {
				run = string(e.Run)
				out.send(e)
				out.finish(nil)
			})
		}
	})
	once.Do(func() { out.finish(err) })
	if run != "" && s.opts.Ended != nil && len(req.Report) > 0 {
		s.opts.Ended(context.WithoutCancel(ctx), req, run)
	}
}

func (s *Server) handleLogs(w http.ResponseWriter, r *http.Request) {
	var req engine.LogsRequest
	if err := read(w, r, &req); err != nil {
		reply(w, nil, err)
		return
	}
	out := newLines[engine.LogLine](w, nil)
	out.finish(s.api.Logs(r.Context(), req, out.send))
}

func unary[Req, Doc any](f func(context.Context, Req) (*Doc, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var req Req
		if err := read(w, r, &req); err != nil {
			reply(w, nil, err)
			return
		}
		doc, err := f(r.Context(), req)
		reply(w, doc, err)
	}
}

func read(w http.ResponseWriter, r *http.Request, into any) error {
	control := http.NewResponseController(w)
	err := control.SetReadDeadline(time.Now().Add(requestTime))
	if err == nil {
		err = json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest)).Decode(into)
	}
	if err == nil {
		err = control.SetReadDeadline(time.Time{}) // from here on reading only tells whether the client is there
	}
	if err != nil {
		return &engine.Error{Kind: engine.Invalid, Message: "reading the request: " + err.Error()}
	}
	return nil
}

// answer is the one form of a reply, and of the last line of a stream.
type answer struct {
	Doc   any           `json:"doc,omitempty"`
	Error *engine.Error `json:"error,omitempty"`
	End   bool          `json:"end,omitempty"`
}

func reply(w http.ResponseWriter, doc any, err error) {
	a := answer{Doc: doc, End: true}
	if err != nil {
		a.Doc, a.Error = nil, engine.AsError(err)
	}
	toRead(w, requestTime)
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(a); err != nil && !isGone(err) {
		panic(http.ErrAbortHandler) // the client sees a broken answer instead of a short one
	}
}

// isGone reports that the client hung up, which is its right.
func isGone(err error) bool {
	return errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) || strings.Contains(err.Error(), "use of closed")
}
