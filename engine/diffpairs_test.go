package engine

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A pipeline whose texts stand for several things at once, and whose values look alike.
const paired = `
param "n" { default = 1 }
stage "a" {
  command = ["write", "a.txt", "${param.n}"]
  inputs  = ["in.txt"]
  outputs = { out = "a.txt" }
  env     = { LEVEL = "1" }
  seed    = 1
}
stage "b" {
  for_each = { x = "1", y = { n = param.n } }
  command  = ["write", "b-${each.key}.txt", "${jsonencode(each.value)} ${file("t.txt")} ${param.n}"]
  outputs  = { out = "b-${each.key}.txt" }
  env      = { READ = file("u.txt"), EACH = jsonencode(each.value) }
}
stage "c" {
  command = ["write", "c.txt", "${param.n} ${join(" ", fileset("d", "*.txt"))}"]
  outputs = { out = "c.txt" }
  seed    = param.n
}
`

// single is a change that a user makes, with what diff and why tell of it.
type single struct {
	change func(r *rig)
	params map[string]string
	diff   string
	why    map[string]string // by stage
}

func singles() map[string]single {
	return map[string]single{
		"a param": {
			params: map[string]string{"n": "2"}, diff: "param n [a b[x] b[y] c]",
			why: map[string]string{"a": "param n", "b[x]": "param n", "b[y]": "param n", "c": "param n"},
		},
		"a seed":              {change: func(r *rig) { r.edit("plumb.hcl", "seed    = 1", "seed    = 2") }, diff: "seed [a]", why: map[string]string{"a": "seed"}},
		"an instance's value": {change: func(r *rig) { r.edit("plumb.hcl", `x = "1"`, `x = "2"`) }, diff: "value each.value [b[x]]", why: map[string]string{"b[x]": "value each.value"}},
		"a file in a text": {
			change: func(r *rig) { r.write("t.txt", "2") }, diff: "config t.txt [b[x] b[y]]",
			why: map[string]string{"b[x]": "command", "b[y]": "command"},
		},
		"a file in an entry": {
			change: func(r *rig) { r.write("u.txt", "2") }, diff: "config u.txt [b[x] b[y]]",
			why: map[string]string{"b[x]": "env READ", "b[y]": "env READ"},
		},
		"a file that a pattern finds": {change: func(r *rig) { r.write("d/2.txt", "") }, diff: "command [c]", why: map[string]string{"c": "command"}},
		"an input":                    {change: func(r *rig) { r.write("in.txt", "2") }, diff: "input in.txt [a]", why: map[string]string{"a": "input in.txt"}},
		"an entry":                    {change: func(r *rig) { r.edit("plumb.hcl", `LEVEL = "1"`, `LEVEL = "2"`) }, diff: "env LEVEL [a]", why: map[string]string{"a": "env LEVEL"}},
		"a command": {
			change: func(r *rig) { r.edit("plumb.hcl", `"a.txt", "${param.n}"`, `"a.txt", "n ${param.n}"`) }, diff: "command [a]",
			why: map[string]string{"a": "command"},
		},
	}
}

// TestPairsOfChanges makes every two changes at once, and each by itself: diff and why
// name these and nothing else, though one could stand for the other.
func TestPairsOfChanges(t *testing.T) {
	all := singles()
	var names []string
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	r := newRig(t, "")
	for i, one := range names {
		for _, other := range names[i:] {
			made := slices.Compact([]string{one, other})
			t.Run(strings.Join(made, " and "), func(t *testing.T) { r.wantPair(t, all, made) })
		}
	}
}

func (r *rig) wantPair(t *testing.T, all map[string]single, made []string) {
	r.project(paired)
	for _, name := range []string{"in.txt", "t.txt", "u.txt", "d/1.txt"} {
		r.write(name, "1")
	}
	if err := os.RemoveAll(filepath.Join(r.dir, "d/2.txt")); err != nil {
		t.Fatal(err)
	}
	r.mustRun()
	params := map[string]string{}
	var diff []string
	why := map[string][]string{"a": nil, "b[x]": nil, "b[y]": nil, "c": nil}
	for _, name := range made {
		s := all[name]
		if s.change != nil {
			s.change(r)
		}
		for k, v := range s.params {
			params[k] = v
		}
		diff = append(diff, s.diff)
		for stage, want := range s.why {
			why[stage] = append(why[stage], want)
		}
	}
	r.mustRun(func(q *RunRequest) { q.Project.Params = params })
	doc := r.diffLatest()
	var got []string
	for i := range doc.Causes {
		c := doc.Causes[i]
		c.Diff, c.Entries, c.Table, c.Note, c.Detail, c.Old, c.New = nil, nil, nil, "", "", "", ""
		got = append(got, brief([]Difference{c}))
	}
	wantLines(t, "diff", diff, got)
	for stage, want := range why {
		doc, err := r.Why(t.Context(), WhyRequest{Request: Request{Project: Project{Dir: r.dir}}, Stage: stage, RunA: string(doc.A.Run), RunB: string(doc.B.Run)})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range doc.Changes {
			got = append(got, strings.TrimSpace(string(c.Kind)+" "+c.Name))
		}
		wantLines(t, "why "+stage, want, got)
	}
}

// wantLines compares in any order.
func wantLines(t *testing.T, what string, want, got []string) {
	t.Helper()
	slices.Sort(want)
	slices.Sort(got)
	if d := cmp.Diff(slices.Compact(want), got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}
