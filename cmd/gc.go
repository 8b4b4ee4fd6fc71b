package cmd

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"plumb/cmd/view"
	"plumb/engine"
)

func newGCCommand(env *Env) *cli.Command {
	return &cli.Command{
		Name: "gc", Usage: "drop what nothing needs any more",
		Description: "Keeps what the newest runs of each project need and what was used lately, of that what fits into --keep-size\nand --keep-count, and what a run under way needs. What is dropped is remembered, so that a later plan says when\nand why.",
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "keep-runs", Value: 10, Usage: "keep what the newest `N` runs of each project need"},
			&cli.StringFlag{Name: "keep-age", Value: "30d", Usage: "keep what was used within this `TIME`, such as 12h or 30d"},
			&cli.StringFlag{Name: "keep-size", Usage: "of that, keep what was used last, up to `SIZE` of content, such as 20GiB", DefaultText: "any"},
			&cli.IntFlag{Name: "keep-count", Usage: "of that, keep the `N` results that were used last", DefaultText: "any"},
			&cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "only say what would go"},
		},
		Action: func(c *cli.Context) error {
			if err := noArgs(c); err != nil {
				return err
			}
			g, err := globals(c, env)
			if err != nil {
				return err
			}
			age, err := parseAge(c.String("keep-age"))
			if err != nil {
				return err
			}
			if c.Int("keep-runs") < 0 {
				return usageError("", "--keep-runs must not be negative")
			}
			req := engine.GCRequest{KeepRuns: c.Int("keep-runs"), KeepAge: age, KeepCount: c.Int("keep-count"), DryRun: c.Bool("dry-run")}
			if c.IsSet("keep-count") && req.KeepCount < 1 {
				return usageError("", "--keep-count must be 1 or more")
			}
			if c.IsSet("keep-size") {
				if req.KeepSize, err = parseKeepSize(c.String("keep-size")); err != nil {
					return err
				}
			}
			return runGC(c.Context, g, req, env)
		},
	}
}

// parseAge reads a duration; days are what people keep things for.
func parseAge(text string) (time.Duration, error) {
	const century = 36500 // days; more would not fit
	age, err := time.ParseDuration(text)
	if number, ok := strings.CutSuffix(text, "d"); ok {
		var days float64
		days, err = strconv.ParseFloat(number, 64)
		if !(days >= 0) { // nor NaN
			days = -1
		}
		age = time.Duration(min(days, century) * 24 * float64(time.Hour))
	}
	if err != nil || age < 0 {
		return 0, usageError("write it like 12h or 30d", fmt.Sprintf("--keep-age %q is no length of time", text))
	}
	return age, nil
}

// parseKeepSize reads a size with a unit; one without is likely to be a mistake.
func parseKeepSize(text string) (int64, error) {
	n, err := parseSize(text)
	if err != nil || n <= 0 {
		return 0, usageError("write it like 500MiB or 20GiB", fmt.Sprintf("--keep-size %q is no size", text))
	}
	return n, nil
}

func runGC(ctx context.Context, g global, req engine.GCRequest, env *Env) error {
	doc, err := env.gc(ctx, g, req)
	if err != nil {
		return err
	}
	return show(env, g, doc, func(s view.Style) { view.GC(env.Stdout, s, doc) })
}

// gc asks the agent; to say only what would go, none is started.
func (e *Env) gc(ctx context.Context, g global, req engine.GCRequest) (*engine.GCDoc, error) {
	if req.DryRun {
		api, done, err := e.reader(ctx, g)
		if err != nil {
			return nil, err
		}
		defer done()
		return api.GC(ctx, req)
	}
	api, done, err := e.writer(ctx, g)
	if err != nil {
		return nil, err
	}
	defer done()
	return api.GC(ctx, req)
}
