package engine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"plumb/engine/event"
	"plumb/store"
)

const two = `
stage "a" {
  inputs  = ["in.txt"]
  command = ["copy", "in.txt", "a.txt"]
  outputs = { out = "a.txt" }
}
stage "b" {
  inputs  = [stage.a.out]
  command = ["copy", "a.txt", "sub/b.txt"]
  outputs = { out = "sub/b.txt" }
}
export "result.txt" { from = stage.b.out }
`

func wantStatus(t testing.TB, got, want map[string]string) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("status (-want +got):\n%s", d)
	}
}

func TestRunSkipAndRerun(t *testing.T) {
	r := newRig(t, two)
	r.write("in.txt", "hello")
	status, _, err := r.ran(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wantStatus(t, status, map[string]string{"a": "ran", "b": "ran"})
	if got := r.content("b.out"); got != "hello" {
		t.Errorf("b.out is %q", got)
	}
	status, _, err = r.ran(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wantStatus(t, status, map[string]string{"a": "cached", "b": "cached"})
	r.write("in.txt", "other")
	if status, _, err = r.ran(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, status, map[string]string{"a": "ran", "b": "ran"})
	r.write("in.txt", "hello")
	if status, _, err = r.ran(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, status, map[string]string{"a": "cached", "b": "cached"})
	if b, err := os.ReadFile(filepath.Join(r.dir, "result.txt")); err != nil || string(b) != "hello" {
		t.Errorf("the export is %q, %v", b, err)
	}
}

func TestExportNeverReplacesForeignFiles(t *testing.T) {
	r := newRig(t, two)
	r.write("in.txt", "hello")
	r.write("result.txt", "mine")
	_, _, err := r.ran(t.Context())
	var e *Error
	if !errors.As(err, &e) || e.Kind != Invalid || !strings.Contains(e.Message, "result.txt") {
		t.Fatalf("error %v", err)
	}
	if b, _ := os.ReadFile(filepath.Join(r.dir, "result.txt")); string(b) != "mine" {
		t.Fatalf("the file is now %q", b)
	}
	if _, _, err := r.ran(t.Context(), func(q *RunRequest) { q.Overwrite = true }); err != nil {
		t.Fatal(err)
	}
	r.write("in.txt", "again") // plumb's own file is replaced without asking
	if _, _, err := r.ran(t.Context()); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(filepath.Join(r.dir, "result.txt")); string(b) != "again" {
		t.Errorf("the file is now %q", b)
	}
}

func TestExpectCached(t *testing.T) {
	r := newRig(t, two)
	r.write("in.txt", "hello")
	expect := func(q *RunRequest) { q.ExpectCached = true }
	_, events, err := r.ran(t.Context(), expect)
	var e *Error
	if !errors.As(err, &e) || e.Kind != Differs || !strings.Contains(e.Message, "stage a would run: never run before") {
		t.Errorf("error %v", err)
	}
	if len(events) > 0 || r.rt.created > 0 {
		t.Error("something ran")
	}
	if _, _, err := r.ran(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.ran(t.Context(), expect); err != nil {
		t.Error(err)
	}
}

func TestFailureLeavesNothing(t *testing.T) {
	r := newRig(t, `
stage "a" {
  command = ["write", "out", "x", ";", "print", "dying", ";", "fail", "7"]
  outputs = { out = "out" }
}`)
	status, events, err := r.ran(t.Context())
	var e *Error
	if !errors.As(err, &e) || e.Kind != StageFailed {
		t.Fatalf("error %v", err)
	}
	wantStatus(t, status, map[string]string{"a": "failed"})
	f := events[len(events)-1].Stages[0].Error
	if f == nil || f.Class != store.ClassExit || f.Message != "its command ended with exit status 7" || !slices.Equal(f.Tail, []string{"dying"}) || f.Line != 4 {
		t.Errorf("failure %+v", f)
	}
	if _, err := r.Get(t.Context(), GetRequest{Project: Project{Dir: r.dir}, Name: "a.out"}); err == nil {
		t.Error("the output of a failed stage can be got")
	}
	doc, err := r.Plan(t.Context(), r.request().Request)
	if err != nil {
		t.Fatal(err)
	}
	if got := doc.Stages[0].Reasons[0].String(); !strings.HasPrefix(got, "failed before with exit status 7 in run ") {
		t.Errorf("reason %q", got)
	}
}

func TestRetriesByClass(t *testing.T) {
	tests := map[string]struct {
		stage  string
		broken int
		want   []store.Class
		ok     bool
	}{
		"exit is final":        {`command = ["fail", "1"]`, 0, []store.Class{"exit"}, false},
		"exit allowed twice":   {"command = [\"fail\", \"1\"]\nretry {\nexit = 2\nbackoff = \"1ms\"\n}", 0, []store.Class{"exit", "exit", "exit"}, false},
		"exit of another code": {"command = [\"fail\", \"1\"]\nretry {\nexit = 2\ncodes = [9]\nbackoff = \"1ms\"\n}", 0, []store.Class{"exit"}, false},
		"out of memory, raised": {
			"command = [\"oom-until\", \"200000000\", \"f\"]\noutputs = {f = \"f\"}\nresources {\nmemory = \"100MB\"\n}\nretry {\noom = 3\nmemory_factor = 1.5\nbackoff = \"1ms\"\n}",
			0, []store.Class{"oom", "oom", "ok"}, true,
		},
		"preempted":    {"command = [\"killed-once\", \"m\", \"f\"]\noutputs = {f = \"f\"}\nretry {\nbackoff = \"1ms\"\n}", 0, []store.Class{"preempted", "ok"}, true},
		"infra":        {"command = [\"write\", \"f\", \"x\"]\noutputs = {f = \"f\"}\nretry {\nbackoff = \"1ms\"\n}", 2, []store.Class{"infra", "ok"}, true},
		"infra, final": {"command = [\"write\", \"f\", \"x\"]\nretry {\ninfra = 0\n}", 2, []store.Class{"infra"}, false},
		"missing":      {`command = ["write", "g", "x"]` + "\noutputs = {f = \"f\"}", 0, []store.Class{"output"}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "stage \"a\" {\n"+tt.stage+"\n}\n")
			r.rt.broken = tt.broken
			_, events, err := r.ran(t.Context())
			var got []store.Class
			for _, e := range events {
				if e.Type == event.AttemptDone {
					got = append(got, e.Attempt.Class)
				}
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("attempts (-want +got):\n%s", d)
			}
			if (err == nil) != tt.ok {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestCancelIsRecorded(t *testing.T) {
	r := newRig(t, "stage \"a\" {\n command = [\"sleep\"]\n}\nstage \"b\" {\n command = [\"sleep\"]\n after = [stage.a]\n}")
	r.rt.hold, r.rt.running = make(chan struct{}), make(chan string)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-r.rt.running
		cancel()
	}()
	status, _, err := r.ran(ctx)
	var e *Error
	if !errors.As(err, &e) || e.Kind != Interrupted {
		t.Errorf("error %v", err)
	}
	wantStatus(t, status, map[string]string{"a": "canceled", "b": "canceled"})
	doc, err := r.Runs(t.Context(), RunsRequest{Dir: r.dir})
	if err != nil || len(doc.Runs) != 1 || doc.Runs[0].Status != "canceled" {
		t.Errorf("runs %+v, %v", doc, err)
	}
}

func TestSameKeyIsBuiltOnce(t *testing.T) {
	r := newRig(t, "stage \"a\" {\n command = [\"sleep\", \";\", \"write\", \"f\", \"x\"]\n outputs = {f = \"f\"}\n}")
	r.rt.hold, r.rt.running = make(chan struct{}), make(chan string, 2)
	var wg sync.WaitGroup
	statuses := make([]map[string]string, 2)
	for i := range statuses {
		wg.Go(func() {
			var err error
			if statuses[i], _, err = r.ran(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	<-r.rt.running
	time.Sleep(50 * time.Millisecond) // the other run has come to the key by now, or it finds a hit: both are right
	close(r.rt.hold)
	wg.Wait()
	if r.rt.started != 1 {
		t.Errorf("%d containers were started", r.rt.started)
	}
	if statuses[0]["a"]+statuses[1]["a"] != "rancached" && statuses[0]["a"]+statuses[1]["a"] != "cachedran" {
		t.Errorf("statuses %v", statuses)
	}
}

func TestKeepFalseIsCheckedAgain(t *testing.T) {
	r := newRig(t, `
source "big" {
  path = "big.txt"
  keep = false
}
stage "a" {
  inputs  = [source.big]
  command = ["sleep", ";", "copy", "big.txt", "out"]
  outputs = { out = "out" }
  retry {
    backoff = "1ms"
  }
}`)
	r.write("big.txt", "one")
	r.rt.hold, r.rt.running = make(chan struct{}), make(chan string, 9)
	go func() {
		<-r.rt.running
		r.write("big.txt", "two!")
		close(r.rt.hold)
	}()
	_, events, err := r.ran(t.Context())
	if err == nil {
		t.Fatal("a result was recorded for an input that moved")
	}
	f := events[len(events)-1].Stages[0].Error
	if f.Class != store.ClassVoid || !strings.Contains(f.Message, "big.txt") {
		t.Errorf("failure %+v", f)
	}
	if _, ok := r.store.Stat(store.Sum([]byte("one"))); ok {
		t.Error("the source was kept")
	}
}

func TestFromAndUntil(t *testing.T) {
	r := newRig(t, two)
	r.write("in.txt", "hello")
	from := func(q *RunRequest) { q.From = "b" }
	var e *Error
	if _, _, err := r.ran(t.Context(), from); !errors.As(err, &e) || !strings.Contains(e.Message, `stage "a", which --from b relies on, is not up to date`) {
		t.Errorf("error %v", err)
	}
	status, _, err := r.ran(t.Context(), func(q *RunRequest) { q.Until = []string{"a"} })
	if err != nil {
		t.Fatal(err)
	}
	wantStatus(t, status, map[string]string{"a": "ran"})
	if status, _, err = r.ran(t.Context(), from); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, status, map[string]string{"b": "ran"})
	status, _, err = r.ran(t.Context(), func(q *RunRequest) { q.Force = []string{"a"} })
	if err != nil {
		t.Fatal(err)
	}
	wantStatus(t, status, map[string]string{"a": "ran", "b": "cached"})
}

func TestMetricsAndPrevious(t *testing.T) {
	src := func(acc string) string {
		return "stage \"e\" {\n command = [\"write\", \"m.json\", \"{\\\"acc\\\": " + acc + ", \\\"loss\\\": {\\\"mean\\\": 2}, \\\"name\\\": \\\"x\\\"}\"]\n metrics = \"m.json\"\n}"
	}
	r := newRig(t, src("0.5"))
	if _, _, err := r.ran(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.project(src("0.75"))
	_, events, err := r.ran(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	st := events[len(events)-1].Stages[0]
	if d := cmp.Diff(map[string]float64{"acc": 0.75, "loss.mean": 2}, st.Metrics); d != "" {
		t.Errorf("metrics (-want +got):\n%s", d)
	}
	if st.Previous["acc"] != 0.5 {
		t.Errorf("previous metrics %v", st.Previous)
	}
	if len(st.Outputs) != 0 {
		t.Errorf("the metrics file is listed as an output: %v", st.Outputs)
	}
	r.project("stage \"e\" {\n command = [\"write\", \"m.json\", \"nonsense\"]\n metrics = \"m.json\"\n}")
	if _, _, err := r.ran(t.Context()); err == nil {
		t.Error("metrics that are no JSON were accepted")
	}
}

func TestEnvironmentOfAStage(t *testing.T) {
	r := newRig(t, `
param "p" { default = "v" }
stage "a" {
  command = ["env", "PLUMB_SEED", "seed", ";", "env", "PLUMB_KEY", "key", ";", "env", "PLUMB_PARAM_p", "p", ";", "env", "TZ", "tz"]
  outputs = { seed = "seed", key = "key", p = "p", tz = "tz" }
  seed    = 42
  params  = [param.p]
  env     = { TZ = "CET" }
}`)
	_, events, err := r.ran(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	key := events[len(events)-1].Stages[0].Key.Hex()
	for name, want := range map[string]string{"a.seed": "42", "a.key": key, "a.p": "v", "a.tz": "CET"} {
		if got := r.content(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func TestInterruptedRunsAreClosed(t *testing.T) {
	r := newRig(t, two)
	dir := r.store.Dir()
	if err := r.store.PutRun(&store.Run{ID: "20260101-000000-abcd", Project: r.dir, Status: "running", Started: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	e, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	doc, err := e.Runs(t.Context(), RunsRequest{Dir: r.dir})
	if err != nil || len(doc.Runs) != 1 || doc.Runs[0].Status != "canceled" {
		t.Errorf("runs %+v, %v", doc, err)
	}
}

func TestGCLeavesAReason(t *testing.T) {
	r := newRig(t, two)
	r.write("in.txt", "one")
	if _, _, err := r.ran(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.write("in.txt", "two")
	if _, _, err := r.ran(t.Context()); err != nil {
		t.Fatal(err)
	}
	doc, err := r.GC(t.Context(), GCRequest{KeepRuns: 1})
	if err != nil {
		t.Fatal(err)
	}
	if doc.Records != 2 {
		t.Errorf("gc dropped %d results, want 2: %+v", doc.Records, doc)
	}
	status, _, err := r.ran(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wantStatus(t, status, map[string]string{"a": "cached", "b": "cached"})
	r.write("in.txt", "one")
	plan, err := r.Plan(t.Context(), r.request().Request)
	if err != nil {
		t.Fatal(err)
	}
	if got := plan.Stages[0].Reasons[0].String(); !strings.HasPrefix(got, "its result was removed by gc on ") {
		t.Errorf("reason %q", got)
	}
}

func TestDamagedBlobIsRebuilt(t *testing.T) {
	big := strings.Repeat("x", 100_000)
	r := newRig(t, "stage \"a\" {\n command = [\"write\", \"f\", \""+big+"\"]\n outputs = {f = \"f\"}\n}")
	_, events, err := r.ran(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d := events[len(events)-1].Stages[0].Outputs["f"].Digest
	dir := r.store.Dir()
	blob := filepath.Join(dir, "blobs", "sha256", d.Hex()[:2], d.Hex())
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(blob, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(blob, 10); err != nil {
		t.Fatal(err)
	}
	r.open(dir)
	plan, err := r.Plan(t.Context(), r.request().Request)
	if err != nil {
		t.Fatal(err)
	}
	if got := plan.Stages[0].Reasons[0].String(); !strings.HasPrefix(got, "its result is damaged") {
		t.Errorf("reason %q", got)
	}
	if _, _, err := r.ran(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := r.content("a.f"); got != big {
		t.Errorf("the rebuilt output has %d bytes", len(got))
	}
}
