package engine

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plumb/store"
)

// lines writes a document as one line an action and one a place, sorted.
func lines(doc *LineageDoc) []string {
	var out []string
	for _, a := range doc.Actions {
		var in, made []string
		for _, u := range a.Inputs {
			in = append(in, u.Path)
		}
		for _, u := range a.Outputs {
			made = append(made, u.Path)
		}
		out = append(out, a.Stage+": "+strings.Join(in, " ")+" -> "+strings.Join(made, " "))
	}
	for _, a := range doc.Artifacts {
		for _, p := range a.Places {
			out = append(out, string(p.Role)+" "+p.Path+p.From)
		}
	}
	slices.Sort(out)
	return out
}

func (r *rig) lineage(change func(*LineageRequest)) (*LineageDoc, error) {
	r.t.Helper()
	req := LineageRequest{Request: r.request().Request}
	change(&req)
	return r.Lineage(r.t.Context(), req)
}

// wine is a small graph: two stages behind one, one of them reads a directory as well.
const wine = `
source "raw" { path = "data/raw.csv" }
param "lr" { default = "0.1" }
stage "clean" {
  inputs  = [source.raw]
  command = ["copy", "data/raw.csv", "clean.csv", ";", "append", "clean.csv", "cleaned"]
  outputs = { csv = "clean.csv" }
}
stage "train" {
  inputs  = [stage.clean.csv, "code"]
  command = ["mkdir", "model", ";", "copy", "clean.csv", "model/m", ";", "write", "model/lr", "${param.lr}"]
  outputs = { model = "model/" }
}
stage "report" {
  inputs  = [stage.train.model]
  command = ["copy", "model/lr", "report.txt"]
  outputs = { txt = "report.txt" }
}
export "out/model" { from = stage.train.model }
`

