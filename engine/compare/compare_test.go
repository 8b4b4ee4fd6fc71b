package compare

import (
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plumb/engine/plan"
	"plumb/hcl"
	"plumb/store"
)

// stageOf is a stage whose key follows from what is said of it.
func stageOf(name string, a plan.Action, note plan.Note) Stage {
	note.Stage = name
	return Stage{Name: name, Status: "ran", Key: plan.KeyOf(a.Encode()), Fields: a.Fields(), Note: note}
}

func noted(n plan.Note) plan.Note {
	n.Image = "img"
	return n
}

func file(text string) store.Artifact {
	return store.Artifact{Kind: store.KindFile, Digest: store.Sum([]byte(text)), Size: int64(len(text))}
}

func lines(r *Result) string {
	var out []string
	say := func(what string, all []Change) {
		for i := range all {
			c := &all[i]
			text := what + " " + strings.TrimSpace(string(c.Kind)+" "+c.Name)
			if c.Detail != "" {
				text += " (" + c.Detail + ")"
			}
			if !strings.Contains(c.Old+c.New, "sha256:") && c.Old+c.New != "" {
				text += " " + c.Old + " > " + c.New
			}
			if c.Relative != nil {
				text += fmt.Sprintf(" %+.2f", *c.Relative)
			}
			out = append(out, text+" "+strings.Join(c.Stages, ","))
		}
	}
	say("cause", r.Causes)
	say("then", r.Consequences)
	say("unknown", r.Unknown)
	return strings.Join(out, "\n")
}

