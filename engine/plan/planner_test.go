package plan

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plumb/hcl"
	"plumb/store"
)

// world is a project and a store in memory.
type world struct {
	files    map[string]string
	records  map[store.Key]*store.Record
	misses   map[store.Key]*store.Miss
	failures map[store.Key]*store.Failure
	history  map[string][]Earlier
	last     map[string]*Earlier
	effects  map[store.Key]*store.Effect
	acc      float64    // the metric that stages give
	random   *rand.Rand // of the order of execution, nil for the graph's own
}

func newWorld() *world {
	return &world{
		acc:   0.9,
		files: map[string]string{}, records: map[store.Key]*store.Record{}, misses: map[store.Key]*store.Miss{},
		failures: map[store.Key]*store.Failure{}, history: map[string][]Earlier{}, last: map[string]*Earlier{}, effects: map[store.Key]*store.Effect{},
	}
}

func (w *world) Scan(path string) (store.Artifact, error) {
	if c, ok := w.files[path]; ok {
		return file(c), nil
	}
	return store.Artifact{}, errors.New("it does not exist")
}

func (w *world) Glob(pattern string) ([]string, error) {
	var out []string
	for p := range w.files {
		if strings.HasPrefix(p, globBase(pattern)) {
			out = append(out, p)
		}
	}
	slices.Sort(out)
	return out, nil
}

func (w *world) Lookup(k store.Key) (*store.Record, *store.Miss, error) {
	if m := w.misses[k]; m != nil {
		return nil, m, nil
	}
	if r := w.records[k]; r != nil {
		return r, nil, nil
	}
	return nil, &store.Miss{Kind: store.MissAbsent}, nil
}

func (w *world) Effect(k store.Key) (*store.Effect, error) { return w.effects[k], nil }

func (w *world) Intact(*store.Record) bool { return true }

func (w *world) Failure(k store.Key) (*store.Failure, error) { return w.failures[k], nil }

func (w *world) Last(stage string) (*Earlier, error) { return w.last[stage], nil }

func (w *world) Earlier(stage string) ([]Earlier, error) { return w.history[stage], nil }

const image = `image "sh" { archive = "image" }
`

// planner evaluates a pipeline and plans all of it.
func (w *world) planner(t *testing.T, src string, opts hcl.Options, forced ...string) *Planner {
	t.Helper()
	pl := w.unplanned(t, src, opts, forced...)
	plan(t, pl)
	return pl
}

// unplanned makes a planner that has considered nothing yet.
func (w *world) unplanned(t *testing.T, src string, opts hcl.Options, forced ...string) *Planner {
	t.Helper()
	p, diags := hcl.Evaluate("/project", []hcl.File{{Name: "plumb.hcl", Data: []byte(image + src)}}, opts)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	force := map[string]bool{}
	for _, f := range forced {
		force[f] = true
	}
	return New(Config{
		Pipeline: p, Images: map[string]store.Digest{"sh": digest("image")}, Platforms: map[string]string{"sh": "linux/amd64"},
		Isolation: "container", Sources: w, Records: w, Forced: force,
	})
}

func plan(t *testing.T, pl *Planner) {
	t.Helper()
	selected := make([]bool, len(pl.states))
	for i := range selected {
		selected[i] = true
	}
	if err := pl.ConsiderAll(selected); err != nil {
		t.Fatal(err)
	}
}

// run pretends to run all that is to be run, with outputs that are a function of
// content, and records it.
func (w *world) run(t *testing.T, pl *Planner, content func(stage, output string) string) (ran []string) {
	t.Helper()
	for _, i := range pl.Graph().Order() {
		d := pl.Decision(i)
		if d.Verdict == Pending {
			var err error
			if d, _, err = pl.Reconsider(i); err != nil {
				t.Fatal(err)
			}
		}
		if d.Verdict != Execute {
			continue
		}
		s := pl.Stage(i)
		rec := &store.Record{Key: d.Key, Action: d.Action, Metrics: map[string]float64{"acc": 0.9}}
		for _, o := range s.Outputs {
			rec.Outputs = append(rec.Outputs, store.Output{Name: o.Name, Path: o.Path, Artifact: file(content(s.Name, o.Name))})
		}
		w.records[d.Key] = rec
		w.history[s.Name] = append([]Earlier{{Key: d.Key, Action: d.Action, Note: pl.Note(i)}}, w.history[s.Name]...)
		pl.Complete(i, rec)
		ran = append(ran, s.Name)
	}
	return ran
}

