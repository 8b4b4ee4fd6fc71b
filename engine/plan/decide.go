package plan

import (
	"cmp"
	"fmt"
	"time"

	"plumb/store"
)

// Verdict is what is to be done about a stage.
type Verdict string

// The verdicts. Skip is a stage whose condition is false, or that reads from one.
// Refused is an effect that may have happened, or did, and that nobody allowed to be
// repeated.
const (
	Hit     Verdict = "hit"
	Execute Verdict = "run"
	Pending Verdict = "pending"
	Skip    Verdict = "skip"
	Refused Verdict = "refused"
)

// Decision is the verdict on a stage with its reasons, the weightiest first.
// Record is set for a hit; Key and Action are zero while they are not known.
type Decision struct {
	Verdict Verdict
	Key     store.Key
	Action  []byte
	Record  *store.Record
	Reasons []Reason
}

// Records is what a decision needs to know of earlier results.
type Records interface {
	// Lookup finds the usable record of a key, or says what kind of miss it is.
	Lookup(store.Key) (*store.Record, *store.Miss, error)
	// Intact reports whether the bytes of a record that Lookup gave before are
	// still there.
	Intact(*store.Record) bool
	// Failure is the last failure of this very action, nil when there was none.
	Failure(store.Key) (*store.Failure, error)
	// Effect is what is known of the effect of this very action, nil when it never began.
	Effect(store.Key) (*store.Effect, error)
	// Last is the action that the stage had in the newest run of this project that
	// came to it, whether that executed it or not, and of which the action is kept;
	// nil when there is none.
	Last(stage string) (*Earlier, error)
	// Earlier gives the stage's actions that were last tried in this project,
	// newest first.
	Earlier(stage string) ([]Earlier, error)
}

// Earlier is an action a stage had before. Action is nil when it is not kept any
// more. Run is the run that had it, where it was found by one.
type Earlier struct {
	Key    store.Key
	Action []byte
	Note   Note
	Run    store.RunID
}

// decide is the one place that says whether an action must be executed; planning
// and running both come here. Whichever branch says "run" says why.
func decide(rec Records, st stageFacts, enc []byte) (Decision, error) {
	d := Decision{Verdict: Execute, Action: enc, Key: KeyOf(enc)}
	if st.effect && !st.repeatable {
		why, err := refusal(rec, st, d.Key)
		if err != nil {
			return d, err
		}
		if why != nil {
			d.Verdict, d.Reasons = Refused, []Reason{*why}
			return d, nil
		}
	}
	if st.forced {
		d.Reasons = []Reason{{Kind: ReasonForced, Detail: "forced"}}
		return d, nil
	}
	if st.uncached {
		d.Reasons = []Reason{{Kind: ReasonNetwork, Detail: st.whyUncached}}
		return d, nil
	}
	r, miss, err := rec.Lookup(d.Key)
	if err != nil {
		return d, fmt.Errorf("looking up stage %q: %w", st.name, err)
	}
	if miss == nil {
		d.Verdict, d.Record = Hit, r
		d.Reasons = noReason
		return d, nil
	}
	d.Reasons, err = explainMiss(rec, st, d, miss)
	return d, err
}

func explainMiss(rec Records, st stageFacts, d Decision, miss *store.Miss) ([]Reason, error) {
	switch miss.Kind {
	case store.MissEvicted:
		return []Reason{{Kind: ReasonEvicted, Detail: evictedText(miss.Tombstone)}}, nil
	case store.MissDamaged:
		return []Reason{{Kind: ReasonDamaged, Detail: "its result is damaged: " + miss.Detail}}, nil
	}
	failure, err := rec.Failure(d.Key)
	if err != nil {
		return nil, fmt.Errorf("looking up failures of stage %q: %w", st.name, err)
	}
	if failure != nil {
		return []Reason{{Kind: ReasonFailed, Name: string(failure.Run), Detail: failedText(failure)}}, nil
	}
	fields, err := Decode(d.Action)
	if err != nil {
		return nil, fmt.Errorf("reading the action of stage %q: %w", st.name, err)
	}
	before, reasons, err := Compared(rec, st.name, fields, st.note)
	switch {
	case err != nil:
		return nil, err
	case reasons != nil:
		return reasons, nil
	case before != nil:
		return []Reason{{Kind: ReasonEvicted, Detail: "what it did before was removed by gc"}}, nil
	}
	return []Reason{{Kind: ReasonNew}}, nil
}

// Compared finds the earlier action that a stage is compared with, and says what
// differs from it. What somebody changed is what differs from the last run, so that is
// taken, also when a result of long ago is nearer; the nearest of the others only where
// nothing is kept of the last run. There are no reasons when nothing is kept at all; the
// action is nil then when there was none.
func Compared(rec Records, stage string, fields []Field, note Note) (*Earlier, []Reason, error) {
	last, err := rec.Last(stage)
	if err != nil {
		return nil, nil, fmt.Errorf("looking up the last run of stage %q: %w", stage, err)
	}
	if last != nil {
		if before, reasons := nearest([]Earlier{*last}, fields, note); before != nil {
			return before, reasons, nil
		}
	}
	earlier, err := rec.Earlier(stage)
	if err != nil {
		return nil, nil, fmt.Errorf("looking up earlier runs of stage %q: %w", stage, err)
	}
	before, reasons := nearest(earlier, fields, note)
	if before == nil && len(earlier) > 0 {
		before = &earlier[0]
	}
	return before, reasons, nil
}

// nearest finds the earlier action with the fewest differences, the newest of
// equals, and says what differs. Actions of another format are passed over.
func nearest(earlier []Earlier, fields []Field, note Note) (*Earlier, []Reason) {
	var best *Earlier
	var reasons []Reason
	for i := range earlier {
		old, err := Decode(earlier[i].Action)
		if err != nil {
			continue
		}
		diff := Causes(Diff(old, fields), earlier[i].Note, note)
		if len(diff) > 0 && (best == nil || len(diff) < len(reasons)) {
			best, reasons = &earlier[i], diff
		}
	}
	return best, reasons
}

func evictedText(t *store.Tombstone) string {
	if t == nil {
		return "its result was removed by gc"
	}
	return fmt.Sprintf("its result was removed by %s on %s (%s)", cmp.Or(t.By, "gc"), t.When.UTC().Format(time.DateOnly), t.Rule)
}

func failedText(f *store.Failure) string {
	how := "failed before"
	if n := len(f.Attempts); n > 0 {
		switch a := f.Attempts[n-1]; a.Class {
		case store.ClassExit:
			how = fmt.Sprintf("failed before with exit status %d", a.ExitCode)
		default:
			how = fmt.Sprintf("failed before (%s)", a.Class)
		}
	}
	return fmt.Sprintf("%s in run %s", how, f.Run)
}
