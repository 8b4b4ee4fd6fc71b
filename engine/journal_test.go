package engine

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"plumb/engine/event"
	"plumb/engine/runtime"
	"plumb/store"
)

const killedMidway = `
stage "first" {
  command = ["write", "first.txt", "1"]
  outputs = { out = "first.txt" }
}
stage "flaky" {
  inputs  = [stage.first.out]
  command = ["fail", "3", ";", "sleep"]
  retry { exit = 1 }
}
stage "second" {
  inputs  = [stage.first.out]
  command = ["sleep"]
}
stage "never" {
  inputs  = [stage.first.out]
  after   = [stage.second]
  command = ["write", "never.txt", "1"]
}
`

// A killed agent leaves the store as it is at that moment: a copy of it, made while a
// run is under way, is what the next agent finds. It records what had ended, and what
// had not as preempted. Somebody who only reads sees the same before.
func TestKilledRunIsRecorded(t *testing.T) {
	r := newRig(t, killedMidway)
	r.rt.hold, r.rt.running = make(chan struct{}), make(chan string, 8)
	ended := make(chan struct{})
	flaky := make(chan struct{})
	go func() {
		defer close(ended)
		r.Run(context.Background(), r.request(), func(e event.Event) { //nolint:errcheck // it fails in the end, as it should
			if e.Type == event.AttemptDone && e.Stage == "flaky" && e.Number == 1 {
				close(flaky)
			}
		})
	}()
	<-flaky
	<-r.rt.running
	copied := filepath.Join(t.TempDir(), "killed")
	if err := os.CopyFS(copied, os.DirFS(r.cfg.Dir)); err != nil {
		t.Fatal(err)
	}
	close(r.rt.hold)
	<-ended
	reader, err := Open(Config{Dir: copied, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]store.Class{"first": {store.ClassOK}, "flaky": {store.ClassExit}, "second": {store.ClassPreempted}}
	wantKilled(t, "read", reader, want)
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}
	next, err := Open(Config{Dir: copied, Version: "test", NewRuntime: func(context.Context, Place) (runtime.Runtime, error) { return r.rt, nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	wantKilled(t, "recorded", next, want)
	if left, err := os.ReadDir(filepath.Join(copied, "running")); err != nil || len(left) > 0 {
		t.Errorf("journals left: %v, %v", left, err)
	}
	if left, err := os.ReadDir(r.journalDir()); err != nil || len(left) > 0 {
		t.Errorf("journals left of a run that came to its end: %v, %v", left, err)
	}
}

func wantKilled(t *testing.T, how string, e *Engine, want map[string][]store.Class) {
	t.Helper()
	doc, err := e.Show(t.Context(), ShowRequest{})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]store.Class{}
	for _, s := range doc.Stages {
		for _, a := range s.Attempts {
			got[s.Name] = append(got[s.Name], a.Class)
		}
	}
	if doc.Status != "canceled" || doc.Counts.Ran != 1 {
		t.Errorf("%s: the run is %q, %+v", how, doc.Status, doc.Counts)
	}
	// Whether the second attempt of flaky had begun is up to its pause.
	if n := len(got["flaky"]); n == 2 && got["flaky"][1] == store.ClassPreempted {
		got["flaky"] = got["flaky"][:1]
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s: attempts (-want +got):\n%s", how, d)
	}
}

// A journal may end in the middle of a line, hold anything, or be a directory: what
// can be read of it counts, and the run is closed in any case.
func TestDamagedJournal(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"cut":       {`{"stage":"a","number":1,"began":"2026-01-02T03:04:05Z"}` + "\n" + `{"stage":"a","done":{"na`, []string{"a canceled preempted"}},
		"garbage":   {"\x00\xff\n[]\n7\n{}\n", nil},
		"empty":     {"", nil},
		"done":      {`{"stage":"a","done":{"name":"a","status":"ran","attempts":[{"class":"ok"}]}}` + "\n", []string{"a ran ok"}},
		"no begin":  {`{"stage":"a","attempt":{"class":"exit"}}` + "\n", []string{"a canceled exit"}},
		"very long": {strings.Repeat("x", 1<<20), nil},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "journal")
			if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			run := &store.Run{ID: "r", Status: statusRunning}
			if _, err := interrupted(path, run); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, s := range run.Stages {
				line := s.Name + " " + s.Status
				for _, a := range s.Attempts {
					line += " " + string(a.Class)
				}
				got = append(got, line)
			}
			if d := cmp.Diff(c.want, got); d != "" || run.Status != statusCanceled {
				t.Errorf("status %q, stages (-want +got):\n%s", run.Status, d)
			}
		})
	}
	run := &store.Run{ID: "r", Status: statusRunning}
	if _, err := interrupted(t.TempDir(), run); err != nil || run.Status != statusCanceled || run.Stages != nil {
		t.Errorf("a directory as a journal: %v, %+v", err, run)
	}
}

