package report

import (
	"bytes"
	"errors"
	"flag"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"

	"plumb/engine"
	"plumb/store"
)

var started = time.Date(2026, 11, 24, 2, 7, 51, 123456000, time.UTC)

// three are runs that differ in what they have.
func three() []engine.RunRow {
	return []engine.RunRow{
		{
			Run: store.Run{
				ID: "20261124-020753-cccc", Project: "/p", Pipeline: "wine", Profile: "ci", Status: "running", Started: started.Add(2 * time.Second),
				Params: []store.RunParam{{Name: "lr", Value: "0.1"}, {Name: "model", Value: `"small, \"or\" so"`}, {Name: "pw"}},
			},
		},
		{
			Run: store.Run{
				ID: "20261124-020752-bbbb", Project: "/p", Pipeline: "wine", Status: "failed", Started: started.Add(time.Second), Seconds: 1,
				Params: []store.RunParam{{Name: "lr", Value: "1e-3"}, {Name: "mixed", Value: `"x"`}, {Name: "list", Value: "[1,2]"}}, Counts: store.Counts{Failed: 1},
			},
			Metrics: map[string]float64{"train.acc": math.NaN()},
		},
		{
			Run: store.Run{
				ID: "20261124-020751-aaaa", Project: "/q", Status: "succeeded", Started: started, Seconds: 2.5, Version: "1.2", Counts: store.Counts{Ran: 1, Cached: 2},
				Params: []store.RunParam{{Name: "mixed", Value: "5"}}, Origin: &store.Origin{User: "me", Git: &store.Git{Commit: "abc", Branch: "main"}},
			},
			Annotation: store.Annotation{Tags: []string{"best", "v1"}, Note: "two\nlines"},
			Metrics:    map[string]float64{"train.acc": 0.30000000000000004, `fit[lr=0.1].f1/x`: 2},
		},
	}
}

func each(rows []engine.RunRow) Runs {
	return func(fn func(*engine.RunRow) error) error {
		for i := range rows {
			if err := fn(&rows[i]); err != nil {
				return err
			}
		}
		return nil
	}
}

func TestCSV(t *testing.T) {
	var b bytes.Buffer
	if n, err := CSV(&b, each(three())); n != 3 || err != nil {
		t.Fatal(n, err)
	}
	want := `run,project,pipeline,profile,status,started,seconds,ran,cached,failed,commit,tags,note,param.list,param.lr,param.mixed,param.model,param.pw,metric.fit[lr=0.1].f1/x,metric.train.acc
20261124-020753-cccc,/p,wine,ci,running,2026-11-24T02:07:53.123456Z,0,0,0,0,,,,,0.1,,"small, ""or"" so",,,
20261124-020752-bbbb,/p,wine,,failed,2026-11-24T02:07:52.123456Z,1,0,0,1,,,,"[1,2]",0.001,x,,,,NaN
20261124-020751-aaaa,/q,,,succeeded,2026-11-24T02:07:51.123456Z,2.5,1,2,0,abc,best v1,"two
lines",,,5,,,2,0.30000000000000004
`
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Error(d)
	}
}

// TestParquet reads the file again, through the library's own types.
func TestParquet(t *testing.T) {
	path := filepath.Join(t.TempDir(), "runs.parquet")
	if n, err := Write("parquet", path, each(three())); n != 3 || err != nil {
		t.Fatal(n, err)
	}
	type row struct {
		Run     string    `parquet:"run"`
		Started time.Time `parquet:"started,timestamp(microsecond)"`
		Seconds float64   `parquet:"seconds"`
		Note    *string   `parquet:"note,optional"`
		LR      *float64  `parquet:"param.lr,optional"`
		Mixed   *string   `parquet:"param.mixed,optional"`
		Acc     *float64  `parquet:"metric.train.acc,optional"`
		F1      *float64  `parquet:"metric.fit[lr=0.1].f1/x,optional"`
	}
	got, err := parquet.ReadFile[row](path)
	if err != nil {
		t.Fatal(err)
	}
	word := func(s string) *string { return &s }
	num := func(v float64) *float64 { return &v }
	want := []row{
		{Run: "20261124-020753-cccc", Started: started.Add(2 * time.Second), LR: num(0.1)},
		{Run: "20261124-020752-bbbb", Started: started.Add(time.Second), Seconds: 1, LR: num(0.001), Mixed: word("x"), Acc: num(math.NaN())},
		{Run: "20261124-020751-aaaa", Started: started, Seconds: 2.5, Note: word("two\nlines"), Mixed: word("5"), Acc: num(0.30000000000000004), F1: num(2)},
	}
	same := cmp.Options{cmp.Comparer(func(a, b float64) bool { return a == b || a != a && b != b }), cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) })}
	if d := cmp.Diff(want, got, same); d != "" {
		t.Error(d)
	}
}

