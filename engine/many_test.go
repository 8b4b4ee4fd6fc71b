package engine

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"plumb/engine/plan"
	"plumb/store"
)

var manyRuns = flag.String("many", "", "ask questions of a store of 100,000 runs and 1,000,000 actions, made in this directory together with its project")

// chain is a pipeline of ten stages that read from each other.
func chain() string {
	var b strings.Builder
	b.WriteString("param \"lr\" { default = \"0\" }\n")
	for n := range 10 {
		fmt.Fprintf(&b, "stage \"s%d\" {\n", n)
		if n == 0 {
			b.WriteString("  inputs  = [\"in.txt\"]\n  command = [\"write\", \"o0\", param.lr]\n")
		} else {
			fmt.Fprintf(&b, "  inputs  = [stage.s%d.out]\n  command = [\"copy\", \"o%d\", \"o%d\", \";\", \"append\", \"o%d\", \" more\"]\n", n-1, n-1, n, n)
		}
		fmt.Fprintf(&b, "  outputs = { out = \"o%d\" }\n}\n", n)
	}
	return b.String()
}

// earlierRuns records runs of chain as if each had been with another learning rate.
func (r *rig) earlierRuns(runs int) {
	r.t.Helper()
	const image = "manifest"
	at := time.Now().Add(-time.Duration(runs+1) * 5 * time.Minute).UTC()
	b := r.store.NewBatch()
	source, err := b.Put(strings.NewReader("hello"), false)
	if err != nil {
		r.t.Fatal(err)
	}
	for i := range runs {
		at = at.Add(5 * time.Minute)
		lr := fmt.Sprintf("%q", fmt.Sprint(0.1/float64(i+1)))
		run := &store.Run{
			ID: store.RunID(at.Format("20060102-150405") + "-" + strconv.FormatInt(int64(1e6+i), 36)[:4]), Project: r.dir, Pipeline: "p", Status: "succeeded", Started: at, Seconds: 10, Version: "test",
			Params: []store.RunParam{{Name: "lr", Value: lr, Origin: "command line"}}, Isolation: "container",
		}
		in := plan.Input{Path: "in.txt", Artifact: source}
		for n := range 10 {
			note := plan.Note{Command: "command", Stage: fmt.Sprint("s", n), Image: "x"}
			a := plan.Action{Image: store.Sum([]byte(image)), Platform: "linux/amd64", Command: []string{"copy", fmt.Sprint(n)}, Inputs: []plan.Input{in}, Outputs: []plan.Output{{Name: "out", Path: fmt.Sprint("o", n)}}, Isolation: "container"}
			if n == 0 {
				a.Params = []plan.Param{{Name: "lr", Value: lr}}
			} else {
				note.Inputs = map[string]plan.Whence{in.Path: {Stage: fmt.Sprint("s", n-1), Output: "out"}}
			}
			noted, err := json.Marshal(note)
			if err != nil {
				r.t.Fatal(err)
			}
			out, err := b.Put(strings.NewReader(fmt.Sprint(lr, n)), false)
			if err != nil {
				r.t.Fatal(err)
			}
			action := a.Encode()
			rec := &store.Record{
				Key: plan.KeyOf(action), Action: action, Note: noted, Inputs: []store.Artifact{in.Artifact}, Run: run.ID, Stage: note.Stage, Created: at,
				Outputs: []store.Output{{Name: "out", Path: fmt.Sprint("o", n), Artifact: out}}, Metrics: map[string]float64{"acc": float64(i%1000) / 1000},
			}
			b.PutRecord(rec)
			b.History(r.dir, note.Stage, rec.Key)
			run.Stages = append(run.Stages, store.StageResult{Name: note.Stage, Key: rec.Key, Status: "ran", Seconds: 1, Image: a.Image.String(), Metrics: rec.Metrics})
			in = plan.Input{Path: fmt.Sprint("o", n), Artifact: out}
		}
		b.PutRun(run)
		if i%40 == 39 || i == runs-1 {
			if err := errors.Join(r.store.Commit(context.Background(), b), b.Close()); err != nil {
				r.t.Fatal(err)
			}
			b = r.store.NewBatch()
		}
	}
	if err := b.Close(); err != nil {
		r.t.Fatal(err)
	}
}