// What a signal to the agent ends is preempted, what a person ends is canceled.
func TestPreempted(t *testing.T) {
	for want, cause := range map[store.Class]error{store.ClassPreempted: ErrPreempted, store.ClassCanceled: nil} {
		t.Run(string(want), func(t *testing.T) {
			r := newRig(t, "stage \"a\" {\n command = [\"sleep\"]\n}\n")
			r.rt.hold, r.rt.running = make(chan struct{}), make(chan string, 1)
			ctx, cancel := context.WithCancelCause(t.Context())
			go func() {
				<-r.rt.running
				cancel(cause)
			}()
			var got []store.Class
			err := r.Run(ctx, r.request(), func(e event.Event) {
				if e.Type == event.AttemptDone {
					got = append(got, e.Attempt.Class)
				}
			})
			if AsError(err).Kind != Interrupted {
				t.Errorf("error %v", err)
			}
			if d := cmp.Diff([]store.Class{want}, got); d != "" {
				t.Errorf("attempts (-want +got):\n%s", d)
			}
		})
	}
}

const killedInTheMiddle = `
stage "free" {
  command = ["write", "free.txt", "1"]
  outputs = { out = "free.txt" }
}
stage "first" {
  inputs  = ["in.txt"]
  command = ["copy", "in.txt", "first.txt"]
  outputs = { out = "first.txt" }
}
stage "slow" {
  inputs  = [stage.first.out]
  command = ["sleep", ";", "copy", "first.txt", "slow.txt"]
  outputs = { out = "slow.txt" }
}
stage "after" {
  inputs  = [stage.slow.out, "other.txt"]
  command = ["copy", "slow.txt", "after.txt"]
  outputs = { out = "after.txt" }
}
`