func TestRuns(t *testing.T) {
	produced := func(stage string) plan.Note {
		return noted(plan.Note{Inputs: map[string]plan.Whence{"in": {Stage: stage, Output: "o"}}})
	}
	reads := func(text string) plan.Action {
		return plan.Action{Inputs: []plan.Input{{Path: "in", Artifact: file(text)}}}
	}
	gave := func(stage string, outputs map[string]string, metric float64) Stage {
		s := stageOf(stage, plan.Action{}, noted(plan.Note{}))
		s.Metrics = map[string]float64{"m": metric}
		for _, name := range slices.Sorted(maps.Keys(outputs)) {
			s.Outputs = append(s.Outputs, store.Output{Name: name, Artifact: file(outputs[name])})
		}
		return s
	}
	seeded := func(n int64) plan.Action { return plan.Action{Seed: &n} }
	maker := func(text, stage string) func(store.Digest) (string, string, bool) {
		return func(d store.Digest) (string, string, bool) { return stage, "o", d == store.Sum([]byte(text)) }
	}
	command := func(args ...string) plan.Action { return plan.Action{Command: args} }
	written := func(source string) plan.Note { return noted(plan.Note{Command: source}) }
	tests := map[string]struct {
		a, b Run
		want string
	}{
		"what a changed stage made is a consequence": {
			Run{Stages: []Stage{stageOf("up", seeded(1), noted(plan.Note{})), stageOf("down", reads("x"), produced("up"))}},
			Run{Stages: []Stage{stageOf("up", seeded(2), noted(plan.Note{})), stageOf("down", reads("y"), produced("up"))}},
			"cause seed 1 > 2 up\nthen upstream up (it reads from up) down",
		},
		"what an equal stage made is a cause": {
			Run{Stages: []Stage{stageOf("up", seeded(1), noted(plan.Note{})), stageOf("down", reads("x"), produced("up"))}},
			Run{Stages: []Stage{stageOf("up", seeded(1), noted(plan.Note{})), stageOf("down", reads("y"), produced("up"))}},
			"cause varied stage.up.o (the same action gave another result) up\nthen upstream up (it reads from up) down",
		},
		"what an equal stage made is its own, whether another reads it or not": {
			Run{Stages: []Stage{gave("up", map[string]string{"o": "x", "p": "p", ".log": "1"}, 1), stageOf("down", reads("x"), produced("up")), gave("leaf", map[string]string{"o": "x"}, 1)}},
			Run{Stages: []Stage{gave("up", map[string]string{"o": "y", "p": "p", ".log": "2"}, 1), stageOf("down", reads("y"), produced("up")), gave("leaf", map[string]string{"o": "x"}, 2)}},
			"cause varied stage.up.o (the same action gave another result) up\ncause varied stage.leaf (the same action gave another result) leaf\nthen output o (changed) up\nthen output p (equal) up\nthen upstream up (it reads from up) down\nthen output o (equal) leaf\nthen metric m 1 > 2 +1.00 leaf",
		},
		"a file of the project is a cause": {
			Run{Stages: []Stage{stageOf("up", seeded(1), noted(plan.Note{})), stageOf("down", reads("x"), noted(plan.Note{}))}},
			Run{Stages: []Stage{stageOf("up", seeded(2), noted(plan.Note{})), stageOf("down", reads("y"), noted(plan.Note{}))}},
			"cause input in down\ncause seed 1 > 2 up",
		},
		"records that note no inputs are understood by content": {
			Run{Maker: maker("x", "up"), Stages: []Stage{stageOf("up", seeded(1), plan.Note{}), stageOf("down", reads("x"), plan.Note{})}},
			Run{Maker: maker("y", "up"), Stages: []Stage{stageOf("up", seeded(2), plan.Note{}), stageOf("down", reads("y"), plan.Note{})}},
			"cause seed 1 > 2 up\nthen upstream up (it reads from up) down",
		},
		"a note of a run in which the stage before had another name": {
			Run{Maker: maker("x", "new"), Stages: []Stage{stageOf("new", seeded(1), noted(plan.Note{})), stageOf("down", reads("x"), produced("old"))}},
			Run{Maker: maker("y", "new"), Stages: []Stage{stageOf("new", seeded(2), noted(plan.Note{})), stageOf("down", reads("y"), produced("new"))}},
			"cause seed 1 > 2 new\nthen upstream new (it reads from new) down",
		},
		"reading from another stage": {
			Run{Stages: []Stage{stageOf("one", seeded(1), noted(plan.Note{})), stageOf("two", seeded(2), noted(plan.Note{})), stageOf("down", reads("x"), produced("one"))}},
			Run{Stages: []Stage{stageOf("one", seeded(1), noted(plan.Note{})), stageOf("two", seeded(2), noted(plan.Note{})), stageOf("down", reads("y"), produced("two"))}},
			"cause input in (from stage.one.o to stage.two.o) down",
		},
		"a file at two places is one": {
			Run{Stages: []Stage{stageOf("a", reads("x"), noted(plan.Note{Inputs: map[string]plan.Whence{"in": {Project: "src/f"}}})), stageOf("b", plan.Action{Inputs: []plan.Input{{Path: "src/f", Artifact: file("x")}}}, noted(plan.Note{}))}},
			Run{Stages: []Stage{stageOf("a", reads("y"), noted(plan.Note{Inputs: map[string]plan.Whence{"in": {Project: "src/f"}}})), stageOf("b", plan.Action{Inputs: []plan.Input{{Path: "src/f", Artifact: file("y")}}}, noted(plan.Note{}))}},
			"cause input src/f a,b",
		},
		"a command that is written once": {
			Run{Stages: []Stage{stageOf("t[1]", command("old", "1"), written("old x")), stageOf("t[2]", command("old", "2"), written("old x")), stageOf("u", command("old", "1"), written("old x"))}},
			Run{Stages: []Stage{stageOf("t[1]", command("new", "1"), written("new x")), stageOf("t[2]", command("new", "2"), written("new x")), stageOf("u", command("new", "1"), written("new x"))}},
			"cause command [\"old\",\"1\"] > [\"new\",\"1\"] t[1],t[2]\ncause command [\"old\",\"1\"] > [\"new\",\"1\"] u",
		},
		"a text that waits for a metric": {
			Run{Stages: []Stage{stageOf("up", seeded(1), noted(plan.Note{})), stageOf("down", command("0.5"), noted(plan.Note{Command: "m", Metrics: map[string]float64{"up.acc": 0.5}}))}},
			Run{Stages: []Stage{stageOf("up", seeded(2), noted(plan.Note{})), stageOf("down", command("0.7"), noted(plan.Note{Command: "m", Metrics: map[string]float64{"up.acc": 0.7}}))}},
			"cause seed 1 > 2 up\nthen upstream up (it reads from up) down",
		},
		"a text with a local value": {
			Run{Stages: []Stage{stageOf("s", command("1"), written("each.value"))}},
			Run{Stages: []Stage{stageOf("s", command("2"), written("each.value"))}},
			"cause command [\"1\"] > [\"2\"] s",
		},
		"params": {
			Run{Params: []store.RunParam{{Name: "gone", Value: "1"}, {Name: "same", Value: "1"}, {Name: "n", Value: "1"}}},
			Run{Params: []store.RunParam{{Name: "same", Value: "1", Origin: "command line"}, {Name: "n", Value: "2"}, {Name: "new", Value: "3"}}},
			"cause param n 1 > 2 \ncause param new (added)  > 3 \ncause param gone (removed) 1 >  ",
		},
		"a sensitive param": {
			Run{Params: []store.RunParam{{Name: "pw"}}, Stages: []Stage{stageOf("s", plan.Action{Params: []plan.Param{{Name: "pw", Value: "a", Sensitive: true}}}, noted(plan.Note{}))}},
			Run{Params: []store.RunParam{{Name: "pw"}}, Stages: []Stage{stageOf("s", plan.Action{Params: []plan.Param{{Name: "pw", Value: "b", Sensitive: true}}}, noted(plan.Note{}))}},
			"cause param pw (sensitive) > (sensitive) s",
		},
		"other targets": {
			Run{Stages: []Stage{{Name: "a"}, {Name: "b"}}}, Run{Targets: []string{"a"}, Stages: []Stage{{Name: "a"}}},
			"cause targets (1 stage of the old run alone)  > a b",
		},
		"another profile": {Run{Profile: ""}, Run{Profile: "ci"}, "cause profile  > ci "},
		"nothing is kept": {
			Run{ID: "A", Stages: []Stage{{Name: "a", Status: "ran", Key: store.Key{1}}}}, Run{ID: "B", Stages: []Stage{stageOf("a", seeded(1), noted(plan.Note{}))}},
			"unknown missing_record (what it was in run A is not kept any more) a",
		},
		"a stage that came with what reads from it": {
			Run{Stages: []Stage{stageOf("down", plan.Action{}, noted(plan.Note{}))}},
			Run{Stages: []Stage{stageOf("up", seeded(1), noted(plan.Note{})), stageOf("down", reads("x"), produced("up"))}},
			"cause stage up (added) up\nthen upstream up (it reads from up) down",
		},
		"outputs, metrics, time": {
			Run{ID: "A", Stages: []Stage{func() Stage {
				s := stageOf("s", seeded(1), noted(plan.Note{}))
				s.Outputs, s.Seconds = []store.Output{{Name: "o", Artifact: file("x")}, {Name: "p", Artifact: file("p")}, {Name: ".log"}}, 2
				s.Metrics = map[string]float64{"down": 4, "gone": 1, "nan": math.NaN(), "zero": 0}
				return s
			}()}},
			Run{ID: "B", Stages: []Stage{func() Stage {
				s := stageOf("s", seeded(2), noted(plan.Note{}))
				s.Outputs, s.Seconds = []store.Output{{Name: "o", Artifact: file("y")}, {Name: "p", Artifact: file("p")}, {Name: ".log"}}, 3
				s.Metrics = map[string]float64{"down": 3, "new": 1, "nan": math.NaN(), "zero": 1}
				return s
			}()}},
			"cause seed 1 > 2 s\nthen output o (changed) s\nthen output p (equal) s\nthen duration 2 > 3 +0.50 s\nthen metric down 4 > 3 -0.25 s\nthen metric gone (run B has none) 1 >  s\nthen metric new (run A has none)  > 1 s\nthen metric zero 0 > 1 s",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := Runs(&tt.a, &tt.b)
			if d := cmp.Diff(tt.want, lines(got)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if got.Same() {
				t.Error("they are called the same")
			}
			if same := Runs(&tt.b, &tt.b); !same.Same() || lines(same) != "" {
				t.Errorf("a run differs from itself: %s", lines(same))
			}
		})
	}
}

