package plan

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"plumb/hcl"
	"plumb/store"
)

// TestCompared has an action that is like each of several earlier ones in something.
func TestCompared(t *testing.T) {
	action := func(param, level string) *Earlier {
		a := Action{Params: []Param{{Name: "n", Value: param}}, Env: []EnvVar{{Name: "LEVEL", Value: level}}}
		return &Earlier{Key: KeyOf(a.Encode()), Action: a.Encode()}
	}
	now, err := Decode(action("1", "info").Action)
	if err != nil {
		t.Fatal(err)
	}
	near, far, same := action("2", "info"), action("3", "debug"), action("1", "info")
	lost := &Earlier{Key: store.Key{1}}
	tests := map[string]struct {
		last    *Earlier
		earlier []Earlier
		want    *Earlier
		reasons int
	}{
		"the first":                        {nil, nil, nil, 0},
		"the last one, however near":       {far, []Earlier{*near, *far}, far, 2},
		"the nearest without a last one":   {nil, []Earlier{*far, *near}, near, 1},
		"nothing differs from the last":    {same, []Earlier{*far, *near}, near, 1},
		"the last one has another format":  {&Earlier{Action: []byte("plumb action 0\n")}, []Earlier{*near}, near, 1},
		"nothing is kept, but there was":   {nil, []Earlier{*lost}, lost, 0},
		"the newest of equally near ones":  {nil, []Earlier{*action("5", "info"), *near}, action("5", "info"), 1},
		"what is not kept is passed over":  {nil, []Earlier{*lost, *far}, far, 2},
		"the last one was never recorded ": {far, nil, far, 2},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			w.last["s"], w.history["s"] = tt.last, tt.earlier
			got, reasons, err := Compared(w, "s", now, Note{})
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got); d != "" || len(reasons) != tt.reasons {
				t.Errorf("%d reasons, (-want +got):\n%s", len(reasons), d)
			}
		})
	}
}

// TestPendingComparesWithTheLastRun has a stage that waits, and whose command differs
// from the last run's and not from an earlier one's.
func TestPendingComparesWithTheLastRun(t *testing.T) {
	w := newWorld()
	w.files["in.csv"] = "1"
	first := w.planner(t, chain, hcl.Options{})
	w.run(t, first, fixed)
	edited := replace("sort a.csv", "sort -r a.csv")(chain)
	second := w.planner(t, edited, hcl.Options{})
	w.run(t, second, fixed)
	b, _ := second.Index("b")
	w.last["b"] = &Earlier{Key: second.Decision(b).Key, Action: second.Decision(b).Action, Note: second.Note(b)}
	w.files["in.csv"] = "2"
	if got := verdicts(w.planner(t, chain, hcl.Options{}))["b"]; got != "pending: command changed" {
		t.Errorf("back again: %s", got)
	}
	if got := verdicts(w.planner(t, edited, hcl.Options{}))["b"]; got != "pending: stage a will run" {
		t.Errorf("as it was: %s", got)
	}
}
