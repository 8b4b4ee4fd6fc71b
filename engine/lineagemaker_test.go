package engine

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plumb/store"
)

// edges writes a document as one line for each input of an action: the reader, its input,
// and what made that, or "project".
func edges(t *testing.T, doc *LineageDoc) []string {
	t.Helper()
	named := map[store.Key]string{}
	for _, a := range doc.Actions {
		named[a.Key] = a.Stage + "@" + string(a.Run)
	}
	nodes := map[node]LineageArtifact{}
	for _, a := range doc.Artifacts {
		nodes[node{a.Digest, a.MadeBy}] = a
	}
	var out []string
	for _, a := range doc.Actions {
		for _, u := range a.Inputs {
			by := named[u.By]
			if u.By.IsZero() {
				by = "project"
			} else if by == "" && doc.Of.Down && !doc.Of.Up {
				by = "asked"
			}
			out = append(out, a.Stage+"@"+string(a.Run)+" < "+u.Path+" < "+by)
			if n, ok := nodes[node{u.Digest, u.By}]; !ok || !slices.Contains(n.ReadBy, a.Key) {
				t.Errorf("there is no artifact for input %q of %q", u.Path, a.Stage)
			}
		}
		for _, u := range a.Outputs {
			if _, ok := nodes[node{u.Digest, a.Key}]; !ok {
				t.Errorf("there is no artifact for output %q of %q", u.Path, a.Stage)
			}
		}
	}
	slices.Sort(out)
	return out
}

func (r *rig) mustLineage(change func(*LineageRequest)) *LineageDoc {
	r.t.Helper()
	doc, err := r.lineage(change)
	if err != nil {
		r.t.Fatal(err)
	}
	return doc
}

// sameCount is a stage of whose result the other one cannot tell which data it is of.
const sameCount = `
stage "t" {
  inputs  = ["d.csv"]
  command = ["write", "m.txt", "3"]
  outputs = { m = "m.txt" }
}
stage "r" {
  inputs  = [stage.t.m]
  command = ["copy", "m.txt", "r.txt"]
  outputs = { r = "r.txt" }
}
export "r.txt" { from = stage.r.r }
`

// What made an input is what the run had, not the newest that made the same bytes.
func TestLineageOfEqualResults(t *testing.T) {
	r := newRig(t, sameCount)
	first := func() store.RunID { r.write("d.csv", "1\n2\n3\n"); r.mustRun(); return r.latest() }()
	r.write("d.csv", "4\n5\n6\n")
	r.mustRun()
	second := r.latest()
	r.write("d.csv", "1\n2\n3\n")
	r.mustRun()
	r.project(strings.Replace(sameCount, `"copy", "m.txt", "r.txt"`, `"copy", "m.txt", "r.txt", ";", "append", "r.txt", "!"`, 1))
	r.mustRun()
	last := r.latest()
	of := func(r, t store.RunID) []string {
		return []string{"r@" + string(r) + " < m.txt < t@" + string(t), "t@" + string(t) + " < d.csv < project"}
	}
	file := func(q *LineageRequest) { q.Name, q.File, q.Up = "r.txt", filepath.Join(r.dir, "r.txt"), true }
	for _, c := range []struct {
		name string
		ask  func(*LineageRequest)
		want []string
	}{
		{"the file", file, of(last, first)},
		{"the output", func(q *LineageRequest) { q.Name, q.Up = "r.r", true }, of(last, first)},
		{"the run", func(q *LineageRequest) { q.Up = true }, of(last, first)},
		{"by its content", func(q *LineageRequest) { q.Name, q.Up = store.Sum([]byte("3!")).String(), true }, of(last, first)},
		{"what came of the right data", func(q *LineageRequest) { q.Name, q.Down = "t.m", true }, []string{"r@" + string(first) + " < m.txt < asked", "r@" + string(last) + " < m.txt < asked"}},
		{"the run in which it was cached behind other data", func(q *LineageRequest) { q.Name, q.Up = string(second), true }, of(first, second)},
	} {
		t.Run(c.name, func(t *testing.T) {
			doc := r.mustLineage(c.ask)
			if d := cmp.Diff(c.want, edges(t, doc)); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
			for _, a := range doc.Actions {
				for _, u := range a.Inputs {
					if u.Also > 0 {
						t.Errorf("%s of %s is known, and said to be guessed", u.Path, a.Stage)
					}
				}
			}
		})
	}
	// When the reader's run is gone content alone is left, and that is said.
	r.write("d.csv", "4\n5\n6\n")
	r.mustRun()
	r.write("d.csv", "1\n2\n3\n")
	r.mustRun()
	if _, err := r.store.GC(t.Context(), store.Policy{KeepRuns: 2}); err != nil {
		t.Fatal(err)
	}
	doc := r.mustLineage(func(q *LineageRequest) { q.Name, q.Up = store.Sum([]byte("3!")).String(), true })
	if n := len(doc.Actions); n != 2 || doc.Actions[0].Inputs[0].Also != 1 {
		t.Errorf("%d actions, %+v", n, doc.Actions)
	}
}

// handedOn is a pipeline of stages that hand on the bytes that they read.
const handedOn = `
stage "clean" {
  inputs  = ["data/customers.csv"]
  command = ["copy", "data/customers.csv", "clean.csv"]
  outputs = { csv = "clean.csv" }
}
stage "c" {
  inputs  = [stage.clean.csv]
  command = ["copy", "clean.csv", "c.csv"]
  outputs = { c = "c.csv" }
}
stage "n" {
  inputs  = [stage.c.c]
  command = ["copy", "c.csv", "n.csv"]
  outputs = { n = "n.csv" }
}
export "out/clean.csv" { from = stage.clean.csv }
`

