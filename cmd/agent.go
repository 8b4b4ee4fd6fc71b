package cmd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"plumb/cmd/view"
	"plumb/engine"
	"plumb/engine/agent"
	"plumb/engine/runtime"
	"plumb/engine/runtime/containerd"
	"plumb/engine/runtime/containerd/early"
	"plumb/hcl"
	"plumb/store"
)

// idleAfter is how long an agent stays without work. PLUMB_IDLE changes it.
const idleAfter = time.Minute

func newAgentCommand(env *Env) *cli.Command {
	return &cli.Command{
		Name: "agent", Usage: "the process that owns the store",
		Description: "One is started when it is needed, and leaves when it has had nothing to do for a minute.",
		Subcommands: []*cli.Command{
			{Name: "status", Usage: "whether one is there, and what it does", OnUsageError: badUsage, Action: func(c *cli.Context) error {
				if err := noArgs(c); err != nil {
					return err
				}
				g, err := globals(c, env)
				if err != nil {
					return err
				}
				return runAgentStatus(c.Context, g, env)
			}},
			{Name: "stop", Usage: "end it: runs under way are canceled and recorded", OnUsageError: badUsage, Action: func(c *cli.Context) error {
				if err := noArgs(c); err != nil {
					return err
				}
				g, err := globals(c, env)
				if err != nil {
					return err
				}
				return runAgentStop(c.Context, g, env)
			}},
			{Name: "probe", Hidden: true, OnUsageError: badUsage, Action: func(c *cli.Context) error {
				g, err := globals(c, env)
				if err != nil {
					return err
				}
				if g.place.Isolation == engine.IsolationChroot {
					return view.JSON(env.Stdout, containerd.ProbeJail(c.Context, g.store))
				}
				return view.JSON(env.Stdout, containerd.Probe(c.Context, g.store))
			}},
			{Name: "serve", Hidden: true, OnUsageError: badUsage, Action: func(c *cli.Context) error {
				if err := noArgs(c); err != nil {
					return err
				}
				g, err := globals(c, env)
				if err != nil {
					return err
				}
				return runAgentServe(c.Context, g, env)
			}},
		},
		Action: func(c *cli.Context) error {
			hint := ""
			if near := hcl.Nearest(c.Args().First(), []string{"status", "stop"}); near != "" {
				hint = fmt.Sprintf("did you mean %q?", "plumb agent "+near)
			}
			return usageError(hint, "plumb agent takes status or stop")
		},
	}
}

func runAgentStatus(ctx context.Context, g global, env *Env) error {
	c, st, err := agent.Dial(ctx, g.store)
	if err != nil {
		st = &agent.Status{Schema: engine.Schema, Store: g.store}
	} else {
		c.Close()
	}
	return show(env, g, st, func(s view.Style) { view.Agent(env.Stdout, s, st) })
}

// runAgentStop ends the agent, and clears up after one that was killed: also after one
// that is just dying, and still took the call.
func runAgentStop(ctx context.Context, g global, env *Env) error {
	stopped, err := stopAgent(ctx, g, env)
	for again := 0; err == nil && wasKilled(g.store) && again < 2; again++ {
		var done func()
		if _, done, err = env.writer(ctx, g); err == nil { // an agent that starts clears up
			done()
			stopped, err = stopAgent(ctx, g, env)
		}
	}
	switch {
	case err != nil:
		return err
	case g.json:
		return view.JSON(env.Stdout, &agent.Status{Schema: engine.Schema, Store: g.store})
	case !stopped && !g.quiet:
		view.Note(env.Stderr, env.style(env.Width), "no agent is running")
	}
	return nil
}

// stopAgent ends the agent that is there, if there is one, and waits until it is gone.
func stopAgent(ctx context.Context, g global, env *Env) (stopped bool, err error) {
	c, st, err := agent.Dial(ctx, g.store)
	switch {
	case errors.Is(err, agent.ErrSilent):
		return false, err
	case err != nil:
		return false, ctx.Err()
	}
	defer c.Close()
	if _, err := c.Leave(ctx, true); err != nil && !errors.Is(err, agent.ErrGone) {
		return false, err
	}
	for began := env.Now(); env.Now().Sub(began) < agent.Patience; {
		if !alive(st.PID) {
			return true, nil
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-timer(env, 10):
		}
	}
	return false, fmt.Errorf("the agent (process %d) does not end", st.PID)
}

// parent is how a starting agent tells the client that started it how it went.
type parent struct {
	once sync.Once
	pipe *os.File
}

func (p *parent) tell(word string) {
	p.once.Do(func() {
		if p.pipe == nil {
			return
		}
		fmt.Fprintln(p.pipe, word)
		p.pipe.Close() //nolint:errcheck // the client is there or it is not
	})
}