func fixed(stage, output string) string { return stage + "." + output }

func verdicts(pl *Planner) map[string]string {
	out := map[string]string{}
	for i := range pl.Graph().Len() {
		d := pl.Decision(i)
		out[pl.Graph().Name(i)] = fmt.Sprintf("%s: %s", d.Verdict, d.Reasons[0])
	}
	return out
}

const chain = `
param "n" { default = 1 }
param "unused" { default = 1 }
stage "a" {
  image   = image.sh
  inputs  = ["in.csv"]
  command = "cut -f ${param.n} in.csv > a.csv"
  outputs = { out = "a.csv" }
}
stage "b" {
  image   = image.sh
  inputs  = [stage.a.out]
  command = "sort a.csv > b.csv"
  outputs = { out = "b.csv" }
}
stage "c" {
  image   = image.sh
  inputs  = [stage.b.out]
  command = "wc b.csv > c.csv"
  outputs = { out = "c.csv" }
}
`

func TestFirstPlanAndSecondPlan(t *testing.T) {
	w := newWorld()
	w.files["in.csv"] = "1"
	pl := w.planner(t, chain, hcl.Options{})
	want := map[string]string{"a": "run: never run before", "b": "pending: never run before", "c": "pending: never run before"}
	if d := cmp.Diff(want, verdicts(pl)); d != "" {
		t.Errorf("first plan (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"a", "b", "c"}, w.run(t, pl, fixed)); d != "" {
		t.Errorf("ran (-want +got):\n%s", d)
	}
	want = map[string]string{"a": "hit: unchanged", "b": "hit: unchanged", "c": "hit: unchanged"}
	if d := cmp.Diff(want, verdicts(w.planner(t, chain, hcl.Options{}))); d != "" {
		t.Errorf("second plan (-want +got):\n%s", d)
	}
}

func TestEarlyCutoff(t *testing.T) {
	w := newWorld()
	w.files["in.csv"] = "1"
	w.run(t, w.planner(t, chain, hcl.Options{}), fixed)
	w.files["in.csv"] = "2"
	pl := w.planner(t, chain, hcl.Options{})
	want := map[string]string{"a": "run: input in.csv changed", "b": "pending: stage a will run", "c": "pending: stage b may run"}
	if d := cmp.Diff(want, verdicts(pl)); d != "" {
		t.Errorf("plan (-want +got):\n%s", d)
	}
	// a gives the same as before, so the wave stops there.
	if d := cmp.Diff([]string{"a"}, w.run(t, pl, fixed)); d != "" {
		t.Errorf("ran (-want +got):\n%s", d)
	}
	w.files["in.csv"] = "3"
	other := func(stage, output string) string { return fixed(stage, output) + "!" }
	if d := cmp.Diff([]string{"a", "b", "c"}, w.run(t, w.planner(t, chain, hcl.Options{}), other)); d != "" {
		t.Errorf("ran with other outputs (-want +got):\n%s", d)
	}
}

// TestOneChange changes one thing of a pipeline that ran and checks that exactly
// this is named, and nothing that follows from it.
func TestOneChange(t *testing.T) {
	tests := map[string]struct {
		edit  func(src string) string
		file  string // new content of in.csv
		param string // n
		want  []string
	}{
		"nothing":     {want: []string{"unchanged"}},
		"a parameter": {param: "2", want: []string{"param n changed: 1 → 2"}},
		"a file":      {file: "other", want: []string{"input in.csv changed"}},
		"the command": {edit: replace("cut -f", "cut  -f"), want: []string{"command changed"}},
		"an environment entry": {edit: replace(`inputs  = ["in.csv"]`, `inputs  = ["in.csv"]
		  env = { A = "1" }`), want: []string{"env A added"}},
		"a seed": {edit: replace(`inputs  = ["in.csv"]`, `inputs  = ["in.csv"]
		  seed = 1`), want: []string{"seed added"}},
		"an output":   {edit: replace(`{ out = "a.csv" }`, `{ out = "a.csv", more = "m.csv" }`), want: []string{"output more added"}},
		"two things":  {edit: replace("cut -f", "cut  -f"), param: "2", want: []string{"param n changed: 1 → 2", "command changed"}},
		"a comment":   {edit: replace("stage \"a\" {", "# comment\nstage \"a\" {"), want: []string{"unchanged"}},
		"description": {edit: replace("stage \"a\" {", "stage \"a\" {\n description = \"x\""), want: []string{"unchanged"}},
		"memory":      {edit: replace("stage \"a\" {", "stage \"a\" {\n resources { memory = \"1GiB\" }"), want: []string{"unchanged"}},
		"timeout":     {edit: replace("stage \"a\" {", "stage \"a\" {\n timeout = \"1m\""), want: []string{"unchanged"}},
		"retry":       {edit: replace("stage \"a\" {", "stage \"a\" {\n retry { exit = 2 }"), want: []string{"unchanged"}},
		"another param": {
			edit: replace(`param "unused" { default = 1 }`, `param "unused" { default = 2 }`), want: []string{"unchanged"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			w.files["in.csv"] = "1"
			w.run(t, w.planner(t, chain, hcl.Options{}), fixed)
			src, opts := chain, hcl.Options{}
			if tt.edit != nil {
				if src = tt.edit(chain); src == chain {
					t.Fatal("the edit changed nothing")
				}
			}
			if tt.file != "" {
				w.files["in.csv"] = tt.file
			}
			if tt.param != "" {
				opts.Params = map[string]string{"n": tt.param}
			}
			pl := w.planner(t, src, opts)
			i, _ := pl.Index("a")
			var got []string
			for _, r := range pl.Decision(i).Reasons {
				got = append(got, r.String())
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("reasons (-want +got):\n%s", d)
			}
		})
	}
}

func replace(old, new string) func(string) string {
	return func(s string) string { return strings.Replace(s, old, new, 1) }
}

func TestMissKinds(t *testing.T) {
	w := newWorld()
	w.files["in.csv"] = "1"
	pl := w.planner(t, chain, hcl.Options{})
	w.run(t, pl, fixed)
	i, _ := pl.Index("a")
	key := pl.Decision(i).Key
	tests := map[string]struct {
		prepare func(w *world)
		forced  []string
		want    string
	}{
		"evicted": {func(w *world) {
			w.misses[key] = &store.Miss{Kind: store.MissEvicted, Tombstone: &store.Tombstone{Rule: "older than 30 days"}}
		}, nil, "its result was removed by gc on 0001-01-01 (older than 30 days)"},
		"damaged": {func(w *world) {
			w.misses[key] = &store.Miss{Kind: store.MissDamaged, Detail: "output out is lost"}
		}, nil, "its result is damaged: output out is lost"},
		"failed": {func(w *world) {
			delete(w.records, key)
			w.failures[key] = &store.Failure{Run: "r1", Attempts: []store.Attempt{{Class: store.ClassExit, ExitCode: 3}}}
		}, nil, "failed before with exit status 3 in run r1"},
		"forced": {func(*world) {}, []string{"a"}, "forced"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			copied := *w
			copied.records = map[store.Key]*store.Record{}
			for k, v := range w.records {
				copied.records[k] = v
			}
			copied.misses, copied.failures = map[store.Key]*store.Miss{}, map[store.Key]*store.Failure{}
			tt.prepare(&copied)
			d := copied.planner(t, chain, hcl.Options{}, tt.forced...).Decision(i)
			if d.Verdict != Execute || d.Reasons[0].String() != tt.want {
				t.Errorf("%s: %s, want run: %s", d.Verdict, d.Reasons[0], tt.want)
			}
		})
	}
}

