package engine

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plumb/hcl"
	"plumb/store"
)

const given = `
param "lr" { default = "0.1" }
stage "a" {
  inputs  = [INPUTS]
  command = ["write", "a.txt", "${param.lr}"]
  outputs = { o = "a.txt" }
}
`

// Restoring, running what that says, and committing can go on for ever.
func TestRestoreInPlaceOfWhatARestoreWrote(t *testing.T) {
	r := newRig(t, strings.Replace(given, "INPUTS", `"in.txt"`, 1))
	r.write("in.txt", "1")
	commit := r.committed()
	if _, _, err := r.ran(t.Context(), func(q *RunRequest) { q.Project.Params = map[string]string{"lr": "2"} }); err != nil {
		t.Fatal(err)
	}
	place := func(id store.RunID) func(*RestoreRequest) {
		return func(q *RestoreRequest) { q.InPlace, q.To, q.Run = true, "", string(id) }
	}
	first := r.lastRun()
	for round := range 3 {
		id := r.lastRun()
		doc, _, err := r.restore(place(id))
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if diff := cmp.Diff([]string{"plumb", "run", "--params", paramsFile}, doc.Command); diff != "" {
			t.Errorf("round %d: command (-want +got)\n%s", round, diff)
		}
		commit()
		r.write("in.txt", strings.Repeat("2", round+2)) // what is there is not what the run had
		commit()
		if _, _, err := r.restore(place(id)); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if b, err := os.ReadFile(filepath.Join(r.dir, paramsFile)); err != nil || !strings.Contains(string(b), `"lr": "2"`) {
			t.Errorf("round %d: the params are %q, %v", round, b, err)
		}
		commit()
		status, err := r.again(doc)
		if err != nil {
			t.Fatal(err)
		}
		wantStatus(t, status, map[string]string{"a": "cached"})
	}
	if r.lastRun() == first {
		t.Error("there was one run only")
	}
}

// The file of params takes the place of nothing that the run has, and is found by nothing
// that looks for files.
func TestRestoreNamesTheFileOfParams(t *testing.T) {
	for _, c := range []struct {
		name, inputs string
		file         string // what the run has besides
		given        string // the file of params that the run was given
		want         string
	}{
		{"nothing in the way", `"in.txt"`, "in.txt", "", paramsFile},
		{"a stage reads one", `"restored.params.json"`, paramsFile, "", ".restored.params.json"},
		{"a stage reads a directory", `"restored.params.json"`, paramsFile + "/x", "", ".restored.params.json"},
		{"a stage reads what is in it", `"restored.params.json/x"`, paramsFile + "/x", "", ".restored.params.json"},
		{"a pattern", `"*.json"`, "in.json", "", ".restored.params.json"},
		{"patterns", `"*.json", ".restored*"`, ".restored", "", ""},
		{"a pattern elsewhere", `"x/*.json"`, "x/in.json", "", paramsFile},
		{"other params of that name", `"in.txt"`, "in.txt", paramsFile, ".restored.params.json"},
		{"other params of that name, said in another way", `"in.txt"`, "in.txt", "./" + paramsFile, ".restored.params.json"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, strings.Replace(given, "INPUTS", c.inputs, 1))
			r.write(c.file, "1")
			r.write("other.json", "{}")
			const text = `{"lr": "2" }`
			if _, _, err := r.ran(t.Context(), func(q *RunRequest) {
				q.Project.Params = map[string]string{"lr": "3"}
				if c.given != "" {
					r.write(c.given, text)
					q.Project.Files = []hcl.File{{Name: c.given, Data: []byte(text)}}
				}
			}); err != nil {
				t.Fatal(err)
			}
			before := contents(t, r.dir)
			doc, _, err := r.restore(func(*RestoreRequest) {})
			if err != nil {
				t.Fatal(err)
			}
			name := doc.Command[slices.Index(doc.Command, "--params")+1]
			if c.want != "" && name != c.want {
				t.Errorf("the file of params is %q", name)
			}
			got := contents(t, doc.To)
			if !strings.Contains(got[name], `"lr": "3"`) {
				t.Errorf("it holds %q", got[name])
			}
			for path, text := range got {
				if path != name && text != before[path] {
					t.Errorf("%q holds %q, and held %q", path, text, before[path])
				}
			}
			if c.want == "" {
				return // there is no name that no pattern finds
			}
			status, err := r.again(doc)
			if err != nil {
				t.Fatal(err)
			}
			wantStatus(t, status, map[string]string{"a": "cached"})
		})
	}
}

// Where each name is found by a pattern, the file of params is not taken for what the run
// did not have.
func TestRestoreInPlaceOfParamsThatAPatternFinds(t *testing.T) {
	r := newRig(t, strings.Replace(given, "INPUTS", `"*.json", ".*.json"`, 1))
	r.write("in.json", "1")
	r.write(".in.json", "1")
	commit := r.committed()
	if _, _, err := r.ran(t.Context(), func(q *RunRequest) { q.Project.Params = map[string]string{"lr": "2"} }); err != nil {
		t.Fatal(err)
	}
	r.write(paramsFile, "of somebody else, and committed")
	commit()
	doc, _, err := r.restore(func(q *RestoreRequest) { q.InPlace, q.To = true, "" })
	if err != nil {
		t.Fatal(err)
	}
	if len(doc.Removed) > 0 || !slices.Contains(doc.Command, paramsFile) {
		t.Errorf("removed %q, command %q", doc.Removed, doc.Command)
	}
	if b, err := os.ReadFile(filepath.Join(r.dir, paramsFile)); err != nil || !strings.Contains(string(b), `"lr": "2"`) {
		t.Errorf("the params are %q, %v", b, err)
	}
}
