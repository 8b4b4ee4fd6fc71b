package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"plumb/engine/event"
	"plumb/engine/mask"
	"plumb/engine/plan"
	"plumb/engine/runtime"
	"plumb/hcl"
	"plumb/store"
	"plumb/store/erase"
	"plumb/store/tree"
)

// A shell is a container that a person looks around in: the same as a stage's in all
// that a stage could notice, but for the command and what it reads from and writes to.
// Nothing of it is recorded. What the last failed attempt at the same action had
// written in its workspace is there, and stays for the next shell.

// ShellRequest asks for a command in the sandbox of a stage: as it would run now, or as
// it was in a run.
type ShellRequest struct {
	Request
	Stage   string            `json:"stage"`
	Run     string            `json:"run,omitempty"`   // an id, its beginning, latest; "" for now
	Args    []string          `json:"args,omitempty"`  // none for a shell
	Fresh   bool              `json:"fresh,omitempty"` // not with what a failed attempt left
	Term    string            `json:"term,omitempty"`  // the kind of terminal
	Secrets map[string]Secret `json:"secrets,omitempty"`
}

// ShellDoc says how the command ended.
type ShellDoc struct {
	Schema   int    `json:"schema"`
	Stage    string `json:"stage"`
	ExitCode int    `json:"exit_code"` // 128+n after signal n
	OOM      bool   `json:"oom"`       // the stage's memory limit ended it
}

// shellPlace is what such a container is made from.
type shellPlace struct {
	stage   *hcl.Stage
	key     store.Key
	run     store.RunID // whose action it is, "" for what is now
	image   pinned
	command []string // the stage's own
	env     []string
	inputs  []plan.Resolved
	secrets runtime.Secrets
	masks   *mask.Set
	close   func() error
}

// defaultShell is bash where the image has it.
var defaultShell = []string{"/bin/sh", "-c", "if command -v bash >/dev/null 2>&1; then exec bash; fi; exec sh"}

// Shell runs a command in a stage's sandbox, with the given streams, and returns when it
// has ended. It tells what takes time, and what the person finds there.
func (e *Engine) Shell(ctx context.Context, req ShellRequest, streams runtime.Streams, emit func(event.Event)) (*ShellDoc, error) {
	doc, err := e.shell(ctx, req, streams, throttled(emit))
	return doc, shown(req.Project.Dir, err)
}

func (e *Engine) shell(ctx context.Context, req ShellRequest, streams runtime.Streams, tell func(event.Event)) (_ *ShellDoc, err error) {
	if e.cfg.ReadOnly {
		return nil, &Error{Kind: Machine, Message: "the store is open for reading only"}
	}
	if err := errors.Join(checkSecrets(req.Secrets), e.room()); err != nil {
		return nil, err
	}
	at := e.shellNow
	if req.Run != "" {
		at = e.shellOfRun
	}
	p, err := at(ctx, req, tell)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	rt, err := e.runtimeOf(ctx, req.Place)
	if err != nil {
		return nil, err
	}
	if err := e.presentForShell(ctx, rt, p, tell); err != nil {
		return nil, err
	}
	if res := p.stage.Resources; res.GPUs > 0 || len(res.Devices) > 0 {
		tell(event.Event{Type: event.Warning, Message: fmt.Sprintf("stage %s asks for %s: a shell is given no devices, since they may be in use", p.stage.Name, asked(res))})
	}
	sb, left, err := e.shellSandbox(ctx, req, p)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, e.leaveShell(sb, left)) }()
	if err := e.showCheckpoint(sb, p.stage, p.key); err != nil {
		return nil, err
	}
	tell(event.Event{Type: event.ShellOpened, Stage: p.stage.Name, Run: p.run, Message: p.describe(left), Hint: p.masks.String(p.commandText())})
	return e.runShell(ctx, rt, req, p, sb, streams)
}

