package engine

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"plumb/engine/event"
	"plumb/engine/runtime"
	"plumb/store"
)

// sh runs one of the fake runtime's commands in the sandbox of a stage, and gives its
// status and what was told of the sandbox.
func (r *rig) sh(stage string, change func(*ShellRequest), args ...string) (code int, opened string, err error) {
	r.t.Helper()
	req := ShellRequest{Request: Request{Project: Project{Dir: r.dir}}, Stage: stage, Args: args}
	if change != nil {
		change(&req)
	}
	doc, err := r.Shell(context.Background(), req, runtime.Streams{}, func(e event.Event) {
		if e.Type == event.ShellOpened {
			opened = e.Message
		}
	})
	if err != nil {
		return -1, opened, err
	}
	return doc.ExitCode, opened, nil
}

func (r *rig) wantShell(code int, stage string, change func(*ShellRequest), args ...string) string {
	r.t.Helper()
	got, opened, err := r.sh(stage, change, args...)
	if err != nil || got != code {
		r.t.Fatalf("%q in the sandbox of %q: exit status %d, want %d, %v", args, stage, got, code, err)
	}
	return opened
}

func (r *rig) wantNoShell(text, stage string, change func(*ShellRequest), args ...string) *Error {
	r.t.Helper()
	_, _, err := r.sh(stage, change, args...)
	if err == nil || !strings.Contains(err.Error(), text) {
		r.t.Fatalf("%q in the sandbox of %q gives %v, want %q", args, stage, err, text)
	}
	return AsError(err)
}

func (r *rig) keptFailures() int {
	r.t.Helper()
	entries, err := os.ReadDir(r.failedDir())
	if err != nil && !os.IsNotExist(err) {
		r.t.Fatal(err)
	}
	return len(entries)
}

func TestShellAfterAFailure(t *testing.T) {
	r := newRig(t, `
param "end" { default = "fail 3" }
stage "s" {
  command = concat(["mkdir", "d", ";", "write", "d/partial", "half", ";", "write", "out", "all", ";"], split(" ", param.end))
  outputs = { out = "out" }
}`)
	if _, _, err := r.ran(t.Context()); err == nil {
		t.Fatal("the stage did not fail")
	}
	told := r.wantShell(0, "s", nil, "copy", "d/partial", "seen")
	if !strings.Contains(told, "with what attempt 1 of run ") || !strings.Contains(told, "left, which failed (exit)") {
		t.Errorf("it tells %q", told)
	}
	r.wantShell(7, "s", nil, "copy", "seen", "twice", ";", "fail", "7")
	r.wantShell(0, "s", nil, "copy", "twice", "thrice") // what the last shell did is there
	fresh := func(q *ShellRequest) { q.Fresh = true }
	r.wantNoShell("no such file", "s", fresh, "copy", "d/partial", "x")
	r.wantShell(0, "s", func(q *ShellRequest) { q.Run = "latest" }, "copy", "out", "x") // declared and written, and not taken away

	// Of another action it is nothing.
	other := func(q *ShellRequest) { q.Project.Params = map[string]string{"end": "fail 4"} }
	if told := r.wantShell(0, "s", other, "write", "x", "y"); strings.Contains(told, "left") {
		t.Errorf("the sandbox of another action is %q", told)
	}
	r.wantNoShell("no such file", "s", other, "copy", "d/partial", "x")

	if r.keptFailures() != 1 {
		t.Fatalf("%d workspaces are kept", r.keptFailures())
	}
	if _, _, err := r.ran(t.Context(), func(q *RunRequest) { q.Project.Params = map[string]string{"end": "print done"} }); err != nil {
		t.Fatal(err)
	}
	r.background.Wait()
	if n := r.keptFailures(); n != 0 {
		t.Errorf("after the stage succeeded %d workspaces are kept", n)
	}
}

// TestShellBesideALostOutput is why outputs are looked for before any is taken.
func TestShellBesideALostOutput(t *testing.T) {
	r := newRig(t, `stage "s" {
  command = ["write", "one", "1"]
  outputs = { one = "one", two = "two" }
}`)
	if _, _, err := r.ran(t.Context()); err == nil {
		t.Fatal("the stage did not fail")
	}
	r.wantShell(0, "s", nil, "copy", "one", "seen")
}

