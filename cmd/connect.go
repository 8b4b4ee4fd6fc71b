package cmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"plumb/cmd/view"
	"plumb/engine"
	"plumb/engine/agent"
	"plumb/engine/event"
	"plumb/engine/runtime/containerd"
	"plumb/engine/runtime/containerd/early"
	"plumb/hcl"
	"plumb/store"
)

// Who answers a command:
//
//	writing  the agent; one is started when none is there, and where there is no store
//	         one is made, unless what is asked for has to be in it already
//	reading  the agent when one is there, else this process, with the store opened
//	         for reading only: looking at something starts nothing and changes no byte

// reader gives an API for verbs that change nothing. The caller calls the function
// it returns when it is done.
func (e *Env) reader(ctx context.Context, g global) (engine.API, func(), error) {
	api, done, err := e.answers(ctx, g)
	if err != nil {
		return nil, nil, err
	}
	l := &lasting{API: api, env: e, g: g, done: done}
	return l, func() { l.done() }, nil
}

// answers gives whoever answers now.
func (e *Env) answers(ctx context.Context, g global) (engine.API, func(), error) {
	began := time.Now() // an agent may come or go at this very moment
	for time.Since(began) < agent.Patience {
		c, st, err := agent.DialFor(ctx, g.store, agent.PlaceOf(g.dir))
		if err == nil {
			if build, berr := agent.BuildID(e.Executable); berr == nil && st.Build == build && !st.Blind {
				return c, c.Close, nil
			}
			c.Close()
			api, done, err := e.writer(ctx, g)
			return api, done, err
		}
		if errors.Is(err, agent.ErrSilent) {
			return nil, nil, err
		}
		eng, err := engine.Open(engine.Config{Dir: g.store, ReadOnly: true, Version: Version(), Logger: e.logger(g.verbose), Now: e.Now})
		if err == nil {
			return eng, func() {
				if err := eng.Close(); err != nil {
					fmt.Fprintln(e.Stderr, "plumb: closing the store:", err)
				}
			}, nil
		}
		if !errors.Is(err, store.ErrInUse) {
			return nil, nil, err
		}
		select {
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		case <-timer(e, 20):
		}
	}
	return nil, nil, fmt.Errorf("the store %q is in use by a process that does not answer", g.store)
}

// changer gives an API for verbs that change something about runs. Where there is no store
// there is no run, and none is made to say so.
func (e *Env) changer(ctx context.Context, g global) (engine.API, func(), error) {
	if entries, err := os.ReadDir(g.store); errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return e.reader(ctx, g)
	}
	c, done, err := e.writer(ctx, g)
	if err != nil {
		return nil, nil, err
	}
	return c, done, nil
}

// writer connects to the agent and starts one when there is none.
func (e *Env) writer(ctx context.Context, g global) (*agent.Client, func(), error) {
	if err := engine.CheckStore(g.store); err != nil {
		return nil, nil, err
	}
	s, err := e.starter(g)
	if err != nil {
		return nil, nil, err
	}
	c, err := agent.Connect(ctx, s)
	if err != nil && isRoot() && early.Unprivileged(err.Error()) {
		return nil, nil, &engine.Error{Kind: engine.Machine, Message: err.Error(), Hint: containerd.PrivilegesRemedy}
	}
	if err != nil && store.TellsOfDamage(err.Error()) {
		return nil, nil, &engine.Error{Kind: engine.Machine, Message: err.Error(), Hint: engine.DamageRemedy}
	}
	if err != nil {
		return nil, nil, err
	}
	return c, c.Close, nil
}

func (e *Env) starter(g global) (agent.Starter, error) {
	build, err := agent.BuildID(e.Executable)
	if err != nil {
		return agent.Starter{}, err
	}
	s := agent.Starter{
		Dir: g.store, Build: build, Args: []string{e.Executable, "--store", g.store, "agent", "serve"}, Env: e.agentEnviron(agentNamespaces()),
		For:  agent.PlaceOf(g.dir),
		Wait: func(m string) { view.Note(e.Stderr, e.style(e.Width), m) },
	}
	if g.place != (engine.Place{}) {
		// Only the containers of the containerd inside need an agent with namespaces of its own.
		s.Else = e.agentEnviron(nil)
	}
	return s, nil
}

// agentVariables is all of a client's environment that its agent gets: where files
// of the user lie, and how to reach a container registry.
var agentVariables = []string{
	"HOME", "PATH", "USER", "LOGNAME", "TMPDIR", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "DOCKER_CONFIG", "REGISTRY_AUTH_FILE",
	"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR", "PLUMB_IDLE",
}

func (e *Env) agentEnviron(env []string) []string {
	for _, name := range agentVariables {
		if v := e.getenv(name); v != "" {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// runThroughAgent runs, and goes on with another agent when the one that ran was
// killed: what was recorded until then is not done again. Secrets are looked up when
// the agent says which ones the run wants.
func (e *Env) runThroughAgent(ctx context.Context, g global, req engine.RunRequest, emit func(event.Event)) error {
	var err error
	for killed := 0; ; {
		var c *agent.Client
		var done func()
		if c, done, err = e.writer(ctx, g); err != nil {
			return err
		}
		err = c.Run(ctx, req, emit)
		done()
		switch wanted := wantedSecrets(err, req.Secrets); {
		case ctx.Err() != nil:
			return err
		case len(wanted) > 0:
			if req.Secrets, err = e.addSecrets(ctx, req.Project, req.Secrets, wanted); err != nil {
				return err
			}
		case errors.Is(err, agent.ErrLeaving): // since it was called; it is waited for
		case errors.Is(err, agent.ErrGone):
			if killed++; killed == tries {
				return err
			}
			view.Note(e.Stderr, e.style(e.Width), "the agent is gone; starting another and going on")
		default:
			return err
		}
	}
}

// projectFlags choose the pipeline and its values.
func projectFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "param", Usage: "set a param: `NAME=VALUE`"},
		&cli.StringSliceFlag{Name: "params", Usage: "read params from `FILE` (JSON, or HCL attributes)"},
		&cli.StringFlag{Name: "profile", Usage: "apply the profile `NAME`"},
	}
}

// notText refuses a value before it goes to the agent, which would get another one: JSON
// has no other bytes than text. The value may be sensitive.
func notText(what string) error {
	return usageError("write it as UTF-8, or encode it, in base64 for example", strings.ToValidUTF8(what, "�")+" is not UTF-8 text")
}

// project reads them. Values may hold commas: urfave's splitting is off.
func project(c *cli.Context, env *Env, g global) (engine.Project, error) {
	p := engine.Project{Dir: g.dir, Profile: c.String("profile"), Environ: hcl.ParamEnviron(env.Environ), Params: map[string]string{}}
	for _, kv := range c.StringSlice("param") {
		name, value, ok := strings.Cut(kv, "=")
		if !ok || name == "" {
			return p, usageError("write --param name=value", fmt.Sprintf("--param %q has no value", kv))
		}
		if !utf8.ValidString(kv) {
			return p, notText("--param " + name)
		}
		p.Params[name] = value
	}
	for variable, value := range p.Environ {
		if !utf8.ValidString(value) {
			return p, notText("the variable " + variable)
		}
	}
	for _, f := range c.StringSlice("params") {
		data, err := os.ReadFile(absolute(env.Dir, f))
		if err != nil {
			return p, usageError("", fmt.Sprintf("reading params: %v", err))
		}
		p.Files = append(p.Files, hcl.File{Name: f, Data: data})
	}
	return p, nil
}