// TestQuestionsOfManyRuns measures what people ask of a long history. Without -many it is
// a short one, and only the answers are held.
func TestQuestionsOfManyRuns(t *testing.T) {
	runs := 60
	var r *rig
	if *manyRuns == "" {
		r = newRig(t, chain())
	} else {
		runs = 100_000
		r = &rig{t: t, rt: &fakeRuntime{}, dir: filepath.Join(*manyRuns, "project"), now: time.Now()}
		r.layout(chain())
		r.open(filepath.Join(*manyRuns, "store"))
	}
	r.write("in.txt", "hello")
	if last, err := r.store.LastRun(r.dir); err != nil {
		t.Fatal(err)
	} else if last == nil {
		began := time.Now()
		r.earlierRuns(runs)
		t.Logf("made in %v", time.Since(began))
	}
	r.mustRun()
	r.mustRun(func(q *RunRequest) { q.Project.Params = map[string]string{"lr": "9"} })
	rows, err := r.Runs(t.Context(), RunsRequest{Dir: r.dir, Limit: 20})
	if err != nil || len(rows.Runs) != 20 {
		t.Fatalf("%d runs, %v", len(rows.Runs), err)
	}
	newest, before, older := string(rows.Runs[0].ID), string(rows.Runs[1].ID), string(rows.Runs[19].ID)
	here := Request{Project: Project{Dir: r.dir}}
	file := filepath.Join(t.TempDir(), "somewhere")
	if err := os.WriteFile(file, []byte("9 more more more"), 0o644); err != nil {
		t.Fatal(err)
	}
	list := func(q RunsRequest) func() (int, error) {
		return func() (int, error) {
			q.Dir = r.dir
			doc, err := r.Runs(t.Context(), q)
			if err != nil {
				return 0, err
			}
			return len(doc.Runs), nil
		}
	}
	lineage := func(q LineageRequest) func() (int, error) {
		return func() (int, error) {
			q.Request, q.Limit = here, 50
			doc, err := r.Lineage(t.Context(), q)
			if err != nil {
				return 0, err
			}
			return len(doc.Actions), nil
		}
	}
	const soon, filter = 50 * time.Millisecond, 2 * time.Second
	for _, m := range []struct {
		name  string
		bound time.Duration
		ask   func() (int, error)
		want  int // at least
	}{
		{"show the newest", soon, func() (int, error) { d, err := r.Show(t.Context(), ShowRequest{Dir: r.dir}); return stagesOf(d), err }, 10},
		{"show one by its last letters", soon, func() (int, error) {
			d, err := r.Show(t.Context(), ShowRequest{Dir: r.dir, Run: older[len(older)-4:]})
			return stagesOf(d), err
		}, 10},
		{"why would a stage run", soon, func() (int, error) {
			d, err := r.Why(t.Context(), WhyRequest{Request: here, Stage: "s5"})
			return reasonsOf(d), err
		}, 1},
		{"why did a stage run", soon, func() (int, error) {
			d, err := r.Why(t.Context(), WhyRequest{Request: here, Stage: "s5", RunA: older, RunB: newest})
			return reasonsOf(d), err
		}, 1},
		{"diff of two runs", soon, func() (int, error) {
			d, err := r.Diff(t.Context(), DiffRequest{Request: here, A: before, B: newest})
			if err != nil {
				return 0, err
			}
			return len(d.Causes), nil
		}, 1},
		{"lineage of the newest run", soon, lineage(LineageRequest{}), 10},
		{"lineage of an old run", soon, lineage(LineageRequest{Name: older}), 10},
		{"lineage of an output", soon, lineage(LineageRequest{Name: "s3.out"}), 10},
		{"lineage of a file on disk", soon, lineage(LineageRequest{Name: "somewhere", File: file}), 10},
		{"lineage by the first digits", soon, lineage(LineageRequest{Name: store.Sum([]byte("9 more more more")).Hex()[:10]}), 10},
		{"lineage of a source that all read", soon, lineage(LineageRequest{Name: "in.txt", File: filepath.Join(r.dir, "in.txt"), Down: true}), 10},
		{"the first page", soon, list(RunsRequest{Limit: 20}), 20},
		{"a param that few had", filter, list(RunsRequest{Limit: 20, Params: []string{"lr=0.1"}}), 1},
		{"a metric that few had", filter, list(RunsRequest{Limit: 20, Metrics: []string{"s3.acc<0.001"}}), 1},
		{"a stage that few changed", filter, list(RunsRequest{Limit: 20, Status: "failed", Changed: "s3"}), 0},
		{"a stage of a name that none had", filter, list(RunsRequest{Limit: 20, Changed: "s3", Params: []string{"lr=none"}}), 0},
		{"sorted by a metric", filter, list(RunsRequest{Limit: 20, Sort: "s3.acc"}), 20},
		{"all that changed a stage", filter, list(RunsRequest{Limit: 20, Changed: "s3", Sort: "s3.acc"}), 20},
	} {
		best := time.Hour
		for range 3 {
			began := time.Now()
			n, err := m.ask()
			if err != nil || n < m.want {
				t.Fatalf("%s: %d, %v", m.name, n, err)
			}
			best = min(best, time.Since(began))
		}
		t.Logf("%-36s %v", m.name, best)
		if *manyRuns != "" && best > m.bound {
			t.Errorf("%s took %v, more than %v", m.name, best, m.bound)
		}
	}
}

func stagesOf(d *ShowDoc) int {
	if d == nil {
		return 0
	}
	return len(d.Stages)
}

func reasonsOf(d *WhyDoc) int {
	if d == nil {
		return 0
	}
	return len(d.Reasons)
}
