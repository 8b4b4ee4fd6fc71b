package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plumb/engine/compare"
	"plumb/engine/plan"
	"plumb/engine/runtime"
	"plumb/hcl"
	"plumb/store"
)

// A pipeline in which each kind of ingredient is there to be changed: two stages read a
// shared file, one of them a directory that has it, too, and a third one reads what both
// made.
const diffed = `
param "n" { default = 1 }
param "region" { default = "eu" }
param "idle" { default = 1 }
source "rows" { path = "rows.csv" }
stage "a" {
  inputs  = [source.rows, "code.txt"]
  command = ["copy", "rows.csv", "a.csv", ";", "print", "${param.n}"]
  outputs = { rows = "a.csv" }
  env     = { LEVEL = "info", N = "${param.n}" }
  seed    = 1
}
stage "b" {
  inputs  = ["dir", "g/*.txt"]
  command = ["write", "b.txt", "${param.n} ${param.region}"]
  outputs = { text = "b.txt" }
}
stage "c" {
  inputs  = { rows = stage.a.rows, text = stage.b.text }
  command = ["copy", "${input.rows}", "c.csv"]
  outputs = { all = "c.csv" }
}
export "out.csv" { from = stage.c.all }
`

const rowsCSV = "id,price\n1,10\n2,20\n3,30\n"

func diffRig(t *testing.T) *rig {
	t.Helper()
	r := newRig(t, diffed)
	r.write("rows.csv", rowsCSV)
	r.write("code.txt", "one\ntwo\nthree\n")
	r.write("dir/code.txt", "x\n")
	r.write("dir/deep/more.txt", "y\n")
	r.write("g/1.txt", "1\n")
	return r
}

func (r *rig) mustRun(change ...func(*RunRequest)) {
	r.t.Helper()
	if _, _, err := r.ran(r.t.Context(), change...); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) edit(name, old, new string) {
	r.t.Helper()
	b, err := os.ReadFile(filepath.Join(r.dir, name))
	if err != nil {
		r.t.Fatal(err)
	}
	if !strings.Contains(string(b), old) {
		r.t.Fatalf("%s has no %q", name, old)
	}
	r.write(name, strings.Replace(string(b), old, new, 1))
}

func (r *rig) diffLatest(change ...func(*DiffRequest)) *DiffDoc {
	r.t.Helper()
	req := DiffRequest{Request: Request{Project: Project{Dir: r.dir}}}
	for _, f := range change {
		f(&req)
	}
	doc, err := r.Diff(r.t.Context(), req)
	if err != nil {
		r.t.Fatal(err)
	}
	return doc
}

