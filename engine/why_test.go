package engine

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plumb/engine/plan"
	"plumb/engine/runtime"
	"plumb/hcl"
	"plumb/store"
)

// whyOf asks why of a stage as things are now.
func (r *rig) whyOf(stage string, change ...func(*WhyRequest)) *WhyDoc {
	r.t.Helper()
	req := WhyRequest{Request: Request{Project: Project{Dir: r.dir}}, Stage: stage}
	for _, f := range change {
		f(&req)
	}
	doc, err := r.Why(r.t.Context(), req)
	if err != nil {
		r.t.Fatal(err)
	}
	return doc
}

// told writes an answer with runs by their numbers, from 1.
func (r *rig) told(doc *WhyDoc) string {
	r.t.Helper()
	runs := must(r.store.Runs(store.RunFilter{Project: r.dir}))
	var names []string
	for i := range runs {
		names = append(names, string(runs[i].ID), fmt.Sprint("run ", len(runs)-i))
	}
	text := string(doc.Decision)
	for _, v := range []struct {
		what string
		run  store.RunID
	}{{"made by", doc.MadeBy}, {"since", doc.Since}, {"against", doc.OldRun}} {
		if v.run != "" {
			text += ", " + v.what + " " + string(v.run)
		}
	}
	if doc.MadeFor != "" {
		text += " (" + doc.MadeFor + ")"
	}
	if doc.MadeBy != doc.NewRun {
		text += ", new run " + string(doc.NewRun)
	}
	if b := whyBrief(doc); b != "" {
		text += ": " + b
	}
	for i := range doc.Changes {
		var b strings.Builder
		changeLines(&b, &doc.Changes[i])
		text += strings.ReplaceAll("\n"+strings.TrimSuffix(b.String(), "\n"), "\n\n", "\n")
	}
	for _, reason := range doc.Reasons {
		if len(doc.Changes) > 0 && reason.Kind != "" && reason.Old+reason.New == "" && reason.Kind != "none" {
			text += " (" + reason.String() + ")"
		}
	}
	return strings.TrimSpace(strings.NewReplacer(names...).Replace(text))
}

func (r *rig) wantTold(step, want string, doc *WhyDoc) {
	r.t.Helper()
	if d := cmp.Diff(want, r.told(doc)); d != "" {
		r.t.Errorf("%s (-want +got):\n%s", step, d)
	}
}

const one = `
param "p" { default = 1 }
stage "t" {
  inputs  = ["d.csv"]
  command = ["copy", "d.csv", "o.txt", ";", "print", "${param.p}"]
  outputs = { o = "o.txt" }
}
`

// TestWhyComparesWithTheLastRun goes back to what was done before, which makes nothing,
// and changes something then: that is what is named, not what was undone.
func TestWhyComparesWithTheLastRun(t *testing.T) {
	const before, undone = "id,v\n1,10\n2,20\n", "id,v\n1,10\n2,21\n"
	r := newRig(t, one)
	r.write("d.csv", before)
	r.mustRun()
	r.write("d.csv", undone)
	r.mustRun()
	r.write("d.csv", before)
	r.mustRun()
	r.write("d.csv", before+"3,30\n")
	row := "run, against run 3: input d.csv\n  rows 2 > 3: +1 -0 ~0, columns +0 -0"
	r.wantTold("a row more", row, r.whyOf("t"))
	for range 3 {
		r.write("d.csv", before)
		r.mustRun() // which has its table in common with the others
	}
	r.write("d.csv", before+"3,30\n")
	r.wantTold("after runs with nothing to do", strings.Replace(row, "run 3", "run 6", 1), r.whyOf("t"))
	r.mustRun()
	run := must(r.store.Run(must(r.store.LastRun(r.dir)).ID))
	if got := run.Stages[0].Reason; got != "input d.csv changed" {
		t.Errorf("recorded: %q", got)
	}
}

// TestWhyOfManyVariants has more of them than history is searched for, and a run that
// took the first again.
func TestWhyOfManyVariants(t *testing.T) {
	r := newRig(t, one)
	r.write("d.csv", "id\n0\n")
	r.mustRun()
	for i := range 20 {
		r.write("d.csv", fmt.Sprintf("id\n%d\n", i+1))
		r.mustRun()
	}
	r.write("d.csv", "id\n0\n")
	r.mustRun()
	doc := r.whyOf("t", func(q *WhyRequest) { q.Project.Params = map[string]string{"p": "2"} })
	r.wantTold("a param", "run, against run 22: param p 1 > 2", doc)
}

