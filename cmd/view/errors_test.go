package view

import (
	"strings"
	"testing"
)

// TestNoteSteersNoTerminal: what a server answers may be in it.
func TestNoteSteersNoTerminal(t *testing.T) {
	var out strings.Builder
	Note(&out, Style{}, "it says \x1b]0;title\x07 and\n\x1b[2Jmore \u202e")
	if got, want := out.String(), "plumb: it says  and more \n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
