package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"plumb/engine/event"
	"plumb/engine/moment"
	"plumb/hcl"
	"plumb/store"
)

// month is a project of which every part can change: data by path and by pattern, code in
// a directory, a file that an expression reads, a list of files, params, a profile's too.
const month = `
param "lr" { default = "0.1" }
param "title" { default = "none" }
source "raw" { path = "data/raw.csv" }
source "more" { path = "data/parts/*.csv" }
stage "clean" {
  inputs  = { raw = { from = source.raw, as = "in.csv" } }
  command = ["copy", "in.csv", "clean.csv"]
  outputs = { csv = "clean.csv" }
}
stage "parts" {
  inputs  = [source.more]
  command = ["list", "data/parts", ";", "write", "n.txt", "${file("notes/words.txt")} ${join(",", fileset("lists", "*.txt"))}"]
  outputs = { n = "n.txt" }
}
stage "train" {
  inputs  = [stage.clean.csv, "code"]
  command = ["mkdir", "model", ";", "copy", "code/train.py", "model/code", ";", "copy", "clean.csv", "model/data", ";", "write", "model/lr", "${param.lr} ${param.title}"]
  outputs = { model = "model/" }
}
export "out/model" { from = stage.train.model }
`

func newMonth(t *testing.T) *rig {
	t.Helper()
	r := newRig(t, month)
	r.write("data/raw.csv", "a,b\n")
	r.write("data/parts/1.csv", "1\n")
	r.write("code/train.py", "pass\n")
	r.write("code/lib/helper.py", "x = 1\n")
	r.write("notes/words.txt", "words")
	r.write("lists/one.txt", "1")
	r.write(hcl.LockFile, string((&hcl.Lock{}).Encode()))
	return r
}

// change changes one thing a day, in turn.
func (r *rig) change(day int) {
	text := fmt.Sprint("day ", day, "\n")
	switch day % 8 {
	case 1:
		r.write("data/raw.csv", "a,b\n"+text)
	case 2:
		r.write("code/train.py", "pass # "+text)
	case 3:
		r.write(fmt.Sprintf("data/parts/%d.csv", day), text)
	case 4:
		r.write("notes/words.txt", strings.TrimSpace(text))
	case 5:
		r.write(fmt.Sprintf("lists/%d.txt", day), text)
	case 6:
		if err := os.Chmod(filepath.Join(r.dir, "code/lib/helper.py"), fs.FileMode(0o644|(day/8%2)*0o111)); err != nil {
			r.t.Fatal(err)
		}
	case 7:
		r.project(strings.Replace(month, `"code/train.py", "model/code"`, fmt.Sprintf(`"code/train.py", "model/code", ";", "write", "model/day", "%d"`, day), 1))
	}
}

// contents reads all files below dir, with whether they can be executed.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	if err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		fi, err := d.Info()
		rel, _ := filepath.Rel(dir, p)
		out[rel] = fmt.Sprintf("%v %s", fi.Mode()&0o100 != 0, b)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

func (r *rig) restore(change func(*RestoreRequest)) (*RestoreDoc, []string, error) {
	r.t.Helper()
	req := RestoreRequest{Dir: r.dir, To: filepath.Join(r.t.TempDir(), "restored")}
	change(&req)
	var told []string
	doc, err := r.Restore(r.t.Context(), req, func(e event.Event) {
		if e.Type == event.Warning {
			told = append(told, e.Message)
		}
	})
	return doc, told, err
}

// again runs what a restore says, and gives the states of the stages.
func (r *rig) again(doc *RestoreDoc) (map[string]string, error) {
	r.t.Helper()
	other := *r
	other.dir = doc.To
	return other.statusOf(func(q *RunRequest) {
		q.Locked = true
		for i, word := range doc.Command {
			switch word {
			case "--params":
				b, err := os.ReadFile(filepath.Join(doc.To, doc.Command[i+1]))
				if err != nil {
					r.t.Fatal(err)
				}
				q.Project.Files = []hcl.File{{Name: doc.Command[i+1], Data: b}}
			case "--profile":
				q.Project.Profile = doc.Command[i+1]
			case "run":
				if rest := doc.Command[i+1:]; len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
					q.Targets = rest
				}
			}
		}
	})
}