func TestShellOfARun(t *testing.T) {
	r := newRig(t, `
source "data" { path = "data.csv" }
stage "a" {
  inputs  = { d = source.data }
  command = ["copy", "data.csv", "out"]
  outputs = { out = "out" }
}
stage "b" {
  inputs  = { a = stage.a.out }
  command = ["copy", "out", "end"]
  outputs = { end = "end" }
}`)
	r.write("data.csv", "old")
	r.wantNoShell(`stage "b" reads what is not up to date: a`, "b", nil, "write", "x", "y")
	if _, _, err := r.ran(t.Context()); err != nil {
		t.Fatal(err)
	}
	first := string(r.latest())
	r.wantShell(0, "a", nil, "copy", "data.csv", "x")
	r.wantShell(0, "b", nil, "copy", "out", "x")
	r.write("data.csv", "new and longer")
	e := r.wantNoShell(`stage "b" reads what is not up to date: a`, "b", nil, "write", "x", "y")
	if e.Kind != Invalid || e.Hint != "plumb run a makes it" {
		t.Errorf("the error is %+v", e)
	}

	// What a container of that run sees is what the run saw.
	var seen []byte
	r.rt.look = func(s runtime.Spec) {
		c := &fakeContainer{rt: r.rt, spec: s}
		var err error
		if seen, err = os.ReadFile(c.path("data.csv")); err != nil {
			t.Error(err)
		}
	}
	told := r.wantShell(0, "a", func(q *ShellRequest) { q.Run = first }, "write", "x", "y")
	if string(seen) != "old" || !strings.Contains(told, "in run "+first) {
		t.Errorf("it sees %q and is told %q", seen, told)
	}
	r.wantShell(0, "a", nil, "write", "x", "y")
	if string(seen) != "new and longer" {
		t.Errorf("now it sees %q", seen)
	}
	r.rt.look = nil

	r.wantNoShell("no stage \"c\"", "c", func(q *ShellRequest) { q.Run = first }, "write", "x", "y")
	r.wantNoShell(`ran with isolation "container"`, "a", func(q *ShellRequest) { q.Run, q.Place = first, Place{Isolation: IsolationChroot} }, "write", "x", "y")
	r.wantNoShell("there is no run", "a", func(q *ShellRequest) { q.Run = "19990101" }, "write", "x", "y")
	r.wantNoShell(`there is no stage "aa"`, "aa", nil, "write", "x", "y")
}

func (r *rig) latest() store.RunID {
	r.t.Helper()
	doc, err := r.Runs(context.Background(), RunsRequest{Dir: r.dir, Limit: 1})
	if err != nil || len(doc.Runs) != 1 {
		r.t.Fatalf("the latest run: %v", err)
	}
	return doc.Runs[0].ID
}