// brief writes causes as lines: what, from, to, the stages, and below it what it is laid
// open to.
func brief(all []Difference) string {
	var b strings.Builder
	for i := range all {
		d := &all[i]
		fmt.Fprintf(&b, "%s", strings.TrimSpace(string(d.Kind)+" "+d.Name))
		if d.Detail != "" {
			fmt.Fprintf(&b, " (%s)", d.Detail)
		}
		if !strings.Contains(d.Old+d.New, "sha256:") && d.Kind != plan.ReasonCommand && d.Old+d.New != "" {
			fmt.Fprintf(&b, " %s > %s", d.Old, d.New)
		}
		fmt.Fprintf(&b, " %v\n", d.Stages)
		changeLines(&b, &d.Change)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func changeLines(b *strings.Builder, c *Change) {
	for _, p := range c.Packages {
		fmt.Fprintln(b, " ", p.Change, p.Name, p.Old, p.New)
	}
	for _, f := range c.Files {
		fmt.Fprintln(b, " ", f.Change, f.Path)
	}
	for _, l := range c.Diff {
		if l[0] == '+' || l[0] == '-' {
			fmt.Fprintln(b, "  "+l)
		}
	}
	for _, e := range c.Entries {
		fmt.Fprintln(b, " ", e.Change, e.Path)
		changeLines(b, &Change{Diff: e.Diff, Table: e.Table, Note: e.Note})
	}
	if t := c.Table; t != nil {
		fmt.Fprintf(b, "  rows %d > %d: +%d -%d ~%d, columns +%d -%d\n", t.A.Rows, t.B.Rows, t.Rows.Added, t.Rows.Removed, t.Rows.Changed, len(t.Columns.Added), len(t.Columns.Removed))
		for _, r := range t.Rows.FirstChanged {
			for _, v := range r.Cells {
				fmt.Fprintf(b, "  row %d %s: %s > %s\n", r.NumberA, v.Column, *v.Old, *v.New)
			}
		}
	}
	if c.Note != "" {
		fmt.Fprintln(b, "  note "+c.Note)
	}
}

// TestDiffNamesEachChange makes one change of each kind, and wants it and nothing else.
func TestDiffNamesEachChange(t *testing.T) {
	const n = 0o644
	tests := map[string]struct {
		change func(r *rig)
		params map[string]string
		want   string
	}{
		"nothing":                               {want: ""},
		"a param":                               {params: map[string]string{"n": "2"}, want: "param n 1 > 2 [a b]"},
		"a param that nobody names":             {params: map[string]string{"idle": "2"}, want: "param idle 1 > 2 []"},
		"a default":                             {change: func(r *rig) { r.edit("plumb.hcl", `"eu"`, `"us"`) }, want: `param region "eu" > "us" [b]`},
		"a line of code":                        {change: func(r *rig) { r.edit("code.txt", "two", "zwei") }, want: "input code.txt [a]\n  -two\n  +zwei"},
		"a value":                               {change: func(r *rig) { r.edit("rows.csv", "20", "21") }, want: "input rows.csv [a]\n  rows 3 > 3: +0 -0 ~1, columns +0 -0\n  row 2 price: 20 > 21"},
		"a row":                                 {change: func(r *rig) { r.edit("rows.csv", "3,30\n", "3,30\n4,40\n") }, want: "input rows.csv [a]\n  rows 3 > 4: +1 -0 ~0, columns +0 -0"},
		"a column":                              {change: func(r *rig) { r.write("rows.csv", "id,price,new\n1,10,a\n2,20,b\n3,30,c\n") }, want: "input rows.csv [a]\n  rows 3 > 3: +0 -0 ~0, columns +1 -0"},
		"only quotes":                           {change: func(r *rig) { r.edit("rows.csv", "20", `"20"`) }, want: "input rows.csv [a]\n  -2,20\n  +2,\"20\"\n  note as tables they are the same"},
		"a file that lies":                      {change: func(r *rig) { r.edit("rows.csv", "2,20", "2,20,9,9") }, want: "input rows.csv [a]\n  -2,20\n  +2,20,9,9\n  note \"rows.csv\" of run B is not csv as its name says: line 3: 4 fields, where the first row has 2"},
		"an environment entry":                  {change: func(r *rig) { r.edit("plumb.hcl", `"info"`, `"debug"`) }, want: "env LEVEL info > debug [a]"},
		"a new environment entry":               {change: func(r *rig) { r.edit("plumb.hcl", `LEVEL =`, `NEW = "x", LEVEL =`) }, want: "env NEW (added)  > x [a]"},
		"a seed":                                {change: func(r *rig) { r.edit("plumb.hcl", "seed    = 1", "seed    = 2") }, want: "seed 1 > 2 [a]"},
		"a seed by a param":                     {change: func(r *rig) { r.edit("plumb.hcl", "seed    = 1", "seed    = param.idle") }, want: "param idle (the stage refers to it now)  > 1 [a]"},
		"a command":                             {change: func(r *rig) { r.edit("plumb.hcl", `"print", "${param.n}"`, `"print", "n ${param.n}"`) }, want: "command [a]\n  -1\n  +n 1"},
		"a param that a command begins to name": {change: func(r *rig) { r.edit("plumb.hcl", `"print", "${param.n}"`, `"print", "${param.n}${param.idle}"`) }, want: "command [a]\n  -1\n  +11"},
		"an executable bit": {change: func(r *rig) {
			if err := os.Chmod(filepath.Join(r.dir, "code.txt"), n|0o111); err != nil {
				r.t.Fatal(err)
			}
		}, want: "input code.txt [a]\n  note its executable bit was set, and nothing else"},
		"an executable bit and a line": {change: func(r *rig) {
			r.edit("code.txt", "two", "zwei")
			if err := os.Chmod(filepath.Join(r.dir, "code.txt"), n|0o111); err != nil {
				r.t.Fatal(err)
			}
		}, want: "input code.txt [a]\n  -two\n  +zwei\n  note its executable bit was set"},
		"an executable bit in a directory": {change: func(r *rig) {
			if err := os.Chmod(filepath.Join(r.dir, "dir/code.txt"), n|0o111); err != nil {
				r.t.Fatal(err)
			}
		}, want: "input dir [b]\n  mode code.txt\n  note its executable bit was set"},
		"a renamed input": {change: func(r *rig) {
			r.edit("plumb.hcl", `"code.txt"`, `"other.txt"`)
			if err := os.Rename(filepath.Join(r.dir, "code.txt"), filepath.Join(r.dir, "other.txt")); err != nil {
				r.t.Fatal(err)
			}
		}, want: "input other.txt (renamed) code.txt > other.txt [a]"},
		"a file more in a directory": {change: func(r *rig) { r.write("dir/new/z.txt", "z\n") }, want: "input dir [b]\n  added new/z.txt"},
		"a file less in a directory": {change: func(r *rig) {
			if err := os.Remove(filepath.Join(r.dir, "dir/code.txt")); err != nil {
				r.t.Fatal(err)
			}
		}, want: "input dir [b]\n  removed code.txt"},
		"a line in a directory":    {change: func(r *rig) { r.edit("dir/deep/more.txt", "y", "z") }, want: "input dir [b]\n  changed deep/more.txt\n  -y\n  +z"},
		"a file more that matches": {change: func(r *rig) { r.write("g/2.txt", "2\n") }, want: "input g/2.txt (added) [b]"},
		"network":                  {change: func(r *rig) { r.edit("plumb.hcl", "seed    = 1", "seed    = 1\n  network = true\n  cache = true") }, want: "network (added)  > host [a]\nconfig stage.a.cache (added)  > true [a]"},
		"an output renamed": {change: func(r *rig) {
			r.edit("plumb.hcl", "{ rows =", "{ lines =")
			r.edit("plumb.hcl", "stage.a.rows", "stage.a.lines")
		}, want: "output lines (renamed) rows > lines [a]"},
		"the path of an output": {change: func(r *rig) { r.write("plumb.hcl", header+strings.ReplaceAll(diffed, "a.csv", "aa.csv")) }, want: "command [a]\n  -a.csv\n  +aa.csv\noutput rows a.csv > aa.csv [a]"},
		"a stage more": {change: func(r *rig) {
			r.edit("plumb.hcl", `stage "c"`, "stage \"d\" {\n command = [\"print\", \"d\"]\n}\nstage \"c\"")
		}, want: "stage d (added) [d]"},
		"a stage less": {change: func(r *rig) {
			r.edit("plumb.hcl", `, text = stage.b.text }`, "}")
			s := string(must(os.ReadFile(filepath.Join(r.dir, "plumb.hcl"))))
			i, j := strings.Index(s, `stage "b"`), strings.Index(s, `stage "c"`)
			r.write("plumb.hcl", s[:i]+s[j:])
		}, want: "stage b (removed) [b]"},
		"a stage renamed": {change: func(r *rig) {
			r.write("plumb.hcl", header+strings.NewReplacer(`stage "a"`, `stage "first"`, "stage.a.", "stage.first.").Replace(diffed))
		}, want: "stage first (renamed) a > first [first]"},
		"an image": {change: func(r *rig) {
			r.write("image/index.json", strings.ReplaceAll(string(must(os.ReadFile(filepath.Join(r.dir, "image/index.json")))), "linux", "linux"))
			r.edit("image/index.json", `"size":2`, `"size":3`)
			b := string(must(os.ReadFile(filepath.Join(r.dir, "image/index.json"))))
			i := strings.Index(b, "sha256:") + 7
			r.write("image/index.json", b[:i]+strings.Repeat("ab", 32)+b[i+64:])
		}, want: "image x [a b c]\n  note their packages are not compared: this runtime does not tell what images it has"},
		"limits": {change: func(r *rig) {
			r.edit("plumb.hcl", "seed    = 1", "seed    = 1\n  timeout = \"3m\"\n  resources {\n    memory = \"64MiB\"\n  }")
		}, want: "config stage.a.timeout (added)  > 3m0s [a]\nconfig stage.a.resources.memory (added)  > 64MiB [a]"},
		"an export":              {change: func(r *rig) { r.edit("plumb.hcl", "out.csv", "exported.csv") }, want: "config export.exported.csv (added)  > stage.c.all []\nconfig export.out.csv (removed) stage.c.all >  []"},
		"a comment":              {change: func(r *rig) { r.edit("plumb.hcl", `stage "c"`, "# why\nstage \"c\"") }, want: "config plumb.hcl (its text alone) []\n  +# why"},
		"reading from elsewhere": {change: func(r *rig) { r.edit("plumb.hcl", "text = stage.b.text }", "text = stage.a.rows }") }, want: "input b.txt (removed) [c]"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := diffRig(t)
			r.mustRun()
			if tt.change != nil {
				tt.change(r)
			}
			r.mustRun(func(q *RunRequest) { q.Project.Params = tt.params })
			doc := r.diffLatest()
			got := strings.NewReplacer(string(doc.A.Run), "A", string(doc.B.Run), "B").Replace(brief(doc.Causes))
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("causes (-want +got):\n%s", d)
			}
			if doc.Same != (tt.want == "") {
				t.Errorf("same is %t", doc.Same)
			}
			if len(doc.Unknown)+len(doc.Notes) > 0 {
				t.Errorf("unknown %v, notes %q", doc.Unknown, doc.Notes)
			}
			for i := range doc.Consequences {
				if c := &doc.Consequences[i]; c.Kind == compare.Status {
					t.Errorf("a consequence %v", c)
				}
			}
		})
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestWhyNamesTheSame asks why of each stage between two runs, and wants for every stage
// what diff says of it, once.
func TestWhyNamesTheSame(t *testing.T) {
	tests := map[string]struct {
		change func(r *rig)
		params map[string]string
		want   map[string]string // by stage: its own changes, and those before it
	}{
		"a param": {params: map[string]string{"n": "2"}, want: map[string]string{"a": "param n 1 > 2", "b": "param n 1 > 2", "c": "input b.txt from b | param n 1 > 2 [b]"}},
		"a value": {change: func(r *rig) { r.edit("rows.csv", "20", "21") }, want: map[string]string{"a": "input rows.csv", "c": "input a.csv from a | input rows.csv [a]"}},
		"a renamed input": {change: func(r *rig) {
			r.edit("plumb.hcl", `"code.txt"`, `"other.txt"`)
			r.write("other.txt", "one\ntwo\nthree\n")
		}, want: map[string]string{"a": "input other.txt code.txt > other.txt"}},
		"a seed that follows": {change: func(r *rig) { r.edit("plumb.hcl", "seed    = 1", "seed    = param.n") }, params: map[string]string{"n": "2"}, want: map[string]string{"a": "param n 1 > 2", "b": "param n 1 > 2"}},
		"an output's name": {change: func(r *rig) {
			r.edit("plumb.hcl", "{ rows =", "{ lines =")
			r.edit("plumb.hcl", "stage.a.rows", "stage.a.lines")
		}, want: map[string]string{"a": "output lines rows > lines", "c": ""}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := diffRig(t)
			r.mustRun()
			if tt.change != nil {
				tt.change(r)
			}
			r.mustRun(func(q *RunRequest) { q.Project.Params = tt.params })
			runs := must(r.Runs(t.Context(), RunsRequest{Dir: r.dir})).Runs
			for stage, want := range tt.want {
				doc, err := r.Why(t.Context(), WhyRequest{Request: Request{Project: Project{Dir: r.dir}}, Stage: stage, RunA: string(runs[1].ID), RunB: string(runs[0].ID)})
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(want, whyBrief(doc)); d != "" {
					t.Errorf("%s (-want +got):\n%s", stage, d)
				}
			}
		})
	}
}

func whyBrief(doc *WhyDoc) string {
	var own []string
	for _, c := range doc.Changes {
		text := strings.TrimSpace(string(c.Kind) + " " + c.Name)
		if !strings.Contains(c.Old+c.New, "sha256:") {
			text += " " + c.Old + " > " + c.New
		}
		if c.From != "" {
			text += " from " + c.From
		}
		own = append(own, text)
	}
	out := strings.Join(own, ", ")
	for _, c := range doc.Causes {
		out += " | " + strings.Split(brief([]Difference{c}), "\n")[0]
	}
	return out
}

func TestWhyOfWhatWaits(t *testing.T) {
	r := diffRig(t)
	r.mustRun()
	doc, err := r.Why(t.Context(), WhyRequest{Request: Request{Project: Project{Dir: r.dir, Params: map[string]string{"n": "2"}}}, Stage: "c"})
	if err != nil {
		t.Fatal(err)
	}
	if doc.Decision != plan.Pending || brief(doc.Causes) != "param n 1 > 2 [a b]" {
		t.Errorf("%s: %s", doc.Decision, brief(doc.Causes))
	}
}

// consequencesOf writes what came of it.
func consequencesOf(doc *DiffDoc) string {
	var out []string
	for i := range doc.Consequences {
		d := &doc.Consequences[i]
		if d.Kind == compare.Duration {
			continue
		}
		text := d.Stage + ": " + strings.TrimSpace(string(d.Kind)+" "+d.Name)
		if !strings.Contains(d.Old+d.New, "sha256:") && d.Old+d.New != string(d.Old)+"" || d.Kind == compare.Status {
			text += " " + d.Old + " > " + d.New
		}
		if d.Relative != nil {
			text += fmt.Sprintf(" %+.2f", *d.Relative)
		}
		if d.Detail != "" {
			text += " (" + d.Detail + ")"
		}
		out = append(out, text)
	}
	return strings.Join(out, "\n")
}

func TestDiffTellsWhatCameOfIt(t *testing.T) {
	const metrics = `
param "acc" { default = 0.5 }
param "more" { default = "" }
stage "a" {
  command = ["write", "m.json", "{\"acc\": ${param.acc}, \"same\": 1${param.more}}", ";", "write", "kept", "as ever"]
  outputs = { kept = "kept", log = "m.json" }
  metrics = "m.json"
}
stage "b" {
  inputs  = [stage.a.kept]
  command = ["copy", "kept", "b"]
  outputs = { b = "b" }
}
stage "late" {
  command = ["write", "l", "${stage.a.metrics.acc}"]
  outputs = { l = "l" }
}
stage "d" {
  command = ["fail", "${param.acc == 0.9 ? 3 : 0}"]
}
`
	r := newRig(t, metrics)
	run := func(params map[string]string) string {
		_, _, err := r.ran(t.Context(), func(q *RunRequest) { q.Project.Params, q.KeepGoing = params, true })
		if err != nil {
			return err.Error()
		}
		return ""
	}
	steps := []struct {
		name         string
		params       map[string]string
		causes, want string
	}{
		{"first", map[string]string{}, "", ""},
		{"a metric moves", map[string]string{"acc": "0.75"}, "param acc 0.5 > 0.75 [a d]", "a: output kept (equal)\na: output log (changed)\na: metric acc 0.5 > 0.75 +0.50\nlate: upstream a (it reads from a)\nlate: output l (changed)"},
		{"a metric comes", map[string]string{"acc": "0.75", "more": `, "new": 0`}, "param more \"\" > \", \\\"new\\\": 0\" [a]", "a: output kept (equal)\na: output log (changed)\na: metric new  > 0 (run ID has none)"},
		{"a stage fails", map[string]string{"acc": "0.9", "more": `, "new": 0`}, "param acc 0.75 > 0.9 [a d]", "a: output kept (equal)\na: output log (changed)\na: metric acc 0.75 > 0.9 +0.20\nd: status cached > failed (its command ended with exit status 3)\nlate: upstream a (it reads from a)\nlate: output l (changed)"},
	}
	for i, st := range steps {
		run(st.params)
		if i == 0 {
			continue
		}
		doc := r.diffLatest()
		if d := cmp.Diff(st.causes, brief(doc.Causes)); d != "" {
			t.Errorf("%s: causes (-want +got):\n%s", st.name, d)
		}
		got := strings.NewReplacer(string(doc.A.Run), "ID", string(doc.B.Run), "ID").Replace(consequencesOf(doc))
		if d := cmp.Diff(st.want, got); d != "" {
			t.Errorf("%s: consequences (-want +got):\n%s", st.name, d)
		}
	}
}

// TestDiffOfAStageThatVaries forces a stage that gives something else each time: nobody
// changed anything, and that is what is told.
func TestDiffOfAStageThatVaries(t *testing.T) {
	r := newRig(t, "stage \"a\" {\n command = [\"random\", \"x\"]\n outputs = { x = \"x\" }\n}\nstage \"b\" {\n inputs = [stage.a]\n command = [\"copy\", \"x\", \"y\"]\n outputs = { y = \"y\" }\n}\n")
	r.mustRun()
	r.mustRun(func(q *RunRequest) { q.Force = []string{"a"} })
	doc := r.diffLatest()
	if len(doc.Causes) != 1 || doc.Causes[0].Kind != compare.Varied || doc.Causes[0].Name != "stage.a.x" || doc.Causes[0].Stage != "a" || len(doc.Causes[0].Diff) == 0 || doc.Same || doc.Equal != 0 {
		t.Errorf("%d equal, causes: %s", doc.Equal, brief(doc.Causes))
	}
	if d := cmp.Diff("a: output x (changed)\nb: upstream a (it reads from a)\nb: output y (changed)", consequencesOf(doc)); d != "" {
		t.Errorf("consequences (-want +got):\n%s", d)
	}
}

// TestDiffOfAnExecutableBitThatWent goes the other way.
func TestDiffOfAnExecutableBitThatWent(t *testing.T) {
	r := diffRig(t)
	chmod := func(mode os.FileMode) {
		for _, name := range []string{"code.txt", "dir/code.txt"} {
			if err := os.Chmod(filepath.Join(r.dir, name), mode); err != nil {
				t.Fatal(err)
			}
		}
	}
	chmod(0o755)
	r.mustRun()
	chmod(0o644)
	r.edit("dir/code.txt", "x", "z")
	r.mustRun()
	want := "input code.txt [a]\n  note its executable bit was removed, and nothing else\ninput dir [b]\n  changed code.txt\n  -x\n  +z\n  note its executable bit was removed"
	if d := cmp.Diff(want, brief(r.diffLatest().Causes)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestDiffSaysWhichFileLies has the old file not of its form, then both, and then one
// that is in a directory. why says it, too, also of what did not run yet.
func TestDiffSaysWhichFileLies(t *testing.T) {
	r := newRig(t, "stage \"a\" {\n inputs = [\"t.csv\", \"d\"]\n command = [\"print\", \"x\"]\n}\n")
	r.write("t.csv", "a,b\n1,2,3\n")
	r.write("d/t.csv", "a,b\n1,2\n")
	r.mustRun()
	steps := []struct{ name, file, text, want string }{
		{"the old one", "t.csv", "a,b\n1,2\n", "\"t.csv\" of run A is not csv as its name says: line 2: 3 fields, where the first row has 2"},
		{"the new one", "t.csv", "a,b\n\x00\n", "\"t.csv\" of run B is not csv as its name says: line 2: a NUL byte: the file is not text; not text: 8 bytes before, 6 now"},
		{"both", "t.csv", "a,b\n1\n", "\"t.csv\" of run A is not csv as its name says: line 2: a NUL byte: the file is not text; \"t.csv\" of run B is not csv as its name says: line 2: 1 field, where the first row has 2; not text: 6 bytes before, 6 now"},
		{"in a directory", "d/t.csv", "a,b\n1\n", "\"d/t.csv\" of run B is not csv as its name says: line 2: 1 field, where the first row has 2"},
	}
	for _, st := range steps {
		r.write(st.file, st.text)
		why := must(r.Why(t.Context(), WhyRequest{Request: Request{Project: Project{Dir: r.dir}}, Stage: "a"}))
		r.mustRun()
		doc := r.diffLatest()
		told := func(c *Change) string {
			if len(c.Entries) > 0 {
				return c.Entries[0].Note
			}
			return c.Note
		}
		got := strings.NewReplacer(string(doc.A.Run), "A", string(doc.B.Run), "B").Replace(told(&doc.Causes[0].Change))
		if d := cmp.Diff(st.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", st.name, d)
		}
		if !slices.Equal(doc.Malformed, []string{st.file}) {
			t.Errorf("%s: malformed is %q", st.name, doc.Malformed)
		}
		want := strings.NewReplacer("of run A", "as it was", "of run B", "as it is now").Replace(st.want)
		if got := told(&why.Changes[0]); got != want {
			t.Errorf("%s: why says %q, want %q", st.name, got, want)
		}
	}
}

func TestDiffOfARenamedOutput(t *testing.T) {
	r := newRig(t, "stage \"a\" {\n command = [\"write\", \"x\", \"1\", \";\", \"random\", \"y\"]\n outputs = { report = \"x\", old = \"y\" }\n}\n")
	r.mustRun()
	r.edit("plumb.hcl", "report", "rep")
	r.edit("plumb.hcl", "old", "new")
	r.mustRun()
	doc := r.diffLatest()
	var got []string
	for i := range doc.Consequences {
		if c := &doc.Consequences[i]; c.Kind == compare.Output {
			got = append(got, fmt.Sprint(c.OldName, " > ", c.Name, " ", c.Equal))
		}
	}
	slices.Sort(got)
	if d := cmp.Diff([]string{"old > new false", "report > rep true"}, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestDiffOfALeafThatVaries has nobody read what varies. It is told all the same, as a
// table where it is one, after the record was replaced; and why says it of the stage.
func TestDiffOfALeafThatVaries(t *testing.T) {
	r := newRig(t, "stage \"a\" {\n command = [\"random\", \"x.csv\"]\n outputs = { x = \"x.csv\" }\n}\n")
	r.mustRun()
	for range 2 {
		r.mustRun(func(q *RunRequest) { q.Force = []string{"a"} })
	}
	runs := must(r.Runs(t.Context(), RunsRequest{Dir: r.dir})).Runs
	for _, pair := range [][2]int{{1, 0}, {2, 1}} {
		older, newer := string(runs[pair[0]].ID), string(runs[pair[1]].ID)
		doc := r.diffLatest(func(q *DiffRequest) { q.A, q.B = older, newer })
		if len(doc.Causes) != 1 || doc.Causes[0].Stage != "a" || doc.Causes[0].Table == nil || doc.Same || doc.Equal != 0 {
			t.Errorf("%d equal, same is %t, causes: %s", doc.Equal, doc.Same, brief(doc.Causes))
		}
		why := must(r.Why(t.Context(), WhyRequest{Request: Request{Project: Project{Dir: r.dir}}, Stage: "a", RunA: older, RunB: newer}))
		if len(why.Changes) != 1 || why.Changes[0].Kind != compare.Varied || why.Changes[0].Table == nil || len(why.Reasons) != 1 || why.Reasons[0].Kind != compare.Varied {
			t.Errorf("why says %+v", why)
		}
	}
}

func TestDiffWithoutData(t *testing.T) {
	r := diffRig(t)
	r.mustRun()
	r.edit("rows.csv", "20", "21")
	r.mustRun()
	doc := r.diffLatest(func(q *DiffRequest) { q.NoData = true })
	if want := "input rows.csv [a]\n  -2,20\n  +2,21"; brief(doc.Causes) != want {
		t.Errorf("got %s", brief(doc.Causes))
	}
}

func TestDiffOfWhatIsNotThere(t *testing.T) {
	r := diffRig(t)
	ask := func(a, b string) string {
		t.Helper()
		_, err := r.Diff(t.Context(), DiffRequest{Request: Request{Project: Project{Dir: r.dir}}, A: a, B: b})
		e := AsError(err)
		if err == nil || e.Kind != Invalid {
			t.Errorf("%q %q: %v", a, b, err)
			return ""
		}
		return e.Message + " | " + e.Hint
	}
	wantText := func(got, want string) {
		t.Helper()
		if !strings.Contains(got, want) {
			t.Errorf("got %q, want %q in it", got, want)
		}
	}
	wantText(ask("", ""), "there is no run of this project yet")
	r.mustRun()
	first := must(r.Runs(t.Context(), RunsRequest{Dir: r.dir})).Runs[0].ID
	wantText(ask("", ""), "is the first of its project")
	r.edit("rows.csv", "20", "21")
	r.mustRun()
	last := must(r.Runs(t.Context(), RunsRequest{Dir: r.dir})).Runs[0].ID
	wantText(ask("nonsense", ""), `there is no run "nonsense"`)
	wantText(ask(string(first), string(last)[:len(last)-1]+"?"), "did you mean "+string(last)+"?")
	wantText(ask("2", ""), `"2" is the beginning of several runs | name one of: `+string(last))
	if err := r.store.PutRun(&store.Run{ID: last + "z", Project: r.dir, Status: statusRunning}); err != nil {
		t.Fatal(err)
	}
	wantText(ask(string(first), string(last)+"z"), "is still under way")
}

// imagesRuntime is a fake runtime that has images: directories.
type imagesRuntime struct {
	*fakeRuntime
	roots map[string]string // by manifest
}

func (f *imagesRuntime) Images(context.Context) ([]runtime.StoredImage, error) { return nil, nil }

func (f *imagesRuntime) Has(_ context.Context, manifest string) (bool, error) {
	return f.roots[manifest] != "", nil
}

func (f *imagesRuntime) Remove(context.Context, string) error { return nil }

func (f *imagesRuntime) OpenBlob(context.Context, string) (io.ReadCloser, error) {
	return nil, errors.New("there are no blobs")
}

func (f *imagesRuntime) View(_ context.Context, manifest string, fn func(string) error) error {
	return fn(f.roots[manifest])
}

// TestDiffLooksIntoImages changes a package, and then a file, and then an image that is
// gone.
func TestDiffLooksIntoImages(t *testing.T) {
	const status = "Package: libc6\nStatus: install ok installed\nVersion: 2.36\nArchitecture: amd64\n\nPackage: numpy\nStatus: install ok installed\nVersion: 1.24\nArchitecture: amd64\n\n"
	r := diffRig(t)
	roots := map[string]string{}
	dir := r.store.Dir()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	e, err := Open(Config{Dir: dir, NewRuntime: func(context.Context, Place) (runtime.Runtime, error) { return &imagesRuntime{r.rt, roots}, nil }})
	if err != nil {
		t.Fatal(err)
	}
	r.Engine = e
	t.Cleanup(func() { // after it what closes the rig's own again
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	image := func(seed string, files map[string]string) {
		root := t.TempDir()
		for name, text := range files {
			if err := writeBelow(root, name, []byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		d := store.Sum([]byte(seed)).String()
		roots[d] = root
		b := string(must(os.ReadFile(filepath.Join(r.dir, "image/index.json"))))
		i := strings.Index(b, "sha256:")
		r.write("image/index.json", b[:i]+d+b[i+len(d):])
		r.mustRun()
	}
	image("one", map[string]string{"var/lib/dpkg/status": status})
	steps := []struct {
		seed  string
		files map[string]string
		want  string
	}{
		{"two", map[string]string{"var/lib/dpkg/status": strings.Replace(status, "1.24", "2.0", 1)}, "image x [a b c]\n  changed numpy 1.24 2.0"},
		{"three", map[string]string{"var/lib/dpkg/status": strings.Replace(status, "1.24", "2.0", 1), "etc/conf": "x"}, "image x [a b c]\n  added etc"},
		{"four", map[string]string{"var/lib/dpkg/status": strings.Replace(status, "1.24", "2.0", 1), "etc/conf": "x"}, "image x [a b c]\n  note their packages and files are the same: they differ in how these lie in layers, or in the config"},
	}
	for _, st := range steps {
		image(st.seed, st.files)
		doc := r.diffLatest()
		if d := cmp.Diff(st.want, brief(doc.Causes)); d != "" {
			t.Errorf("%s (-want +got):\n%s", st.seed, d)
		}
	}
	delete(roots, store.Sum([]byte("three")).String())
	if want := "image " + store.Sum([]byte("three")).String() + " is not among those that are kept: their packages cannot be compared; plumb restore of a run that had it, and a run there, bring it back"; r.diffLatest().Causes[0].Note != want {
		t.Errorf("got %q", r.diffLatest().Causes[0].Note)
	}
}

func TestDiffOfOtherFiles(t *testing.T) {
	r := newRig(t, `
param "keep" { default = 2 }
stage "a" {
  command = ["write", "x", "${file("words.txt")}"]
  outputs = { x = "x" }
}
stage "b" {
  for_each = fileset("d", "*.txt")
  command  = ["write", "y-${each.value}", each.value]
  outputs  = { y = "y-${each.value}" }
  timeout  = "${param.keep}m"
}
`)
	r.write("words.txt", "one\ntwo\n")
	r.write("d/1.txt", "")
	r.mustRun()
	steps := []struct {
		name   string
		change func()
		params map[string]string
		want   string
	}{
		{"a file that a text has in it", func() { r.write("words.txt", "one\nzwei\n") }, nil, "config words.txt (read by file()) [a]\n  -two\n  +zwei"},
		{"a file that a fileset finds", func() { r.write("d/2.txt", "") }, nil, "stage b[2.txt] (added) [b[2.txt]]"},
		{"a param that is in no key is no setting besides", nil, map[string]string{"keep": "3"}, "param keep 2 > 3 []"},
		{"such a param, and the text", func() { r.edit("plumb.hcl", "for_each", "# each\n  for_each") }, map[string]string{"keep": "4"}, "param keep 3 > 4 []\nconfig plumb.hcl (its text alone) []\n  +  # each"},
		{"such a param, and a limit", func() { r.edit("plumb.hcl", "timeout  =", "grace    = \"1s\"\n  timeout  =") }, map[string]string{"keep": "3"}, "param keep 4 > 3 []\nconfig stage.b.grace 10s > 1s [b[1.txt] b[2.txt]]"},
		{"a lock alone", func() { r.write(hcl.LockFile, string((&hcl.Lock{}).Encode())) }, map[string]string{"keep": "3"}, ""},
	}
	for _, st := range steps {
		if st.change != nil {
			st.change()
		}
		r.mustRun(func(q *RunRequest) { q.Project.Params = st.params })
		doc := r.diffLatest()
		if d := cmp.Diff(st.want, brief(doc.Causes)); d != "" {
			t.Errorf("%s (-want +got):\n%s", st.name, d)
		}
	}
}

// What is in no key is compared also where a value is not recorded, which costs nothing
// but what is made of it.
func TestDiffOfPipelinesWithASensitiveParam(t *testing.T) {
	r := newRig(t, `
param "token" { sensitive = true }
stage "a" {
  command = ["write", "x", "y"]
  outputs = { x = "x" }
  env     = { T = "t-${param.token}" }
  timeout = "2m"
}
`)
	given := func(q *RunRequest) { q.Project.Params = map[string]string{"token": "hunter2"} }
	r.mustRun(given)
	r.edit("plumb.hcl", `"2m"`, `"3m"`)
	r.mustRun(given)
	doc := r.diffLatest()
	if got := brief(doc.Causes); got != "config stage.a.timeout 2m0s > 3m0s [a]" || len(doc.Notes) > 0 {
		t.Errorf("got %q, %q", got, doc.Notes)
	}
}

// TestDiffTellsAFileOnce has stages that read a file by itself, as part of a directory,
// and as part of a directory in it.
func TestDiffTellsAFileOnce(t *testing.T) {
	stage := func(name, input string) string {
		return fmt.Sprintf("stage %q {\n inputs = [%q]\n command = [\"write\", %q, \"x\"]\n outputs = { o = %q }\n}\n", name, input, name, name)
	}
	r := newRig(t, stage("file", "d/e/f.txt")+stage("outer", "d")+stage("inner", "d/e")+stage("other", "g.txt"))
	r.write("d/e/f.txt", "one\n")
	r.write("d/x.txt", "x\n")
	r.write("g.txt", "g\n")
	r.mustRun()
	r.write("d/e/f.txt", "two\n")
	r.write("g.txt", "h\n")
	r.mustRun()
	want := "input d [file inner outer]\n  changed e/f.txt\n  -one\n  +two\n\ninput g.txt [other]\n  -g\n  +h"
	if d := cmp.Diff(strings.ReplaceAll(want, "\n\n", "\n"), brief(r.diffLatest().Causes)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestDiffOfLargeAndBinaryFiles names what is not compared line by line.
func TestDiffOfLargeAndBinaryFiles(t *testing.T) {
	r := newRig(t, "stage \"a\" {\n inputs = [\"big.txt\", \"bin\", \"t.csv\"]\n command = [\"print\", \"x\"]\n}\n")
	rows := strings.Repeat("1,2,3\n", 400_000)
	r.write("big.txt", rows)
	r.write("bin", "\x00\x01")
	r.write("t.csv", "a,b,c\n"+rows)
	r.mustRun()
	r.write("big.txt", rows+"4,5,6\n")
	r.write("bin", "\x00\x01\x02")
	r.write("t.csv", "a,b,c\n"+rows+"4,5,6\n")
	r.mustRun()
	want := "input big.txt [a]\n  note too large to compare line by line\ninput bin [a]\n  note not text: 2 bytes before, 3 now\ninput t.csv [a]\n  rows 400000 > 400001: +1 -0 ~0, columns +0 -0"
	if d := cmp.Diff(want, brief(r.diffLatest().Causes)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	left, err := os.ReadDir(filepath.Join(r.store.Dir(), "tmp"))
	if err != nil || len(left) > 0 && strings.HasPrefix(left[0].Name(), "table-") {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestDiffByProfile changes a value that a profile gives: it stands in the files, which
// are told no second time.
func TestDiffByProfile(t *testing.T) {
	r := newRig(t, "param \"n\" { default = 1 }\nprofile \"small\" { params = { n = 2 } }\nstage \"a\" {\n command = [\"print\", \"${param.n}\"]\n}\n")
	small := func(q *RunRequest) { q.Project.Profile = "small" }
	r.mustRun()
	r.mustRun(small)
	if got, want := brief(r.diffLatest().Causes), "profile  > small []\nparam n 1 > 2 [a]"; got != want {
		t.Errorf("another profile: %s, want %s", got, want)
	}
	r.edit("plumb.hcl", "n = 2", "n = 3")
	r.mustRun(small)
	if got, want := brief(r.diffLatest().Causes), "param n 2 > 3 [a]"; got != want {
		t.Errorf("another value in the profile: %s, want %s", got, want)
	}
}

// TestDiffAcrossProjects names a run of another directory in full.
func TestDiffAcrossProjects(t *testing.T) {
	r := diffRig(t)
	r.mustRun()
	first := must(r.Runs(t.Context(), RunsRequest{Dir: r.dir})).Runs[0].ID
	other := t.TempDir()
	if err := os.CopyFS(other, os.DirFS(r.dir)); err != nil {
		t.Fatal(err)
	}
	r.dir = other
	r.mustRun()
	doc := r.diffLatest(func(q *DiffRequest) { q.A = string(first) })
	if !doc.Same || doc.Equal != 3 || doc.A.Run != first {
		t.Errorf("%+v", doc)
	}
	if _, err := r.Diff(t.Context(), DiffRequest{Request: Request{Project: Project{Dir: r.dir}}, A: string(first)[len(first)-4:]}); err == nil {
		t.Error("the last letters of a run of another project were taken")
	}
}

// TestDiffOfWhatIsCollected drops the records behind a run: what is known is told, and
// what is not.
func TestDiffOfWhatIsCollected(t *testing.T) {
	r := diffRig(t)
	r.mustRun()
	r.edit("rows.csv", "20", "21")
	r.mustRun(func(q *RunRequest) { q.Project.Params = map[string]string{"idle": "3"} })
	run := must(r.store.Run(must(r.Runs(t.Context(), RunsRequest{Dir: r.dir})).Runs[1].ID))
	r.write("rows.csv", rowsCSV)
	r.mustRun()
	for i := range run.Stages { // as if gc had taken what the old run had, and left its record
		run.Stages[i].Key = store.Key(store.Sum([]byte(run.Stages[i].Name)))
	}
	run.ID, run.Started = "20250101-000000-aaaa", run.Started.AddDate(-1, 0, 0)
	if err := r.store.PutRun(run); err != nil {
		t.Fatal(err)
	}
	doc := r.diffLatest(func(q *DiffRequest) { q.A = string(run.ID) })
	if len(doc.Causes) != 0 || len(doc.Unknown) != 3 || doc.Same || doc.Unknown[0].Detail != "what it was in run "+string(run.ID)+" is not kept any more" {
		t.Errorf("causes %s, unknown %v", brief(doc.Causes), doc.Unknown)
	}
}
