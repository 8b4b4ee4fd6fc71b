package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// contender is one of those that take turns.
type contender struct {
	name string
	// ready puts everything into its place, and is not timed; nil for nothing to do.
	ready func(ctx context.Context, round int) error
	run   func(ctx context.Context, round int) (time.Duration, error)
}

// series are the times of one contender, by round, in seconds.
type series []float64

// interleave lets everybody have a turn in each round, and each start a round as
// often as the others. Round 0 is not counted: it fills the caches that all of
// them profit from.
func interleave(ctx context.Context, rounds int, all []contender) (map[string]series, error) {
	times := map[string]series{}
	for round := range rounds + 1 {
		for turn := range all {
			c := all[(round+turn)%len(all)]
			if c.ready != nil {
				if err := c.ready(ctx, round); err != nil {
					return nil, fmt.Errorf("preparing %q: %w", c.name, err)
				}
			}
			d, err := c.run(ctx, round)
			if err != nil {
				return nil, fmt.Errorf("running %q: %w", c.name, err)
			}
			if round > 0 {
				times[c.name] = append(times[c.name], d.Seconds())
			}
		}
	}
	return times, nil
}

func (s series) median() float64 { return s.quantile(0.5) }

// quantile interpolates between the two samples around it.
func (s series) quantile(q float64) float64 {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Clone(s)
	slices.Sort(sorted)
	at := q * float64(len(sorted)-1)
	low := int(at)
	high := min(low+1, len(sorted)-1)
	return sorted[low] + (at-float64(low))*(sorted[high]-sorted[low])
}

// over is the median of the ratios of each round.
func (s series) over(other series) float64 {
	var ratios series
	for i := range min(len(s), len(other)) {
		ratios = append(ratios, s[i]/other[i])
	}
	return ratios.median()
}

// timed runs a command. What it prints has to contain a text: that is how it
// proves that it found nothing to do.
func timed(cmd *exec.Cmd, proof string) (time.Duration, error) {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	start := time.Now()
	err := cmd.Run()
	took := time.Since(start)
	if err != nil {
		return 0, fmt.Errorf("running %q: %w: %s", cmd, err, tail(out.String()))
	}
	if !strings.Contains(out.String(), proof) {
		return 0, fmt.Errorf("running %q: it did not say %q: %s", cmd, proof, tail(out.String()))
	}
	return took, nil
}

// output runs a command and answers what it printed.
func output(cmd *exec.Cmd) (string, error) {
	var out, diag bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &diag
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("running %q: %w: %s", cmd, err, tail(diag.String()+out.String()))
	}
	return out.String(), nil
}

// tail is the end of what a program printed, which is where it says what is wrong.
func tail(s string) string {
	const most = 600
	s = strings.TrimSpace(s)
	if len(s) > most {
		s = "… " + s[len(s)-most:]
	}
	return s
}
