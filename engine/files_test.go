package engine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plumb/hcl"
	"plumb/store"
)

const withReads = `
param "n" { default = 1 }
stage "a" {
  command = ["write", "a.txt", "${file("words.txt")} ${join(",", fileset("d", "*.csv"))} ${param.n}"]
  outputs = { out = "a.txt" }
}
`

// fileLines gives the files of the newest run, with what the store has of them.
func (r *rig) fileLines() []string {
	r.t.Helper()
	doc, err := r.Show(r.t.Context(), ShowRequest{Dir: r.dir})
	if err != nil {
		r.t.Fatal(err)
	}
	var out []string
	for _, f := range doc.Files {
		line := string(f.Role) + " " + f.Path
		switch {
		case f.Withheld:
			line += " withheld"
		case f.Kept():
			b, err := r.store.ReadBlob(f.Digest, 1<<20)
			if err != nil || int64(len(b)) != f.Size {
				r.t.Errorf("%s: %v, %d bytes instead of %d", f.Path, err, len(b), f.Size)
			}
			line += " " + strings.TrimSpace(strings.TrimPrefix(string(b), header))
		}
		out = append(out, line)
	}
	return out
}

func TestRunRecordsWhatItWasReadFrom(t *testing.T) {
	r := newRig(t, "")
	r.write("more.plumb.hcl", withReads)
	r.write("words.txt", "word")
	r.write("d/x.csv", "1")
	r.write("d/y.csv", "2")
	r.write("d/z.txt", "3")
	pin := hcl.LockFile
	lock := (&hcl.Lock{}).Encode()
	r.write(pin, string(lock))
	params := func(q *RunRequest) {
		q.Project.Files = []hcl.File{{Name: "/elsewhere/p.json", Data: []byte(`{"n": 2}`)}}
	}
	want := []string{
		"pipeline more.plumb.hcl " + strings.TrimSpace(withReads), "pipeline plumb.hcl ", `params /elsewhere/p.json {"n": 2}`, "lock " + pin + " " + strings.TrimSpace(string(lock)),
		"read words.txt word", "listed d/x.csv", "listed d/y.csv",
	}
	for _, how := range []string{"first", "cached", "expected to be cached"} {
		status, _, err := r.ran(t.Context(), params, func(q *RunRequest) { q.ExpectCached = strings.HasPrefix(how, "expected") })
		if err != nil {
			t.Fatal(how, err)
		}
		if d := cmp.Diff(want, r.fileLines()); d != "" {
			t.Errorf("%s, %v (-want +got):\n%s", how, status, d)
		}
	}
	r.write("plumb.hcl", header+"# a comment\n")
	if _, _, err := r.ran(t.Context(), params, func(q *RunRequest) { q.ExpectCached = true }); err != nil {
		t.Fatal(err)
	}
	want[1] = "pipeline plumb.hcl # a comment"
	if d := cmp.Diff(want, r.fileLines()); d != "" {
		t.Errorf("after a change that no key knows (-want +got):\n%s", d)
	}
}

func TestFailedRunRecordsItsFiles(t *testing.T) {
	r := newRig(t, "stage \"a\" {\n command = [\"fail\", \"3\"]\n}\n")
	if _, _, err := r.ran(t.Context()); err == nil {
		t.Fatal("it did not fail")
	}
	if got := r.fileLines(); len(got) != 1 || !strings.HasPrefix(got[0], "pipeline plumb.hcl ") {
		t.Errorf("files %q", got)
	}
}

// TestInterruptedRunKeepsItsFiles closes a run that a killed agent left.
func TestInterruptedRunKeepsItsFiles(t *testing.T) {
	r := newRig(t, "")
	a, err := r.store.PutBytes(t.Context(), []byte("as it was"), false)
	if err != nil {
		t.Fatal(err)
	}
	files := []store.RunFile{{Path: "plumb.hcl", Role: store.RolePipeline, Digest: a.Digest, Size: a.Size}}
	if err := r.store.PutRun(&store.Run{ID: "20260101-000000-abcd", Project: r.dir, Status: statusRunning, Files: files}); err != nil {
		t.Fatal(err)
	}
	dir := r.store.Dir()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	r.open(dir)
	if d := cmp.Diff([]string{"pipeline plumb.hcl as it was"}, r.fileLines()); d != "" {
		t.Error(d)
	}
}

func TestFilesThatGaveASensitiveParamAreWithheld(t *testing.T) {
	const secret = "hunter2-SECRET"
	r := newRig(t, "param \"pw\" {\n type = string\n sensitive = true\n}\nparam \"n\" {\n type = number\n default = 1\n}\nstage \"a\" {\n command = [\"write\", \"o\", \"${param.n}\"]\n outputs = { o = \"o\" }\n}\n")
	if _, _, err := r.ran(t.Context(), func(q *RunRequest) {
		q.Project.Files = []hcl.File{{Name: "pw.json", Data: []byte(`{"pw": "` + secret + `"}`)}, {Name: "n.hcl", Data: []byte("n = 2\n")}}
		q.Project.Params = map[string]string{"pw": "another"}
	}); err != nil {
		t.Fatal(err)
	}
	got := r.fileLines()
	if d := cmp.Diff([]string{"params pw.json withheld", "params n.hcl n = 2"}, got[1:]); d != "" {
		t.Error(d)
	}
	if _, ok := r.store.Stat(store.Sum([]byte(`{"pw": "` + secret + `"}`))); ok {
		t.Error("the file that holds the secret is kept")
	}
}

// TestChangedWhileRead changes a file that an expression read, behind the evaluation.
func TestChangedWhileRead(t *testing.T) {
	r := newRig(t, withReads)
	r.write("words.txt", "word")
	r.write("d/x.csv", "1")
	s, err := r.Engine.open(t.Context(), r.request().Request, pinning{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.readFiles(r.request().Project); err != nil {
		t.Errorf("unchanged: %v", err)
	}
	if err := os.Remove(filepath.Join(r.dir, "d/x.csv")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.readFiles(r.request().Project); err != errMoved {
		t.Errorf("changed: %v", err)
	}
}