// TestWhyAfterGC drops what was made last; what the last run took is there.
func TestWhyAfterGC(t *testing.T) {
	r := newRig(t, one)
	r.write("d.csv", "id\n0\n")
	r.mustRun()
	for i := range 4 {
		r.write("d.csv", fmt.Sprintf("id\n%d\n", i+1))
		r.mustRun()
	}
	r.write("d.csv", "id\n0\n")
	r.mustRun()
	doc := must(r.GC(t.Context(), GCRequest{KeepRuns: 1}))
	if doc.Records == 0 {
		t.Fatal("gc dropped nothing")
	}
	r.project(strings.Replace(one, `"print"`, `"print", "more"`, 1))
	r.wantTold("a command", "run, against run 1: command [\"copy\",\"d.csv\",\"o.txt\",\";\",\"print\",\"1\"] > [\"copy\",\"d.csv\",\"o.txt\",\";\",\"print\",\"more\",\"1\"]\n  +more", r.whyOf("t"))
}

// TestWhyAfterAKilledAgent has a result that was recorded, and a run that was closed
// without knowing of it; and one that did not come to the stage.
func TestWhyAfterAKilledAgent(t *testing.T) {
	r := newRig(t, one)
	for _, text := range []string{"a\n1\n", "a\n2\n"} {
		r.write("d.csv", text)
		r.mustRun()
	}
	run := must(r.store.Run(must(r.store.LastRun(r.dir)).ID))
	run.Status = statusCanceled
	run.Stages[0].Status, run.Stages[0].Attempts = statusCanceled, []store.Attempt{{Class: store.ClassPreempted}}
	if err := r.store.PutRun(run); err != nil {
		t.Fatal(err)
	}
	param := func(q *WhyRequest) { q.Project.Params = map[string]string{"p": "2"} }
	r.wantTold("begun", "run, against run 2: param p 1 > 2", r.whyOf("t", param))
	run.ID, run.Stages[0].Key, run.Stages[0].Attempts = run.ID+"z", store.Key{}, nil
	if err := r.store.PutRun(run); err != nil {
		t.Fatal(err)
	}
	r.wantTold("not reached", "run, against run 2: param p 1 > 2", r.whyOf("t", param))
}

// TestWhyOfAStageThatOtherRunsLeftOut asks of one that the newest run was not about.
func TestWhyOfAStageThatOtherRunsLeftOut(t *testing.T) {
	r := newRig(t, one+"stage \"u\" {\n command = [\"write\", \"u\", \"x\"]\n outputs = { u = \"u\" }\n}\n")
	for _, text := range []string{"a\n0\n", "a\n1\n", "a\n0\n"} {
		r.write("d.csv", text)
		r.mustRun()
	}
	r.mustRun(func(q *RunRequest) { q.Targets = []string{"u"} })
	r.wantTold("a param", "run, against run 3: param p 1 > 2", r.whyOf("t", func(q *WhyRequest) { q.Project.Params = map[string]string{"p": "2"} }))
}

// TestWhyOfWhatIsUpToDate asks after the run: what is told was true when it happened.
func TestWhyOfWhatIsUpToDate(t *testing.T) {
	r := newRig(t, one)
	r.write("d.csv", "a\n1\n")
	r.mustRun()
	r.wantTold("the first run", "hit, made by run 1 (never run before)", r.whyOf("t"))
	r.write("d.csv", "a\n2\n")
	r.mustRun()
	r.wantTold("made when it changed", "hit, made by run 2, since run 2, against run 1: input d.csv\n  rows 1 > 1: +0 -0 ~1, columns +0 -0\n  row 1 a: 1 > 2", r.whyOf("t"))
	r.write("d.csv", "a\n1\n")
	back := "\n  rows 1 > 1: +0 -0 ~1, columns +0 -0\n  row 1 a: 2 > 1"
	r.wantTold("before it goes back", "hit, made by run 1, against run 2: input d.csv"+back, r.whyOf("t"))
	r.mustRun()
	r.wantTold("back", "hit, made by run 1, since run 3, against run 2: input d.csv"+back, r.whyOf("t"))
	r.mustRun()
	r.wantTold("nothing to do", "hit, made by run 1, since run 3, against run 2: input d.csv"+back, r.whyOf("t"))
	r.mustRun(func(q *RunRequest) { q.Force = []string{"t"} })
	r.wantTold("forced", "hit, made by run 5 (forced)", r.whyOf("t"))
	r.wantTold("against the last run", "hit, made by run 5, against run 5", r.whyOf("t", func(q *WhyRequest) { q.RunA = "latest" }))
	second := must(r.store.Runs(store.RunFilter{Project: r.dir}))[3].ID
	r.wantTold("against another run", "hit, made by run 5, against run 2: input d.csv"+back, r.whyOf("t", func(q *WhyRequest) { q.RunA = string(second) }))
}

