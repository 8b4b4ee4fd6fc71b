package engine

import (
	"cmp"
	"fmt"
	"time"

	"plumb/store"
)

// Rerun is a stage whose result is not kept any more.
type Rerun struct {
	Stage  string `json:"stage"`
	Reason string `json:"reason"`
}

// absent says why content is not there: it was dropped, or found to be lost before, or that
// is news.
func (r *restoring) absent(d store.Digest, err error) string {
	a, aerr := r.e.store.Absence(d)
	switch {
	case aerr != nil || a == nil:
		return err.Error()
	case a.By == store.ByFsck:
		return fmt.Sprintf("it is lost, as fsck found on %s: %s", a.When.Format(time.DateOnly), a.Rule)
	}
	return fmt.Sprintf("gc dropped it on %s (%s)", a.When.Format(time.DateOnly), a.Rule)
}

// results says which stages of the run will not be cached: their results are not kept any
// more, or are of no use.
func (r *restoring) results() error {
	var keys []store.Key
	var names []string
	for i := range r.run.Stages {
		if st := &r.run.Stages[i]; !st.Key.IsZero() && (st.Status == "ran" || st.Status == "cached") {
			keys, names = append(keys, st.Key), append(names, st.Name)
		}
	}
	found, err := r.e.store.LookupAll(r.ctx, keys)
	if err != nil {
		return fmt.Errorf("looking for the results of run %s: %w", r.run.ID, err)
	}
	for i := range found {
		if found[i].Miss != nil {
			r.doc.Reruns = append(r.doc.Reruns, Rerun{names[i], missText(found[i].Miss)})
		}
	}
	return nil
}

func missText(m *store.Miss) string {
	switch {
	case m.Kind == store.MissDamaged:
		return "its result is damaged: " + m.Detail
	case m.Tombstone == nil:
		return "its result is not kept any more"
	}
	return fmt.Sprintf("its result was removed by %s on %s (%s)", cmp.Or(m.Tombstone.By, "gc"), m.Tombstone.When.UTC().Format(time.DateOnly), m.Tombstone.Rule)
}
