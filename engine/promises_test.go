package engine

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"plumb/engine/event"
	"plumb/store"
)

// TestUnkeptSourceChangedAndChangedBack: content alone would not tell.
func TestUnkeptSourceChangedAndChangedBack(t *testing.T) {
	r := newRig(t, `
source "big" {
  path = "big.txt"
  keep = false
}
stage "a" {
  inputs  = [source.big]
  command = ["sleep", ";", "copy", "big.txt", "out"]
  outputs = { out = "out" }
}`)
	r.write("big.txt", "AAAA")
	r.rt.hold, r.rt.running = make(chan struct{}), make(chan string, 9)
	go func() {
		<-r.rt.running
		r.write("big.txt", "BBBB")
		r.write("big.txt", "AAAA")
		close(r.rt.hold)
	}()
	_, events, err := r.ran(t.Context())
	if err == nil {
		t.Fatal("a result was recorded for an input that moved")
	}
	if f := events[len(events)-1].Stages[0].Error; f.Class != store.ClassVoid {
		t.Errorf("failure %+v", f)
	}
}

func TestSensitiveValuesReachNoFileOfTheStore(t *testing.T) {
	const secret = "hunter2-SECRET"
	r := newRig(t, `
param "pw" {
  type      = string
  sensitive = true
}
stage "a" {
  command = ["write", "out", "x"]
  outputs = { out = "out" }
  params  = [param.pw]
  env     = { TOKEN = "t-${param.pw}" }
}`)
	if _, _, err := r.ran(t.Context(), func(q *RunRequest) { q.Project.Params = map[string]string{"pw": secret} }); err != nil {
		t.Fatal(err)
	}
	dir := r.store.Dir()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	defer r.open(dir)
	files := 0
	if err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		files++
		b, err := os.ReadFile(p)
		if strings.Contains(string(b), secret) {
			t.Errorf("%s holds the sensitive value", p)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if files < 3 {
		t.Errorf("only %d files were looked into", files)
	}
	for _, d := range []string{"meta", "cache"} {
		fi, err := os.Stat(filepath.Join(dir, d))
		if err != nil || fi.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", d, fi.Mode(), err)
		}
	}
}