func TestSettings(t *testing.T) {
	two := 2
	never := false
	stage := func(name string, change func(*hcl.Stage)) hcl.Stage {
		s := hcl.Stage{Name: name, Block: block(name)}
		if change != nil {
			change(&s)
		}
		return s
	}
	tests := map[string]struct {
		a, b hcl.Pipeline
		want string
	}{
		"nothing": {},
		"a limit of all instances": {
			hcl.Pipeline{Stages: []hcl.Stage{stage("t[1]", nil), stage("t[2]", nil)}},
			hcl.Pipeline{Stages: []hcl.Stage{stage("t[1]", func(s *hcl.Stage) { s.Resources.Memory = 1 << 30 }), stage("t[2]", func(s *hcl.Stage) { s.Resources.Memory = 1 << 30 })}},
			"stage.t.resources.memory (added)  > 1GiB t[1],t[2]",
		},
		"retries": {
			hcl.Pipeline{Stages: []hcl.Stage{stage("t", func(s *hcl.Stage) { s.Retry.Preempted, s.Retry.Codes = &two, []int{1, 2} })}},
			hcl.Pipeline{Stages: []hcl.Stage{stage("t", func(s *hcl.Stage) { s.Cache = &never; s.Retry.Codes = []int{1, 3} })}},
			"stage.t.cache (added)  > false t\nstage.t.retry.codes 1 2 > 1 3 t\nstage.t.retry.preempted (removed) 2 >  t",
		},
		"a stage that came is no setting": {hcl.Pipeline{}, hcl.Pipeline{Stages: []hcl.Stage{stage("t", func(s *hcl.Stage) { s.Description = "x" })}}, ""},
		"a source that is not kept": {
			hcl.Pipeline{Sources: []hcl.Source{{Name: "s", Path: "p"}}}, hcl.Pipeline{Sources: []hcl.Source{{Name: "s", Path: "p", Discard: true}}},
			"source.s.keep (added)  > false ",
		},
		"an image by another name": {hcl.Pipeline{Images: []hcl.Image{{Name: "i", Ref: "a:1"}}}, hcl.Pipeline{Images: []hcl.Image{{Name: "i", Ref: "a:2"}}}, "image.i.ref a:1 > a:2 "},
		"exports":                  {hcl.Pipeline{Exports: []hcl.Export{{Path: "a", Stage: "s", Output: "o"}}}, hcl.Pipeline{Exports: []hcl.Export{{Path: "a", Stage: "t", Output: "o"}}}, "export.a stage.s.o > stage.t.o "},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := strings.ReplaceAll(lines(&Result{Causes: Settings(&tt.a, &tt.b)}), "cause config ", "")
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// TestEachAttributeOfAStageIsCompared holds that none is forgotten: an attribute of a
// stage is in its key, or a setting, or says where something stands or came from.
func TestEachAttributeOfAStageIsCompared(t *testing.T) {
	inKey := "Image Command Inputs Outputs Metrics Env Params Passed Secrets Seed Network Checkpoint"
	setting := "Description Cache Effect Idempotent Timeout Grace Resources Retry After When"
	named := "Name Block MetricsRange Range ImageRange CheckpointRange SeedSource Each"
	known := strings.Fields(inKey + " " + setting + " " + named)
	s := reflect.TypeFor[hcl.Stage]()
	for i := range s.NumField() {
		if !slices.Contains(known, s.Field(i).Name) {
			t.Errorf("hcl.Stage.%s is compared by nobody: put it into a key, or among the settings", s.Field(i).Name)
		}
	}
	for _, name := range strings.Fields(setting) {
		var p hcl.Pipeline
		p.Stages = []hcl.Stage{{Name: "s", Block: "s"}}
		before := len(settings(&p))
		fill(reflect.ValueOf(&p.Stages[0]).Elem().FieldByName(name))
		if len(settings(&p)) == before {
			t.Errorf("hcl.Stage.%s is no setting", name)
		}
	}
}

// fill gives a value something else than its zero, in each of its fields.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(3)
	case reflect.Float64:
		v.SetFloat(3)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	}
}

// TestEachLimitIsASetting fills the fields of resources and retries one at a time.
func TestEachLimitIsASetting(t *testing.T) {
	for _, of := range []string{"Resources", "Retry"} {
		typ, _ := reflect.TypeFor[hcl.Stage]().FieldByName(of)
		for i := range typ.Type.NumField() {
			p := hcl.Pipeline{Stages: []hcl.Stage{{Name: "s", Block: "s"}}}
			fill(reflect.ValueOf(&p.Stages[0]).Elem().FieldByName(of).Field(i))
			if len(settings(&p)) != 1 {
				t.Errorf("%s.%s is no setting", of, typ.Type.Field(i).Name)
			}
		}
	}
}
