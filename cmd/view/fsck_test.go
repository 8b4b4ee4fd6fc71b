package view

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"plumb/engine"
	"plumb/store"
)

// TestFsckTellsOfAcceptedRuns also when nothing is wrong, and however quiet it is to be.
func TestFsckTellsOfAcceptedRuns(t *testing.T) {
	when := time.Date(2026, 11, 20, 9, 5, 0, 0, time.UTC)
	doc := &engine.FsckDoc{FsckReport: store.FsckReport{
		OK: true, UnchainedUntil: "r0",
		Accepted: []store.AcceptedRun{{Run: "r2", Number: 2, State: "altered", When: when}, {Number: 4, State: "lost", When: when}, {Run: "r\x1b5", Number: 6, State: "added", When: when}},
	}}
	var out strings.Builder
	Fsck(&out, Style{}, doc, true)
	want := "known since 2026-11-20 09:05: run r2 is not as it was recorded\n" +
		"known since 2026-11-20 09:05: number 4 of the chain of runs is lost\n" +
		"known since 2026-11-20 09:05: run " + printable("r\x1b5") + " was not recorded by a run\n" +
		"up to run r0 it would not be noticed if one were removed: an older plumb recorded them\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
	doc.Accepted = make([]store.AcceptedRun, 25)
	out.Reset()
	Fsck(&out, Style{}, doc, true)
	if lines := strings.Count(out.String(), "\n"); lines != 22 || !strings.Contains(out.String(), "and 5 runs more") {
		t.Errorf("%d lines: %s", lines, out.String())
	}
}
