package engine

import (
	"slices"
	"time"

	"plumb/engine/plan"
	"plumb/store"
)

// What made an input is what the run says in which it was read: the note of the reader
// names the stage, and the run's table of stages that one's action. So of several actions
// that made the same bytes it is the one whose result was handed on. In the run that is
// asked about its own table decides, since there the reader may have been cached, and fed
// by another action than when it ran.
//
// Only when the run is not kept content alone is the guide. Then it is the newest action
// that had made it when it was read, and the others are counted.
//
// What a run found in its project came from there, whatever stage has the same bytes. It is
// a stage's only when a run delivered it: see delivered.

// madeIn is where an action is known to have made something.
type madeIn struct {
	run *store.Run
	st  *store.StageResult
}

// resolve finds what made an input.
func (w *walk) resolve(u *LineageUse, reader *store.Record) error {
	own, err := w.runOf(reader.Run)
	if err != nil {
		return err
	}
	note, err := plan.DecodeNote(reader.Note)
	if err != nil {
		return err
	}
	from := note.Whence(u.Path)
	found := foundBy(own, *u) != nil
	if note.Image != "" { // by a plumb that notes inputs
		found = !from.Produced()
	}
	if from.Produced() {
		u.Stage, u.Name = from.Stage, from.Output
		made, self, err := w.inTables(u, reader, own)
		if err != nil {
			return err
		}
		if made != nil {
			u.By = made.st.Key
			if _, ok := w.in[u.By]; !ok {
				w.in[u.By] = *made
			}
			return nil
		}
		if self { // the stages are the same action: it was read by whichever came first
			u.Stage, u.Name, found = "", "", true
		}
	}
	recs, err := w.linked(store.LinkMade, u.Digest, manyMade)
	if err != nil || len(recs) == 0 {
		return err
	}
	if found {
		if recs, err = w.delivered(recs, own, delivery{u.Digest, pathFound(own, *u, from), reader.Created}); err != nil {
			return err
		}
	}
	w.choose(u, reader, recs)
	return nil
}

// choose takes one of several actions that made the very same, the newest first.
func (w *walk) choose(u *LineageUse, reader *store.Record, recs []*store.Record) {
	recs = slices.DeleteFunc(slices.Clone(recs), func(r *store.Record) bool { return r.Key == reader.Key })
	before := func(r *store.Record) bool { return !r.Created.After(reader.Created) }
	named := func(r *store.Record) bool { return u.Stage == "" || r.Stage == u.Stage }
	for _, fits := range []func(*store.Record) bool{
		func(r *store.Record) bool { return r.Run == reader.Run && named(r) },
		func(r *store.Record) bool { return before(r) && named(r) },
		before,
		named, // it was made again since
	} {
		if i := slices.IndexFunc(recs, fits); i >= 0 {
			u.By, u.Also = recs[i].Key, len(recs)-1
			return
		}
	}
}

// inTables looks into the tables of the runs that have the reader: the one that is asked
// about, then the reader's own. self says that a stage with the reader's key made it.
func (w *walk) inTables(u *LineageUse, reader *store.Record, own *store.Run) (made *madeIn, self bool, err error) {
	asked := w.of != nil && w.ofKeys[reader.Key]
	if asked {
		if made, self, err = w.inTable(w.of, u, reader.Key); made != nil || err != nil {
			return made, self, err
		}
	}
	if own == nil || asked && own.ID == w.of.ID {
		return nil, self, nil
	}
	made, again, err := w.inTable(own, u, reader.Key)
	if made == nil || err != nil || !asked || w.ofKeys[made.st.Key] {
		return made, self || again, err
	}
	// The stage has another name in the run that is asked about.
	if w.table(w.of)[u.Stage] == nil {
		for i := range w.of.Stages {
			st := &w.of.Stages[i]
			if st.Key == reader.Key {
				continue
			}
			ok, err := w.gave(st, u.Digest)
			if ok || err != nil {
				return &madeIn{w.of, st}, false, err
			}
		}
	}
	return made, self || again, nil
}

func (w *walk) inTable(run *store.Run, u *LineageUse, reader store.Key) (made *madeIn, self bool, err error) {
	st := w.table(run)[u.Stage]
	if st == nil {
		return nil, false, nil
	}
	if st.Key == reader {
		return nil, true, nil
	}
	ok, err := w.gave(st, u.Digest)
	if !ok || err != nil {
		return nil, false, err
	}
	return &madeIn{run, st}, false, nil
}

