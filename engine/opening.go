package engine

import (
	"errors"

	"plumb/store"
)

// openError gives what keeps a store from being opened the words that say what to do.
func openError(err error) error {
	var place *store.FileSystemError
	if errors.As(err, &place) {
		return &Error{Kind: Machine, Message: err.Error(), Hint: "put the store on a local disk: --store DIR, or PLUMB_HOME in the environment"}
	}
	return err
}

// CheckStore tells a directory where no store can be, by the name of its file system.
func CheckStore(dir string) error { return openError(store.CheckFileSystem(dir)) }
