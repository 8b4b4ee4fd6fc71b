package store

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestAnnotate(t *testing.T) {
	s := chainOf(t)
	text, yes, no, none := "the one for the paper", true, false, ""
	for _, tt := range []struct {
		name  string
		run   RunID
		c     AnnotationChange
		want  *Annotation
		taken RunID
	}{
		{"tags", "r1", AnnotationChange{Tags: []string{"v1", "best"}}, &Annotation{Tags: []string{"best", "v1"}}, ""},
		{"the same again", "r1", AnnotationChange{Tags: []string{"v1"}}, &Annotation{Tags: []string{"best", "v1"}}, ""},
		{"one that is taken", "r2", AnnotationChange{Tags: []string{"new", "v1"}}, nil, "r1"},
		{"moved", "r2", AnnotationChange{Tags: []string{"v1"}, Move: true}, &Annotation{Tags: []string{"v1"}}, ""},
		{"a note", "r1", AnnotationChange{Note: &text}, &Annotation{Tags: []string{"best"}, Note: text}, ""},
		{"a pin", "r1", AnnotationChange{Pinned: &yes}, &Annotation{Tags: []string{"best"}, Note: text, Pinned: true}, ""},
		{"renamed", "r1", AnnotationChange{Untag: []string{"best", "v1"}, Tags: []string{"b"}}, &Annotation{Tags: []string{"b"}, Note: text, Pinned: true}, ""},
		{"no note", "r1", AnnotationChange{Note: &none, Pinned: &no, Untag: []string{"b"}}, &Annotation{Tags: []string{}}, ""},
	} {
		got, err := s.Annotate(tt.run, tt.c)
		var taken *TagTakenError
		if errors.As(err, &taken); (taken != nil) != (tt.taken != "") || taken != nil && taken.Run != tt.taken || err != nil && taken == nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if diff := cmp.Diff(tt.want, got, cmpopts.IgnoreFields(Annotation{}, "Edited")); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
	if _, err := s.Annotate("nope", AnnotationChange{Tags: []string{"x"}}); !errors.Is(err, ErrNotFound) {
		t.Errorf("no run: %v", err)
	}
	tags, err := s.Tags("/p")
	if diff := cmp.Diff(map[string]RunID{"v1": "r2"}, tags); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	if r, _, err := s.FindRun("/p", "v1"); err != nil || r == nil || r.ID != "r2" {
		t.Errorf("found by tag: %+v %v", r, err)
	}
	if r, _, err := s.FindRun("/q", "v1"); err != nil || r != nil {
		t.Errorf("found by the tag of another project: %+v %v", r, err)
	}
	sound(t, s, "after all")
}

// TestTagsAreBounded counts what a run has and what comes, however they come.
func TestTagsAreBounded(t *testing.T) {
	s := chainOf(t)
	tags := func(from, n int) (out []string) {
		for i := range n {
			out = append(out, fmt.Sprint("t", from+i))
		}
		return out
	}
	for _, tt := range []struct {
		name string
		c    AnnotationChange
		want int // tags after; 0 when they are too many
	}{
		{"some", AnnotationChange{Tags: tags(0, 30)}, 30},
		{"some of them again", AnnotationChange{Tags: tags(10, 40)}, 50},
		{"one more", AnnotationChange{Tags: tags(50, 1)}, 0},
		{"one for another", AnnotationChange{Tags: tags(50, 1), Untag: tags(0, 1)}, 50},
		{"many at once", AnnotationChange{Tags: tags(100, 2000)}, 0},
		{"those that it has", AnnotationChange{Tags: tags(1, 50)}, 50},
	} {
		a, err := s.Annotate("r1", tt.c)
		if tt.want == 0 {
			if !errors.Is(err, ErrTooManyTags) {
				t.Errorf("%s: %v", tt.name, err)
			}
			continue
		}
		if err != nil || len(a.Tags) != tt.want {
			t.Errorf("%s: %+v %v", tt.name, a, err)
		}
	}
	if all, err := s.Tags("/p"); err != nil || len(all) != 50 {
		t.Errorf("%d tags, %v", len(all), err)
	}
	meddle(t, s, func(txn *badger.Txn) error { // of before there was a bound
		return s.setAnnotation(txn, "r2", &Annotation{Tags: tags(1000, 60)})
	})
	if _, err := s.Annotate("r2", AnnotationChange{Untag: tags(1000, 5)}); err != nil {
		t.Errorf("losing some: %v", err)
	}
	if _, err := s.Annotate("r2", AnnotationChange{Tags: tags(2000, 1)}); !errors.Is(err, ErrTooManyTags) {
		t.Errorf("still too many: %v", err)
	}
}

// TestPinnedRunsStay keeps a pinned run and what it needs from each rule of gc.
func TestPinnedRunsStay(t *testing.T) {
	for name, p := range map[string]Policy{
		"age": {}, "count": {KeepRuns: 9, KeepCount: 1}, "size": {KeepRuns: 9, KeepSize: 1}, "runs": {KeepRuns: 1},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClock()
			s := openStore(t, t.TempDir(), Options{Now: c.Now})
			keys := make([]Key, 3)
			for i := range keys {
				keys[i] = recordWith(t, s, byte(i+1), 9000)
				r := aRun(t, s, RunID(fmt.Sprint("r", i)), fmt.Sprint("file", i))
				r.Stages = []StageResult{{Name: "a", Status: "ran", Key: keys[i], Metrics: manyMetrics(i)}}
				putRun(t, s, r)
				c.now = c.now.Add(day)
			}
			yes := true
			if _, err := s.Annotate("r0", AnnotationChange{Pinned: &yes, Tags: []string{"v1"}}); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Annotate("r1", AnnotationChange{Tags: []string{"v2"}}); err != nil {
				t.Fatal(err)
			}
			gc(t, s, p)
			if got := alive(t, s, keys[0]); len(got) != 1 {
				t.Error("the result of the pinned run is gone")
			}
			if r, err := s.Run("r0"); err != nil {
				t.Error(err)
			} else if _, ok := s.Stat(r.Files[0].Digest); !ok {
				t.Error("what the pinned run was read from is gone")
			}
			if _, err := s.Run("r1"); (name == "age" || name == "runs") != errors.Is(err, ErrNotFound) {
				t.Errorf("the run that is not pinned: %v", err)
			}
			sound(t, s, "after gc")
			no := false
			if _, err := s.Annotate("r0", AnnotationChange{Pinned: &no}); err != nil {
				t.Fatal(err)
			}
			gc(t, s, Policy{})
			if n := len(blobsOf(t, s)); n > 0 {
				t.Errorf("%d blobs are left", n)
			}
			if tags, err := s.Tags("/p"); err != nil || len(tags) > 0 {
				t.Errorf("tags %v, %v", tags, err)
			}
			sound(t, s, "without runs")
		})
	}
}

