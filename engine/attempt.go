package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"

	"plumb/engine/event"
	"plumb/engine/mask"
	"plumb/engine/plan"
	"plumb/engine/runtime"
	"plumb/engine/sched"
	"plumb/store"
)

// One stage is executed in attempts. An attempt starts from nothing, but for a
// checkpoint where it has one: an empty workspace, a fresh scratch layer. What it wrote
// becomes visible in one commit after its command succeeded and every declared output
// is there, or not at all:
//
//	Prepare: image ─▶ sandbox ─▶ container created     (ahead, while others run)
//	Run:     start ─▶ wait ─▶ capture ─▶ commit
//
// The container itself is deleted behind the scenes, since nothing waits for it.

// attempt is one try at a stage: a sandbox with a container in it.
type attempt struct {
	number    int
	memory    int64 // limit in bytes, 0 for none
	sandbox   *sandbox
	container runtime.Container
	log       *stageLog
	masked    *mask.Writer            // before log, nil when there is nothing to hide
	stamps    map[string]store.Digest // of inputs that are bound from the project, by path
	left      *checkpointOf           // who left something in its checkpoint, nil for an empty one
	begun     bool                    // its effect may have happened
}

// failedError ends a stage; its text is for the record, the failure for people.
type failedError struct{ failure event.Failure }

func (f *failedError) Error() string { return f.failure.Message }

// Prepare implements sched.Work: the first attempt's container is created.
func (r *run) Prepare(ctx context.Context, i int) error {
	if r.s.planner.Stage(i).Checkpoint != "" { // which may be another run's still: Run has the key's lock
		return nil
	}
	a, err := r.create(ctx, i, 1, r.s.planner.Stage(i).Resources.Memory)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		// Run tries again, as it does with what fails later.
		r.e.cfg.Logger.Info("a stage could not be made ready ahead", "stage", r.s.planner.Stage(i).Name, "error", err)
		return nil
	}
	r.mu.Lock()
	r.ready[i] = a
	r.mu.Unlock()
	return nil
}

// Drop implements sched.Work.
func (r *run) Drop(i int) {
	if a := r.takeReady(i); a != nil {
		r.discard(a)
	}
}

func (r *run) takeReady(i int) *attempt {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.ready[i]
	delete(r.ready, i)
	return a
}

// discard removes an attempt's container and place, behind the scenes.
func (r *run) discard(a *attempt) { r.discardAnd(a, nil) }

// discardAnd calls then when the container is gone and its place still there.
func (r *run) discardAnd(a *attempt, then func() error) {
	letGo := r.e.leavings.begin()
	r.e.background.Go(func() {
		ctx := context.Background()
		var err error
		if a.container != nil {
			err = a.container.Delete(ctx)
		}
		if then != nil {
			err = errors.Join(err, then())
		}
		a.sandbox.letGo()
		letGo()
		err = errors.Join(err, a.log.close(), a.sandbox.close())
		if err != nil && !errors.Is(err, context.Canceled) { // else the next owner goes on
			r.e.cfg.Logger.Warn("cleaning up after a stage", "error", err)
		}
	})
}

// leave removes an attempt's container and place. What it wrote stays when it failed,
// and when it did not, what an earlier one left goes.
func (r *run) leave(i int, a *attempt, fail *event.Failure) {
	s, d := r.s.planner.Stage(i), r.s.planner.Decision(i)
	f := failedAttempt{Project: r.req.Project.Dir, Stage: s.Name, Key: d.Key, Run: r.id, Number: a.number, When: r.e.cfg.Now().UTC()}
	name := f.name()
	r.e.failures.begin(name)
	r.discardAnd(a, func() error {
		defer r.e.failures.end(name)
		if fail == nil {
			return r.e.dropFailed(f)
		}
		f.Class = fail.Class
		return r.e.keepFailed(a.sandbox, f)
	})
}