// runAgentServe is the agent itself. Its parent is told one word, and after that
// nobody reads what it prints: it logs into the store, when there is something to
// log.
func runAgentServe(ctx context.Context, g global, env *Env) error {
	p := &parent{}
	if env.Parent != nil {
		p.pipe = env.Parent()
	}
	defer p.tell("the agent ended as it started")
	log := slog.New(slog.NewTextHandler(&lateFile{path: filepath.Join(g.store, "agent.log")}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	eng, err := engine.Open(engine.Config{
		Dir: g.store, Version: Version(), PID: early.OuterPID(), Logger: log, Now: env.Now,
		NewRuntime: func(ctx context.Context, at engine.Place) (runtime.Runtime, error) {
			return newRuntime(ctx, at, g.store, log)
		},
	})
	if err != nil {
		if errors.Is(err, store.ErrInUse) {
			p.tell(agent.Taken)
			return nil
		}
		p.tell(agent.Refusal(err))
		return err
	}
	if crash, err := os.OpenFile(filepath.Join(g.store, "agent.crash"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC|unix.O_NOFOLLOW, 0o600); err == nil {
		// Its standard error goes nowhere: what a crash says would be lost.
		err = errors.Join(debug.SetCrashOutput(crash, debug.CrashOptions{}), crash.Close())
		if err != nil {
			log.Warn("a crash of the agent would leave no trace", "error", err)
		}
	}
	build, err := agent.BuildID(env.Executable)
	if err != nil {
		log.Warn("the agent cannot tell its build", "error", err)
	}
	for _, at := range leftPlaces(g.store) {
		// It may be long until this agent needs containers, and what the last one left
		// must not stay for so long.
		if rerr := eng.StartRuntime(ctx, at); rerr != nil {
			log.Warn("clearing away what a killed agent left", "error", rerr)
		}
	}
	srv := agent.NewServer(eng, agent.Options{Dir: g.store, Build: build, Version: Version(), PID: early.OuterPID(), Idle: idle(env), Logger: log, Rest: func() { eng.Rest(ctx) }, Sleep: eng.Forget, Present: eng.Present, Ended: reporter(eng, log)})
	err = srv.Serve(ctx, func() { p.tell(agent.Ready) })
	if eng.Present() != nil { // it lies at the path no more, and nothing of ours does
		if eng.Abandon() {
			os.Remove(statePath(g.store)) //nolint:errcheck // not there where there were no containers
		}
		return err
	}
	err = errors.Join(err, eng.Close())
	for _, state := range statePaths(g.store) {
		os.Remove(state) //nolint:errcheck // not empty: the next agent clears it
	}
	if err != nil {
		log.Error("the agent ended", "error", err)
		p.tell(agent.Refusal(err))
	}
	return err
}

// newRuntime makes what runs stages in a place; what it keeps is beside the store.
func newRuntime(ctx context.Context, at engine.Place, dir string, log *slog.Logger) (runtime.Runtime, error) {
	switch {
	case at.Isolation == engine.IsolationChroot:
		return newJailRuntime(ctx, dir, log)
	case at.Containerd != "":
		return newDaemonRuntime(ctx, at, dir, log)
	case !early.Inside():
		return nil, noNamespaces()
	}
	if err := onlyChroot(dir); err != nil {
		return nil, err
	}
	rt, err := containerd.New(ctx, containerd.Options{Root: filepath.Join(dir, "containerd"), State: stateDir(dir), Logger: log})
	if err != nil {
		return nil, withRemedy(err)
	}
	return rt, nil
}

// noNamespaces is of an agent that could have none when it was started, for stages that
// need none.
func noNamespaces() error {
	e := &engine.Error{
		Kind: engine.Machine, Message: "the agent of this store has no namespaces of its own, and makes no containers",
		Hint: "plumb agent stop ends it; the next one says what this machine lacks",
	}
	if isRoot() {
		e.Hint = containerd.PrivilegesRemedy
	}
	return e
}

// stateDir is where containers are mounted while they live. A container's root is
// an unprivileged user outside, who must be able to pass through every directory on
// the way there; the way to a store may well be closed to others, /run never is. An
// ordinary user's containers are of the same user, who has nothing to write in /run.
func stateDir(dir string) string {
	state := statePath(dir)
	if early.Rootless() || os.MkdirAll(state, 0o711) != nil {
		return statePaths(dir)[1]
	}
	return state
}

// statePaths are all that it may be, and those of daemons that are there.
func statePaths(dir string) []string {
	all := []string{statePath(dir), filepath.Join(dir, "state")}
	for _, state := range all[:2:2] {
		ofDaemons, err := filepath.Glob(state + "-*")
		if err == nil { // else there is no such pattern
			all = append(all, ofDaemons...)
		}
	}
	return all
}

func statePath(dir string) string {
	return filepath.Join("/run/plumb", store.Sum([]byte(dir)).Short())
}

// wasKilled reports whether the store's last agent ended without clearing up after
// its containers.
func wasKilled(dir string) bool { return len(leftPlaces(dir)) > 0 }

func idle(env *Env) time.Duration {
	if d, err := time.ParseDuration(env.getenv("PLUMB_IDLE")); err == nil && d > 0 {
		return d
	}
	return idleAfter
}

// lateFile is made when the first line is written, and kept small: a file over a
// megabyte is begun anew.
type lateFile struct {
	mu   sync.Mutex
	path string
}

func (f *lateFile) Write(b []byte) (int, error) {
	const most = 1 << 20
	f.mu.Lock()
	defer f.mu.Unlock()
	mode := os.O_CREATE | os.O_WRONLY | os.O_APPEND | unix.O_NOFOLLOW
	if fi, err := os.Stat(f.path); err == nil && fi.Size() > most {
		mode |= os.O_TRUNC
	}
	out, err := os.OpenFile(f.path, mode, 0o600)
	if err != nil {
		return 0, err
	}
	n, err := out.Write(b)
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	return n, err
}

// agentNamespaces is what makes a child enter namespaces of its own before it
// becomes the agent, so that its end, however it comes, ends its containers too.
func agentNamespaces() []string { return early.Env(nil) }