func TestMetricsInsideAnOutputDirectory(t *testing.T) {
	pad := strings.Repeat("x", 5000)
	r := newRig(t, `
stage "a" {
  command = ["mkdir", "out", ";", "write", "out/m.json", "{\"acc\": 0.5, \"note\": \"`+pad+`\"}"]
  outputs = { out = "out/" }
  metrics = "out/m.json"
}`)
	_, events, err := r.ran(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := events[len(events)-1].Stages[0].Metrics["acc"]; got != 0.5 {
		t.Errorf("accuracy %v", got)
	}
}

func TestExportStaysInTheProject(t *testing.T) {
	outside := t.TempDir()
	r := newRig(t, strings.Replace(two, `"result.txt"`, `"out/result.txt"`, 1))
	r.write("in.txt", "hello")
	if err := os.Symlink(outside, filepath.Join(r.dir, "out")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.ran(t.Context()); err == nil || !strings.Contains(err.Error(), "leaves the project") {
		t.Errorf("error %v", err)
	}
	if left, _ := os.ReadDir(outside); len(left) > 0 {
		t.Errorf("written outside: %v", left)
	}
}

func TestCanceledStageKeepsItsLog(t *testing.T) {
	r := newRig(t, "stage \"a\" {\n command = [\"print\", \"before the end\", \";\", \"sleep\"]\n}")
	r.rt.hold, r.rt.running = make(chan struct{}), make(chan string)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-r.rt.running
		cancel()
	}()
	if _, _, err := r.ran(ctx); err == nil {
		t.Fatal("the run was not canceled")
	}
	var lines []string
	if err := r.Logs(t.Context(), LogsRequest{Dir: r.dir, Stage: "a"}, func(l LogLine) { lines = append(lines, l.Line) }); err != nil {
		t.Fatal(err)
	}
	if len(lines) != 1 || lines[0] != "before the end" {
		t.Errorf("log %q", lines)
	}
}

// TestLostBlobIsAMissForAWarmPlan: what a plan remembers is checked like what it
// looks up.
func TestLostBlobIsAMissForAWarmPlan(t *testing.T) {
	big := strings.Repeat("x", 100_000)
	r := newRig(t, "stage \"a\" {\n command = [\"write\", \"f\", \""+big+"\"]\n outputs = {f = \"f\"}\n}\nstage \"b\" {\n inputs = [stage.a.f, \"in.txt\"]\n command = [\"copy\", \"f\", \"g\"]\n outputs = {g = \"g\"}\n}")
	r.write("in.txt", "1")
	for range 2 {
		if _, _, err := r.ran(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	d := store.Sum([]byte(big))
	if err := os.Remove(filepath.Join(r.store.Dir(), "blobs", "sha256", d.Hex()[:2], d.Hex())); err != nil {
		t.Fatal(err)
	}
	r.write("in.txt", "2")
	status, _, err := r.ran(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wantStatus(t, status, map[string]string{"a": "ran", "b": "ran"})
}

func TestGCBesideARunLeavesItsInputs(t *testing.T) {
	r := newRig(t, `
stage "w" {
  command = ["sleep"]
}
stage "b" {
  inputs  = ["in.txt"]
  command = ["copy", "in.txt", "b.txt"]
  outputs = { out = "b.txt" }
  after   = [stage.w]
}`)
	r.write("in.txt", "hello")
	r.rt.hold, r.rt.running = make(chan struct{}), make(chan string, 9)
	go func() {
		<-r.rt.running
		if _, err := r.GC(context.Background(), GCRequest{}); err != nil {
			t.Error(err)
		}
		close(r.rt.hold)
	}()
	status, _, err := r.ran(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wantStatus(t, status, map[string]string{"w": "ran", "b": "ran"})
}

// An agent that is killed has not closed its store: the room that gc will need on a full
// disk is taken before.
func TestARunTakesTheReserve(t *testing.T) {
	r := newRig(t, "stage \"a\" {\n command = [\"print\", \"hello\"]\n}")
	if _, _, err := r.ran(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !store.HasReserve(r.cfg.Dir) {
		t.Error("there is no reserve after a run")
	}
}

// gc takes only what nobody has a lease on, and a plan has leases on what it has found.
func TestGCBetweenLookingUpAndLeasing(t *testing.T) {
	r := newRig(t, `
stage "a" {
  command = ["write", "a.txt", "hello"]
  outputs = { out = "a.txt" }
}`)
	if _, _, err := r.ran(t.Context()); err != nil {
		t.Fatal(err)
	}
	plan := func() *session {
		t.Helper()
		s, err := r.Engine.open(t.Context(), r.request().Request, pinning{write: true, ingest: true}, func(event.Event) {})
		if err == nil {
			err = s.consider(r.dir)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			s.release()
			if err := s.close(); err != nil {
				t.Error(err)
			}
		})
		return s
	}
	early, late := plan(), plan()
	if err := early.lease(r.Engine); err != nil {
		t.Errorf("nothing was dropped: %v", err)
	}
	early.release()
	if doc, err := r.GC(t.Context(), GCRequest{}); err != nil || doc.Records != 1 {
		t.Fatalf("gc dropped %+v, %v; want one record", doc, err)
	}
	if err := late.lease(r.Engine); !errors.Is(err, errDropped) {
		t.Errorf("what was found is gone, and leasing it says %v", err)
	}
	late.release()
	status, _, err := r.ran(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wantStatus(t, status, map[string]string{"a": "ran"})
}

func TestGCBesideARunOfWhatAPlanRemembers(t *testing.T) {
	r := newRig(t, `
stage "w" {
  command = ["sleep", ";", "write", "w.txt", "hello"]
  outputs = { out = "w.txt" }
}
stage "b" {
  inputs  = [stage.w.out]
  command = ["copy", "w.txt", "b.txt"]
  outputs = { out = "b.txt" }
}
stage "c" {
  inputs  = [stage.b.out]
  command = ["copy", "b.txt", "c.txt", ";", "append", "c.txt", "more"]
  outputs = { out = "c.txt" }
}`)
	r.rt.hold = make(chan struct{})
	close(r.rt.hold)
	for range 2 { // the second remembers what it found
		if _, _, err := r.ran(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	r.rt.hold, r.rt.running = make(chan struct{}), make(chan string, 9)
	go func() {
		<-r.rt.running
		if _, err := r.GC(context.Background(), GCRequest{}); err != nil {
			t.Error(err)
		}
		close(r.rt.hold)
	}()
	status, _, err := r.ran(t.Context(), func(req *RunRequest) { req.Force = []string{"w"} })
	if err != nil {
		t.Fatal(err)
	}
	wantStatus(t, status, map[string]string{"w": "ran", "b": "ran", "c": "ran"})
	if got := r.content("c.out"); got != "hellomore" {
		t.Errorf("c.txt is %q", got)
	}
}
