package plan

import (
	"cmp"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"plumb/engine/graph"
	"plumb/hcl"
	"plumb/store"
)

var (
	needRounds = flag.Int("need.rounds", 300, "how many random pipelines TestNeedsOfRandomPipelines plans")
	needSeed   = flag.Uint64("need.seed", 0, "the seed of TestNeedsOfRandomPipelines, 0 for another each time")
)

// drop makes the named outputs, "stage.output", lose their bytes.
func (w *world) drop(pl *Planner, outputs ...string) {
	for _, name := range outputs {
		stage, output, _ := strings.Cut(name, ".")
		i, _ := pl.Index(stage)
		rec := *pl.Record(i)
		rec.Outputs = slices.Clone(rec.Outputs)
		for n := range rec.Outputs {
			if rec.Outputs[n].Name == output {
				rec.Outputs[n].Dropped = true
			}
		}
		w.records[rec.Key] = &rec
	}
}

// execute runs what is to be run in the order in which a scheduler would, and requires
// that a stage that is executed finds the bytes of all that it reads.
func (w *world) execute(t *testing.T, pl *Planner, content func(stage, output string) string) (ran []string) {
	t.Helper()
	waits := pl.Waits()
	deps := make([][]int, pl.Graph().Len())
	names := make([]string, len(deps))
	for i := range deps {
		names[i], deps[i] = pl.Graph().Name(i), append(slices.Clone(pl.Graph().Deps(i)), waits[i]...)
	}
	g := graph.New(names, deps)
	if c := g.Cycle(); c != nil {
		t.Fatalf("waiting makes the cycle %v", c)
	}
	for _, i := range w.turns(g) {
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
		for _, in := range s.Inputs {
			if in.Kind != hcl.InputOutput {
				continue
			}
			n, _ := pl.Index(in.Stage)
			for _, o := range pl.Record(n).Outputs {
				if o.Name == in.Output && o.Dropped {
					t.Errorf("stage %s is executed and the bytes of %s.%s are not there", s.Name, in.Stage, in.Output)
				}
			}
		}
		rec := &store.Record{Key: d.Key, Action: d.Action, Metrics: map[string]float64{"acc": w.acc}}
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

// turns is one of the orders in which a scheduler may come to the stages.
func (w *world) turns(g *graph.Graph) []int {
	if w.random == nil {
		return g.Order()
	}
	var order []int
	done := make([]bool, g.Len())
	for len(order) < g.Len() {
		i := w.random.IntN(g.Len())
		if done[i] || slices.ContainsFunc(g.Deps(i), func(d int) bool { return !done[d] }) {
			continue
		}
		done[i] = true
		order = append(order, i)
	}
	return order
}

func verdictsByStage(pl *Planner) map[string]Verdict {
	out := map[string]Verdict{}
	for i := range pl.states {
		out[pl.Graph().Name(i)] = pl.Decision(i).Verdict
	}
	return out
}

const kept = `
param "train" { default = "1" }
param "other" { default = "1" }
stage "raw" {
  image   = image.sh
  inputs  = ["in"]
  command = "raw"
  outputs = { o = { path = "raw", retain = "none" } }
}
stage "clean" {
  image   = image.sh
  inputs  = [stage.raw]
  command = "clean"
  outputs = { o = { path = "clean", retain = "none" } }
}
stage "stats" {
  image   = image.sh
  inputs  = [stage.raw]
  command = "stats"
  outputs = { o = "stats" }
}
stage "other" {
  image   = image.sh
  inputs  = ["in2"]
  command = "other ${param.other}"
  outputs = { o = "other" }
}
stage "train" {
  image   = image.sh
  inputs  = [stage.clean]
  command = "train ${param.train}"
  outputs = { o = "model" }
}
stage "judge" {
  image   = image.sh
  inputs  = [stage.train, stage.other, stage.raw]
  command = "judge"
  outputs = { o = "verdict" }
}
`

func TestWhatIsNotKept(t *testing.T) {
	for _, c := range []struct {
		name     string
		params   map[string]string
		change   func(*world, *Config)
		content  func(stage, output string) string
		plan     map[string]Verdict // those that are no hit
		ran      []string
		verdicts map[string]Verdict
	}{
		{name: "nothing changed"},
		{
			name: "one behind the other", params: map[string]string{"train": "2"},
			plan: map[string]Verdict{"raw": Execute, "clean": Pending, "stats": Pending, "train": Pending, "judge": Pending},
			ran:  []string{"raw", "clean", "train"},
		},
		{
			name: "made again, and different", params: map[string]string{"train": "2"},
			content: func(stage, output string) string { return stage + output + " again" },
			plan:    map[string]Verdict{"raw": Execute, "clean": Pending, "stats": Pending, "train": Pending, "judge": Pending},
			ran:     []string{"raw", "clean", "stats", "train", "judge"},
		},
		{
			name: "who may need it turns out a hit", params: map[string]string{"other": "2"},
			plan: map[string]Verdict{"other": Execute, "raw": Pending, "clean": Pending, "stats": Pending, "train": Pending, "judge": Pending},
			ran:  []string{"other"},
		},
		{
			name: "who may need it does", params: map[string]string{"other": "2"},
			content: func(stage, output string) string {
				if stage == "other" {
					return "another"
				}
				return stage + output
			},
			plan: map[string]Verdict{"other": Execute, "raw": Pending, "clean": Pending, "stats": Pending, "train": Pending, "judge": Pending},
			ran:  []string{"other", "raw", "judge"},
		},
		{
			name: "wanted from outside",
			change: func(_ *world, c *Config) {
				c.Wanted = func(stage string, _ store.Output) string {
					if stage == "clean" {
						return "export needs it"
					}
					return ""
				}
			},
			plan: map[string]Verdict{"raw": Execute, "clean": Pending, "stats": Pending, "train": Pending, "judge": Pending},
			ran:  []string{"raw", "clean"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld()
			w.files["in"], w.files["in2"] = "1", "2"
			first := w.planner(t, kept, hcl.Options{})
			w.execute(t, first, same)
			w.drop(first, "raw.o", "clean.o")
			pl := w.unplanned(t, kept, hcl.Options{Params: c.params})
			if c.change != nil {
				c.change(w, &pl.cfg)
			}
			plan(t, pl)
			got := verdictsByStage(pl)
			for name, v := range got {
				if v == Hit {
					delete(got, name)
				}
			}
			if c.plan == nil {
				c.plan = map[string]Verdict{}
			}
			if diff := gocmp.Diff(c.plan, got); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
			if c.content == nil {
				c.content = same
			}
			ran := w.execute(t, pl, c.content)
			slices.Sort(c.ran)
			slices.Sort(ran)
			if diff := gocmp.Diff(c.ran, ran); diff != "" {
				t.Errorf("ran (-want +got):\n%s", diff)
			}
		})
	}
}

// TestNeedsInACircle has two producers whose bytes are not kept, first and fourth, and a
// circle of readers behind both that only the first of them reaches from its middle. What
// the first was told must be what the fourth is told: else that is executed without the
// bytes of the first.
func TestNeedsInACircle(t *testing.T) {
	src := func(version int) string {
		return randomPipeline([][]int{{}, {0}, {}, {}, {0, 2}, {1, 4}, {}, {1, 5}}, []int{0, 0, version, 0, 0, 0, 0, 0})
	}
	w := newWorld()
	w.files["in"] = "1"
	first := w.planner(t, src(1), hcl.Options{})
	w.execute(t, first, same)
	w.drop(first, "s0.o", "s1.o", "s4.o", "s5.o", "s7.o")
	if ran := w.execute(t, w.planner(t, src(2), hcl.Options{}), same); !slices.Equal(ran, []string{"s2"}) {
		t.Errorf("ran %v, want s2 alone", ran)
	}
}

// TestNeedsOfRandomPipelines plans and runs random pipelines of which random outputs
// have no bytes, and changes them a little from run to run. What comes out is what comes
// out of the same pipelines where all is kept, and no stage is executed without its
// inputs' bytes. How often one is made again whose bytes nobody then read is counted: it
// must stay the exception.
func TestNeedsOfRandomPipelines(t *testing.T) {
	seed := cmp.Or(*needSeed, rand.Uint64())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	remade, needless := 0, 0
	for round := range *needRounds {
		w, twin := newWorld(), newWorld()
		w.random = random
		stages := 2 + random.IntN(7)
		edges := make([][]int, stages)
		for i := range edges {
			for j := range i {
				if random.IntN(3) == 0 {
					edges[i] = append(edges[i], j)
				}
			}
		}
		versions := make([]int, stages)
		for range 4 {
			src := randomPipeline(edges, versions)
			for _, x := range []*world{w, twin} {
				x.files["in"] = "data"
			}
			// Half of all stages forget their version: what is behind them is a hit.
			content := func(stage, _ string) string {
				var n int
				fmt.Sscanf(stage, "s%d", &n)
				if n%2 == 0 {
					return stage
				}
				return fmt.Sprint(stage, versions[n])
			}
			pl, oracle := w.planner(t, src, hcl.Options{}), twin.planner(t, src, hcl.Options{})
			ran, really := w.execute(t, pl, content), twin.execute(t, oracle, content)
			for i := range edges {
				if !slices.Equal(digestsOf(pl.Record(i)), digestsOf(oracle.Record(i))) {
					t.Errorf("round %d: stage %d differs from the twin's", round, i)
				}
			}
			for _, name := range really {
				if !slices.Contains(ran, name) {
					t.Errorf("round %d: stage %s was not executed", round, name)
				}
			}
			for _, name := range ran {
				if slices.Contains(really, name) {
					continue
				}
				remade++
				if !slices.ContainsFunc(ran, func(c string) bool { i, _ := pl.Index(c); return reads(pl.Stage(i), name, "o") }) {
					needless++
				}
			}
			if t.Failed() {
				t.Fatalf("seed %d\n%s", seed, src)
			}
			for i := range edges {
				if random.IntN(2) == 0 {
					w.drop(pl, fmt.Sprintf("s%d.o", i))
				}
			}
			versions[random.IntN(stages)]++
		}
	}
	t.Logf("%d were made again, %d of them without need", remade, needless)
	if remade == 0 || needless*10 > remade {
		t.Errorf("%d were made again, %d of them without need", remade, needless)
	}
}

func digestsOf(r *store.Record) (out []store.Digest) {
	for _, o := range r.Outputs {
		out = append(out, o.Digest)
	}
	return out
}

func randomPipeline(edges [][]int, versions []int) string {
	var b strings.Builder
	for i, from := range edges {
		inputs := []string{`"in"`}
		for _, j := range from {
			inputs = append(inputs, fmt.Sprintf("stage.s%d.o", j))
		}
		fmt.Fprintf(&b, "stage \"s%d\" {\n image = image.sh\n inputs = [%s]\n command = \"run %d %d\"\n outputs = { o = { path = \"o%d\", retain = \"none\" } }\n}\n", i, strings.Join(inputs, ", "), i, versions[i], i)
	}
	return b.String()
}

func TestEffectsAreRefused(t *testing.T) {
	const src = `
stage "load" {
  image   = image.sh
  command = "load"
  effect  = true
  outputs = { receipt = "receipt" }
}
stage "idem" {
  image      = image.sh
  command    = "idem"
  effect     = true
  idempotent = true
}
stage "after" {
  image   = image.sh
  inputs  = [stage.load]
  command = "after"
}
`
	begun := &store.Beginning{Run: "r1", Attempt: 2, Stage: "load"}
	for _, c := range []struct {
		name   string
		begun  bool
		done   bool
		forced []string
		repeat []string
		lost   bool // the receipt
		record bool
		want   map[string]Verdict
		reason string
	}{
		{name: "never begun", want: map[string]Verdict{"load": Execute, "idem": Execute, "after": Pending}},
		{name: "begun", begun: true, want: map[string]Verdict{"load": Refused, "idem": Execute, "after": Pending}, reason: "attempt 2 of run r1 began"},
		{name: "begun and repeated", begun: true, repeat: []string{"load"}, want: map[string]Verdict{"load": Execute, "idem": Execute, "after": Pending}},
		{name: "begun and forced", begun: true, forced: []string{"load", "idem"}, want: map[string]Verdict{"load": Refused, "idem": Execute, "after": Pending}, reason: "may have happened"},
		{name: "never begun and forced", forced: []string{"load"}, want: map[string]Verdict{"load": Execute, "idem": Execute, "after": Pending}},
		{name: "done", done: true, record: true, want: map[string]Verdict{"load": Hit, "idem": Hit, "after": Execute}},
		{name: "done and forced", done: true, record: true, forced: []string{"load", "idem"}, want: map[string]Verdict{"load": Refused, "idem": Execute, "after": Pending}, reason: "done already, by run r1"},
		{name: "made before it was an effect, and forced", record: true, forced: []string{"load"}, want: map[string]Verdict{"load": Refused, "idem": Hit, "after": Pending}, reason: "done already"},
		{name: "done, forced and repeated", done: true, record: true, forced: []string{"load"}, repeat: []string{"load"}, want: map[string]Verdict{"load": Execute, "idem": Hit, "after": Pending}},
		{name: "done and begun again", done: true, begun: true, record: true, want: map[string]Verdict{"load": Refused, "idem": Hit, "after": Pending}, reason: "may have happened"},
		{name: "done, its receipt lost and needed", done: true, record: true, lost: true, want: map[string]Verdict{"load": Refused, "idem": Hit, "after": Pending}, reason: "stage after needs it; its effect is done already"},
		{name: "lost, and repeated", done: true, record: true, lost: true, repeat: []string{"load"}, want: map[string]Verdict{"load": Execute, "idem": Hit, "after": Pending}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld()
			pl := w.planner(t, src, hcl.Options{})
			for _, name := range []string{"load", "idem"} {
				i, _ := pl.Index(name)
				d := pl.Decision(i)
				rec := &store.Record{Key: d.Key, Action: d.Action, Run: "r1"}
				if name == "load" {
					rec.Outputs = []store.Output{{Name: "receipt", Path: "receipt", Artifact: file("receipt"), Dropped: c.lost}}
				}
				e := &store.Effect{}
				if c.begun {
					e.Begun = begun
				}
				if c.done {
					e.Done = rec
				}
				if c.record {
					w.records[d.Key] = rec
				}
				if c.begun || c.done {
					w.effects[d.Key] = e
				}
			}
			again := w.unplanned(t, src, hcl.Options{}, c.forced...)
			again.cfg.Repeat = map[string]bool{}
			for _, name := range c.repeat {
				again.cfg.Repeat[name] = true
			}
			plan(t, again)
			if diff := gocmp.Diff(c.want, verdictsByStage(again)); diff != "" {
				t.Errorf("verdicts (-want +got):\n%s", diff)
			}
			i, _ := again.Index("load")
			if got := again.Decision(i).Reasons[0].String(); !strings.Contains(got, c.reason) {
				t.Errorf("reason %q, want %q", got, c.reason)
			}
		})
	}
}
