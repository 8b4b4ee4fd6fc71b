package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"plumb/engine/event"
	"plumb/engine/fetch"
	"plumb/engine/image"
	"plumb/engine/runtime"
	"plumb/hcl"
	"plumb/store"
)

// tryAll repeats the stage as its retry block allows.
func (r *run) tryAll(ctx context.Context, i int, release func()) (attempts []store.Attempt, rec *store.Record, err error) {
	s := r.s.planner.Stage(i)
	budget := newBudget(s.Retry)
	memory := s.Resources.Memory
	for number := 1; ; number++ {
		a, err := r.next(ctx, i, number, memory)
		if err != nil && ctx.Err() != nil {
			return attempts, nil, ctx.Err()
		}
		var at store.Attempt
		var fail *event.Failure
		if err != nil {
			at, fail = infraAttempt(r.e.cfg.Now(), err)
		} else {
			at, rec, fail = r.attempt(ctx, i, a, attempts, release)
		}
		if fail != nil {
			at.Error = r.masks.String(at.Error)
			r.hide(fail)
		}
		attempts = append(attempts, at)
		r.noteProgress(entry{Stage: s.Name, Attempt: &at})
		r.emit(event.Event{Type: event.AttemptDone, Stage: s.Name, Attempt: &at, Number: number})
		if fail == nil {
			return attempts, rec, nil
		}
		wait, again := budget.next(at)
		if a != nil && a.begun && !s.Idempotent {
			again = false
			r.explainEffect(i, fail)
		}
		if ctx.Err() != nil || !again || fail.Final || final(err) {
			fail.File, fail.Line = s.Range.File, s.Range.Start.Line
			return attempts, nil, &failedError{*fail}
		}
		if at.Class == store.ClassOOM && s.Retry.MemoryFactor > 1 {
			memory = int64(float64(memory) * s.Retry.MemoryFactor)
		}
		r.emit(event.Event{Type: event.Warning, Stage: s.Name, Message: fmt.Sprintf("stage %s: attempt %d ended with %s (%s), trying again", s.Name, number, at.Class, fail.Message)})
		if !sleep(ctx, wait) {
			return attempts, nil, ctx.Err()
		}
	}
}

// next gives the attempt that was made ready ahead, or makes one, when there is room on
// the disk for what it may write.
func (r *run) next(ctx context.Context, i, number int, memory int64) (*attempt, error) {
	a := r.takeReady(i)
	if err := r.e.roomToStart(ctx, func(low error) {
		name := r.s.planner.Stage(i).Name
		r.emit(event.Event{Type: event.Warning, Stage: name, Message: fmt.Sprintf("stage %s waits for other stages to give room back: %v", name, low)})
	}); err != nil {
		if a != nil {
			r.discard(a)
		}
		return nil, err
	}
	if a != nil {
		return a, nil
	}
	return r.create(ctx, i, number, memory)
}

// final says of an error before a stage began that another attempt will not mend it:
// an image that is not to be had, or is not what it should be.
func final(err error) bool {
	var known *Error
	var diags hcl.Diagnostics
	status := fetch.Status(err)
	return err != nil && (errors.As(err, &known) || errors.As(err, &diags) || errors.Is(err, runtime.ErrBadImage) || fetch.IsMismatch(err) || fetch.IsPermanent(err) && fetch.Status(err) == 0 ||
		status >= 400 && status < 500 && status != http.StatusTooManyRequests && status != http.StatusRequestTimeout)
}

func infraAttempt(now time.Time, err error) (store.Attempt, *event.Failure) {
	ee := AsError(err)
	return store.Attempt{Class: store.ClassInfra, Error: ee.Error(), Started: now.UTC(), PeakMemory: -1, ReadBytes: -1, WrittenBytes: -1},
		&event.Failure{Class: store.ClassInfra, Message: ee.Error(), Hint: cmp.Or(ee.Hint, image.Hint(err))}
}

func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// budget counts down how many more attempts each class of failure has.
type budget struct {
	left    map[store.Class]int
	codes   []int
	backoff time.Duration
}

func newBudget(r hcl.Retry) *budget {
	const byDefault = 3 // for what is nobody's fault
	b := &budget{codes: r.Codes, backoff: r.Backoff, left: map[store.Class]int{
		store.ClassExit: r.Exit, store.ClassOOM: r.OOM, store.ClassTimeout: r.Timeout,
		store.ClassPreempted: byDefault, store.ClassInfra: byDefault,
	}}
	if r.Preempted != nil {
		b.left[store.ClassPreempted] = *r.Preempted
	}
	if r.Infra != nil {
		b.left[store.ClassInfra] = *r.Infra
	}
	if b.backoff == 0 {
		b.backoff = 250 * time.Millisecond
	}
	return b
}

// next says whether there is another attempt, and after which pause: it doubles
// each time and is blurred by half, so that many who failed together do not come
// back together.
func (b *budget) next(at store.Attempt) (time.Duration, bool) {
	if b.left[at.Class] <= 0 {
		return 0, false
	}
	if at.Class == store.ClassExit && len(b.codes) > 0 {
		found := false
		for _, c := range b.codes {
			found = found || c == at.ExitCode
		}
		if !found {
			return 0, false
		}
	}
	b.left[at.Class]--
	wait := b.backoff/2 + rand.N(b.backoff)
	b.backoff = min(2*b.backoff, time.Minute)
	return wait, true
}
