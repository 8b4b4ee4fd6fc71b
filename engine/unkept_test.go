package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"plumb/engine/event"
	"plumb/engine/runtime"
	"plumb/store"
)

// features has a big output that is not kept, and two stages that read it.
const features = `
param "train" { default = "1" }
param "stats" { default = "1" }
stage "features" {
  inputs  = ["in.txt"]
  command = ["big", "features.bin", "f", ";", "print", "made"]
  outputs = { big = { path = "features.bin", retain = "none" } }
}
stage "train" {
  inputs  = [stage.features.big]
  command = ["copy", "features.bin", "x", ";", "write", "model", "m", ";", "append", "model", param.train]
  outputs = { model = "model" }
}
stage "stats" {
  inputs  = [stage.features.big]
  command = ["copy", "features.bin", "x", ";", "write", "stats", param.stats]
  outputs = { stats = "stats" }
}
`

// held is how many bytes of large blobs the store has, under whatever names.
func (r *rig) held() (n int64) {
	r.t.Helper()
	seen := map[string]bool{}
	for _, dir := range []string{"blobs", "placed", "tmp"} {
		err := filepath.WalkDir(filepath.Join(r.cfg.Dir, dir), func(p string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			info, err := d.Info()
			if err == nil && info.Size() >= 100_000 && !seen[p] {
				seen[p] = true
				n += info.Size()
			}
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			r.t.Fatal(err)
		}
	}
	return n
}

func (r *rig) wantHeld(want int64) {
	r.t.Helper()
	r.background.Wait() // what stages had in their places
	if got := r.held(); got != want {
		r.t.Errorf("the store holds %d large bytes, want %d", got, want)
	}
}

// runs a project and requires how its stages ended.
func (r *rig) want(status map[string]string, change ...func(*RunRequest)) []event.Event {
	r.t.Helper()
	got, events, err := r.ran(r.t.Context(), change...)
	if err != nil {
		r.t.Fatal(err)
	}
	wantStatus(r.t, got, status)
	return events
}

func param(name, value string) func(*RunRequest) {
	return func(q *RunRequest) { q.Project.Params = map[string]string{name: value} }
}

func TestOutputThatIsNotKept(t *testing.T) {
	r := newRig(t, features)
	r.write("in.txt", "1")
	r.rt.slowly = 50 * time.Millisecond
	events := r.want(map[string]string{"features": "ran", "train": "ran", "stats": "ran"})
	r.wantHeld(0)
	if o := events[len(events)-1].Stages[0].Outputs["big"]; !o.Dropped || o.Size != 100_000 {
		t.Errorf("output %+v", o)
	}
	all := map[string]string{"features": "cached", "train": "cached", "stats": "cached"}
	r.want(all)
	r.reopen()
	r.want(all)
	r.want(map[string]string{"features": "ran", "train": "ran", "stats": "cached"}, param("train", "2"))
	r.wantHeld(0)
	r.want(all, param("train", "2"))
	if _, err := r.GC(t.Context(), GCRequest{KeepRuns: 10}); err != nil {
		t.Fatal(err)
	}
	r.want(all, param("train", "2"))
	var e *Error
	if _, err := r.Get(t.Context(), GetRequest{Project: Project{Dir: r.dir}, Name: "features.big", Path: filepath.Join(t.TempDir(), "x")}); !errors.As(err, &e) || e.Kind != Invalid || !strings.Contains(e.Hint, "plumb run --keep features") {
		t.Errorf("error %v", err)
	}
	doc, err := r.Show(t.Context(), ShowRequest{Dir: r.dir})
	if err != nil {
		t.Fatal(err)
	}
	if o := doc.Stages[0].Outputs["big"]; !o.Dropped || o.Digest != store.Sum([]byte(strings.Repeat("f", 100_000))) {
		t.Errorf("shown %+v", o)
	}
}

// TestPlanOfWhatIsMadeAgain: the plan, and why, say what the run then does.
func TestPlanOfWhatIsMadeAgain(t *testing.T) {
	r := newRig(t, features)
	r.write("in.txt", "1")
	r.want(map[string]string{"features": "ran", "train": "ran", "stats": "ran"})
	req := r.request()
	param("train", "2")(&req)
	plan, err := r.Plan(t.Context(), req.Request)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range plan.Stages {
		got = append(got, s.Name+" "+string(s.Decision)+": "+s.Reasons[0].String())
	}
	want := []string{
		"features run: its output big is not kept, and stage train needs it",
		"train pending: param train changed: \"1\" → \"2\"",
		"stats pending: stage features will run",
	}
	if !slices.Equal(got, want) {
		t.Errorf("plan %q", got)
	}
	why, err := r.Why(t.Context(), WhyRequest{Request: req.Request, Stage: "features"})
	if err != nil || why.Decision != "run" || why.Reasons[0].Kind != "not_kept" {
		t.Errorf("why %+v, %v", why, err)
	}
}

func TestOutputsGoInTheMiddleOfARun(t *testing.T) {
	r := newRig(t, features+`
stage "late" {
  inputs  = [stage.train.model, stage.stats.stats]
  command = ["sleep"]
}`)
	r.write("in.txt", "1")
	r.rt.hold, r.rt.running = make(chan struct{}), make(chan string, 9)
	go func() {
		<-r.rt.running
		defer close(r.rt.hold)
		for range 400 {
			if r.held() == 0 {
				return
			}
			sleep(context.Background(), 5e6)
		}
		t.Errorf("while another stage runs the store holds %d bytes", r.held())
	}()
	r.want(map[string]string{"features": "ran", "train": "ran", "stats": "ran", "late": "ran"})
}

func TestOutputsStayForWhoFailed(t *testing.T) {
	r := newRig(t, strings.Replace(features, `"copy", "features.bin", "x", ";", "write", "model", "m"`, `"fail", "3"`, 1))
	r.write("in.txt", "1")
	if _, _, err := r.ran(t.Context(), func(q *RunRequest) { q.KeepGoing = true }); err == nil {
		t.Fatal("it did not fail")
	}
	r.wantHeld(100_000)
	r.project(features)
	r.want(map[string]string{"features": "cached", "train": "ran", "stats": "cached"})
	r.wantHeld(0)
}

func TestOutputsStayForWhoIsNotPartOfTheRun(t *testing.T) {
	r := newRig(t, features)
	r.write("in.txt", "1")
	r.want(map[string]string{"features": "ran", "train": "ran"}, func(q *RunRequest) { q.Targets = []string{"train"} })
	r.wantHeld(100_000)
	r.want(map[string]string{"features": "cached", "stats": "ran"}, func(q *RunRequest) { q.Targets = []string{"stats"} })
	r.wantHeld(0)
}

func TestExportOfWhatIsNotKept(t *testing.T) {
	r := newRig(t, features+`export "out.bin" { from = stage.features.big }`)
	r.write("in.txt", "1")
	r.want(map[string]string{"features": "ran", "train": "ran", "stats": "ran"})
	r.wantHeld(0)
	out := filepath.Join(r.dir, "out.bin")
	if fi, err := os.Stat(out); err != nil || fi.Size() != 100_000 {
		t.Fatalf("exported: %v", err)
	}
	all := map[string]string{"features": "cached", "train": "cached", "stats": "cached"}
	r.want(all)
	if err := os.Remove(out); err != nil {
		t.Fatal(err)
	}
	plan, err := r.Plan(t.Context(), r.request().Request)
	if err != nil || plan.Stages[0].Reasons[0].String() != "its output big is not kept, and export out.bin needs it" {
		t.Errorf("plan %+v, %v", plan, err)
	}
	all["features"] = "ran"
	r.want(all)
	if fi, err := os.Stat(out); err != nil || fi.Size() != 100_000 {
		t.Fatalf("exported: %v", err)
	}
	r.wantHeld(0)
}

func TestKeepOnDemand(t *testing.T) {
	r := newRig(t, features)
	r.write("in.txt", "1")
	r.want(map[string]string{"features": "ran", "train": "ran", "stats": "ran"})
	keep := func(q *RunRequest) { q.Keep, q.Targets = []string{"features"}, []string{"features"} }
	r.want(map[string]string{"features": "ran"}, keep)
	r.want(map[string]string{"features": "cached"}, keep)
	r.wantHeld(100_000)
	if got := r.content("features.big"); got != strings.Repeat("f", 100_000) {
		t.Errorf("got %d bytes", len(got))
	}
	r.want(map[string]string{"features": "cached", "train": "cached", "stats": "cached"})
	r.wantHeld(0)
}

func TestBytesThatSomethingElseNeedsStay(t *testing.T) {
	r := newRig(t, features+`
stage "same" {
  command = ["big", "same.bin", "f"]
  outputs = { same = "same.bin" }
}`)
	r.write("in.txt", "1")
	r.want(map[string]string{"features": "ran", "train": "ran", "stats": "ran", "same": "ran"})
	r.wantHeld(100_000)
	if got := r.content("same.same"); len(got) != 100_000 {
		t.Errorf("got %d bytes", len(got))
	}
	r.want(map[string]string{"features": "cached", "train": "cached", "stats": "cached", "same": "cached"})
}

func TestBytesThatAnotherRunReliesOnStay(t *testing.T) {
	r := newRig(t, features)
	r.write("in.txt", "1")
	release := r.store.Lease(r.keyOf("features"))
	r.want(map[string]string{"features": "ran", "train": "ran", "stats": "ran"})
	r.wantHeld(100_000)
	release()
	r.want(map[string]string{"features": "cached", "train": "cached", "stats": "cached"})
	r.wantHeld(0)
}

// TestCrashBetweenMarkAndDrop: the record says that the bytes are gone, and they are not.
func TestCrashBetweenMarkAndDrop(t *testing.T) {
	r := newRig(t, features)
	r.write("in.txt", "1")
	k := r.keyOf("features")
	release := r.store.Lease(k)
	r.want(map[string]string{"features": "ran", "train": "ran", "stats": "ran"})
	release()
	if gone, err := r.store.Drop(k, []string{"big"}); err != nil || len(gone) != 1 {
		t.Fatalf("dropped %v, %v", gone, err)
	}
	r.reopen()
	events := r.want(map[string]string{"features": "cached", "train": "cached", "stats": "cached"})
	for _, e := range events {
		if e.Type == event.Warning {
			t.Errorf("warning %q", e.Message)
		}
	}
	if _, err := r.GC(t.Context(), GCRequest{KeepRuns: 10}); err != nil {
		t.Fatal(err)
	}
	r.wantHeld(0)
	r.want(map[string]string{"features": "ran", "train": "ran", "stats": "cached"}, param("train", "2"))
}

func TestWhatIsMadeAgainAndDiffers(t *testing.T) {
	r := newRig(t, strings.Replace(features, `["big", "features.bin", "f", ";"`, `["random", "features.bin", ";"`, 1))
	r.write("in.txt", "1")
	r.want(map[string]string{"features": "ran", "train": "ran", "stats": "ran"})
	events := r.want(map[string]string{"features": "ran", "train": "ran", "stats": "ran"}, param("train", "2"))
	if !slices.ContainsFunc(events, func(e event.Event) bool {
		return e.Type == event.Warning && strings.Contains(e.Message, "came out differently")
	}) {
		t.Error("nobody was warned")
	}
}

func TestDirectoryThatIsNotKept(t *testing.T) {
	r := newRig(t, `
stage "a" {
  command = ["mkdir", "d/sub", ";", "big", "d/one", "1", ";", "big", "d/sub/two", "2", ";", "write", "d/small", "s"]
  outputs = { d = { path = "d/", retain = "none" } }
}
stage "b" {
  inputs  = [stage.a.d]
  command = ["copy", "d/small", "out"]
  outputs = { out = "out" }
}`)
	r.want(map[string]string{"a": "ran", "b": "ran"})
	r.wantHeld(0)
	r.want(map[string]string{"a": "cached", "b": "cached"})
}

func TestShellOfWhatReadsBytesThatAreNotKept(t *testing.T) {
	r := newRig(t, features)
	r.write("in.txt", "1")
	r.want(map[string]string{"features": "ran", "train": "ran", "stats": "ran"})
	var e *Error
	_, err := r.Shell(t.Context(), ShellRequest{Request: r.request().Request, Stage: "train", Args: []string{"print", "x"}}, runtime.Streams{}, func(event.Event) {})
	if !errors.As(err, &e) || !strings.Contains(e.Hint, "plumb run --keep features") {
		t.Errorf("error %v", err)
	}
}

func TestFromAStageWhoseInputsAreNotKept(t *testing.T) {
	r := newRig(t, features)
	r.write("in.txt", "1")
	r.want(map[string]string{"features": "ran", "train": "ran", "stats": "ran"})
	_, _, err := r.ran(t.Context(), param("train", "2"), func(q *RunRequest) { q.From = "train" })
	var e *Error
	if !errors.As(err, &e) || !strings.Contains(e.Message, `stage "features", which --from train relies on, is not up to date: its output big is not kept`) {
		t.Errorf("error %v", err)
	}
}

// TestRunsThatShareWhatIsNotKept go on at once, each with a reader of its own: none loses
// what it reads, and when all are over the bytes are gone.
func TestRunsThatShareWhatIsNotKept(t *testing.T) {
	r := newRig(t, features)
	r.write("in.txt", "1")
	for round := range 5 {
		var runs sync.WaitGroup
		for n := range 5 {
			runs.Go(func() {
				sleep(context.Background(), time.Duration(rand.IntN(30))*time.Millisecond)
				req := r.request()
				param("train", fmt.Sprintf("%d-%d", round, n))(&req)
				req.KeepGoing = n%2 == 0
				var told []string
				if err := r.Run(context.Background(), req, func(e event.Event) {
					if e.Message != "" {
						told = append(told, e.Stage+": "+e.Message)
					}
				}); err != nil {
					t.Errorf("round %d, run %d: %v %q", round, n, err, told)
				}
			})
		}
		runs.Wait()
	}
	r.want(map[string]string{"features": "cached", "train": "cached", "stats": "cached"}, param("train", "0-0"))
	r.wantHeld(0)
}