func manyMetrics(of int) map[string]float64 {
	m := map[string]float64{}
	for i := range 60 {
		m[fmt.Sprint("m", i)] = float64(of*i) / 8
	}
	return m
}

func TestFsckOfAnnotations(t *testing.T) {
	for name, damage := range map[string]func(txn *badger.Txn) error{
		"a lost tag":       func(txn *badger.Txn) error { return txn.Delete(tagKey("/p", "v1")) },
		"a tag of nothing": func(txn *badger.Txn) error { return txn.Set(tagKey("/p", "v2"), []byte("r1")) },
		"of no run": func(txn *badger.Txn) error {
			return txn.Set(runKey(inAnnotations, "r9"), seal(0, []byte(`{"note":"x"}`)))
		},
		"damaged": func(txn *badger.Txn) error { return txn.Set(runKey(inAnnotations, "r2"), []byte("x")) },
		"a summary that lies": func(txn *badger.Txn) error {
			return txn.Set(runKey(inSummaries, "r2"), seal(0, encodeSummary(&RunSummary{Status: "failed"}, nil)))
		},
		"a summary of no run": func(txn *badger.Txn) error {
			return txn.Set(runKey(inSummaries, "r9"), seal(0, encodeSummary(&RunSummary{}, nil)))
		},
		"a damaged summary": func(txn *badger.Txn) error { return txn.Set(runKey(inSummaries, "r2"), seal(0, []byte("x"))) },
	} {
		t.Run(name, func(t *testing.T) {
			s := chainOf(t)
			if _, err := s.Annotate("r1", AnnotationChange{Tags: []string{"v1"}}); err != nil {
				t.Fatal(err)
			}
			meddle(t, s, damage)
			for _, repair := range []bool{false, true} {
				rep, err := s.Fsck(context.Background(), FsckOptions{Repair: repair})
				if err != nil || len(rep.Findings) != 1 || rep.OK != repair {
					t.Errorf("repair %v: %+v %v", repair, rep, err)
				}
			}
			sound(t, s, "after the repair")
			if r, _, err := s.FindRun("/p", "v1"); err != nil || r == nil || r.ID != "r1" {
				t.Errorf("found by tag: %+v %v", r, err)
			}
		})
	}
}

