package engine

import (
	"errors"

	"plumb/store"
)

// lostInput says of an input whose bytes proved to be lost or damaged when a stage was
// about to read them, that no further attempt mends it and another run does: whatever
// was damaged has been set aside, so that what made it is planned to run.
func lostInput(err error) error {
	if !errors.Is(err, store.ErrDamaged) && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return &Error{Kind: Machine, Message: err.Error(), Hint: "plumb run again makes it anew; plumb fsck looks for more such damage"}
}
