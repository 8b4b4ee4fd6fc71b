package engine

import (
	"context"
	"errors"
	"fmt"

	"plumb/hcl"
	"plumb/store"
)

// ErrorKind says who has to do something about an error; cmd turns it into the
// exit status.
type ErrorKind string

// The kinds of error.
const (
	StageFailed ErrorKind = "stage"    // a stage failed
	Invalid     ErrorKind = "invalid"  // the command line or the pipeline is wrong
	Machine     ErrorKind = "machine"  // the machine, the store, the network or a registry failed
	Differs     ErrorKind = "differs"  // --locked or --expect-cached found a difference
	Interrupted ErrorKind = "canceled" // the user stopped it
	Wanting     ErrorKind = "secrets"  // a run is to be asked for again, with secrets: see secrets.go
)

// ErrPreempted is the cause of a context that ends because the machine takes the
// process away: a notice of preemption, a service that is stopped. What runs then is
// recorded as preempted and not as canceled by somebody.
var ErrPreempted = errors.New("the agent was told to end by a signal")

// Error is what the engine's methods return: a kind, what happened, and what to
// do about it. Diagnostics are set when the pipeline is at fault.
type Error struct {
	Kind        ErrorKind       `json:"kind"`
	Message     string          `json:"message"`
	Hint        string          `json:"hint,omitempty"`
	Diagnostics hcl.Diagnostics `json:"diagnostics,omitempty"`
	Secrets     []string        `json:"secrets,omitempty"` // names, of Wanting
}

func (e *Error) Error() string {
	if e.Message == "" && len(e.Diagnostics) > 0 {
		return e.Diagnostics.Error()
	}
	return e.Message
}

// AsError gives err as an Error. What nobody classified is the machine's fault, but
// for what ended because the user stopped it.
func AsError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	var diags hcl.Diagnostics
	if errors.As(err, &diags) {
		return &Error{Kind: Invalid, Diagnostics: diags}
	}
	if errors.Is(err, context.Canceled) {
		return &Error{Kind: Interrupted, Message: "canceled"}
	}
	e = &Error{Kind: Machine, Message: err.Error()}
	if store.TellsOfDamage(e.Message) {
		e.Hint = DamageRemedy
	}
	return e
}

// DamageRemedy is what to do about a store that cannot be opened for damage.
const DamageRemedy = "plumb fsck --repair saves what can be read and sets the damaged files aside; what is lost runs again"

func invalid(hint, format string, args ...any) *Error {
	return &Error{Kind: Invalid, Hint: hint, Message: fmt.Sprintf(format, args...)}
}

// shown gives the diagnostics in an error the source lines they point at.
func shown(dir string, err error) error {
	var diags hcl.Diagnostics
	if errors.As(err, &diags) {
		return &Error{Kind: Invalid, Diagnostics: diags.WithSnippets(dir)}
	}
	return err
}
