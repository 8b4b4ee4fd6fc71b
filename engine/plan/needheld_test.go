package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"plumb/hcl"
	"plumb/store"
)

func same(stage, output string) string { return stage + output }

// unkeptStage is a stage whose output o is not kept.
func unkeptStage(name, inputs, version, more string) string {
	return stageOf(name, inputs, version, more, `, retain = "none"`)
}

func keptStage(name, inputs, version, more string) string {
	return stageOf(name, inputs, version, more, "")
}

func stageOf(name, inputs, version, more, retain string) string {
	return fmt.Sprintf("stage %q {\n image = image.sh\n inputs = [%s]\n command = \"%s %s\"\n outputs = { o = { path = %q%s } }\n%s\n}\n", name, inputs, name, version, name, retain, more)
}

// heldWorld has run a pipeline, and dropped the outputs named.
func heldWorld(t *testing.T, src string, drop ...string) *world {
	t.Helper()
	w := newWorld()
	w.files["in"], w.acc = "1", 0.5
	first := w.planner(t, src, hcl.Options{})
	w.execute(t, first, same)
	w.drop(first, drop...)
	return w
}

// TestConditionThatMayComeOutDifferently has a stage that is skipped by the metric of one
// that is made again, with another metric this time. It is not to be told that it needs
// nothing before that is known, and is executed then.
func TestConditionThatMayComeOutDifferently(t *testing.T) {
	src := func(pre, d string) string {
		return keptStage("pre", `"in"`, pre, "") +
			unkeptStage("i", "stage.pre.o", "1", "") +
			unkeptStage("m", "stage.pre.o", "1", `metrics = "m.json"`) +
			keptStage("c", "stage.i.o", "1", "when = stage.m.metrics.acc > 0.8") +
			keptStage("d", "stage.m.o", d, "")
	}
	for name, pre := range map[string]string{"known when it is planned": "1", "known only on the way": "2"} {
		t.Run(name, func(t *testing.T) {
			w := heldWorld(t, src("1", "1"), "i.o", "m.o")
			pl := w.planner(t, src(pre, "2"), hcl.Options{})
			w.acc = 0.9
			ran := w.execute(t, pl, same)
			for _, want := range []string{"m", "i", "c", "d"} {
				if !slices.Contains(ran, want) {
					t.Errorf("%s was not executed: %v", want, ran)
				}
			}
		})
	}
}

// TestRefusalThatMayComeOutDifferently has an effect that is refused, behind a stage that
// is made again: with other bytes it is another effect, so what it reads has to be there.
func TestRefusalThatMayComeOutDifferently(t *testing.T) {
	src := func(d string) string {
		return unkeptStage("u", `"in"`, "1", "") + unkeptStage("i", `"in"`, "1", "") +
			keptStage("e", "stage.u.o, stage.i.o", "1", "effect = true") + keptStage("d", "stage.u.o", d, "")
	}
	w := heldWorld(t, src("1"), "u.o", "i.o")
	first := w.planner(t, src("1"), hcl.Options{})
	n, _ := first.Index("e")
	w.effects[first.Decision(n).Key] = &store.Effect{Begun: &store.Beginning{Run: "r1", Attempt: 1, Stage: "e"}}
	if got := verdictsByStage(w.planner(t, src("1"), hcl.Options{}))["e"]; got != Refused {
		t.Fatalf("e is %s before anything changed", got)
	}
	pl := w.planner(t, src("2"), hcl.Options{})
	if got := verdictsByStage(pl); got["u"] != Execute || got["e"] != Pending || got["i"] != Pending {
		t.Errorf("verdicts %v", got)
	}
	ran := w.execute(t, pl, func(stage, output string) string { return stage + output + " again" })
	if !slices.Contains(ran, "i") || !slices.Contains(ran, "e") {
		t.Errorf("ran %v", ran)
	}
}

// TestReceiptThatTurnedUp has an effect refused because its receipt is needed and lost;
// another run then makes it, so it is a hit.
func TestReceiptThatTurnedUp(t *testing.T) {
	src := func(after string) string {
		return keptStage("e", `"in"`, "1", "effect = true") + keptStage("after", "stage.e.o", after, "")
	}
	w := heldWorld(t, src("1"))
	first := w.planner(t, src("1"), hcl.Options{})
	n, _ := first.Index("e")
	key := first.Decision(n).Key
	whole := w.records[key]
	w.drop(first, "e.o")
	w.effects[key] = &store.Effect{Done: w.records[key]}
	pl := w.planner(t, src("2"), hcl.Options{})
	if got := pl.Decision(n).Verdict; got != Refused {
		t.Fatalf("e is %s without its receipt", got)
	}
	w.records[key] = whole
	if d, err := pl.Consider(n); err != nil || d.Verdict != Hit {
		t.Errorf("with its receipt e is %s %v: %v", d.Verdict, d.Reasons, err)
	}
}

// TestWhatAnAnswerReliesOn has bytes found not to be needed because the stages behind have
// their results: these are named, so that they can be kept from gc.
func TestWhatAnAnswerReliesOn(t *testing.T) {
	src := func(pre string) string {
		return keptStage("pre", `"in"`, pre, "") + unkeptStage("raw", "stage.pre.o", "1", "") +
			keptStage("c", "stage.raw.o", "1", "") + keptStage("beside", "stage.pre.o", "1", "")
	}
	w := heldWorld(t, src("1"), "raw.o")
	old := w.planner(t, src("1"), hcl.Options{})
	c, _ := old.Index("c")
	raw, _ := old.Index("raw")
	pl := w.planner(t, src("2"), hcl.Options{})
	pre, _ := pl.Index("pre")
	pl.Complete(pre, old.Record(pre))
	d, relied, err := pl.Reconsider(raw)
	if err != nil || d.Verdict != Hit || !slices.Equal(relied, []store.Key{old.Decision(c).Key}) {
		t.Errorf("raw is %s and relies on %v (%v), want the key of c", d.Verdict, relied, err)
	}
	if pl.Record(c) != nil {
		t.Error("c has a result before it was decided")
	}
}

// TestShardsDoNotWaitForEachOther: all that may have to be made again wait for what says
// whether they have to, and are made at once then.
func TestShardsDoNotWaitForEachOther(t *testing.T) {
	const shards = 400
	var b strings.Builder
	var inputs, drop []string
	for i := range shards {
		b.WriteString(unkeptStage(fmt.Sprint("s", i), `"in"`, "1", ""))
		inputs, drop = append(inputs, fmt.Sprintf("stage.s%d.o", i)), append(drop, fmt.Sprintf("s%d.o", i))
	}
	src := func(other string) string {
		return b.String() + keptStage("other", `"in"`, other, "") + keptStage("merge", strings.Join(append(inputs, "stage.other.o"), ", "), "1", "")
	}
	w := heldWorld(t, src("1"), drop...)
	pl := w.planner(t, src("2"), hcl.Options{})
	other, _ := pl.Index("other")
	waits := pl.Waits()
	if len(waits) != shards {
		t.Errorf("%d wait", len(waits))
	}
	for i, on := range waits {
		if !slices.Equal(on, []int{other}) {
			t.Fatalf("stage %s waits for %v, want other alone", pl.Graph().Name(i), on)
		}
	}
}
