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
// its whole environment, of which nothing else of the client's is. Else, when there is
// one, is the environment of a second try, after the first did not come up.
type Starter struct {
	Dir   string
	Build string
	Args  []string
	Env   []string
	Else  []string
	For   Place                // the project that the agent is to see
	Wait  func(message string) // told when an agent of another build is waited for
}

// Patience is how long to wait for the owner of a store that does not answer: it
// may be on its way out, and give the stages that it canceled their grace.
const Patience = 75 * time.Second

// Connect gives a client of the store's agent, starting one when none is there.
// An agent of another build is asked to finish and leave, and one that is leaving
// is waited for.
func Connect(ctx context.Context, s Starter) (*Client, error) {
	began, told := time.Now(), false
	again, between := time.Time{}, 100*time.Millisecond // when to try next to start one
	replaced := false                                   // an agent that did not see the project
	var last error
	for time.Since(began) < Patience {
		c, st, err := DialFor(ctx, s.Dir, s.For)
		last = err
		switch {
		case err == nil && st.Build == s.Build && !st.Leaving && (!st.Blind || replaced):
			return c, nil // one that was just started and is blind, too, says best itself what is wrong
		case err == nil:
			if err := s.replace(ctx, c, st); err != nil {
				return nil, err
			}
			began, replaced = time.Now(), replaced || st.Blind
			continue
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, ErrSilent):
			return nil, err
		case time.Now().Before(again):
			pause(ctx, 5*time.Millisecond)
			continue
		}
		err = s.start(ctx, s.Env)
		if err != nil && !errors.Is(err, errTaken) && ctx.Err() == nil && s.Else != nil {
			err = s.start(ctx, s.Else)
		}
		if err != nil && !errors.Is(err, errTaken) {
			return nil, err
		}
		if time.Since(began) > time.Second && !told {
			s.Wait("waiting for the process that owns the store to leave")
			told = true
		}
		again, between = time.Now().Add(between), min(2*between, time.Second)
	}
	return nil, fmt.Errorf("no agent of %q could be reached: %w", s.Dir, last)
}

// replace asks an agent of another build to leave and waits until it has; one that
// is leaving already is only waited for.
func (s Starter) replace(ctx context.Context, c *Client, st *Status) error {
	defer c.Close()
	whose := "the agent that is leaving"
	switch {
	case st.Build != s.Build:
		whose = "another build of plumb"
	case st.Blind:
		whose = fmt.Sprintf("the agent that began before %q was mounted or unmounted", s.For.Dir)
	}
	if _, err := c.Leave(ctx, false); err != nil && !errors.Is(err, ErrGone) {
		return fmt.Errorf("asking %s (process %d) to leave: %w", whose, st.PID, err)
	}
	if st.Runs > 0 {
		s.Wait(fmt.Sprintf("waiting for %d run(s) of %s (process %d) to finish", st.Runs, whose, st.PID))
	}
	for {
		other, now, err := Dial(ctx, s.Dir)
		if err != nil {
			return ctx.Err()
		}
		other.Close()
		if now.PID != st.PID {
			return nil
		}
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
func (s Starter) start(ctx context.Context, env []string) error {
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("making a pipe for the agent: %w", err)
	}
	defer r.Close()
	cmd := exec.Command(s.Args[0], s.Args[1:]...)
	cmd.Env = env
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
		return refused(word)
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
