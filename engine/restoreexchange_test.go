package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plumb/store"
)

// committed makes a work tree of a rig's project, and gives what commits all of it.
func (r *rig) committed() (commit func()) {
	r.t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		r.t.Skip("there is no git")
	}
	gitIn(r.t, r.dir, "init", "-q")
	commit = func() {
		r.t.Helper()
		gitIn(r.t, r.dir, "add", "-A")
		gitIn(r.t, r.dir, "commit", "-q", "--allow-empty", "-m", "x")
	}
	commit()
	return commit
}

// lastRun is the run that a test restores later.
func (r *rig) lastRun() store.RunID {
	r.t.Helper()
	last, err := r.store.LastRun(r.dir)
	if err != nil {
		r.t.Fatal(err)
	}
	return last.ID
}

// A restore in place touches nothing outside of the project: where a link took the place
// of a directory of the run it is refused, and a link that takes the place of what is
// restored is itself what goes.
func TestRestoreInPlaceFollowsNoLink(t *testing.T) {
	const src = `
source "g" { path = "in/sub/*.csv" }
stage "a" {
  inputs  = ["data/raw.csv", "tree", source.g]
  command = ["copy", "data/raw.csv", "a.csv"]
  outputs = { o = "a.csv" }
}
`
	for _, c := range []struct {
		name  string
		gone  string // what is replaced
		by    func(r *rig, outside, at string) error
		says  string // "" when it is restored
		holds string
	}{
		{"a directory of a file", "data", func(_ *rig, outside, at string) error { return os.Symlink(outside, at) }, `"data" leads to`, "data/raw.csv"},
		{"a directory of a pattern", "in", func(_ *rig, outside, at string) error { return os.Symlink(outside, at) }, `"in" leads to`, "in/sub/1.csv"},
		{"a directory, by a link in the project", "data", func(_ *rig, _, at string) error { return os.Symlink("other", at) }, `"data" leads to "other"`, "data/raw.csv"},
		{"a directory, by a file", "data", func(_ *rig, _, at string) error { return os.WriteFile(at, nil, 0o600) }, `"data" is to hold "data/raw.csv"`, ""},
		{"a directory that is an input", "tree", func(_ *rig, outside, at string) error { return os.Symlink(outside, at) }, "", "tree/x"},
		{"a file", "data/raw.csv", func(_ *rig, outside, at string) error { return os.Symlink(filepath.Join(outside, "raw.csv"), at) }, "", "data/raw.csv"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, src)
			r.write("data/raw.csv", "of the run")
			r.write("tree/x", "of the run")
			r.write("in/sub/1.csv", "of the run")
			r.write("other/raw.csv", "in the project")
			commit := r.committed()
			if _, _, err := r.ran(t.Context()); err != nil {
				t.Fatal(err)
			}
			id := r.lastRun()
			outside := t.TempDir()
			for _, name := range []string{"raw.csv", "x", "sub/1.csv", "sub/2.csv"} {
				if err := os.MkdirAll(filepath.Dir(filepath.Join(outside, name)), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(outside, name), []byte("mine"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			at := filepath.Join(r.dir, c.gone)
			if err := errors.Join(os.RemoveAll(at), c.by(r, outside, at)); err != nil {
				t.Fatal(err)
			}
			commit()
			theirs := contents(t, outside)
			other := filepath.Join(r.dir, "other/raw.csv")
			_, _, err := r.restore(func(q *RestoreRequest) { q.InPlace, q.To, q.Run = true, "", string(id) })
			if diff := cmp.Diff(theirs, contents(t, outside)); diff != "" {
				t.Errorf("outside of the project\n%s", diff)
			}
			if b, err := os.ReadFile(other); err != nil || string(b) != "in the project" {
				t.Errorf("what a link led to is %q, %v", b, err)
			}
			if left, _ := filepath.Glob(filepath.Join(r.dir, ".plumb-*")); len(left) > 0 {
				t.Errorf("%v is left", left)
			}
			if c.says != "" {
				var e *Error
				if !errors.As(err, &e) || e.Kind != Invalid || e.Hint == "" || !strings.Contains(e.Message, c.says) {
					t.Errorf("%v does not say %q", err, c.says)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if b, err := os.ReadFile(filepath.Join(r.dir, c.holds)); err != nil || string(b) != "of the run" {
				t.Errorf("%s holds %q, %v", c.holds, b, err)
			}
			if info, err := os.Lstat(at); err != nil || info.Mode()&fs.ModeSymlink != 0 {
				t.Errorf("the link is still there: %v, %v", info, err)
			}
		})
	}
}

// faulty fails at one of the changes that are made through it.
type faulty struct {
	below
	changes, at int
}

var errInjected = errors.New("injected")

func (f *faulty) fails() bool {
	f.changes++
	return f.changes == f.at
}

func (f *faulty) Mkdir(name string, mode fs.FileMode) error {
	if f.fails() {
		return errInjected
	}
	return f.below.Mkdir(name, mode)
}

func (f *faulty) Rename(from, to string) error {
	if f.fails() {
		return errInjected
	}
	return f.below.Rename(from, to)
}

// An exchange that fails at any of its steps leaves everything as it was.
func TestExchangeUndoes(t *testing.T) {
	old := map[string]string{"a": "old a", "d/x": "old x", "d/y": "old y", "gone/far/z": "old z", "kept": "kept"}
	fresh := map[string]string{"a": "new a", "d": "now a file", "n/e/w": "new", "n/e/v": "new"}
	const steps = 12 // of what can fail
	for at := 1; at <= steps+1; at++ {
		t.Run(fmt.Sprint("step ", at), func(t *testing.T) {
			dir := t.TempDir()
			r := &rig{t: t, dir: dir}
			for name, text := range old {
				r.write(name, text)
			}
			for name, text := range fresh {
				r.write(restoreTemp+"1/new/"+name, text)
			}
			before := contents(t, dir)
			root, err := os.OpenRoot(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close() //nolint:errcheck // it is only read
			f := &faulty{below: root, at: at}
			x := newExchange(f, restoreTemp+"1")
			for _, name := range []string{"a", "d", "n/e/v", "n/e/w"} {
				if err == nil {
					err = x.put(name)
				}
			}
			if err == nil {
				err = x.away("gone/far/z")
			}
			if at > steps {
				if err != nil || f.changes != steps {
					t.Fatalf("%d steps, %v", f.changes, err)
				}
				return
			}
			if !errors.Is(err, errInjected) {
				t.Fatalf("the error is %v", err)
			}
			if err := x.undo(); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(before, contents(t, dir)); diff != "" {
				t.Errorf("something changed\n%s", diff)
			}
			for _, made := range []string{"n", restoreTemp + "1/old"} {
				if there(filepath.Join(dir, made)) {
					t.Errorf("%q is left", made)
				}
			}
		})
	}
}

// What a path holds that has its turn twice is not set aside over what was there before.
func TestExchangeRefusesAPathTwice(t *testing.T) {
	dir := t.TempDir()
	r := &rig{t: t, dir: dir}
	r.write("a", "old")
	r.write(restoreTemp+"1/new/a", "new")
	before := contents(t, dir)
	err := exchanging(dir, filepath.Join(dir, restoreTemp+"1"), func(x *exchange) error {
		if err := x.put("a"); err != nil {
			return err
		}
		return x.put("a")
	})
	if err == nil || !strings.Contains(err.Error(), "had its turn") {
		t.Errorf("the error is %v", err)
	}
	if diff := cmp.Diff(before, contents(t, dir)); diff != "" {
		t.Errorf("something changed\n%s", diff)
	}
}

// What cannot be put back is kept where no later restore looks for something to remove,
// and nothing is put over what came to be in its place.
func TestExchangeKeepsWhatItCannotPutBack(t *testing.T) {
	dir := t.TempDir()
	r := &rig{t: t, dir: dir}
	r.write("a", "old a")
	r.write("b", "old b")
	r.write(restoreTemp+"1/new/b", "new b")
	err := exchanging(dir, filepath.Join(dir, restoreTemp+"1"), func(x *exchange) error {
		if err := errors.Join(x.away("a"), x.put("b")); err != nil {
			return err
		}
		r.write("a", "somebody's")
		return errInjected
	})
	if !errors.Is(err, errInjected) || !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), filepath.Join(restoreKept+"1", "old")) {
		t.Errorf("the error is %v", err)
	}
	want := map[string]string{"a": "false somebody's", "b": "false old b", restoreKept + "1/old/a": "false old a", restoreKept + "1/new/b": "false new b"}
	if diff := cmp.Diff(want, contents(t, dir)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
