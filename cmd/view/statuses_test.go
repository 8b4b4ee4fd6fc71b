package view

import (
	"testing"

	"plumb/engine"
	"plumb/engine/compare"
	"plumb/engine/plan"
)

// TestStatuses tells why a stage had no result behind that status.
func TestStatuses(t *testing.T) {
	tests := map[string]struct{ old, new, detail, want string }{
		"it fails":          {"cached", "failed", "its command ended", "cached → failed: its command ended"},
		"it was mended":     {"failed", "ran", "its command ended", "failed (its command ended) → ran"},
		"what it waits for": {"skipped", "cached", "stage f failed", "skipped (stage f failed) → cached"},
		"neither had one":   {"skipped", "failed", "its command ended", "skipped → failed: its command ended"},
		"nothing is known":  {"canceled", "ran", "", "canceled → ran"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := &engine.Difference{Change: engine.Change{Reason: plan.Reason{Kind: compare.Status, Old: tt.old, New: tt.new, Detail: tt.detail}}}
			if got := statuses(d); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