// shellNow is the sandbox that the stage would have in a run now.
func (e *Engine) shellNow(ctx context.Context, req ShellRequest, tell func(event.Event)) (_ *shellPlace, err error) {
	r := req.Request
	r.Targets, r.Force = []string{req.Stage}, []string{req.Stage} // its inputs are wanted also when it is up to date
	s, err := e.open(ctx, r, pinning{write: !r.Locked, locked: r.Locked, offline: r.Offline, ingest: true}, tell)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.consider(r.Project.Dir); err != nil {
		return nil, err
	}
	i, ok := s.planner.Index(req.Stage)
	if !ok {
		return nil, invalid("name one instance, like "+firstInstance(s, req.Stage), "%q is a block of several stages", req.Stage)
	}
	if err := s.readyForShell(i); err != nil {
		return nil, err
	}
	if err := s.wantSecrets(req.Secrets); err != nil {
		return nil, errors.Join(err, s.keepRead(ctx, e.store))
	}
	if err := s.ingest(ctx, e.store); err != nil {
		return nil, s.placed(r.Project.Dir, err)
	}
	st, d := s.planner.Stage(i), s.planner.Decision(i)
	p := &shellPlace{
		stage: st, key: d.Key, image: s.images[st.Image], command: s.planner.Command(i), inputs: s.planner.Inputs(i),
		env: environment(s.planner.Env(i), st.Seed, d.Key, 1), masks: masksOf(s.pipeline, req.Secrets),
	}
	var kept []store.Artifact
	for _, in := range p.inputs {
		if !in.Discard {
			kept = append(kept, in.Artifact)
		}
	}
	leases := append(s.leases, e.store.LeaseBlobs(kept...))
	p.close = func() error {
		for _, release := range leases {
			release()
		}
		return nil
	}
	p.secrets = shellSecrets(st.Secrets, req.Secrets)
	return p, nil
}

func shellSecrets(names []string, have map[string]Secret) runtime.Secrets {
	if len(names) == 0 {
		return runtime.Secrets{}
	}
	out := runtime.Secrets{Dir: hcl.SecretDir, Files: map[string][]byte{}}
	for _, name := range names {
		out.Files[name] = have[name].Value
	}
	return out
}

// readyForShell requires that all is there that stage i reads.
func (s *session) readyForShell(i int) error {
	var behind []string
	how := "plumb run "
	for _, j := range s.planner.Graph().Order() {
		d := s.planner.Decision(j)
		if d.Verdict != plan.Hit && d.Verdict != plan.Skip && j != i && s.selected[j] {
			behind = append(behind, s.planner.Graph().Name(j))
			if d.Reasons[0].Kind == plan.ReasonNotKept {
				how = "plumb run --keep "
			}
		}
	}
	name, d := s.planner.Stage(i).Name, s.planner.Decision(i)
	switch {
	case len(behind) > 0:
		return invalid(how+strings.Join(behind, " ")+" makes it", "stage %q reads what is not up to date: %s", name, strings.Join(behind, ", "))
	case d.Verdict == plan.Skip:
		return invalid("", "stage %q is left out: its condition (when) does not hold", name)
	case d.Action == nil:
		return invalid("plumb plan tells more", "stage %q cannot run yet: %s", name, firstReason(d))
	}
	return nil
}

// shellOfRun is the sandbox that the stage had in a run, from what was recorded of it.
func (e *Engine) shellOfRun(ctx context.Context, req ShellRequest, tell func(event.Event)) (*shellPlace, error) {
	x := &explainer{e: e, ctx: ctx, dir: req.Project.Dir}
	rec, err := x.recorded(req.Run, req.Stage)
	if err != nil {
		return nil, err
	}
	head, err := e.findRun(req.Project.Dir, req.Run)
	if err != nil {
		return nil, err
	}
	a, err := plan.Parse(rec.fields)
	if err != nil {
		return nil, fmt.Errorf("reading the action of stage %q in run %s: %w", req.Stage, head.ID, err)
	}
	if want := req.Place.isolation(); a.Isolation != want {
		return nil, invalid("plumb --isolation "+a.Isolation+" shell makes such a sandbox", "in run %s stage %q ran with isolation %q", head.ID, req.Stage, a.Isolation)
	}
	p := &shellPlace{key: rec.key, run: head.ID, command: a.Command, stage: stageOf(req.Stage, a)}
	if p.inputs, err = e.inputsOf(head.ID, a); err != nil {
		return nil, err
	}
	var declared []string
	for _, v := range a.Env {
		if v.Sensitive {
			tell(event.Event{Type: event.Warning, Message: fmt.Sprintf("%s is sensitive: what it was is not recorded, and it is not set", v.Name)})
			continue
		}
		declared = append(declared, v.Name+"="+v.Value)
	}
	p.env = environment(declared, a.Seed, rec.key, 1)
	if err := e.fromToday(ctx, req, a, p, tell); err != nil {
		return nil, err
	}
	release := e.store.LeaseBlobs(artifactsOf(p.inputs)...)
	p.close = func() error { release(); return nil }
	return p, nil
}