func TestWhenAndMetrics(t *testing.T) {
	const src = `
stage "evaluate" {
  image   = image.sh
  command = "true"
  metrics = "m.json"
}
stage "good" {
  image   = image.sh
  command = "echo ${stage.evaluate.metrics.acc}"
  when    = stage.evaluate.metrics.acc > 0.5
}
stage "bad" {
  image   = image.sh
  command = "true"
  outputs = { out = "x" }
  when    = stage.evaluate.metrics.acc <= 0.5
}
stage "behind" {
  image   = image.sh
  inputs  = [stage.bad.out]
  command = "true"
}
`
	w := newWorld()
	pl := w.planner(t, src, hcl.Options{})
	if d := cmp.Diff([]string{"evaluate", "good"}, w.run(t, pl, fixed)); d != "" {
		t.Errorf("ran (-want +got):\n%s", d)
	}
	i, _ := pl.Index("good")
	if got := pl.Command(i); got[3] != "echo 0.9" {
		t.Errorf("command is %q", got)
	}
	for _, name := range []string{"bad", "behind"} {
		i, _ := pl.Index(name)
		if v := pl.Decision(i).Verdict; v != Skip {
			t.Errorf("%s: %s, want skip", name, v)
		}
	}
}

func TestNetworkRunsEveryTime(t *testing.T) {
	src := `stage "a" {
  image   = image.sh
  command = "true"
  network = true
}`
	w := newWorld()
	w.run(t, w.planner(t, src, hcl.Options{}), fixed)
	if v := w.planner(t, src, hcl.Options{}).Decision(0).Verdict; v != Execute {
		t.Errorf("a stage with network: %s, want run", v)
	}
	cached := strings.Replace(src, "network = true", "network = true\n cache = true", 1)
	w.run(t, w.planner(t, cached, hcl.Options{}), fixed)
	if v := w.planner(t, cached, hcl.Options{}).Decision(0).Verdict; v != Hit {
		t.Errorf("with cache = true: %s, want hit", v)
	}
}