func (r *rig) statusOf(change func(*RunRequest)) (map[string]string, error) {
	status, _, err := r.ran(r.t.Context(), change)
	return status, err
}

// Every run of a month of changes is restored after gc: run there it is cached as a
// whole, its project is the one of that day byte for byte, and so are its outputs.
func TestRestoreOfAMonth(t *testing.T) {
	r := newMonth(t)
	type dayRun struct {
		id      store.RunID
		project map[string]string
		outputs map[string]event.Output
	}
	var days []dayRun
	begin := time.Date(2026, 11, 1, 9, 0, 0, 0, time.UTC)
	for day := range 30 {
		r.day = begin.AddDate(0, 0, day)
		r.change(day)
		if _, _, err := r.ran(t.Context(), func(q *RunRequest) {
			q.Project.Params = map[string]string{"title": fmt.Sprint("week ", day/7)}
			if day%5 == 0 {
				q.Project.Environ = map[string]string{"PLUMB_PARAM_lr": fmt.Sprint(day)}
			}
		}); err != nil {
			t.Fatalf("day %d: %v", day, err)
		}
		doc, err := r.Show(t.Context(), ShowRequest{Dir: r.dir})
		if err != nil {
			t.Fatal(err)
		}
		d := dayRun{doc.ID, contents(t, r.dir), map[string]event.Output{}}
		for _, st := range doc.Stages {
			for name, o := range st.Outputs {
				d.outputs[st.Name+"."+name] = o
			}
		}
		days = append(days, d)
		if _, err := r.GC(t.Context(), GCRequest{KeepRuns: 100}); err != nil {
			t.Fatal(err)
		}
	}
	r.day = begin.AddDate(0, 0, 40) // no grace protects anything
	if _, err := r.GC(t.Context(), GCRequest{KeepRuns: 100}); err != nil {
		t.Fatal(err)
	}
	for n, d := range days {
		doc, told, err := r.restore(func(q *RestoreRequest) { q.Run = string(d.id) })
		if err != nil {
			t.Fatalf("day %d: %v", n, err)
		}
		if len(told) != 1 { // that names were listed
			t.Errorf("day %d: told %q", n, told)
		}
		got := contents(t, doc.To)
		if _, ok := got[paramsFile]; !ok {
			t.Errorf("day %d: no file of params", n)
		}
		delete(got, paramsFile)
		for path := range d.project {
			if strings.HasPrefix(path, "lists/") { // only their names were read
				d.project[path] = "false "
			}
		}
		if diff := cmp.Diff(d.project, got); diff != "" {
			t.Errorf("day %d: project (-then +now)\n%s", n, diff)
		}
		before := r.rt.created
		status, err := r.again(doc)
		if err != nil {
			t.Fatalf("day %d: %v", n, err)
		}
		wantStatus(t, status, map[string]string{"clean": "cached", "parts": "cached", "train": "cached"})
		if r.rt.created != before {
			t.Errorf("day %d: %d containers", n, r.rt.created-before)
		}
		shown, err := r.Show(t.Context(), ShowRequest{Dir: doc.To})
		if err != nil {
			t.Fatal(err)
		}
		for _, st := range shown.Stages {
			for name, o := range st.Outputs {
				if o != d.outputs[st.Name+"."+name] {
					t.Errorf("day %d: output %s.%s is %+v and was %+v", n, st.Name, name, o, d.outputs[st.Name+"."+name])
				}
			}
		}
		if diff := cmp.Diff(d.project["out/model/lr"], contents(t, doc.To)["out/model/lr"]); diff != "" {
			t.Errorf("day %d: the export changed\n%s", n, diff)
		}
	}
}

