package engine

import (
	"slices"

	"plumb/store"
)

// producer chooses the action that made what another one read; nil when none did. What
// the other's run found in its project is made by a stage only when a stage's run put it
// into one, or the stage is another project's: that stages of the very project have the
// same bytes does not mean that those came from there.
func (w *walk) producer(u LineageUse, reader *store.Record) (*store.Record, int, error) {
	recs, _, err := w.e.store.Linked(w.ctx, store.LinkMade, u.Digest, manyMade)
	if err != nil || len(recs) == 0 {
		return nil, 0, err
	}
	run, err := w.runOf(reader.Run)
	if err != nil {
		return nil, 0, err
	}
	if found := foundBy(run, u); found != nil {
		if recs, err = w.delivered(recs, run, u); err != nil {
			return nil, 0, err
		}
	}
	choices := []func(*store.Record) bool{
		func(r *store.Record) bool { return w.prefer[r.Key] },
		func(r *store.Record) bool { return r.Run == reader.Run },
		func(r *store.Record) bool { return !r.Created.After(reader.Created) },
		func(*store.Record) bool { return true },
	}
	for _, fits := range choices {
		for _, r := range recs {
			if fits(r) && r.Key != reader.Key {
				return r, len(recs) - 1, nil
			}
		}
	}
	return nil, 0, nil
}

// foundBy gives the place of the project, or outside, at which a run found what one of its
// actions read; nil when a stage made it, or nobody knows.
func foundBy(run *store.Run, u LineageUse) *store.Place {
	if run == nil {
		return nil
	}
	for i := range run.Places {
		p := &run.Places[i]
		if (p.Role == store.PlaceInput || p.Role == store.PlaceOutside) && p.Digest == u.Digest && (p.Path == u.Path || slices.Contains(p.As, u.Path)) {
			return p
		}
	}
	return nil
}

// delivered leaves those of records whose run exported content, or was another project's,
// before a run found it.
func (w *walk) delivered(recs []*store.Record, run *store.Run, u LineageUse) ([]*store.Record, error) {
	var out []*store.Record
	for _, r := range recs {
		made, err := w.runOf(r.Run)
		if err != nil {
			return nil, err
		}
		if made == nil || !r.Created.Before(run.Started) {
			continue
		}
		exported := slices.ContainsFunc(made.Places, func(p store.Place) bool { return p.Role == store.PlaceExport && p.Digest == u.Digest })
		if exported || made.Project != run.Project {
			out = append(out, r)
		}
	}
	return out, nil
}
