package agent

import (
	"bufio"
	"context"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Starter says how to start an agent for a store: the binary, its arguments, and
// its whole environment, of which nothing else of the client's is.
type Starter struct {
	Dir   string
	Build string
	Args  []string
	Env   []string
	Wait  func(message string) // told when an agent of another build is waited for
}

// Connect gives a client of the store's agent, starting one when none is there.
// An agent of another build is asked to finish and leave, and waited for.
func Connect(ctx context.Context, s Starter) (*Client, error) {
	const tries = 20
	var last error
	for range tries {
		c, st, err := Dial(ctx, s.Dir)
		if err == nil {
			if st.Build == s.Build {
				return c, nil
			}
			if err := s.replace(ctx, c, st); err != nil {
				return nil, err
			}
			continue
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if last = s.start(ctx); last != nil && !errors.Is(last, errTaken) {
			return nil, last
		}
		if last != nil {
			pause(ctx, 20*time.Millisecond)
		}
	}
	return nil, fmt.Errorf("no agent of %q could be reached: %w", s.Dir, last)
}

// replace asks an agent of another build to leave and waits until it has.
func (s Starter) replace(ctx context.Context, c *Client, st *Status) error {
	defer c.Close()
	if _, err := c.Leave(ctx, false); err != nil && !errors.Is(err, ErrGone) {
		return fmt.Errorf("asking the agent of another build (process %d) to leave: %w", st.PID, err)
	}
	if st.Runs > 0 {
		s.Wait(fmt.Sprintf("waiting for %d run(s) of another build of plumb (process %d) to finish", st.Runs, st.PID))
	}
	for {
		other, _, err := Dial(ctx, s.Dir)
		if err != nil {
			return ctx.Err()
		}
		other.Close()
		pause(ctx, 10*time.Millisecond)
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// errTaken says that another agent owns the store already.
var errTaken = errors.New("another process owns the store")

// Taken is what a starting agent writes to its parent when it lost the election.
const Taken = "taken"

// Ready is what it writes when it can be called.
const Ready = "ready"

// start runs the agent in a session of its own and waits until it says on a pipe
// that it is ready, or why it is not.
func (s Starter) start(ctx context.Context) error {
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("making a pipe for the agent: %w", err)
	}
	defer r.Close()
	cmd := exec.Command(s.Args[0], s.Args[1:]...)
	cmd.Env = s.Env
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{w} // descriptor 3
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("starting the agent: %w", err)
	}
	go cmd.Wait() //nolint:errcheck // it is reaped; what went wrong it wrote into the pipe
	stop := context.AfterFunc(ctx, func() { r.SetReadDeadline(time.Now()) })
	defer stop()
	word, err := bufio.NewReader(r).ReadString('\n')
	word = strings.TrimSuffix(word, "\n")
	switch {
	case word == Ready:
		return nil
	case word == Taken:
		return errTaken
	case word != "":
		return errors.New(word)
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, io.EOF):
		return errors.New("the agent ended as it started, without a word; plumb doctor says what this machine lacks")
	}
	return fmt.Errorf("waiting for the agent: %w", err)
}

// BuildID is the build id that the Go linker wrote into a binary: equal for
// copies, other for each other content.
func BuildID(path string) (_ string, err error) {
	f, err := elf.Open(path)
	if err != nil {
		return "", fmt.Errorf("reading the build id of %q: %w", path, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	sec := f.Section(".note.go.buildid")
	if sec == nil {
		return "", fmt.Errorf("reading the build id of %q: it has none", path)
	}
	b, err := sec.Data()
	if err != nil {
		return "", fmt.Errorf("reading the build id of %q: %w", path, err)
	}
	const header = 16 // sizes, type and the name "Go\0\0"
	if len(b) <= header {
		return "", fmt.Errorf("reading the build id of %q: it is cut short", path)
	}
	return strings.TrimRight(string(b[header:]), "\x00"), nil
}

// Fingerprint shortens a build id for people.
func Fingerprint(build string) string { return hex.EncodeToString([]byte(build))[:8] }