// TestWhyOfWhatIsUpToDateAfterGC has lost what the stage was in between.
func TestWhyOfWhatIsUpToDateAfterGC(t *testing.T) {
	r := newRig(t, one)
	for _, text := range []string{"a\n1\n", "a\n2\n", "a\n3\n", "a\n2\n"} {
		r.write("d.csv", text)
		r.mustRun()
	}
	runs := must(r.store.Runs(store.RunFilter{Project: r.dir}))
	lost := must(r.store.Run(runs[1].ID))
	lost.Stages[0].Key = store.Key(store.Sum([]byte("lost")))
	if err := r.store.PutRun(lost); err != nil {
		t.Fatal(err)
	}
	r.wantTold("back", "hit, made by run 2, since run 4, against run 1: input d.csv\n  rows 1 > 1: +0 -0 ~1, columns +0 -0\n  row 1 a: 1 > 2", r.whyOf("t"))
}

// TestWhyOfWhatIsUpToDateBehindOthers names what was changed in the stage before.
func TestWhyOfWhatIsUpToDateBehindOthers(t *testing.T) {
	r := newRig(t, two)
	for _, text := range []string{"one", "two", "one"} {
		r.write("in.txt", text)
		r.mustRun()
	}
	r.wantTold("back", "hit, made by run 1, since run 3, against run 2: input a.txt from a | input in.txt [a]\n  -two\n  +one", r.whyOf("b"))
}

// TestWhyOfAMendedStage compares with the run that failed.
func TestWhyOfAMendedStage(t *testing.T) {
	const bad, good = `"fail", "3"`, `"print", "x"`
	src := "stage \"bad\" {\n command = [\"write\", \"o\", \"x\", \";\", " + bad + "]\n outputs = { o = \"o\" }\n}\nstage \"next\" {\n inputs = [stage.bad.o]\n command = [\"copy\", \"o\", \"p\"]\n outputs = { p = \"p\" }\n}\n"
	r := newRig(t, src)
	if _, _, err := r.ran(t.Context()); AsError(err).Kind != StageFailed {
		t.Fatal(err)
	}
	r.project(strings.Replace(src, bad, good, 1))
	want := "command [\"write\",\"o\",\"x\",\";\",\"fail\",\"3\"] > [\"write\",\"o\",\"x\",\";\",\"print\",\"x\"]\n  -fail\n  -3\n  +print\n  +x"
	r.wantTold("mended", "run, against run 1: "+want, r.whyOf("bad"))
	plan := must(r.Plan(t.Context(), Request{Project: Project{Dir: r.dir}}))
	if got := plan.Stages[0].Reasons[0].String(); got != "command changed" {
		t.Errorf("plan: %q", got)
	}
	r.mustRun()
	r.wantTold("after the run", "hit, made by run 2, since run 2, against run 1: "+want, r.whyOf("bad"))
	r.wantTold("what was not reached", "hit, made by run 2 (never run before)", r.whyOf("next"))
}

// TestWhyOfAFailureOfLongAgo has more runs of other stages since than are looked at.
func TestWhyOfAFailureOfLongAgo(t *testing.T) {
	src := "param \"n\" { default = 0 }\nstage \"bad\" {\n command = [\"fail\", \"3\"]\n}\nstage \"other\" {\n command = [\"print\", \"${param.n}\"]\n}\n"
	r := newRig(t, src)
	if _, _, err := r.ran(t.Context()); AsError(err).Kind != StageFailed {
		t.Fatal(err)
	}
	for i := range lastTables {
		r.mustRun(func(q *RunRequest) {
			q.Targets, q.Project.Params = []string{"other"}, map[string]string{"n": fmt.Sprint(i + 1)}
		})
	}
	r.project(strings.Replace(src, `"fail", "3"`, `"print", "x"`, 1))
	r.wantTold("mended", "run, against run 1: command [\"fail\",\"3\"] > [\"print\",\"x\"]\n  -fail\n  -3\n  +print\n  +x", r.whyOf("bad"))
}

// bringingRuntime has images when they were prepared.
type bringingRuntime struct {
	imagesRuntime
	packed map[string]string // by manifest, as roots
}

func (f *bringingRuntime) Prepare(_ context.Context, source runtime.ImageSource) error {
	if root, ok := f.packed[source.Manifest()]; ok {
		f.roots[source.Manifest()] = root
	}
	return nil
}

