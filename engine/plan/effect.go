package plan

import (
	"fmt"
	"time"

	"plumb/store"
)

// An effect succeeds at most once for a key, and what may have happened does not happen
// again unasked. What is known of it outlives records (see store.Effect):
//
//	never begun        like any stage
//	begun              refused: it may have happened
//	done               a hit for ever; refused when it is forced
//	done, bytes lost   a hit; refused when somebody needs them (need.go)
//
// With idempotent = true, or when the user allows the repetition, nothing is refused.

// refusal says why an effect is not executed, nil when it may be.
func refusal(rec Records, st stageFacts, k store.Key) (*Reason, error) {
	e, err := rec.Effect(k)
	if err != nil {
		return nil, fmt.Errorf("looking up the effect of stage %q: %w", st.name, err)
	}
	switch {
	case e != nil && e.Begun != nil:
		return &Reason{Kind: ReasonEffect, Name: string(e.Begun.Run), Detail: begunText(e.Begun)}, nil
	case !st.forced:
		return nil, nil
	case e != nil && e.Done != nil:
		return &Reason{Kind: ReasonEffect, Name: string(e.Done.Run), Detail: doneText(e.Done)}, nil
	}
	r, _, err := rec.Lookup(k) // made before it was said to have an effect
	if err != nil {
		return nil, fmt.Errorf("looking up stage %q: %w", st.name, err)
	}
	if r == nil {
		return nil, nil
	}
	return &Reason{Kind: ReasonEffect, Name: string(r.Run), Detail: doneText(r)}, nil
}

func begunText(b *store.Beginning) string {
	if b.Run == "" {
		return "its effect may have happened already: what is known of it is damaged"
	}
	return fmt.Sprintf("its effect may have happened already: attempt %d of run %s began at %s and has not succeeded",
		b.Attempt, b.Run, b.When.UTC().Format(time.RFC3339))
}

func doneText(r *store.Record) string {
	if r.Run == "" {
		return "its effect is done already"
	}
	return fmt.Sprintf("its effect is done already, by run %s", r.Run)
}
