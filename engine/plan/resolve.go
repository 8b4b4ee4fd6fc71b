package plan

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"plumb/hcl"
	"plumb/store"
)

// resolve makes the action of a stage all of whose inputs are known, and keeps in
// st what running it needs besides.
func (p *Planner) resolve(s *hcl.Stage, st *state) (*Action, Note, error) {
	image, ok := p.cfg.Images[s.Image]
	if !ok {
		return nil, Note{}, fmt.Errorf("image %q is not pinned", s.Image)
	}
	a := &Action{Image: image, Platform: p.cfg.Platforms[s.Image], Metrics: s.Metrics, Seed: s.Seed, Secrets: s.Secrets, Network: s.Network, Isolation: p.cfg.Isolation, Checkpoint: s.Checkpoint}
	metrics, err := p.metrics(s)
	if err != nil {
		return nil, Note{}, err
	}
	if a.Command, err = command(s, metrics); err != nil {
		return nil, Note{}, err
	}
	st.command = a.Command
	if err := p.environment(s, metrics, a, st); err != nil {
		return nil, Note{}, err
	}
	if st.inputs, err = p.inputs(s); err != nil {
		return nil, Note{}, err
	}
	for _, in := range st.inputs {
		a.Inputs = append(a.Inputs, in.Input)
	}
	for _, o := range s.Outputs {
		a.Outputs = append(a.Outputs, Output{o.Name, o.Path, o.Dir})
	}
	return a, noteOf(s), nil
}

// metrics collects the numbers that a stage's texts refer to.
func (p *Planner) metrics(s *hcl.Stage) (map[hcl.MetricRef]float64, error) {
	var out map[hcl.MetricRef]float64
	for _, e := range expressions(s) {
		for _, m := range e.Metrics {
			rec := p.states[p.shape.index[m.Stage]].record
			v, ok := rec.Metrics[m.Metric]
			if !ok {
				return nil, fmt.Errorf("stage %q reports no metric %q; it reports %s", m.Stage, m.Metric, listed(rec.Metrics))
			}
			if out == nil {
				out = map[hcl.MetricRef]float64{}
			}
			out[m] = v
		}
	}
	return out, nil
}