// stageOf is a stage as far as an action tells.
func stageOf(name string, a *plan.Action) *hcl.Stage {
	s := &hcl.Stage{Name: name, Metrics: a.Metrics, Seed: a.Seed, Network: a.Network, Secrets: a.Secrets, Checkpoint: a.Checkpoint}
	for _, o := range a.Outputs {
		s.Outputs = append(s.Outputs, hcl.Output{Name: o.Name, Path: o.Path, Dir: o.Dir})
	}
	return s
}

// inputsOf finds the inputs of an action in the store; all that are not there are said.
func (e *Engine) inputsOf(run store.RunID, a *plan.Action) ([]plan.Resolved, error) {
	var out []plan.Resolved
	var gone []string
	for _, in := range a.Inputs {
		art, ok := tree.Identify(e.store, in.Digest)
		if !ok {
			gone = append(gone, in.Path)
			continue
		}
		art.Kind, art.Exec = in.Kind, in.Exec
		out = append(out, plan.Resolved{Input: plan.Input{Path: in.Path, Artifact: art}})
	}
	if len(gone) > 0 {
		return nil, invalid("they were collected by plumb gc, or are not kept (keep = false)", "inputs of run %s are not in the store: %s", run, strings.Join(gone, ", "))
	}
	return out, nil
}

func artifactsOf(inputs []plan.Resolved) []store.Artifact {
	var out []store.Artifact
	for _, in := range inputs {
		out = append(out, in.Artifact)
	}
	return out
}

// fromToday adds what no action tells and the pipeline of today may: the limits, where
// an image comes from that is not present any more, and secrets.
func (e *Engine) fromToday(ctx context.Context, req ShellRequest, a *plan.Action, p *shellPlace, tell func(event.Event)) error {
	p.image = pinned{name: a.Image.String(), digest: a.Image, platform: a.Platform}
	l, err := e.load(req.Project, false)
	if err != nil && len(a.Secrets) > 0 {
		return err
	}
	if err != nil {
		return nil //nolint:nilerr // a run can be looked at when its pipeline is broken since
	}
	for i := range l.pipeline.Stages {
		if l.pipeline.Stages[i].Name == req.Stage {
			p.stage.Resources = l.pipeline.Stages[i].Resources
		}
	}
	if err := wantRecorded(l.pipeline, a.Secrets, req); err != nil {
		return err
	}
	p.secrets = shellSecrets(a.Secrets, req.Secrets)
	pins, err := e.newPinner(req.Request, pinning{offline: true}, tell)
	if err != nil {
		return nil //nolint:nilerr // the same
	}
	for i := range l.pipeline.Images {
		im := &l.pipeline.Images[i]
		if pin, err := pins.image(ctx, im, a.Platform); err == nil && pin != nil && pin.digest == a.Image {
			p.image = *pin
		}
	}
	return nil
}

// wantRecorded asks for the secrets that the stage had: their values are those of today.
func wantRecorded(pl *hcl.Pipeline, names []string, req ShellRequest) error {
	var want []string
	for _, name := range names {
		if !slices.ContainsFunc(pl.Secrets, func(s hcl.Secret) bool { return s.Name == name }) {
			return invalid("declare it again", "the stage had the secret %q, which the pipeline has no more", name)
		}
		secret, sent := req.Secrets[name]
		switch {
		case !sent:
			want = append(want, name)
		case secret.Missing != "":
			return hcl.Diagnostics{missingSecret(pl, &hcl.Stage{Name: req.Stage}, name, secret)}
		}
	}
	if len(want) > 0 {
		return &Error{Kind: Wanting, Message: "the shell needs the secrets " + strings.Join(want, ", "), Secrets: want}
	}
	return nil
}

// presentForShell brings the image, when it is known from where.
func (e *Engine) presentForShell(ctx context.Context, rt runtime.Runtime, p *shellPlace, tell func(event.Event)) error {
	if p.image.source == nil {
		if kept, ok := rt.(runtime.Images); ok {
			has, err := kept.Has(ctx, p.image.digest.String())
			if err != nil || has {
				return err
			}
		}
		return invalid("an image block of the pipeline that is pinned to it would bring it", "image %s of run %s is not kept", p.image.digest, p.run)
	}
	p.image.source.onProgress(func(done, total int64) {
		tell(event.Event{Type: event.Progress, Message: "image " + p.image.name, Done: done, Total: total})
	})
	return e.present(ctx, rt, &p.image)
}