func TestRestoreAtATime(t *testing.T) {
	r := newMonth(t)
	var ids []store.RunID
	for day := range 30 { // the 1st of November 2026 is a Sunday
		r.day = time.Date(2026, 11, 1+day, 9, 0, 0, 0, time.UTC)
		r.write("data/raw.csv", fmt.Sprint("day ", day+1))
		if _, _, err := r.ran(t.Context(), func(q *RunRequest) {}); err != nil {
			t.Fatal(err)
		}
		last, err := r.store.LastRun(r.dir)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, last.ID)
	}
	r.day = time.Date(2026, 11, 26, 14, 0, 0, 0, time.UTC)
	r.write("plumb.hcl", header+"stage \"a\" {\n command = [\"fail\", \"1\"]\n}\n")
	r.day = time.Date(2026, 11, 24, 15, 0, 0, 0, time.UTC)
	if _, _, err := r.ran(t.Context()); err == nil {
		t.Fatal("it did not fail")
	}
	r.project(month)
	now := time.Date(2026, 11, 26, 14, 30, 0, 0, time.UTC) // a Thursday
	for _, c := range []struct {
		text string
		day  int // of November, whose run it is; 0 for an error
		says string
	}{
		{"last tuesday", 24, ""}, // and not the one that failed, later that day
		{"tuesday 08:00", 23, ""},
		{"2026-11-17 09:00", 17, ""},
		{"2026-11-17 08:59", 16, ""},
		{"3 days ago", 23, ""},
		{"yesterday", 25, ""},
		{"2026-11-01 08:00", 0, "the first was " + string(ids[0]) + ", at 2026-11-01 09:00:00"},
	} {
		at, err := moment.Parse(c.text, now)
		if err != nil {
			t.Fatal(err)
		}
		doc, _, err := r.restore(func(q *RestoreRequest) { q.At = at })
		if c.day == 0 {
			var e *Error
			if !errors.As(err, &e) || e.Kind != Invalid || !strings.Contains(e.Message, c.says) {
				t.Errorf("%s: %v", c.text, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", c.text, err)
		}
		if doc.Run != ids[c.day-1] {
			t.Errorf("%s: run %s, and %s is right", c.text, doc.Run, ids[c.day-1])
		}
		if b, err := os.ReadFile(filepath.Join(doc.To, "data/raw.csv")); err != nil || string(b) != fmt.Sprint("day ", c.day) {
			t.Errorf("%s: %q, %v", c.text, b, err)
		}
	}
}

// A run that was still going on then had not succeeded, however early it began.
func TestRestoreTakesARunThatWasOver(t *testing.T) {
	r := newRig(t, "")
	long, short := aTraining("0.1", 1), aTraining("0.2", 2)
	long.Seconds, short.Seconds = 4*3600, 90.5 // from 09:00 to 13:00, and from 09:01 to 09:02:30.5
	history(t, r, long, short)
	for clock, want := range map[string]string{"09:02:30": "", "09:02:31": "r001", "12:59:59": "r001", "13:00:00": "r001"} {
		at, err := time.Parse(time.DateTime, "2026-11-01 "+clock)
		if err != nil {
			t.Fatal(err)
		}
		run, err := (&restoring{e: r.Engine, req: RestoreRequest{Dir: r.dir, At: at}}).head()
		switch {
		case want == "" && (err == nil || !strings.Contains(err.Error(), "-r001, at 2026-11-01 09:02:31")):
			t.Errorf("%s: %+v, %v", clock, run, err)
		case want != "" && (err != nil || !strings.HasSuffix(string(run.ID), want)):
			t.Errorf("%s: %+v, %v; want %s", clock, run, err, want)
		}
	}
}

func TestRestoreRefuses(t *testing.T) {
	r := newMonth(t)
	if _, _, err := r.ran(t.Context()); err != nil {
		t.Fatal(err)
	}
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "mine"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	busy := t.TempDir()
	_, done, err := beginRestore(busy)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := done(); err != nil {
			t.Error(err)
		}
	})
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink("nowhere", link); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		do   func(*RestoreRequest)
		kind ErrorKind
		says string
	}{
		{"a directory with something in it", func(q *RestoreRequest) { q.To = full }, Invalid, "is not empty: mine is in it"},
		{"a directory that another restore fills", func(q *RestoreRequest) { q.To = busy }, Invalid, "is under way"},
		{"a link to nowhere", func(q *RestoreRequest) { q.To = link }, Invalid, `is a link to "nowhere", and that is not there`},
		{"below a link to nowhere", func(q *RestoreRequest) { q.To = filepath.Join(link, "x", "y") }, Invalid, `is a link to "nowhere", and that is not there`},
		{"a file", func(q *RestoreRequest) { q.To = filepath.Join(full, "mine") }, Invalid, "cannot be restored into"},
		{"no run", func(q *RestoreRequest) { q.Run = "19990101" }, Invalid, `there is no run "19990101"`},
		{"in place without git", func(q *RestoreRequest) { q.InPlace = true }, Invalid, "there is no work tree of git"},
	} {
		_, _, err := r.restore(c.do)
		var e *Error
		if !errors.As(err, &e) || e.Kind != c.kind || !strings.Contains(e.Message, c.says) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if entries, err := os.ReadDir(full); err != nil || len(entries) != 1 {
		t.Errorf("the directory holds %v, %v", entries, err)
	}
}

