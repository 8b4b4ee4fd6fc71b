package view

import (
	"fmt"
	"io"
	"strings"

	"plumb/engine"
	"plumb/hcl"
)

// ErrorDoc is how a command that failed says so under --json.
type ErrorDoc struct {
	Schema int           `json:"schema"`
	Error  *engine.Error `json:"error"`
}

// Error prints an error for people: diagnostics with their snippets, or the
// message, and a hint that says what to do.
func Error(w io.Writer, s Style, e *engine.Error) {
	for i, d := range e.Diagnostics {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprint(w, hcl.Format(d, s.Color))
	}
	if e.Message != "" {
		for i, line := range strings.Split(e.Message, "\n") {
			label := s.paint(red, "error:") + " "
			if i > 0 {
				label = "       "
			}
			fmt.Fprintln(w, label+printable(line))
		}
	}
	if e.Hint != "" {
		fmt.Fprintln(w, " "+s.paint(bold, "hint:")+" "+e.Hint)
	}
}

// Note prints one line of what goes on besides.
func Note(w io.Writer, s Style, message string) {
	fmt.Fprintln(w, s.paint(dim, "plumb: "+printable(strings.ReplaceAll(message, "\n", " "))))
}

// Shell tells what a person finds who looks around in a sandbox, and the command that
// the stage has.
func Shell(w io.Writer, s Style, message, command string) {
	Note(w, s, message)
	for line := range strings.Lines(command) {
		fmt.Fprintln(w, s.paint(dim, "  | "+strings.TrimRight(line, "\n")))
	}
}