// gave reports whether a stage of a run gave content.
func (w *walk) gave(st *store.StageResult, d store.Digest) (bool, error) {
	outputs := st.Outputs
	if len(outputs) == 0 && !st.Key.IsZero() { // of before runs kept them
		rec, err := w.e.store.Remembered(st.Key)
		if rec == nil || err != nil {
			return false, err
		}
		outputs = rec.Outputs
	}
	return hasOutput(outputs, d), nil
}

func hasOutput(outputs []store.Output, d store.Digest) bool {
	return slices.ContainsFunc(outputs, func(o store.Output) bool { return o.Digest == d })
}

// table gives the stages of a run by name.
func (w *walk) table(run *store.Run) map[string]*store.StageResult {
	t := w.tables[run.ID]
	if t == nil {
		t = make(map[string]*store.StageResult, len(run.Stages))
		for i := range run.Stages {
			t[run.Stages[i].Name] = &run.Stages[i]
		}
		w.tables[run.ID] = t
	}
	return t
}

// load gives the record of an action as the run has it in which it is known to have made
// something: since then it may have been done once more, with another result. nil when
// there is none any more.
func (w *walk) load(k store.Key) (*store.Record, error) {
	rec, err := w.e.store.Remembered(k)
	if rec == nil || err != nil {
		return nil, err
	}
	if in, ok := w.in[k]; ok {
		rec = asThen(rec, in)
	}
	return rec, nil
}

func asThen(rec *store.Record, in madeIn) *store.Record {
	if len(in.st.Outputs) == 0 || slices.EqualFunc(rec.Outputs, in.st.Outputs, func(a, b store.Output) bool { return a.Name == b.Name && a.Digest == b.Digest }) {
		return rec
	}
	then := *rec
	then.Outputs, then.Run, then.Created, then.Attempts = in.st.Outputs, in.run.ID, in.run.Started, in.st.Attempts
	if n := len(in.st.Attempts); n > 0 {
		last := in.st.Attempts[n-1]
		then.Created = last.Started.Add(time.Duration(last.Seconds * float64(time.Second)))
	}
	if in.st.MadeBy != "" {
		then.Run = in.st.MadeBy
	}
	return &then
}

// foundBy gives the place of the project, or outside, at which a run found what one of its
// actions read; nil when a stage made it, or nobody knows.
func foundBy(run *store.Run, u LineageUse) *store.Place {
	if run == nil {
		return nil
	}
	for i := range run.Places {
		p := &run.Places[i]
		if isFound(p) && p.Digest == u.Digest && (p.Path == u.Path || slices.Contains(p.As, u.Path)) {
			return p
		}
	}
	return nil
}

func isFound(p *store.Place) bool { return p.Role == store.PlaceInput || p.Role == store.PlaceOutside }

// pathFound is the path in the project at which something was that was read.
func pathFound(run *store.Run, u LineageUse, from plan.Whence) string {
	if p := foundBy(run, u); p != nil {
		return p.Path
	}
	return from.Project
}

// delivery is content that was found at a place before something was made of it.
type delivery struct {
	digest store.Digest
	path   string
	before time.Time
}

// delivered leaves those of records whose run put content where another one found it: it
// exported it there; or it exported it to anywhere, or was another project's, so that
// somebody may have copied it. A run that found that very content itself did not bring it
// into the world, whichever of its stages handed it on.
func (w *walk) delivered(recs []*store.Record, run *store.Run, d delivery) ([]*store.Record, error) {
	if run != nil && run.Started.Before(d.before) {
		d.before = run.Started
	}
	var there, elsewhere []*store.Record
	for _, r := range recs {
		made, err := w.runOf(r.Run)
		if err != nil {
			return nil, err
		}
		if made == nil || !r.Created.Before(d.before) {
			continue
		}
		same := run != nil && made.Project == run.Project
		var exported, here, foundHere, found bool
		for i := range made.Places {
			p := &made.Places[i]
			if p.Digest != d.digest {
				continue
			}
			at := same && p.Path == d.path
			exported = exported || p.Role == store.PlaceExport
			here = here || p.Role == store.PlaceExport && at
			found = found || isFound(p)
			foundHere = foundHere || isFound(p) && at
		}
		switch {
		case here && !foundHere:
			there = append(there, r)
		case !found && (exported || run != nil && !same):
			elsewhere = append(elsewhere, r)
		}
	}
	return append(there, elsewhere...), nil
}