func TestSensitiveValuesStayOut(t *testing.T) {
	const src = `
param "token" {
  type      = string
  sensitive = true
}
stage "a" {
  image   = image.sh
  command = "true"
  params  = [param.token]
}`
	w := newWorld()
	pl := w.planner(t, src, hcl.Options{Params: map[string]string{"token": "hunter2"}})
	d := pl.Decision(0)
	if strings.Contains(string(d.Action), "hunter2") {
		t.Error("the action holds the sensitive value")
	}
	if !slices.Contains(pl.Env(0), "PLUMB_PARAM_token=hunter2") {
		t.Errorf("the stage does not get it: %q", pl.Env(0))
	}
	w.run(t, pl, fixed)
	d = w.planner(t, src, hcl.Options{Params: map[string]string{"token": "hunter3"}}).Decision(0)
	if got := d.Reasons[0].String(); d.Verdict != Execute || got != "param token changed: (sensitive) → (sensitive)" {
		t.Errorf("%s: %s", d.Verdict, got)
	}
}

func TestInputsInsideInputs(t *testing.T) {
	tests := map[string]struct {
		paths []string
		want  []string
	}{
		"beside":             {[]string{"a", "a-b", "b"}, []string{"a", "a-b", "b"}},
		"same":               {[]string{"a", "a"}, []string{"a"}},
		"inside a directory": {[]string{"d/x", "d", "d-e"}, []string{"d", "d-e"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var in []Resolved
			for _, p := range tt.paths {
				a := file(p)
				if p == "d" {
					a.Kind = store.KindTree
				}
				in = append(in, Resolved{Input: Input{p, a}, Project: p})
			}
			slices.SortFunc(in, func(a, b Resolved) int { return comparePaths(a.Path, b.Path) })
			out, err := dedupe(in)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range out {
				got = append(got, r.Path)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func BenchmarkPlan10000(b *testing.B) {
	var src strings.Builder
	src.WriteString(image)
	w := newWorld()
	for i := range 10000 {
		w.files[fmt.Sprintf("in/f%d", i)] = fmt.Sprint(i)
		in := ""
		if i%10 > 0 {
			in = fmt.Sprintf("stage.s%d.out, ", i-1)
		}
		fmt.Fprintf(&src, "stage \"s%d\" {\n image = image.sh\n inputs = [%s\"in/f%d\"]\n command = \"cat in/f%d > o/%d\"\n outputs = { out = \"o/%d\" }\n}\n", i, in, i, i, i, i)
	}
	p, diags := hcl.Evaluate("/project", []hcl.File{{Name: "plumb.hcl", Data: []byte(src.String())}}, hcl.Options{})
	if diags.HasErrors() {
		b.Fatal(diags)
	}
	selected := make([]bool, len(p.Stages))
	for i := range selected {
		selected[i] = true
	}
	cfg := Config{Pipeline: p, Images: map[string]store.Digest{"sh": digest("image")}, Platforms: map[string]string{"sh": "x"}, Isolation: "container", Sources: w, Records: w}
	first := New(cfg)
	for _, i := range first.Graph().Order() {
		d, err := first.Consider(i)
		if err != nil {
			b.Fatal(err)
		}
		rec := &store.Record{Key: d.Key, Action: d.Action, Outputs: []store.Output{{Name: "out", Path: first.Stage(i).Outputs[0].Path, Artifact: file(first.Stage(i).Name)}}}
		w.records[d.Key] = rec
		first.Complete(i, rec)
	}
	for b.Loop() {
		if err := New(cfg).ConsiderAll(selected); err != nil {
			b.Fatal(err)
		}
	}
}
