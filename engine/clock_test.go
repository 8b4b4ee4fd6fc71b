package engine

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"plumb/store"
)

// Runs have ids of their own, in the order in which they began, whatever the clock
// does, and also when the engine was opened anew in between.
func TestRunIDsWithAClockThatJumps(t *testing.T) {
	now := time.Date(2026, 11, 26, 3, 0, 0, 123_000, time.UTC)
	dir := filepath.Join(t.TempDir(), "store")
	var ids []store.RunID
	for _, jump := range []time.Duration{0, time.Hour, -48 * time.Hour, 0, -time.Second, 365 * 24 * time.Hour, -2 * 365 * 24 * time.Hour, time.Nanosecond} {
		now = now.Add(jump)
		e, err := Open(Config{Dir: dir, Now: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			id, err := e.newRunID()
			if err != nil {
				t.Fatal(err)
			}
			if at, ok := runTime(id); !ok || !at.Equal(e.lastID) {
				t.Errorf("the id %q stands for %v, %v, not for %v", id, at, ok, e.lastID)
			}
			if err := e.store.PutRun(&store.Run{ID: id, Project: "/p", Status: "succeeded"}); err != nil {
				t.Fatal(err)
			}
			ids = append(ids, id)
		}
		if newest, err := e.store.LastRun("/p"); err != nil || newest.ID != ids[len(ids)-1] {
			t.Errorf("after a jump by %v the newest run is %v, %v; not %q", jump, newest, err, ids[len(ids)-1])
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.IsSorted(ids) || len(slices.Compact(slices.Clone(ids))) != len(ids) {
		t.Errorf("ids out of order, or twice: %q", ids)
	}
}

// A run of another make of ids is no reason to give up.
func TestRunTime(t *testing.T) {
	for _, id := range []store.RunID{"", "r", "20261126-030000-!!!!", "20261399-030000-0000", "20261126-030000+0000", "20261126-030000-00000"} {
		if at, ok := runTime(id); ok {
			t.Errorf("%q is taken for %v", id, at)
		}
	}
}

// A stage that runs while the clock jumps is recorded with a time that can be, and is a
// hit then.
func TestRunWithAClockThatJumps(t *testing.T) {
	for _, jump := range []time.Duration{-24 * time.Hour, 24 * time.Hour} {
		r := newRig(t, "stage \"a\" {\n command = [\"write\", \"out\", \"x\"]\n outputs = { out = \"out\" }\n}\n")
		if status, _, err := r.ran(t.Context()); err != nil || status["a"] != "ran" {
			t.Fatalf("%v, %v", status, err)
		}
		r.cfg.Now = func() time.Time { return time.Now().Add(jump).Round(0) }
		if status, _, err := r.ran(t.Context()); err != nil || status["a"] != "cached" {
			t.Errorf("after a jump by %v: %v, %v", jump, status, err)
		}
	}
}