func TestShellOfARunWhoseInputsAreGone(t *testing.T) {
	r := newRig(t, `
source "data" {
  path = "data.csv"
  keep = false
}
stage "a" {
  inputs  = { d = source.data }
  command = ["write", "out", "x"]
  outputs = { out = "out" }
}`)
	r.write("data.csv", strings.Repeat("not kept, and so large that it would be a file\n", 10000))
	if _, _, err := r.ran(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.wantShell(0, "a", nil, "copy", "data.csv", "x")
	r.wantNoShell("are not in the store: data.csv", "a", func(q *ShellRequest) { q.Run = "latest" }, "write", "x", "y")
}

// TestFailedWorkspacesAreFew keeps the newest ones, and none after gc.
func TestFailedWorkspacesAreFew(t *testing.T) {
	var src strings.Builder
	for n := range maxFailed + 5 {
		fmt.Fprintf(&src, "stage \"s%d\" { command = [\"write\", \"x\", \"y\", \";\", \"fail\", \"1\"] }\n", n)
	}
	r := newRig(t, src.String())
	if _, _, err := r.ran(t.Context(), func(q *RunRequest) { q.KeepGoing = true }); err == nil {
		t.Fatal("nothing failed")
	}
	r.background.Wait()
	if n := r.keptFailures(); n != maxFailed {
		t.Errorf("%d workspaces are kept, want %d", n, maxFailed)
	}
	if err := os.Mkdir(filepath.Join(r.failedDir(), "strange"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := r.GC(t.Context(), GCRequest{KeepRuns: 10, KeepAge: time.Hour}); err != nil {
		t.Fatal(err)
	}
	if n := r.keptFailures(); n != 0 {
		t.Errorf("after gc %d workspaces are kept", n)
	}
}

// TestFailedWorkspaceIsNoTrap: what a stage leaves may lead out of its workspace, where
// the places of inputs are made again.
func TestFailedWorkspaceIsNoTrap(t *testing.T) {
	outside := t.TempDir()
	for name, trap := range map[string]func(work string) error{
		"directory": func(work string) error {
			return os.Symlink(outside, filepath.Join(work, "in"))
		},
		"file": func(work string) error {
			return os.Symlink(filepath.Join(outside, "made"), filepath.Join(work, "data.csv"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, `
source "deep" { path = "in/deep.csv" }
source "data" { path = "data.csv" }
stage "a" {
  inputs  = { i = source.deep, d = source.data }
  command = ["write", "out", "x", ";", "fail", "1"]
  outputs = { out = "out", other = "in/out" }
}`)
			r.write("in/deep.csv", "deep")
			r.write("data.csv", "data")
			if _, _, err := r.ran(t.Context()); err == nil {
				t.Fatal("the stage did not fail")
			}
			r.background.Wait()
			works, err := filepath.Glob(filepath.Join(r.failedDir(), "*", "work"))
			if err != nil || len(works) != 1 {
				t.Fatalf("kept: %q, %v", works, err)
			}
			for _, gone := range []string{"in", "data.csv"} {
				if err := os.RemoveAll(filepath.Join(works[0], gone)); err != nil {
					t.Fatal(err)
				}
			}
			if err := trap(works[0]); err != nil {
				t.Fatal(err)
			}
			e := r.wantNoShell(`what the failed attempt at stage "a" left cannot be used`, "a", nil, "write", "x", "y")
			if e.Hint != "--fresh begins with an empty workspace" {
				t.Errorf("the hint is %q", e.Hint)
			}
			if entries, err := os.ReadDir(outside); err != nil || len(entries) > 0 {
				t.Errorf("made outside: %v, %v", entries, err)
			}
			r.wantShell(0, "a", func(q *ShellRequest) { q.Fresh = true }, "write", "x", "y")
		})
	}
}

func TestShellWantsSecrets(t *testing.T) {
	r := newRig(t, `
secret "db" { env = "DB" }
stage "s" {
  command = ["fail", "1"]
  secrets = [secret.db]
}`)
	if e := r.wantNoShell("needs the secrets db", "s", nil, "write", "x", "y"); e.Kind != Wanting || len(e.Secrets) != 1 {
		t.Errorf("the error is %+v", e)
	}
	sent := func(q *ShellRequest) { q.Secrets = map[string]Secret{"db": {Value: []byte("hunter2")}} }
	r.wantShell(0, "s", sent, "copy-secret", "db", "x")
	r.wantNoShell("Stage \"s\" needs secret \"db\": it is not set", "s", func(q *ShellRequest) {
		q.Secrets = map[string]Secret{"db": {Missing: "it is not set"}}
	}, "write", "x", "y")
}

// TestShellHasNoDevices says so, and opens.
func TestShellHasNoDevices(t *testing.T) {
	r := newRig(t, `stage "s" {
  command = ["write", "x", "y"]
  resources { gpu = 1 }
}`)
	var warned string
	req := ShellRequest{Request: Request{Project: Project{Dir: r.dir}}, Stage: "s", Args: []string{"write", "x", "y"}}
	doc, err := r.Shell(t.Context(), req, runtime.Streams{}, func(e event.Event) {
		if e.Type == event.Warning {
			warned = e.Message
		}
	})
	if err != nil || doc.ExitCode != 0 || !strings.Contains(warned, "stage s asks for gpu = 1: a shell is given no devices") {
		t.Errorf("the shell: %+v, %v; it warns %q", doc, err, warned)
	}
}
