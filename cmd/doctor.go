package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"github.com/urfave/cli/v2"

	"plumb/cmd/view"
	"plumb/engine"
	"plumb/engine/agent"
	"plumb/engine/runtime/containerd"
)

func newDoctorCommand(env *Env) *cli.Command {
	return &cli.Command{
		Name: "doctor", Usage: "what this machine can and cannot do, with the remedy",
		Action: func(c *cli.Context) error {
			if err := noArgs(c); err != nil {
				return err
			}
			g, err := globals(c, env)
			if err != nil {
				return err
			}
			return runDoctor(c.Context, g, env)
		},
	}
}

// runDoctor exits 3 when something is missing without which no stage runs.
func runDoctor(ctx context.Context, g global, env *Env) error {
	doc := view.DoctorDoc{Schema: engine.Schema, Store: g.store, OK: true}
	for _, f := range probe(ctx, g, env) {
		doc.Findings = append(doc.Findings, view.Finding{Name: f.Name, OK: f.OK, Detail: f.Detail, Remedy: f.Remedy})
	}
	doc.Findings = append(doc.Findings, storeFinding(ctx, g))
	for _, f := range doc.Findings {
		doc.OK = doc.OK && f.OK
	}
	if err := show(env, g, doc, func(s view.Style) { view.Doctor(env.Stdout, s, doc) }); err != nil {
		return err
	}
	if !doc.OK {
		return silentError(exitMachine)
	}
	return nil
}

// probe looks at the machine as an agent would find it: that of an ordinary user is
// root in namespaces of its own, and so is what looks.
func probe(ctx context.Context, g global, env *Env) []containerd.Finding {
	if g.place.Containerd != "" {
		return containerd.ProbeDaemon(ctx, g.place.Containerd, g.store)
	}
	jailed := g.place.Isolation == engine.IsolationChroot
	switch {
	case jailed && isRoot():
		return containerd.ProbeJail(ctx, g.store)
	case isRoot():
		return containerd.Probe(ctx, g.store)
	}
	var out, complaint bytes.Buffer
	var inside []containerd.Finding
	args := []string{"--store", g.store, "agent", "probe"}
	if jailed {
		args = append(args, "--isolation", engine.IsolationChroot)
	}
	cmd := exec.CommandContext(ctx, env.Executable, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = env.agentEnviron(agentNamespaces()), &out, &complaint
	err := cmd.Run()
	if err == nil {
		err = json.Unmarshal(out.Bytes(), &inside)
	} else if words := strings.TrimPrefix(strings.TrimSpace(complaint.String()), "plumb: "); words != "" {
		err = errors.New(strings.ReplaceAll(strings.ReplaceAll(words, " (plumb doctor says what to do)", ""), "\n", "; "))
	}
	return append(containerd.ProbeUser(err), inside...)
}

// storeFinding opens the store the way a reading verb does.
func storeFinding(ctx context.Context, g global) view.Finding {
	f := view.Finding{Name: "store", OK: true, Detail: g.store}
	if c, st, err := agent.Dial(ctx, g.store); err == nil {
		c.Close()
		f.Detail = fmt.Sprintf("%s, owned by agent %d", g.store, st.PID)
		return f
	}
	eng, err := engine.Open(engine.Config{Dir: g.store, ReadOnly: true, Version: Version()})
	if err == nil {
		err = eng.Close()
	}
	if err != nil {
		f.OK, f.Detail, f.Remedy = false, err.Error(), "name another store with --store, or mend this one"
	}
	return f
}