// shellSandbox makes the workspace: with what the last failed attempt at this very
// action wrote, when that is wanted and there.
func (e *Engine) shellSandbox(ctx context.Context, req ShellRequest, p *shellPlace) (sb *sandbox, left *failedAttempt, err error) {
	dir := req.Project.Dir
	about, err := e.peekFailed(dir, p.stage.Name)
	if err != nil {
		return nil, nil, err
	}
	if req.Fresh || about == nil || about.Key != p.key {
		sb, err = e.furnish(ctx, p.stage, dir, p.inputs, "")
		return sb, nil, err
	}
	left, at, err := e.takeFailed(dir, p.stage.Name)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if at != "" {
			err = errors.Join(err, erase.All(e.removing, at))
		}
	}()
	if left == nil { // another shell was quicker
		sb, err = e.furnish(ctx, p.stage, dir, p.inputs, "")
		return sb, nil, err
	}
	if sb, err = e.furnish(ctx, p.stage, dir, p.inputs, filepath.Join(at, "taken", "work")); err != nil {
		return nil, nil, &Error{Kind: Invalid, Message: fmt.Sprintf("what the failed attempt at stage %q left cannot be used: %v", p.stage.Name, err), Hint: "--fresh begins with an empty workspace"}
	}
	return sb, left, nil
}

// leaveShell keeps the workspace of a failed attempt for the next shell, unless there is
// a newer one.
func (e *Engine) leaveShell(sb *sandbox, left *failedAttempt) error {
	var err error
	if left != nil {
		newer, perr := e.peekFailed(left.Project, left.Stage)
		if err = perr; err == nil && newer == nil {
			err = e.keepFailed(sb, *left)
		}
	}
	return errors.Join(err, sb.close())
}

func (p *shellPlace) describe(left *failedAttempt) string {
	text := "the sandbox of stage " + p.stage.Name
	if p.run != "" {
		text += " in run " + string(p.run)
	}
	if left != nil {
		text += fmt.Sprintf(", with what attempt %d of run %s left, which failed (%s)", left.Number, left.Run, left.Class)
	}
	return text
}

// commandText is the stage's command as a person would type it.
func (p *shellPlace) commandText() string {
	if len(p.command) == 4 && p.command[0] == "/bin/sh" && p.command[2] == "-c" {
		return strings.TrimSpace(p.command[3])
	}
	return strings.Join(p.command, " ")
}

func (e *Engine) runShell(ctx context.Context, rt runtime.Runtime, req ShellRequest, p *shellPlace, sb *sandbox, streams runtime.Streams) (_ *ShellDoc, err error) {
	args, env := req.Args, p.env
	if len(args) == 0 {
		args = defaultShell
	}
	if req.Term != "" && !slices.ContainsFunc(env, func(kv string) bool { return strings.HasPrefix(kv, "TERM=") }) {
		env = append(env, "TERM="+req.Term)
	}
	var said strings.Builder // by what goes wrong before the command has its streams
	c, err := rt.Create(ctx, runtime.Spec{
		ID: "shell-" + strings.ToLower(rand.Text()), Image: p.image.digest.String(), Args: args, Env: env, Dir: workspace, Home: home,
		Mounts: sb.mounts, Secrets: p.secrets, Log: &said, Streams: streams, Network: p.stage.Network,
		Memory: p.stage.Resources.Memory, CPU: p.stage.Resources.CPU, Pids: p.stage.Resources.Pids, Hostname: hostname,
	})
	if err != nil {
		return nil, fmt.Errorf("creating the container of stage %q: %w", p.stage.Name, err)
	}
	defer func() { err = errors.Join(err, c.Delete(context.WithoutCancel(ctx))) }()
	if err := c.Start(ctx); err != nil {
		return nil, err
	}
	exit, err := c.Wait(ctx) // when the person is gone so is the container
	if err != nil {
		return nil, err
	}
	if text := strings.TrimSpace(said.String()); text != "" {
		return nil, &Error{Kind: Machine, Message: strings.TrimPrefix(text, "plumb: ")}
	}
	return &ShellDoc{Schema: Schema, Stage: p.stage.Name, ExitCode: exit.Code, OOM: exit.OOM}, nil
}