// Content that was handed on is something else at each place.
func TestLineageOfWhatIsHandedOn(t *testing.T) {
	r := newRig(t, handedOn)
	r.write("data/customers.csv", "ada\n")
	r.mustRun()
	r.mustRun(func(q *RunRequest) { q.Force = []string{"clean"} }) // it was exported before it was read
	file := func(name string, up bool) func(*LineageRequest) {
		return func(q *LineageRequest) {
			q.Name, q.File, q.Up, q.Down = name, filepath.Join(r.dir, name), up, !up
		}
	}
	stage := map[store.Key]string{{}: "project"}
	for _, name := range []string{"clean", "c", "n"} {
		stage[r.keyOf(name)] = name
	}
	clean, c, n := "clean < data/customers.csv < project", "c < clean.csv < clean", "n < c.csv < c"
	all := []string{c, clean, n}
	for _, q := range []struct {
		name  string
		ask   func(*LineageRequest)
		asked []string // what made it
		want  []string
	}{
		{"the source, up", file("data/customers.csv", true), []string{"project"}, nil},
		{"the source, down", file("data/customers.csv", false), []string{"project"}, all},
		{"an export, up", file("out/clean.csv", true), []string{"clean"}, []string{clean}},
		{"an export, down", file("out/clean.csv", false), []string{"clean"}, []string{"c < clean.csv < asked", n}},
		{"an output, up", func(q *LineageRequest) { q.Name, q.Up = "n.n", true }, []string{"n"}, all},
		{"an output, down", func(q *LineageRequest) { q.Name, q.Down = "clean.csv", true }, []string{"clean"}, []string{"c < clean.csv < asked", n}},
		{"the last output, down", func(q *LineageRequest) { q.Name, q.Down = "n.n", true }, []string{"n"}, nil},
		{"the content", func(q *LineageRequest) { q.Name = store.Sum([]byte("ada\n")).String() }, []string{"c", "clean", "n", "project"}, all},
		{"the run", func(*LineageRequest) {}, nil, all},
	} {
		t.Run(q.name, func(t *testing.T) {
			doc := r.mustLineage(q.ask)
			var got []string
			for _, e := range edges(t, doc) {
				words := strings.Fields(e)
				for i := range words {
					words[i], _, _ = strings.Cut(words[i], "@")
				}
				got = append(got, strings.Join(words, " "))
			}
			if d := cmp.Diff(q.want, got); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
			var asked []string
			for _, a := range doc.Artifacts {
				if a.Asked {
					asked = append(asked, stage[a.MadeBy])
				}
			}
			slices.Sort(asked)
			if d := cmp.Diff(q.asked, asked); d != "" {
				t.Errorf("whose work is asked about (-want +got)\n%s", d)
			}
		})
	}
}

// Stages that change places over several runs, with the same bytes between them, do not
// come before themselves.
func TestLineageHasNoLoops(t *testing.T) {
	// Each stage reads a path and writes the next one; the first of a pipeline starts it.
	stage := map[string]string{"a": "p1 p2", "b": "p2 p3", "c": "p3 p1"}
	src := func(names ...string) string {
		in, _, _ := strings.Cut(stage[names[0]], " ")
		text := "stage \"first\" {\n command = [\"write\", \"" + in + "\", \"x\"]\n outputs = { o = \"" + in + "\" }\n}\n"
		before := "first"
		for _, name := range names {
			from, to, _ := strings.Cut(stage[name], " ")
			text += "stage \"" + name + "\" {\n inputs = [stage." + before + ".o]\n command = [\"copy\", \"" + from + "\", \"" + to + "\"]\n outputs = { o = \"" + to + "\" }\n}\n"
			before = name
		}
		return text
	}
	r := newRig(t, src("a", "b"))
	r.mustRun()
	r.project(src("b", "c"))
	r.mustRun()
	r.project(src("c", "a"))
	r.mustRun(func(q *RunRequest) { q.Force = []string{"a"} })
	for _, c := range []struct {
		name string
		want []string
	}{
		{"a.o", []string{"a < c", "c < first"}},
		{store.Sum([]byte("x")).String(), []string{"a < c", "b < project", "c < b"}},
	} {
		var got []string
		for _, e := range edges(t, r.mustLineage(func(q *LineageRequest) { q.Name, q.Up = c.name, true })) {
			words := strings.Fields(e)
			got = append(got, strings.Split(words[0], "@")[0]+" < "+strings.Split(words[4], "@")[0])
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("of %q (-want +got)\n%s", c.name, d)
		}
	}
}

// A record that a later run replaced is told as the run had it that is asked about.
func TestLineageOfWhatWasMadeAgain(t *testing.T) {
	const src = `
stage "a" {
  command = ["random", "o"]
  outputs = { o = "o" }
}
stage "b" {
  inputs  = [stage.a.o]
  command = ["copy", "o", "p"]
  outputs = { p = "p" }
}
`
	r := newRig(t, src)
	r.mustRun()
	first := r.latest()
	r.mustRun(func(q *RunRequest) { q.Force = []string{"a"} })
	second := r.latest()
	for _, id := range []store.RunID{first, second} {
		doc := r.mustLineage(func(q *LineageRequest) { q.Name, q.Up = string(id), true })
		if d := cmp.Diff([]string{"b@" + string(id) + " < o < a@" + string(id)}, edges(t, doc)); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
	}
}
