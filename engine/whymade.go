package engine

import (
	"fmt"
	"slices"

	"plumb/engine/plan"
	"plumb/store"
)

// A stage that is up to date has a result which some run made, for reasons of that time:
// what came after it is none of them. What a person asks for may also be a later change,
// that back to something done before, which made nothing. So there are two runs to tell
// of: the one that made the result, and the one in which the stage became what it is. The
// latter is found by going back from the newest run for as long as the stage was what it
// is now; the run before it is what it is compared with.
//
//	made = since   the result was made when this differed
//	made < since   this differed, and the result was there already
//	made > since   nothing differed: it was made again, because it was asked for or lost
//	no since       it will be what it is with the next run; this differs from the last one

// How far back the change is looked for. A hundred tables of a thousand stages cost 20 ms.
const (
	maxTurnRuns   = 500
	maxTurnTables = 100 // that differ
)

// turn is when a stage became what it is. before is nil when it never was anything else
// that is kept; since is "" when the last run had it otherwise.
type turn struct {
	since  store.RunID
	before *recorded
}

// turned looks for it among the runs before one, "" for all.
func (x *explainer) turned(stage string, key store.Key, from store.RunID) (t turn, err error) {
	var table store.Digest
	var tried store.Key
	runs, tables := 0, 0
	other := false // it was, in a run that was looked at
	err = x.e.store.Summaries(store.RunFilter{Project: x.dir, Before: from}, func(sum *store.RunSummary) (bool, error) {
		runs++
		k := tried
		if sum.Table != table {
			var err error
			var status string
			if k, status, err = x.e.store.StageState(sum.Table, stage); err != nil {
				return false, err
			}
			tables++
			if table = sum.Table; !cameTo(status) {
				k = store.Key{}
			}
		}
		switch {
		case k == key && !other:
			t.since = sum.ID
		case k != key && !k.IsZero() && k != tried:
			other = true
			var err error
			if t.before, err = x.action(k); err != nil {
				return false, err
			}
			if t.before != nil {
				t.before.run = sum.ID
			}
		}
		tried = k
		return t.before == nil && runs < maxTurnRuns && tables < maxTurnTables, nil
	})
	return t, err
}

// made says of a stage that is up to date who made its result, and what changed when it
// became what it is.
func (x *explainer) made(doc *WhyDoc, by store.RunID, now *recorded) error {
	t, err := x.turned(doc.Stage, now.key, "")
	if err == nil && t.before == nil { // so long ago that the run which made it is nearer
		var then turn
		if then, err = x.turned(doc.Stage, now.key, by); then.before != nil && then.since == "" {
			t = turn{by, then.before}
		}
	}
	if err != nil {
		return fmt.Errorf("looking for what stage %q was before: %w", doc.Stage, err)
	}
	if t.before == nil || t.since != "" && by > t.since {
		return x.madeFor(doc)
	}
	doc.OldKey, doc.OldRun, doc.Since = t.before.key, t.before.run, t.since
	for _, r := range plan.Causes(plan.Diff(t.before.fields, now.fields), t.before.note, now.note) {
		doc.Changes = append(doc.Changes, x.change(r))
	}
	if now.run = t.since; now.run == "" || !slices.ContainsFunc(doc.Changes, func(c Change) bool { return now.note.Whence(c.Name).Produced() }) {
		return nil
	}
	return x.upstream(doc, t.before, now)
}

// madeFor gives the reason that was recorded when the result was made.
func (x *explainer) madeFor(doc *WhyDoc) error {
	sum, err := x.e.store.Summary(doc.MadeBy)
	if sum == nil || err != nil {
		return err
	}
	stages, err := x.e.store.TableStages(sum.Table)
	if i := slices.IndexFunc(stages, func(s store.StageResult) bool { return s.Name == doc.Stage }); i >= 0 {
		doc.MadeFor = stages[i].Reason
	}
	return err
}
