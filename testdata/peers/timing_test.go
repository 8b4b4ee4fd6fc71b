package main

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestQuantile(t *testing.T) {
	for name, c := range map[string]struct {
		in   series
		q    float64
		want float64
	}{
		"nothing":          {nil, 0.5, 0},
		"one":              {series{3}, 0.95, 3},
		"odd":              {series{9, 1, 5}, 0.5, 5},
		"even":             {series{4, 1, 2, 3}, 0.5, 2.5},
		"between two":      {series{0, 10}, 0.95, 9.5},
		"all":              {series{2, 8, 4}, 1, 8},
		"order is no part": {series{5, 1, 9}, 0.5, 5},
	} {
		t.Run(name, func(t *testing.T) {
			before := append(series(nil), c.in...)
			if got := c.in.quantile(c.q); got != c.want {
				t.Errorf("quantile %g of %v: %g, want %g", c.q, c.in, got, c.want)
			}
			if diff := cmp.Diff(before, c.in); diff != "" {
				t.Errorf("the samples were moved:\n%s", diff)
			}
		})
	}
}

func TestOver(t *testing.T) {
	// The machine becomes ten times slower on the way: the ratio of each round stays.
	if got := (series{1, 10, 100}).over(series{2, 20, 200}); got != 0.5 {
		t.Errorf("ratio %g, want 0.5", got)
	}
	if got := (series{1, 1, 9}).over(series{2, 2, 1}); got != 0.5 {
		t.Errorf("ratio with one bad round %g, want 0.5", got)
	}
}

func TestInterleave(t *testing.T) {
	var order []string
	turn := func(name string) contender {
		return contender{name, func(_ context.Context, round int) error {
			order = append(order, strings.ToLower(name))
			return nil
		}, func(_ context.Context, round int) (time.Duration, error) {
			order = append(order, name)
			return time.Duration(round) * time.Second, nil
		}}
	}
	times, err := interleave(t.Context(), 2, []contender{turn("A"), turn("B"), turn("C")})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(order, ""), "aAbBcC"+"bBcCaA"+"cCaAbB"; got != want {
		t.Errorf("order %s, want %s", got, want)
	}
	if diff := cmp.Diff(map[string]series{"A": {1, 2}, "B": {1, 2}, "C": {1, 2}}, times); diff != "" {
		t.Errorf("times, without those of round 0 (-want +got):\n%s", diff)
	}
}

func TestInterleaveEndsWithTheFirstError(t *testing.T) {
	broken := errors.New("broken")
	runs := 0
	_, err := interleave(t.Context(), 5, []contender{{"A", nil, func(context.Context, int) (time.Duration, error) {
		runs++
		return 0, broken
	}}})
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), `"A"`) || runs != 1 {
		t.Errorf("after %d runs: %v", runs, err)
	}
}

func TestTimedWantsProof(t *testing.T) {
	for name, c := range map[string]struct{ script, proof, err string }{
		"said":       {"echo nothing to do", "nothing to do", ""},
		"said aside": {"echo nothing to do >&2", "nothing to do", ""},
		"not said":   {"echo made it all", "nothing to do", "made it all"},
		"failed":     {"echo nothing to do; exit 3", "nothing to do", "exit status 3"},
	} {
		t.Run(name, func(t *testing.T) {
			took, err := timed(exec.CommandContext(t.Context(), "sh", "-c", c.script), c.proof)
			switch {
			case c.err == "" && (err != nil || took <= 0):
				t.Errorf("took %v: %v", took, err)
			case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
				t.Errorf("error %v, want one with %q", err, c.err)
			}
		})
	}
}

func TestTail(t *testing.T) {
	if got := tail(" short\n"); got != "short" {
		t.Errorf("tail %q", got)
	}
	if got := tail(strings.Repeat("x", 5000) + "the end"); !strings.HasSuffix(got, "xthe end") || len(got) > 700 {
		t.Errorf("tail of a long text has %d bytes: %q", len(got), got)
	}
}
