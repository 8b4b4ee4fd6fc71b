package plan

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCauses(t *testing.T) {
	base := func() *Action {
		seed := int64(1)
		return &Action{
			Command: []string{"run", "data/eu.csv", "1"}, Params: []Param{{Name: "n", Value: "1"}, {Name: "region", Value: `"eu"`}}, Seed: &seed,
			Env: []EnvVar{{Name: "E", Value: "1"}}, Inputs: []Input{{"data/eu.csv", file("eu")}, {"code", file("code")}},
			Outputs: []Output{{Name: "o", Path: "out"}},
		}
	}
	note := func() Note {
		return Note{Command: "run ${input.x} ${param.n}", Env: map[string]string{"E": "param.n"}, Seed: "1"}
	}
	tests := map[string]struct {
		change func(a *Action, n *Note)
		want   string
	}{
		"a param, and all that stands for it": {func(a *Action, n *Note) {
			n.Seed = "param.n"
			a.Params[0].Value, a.Env[0].Value, a.Command[2] = "2", "2", "2"
			*a.Seed = 2
		}, "param n changed: 1 → 2"},
		"a seed that changed as a param did": {func(a *Action, n *Note) {
			a.Params[0].Value, a.Command[2], a.Env[0].Value, n.Seed = "2", "2", "2", "2"
			*a.Seed = 2
		}, "param n changed: 1 → 2, seed changed: 1 → 2"},
		"a seed that is a param's now": {func(a *Action, n *Note) {
			a.Params[0].Value, a.Command[2], a.Env[0].Value, n.Seed = "2", "2", "2", "param.n"
			*a.Seed = 2
		}, "param n changed: 1 → 2"},
		"a seed that another param's name begins": {func(a *Action, n *Note) {
			a.Params[0].Value, a.Command[2], a.Env[0].Value, n.Seed = "2", "2", "2", "param.nn"
			*a.Seed = 2
		}, "param n changed: 1 → 2, seed changed: 1 → 2"},
		"a seed that is no param's": {func(a *Action, _ *Note) { a.Params[0].Value = "2"; *a.Seed = 3 }, "param n changed: 1 → 2, seed changed: 1 → 3"},
		"a path with a param in it": {func(a *Action, _ *Note) {
			a.Params[1].Value, a.Inputs[0].Path, a.Command[1] = `"us"`, "data/us.csv", "data/us.csv"
		}, `param region changed: "eu" → "us"`},
		"other content at a path with a param in it": {func(a *Action, _ *Note) {
			a.Params[1].Value, a.Command[1], a.Inputs[0] = `"us"`, "data/us.csv", Input{"data/us.csv", file("us")}
		}, `param region changed: "eu" → "us"`},
		"a renamed input, and the command that names it": {func(a *Action, _ *Note) {
			a.Inputs[0].Path, a.Command[1] = "data/all.csv", "data/all.csv"
		}, "input data/eu.csv renamed to data/all.csv"},
		"a renamed output": {func(a *Action, _ *Note) { a.Outputs[0].Name = "p" }, "output o renamed to p"},
		"another command":  {func(a *Action, n *Note) { a.Command[0], n.Command = "walk", "walk" }, "command changed"},
		"a command that names a param": {func(a *Action, n *Note) {
			a.Command[0], n.Command = "walk", "walk"
			a.Params = append(a.Params, Param{Name: "z", Value: "1"})
		}, "command changed"},
		"a param that nothing explains": {func(a *Action, _ *Note) { a.Params = append(a.Params, Param{Name: "z", Value: "1"}) }, "param z added"},
		"code, and a command by a value that is not recorded": {func(a *Action, _ *Note) {
			a.Command[2], a.Inputs[1].Artifact = "7", file("other")
		}, "input code changed, command changed"},
		"code, and a command by a metric": {func(a *Action, n *Note) {
			a.Command[2], a.Inputs[1].Artifact, n.Metrics = "7", file("other"), map[string]float64{"s.m": 7}
		}, "input code changed"},
		"a metric alone leaves what it changed": {func(a *Action, n *Note) { a.Command[2], n.Metrics = "7", map[string]float64{"s.m": 7} }, "command changed"},
		"nothing":                               {func(*Action, *Note) {}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			a, n := base(), note()
			tt.change(a, &n)
			var got []string
			for _, r := range Causes(Diff(base().Fields(), a.Fields()), note(), n) {
				got = append(got, r.String())
			}
			if d := cmp.Diff(tt.want, strings.Join(got, ", ")); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestWhence(t *testing.T) {
	n := Note{Inputs: map[string]Whence{"m": {Stage: "s[a.b]", Output: "o"}, "moved": {Project: "data/raw"}}}
	for at, want := range map[string]string{"m": "stage.s[a.b].o", "moved": "data/raw", "moved/deep/x": "data/raw/deep/x", "m/x": "m/x", "other": "other"} {
		if got := n.Whence(at).String(); got != want {
			t.Errorf("%s comes from %s, want %s", at, got, want)
		}
	}
}