func (r *run) create(ctx context.Context, i, number int, memory int64) (_ *attempt, err error) {
	s := r.s.planner.Stage(i)
	rt, err := r.e.runtimeOf(ctx, r.req.Place)
	if err != nil {
		return nil, err
	}
	img := r.s.images[s.Image]
	if err := r.e.present(ctx, rt, &img); err != nil {
		return nil, err
	}
	a := &attempt{number: number, memory: memory}
	if a.sandbox, err = r.e.furnish(ctx, s, r.req.Project.Dir, r.s.planner.Inputs(i), ""); err != nil {
		return nil, err
	}
	if a.left, err = r.mountCheckpoint(ctx, i, a); err != nil {
		return nil, errors.Join(err, a.sandbox.close())
	}
	if a.stamps, err = r.stamp(ctx, i); err != nil {
		return nil, errors.Join(err, a.sandbox.close())
	}
	if a.log, err = newStageLog(filepath.Join(a.sandbox.dir, "log"), r.lineTeller(s.Name)); err != nil {
		return nil, errors.Join(err, a.sandbox.close())
	}
	var printed io.Writer = a.log
	if r.masks != nil {
		a.masked = r.masks.Writer(a.log)
		printed = a.masked
	}
	secrets, err := r.secrets(i)
	if err != nil {
		return nil, errors.Join(err, a.log.close(), a.sandbox.close())
	}
	devices, err := r.devices(i)
	if err != nil {
		return nil, errors.Join(err, a.log.close(), a.sandbox.close())
	}
	d := r.s.planner.Decision(i)
	a.container, err = rt.Create(ctx, runtime.Spec{
		ID:    "r" + strings.ReplaceAll(string(r.id), "-", "") + "-" + strconv.Itoa(i) + "-" + strconv.Itoa(number),
		Image: img.digest.String(), Args: r.s.planner.Command(i), Env: environment(r.s.planner.Env(i), s.Seed, d.Key, number),
		Dir: workspace, Home: home, Mounts: a.sandbox.mounts, Secrets: secrets, Log: printed, Network: s.Network,
		Memory: memory, CPU: s.Resources.CPU, Pids: s.Resources.Pids, Hostname: hostname, Devices: devices,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("creating the container of stage %q: %w", s.Name, err), a.log.close(), a.sandbox.close())
	}
	if noted, ok := a.container.(runtime.Noted); ok {
		r.note(noted.Note())
	}
	return a, nil
}

// note warns once of what many containers have in common.
func (r *run) note(text string) {
	r.mu.Lock()
	told := text == "" || r.noted[text]
	if !told {
		if r.noted == nil {
			r.noted = map[string]bool{}
		}
		r.noted[text] = true
	}
	r.mu.Unlock()
	if !told {
		r.emit(event.Event{Type: event.Warning, Message: text})
	}
}

// lineTeller passes printed lines on as events.
func (r *run) lineTeller(stage string) func(string) {
	return func(line string) { r.emit(event.Event{Type: event.StageLog, Stage: stage, Line: line}) }
}

// Run implements sched.Work.
func (r *run) Run(ctx context.Context, i int, release func()) error {
	d := r.s.planner.Decision(i)
	if err := r.e.keys.lock(ctx, d.Key); err != nil {
		r.Drop(i)
		return err
	}
	defer r.e.keys.unlock(d.Key)
	if err := r.decideAgain(i, d); err != nil { // another run may have made it since the decision
		r.Drop(i)
		return err
	}
	if r.s.planner.Stage(i).Checkpoint != "" {
		defer r.e.checkpoints.hold(d.Key)()
	}
	former := r.s.planner.Made(i)
	defer r.e.store.LeaseBlobs(r.kept(i)...)()
	started := r.e.cfg.Now()
	attempts, rec, err := r.tryAll(ctx, i, release)
	r.mu.Lock()
	r.results[i].Attempts = attempts
	r.results[i].Seconds = r.e.cfg.Now().Sub(started).Seconds()
	r.mu.Unlock()
	if err != nil {
		return r.failed(ctx, i, attempts, err)
	}
	r.s.planner.Complete(i, rec)
	r.compare(i, former, rec)
	return nil
}

// decideAgain looks, under the key's lock, whether stage i is still to be executed.
func (r *run) decideAgain(i int, d plan.Decision) error {
	if r.s.planner.Stage(i).Effect {
		d, err := r.s.planner.Consider(i)
		switch {
		case err != nil:
			return undecided(err)
		case d.Verdict == plan.Refused:
			return r.refused(i, d)
		case d.Verdict == plan.Hit:
			return sched.ErrHit
		}
		return nil
	}
	if r.forced(d) {
		return nil
	}
	rec, miss, err := r.e.store.Lookup(d.Key)
	if err != nil || miss != nil || r.s.planner.Needed(i, rec) {
		return err
	}
	r.s.planner.Hit(i, rec)
	return sched.ErrHit
}

func (r *run) forced(d plan.Decision) bool {
	return len(d.Reasons) > 0 && (d.Reasons[0].Kind == plan.ReasonForced || d.Reasons[0].Kind == plan.ReasonNetwork)
}