// What is lost is named, all of it, and nothing is written.
func TestRestoreOfWhatIsLost(t *testing.T) {
	r := newMonth(t)
	r.write("data/raw.csv", strings.Repeat("lost\n", 5000))
	r.write("code/train.py", strings.Repeat("gone\n", 5000))
	if _, _, err := r.ran(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{strings.Repeat("lost\n", 5000), strings.Repeat("gone\n", 5000)} {
		path, ok := r.store.BlobFile(store.Artifact{Kind: store.KindFile, Digest: store.Sum([]byte(text)), Size: int64(len(text))})
		if !ok {
			t.Fatal("it is in no file")
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	parent := t.TempDir()
	_, _, err := r.restore(func(q *RestoreRequest) { q.To = filepath.Join(parent, "x") })
	var e *Error
	if !errors.As(err, &e) || e.Kind != Machine {
		t.Fatal(err)
	}
	for _, want := range []string{"nothing was written", "data/raw.csv (input): ", "code (input): ", "out/model (export): "} {
		if !strings.Contains(e.Message, want) {
			t.Errorf("the error does not say %q: %s", want, e.Message)
		}
	}
	if entries, err := os.ReadDir(parent); err != nil || len(entries) != 0 {
		t.Errorf("%v was written, %v", entries, err)
	}
}

func TestRestoreSaysWhatIsNotKept(t *testing.T) {
	r := newRig(t, `
param "token" { sensitive = true }
source "raw" {
  path = "raw.csv"
  keep = false
}
stage "a" {
  inputs  = [source.raw]
  command = ["copy", "raw.csv", "a.txt", ";", "append", "a.txt", "more"]
  env     = { T = param.token }
  outputs = { out = "a.txt" }
}
`)
	r.write("raw.csv", "data")
	if _, _, err := r.ran(t.Context(), func(q *RunRequest) { q.Project.Params = map[string]string{"token": "hidden"} }); err != nil {
		t.Fatal(err)
	}
	doc, told, err := r.restore(func(*RestoreRequest) {})
	if err != nil {
		t.Fatal(err)
	}
	if len(told) != 2 || !strings.Contains(told[0], "raw.csv is not kept (keep = false)") || !strings.Contains(told[1], "param token is sensitive") {
		t.Errorf("told %q", told)
	}
	if len(doc.Lacking) != 1 || doc.Lacking[0].Path != "raw.csv" || !slices.Contains(doc.Command, "token=…") {
		t.Errorf("lacking %+v, command %q", doc.Lacking, doc.Command)
	}
	for path, text := range contents(t, doc.To) {
		if strings.Contains(text, "hidden") || path == "raw.csv" {
			t.Errorf("%s holds %q", path, text)
		}
	}
}

// A failed run is restored, too: that is when one wants to look.
func TestRestoreOfAFailedRun(t *testing.T) {
	r := newRig(t, "stage \"a\" {\n inputs = [\"in.txt\"]\n command = [\"fail\", \"3\"]\n}\n")
	r.day = time.Date(2026, 11, 1, 9, 0, 0, 0, time.UTC)
	r.write("in.txt", strings.Repeat("what it read", 1000))
	if _, _, err := r.ran(t.Context()); err == nil {
		t.Fatal("it did not fail")
	}
	r.day = r.day.AddDate(0, 1, 0)
	if _, err := r.GC(t.Context(), GCRequest{KeepRuns: 1}); err != nil {
		t.Fatal(err)
	}
	doc, _, err := r.restore(func(*RestoreRequest) {})
	if err != nil {
		t.Fatal(err)
	}
	if got := contents(t, doc.To)["in.txt"]; got != "false "+strings.Repeat("what it read", 1000) {
		t.Errorf("in.txt holds %d bytes", len(got))
	}
}

func TestRestoreWithAProfileAndTargets(t *testing.T) {
	r := newRig(t, two+`
param "p" { default = "v" }
profile "small" {
  params = { p = "w" }
}
stage "c" {
  command = ["write", "c.txt", "${param.p}"]
  outputs = { out = "c.txt" }
}
`)
	r.write("in.txt", "hello")
	if _, _, err := r.ran(t.Context(), func(q *RunRequest) { q.Project.Profile, q.Targets = "small", []string{"c"} }); err != nil {
		t.Fatal(err)
	}
	doc, _, err := r.restore(func(*RestoreRequest) {})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"plumb", "run", "--profile", "small", "c"}, doc.Command); diff != "" {
		t.Errorf("command (-want +got)\n%s", diff)
	}
}

func gitIn(t testing.TB, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git %q: %v\n%s", args, err, out)
	}
}

