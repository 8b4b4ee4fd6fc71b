package store

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRunRoundTrip(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	want := &Run{
		ID: "20261124-020751-k3f9", Project: "/p", Pipeline: "wine", Profile: "ci", Targets: []string{"a"},
		Params: []RunParam{{"lr", "0.1", "default"}}, Status: "failed", Started: time.Unix(1e9, 5).UTC(), Seconds: 1.5, Version: "1",
		Counts: Counts{Ran: 1, Failed: 1},
		Stages: []StageResult{
			{Name: "a", Status: "ran", Key: Key{1}, Reason: "new", Seconds: 2, Image: "python", Attempts: fullRecord(Key{1}).Attempts, Metrics: map[string]float64{"m": 1}},
			{Name: "b", Status: "failed", Error: "exit 3"},
			{Name: "c", Status: "cached", MadeBy: "r0", Outputs: fullRecord(Key{1}).Outputs},
		},
	}
	if err := s.PutRun(want); err != nil {
		t.Fatal(err)
	}
	got, err := s.Run(want.ID)
	if err != nil {
		t.Fatal(err)
	}
	want.Seq, want.Previous = 1, beginning(Digest{})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := s.Run("another"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a run that is not there: %v", err)
	}
}

func ids(runs []Run) (out []RunID) {
	for _, r := range runs {
		out = append(out, r.ID)
	}
	return out
}

func TestRuns(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	for _, r := range []Run{
		{ID: "20260101-000000-aaaa", Project: "/p", Status: "succeeded"},
		{ID: "20260102-000000-bbbb", Project: "/q", Status: "running"},
		{ID: "20260103-000000-cccc", Project: "/p", Status: "running"},
		{ID: "20260104-000000-dddd", Project: "/p", Status: "failed"},
		{ID: "20260104-000000-dabc", Project: "/p", Status: "succeeded"},
	} {
		if err := s.PutRun(&r); err != nil {
			t.Fatal(err)
		}
	}
	const a, b, c, d, e = "20260101-000000-aaaa", "20260102-000000-bbbb", "20260103-000000-cccc", "20260104-000000-dddd", "20260104-000000-dabc"
	for _, tt := range []struct {
		name string
		f    RunFilter
		want []RunID
	}{
		{"all", RunFilter{}, []RunID{d, e, c, b, a}},
		{"of a project", RunFilter{Project: "/p"}, []RunID{d, e, c, a}},
		{"of another project", RunFilter{Project: "/none"}, nil},
		{"limited", RunFilter{Project: "/p", Limit: 2}, []RunID{d, e}},
		{"before", RunFilter{Project: "/p", Before: c}, []RunID{a}},
		{"before one of another project", RunFilter{Project: "/p", Before: b}, []RunID{a}},
		{"running", RunFilter{Status: "running"}, []RunID{c, b}},
		{"running of a project", RunFilter{Status: "running", Project: "/q"}, []RunID{b}},
		{"succeeded, limited", RunFilter{Status: "succeeded", Limit: 1}, []RunID{e}},
		{"succeeded before", RunFilter{Project: "/p", Before: d, Status: "succeeded", Limit: 1}, []RunID{e}},
	} {
		got, err := s.Runs(tt.f)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, ids(got)); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}

	over := Run{ID: c, Project: "/p", Status: "canceled"}
	if err := s.PutRun(&over); err != nil {
		t.Fatal(err)
	}
	got, err := s.Runs(RunFilter{Status: "running"})
	if diff := cmp.Diff([]RunID{b}, ids(got)); err != nil || diff != "" {
		t.Errorf("after one is over: %v %s", err, diff)
	}

	for _, tt := range []struct {
		name, project, ref string
		want               RunID
		candidates         []RunID
	}{
		{"latest", "/p", "latest", d, nil},
		{"nothing said", "/q", "", b, nil},
		{"no run at all", "/none", "latest", "", nil},
		{"whole id", "/p", a, a, nil},
		{"beginning", "/p", "202601010", "", nil},
		{"unique beginning", "/p", "20260103", c, nil},
		{"ambiguous", "/p", "20260104", "", []RunID{d, e}},
		{"last letters", "/p", "dabc", e, nil},
		{"of another project", "/p", b, "", []RunID{a, c, d}},
		{"slip in the letters", "/p", "dabx", "", []RunID{e}},
		{"nothing like it", "/p", "zzzzzzzzz", "", nil},
	} {
		run, candidates, err := s.FindRun(tt.project, tt.ref)
		if err != nil {
			t.Fatal(err)
		}
		var id RunID
		if run != nil {
			id = run.ID
		}
		if tt.name == "of another project" || tt.name == "beginning" { // how near is near is not the point
			candidates, tt.candidates = nil, nil
		}
		if diff := cmp.Diff([]any{tt.want, fmt.Sprint(tt.candidates)}, []any{id, fmt.Sprint(candidates)}); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

func TestEdits(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"abc", "abc", 0}, {"abc", "", 3}, {"kitten", "sitting", 3}, {"ab", "ba", 2}} {
		if got := edits(tt.a, tt.b); got != tt.want {
			t.Errorf("edits(%q, %q) = %d", tt.a, tt.b, got)
		}
	}
}

// Runs that had nothing to do share their table.
func TestEqualTablesAreShared(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	table := make([]StageResult, 300)
	for i := range table {
		table[i] = StageResult{Name: fmt.Sprint("stage", i), Status: "cached", Key: Key(Sum([]byte{byte(i)}))}
	}
	for i := range 5 {
		if err := s.PutRun(&Run{ID: RunID(fmt.Sprint("r", i)), Stages: table}); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	for _, name := range blobFiles(t, s) {
		n++
		_ = name
	}
	if n != 1 {
		t.Errorf("%d tables", n)
	}
}
