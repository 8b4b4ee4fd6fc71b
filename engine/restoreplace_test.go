package engine

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"plumb/engine/event"
	"plumb/hcl"
)

// What git has and the run would read besides what it had is removed: the project is the
// run's afterwards. What a stage would read that the run was not about is left.
func TestRestoreInPlaceRemovesWhatThePatternsMatch(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("there is no git")
	}
	r := newRig(t, `
source "g" { path = "src/*.txt" }
stage "a" {
  inputs  = [source.g]
  command = ["list", "src", ";", "write", "a.txt", "${join(",", fileset("lists", "*.txt"))}"]
  outputs = { o = "a.txt" }
}
stage "b" {
  inputs  = ["more/**/*.csv"]
  command = ["print", "b"]
}
`)
	r.write("src/g1.txt", "1")
	r.write("src/g2.txt", "2")
	r.write("lists/1.txt", "")
	r.write("more/1.csv", "1")
	r.write(".gitignore", "*.tmp.txt\n")
	gitIn(t, r.dir, "init", "-q")
	commit := func() {
		t.Helper()
		gitIn(t, r.dir, "add", "-A")
		gitIn(t, r.dir, "commit", "-q", "--allow-empty", "-m", "x")
	}
	only := func(q *RunRequest) { q.Targets = []string{"a"} }
	if _, _, err := r.ran(t.Context(), only); err != nil {
		t.Fatal(err)
	}
	commit()
	first, err := r.store.LastRun(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	place := func(q *RestoreRequest) { q.InPlace, q.To, q.Run = true, "", string(first.ID) }
	r.write("src/g3.txt", "3")
	r.write("src/notes.md", "no match")
	r.write("lists/2.txt", "")
	r.write("more/2.csv", "2")
	commit()
	if _, _, err := r.ran(t.Context()); err != nil {
		t.Fatal(err)
	}
	commit()
	r.write("src/x.tmp.txt", "of no run, and ignored by git")
	before := contents(t, r.dir)
	var e *Error
	if _, _, err := r.restore(place); !errors.As(err, &e) || e.Kind != Invalid || !strings.Contains(e.Message, "\n  src/x.tmp.txt") {
		t.Errorf("the error is %v", err)
	}
	if diff := cmp.Diff(before, contents(t, r.dir)); diff != "" {
		t.Errorf("something changed\n%s", diff)
	}
	if err := os.Remove(filepath.Join(r.dir, "src/x.tmp.txt")); err != nil {
		t.Fatal(err)
	}
	doc, told, err := r.restore(place)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"lists/2.txt", "src/g3.txt"}, doc.Removed); diff != "" {
		t.Errorf("removed (-want +got)\n%s", diff)
	}
	for _, note := range told {
		if strings.Contains(note, "patterns") {
			t.Errorf("told %q", note)
		}
	}
	now := contents(t, r.dir)
	for path, want := range map[string]bool{"src/g1.txt": true, "src/g3.txt": false, "src/notes.md": true, "lists/2.txt": false, "more/2.csv": true} {
		if _, ok := now[path]; ok != want {
			t.Errorf("%s is there: %v", path, ok)
		}
	}
	status, err := r.again(doc)
	if err != nil {
		t.Fatal(err)
	}
	wantStatus(t, status, map[string]string{"a": "cached"})
}

// What git is told not to look at is not there for its status, and is refused by name
// unless the store has it.
func TestRestoreInPlaceOfWhatGitDoesNotLookAt(t *testing.T) {
	for _, mark := range []string{"--skip-worktree", "--assume-unchanged"} {
		t.Run(mark, func(t *testing.T) {
			r := newRig(t, "stage \"a\" {\n inputs = [\"in.txt\", \"dir\", \"far.txt\"]\n command = [\"print\", \"x\"]\n}\n")
			r.write("in.txt", "of the run")
			r.write("far.txt", "of the run")
			r.write("dir/x", "of the run")
			r.write("none.txt", "of no run")
			commit := r.committed()
			if _, _, err := r.ran(t.Context()); err != nil {
				t.Fatal(err)
			}
			commit()
			gitIn(t, r.dir, "update-index", mark, "in.txt", "dir/x", "far.txt", "none.txt")
			r.write("in.txt", "mine")
			r.write("dir/x", "mine, too")
			r.write("none.txt", "and this")
			if err := os.Remove(filepath.Join(r.dir, "far.txt")); err != nil { // as a sparse checkout has it
				t.Fatal(err)
			}
			place := func(q *RestoreRequest) { q.InPlace, q.To = true, "" }
			before := contents(t, r.dir)
			_, _, err := r.restore(place)
			var e *Error
			if !errors.As(err, &e) || e.Kind != Invalid || !strings.HasSuffix(e.Message, "(skip-worktree, assume-unchanged) and the store does not have:\n  dir/x\n  in.txt") {
				t.Errorf("the error is %v", err)
			}
			if diff := cmp.Diff(before, contents(t, r.dir)); diff != "" {
				t.Errorf("something changed\n%s", diff)
			}
			for _, name := range []string{"in.txt", "dir/x"} {
				if _, err := r.store.Put(t.Context(), strings.NewReader(strings.TrimPrefix(before[name], "false ")), false); err != nil {
					t.Fatal(err)
				}
			}
			if _, _, err := r.restore(place); err != nil {
				t.Fatal(err)
			}
			now := contents(t, r.dir)
			for name, want := range map[string]string{"in.txt": "of the run", "dir/x": "of the run", "far.txt": "of the run", "none.txt": "and this"} {
				if now[name] != "false "+want {
					t.Errorf("%s holds %q", name, now[name])
				}
			}
		})
	}
}