func TestRestoreInPlace(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("there is no git")
	}
	r := newMonth(t)
	r.write(".gitignore", "/data/\n/out/\n")
	gitIn(t, r.dir, "init", "-q")
	commit := func() {
		gitIn(t, r.dir, "add", "-A")
		gitIn(t, r.dir, "commit", "-q", "-m", "x")
	}
	commit()
	if _, _, err := r.ran(t.Context()); err != nil {
		t.Fatal(err)
	}
	then := contents(t, r.dir)
	first, err := r.store.LastRun(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	r.write("data/raw.csv", "newer")
	r.write("code/train.py", "newer")
	r.write("more.plumb.hcl", "stage \"new\" {\n command = [\"print\", \"x\"]\n}\n")
	commit()
	if _, _, err := r.ran(t.Context()); err != nil {
		t.Fatal(err)
	}
	place := func(q *RestoreRequest) { q.InPlace, q.To, q.Run = true, "", string(first.ID) }
	refused := func(says string) {
		t.Helper()
		before := contents(t, r.dir)
		_, _, err := r.restore(place)
		var e *Error
		if !errors.As(err, &e) || e.Kind != Invalid || !strings.Contains(e.Message, says) {
			t.Errorf("%v does not say %q", err, says)
		}
		if diff := cmp.Diff(before, contents(t, r.dir)); diff != "" {
			t.Errorf("something changed\n%s", diff)
		}
	}
	r.write("code/untracked.py", "")
	refused("?? code/untracked.py")
	commit()
	r.write("data/raw.csv", "of no run, and ignored by git")
	refused("\n  data/raw.csv")
	r.write("data/raw.csv", "newer")

	doc, _, err := r.restore(place)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"more.plumb.hcl"}, doc.Removed); diff != "" {
		t.Errorf("removed (-want +got)\n%s", diff)
	}
	now := contents(t, r.dir)
	for path, text := range then {
		if strings.HasPrefix(path, ".git/") || strings.HasPrefix(path, "lists/") {
			continue
		}
		if now[path] != text {
			t.Errorf("%s is %q and was %q", path, now[path], text)
		}
	}
	if now["code/untracked.py"] != "" {
		t.Error("a file that the run's directory had not is there")
	}
	if left, _ := filepath.Glob(filepath.Join(r.dir, ".plumb-*")); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
	status, err := r.again(doc)
	if err != nil {
		t.Fatal(err)
	}
	wantStatus(t, status, map[string]string{"clean": "cached", "parts": "cached", "train": "cached"})
}

