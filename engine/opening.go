package engine

import (
	"errors"
	"io/fs"
	"os"

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

// Present reports whether the store is still what lies at its path: store.ErrGone when
// it is not.
func (e *Engine) Present() error { return e.store.Present() }

// Abandon is Close for a store that is gone. What runs was canceled already. Where
// there is another store now nothing of ours is cleared away, since it would be found by
// the same names; it reports whether there is none.
func (e *Engine) Abandon() (cleared bool) {
	e.store.Abandon()
	e.endRemoval()
	if _, err := os.Lstat(e.cfg.Dir); !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	if err := e.runtimes.close(); err != nil {
		e.cfg.Logger.Debug("ending the runtime of a store that is gone", "error", err)
	}
	return true
}
