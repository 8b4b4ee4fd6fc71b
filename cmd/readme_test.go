package cmd

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"
)

// TestReadmeKnowsTheCommandLine holds the README against the verbs, the flags of
// run, the global flags and the exit statuses.
func TestReadmeKnowsTheCommandLine(t *testing.T) {
	b, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	app := newApp(&Env{Now: time.Now, Width: func() int { return 0 }, OutWidth: func() int { return 0 }})
	require := func(what string) {
		t.Helper()
		if !strings.Contains(text, what) {
			t.Errorf("README.md does not say %s", what)
		}
	}
	flags := func(flags []cli.Flag) {
		for _, f := range flags {
			name := f.Names()[0]
			if len(name) == 1 {
				require("`-" + name)
			} else if name != "help" {
				require("`--" + name)
			}
		}
	}
	for _, c := range app.Commands {
		if c.Hidden {
			continue
		}
		require("`plumb " + c.Name)
		if c.Name == "run" {
			flags(c.Flags)
		}
	}
	flags(app.Flags)
	for _, code := range exitOf {
		require(fmt.Sprintf("| %d | ", code))
	}
	for _, block := range []string{"pipeline", "param", "secret", "source", "image", "stage", "export", "profile"} {
		require("| `" + block + "` |")
	}
}