// The file of params says values as they were, whatever they are.
func TestRestoredParams(t *testing.T) {
	run := &store.Run{Params: []store.RunParam{
		{Name: "a", Value: `"x <y>"`, Origin: "command line"}, {Name: "b", Value: `[1,2]`, Origin: "environment PLUMB_PARAM_b"},
		{Name: "c", Value: `3`, Origin: "default"}, {Name: "d", Value: `4`, Origin: "profile ci"}, {Name: "e", Value: `null`, Origin: "file p.json"}, {Name: "f", Origin: "command line"},
	}}
	file, secret, err := (&restoring{run: run}).params()
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(file, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]any{"a": "x <y>", "b": []any{1.0, 2.0}, "e": nil}, got); diff != "" || !slices.Equal(secret, []string{"f"}) {
		t.Errorf("secret %q, (-want +got)\n%s", secret, diff)
	}
}

// Nobody who gives up is left with half a project.
func TestRestoreCanceled(t *testing.T) {
	r := newMonth(t)
	if _, _, err := r.ran(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	parent := t.TempDir()
	_, err := r.Restore(ctx, RestoreRequest{Dir: r.dir, To: filepath.Join(parent, "x")}, func(event.Event) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
	if entries, err := os.ReadDir(parent); err != nil || len(entries) != 0 {
		t.Errorf("%v is left, %v", entries, err)
	}
}

// What need not be kept is not kept because a run exported it, and comes back while it is
// there.
func TestExportsThatAreNotKept(t *testing.T) {
	r := newRig(t, `
stage "a" {
  command = ["big", "a.bin", "x"]
  outputs = { out = { path = "a.bin", retain = "none" } }
}
export "out.bin" { from = stage.a.out }
`)
	if _, _, err := r.ran(t.Context()); err != nil {
		t.Fatal(err)
	}
	doc, told, err := r.restore(func(*RestoreRequest) {})
	if err != nil {
		t.Fatal(err)
	}
	if len(told) != 1 || !strings.Contains(told[0], "out.bin was exported, and its bytes are not kept") || len(doc.Lacking) != 1 {
		t.Errorf("told %q, lacking %+v", told, doc.Lacking)
	}
}

// A run whose stages read nothing but what other stages made is restored like any other,
// also one of before a run said that it read nothing.
func TestRestoreOfARunThatReadsNothing(t *testing.T) {
	r := newRig(t, `
stage "a" {
  command = ["write", "a.txt", "x"]
  outputs = { o = "a.txt" }
}
stage "b" {
  inputs  = [stage.a.o]
  command = ["copy", "a.txt", "b.txt"]
  outputs = { o = "b.txt" }
}
`)
	if _, _, err := r.ran(t.Context()); err != nil {
		t.Fatal(err)
	}
	last, err := r.store.LastRun(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	run, err := r.store.Run(last.ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, places := range [][]store.Place{run.Places, nil} {
		run.Places = places
		if err := r.store.PutRun(run); err != nil {
			t.Fatal(err)
		}
		doc, _, err := r.restore(func(*RestoreRequest) {})
		if err != nil {
			t.Fatalf("places %v: %v", places, err)
		}
		if got := contents(t, doc.To)["plumb.hcl"]; !strings.Contains(got, "stage.a.o") {
			t.Errorf("plumb.hcl holds %q", got)
		}
	}
}

// A run of before places were recorded, which read something, cannot be restored.
func TestRestoreOfARunWithoutPlaces(t *testing.T) {
	r := newMonth(t)
	if _, _, err := r.ran(t.Context()); err != nil {
		t.Fatal(err)
	}
	last, err := r.store.LastRun(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	run, err := r.store.Run(last.ID)
	if err != nil {
		t.Fatal(err)
	}
	run.Places = nil
	if err := r.store.PutRun(run); err != nil {
		t.Fatal(err)
	}
	var e *Error
	if _, _, err := r.restore(func(*RestoreRequest) {}); !errors.As(err, &e) || e.Kind != Invalid || !strings.Contains(e.Message, "does not say what it was made of") {
		t.Errorf("the error is %v", err)
	}
}

func TestOthersOfARun(t *testing.T) {
	for have, want := range map[int]string{0: "none of them is there", 1: "the other one is there: plumb show --json r has its digest,", 2: "the other 2 are there: plumb show --json r has their digests,"} {
		if got := others(have, "r"); !strings.HasPrefix(got, want) {
			t.Errorf("with %d: %q", have, got)
		}
	}
}