// A repository in the project, of which git knows the commit that is checked out, may have
// more than that.
func TestRestoreInPlaceOfARepository(t *testing.T) {
	r := newRig(t, "stage \"a\" {\n inputs = [\"vendor/lib\"]\n command = [\"print\", \"x\"]\n}\n")
	r.write("vendor/lib/x", "of the run")
	lib := filepath.Join(r.dir, "vendor/lib")
	gitIn(t, lib, "init", "-q")
	gitIn(t, lib, "add", "-A")
	gitIn(t, lib, "commit", "-q", "-m", "x")
	commit := r.committed()
	if _, _, err := r.ran(t.Context()); err != nil {
		t.Fatal(err)
	}
	commit()
	place := func(q *RestoreRequest) { q.InPlace, q.To = true, "" }
	if _, _, err := r.restore(place); err != nil {
		t.Errorf("as it was: %v", err)
	}
	gitIn(t, lib, "checkout", "-q", "-b", "other")
	gitIn(t, lib, "commit", "-q", "--allow-empty", "-m", "of no run")
	gitIn(t, lib, "checkout", "-q", "main")
	before := contents(t, r.dir)
	_, _, err := r.restore(place)
	var e *Error
	if !errors.As(err, &e) || e.Kind != Invalid || !strings.Contains(e.Message, "and the store does not have:\n  vendor/lib") {
		t.Errorf("the error is %v", err)
	}
	if diff := cmp.Diff(before, contents(t, r.dir)); diff != "" {
		t.Errorf("something changed\n%s", diff)
	}
}

// What a pattern matches is known also where a value is not recorded.
func TestRestoreInPlaceWithASensitiveParam(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("there is no git")
	}
	r := newRig(t, `
param "where" { sensitive = true }
stage "a" {
  inputs  = ["src/*.txt"]
  command = ["print", "x"]
  env     = { W = param.where }
}
`)
	r.write("src/1.txt", "1")
	gitIn(t, r.dir, "init", "-q")
	gitIn(t, r.dir, "add", "-A")
	gitIn(t, r.dir, "commit", "-q", "-m", "x")
	if _, _, err := r.ran(t.Context(), func(q *RunRequest) { q.Project.Params = map[string]string{"where": "hidden"} }); err != nil {
		t.Fatal(err)
	}
	r.write("src/2.txt", "2")
	gitIn(t, r.dir, "add", "-A")
	gitIn(t, r.dir, "commit", "-q", "--allow-empty", "-m", "x")
	_, told, err := r.restore(func(q *RestoreRequest) { q.InPlace, q.To = true, "" })
	if err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(told, func(note string) bool { return strings.Contains(note, "files that it did not have may be left") }) {
		t.Errorf("told %q", told)
	}
	if there(filepath.Join(r.dir, "src/2.txt")) {
		t.Error("what the pattern matches and the run did not have is still there")
	}
}

// An empty directory is filled, and stays the one it is: its mode, and what stands in it.
func TestRestoreIntoAnEmptyDirectory(t *testing.T) {
	r := newMonth(t)
	if _, _, err := r.ran(t.Context()); err != nil {
		t.Fatal(err)
	}
	fresh, _, err := r.restore(func(*RestoreRequest) {})
	if err != nil {
		t.Fatal(err)
	}
	want := contents(t, fresh.To)
	mounted := func(t *testing.T, dir string) {
		if err := unix.Mount("none", dir, "tmpfs", 0, "size=4m"); err != nil {
			t.Skipf("nothing can be mounted here: %v", err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(dir, 0); err != nil {
				t.Error(err)
			}
		})
	}
	formatted := func(t *testing.T, dir string) {
		if err := os.Mkdir(filepath.Join(dir, "lost+found"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	killed := func(t *testing.T, dir string) { // in the middle of another restore
		if err := os.MkdirAll(filepath.Join(dir, restoreTemp+"1", "new", "data"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name   string
		before func(*testing.T, string)
	}{
		{"of its own", func(*testing.T, string) {}},
		{"a mount", mounted},
		{"the top of a new file system", formatted},
		{"with what a killed restore left", killed},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "x")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			c.before(t, dir)
			before, err := os.Stat(dir)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := r.restore(func(q *RestoreRequest) { q.To = dir }); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, contents(t, dir)); diff != "" {
				t.Errorf("project (-fresh +filled)\n%s", diff)
			}
			after, err := os.Stat(dir)
			if err != nil || !os.SameFile(before, after) || after.Mode() != before.Mode() {
				t.Errorf("the directory is another: %v %v, %v", before.Mode(), after.Mode(), err)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, ".plumb-*")); len(left) > 0 {
				t.Errorf("%v is left", left)
			}
		})
	}
}

// Nothing stays in an empty directory when its restore does not come to its end, and
// nothing that came into it meanwhile is replaced.
func TestRestoreIntoAnEmptyDirectoryFails(t *testing.T) {
	r := newMonth(t)
	if _, _, err := r.ran(t.Context()); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	mine := filepath.Join(dir, hcl.MainFile)
	_, err := r.Restore(t.Context(), RestoreRequest{Dir: r.dir, To: dir}, func(e event.Event) {
		if err := os.WriteFile(mine, []byte("mine"), 0o600); err != nil {
			t.Error(err)
		}
	})
	if !errors.Is(err, fs.ErrExist) {
		t.Errorf("the error is %v", err)
	}
	if diff := cmp.Diff(map[string]string{hcl.MainFile: "false mine"}, contents(t, dir)); diff != "" {
		t.Errorf("the directory holds (-want +got)\n%s", diff)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".plumb-*")); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
}
