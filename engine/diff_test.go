package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plumb/engine/compare"
	"plumb/engine/plan"
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
		"a file that lies":                      {change: func(r *rig) { r.edit("rows.csv", "2,20", "2,20,9,9") }, want: "input rows.csv [a]\n  -2,20\n  +2,20,9,9\n  note not csv as its name says: line 3: 4 fields, where the first row has 2"},
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
		}, want: "input code.txt [a]\n  note only its executable bit changed"},
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
			if d := cmp.Diff(tt.want, brief(doc.Causes)); d != "" {
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