// seeds are runs with integers that a double does not hold, alone and among others, and one
// that a double holds and would write in another form.
func seeds() []engine.RunRow {
	var rows []engine.RunRow
	for i, v := range [][3]string{{"9007199254740993", "9007199254740993", "1000000"}, {"9007199254740992", "0.5", "0.25"}} {
		rows = append(rows, engine.RunRow{
			Run: store.Run{ID: store.RunID(rune('b' - i)), Started: started, Seconds: 1_000_000, Params: []store.RunParam{
				{Name: "seed", Value: v[0]}, {Name: "among", Value: v[1]}, {Name: "steps", Value: v[2]},
			}},
			Annotation: store.Annotation{Note: "=1+1"},
		})
	}
	return rows
}

func TestIntegersStay(t *testing.T) {
	var b bytes.Buffer
	if _, err := CSV(&b, each(seeds())); err != nil {
		t.Fatal(err)
	}
	want := `run,project,pipeline,profile,status,started,seconds,ran,cached,failed,commit,tags,note,param.among,param.seed,param.steps
b,,,,,2026-11-24T02:07:51.123456Z,1000000,0,0,0,,,=1+1,9007199254740993,9007199254740993,1000000
a,,,,,2026-11-24T02:07:51.123456Z,1000000,0,0,0,,,=1+1,0.5,9007199254740992,0.25
`
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Error(d)
	}
	path := filepath.Join(t.TempDir(), "runs.parquet")
	if _, err := Write("parquet", path, each(seeds())); err != nil {
		t.Fatal(err)
	}
	type row struct {
		Seed  int64   `parquet:"param.seed,optional"`
		Among string  `parquet:"param.among,optional"`
		Steps float64 `parquet:"param.steps,optional"`
	}
	got, err := parquet.ReadFile[row](path)
	if d := cmp.Diff([]row{{9007199254740993, "9007199254740993", 1000000}, {9007199254740992, "0.5", 0.25}}, got); d != "" || err != nil {
		t.Error(d, err)
	}
}

// files reads all files below dir.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path) // it is below
		if d.IsDir() {
			if entries, err := os.ReadDir(path); err != nil || len(entries) > 0 {
				return err
			}
			all[rel+"/"] = ""
			return nil
		}
		b, err := os.ReadFile(path)
		all[rel] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestMLflow(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ml runs")
	if n, err := Write("mlflow", dir, each(three()[2:])); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	m := mlflowStore{experiments: map[string]*experiment{}}
	ex, id := m.experiment("/q").id, RunID("20261124-020751-aaaa")
	uri := "file://" + strings.ReplaceAll(dir, " ", "%20")
	run := ex + "/" + id + "/"
	want := map[string]string{
		ex + "/meta.yaml": `artifact_location: "` + uri + "/" + ex + "\"\ncreation_time: 1795486071123\nexperiment_id: \"" + ex + "\"\nlast_update_time: 1795486073623\nlifecycle_stage: \"active\"\nname: \"/q\"\n",
		run + "meta.yaml": `artifact_uri: "` + uri + "/" + run + "artifacts\"\nend_time: 1795486073623\nentry_point_name: \"\"\nexperiment_id: \"" + ex + "\"\nlifecycle_stage: \"active\"\n" +
			"run_id: \"" + id + "\"\nrun_name: \"20261124-020751-aaaa\"\nrun_uuid: \"" + id + "\"\nsource_name: \"\"\nsource_type: 4\nsource_version: \"\"\nstart_time: 1795486071123\nstatus: 3\ntags: []\nuser_id: \"me\"\n",
		run + "params/mixed": "5", run + "metrics/train.acc": "1795486073623 0.30000000000000004 0\n", run + "metrics/fit_lr_0.1_.f1_x": "1795486073623 2 0\n", run + "artifacts/": "",
		run + "tags/mlflow.runName": "20261124-020751-aaaa", run + "tags/mlflow.source.name": "/q", run + "tags/mlflow.source.type": "PROJECT", run + "tags/mlflow.user": "me",
		run + "tags/mlflow.source.git.commit": "abc", run + "tags/mlflow.source.git.branch": "main", run + "tags/mlflow.note.content": "two\nlines",
		run + "tags/plumb.version": "1.2", run + "tags/plumb.status": "succeeded", run + "tags/plumb.tags": "best v1", run + "tags/plumb.names": `{"fit_lr_0.1_.f1_x":"fit[lr=0.1].f1/x"}`,
	}
	if d := cmp.Diff(want, files(t, dir)); d != "" {
		t.Error(d)
	}
}

