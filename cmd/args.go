package cmd

import (
	"strings"

	"github.com/urfave/cli/v2"
)

// arrange puts flags where urfave/cli expects them: it takes everything behind the
// first argument for an argument, and global flags only before the verb. People
// type flags where they come to mind, so
//
//	plumb run train --json --jobs 2
//
// becomes plumb --json run --jobs 2 train. What stands behind -- is left alone, and
// so is a flag that nobody knows: the parser complains about it.
func arrange(app *cli.App, args []string) []string {
	if len(args) == 0 {
		return args
	}
	var global, local, rest []string
	var verb *cli.Command
	words := args[1:]
	for i := 0; i < len(words); i++ {
		w := words[i]
		if w == "--" {
			rest = append(rest, words[i:]...)
			break
		}
		if !strings.HasPrefix(w, "-") || w == "-" {
			if next := findCommand(app, verb, w); next != nil && len(rest) == 0 {
				verb = next
				local = append(local, w)
				continue
			}
			rest = append(rest, w)
			continue
		}
		f, isGlobal := findFlag(app, verb, w)
		into := &local
		if isGlobal || f == nil && verb == nil {
			into = &global
		}
		*into = append(*into, w)
		if f != nil && takesValue(f) && !strings.Contains(w, "=") && i+1 < len(words) {
			i++
			*into = append(*into, words[i])
		}
	}
	out := append([]string{args[0]}, global...)
	out = append(out, local...)
	return append(out, rest...)
}

// findCommand finds a verb, or below a verb that has some its second word.
func findCommand(app *cli.App, verb *cli.Command, name string) *cli.Command {
	commands := app.Commands
	if verb != nil {
		commands = verb.Subcommands
	}
	for _, c := range commands {
		if c.HasName(name) {
			return c
		}
	}
	return nil
}

func findFlag(app *cli.App, verb *cli.Command, word string) (f cli.Flag, global bool) {
	name, _, _ := strings.Cut(strings.TrimLeft(word, "-"), "=")
	if verb != nil {
		for _, f := range verb.Flags {
			if hasName(f, name) {
				return f, false
			}
		}
	}
	for _, f := range app.Flags {
		if hasName(f, name) {
			return f, true
		}
	}
	return nil, false
}

func hasName(f cli.Flag, name string) bool {
	for _, n := range f.Names() {
		if n == name {
			return true
		}
	}
	return false
}

func takesValue(f cli.Flag) bool {
	_, isBool := f.(*cli.BoolFlag)
	return !isBool
}