// failed records the failure, so that the next plan can say it.
func (r *run) failed(ctx context.Context, i int, attempts []store.Attempt, err error) error {
	d := r.s.planner.Decision(i)
	name := r.s.planner.Stage(i).Name
	var fe *failedError
	if errors.As(err, &fe) {
		r.mu.Lock()
		r.fails[i] = &fe.failure
		r.mu.Unlock()
	}
	f := &store.Failure{Key: d.Key, Action: d.Action, Note: r.s.planner.Note(i).Encode(), Run: r.id, Stage: name, When: r.e.cfg.Now().UTC(), Attempts: attempts}
	if ctx.Err() != nil {
		if len(attempts) > 0 {
			if kerr := r.e.keepUnfinished(f); kerr != nil {
				r.e.cfg.Logger.Warn("a stage was canceled", "run", r.id, "error", kerr)
			}
		}
		return err
	}
	perr := r.e.roomSoon(ctx)
	if perr == nil {
		b := r.e.store.NewBatch()
		b.PutFailure(f)
		b.History(r.req.Project.Dir, name, d.Key)
		perr = errors.Join(r.e.store.Commit(context.WithoutCancel(ctx), b), b.Close())
	}
	if perr != nil {
		return errors.Join(err, fmt.Errorf("recording the failure of stage %q: %w", name, perr))
	}
	return err
}

// attempt runs a created container to its end and, when the command succeeded,
// captures and commits.
func (r *run) attempt(ctx context.Context, i int, a *attempt, before []store.Attempt, release func()) (_ store.Attempt, _ *store.Record, fail *event.Failure) {
	defer func() { r.leave(i, a, fail) }()
	s := r.s.planner.Stage(i)
	segment := r.live.segment(s.Name, a.number, a.log)
	at := store.Attempt{Started: r.e.cfg.Now().UTC(), MemoryLimit: a.memory, Resumed: a.left != nil}
	r.noteAttempt(i, a, at)
	r.e.running.Add(1)
	defer r.e.running.Add(-1)
	var exit runtime.Exit
	var timedOut bool
	err := r.beginEffect(ctx, i, a)
	if err == nil {
		r.tellResumed(s.Name, a)
		exit, timedOut, err = r.watch(ctx, s, a)
	}
	at.Seconds = r.e.cfg.Now().Sub(at.Started).Seconds()
	at.CPUSeconds, at.PeakMemory = exit.Usage.CPU.Seconds(), exit.Usage.Memory
	at.ReadBytes, at.WrittenBytes = exit.Usage.Read, exit.Usage.Written
	fail = r.classify(ctx, s, &at, exit, timedOut, err)
	if fail == nil {
		release()
	}
	if lerr := r.keepLog(ctx, a, &at); lerr != nil {
		if fail == nil {
			fail = &event.Failure{Class: store.ClassInfra, Message: lerr.Error()}
		} else {
			r.emit(event.Event{Type: event.Warning, Stage: s.Name, Message: fmt.Sprintf("stage %s: %v", s.Name, lerr)})
		}
	}
	segment.finished(at.Log)
	var rec *store.Record
	if fail == nil {
		rec, fail = r.capture(ctx, i, a, append(before, at))
	}
	if s.Checkpoint != "" {
		r.leaveCheckpoint(i, a, fail)
	}
	if fail != nil {
		at.Class, at.Error = fail.Class, fail.Message
		fail.Tail = a.log.tail()
	}
	return at, rec, fail
}

// keepLog moves what was printed into the store.
func (r *run) keepLog(ctx context.Context, a *attempt, at *store.Attempt) error {
	if a.masked != nil {
		if err := a.masked.Flush(); err != nil {
			return fmt.Errorf("keeping the log: %w", err)
		}
	}
	f, n, err := a.log.finish()
	if err != nil {
		return fmt.Errorf("keeping the log: %w", err)
	}
	if n == 0 {
		return nil
	}
	at.LogBytes = n
	if err := r.e.room(); err != nil {
		return err
	}
	// Also of a run that is being canceled.
	if at.Log, err = r.e.store.PutLog(context.WithoutCancel(ctx), f); err != nil {
		return fmt.Errorf("keeping the log: %w", err)
	}
	r.hold(r.e.store.LeaseBlobs(store.Artifact{Kind: store.KindFile, Digest: at.Log}))
	return nil
}