func newWine(t *testing.T) *rig {
	r := newRig(t, wine)
	r.write("data/raw.csv", "a,b\n")
	r.write("code/train.py", "pass\n")
	if _, _, err := r.ran(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestLineage(t *testing.T) {
	r := newWine(t)
	image := store.Sum([]byte("manifest")).String()
	clean, train, report := "clean: data/raw.csv -> clean.csv", "train: clean.csv code -> model", "report: model -> report.txt"
	raw, code, out := "input data/raw.csv", "input code", "export out/model"
	for _, c := range []struct {
		name string
		ask  func(*LineageRequest)
		kind string
		want []string
	}{
		{"an output, both ways", func(q *LineageRequest) { q.Name = "train.model" }, "artifact", []string{clean, out, code, raw, report, train}},
		{"up", func(q *LineageRequest) { q.Name, q.Up = "train.model", true }, "artifact", []string{clean, out, code, raw, train}},
		{"down", func(q *LineageRequest) { q.Name, q.Down = "clean.csv", true }, "artifact", []string{out, code, report, train}},
		{"one action up", func(q *LineageRequest) { q.Name, q.Up, q.Depth = "report", true, 1 }, "artifact", []string{out, report}},
		{"two actions up", func(q *LineageRequest) { q.Name, q.Up, q.Depth = "report", true, 2 }, "artifact", []string{out, code, report, train}},
		{"the newest run", func(*LineageRequest) {}, "run", []string{clean, out, code, raw, report, train}},
		{"an image", func(q *LineageRequest) { q.Name = "x" }, "image", []string{clean, out, code, raw, report, train}},
		{"an image by its digest", func(q *LineageRequest) { q.Name = image }, "image", []string{clean, out, code, raw, report, train}},
		{"an image by the beginning of its digest", func(q *LineageRequest) { q.Name = image[:len("sha256:")+12] }, "image", []string{clean, out, code, raw, report, train}},
		{"content by its first digits alone", func(q *LineageRequest) { q.Name, q.Up = store.Sum([]byte("a,b\n")).Hex()[:7], true }, "artifact", []string{raw}},
		{"an action by its first digits", func(q *LineageRequest) { q.Name, q.Up = r.keyOf("clean").Hex()[:9], true }, "action", []string{clean, raw}},
		{"a file that a stage read", func(q *LineageRequest) {
			q.Name, q.File, q.Down = "raw.csv", filepath.Join(r.dir, "data/raw.csv"), true
		}, "artifact", []string{clean, out, code, raw, report, train}},
		{"a directory that was exported", func(q *LineageRequest) { q.Name, q.File, q.Up = "model", filepath.Join(r.dir, "out/model"), true }, "artifact", []string{clean, out, code, raw, train}},
		{"a file in a directory that was read", func(q *LineageRequest) {
			q.Name, q.File, q.Down = "train.py", filepath.Join(r.dir, "code/train.py"), true
		}, "artifact", []string{out, code, report, train}},
	} {
		t.Run(c.name, func(t *testing.T) {
			doc, err := r.lineage(c.ask)
			if err != nil {
				t.Fatal(err)
			}
			want := slices.Clone(c.want)
			slices.Sort(want)
			if d := cmp.Diff(want, lines(doc)); d != "" || doc.Of.Kind != c.kind {
				t.Errorf("of kind %q, (-want +got)\n%s", doc.Of.Kind, d)
			}
		})
	}
}

func TestLineageOfWhatIsCached(t *testing.T) {
	r := newWine(t)
	first, err := r.store.LastRun(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	r.write("code/train.py", "other\n")
	if _, _, err := r.ran(t.Context()); err != nil {
		t.Fatal(err)
	}
	doc, err := r.lineage(func(*LineageRequest) {})
	if err != nil {
		t.Fatal(err)
	}
	for _, st := range doc.Stages {
		want := store.RunID("")
		if st.Name != "train" { // what it made did not change
			want = first.ID
		}
		if st.MadeBy != want {
			t.Errorf("stage %s (%s) was made by %q, and %q is right", st.Name, st.Status, st.MadeBy, want)
		}
	}
	// The model is the same, and two runs made it: the one that is asked about counts.
	doc, err = r.lineage(func(q *LineageRequest) { q.Up = true })
	if err != nil {
		t.Fatal(err)
	}
	if n := len(doc.Actions); n != 3 {
		t.Errorf("%d actions: %q", n, lines(doc))
	}
	for _, a := range doc.Actions {
		for _, u := range a.Inputs {
			if u.Also != 0 {
				t.Errorf("input %s of %s, which the run knows, is guessed: %+v", u.Path, a.Stage, u)
			}
		}
	}
}

// Content that leaves one project and enters another connects the two.
func TestLineageAcrossProjects(t *testing.T) {
	r := newWine(t)
	other := *r
	other.dir = t.TempDir()
	other.project(`
stage "use" {
  inputs  = ["model"]
  command = ["copy", "model/lr", "used.txt"]
  outputs = { txt = "used.txt" }
}
`)
	for _, name := range []string{"image", "model"} {
		from := filepath.Join(r.dir, map[string]string{"image": "image", "model": "out/model"}[name])
		if err := os.CopyFS(filepath.Join(other.dir, name), os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := other.ran(t.Context()); err != nil {
		t.Fatal(err)
	}
	doc, err := other.lineage(func(q *LineageRequest) { q.Name, q.Up = "use.txt", true })
	if err != nil {
		t.Fatal(err)
	}
	projects := map[string]bool{}
	for _, a := range doc.Actions {
		projects[a.Project] = true
	}
	if !projects[r.dir] || !projects[other.dir] || len(doc.Actions) != 3 { // report made the same bytes, and is not what is asked about
		t.Errorf("%q in %v", lines(doc), projects)
	}
	down, err := r.lineage(func(q *LineageRequest) { q.Name, q.Down = "clean.csv", true })
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(down.Actions, func(a LineageAction) bool { return a.Stage == "use" }) {
		t.Errorf("what came of it: %q", lines(down))
	}
}

func TestLineageOfNothing(t *testing.T) {
	r := newWine(t)
	r.write("unknown.txt", "nobody read this")
	for _, c := range []struct {
		name string
		ask  func(*LineageRequest)
		says string
	}{
		{"a file", func(q *LineageRequest) { q.Name, q.File = "unknown.txt", filepath.Join(r.dir, "unknown.txt") }, `there is a file "unknown.txt", but no stage of any run in this store has read or made its content, ` + store.Sum([]byte("nobody read this")).String()},
		{"a file that is called like an output of a stage", func(q *LineageRequest) { q.Name, q.File = "train.weights", filepath.Join(r.dir, "unknown.txt") }, `there is a file "train.weights", but no stage`},
		{"a digest", func(q *LineageRequest) { q.Name = store.Sum([]byte("x")).String() }, "nothing that is recorded made or read sha256:"},
		{"too few digits", func(q *LineageRequest) { q.Name = "sha256:1234" }, `"sha256:1234" is no digest: give 6 to 64`},
		{"no digits", func(q *LineageRequest) { q.Name = "sha256:123XYZ" }, "is no digest"},
		{"digits of nothing", func(q *LineageRequest) { q.Name = "sha256:00000000" }, `begins with "sha256:00000000"`},
		{"digits alone of nothing", func(q *LineageRequest) { q.Name = "00000000" }, `"00000000" is no digest, no file`},
		{"a stage that has no such output", func(q *LineageRequest) { q.Name = "train.weights" }, `stage "train" has no output "weights"`},
		{"a word", func(q *LineageRequest) { q.Name = "word" }, `"word" is no digest, no file, no run, no stage's output and no image`},
		{"a negative depth", func(q *LineageRequest) { q.Depth = -1 }, "must not be negative"},
	} {
		_, err := r.lineage(c.ask)
		var e *Error
		if !errors.As(err, &e) || e.Kind != Invalid || !strings.Contains(e.Message, c.says) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// A failed stage has lineage, as far as it read.
func TestLineageOfAFailure(t *testing.T) {
	r := newRig(t, "stage \"a\" {\n inputs = [\"in.txt\"]\n command = [\"fail\", \"3\"]\n}\n")
	r.write("in.txt", "x")
	if _, _, err := r.ran(t.Context()); err == nil {
		t.Fatal("it did not fail")
	}
	doc, err := r.lineage(func(*LineageRequest) {})
	if err != nil {
		t.Fatal(err)
	}
	if len(doc.Actions) != 1 || !doc.Actions[0].Failed || doc.Stages[0].Error == "" || len(doc.Actions[0].Inputs) != 1 {
		t.Errorf("%+v", doc)
	}
}

// The bound on actions is kept, and said.
func TestLineageIsBounded(t *testing.T) {
	r := newWine(t)
	doc, err := r.lineage(func(q *LineageRequest) { q.Limit = 2 })
	if err != nil {
		t.Fatal(err)
	}
	if len(doc.Actions) != 2 || !doc.More {
		t.Errorf("%d actions, more %v", len(doc.Actions), doc.More)
	}
}

// What an action made before it was done again is known by the run that made it.
func TestLineageOfWhatWasReplaced(t *testing.T) {
	r := newRig(t, `
stage "a" {
  inputs  = ["in.txt"]
  command = ["random", "a.txt"]
  outputs = { out = "a.txt" }
}`)
	r.write("in.txt", "x")
	r.mustRun()
	first, err := r.Show(t.Context(), ShowRequest{Dir: r.dir})
	if err != nil {
		t.Fatal(err)
	}
	d := first.Stages[0].Outputs["out"].Digest
	file := filepath.Join(t.TempDir(), "old")
	b, err := r.store.ReadBlob(d, 1<<20)
	if err == nil {
		err = os.WriteFile(file, b, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	r.mustRun(func(q *RunRequest) { q.Force = []string{"a"} })
	for name, ask := range map[string]func(*LineageRequest){
		"by its digest": func(q *LineageRequest) { q.Name = d.String() },
		"by a file":     func(q *LineageRequest) { q.Name, q.File = "old", file },
	} {
		doc, err := r.lineage(ask)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(doc.Actions) != 1 || doc.Actions[0].Run != first.ID || doc.Actions[0].Outputs[0].Digest != d || len(doc.Actions[0].Inputs) != 1 {
			t.Errorf("%s: %+v", name, doc.Actions)
		}
	}
}
