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
		Description: "Keeps what the newest runs of each project need and what was used lately. What is dropped is remembered,\nso that a later plan says when and why.",
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "keep-runs", Value: 10, Usage: "keep what the newest `N` runs of each project need"},
			&cli.StringFlag{Name: "keep-age", Value: "30d", Usage: "keep what was used within this `TIME`, such as 12h or 30d"},
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
			return runGC(c.Context, g, engine.GCRequest{KeepRuns: c.Int("keep-runs"), KeepAge: age, DryRun: c.Bool("dry-run")}, env)
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

func runGC(ctx context.Context, g global, req engine.GCRequest, env *Env) error {
	api, done, err := env.writer(ctx, g)
	if err != nil {
		return err
	}
	defer done()
	doc, err := api.GC(ctx, req)
	if err != nil {
		return err
	}
	return show(env, g, doc, func(s view.Style) { view.GC(env.Stdout, s, doc) })
}