// killed is a rig with a run of killedInTheMiddle, and gives a copy of its store as it is
// in the middle of the next run, which reads another in.txt.
func killed(t *testing.T) (r *rig, copied string) {
	r = newRig(t, killedInTheMiddle)
	r.write("in.txt", "1")
	r.write("other.txt", "o")
	gitInit(t, r.dir)
	r.rt.hold, r.rt.running = make(chan struct{}), make(chan string, 8)
	close(r.rt.hold)
	if _, _, err := r.ran(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-r.rt.running
	r.rt.hold = make(chan struct{})
	r.write("in.txt", "2")
	ended := make(chan error)
	go func() {
		_, _, err := r.ran(context.Background())
		ended <- err
	}()
	<-r.rt.running
	t.Cleanup(func() {
		close(r.rt.hold)
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	for begun := time.Now(); ; time.Sleep(time.Millisecond) {
		doc, err := r.Show(t.Context(), ShowRequest{Dir: r.dir})
		if err != nil {
			t.Fatal(err)
		}
		if doc.Origin != nil && doc.Seconds > 0 { // which nobody waits for
			break
		}
		if time.Since(begun) > 20*time.Second {
			t.Fatal("where a run comes from is not recorded while it runs")
		}
	}
	copied = filepath.Join(t.TempDir(), "killed")
	if err := os.CopyFS(copied, os.DirFS(r.cfg.Dir)); err != nil {
		t.Fatal(err)
	}
	return r, copied
}

func gitInit(t *testing.T, dir string) {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("there is no git")
	}
	gitIn(t, dir, "init", "-q")
	gitIn(t, dir, "add", ".")
	gitIn(t, dir, "commit", "-q", "-m", "one")
}

// While a run is under way, its stages are told with how far they are.
func TestRunUnderWay(t *testing.T) {
	r, _ := killed(t)
	doc, err := r.Show(t.Context(), ShowRequest{Dir: r.dir})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, s := range doc.Stages {
		got[s.Name] = s.Status
	}
	want := map[string]string{"free": "cached", "first": "ran", "slow": "running", "after": "pending"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("stages (-want +got):\n%s", d)
	}
	list, err := r.Runs(t.Context(), RunsRequest{Dir: r.dir})
	if err != nil {
		t.Fatal(err)
	}
	if now := list.Runs[0]; now.Status != statusRunning || now.Seconds <= 0 || now.Counts != (store.Counts{Ran: 1, Cached: 1}) {
		t.Errorf("the list says %s, %v s, %+v", now.Status, now.Seconds, now.Counts)
	}
}

// A run that lost its agent is compared by what is known of it: what was changed is what
// the user changed, also for the stage that did not come to its end, and one that was not
// reached was neither added nor removed. It can be restored.
func TestKilledRunIsCompared(t *testing.T) {
	r, copied := killed(t)
	reader, err := Open(Config{Dir: copied, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	wantCompared(t, "read", reader, r.dir)
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}
	next, err := Open(Config{Dir: copied, Version: "test", NewRuntime: func(context.Context, Place) (runtime.Runtime, error) { return r.rt, nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	wantCompared(t, "recorded", next, r.dir)
	to := filepath.Join(t.TempDir(), "restored")
	if _, err := next.Restore(t.Context(), RestoreRequest{Dir: r.dir, To: to}, func(event.Event) {}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"in.txt": "2", "other.txt": "o", "plumb.hcl": header + killedInTheMiddle} {
		if b, err := os.ReadFile(filepath.Join(to, name)); err != nil || string(b) != want {
			t.Errorf("restored %s: %q, %v", name, b, err)
		}
	}
}

func wantCompared(t *testing.T, how string, e *Engine, dir string) {
	t.Helper()
	doc, err := e.Diff(t.Context(), DiffRequest{Request: Request{Project: Project{Dir: dir}}})
	if err != nil {
		t.Fatal(err)
	}
	var causes, status []string
	for _, c := range doc.Causes {
		causes = append(causes, string(c.Kind)+" "+c.Name+" "+strings.Join(c.Stages, " "))
	}
	for _, c := range doc.Consequences {
		if c.Kind == "status" {
			status = append(status, c.Stage+" "+c.Old+" "+c.New+" "+c.Detail)
		}
	}
	if d := cmp.Diff([]string{"input in.txt first"}, causes); d != "" {
		t.Errorf("%s: causes (-want +got):\n%s", how, d)
	}
	if d := cmp.Diff([]string{"slow ran canceled ", "after ran canceled not reached"}, status); d != "" {
		t.Errorf("%s: states (-want +got):\n%s", how, d)
	}
	if len(doc.Unknown) > 0 {
		t.Errorf("%s: not known: %+v", how, doc.Unknown)
	}
	if o := doc.B.Origin; o == nil || o.Git == nil || o.Git.Commit == "" || o.Git.Commit != doc.A.Origin.Git.Commit || o.Host.Cores == 0 {
		t.Errorf("%s: origin %+v", how, o)
	}
}

// A journal that nothing is written to still tells that the run goes on.
func TestJournalPulse(t *testing.T) {
	e := &Engine{cfg: Config{Dir: t.TempDir(), Now: time.Now}}
	started := time.Now()
	j := e.openJournal("r")
	j.write(entry{Stage: "a"})
	time.Sleep(pulse + pulse/2)
	if err := j.keep(); err != nil {
		t.Fatal(err)
	}
	run := &store.Run{ID: "r", Status: statusRunning, Started: started}
	if _, err := interrupted(j.path, run); err != nil {
		t.Fatal(err)
	}
	if run.Seconds < pulse.Seconds() {
		t.Errorf("it was under way for %v s, says its journal", run.Seconds)
	}
}