func TestSummaries(t *testing.T) {
	at := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	s := openStore(t, t.TempDir(), Options{})
	var want []RunSummary
	for i := range 6 {
		started := at.Add(time.Duration(i) * day)
		r := &Run{
			ID: RunID(idBegins(started) + "-abcd"), Project: []string{"/p", "/q"}[i%2], Status: []string{"succeeded", "failed"}[i/3], Started: started, Seconds: 2,
			Params: []RunParam{{Name: "lr", Value: "0.1", Origin: "default"}},
			Stages: []StageResult{{Name: "a", Key: Key{byte(i)}, Metrics: map[string]float64{"acc": float64(i)}}, {Name: "b", Metrics: manyMetrics(i / 2)}},
		}
		putRun(t, s, r)
		sum := summaryOf(r, Digest{})
		sum.Params = []RunParam{{Name: "lr", Value: "0.1"}}
		want = append([]RunSummary{*sum}, want...)
	}
	old := want[2].ID // as if it were from before there were summaries
	meddle(t, s, func(txn *badger.Txn) error { return txn.Delete(runKey(inSummaries, old)) })
	for _, tt := range []struct {
		name string
		f    RunFilter
		want []int // of want
	}{
		{"all", RunFilter{}, []int{0, 1, 2, 3, 4, 5}},
		{"of a project", RunFilter{Project: "/q"}, []int{0, 2, 4}},
		{"failed", RunFilter{Status: "failed"}, []int{0, 1, 2}},
		{"since", RunFilter{Since: at.Add(3 * day)}, []int{0, 1, 2}},
		{"until", RunFilter{Until: at.Add(day)}, []int{4, 5}},
		{"before", RunFilter{Before: want[3].ID}, []int{4, 5}},
	} {
		var got, expect []RunSummary
		if err := s.Summaries(tt.f, func(sum *RunSummary) (bool, error) {
			got = append(got, *sum)
			return true, nil
		}); err != nil {
			t.Fatal(err)
		}
		for _, i := range tt.want {
			expect = append(expect, want[i])
		}
		same := cmp.Options{cmpopts.IgnoreUnexported(RunSummary{}), cmpopts.IgnoreFields(RunParam{}, "Origin"), cmpopts.IgnoreFields(RunSummary{}, "Table")}
		if diff := cmp.Diff(expect, got, same); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
	if err := s.Summaries(RunFilter{}, func(sum *RunSummary) (bool, error) {
		k, err := s.StageKey(sum.Table, "a")
		if i := int(sum.Started.Sub(at) / day); k != (Key{byte(i)}) {
			t.Errorf("key of %s: %v", sum.ID, k)
		}
		return true, err
	}); err != nil {
		t.Fatal(err)
	}
	sound(t, s, "after all")
}
