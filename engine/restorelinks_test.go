package engine

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plumb/store"
	"plumb/store/tree"
)

const behind = `
stage "a" {
  inputs  = ["code"]
  command = ["write", "a.txt", "1"]
  outputs = { o = "a.txt" }
}
stage "b" {
  inputs  = ["code/lib/x.py"]
  command = ["copy", "code/lib/x.py", "b.txt"]
  outputs = { o = "b.txt" }
}
`

// What a run read through a link of a directory that it read as well is restored to where
// the link leads.
func TestRestoreBehindALink(t *testing.T) {
	for _, c := range []struct{ name, link, real string }{
		{"beside the directory", "../shared", "shared/x.py"},
		{"in the directory", "real", "code/real/x.py"},
		{"below another name", "../some/where/else", "some/where/else/x.py"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, behind)
			r.write("code/a.py", "1")
			r.write(c.real, "of the run")
			if err := os.Symlink(c.link, filepath.Join(r.dir, "code/lib")); err != nil {
				t.Fatal(err)
			}
			commit := r.committed()
			if _, _, err := r.ran(t.Context()); err != nil {
				t.Fatal(err)
			}
			fresh, _, err := r.restore(func(*RestoreRequest) {})
			if err != nil {
				t.Fatal(err)
			}
			r.write(c.real, "changed")
			commit()
			placed, _, err := r.restore(func(q *RestoreRequest) { q.InPlace, q.To = true, "" })
			if err != nil {
				t.Fatal(err)
			}
			for _, doc := range []*RestoreDoc{fresh, placed} {
				for _, name := range []string{c.real, "code/lib/x.py"} {
					if b, err := os.ReadFile(filepath.Join(doc.To, name)); err != nil || string(b) != "of the run" {
						t.Errorf("%s holds %q, %v", name, b, err)
					}
				}
				if to, err := os.Readlink(filepath.Join(doc.To, "code/lib")); err != nil || to != c.link {
					t.Errorf("the link leads to %q, %v", to, err)
				}
				status, err := r.again(doc)
				if err != nil {
					t.Fatal(err)
				}
				wantStatus(t, status, map[string]string{"a": "cached", "b": "cached"})
			}
		})
	}
}

// A link that no run would have taken into the store is not followed.
func TestRestoreBehindALinkThatLeaves(t *testing.T) {
	outside := t.TempDir()
	for _, c := range []struct{ name, link, says string }{
		{"absolute", outside, "leaves the project"},
		{"above", "../../..", "leaves the project"},
		{"in a circle", "lib", "in a circle"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, behind)
			r.write("code/lib/x.py", "of the run")
			if _, _, err := r.ran(t.Context()); err != nil {
				t.Fatal(err)
			}
			run, err := r.store.Run(r.lastRun())
			if err != nil {
				t.Fatal(err)
			}
			manifest, err := r.store.PutBytes(t.Context(), tree.Encode([]tree.Entry{{Path: "lib", Kind: tree.KindLink, Link: c.link}}), false)
			if err != nil {
				t.Fatal(err)
			}
			for i := range run.Places {
				if run.Places[i].Path == "code" {
					run.Places[i].Artifact = store.Artifact{Kind: store.KindTree, Digest: manifest.Digest}
				}
			}
			if err := r.store.PutRun(run); err != nil {
				t.Fatal(err)
			}
			parent := t.TempDir()
			_, _, err = r.restore(func(q *RestoreRequest) { q.To = filepath.Join(parent, "x") })
			var e *Error
			if !errors.As(err, &e) || e.Kind != Machine || !strings.Contains(e.Message, c.says) {
				t.Errorf("the error is %v", err)
			}
			for _, dir := range []string{outside, parent} {
				if diff := cmp.Diff(map[string]string{}, contents(t, dir)); diff != "" {
					t.Errorf("%s\n%s", dir, diff)
				}
			}
		})
	}
}

// Where no link should be, none is followed.
func TestPlain(t *testing.T) {
	top := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(top, "d"), 0o700), os.Symlink("d", filepath.Join(top, "l")), os.WriteFile(filepath.Join(top, "f"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for name, ok := range map[string]bool{"x": true, "d/x": true, "d/e/x": true, "l": true, "l/x": false, "d/../l/x": false, "f/x": false} {
		if err := plain(top, name, known); err == nil != ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}