func listed(metrics map[string]float64) string {
	if len(metrics) == 0 {
		return "none"
	}
	var names []string
	for n := range metrics {
		names = append(names, n)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func expressions(s *hcl.Stage) []*hcl.Expr {
	var out []*hcl.Expr
	for i := range s.Command.Args {
		if e := s.Command.Args[i].Expr; e != nil {
			out = append(out, e)
		}
	}
	for i := range s.Env {
		if e := s.Env[i].Value.Expr; e != nil {
			out = append(out, e)
		}
	}
	if s.When != nil {
		out = append(out, s.When)
	}
	return out
}

func (p *Planner) condition(s *hcl.Stage) (bool, error) {
	m, err := p.metrics(s)
	if err != nil {
		return false, err
	}
	ok, diags := s.When.EvalBool(m)
	if diags.HasErrors() {
		return false, diags
	}
	return ok, nil
}

func text(t hcl.Text, metrics map[hcl.MetricRef]float64) (string, error) {
	if t.Expr == nil {
		return t.Value, nil
	}
	v, diags := t.Expr.EvalString(metrics)
	if diags.HasErrors() {
		return "", diags
	}
	return v, nil
}

func command(s *hcl.Stage, metrics map[hcl.MetricRef]float64) ([]string, error) {
	var args []string
	if s.Command.Shell {
		args = []string{"/bin/sh", "-eu", "-c"}
	}
	for _, t := range s.Command.Args {
		v, err := text(t, metrics)
		if err != nil {
			return nil, err
		}
		args = append(args, v)
	}
	return args, nil
}

// environment fills the declared environment: in the action, where a sensitive
// value stands as a digest, and in st, as the stage is to see it.
func (p *Planner) environment(s *hcl.Stage, metrics map[hcl.MetricRef]float64, a *Action, st *state) error {
	st.env = nil
	add := func(name, value string, from []string) { // from sensitive params
		st.env = append(st.env, name+"="+value)
		if len(from) > 0 {
			value = p.cfg.Concealer.conceal(p.sensitiveParams(from), "env "+name, value)
		}
		a.Env = append(a.Env, EnvVar{name, value, len(from) > 0})
	}
	for _, e := range s.Env {
		v, err := text(e.Value, metrics)
		if err != nil {
			return err
		}
		add(e.Name, v, e.SensitiveParams)
	}
	for _, name := range s.Params {
		v := p.params[name]
		value := v.Value
		if v.Sensitive {
			value = p.cfg.Concealer.conceal([]hcl.Param{v}, "param "+name, value)
		}
		a.Params = append(a.Params, Param{name, value, v.Sensitive})
	}
	for _, name := range s.Passed {
		v := p.params[name]
		var from []string
		if v.Sensitive {
			from = []string{name}
		}
		add(passedName(name), plain(v.Value), from)
	}
	return nil
}

func (p *Planner) sensitiveParams(names []string) []hcl.Param {
	params := make([]hcl.Param, len(names))
	for i, name := range names {
		params[i] = p.params[name]
	}
	return params
}

// plain is a param's value as a shell wants it: strings without quotes, all else
// as JSON.
func plain(value string) string {
	var s string
	if json.Unmarshal([]byte(value), &s) == nil {
		return s
	}
	return value
}

type scanned struct {
	store.Artifact
	err error
}

func (p *Planner) scan(path string) (store.Artifact, error) {
	if v, ok := p.scans.Load(path); ok {
		return v.(scanned).Artifact, v.(scanned).err
	}
	a, err := p.cfg.Sources.Scan(path)
	p.scans.Store(path, scanned{a, err})
	return a, err
}

// glob lists what matches, once: a file that appears during a run is not of it.
func (p *Planner) glob(pattern string) ([]string, error) {
	if v, ok := p.globs.Load(pattern); ok {
		return v.([]string), nil
	}
	names, err := p.cfg.Sources.Glob(pattern)
	if err == nil {
		p.globs.Store(pattern, names)
	}
	return names, err
}

// inputs resolves all inputs of a stage to artifacts, sorted by their place in
// the workspace.
func (p *Planner) inputs(s *hcl.Stage) ([]Resolved, error) {
	out := make([]Resolved, 0, len(s.Inputs))
	for i := range s.Inputs {
		in := &s.Inputs[i]
		var more []Resolved
		var err error
		switch {
		case in.Kind == hcl.InputOutput:
			more, err = p.producedInput(in)
		case in.Glob:
			more, err = p.globInput(in)
		default:
			more, err = p.pathInput(in, in.Path, in.Target)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, more...)
	}
	slices.SortStableFunc(out, func(a, b Resolved) int { return comparePaths(a.Path, b.Path) })
	return dedupe(out)
}

// comparePaths orders a directory right before all that is in it: the slash
// ranks below every other byte.
func comparePaths(a, b string) int {
	for i := range min(len(a), len(b)) {
		if a[i] == b[i] {
			continue
		}
		if a[i] == '/' || b[i] != '/' && a[i] < b[i] {
			return -1
		}
		return 1
	}
	return len(a) - len(b)
}

func (p *Planner) producedInput(in *hcl.Input) ([]Resolved, error) {
	rec := p.states[p.shape.index[in.Stage]].record
	for _, o := range rec.Outputs {
		if o.Name == in.Output {
			return []Resolved{{Input: Input{in.Target, o.Artifact}, Name: in.Name, Unkept: p.unkept(in)}}, nil
		}
	}
	return nil, fmt.Errorf("the recorded result of stage %q has no output %q", in.Stage, in.Output)
}

func (p *Planner) unkept(in *hcl.Input) bool {
	return slices.ContainsFunc(p.Stage(p.shape.index[in.Stage]).Outputs, func(o hcl.Output) bool { return o.Name == in.Output && o.Unkept })
}

func (p *Planner) pathInput(in *hcl.Input, from, target string) ([]Resolved, error) {
	a, err := p.scan(from)
	if err != nil {
		return nil, &InputError{Path: from, Range: in.Range, Err: err}
	}
	return []Resolved{{Input: Input{target, a}, Name: in.Name, Project: from, Discard: in.Kind == hcl.InputSource && p.discard[in.Source]}}, nil
}

func (p *Planner) globInput(in *hcl.Input) ([]Resolved, error) {
	names, err := p.glob(in.Path)
	if err == nil && len(names) == 0 {
		err = errors.New("no file matches")
	}
	if err != nil {
		return nil, &InputError{Path: in.Path, Range: in.Range, Err: err}
	}
	var out []Resolved
	for _, n := range names {
		one, err := p.pathInput(in, n, targetOf(in, n))
		if err != nil {
			return nil, err
		}
		out = append(out, one...)
	}
	return out, nil
}

// targetOf is where a stage has one of the paths that an input stands for.
func targetOf(in *hcl.Input, name string) string {
	switch {
	case !in.Glob:
		return in.Target
	case in.Target != in.Path:
		return path.Join(in.Target, strings.TrimPrefix(name, globBase(in.Path)))
	}
	return name
}

// ProjectInput is a path of the project that a stage reads and that is to be kept.
type ProjectInput struct {
	Project  string
	Artifact store.Artifact
	Range    hcl.Range
}

// ProjectInputs lists what stage i reads from the project, also while its other
// inputs are not known yet.
func (p *Planner) ProjectInputs(i int) ([]ProjectInput, error) {
	var out []ProjectInput
	s := p.Stage(i)
	for n := range s.Inputs {
		in := &s.Inputs[n]
		if in.Kind == hcl.InputOutput || in.Kind == hcl.InputSource && p.discard[in.Source] {
			continue
		}
		names := []string{in.Path}
		if in.Glob {
			var err error
			if names, err = p.glob(in.Path); err != nil {
				return nil, &InputError{Path: in.Path, Range: in.Range, Err: err}
			}
		}
		for _, name := range names {
			a, err := p.scan(name)
			if err != nil {
				return nil, &InputError{Path: name, Range: in.Range, Err: err}
			}
			out = append(out, ProjectInput{name, a, in.Range})
		}
	}
	return out, nil
}

// globBase is the directory part before the first wildcard, with its slash.
func globBase(pattern string) string {
	i := strings.IndexAny(pattern, "*?[{")
	if i < 0 {
		i = len(pattern)
	}
	return pattern[:strings.LastIndexByte(pattern[:i], '/')+1]
}

// InputError is an error about a path of the project that a stage reads.
type InputError struct {
	Path  string
	Range hcl.Range
	Err   error
}

func (e *InputError) Error() string { return fmt.Sprintf("input %q: %v", e.Path, e.Err) }

// Unwrap gives the cause.
func (e *InputError) Unwrap() error { return e.Err }

// dedupe drops inputs that are named twice, or that lie in a directory which is
// an input itself: they are there already. Two different contents at one place
// are an error.
func dedupe(in []Resolved) ([]Resolved, error) {
	out := in[:0]
	trees := []Resolved{}
	for _, r := range in {
		for len(trees) > 0 && !strings.HasPrefix(r.Path, trees[len(trees)-1].Path+"/") {
			trees = trees[:len(trees)-1]
		}
		if n := len(out); n > 0 && out[n-1].Path == r.Path {
			if out[n-1].Artifact != r.Artifact {
				return nil, fmt.Errorf("two different inputs stand at %q", r.Path)
			}
			continue
		}
		if n := len(trees); n > 0 {
			t := trees[n-1]
			if t.Project != "" && r.Project != "" && path.Join(t.Project, strings.TrimPrefix(r.Path, t.Path+"/")) == r.Project {
				continue
			}
			return nil, fmt.Errorf("input %q lies inside input %q; move one of them with as = \"…\"", r.Path, t.Path)
		}
		if r.Kind == store.KindTree {
			trees = append(trees, r)
		}
		out = append(out, r)
	}
	return out, nil
}
