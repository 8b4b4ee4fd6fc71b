package cmd

import (
	"context"
	"errors"

	"plumb/engine"
)

// The exit statuses. Scripts rely on them; the table in the documentation is
// tested against this one.
const (
	exitOK          = 0
	exitStage       = 1   // a stage, check, test or gate failed
	exitInvalid     = 2   // the command line or the pipeline is wrong
	exitMachine     = 3   // the machine, the store, the network or a registry failed
	exitDiffers     = 4   // --locked, --check or --expect-cached found a difference
	exitInterrupted = 130 // the user stopped it
)

var exitOf = map[engine.ErrorKind]int{
	engine.StageFailed: exitStage,
	engine.Invalid:     exitInvalid,
	engine.Machine:     exitMachine,
	engine.Differs:     exitDiffers,
	engine.Interrupted: exitInterrupted,
	engine.Wanting:     exitInvalid, // never seen: the run is asked for again
}

// usageError is a mistake on the command line.
func usageError(hint, message string) error {
	return &engine.Error{Kind: engine.Invalid, Message: message, Hint: hint}
}

// classify gives any error the form that is printed, and its exit status.
func classify(err error) (*engine.Error, int) {
	if errors.Is(err, context.Canceled) {
		return &engine.Error{Kind: engine.Interrupted, Message: "interrupted"}, exitInterrupted
	}
	e := engine.AsError(err)
	return e, exitOf[e.Kind]
}
