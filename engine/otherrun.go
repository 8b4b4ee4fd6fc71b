package engine

import (
	"fmt"
	"time"

	"plumb/store"
)

// A run is named by its id from wherever one stands: its project may be gone, or be another
// one. Tags, the last letters of an id and "latest" are the project's own.

// otherRun finds the run of another project that a name is the id or the beginning of; nil
// when there is none. One that gc dropped is told from one that never was.
func (e *Engine) otherRun(dir, name string) (*store.Run, error) {
	if dir != "" {
		ids, err := e.store.RunsBeginning(name)
		if err != nil {
			return nil, err
		}
		if len(ids) > 1 && string(ids[len(ids)-1]) == name { // the oldest is the shortest
			ids = ids[len(ids)-1:]
		}
		const most = 5
		if n := len(ids); n > 1 {
			names := joined(ids[:min(n, most)])
			if n > most {
				names += fmt.Sprintf(", and %d more", n-most)
			}
			return nil, invalid("name one of: "+names, "%q is the beginning of several runs of other projects", name)
		}
		runs, err := e.store.Heads(ids)
		if err != nil {
			return nil, err
		}
		if len(runs) == 1 {
			return &runs[0], nil
		}
	}
	const enough = len("20060102-150405")
	if len(name) < enough || !idForm.MatchString(name) {
		return nil, nil
	}
	id, when, err := e.store.DroppedRun(name)
	if id == "" || err != nil {
		return nil, err
	}
	return nil, invalid("plumb pin keeps a run from gc, and plumb gc --keep-runs says how many are kept", "run %s is not kept any more: gc dropped it on %s", id, when.Local().Format(time.DateOnly))
}