// TestWhyLooksIntoAnImageThatIsNotHereYet changes an archive, and asks before the run.
func TestWhyLooksIntoAnImageThatIsNotHereYet(t *testing.T) {
	r := newRig(t, one)
	dir := r.store.Dir()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	rt := &bringingRuntime{imagesRuntime{r.rt, map[string]string{}}, map[string]string{}}
	e := must(Open(Config{Dir: dir, NewRuntime: func(context.Context, Place) (runtime.Runtime, error) { return rt, nil }}))
	r.Engine = e
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	image := func(seed string) store.Digest {
		d := store.Sum([]byte(seed))
		rt.packed[d.String()] = t.TempDir()
		if err := writeBelow(rt.packed[d.String()], "etc/"+seed, []byte(seed)); err != nil {
			t.Fatal(err)
		}
		index := string(must(os.ReadFile(filepath.Join(r.dir, "image/index.json"))))
		i := strings.Index(index, "sha256:")
		r.write("image/index.json", index[:i]+d.String()+index[i+len(d.String()):])
		return d
	}
	r.write("d.csv", "a\n1\n")
	first := image("one")
	r.mustRun()
	maps.Copy(rt.roots, rt.packed)
	image("two")
	r.wantTold("before the run", "run, against run 1: image\n  removed etc/one\n  added etc/two", r.whyOf("t"))
	delete(rt.roots, first.String())
	r.wantTold("the old one is gone", "run, against run 1: image\n  note image "+first.String()+" is not among those that are kept: their packages cannot be compared; plumb restore of a run that had it, and a run there, bring it back", r.whyOf("t"))
}

// TestWhyOfAnImageThatIsNotPinned names what of its block is another than the lock's.
func TestWhyOfAnImageThatIsNotPinned(t *testing.T) {
	const block = "image \"deb\" {\n debian {\n  suite = \"bookworm\"\n  packages = [\"curl\"]\n }\n platform = \"linux/amd64\"\n}\nstage \"t\" {\n image = image.deb\n command = [\"print\", \"x\"]\n}\n"
	const next = "\n  note plumb lock pins it, or the next run that may look it up (image deb is not pinned yet)"
	r := newRig(t, block)
	r.wantTold("never pinned", "run: image deb  > "+next, r.whyOf("t"))
	lock := &hcl.Lock{}
	lock.SetImage(hcl.LockedImage{
		Name: "deb", Platform: "linux/amd64", Manifest: store.Sum([]byte("deb")).String(),
		Debian: &hcl.LockedDebian{Suite: "bookworm", Variant: hcl.DebianStandard, Packages: []string{"curl"}, Date: "2026-01-01T00:00:00Z", Recipe: "1", Layers: []string{"base"},
			Pins: []hcl.LockedPackage{{Name: "curl", Version: "1", Architecture: "amd64", Suite: "bookworm", Path: "p/curl.deb", Size: 1, SHA256: store.Sum(nil).String(), Layer: "base"}},
		},
	})
	r.write(hcl.LockFile, string(lock.Encode()))
	r.project(strings.Replace(block, `"curl"]`, `"curl", "jq"]`, 1))
	r.wantTold("a package more", "run: image deb  > \n  +debian.packages: jq"+next, r.whyOf("t"))
}

// A stage whose inputs differ because stages before it went back to what they did before:
// nothing runs there, and what was changed there is the cause all the same.
func TestWhyAboveHits(t *testing.T) {
	r := newRig(t, `
param "n" { default = "1" }
stage "a" {
  command = ["write", "a.txt", param.n]
  outputs = { out = "a.txt" }
}
stage "b" {
  inputs  = [stage.a.out]
  command = ["copy", "a.txt", "b.txt"]
  outputs = { out = "b.txt" }
}
stage "c" {
  inputs  = [stage.b.out, "in.txt"]
  command = ["copy", "b.txt", "c.txt"]
  outputs = { out = "c.txt" }
}`)
	r.write("in.txt", "x")
	r.mustRun()
	r.mustRun(func(q *RunRequest) { q.Project.Params = map[string]string{"n": "2"} })
	r.write("in.txt", "y")
	doc, err := r.Why(t.Context(), WhyRequest{Request: r.request().Request, Stage: "c"})
	if err != nil {
		t.Fatal(err)
	}
	if doc.Decision != plan.Execute || len(doc.Changes) != 2 || len(doc.Causes) != 1 {
		t.Fatalf("%s, %+v, %+v", doc.Decision, doc.Changes, doc.Causes)
	}
	if c := doc.Causes[0]; c.Kind != plan.ReasonParam || c.Name != "n" || c.Old != `"2"` || c.New != `"1"` || c.Stage != "a" {
		t.Errorf("the cause is %+v", c)
	}
	for _, c := range doc.Changes {
		if want := map[string]string{"b.txt": "b"}[c.Name]; c.From != want {
			t.Errorf("%s comes from %q", c.Name, c.From)
		}
	}
	// What is a hit again differs from the last run for the same reason.
	r.write("in.txt", "x")
	if doc, err = r.Why(t.Context(), WhyRequest{Request: r.request().Request, Stage: "c"}); err != nil {
		t.Fatal(err)
	}
	if doc.Decision != plan.Hit || doc.Since != "" || len(doc.Causes) != 1 || doc.Causes[0].Name != "n" {
		t.Errorf("%s since %q, %+v", doc.Decision, doc.Since, doc.Causes)
	}
}