// TestMLflowForm holds what MLflow requires of any run: names and ids in their forms, and
// no value of a sensitive param.
func TestMLflowForm(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "mlruns")
	if n, err := Write("mlflow", dir, each(three())); n != 3 || err != nil {
		t.Fatal(n, err)
	}
	form := regexp.MustCompile(`^[0-9]{18}/([0-9a-f]{32}/)?(meta\.yaml|artifacts/|metrics/|params/|(params|metrics|tags)/[\w.\- ]+)$`)
	for path, text := range files(t, dir) {
		if !form.MatchString(path) {
			t.Errorf("%q has no form of MLflow's", path)
		}
		if strings.Contains(path, "/metrics/") && !strings.HasSuffix(path, "/") && !regexp.MustCompile(`^[0-9]+ [0-9.eNa+-]+ 0\n$`).MatchString(text) {
			t.Errorf("%q holds %q", path, text)
		}
		if strings.HasSuffix(path, "params/pw") {
			t.Error("a sensitive param is exported")
		}
		if strings.Contains(text, "run_id") && strings.Contains(text, "20261124-020753-cccc") && !strings.Contains(text, "end_time: null\n") {
			t.Error("a run that is not over has an end")
		}
	}
	again := filepath.Join(t.TempDir(), "mlruns")
	if _, err := Write("mlflow", again, each(three())); err != nil {
		t.Fatal(err)
	}
	a, b := files(t, dir), files(t, again)
	if d := cmp.Diff(slices.Sorted(slices.Values(sorted(a))), sorted(b)); d != "" {
		t.Errorf("two exports differ: %s", d)
	}
}

func TestPlainNames(t *testing.T) {
	for name, want := range map[string]string{"lr": "lr", "a b-c_d.e": "a b-c_d.e", "a/b": "a_b", "..": "_..", ".": "_.", "": "_", "größe": "gr__e", "x[y=1]": "x_y_1_"} {
		if got := plainName(name); got != want {
			t.Errorf("%q becomes %q", name, got)
		}
	}
	dir := t.TempDir()
	renamed := map[string]string{}
	if err := writeNamed(dir, map[string]string{"a/b": "1", "a:b": "2", "a_b": "3", "A_B": "4"}, renamed); err != nil {
		t.Fatal(err)
	}
	if got := files(t, dir); len(got) != 4 || len(renamed) < 3 {
		t.Errorf("%v, renamed %v", got, renamed)
	}
}

// TestWriteIsAllOrNothing ends in the middle, and finds something in its way.
func TestWriteIsAllOrNothing(t *testing.T) {
	for _, format := range Formats() {
		dir := t.TempDir()
		broken := func(fn func(*engine.RunRow) error) error {
			return errors.Join(each(three())(fn), errors.New("the agent is gone"))
		}
		if _, err := Write(format, filepath.Join(dir, "out"), broken); err == nil {
			t.Errorf("%s: no error", format)
		}
		if left := files(t, dir); len(left) > 1 {
			t.Errorf("%s leaves %v", format, left)
		}
		if err := os.WriteFile(filepath.Join(dir, "out"), []byte("mine"), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Write(format, filepath.Join(dir, "out"), each(three())); err == nil || files(t, dir)["out"] != "mine" {
			t.Errorf("%s: %v, %v", format, err, files(t, dir))
		}
	}
}

var python = flag.String("mlflow", "", "a python that has mlflow, which reads an export")

func TestRealMLflow(t *testing.T) {
	if *python == "" {
		t.Skip("-mlflow names a python with mlflow")
	}
	dir := filepath.Join(t.TempDir(), "mlruns")
	if _, err := Write("mlflow", dir, each(three())); err != nil {
		t.Fatal(err)
	}
	script := `
import sys
from mlflow.tracking import MlflowClient
c = MlflowClient(tracking_uri="file://" + sys.argv[1])
for e in sorted(c.search_experiments(), key=lambda e: e.name):
    for r in sorted(c.search_runs([e.experiment_id]), key=lambda r: r.info.run_name):
        print(e.name, r.info.run_name, r.info.status, sorted(r.data.params.items()), sorted(r.data.metrics.items()))
`
	out, err := exec.Command(*python, "-c", script, dir).Output()
	if err != nil {
		t.Fatal(err)
	}
	want := `/p 20261124-020752-bbbb FAILED [('list', '[1,2]'), ('lr', '1e-3'), ('mixed', 'x')] [('train.acc', nan)]
/p 20261124-020753-cccc RUNNING [('lr', '0.1'), ('model', 'small, "or" so')] []
/q 20261124-020751-aaaa FINISHED [('mixed', '5')] [('fit_lr_0.1_.f1_x', 2.0), ('train.acc', 0.30000000000000004)]
`
	if d := cmp.Diff(want, string(out)); d != "" {
		t.Error(d)
	}
}
