package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"plumb/engine/event"
	"plumb/engine/plan"
	"plumb/engine/runtime"
	"plumb/engine/sched"
	"plumb/hcl"
	"plumb/store"
	"plumb/store/tree"
)

// One stage is executed in attempts. An attempt starts from nothing: an empty
// workspace, a fresh scratch layer. What it wrote becomes visible in one commit
// after its command succeeded and every declared output is there, or not at all:
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
}

// failedError ends a stage; its text is for the record, the failure for people.
type failedError struct{ failure event.Failure }

func (f *failedError) Error() string { return f.failure.Message }

// Prepare implements sched.Work: the first attempt's container is created.
func (r *run) Prepare(ctx context.Context, i int) error {
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
func (r *run) discard(a *attempt) {
	r.e.background.Go(func() {
		ctx := context.Background()
		var err error
		if a.container != nil {
			err = a.container.Delete(ctx)
		}
		err = errors.Join(err, a.log.close(), a.sandbox.close())
		if err != nil {
			r.e.cfg.Logger.Warn("cleaning up after a stage", "error", err)
		}
	})
}

func (r *run) create(ctx context.Context, i, number int, memory int64) (_ *attempt, err error) {
	s := r.s.planner.Stage(i)
	rt, err := r.e.runtime.get(ctx, r.e.cfg.NewRuntime)
	if err != nil {
		return nil, err
	}
	img := r.s.images[s.Image]
	if err := rt.Prepare(ctx, img.source); err != nil {
		return nil, fmt.Errorf("preparing image %q: %w", s.Image, err)
	}
	a := &attempt{number: number, memory: memory}
	if a.sandbox, err = r.e.furnish(ctx, s, r.req.Project.Dir, r.s.planner.Inputs(i)); err != nil {
		return nil, err
	}
	if a.log, err = newStageLog(filepath.Join(a.sandbox.dir, "log"), r.lineTeller(s.Name)); err != nil {
		return nil, errors.Join(err, a.sandbox.close())
	}
	d := r.s.planner.Decision(i)
	a.container, err = rt.Create(ctx, runtime.Spec{
		ID:    "r" + strings.ReplaceAll(string(r.id), "-", "") + "-" + strconv.Itoa(i) + "-" + strconv.Itoa(number),
		Image: img.digest.String(), Args: r.s.planner.Command(i), Env: environment(r.s.planner.Env(i), s.Seed, d.Key, number),
		Dir: workspace, Home: home, Mounts: a.sandbox.mounts, Log: a.log, Network: s.Network,
		Memory: memory, CPU: s.Resources.CPU, Pids: s.Resources.Pids, Hostname: hostname,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("creating the container of stage %q: %w", s.Name, err), a.log.close(), a.sandbox.close())
	}
	return a, nil
}

// lineTeller passes printed lines on as events. When more come than anybody could
// read, most are left out of the events; the log has them all.
func (r *run) lineTeller(stage string) func(string) {
	const perSecond = 2000
	var second int64
	var count int
	return func(line string) {
		if now := time.Now().Unix(); now != second {
			second, count = now, 0
		}
		if count++; count <= perSecond {
			r.emit(event.Event{Type: event.StageLog, Stage: stage, Line: line})
		}
	}
}

// Run implements sched.Work.
func (r *run) Run(ctx context.Context, i int, release func()) error {
	d := r.s.planner.Decision(i)
	if err := r.e.keys.lock(ctx, d.Key); err != nil {
		r.Drop(i)
		return err
	}
	defer r.e.keys.unlock(d.Key)
	if !r.forced(d) { // another run may have made it since the decision
		rec, miss, err := r.e.store.Lookup(d.Key)
		if err != nil {
			return err
		}
		if miss == nil {
			r.Drop(i)
			r.s.planner.Hit(i, rec)
			return sched.ErrHit
		}
	}
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
	return nil
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
	if ctx.Err() != nil {
		return err
	}
	f := &store.Failure{Key: d.Key, Action: d.Action, Note: r.s.planner.Note(i).Encode(), Run: r.id, Stage: name, When: r.e.cfg.Now().UTC(), Attempts: attempts}
	perr := r.e.roomSoon(ctx)
	if perr == nil {
		perr = r.e.store.PutFailure(f)
	}
	if perr != nil {
		return errors.Join(err, fmt.Errorf("recording the failure of stage %q: %w", name, perr))
	}
	return err
}

// tryAll repeats the stage as its retry block allows.
func (r *run) tryAll(ctx context.Context, i int, release func()) (attempts []store.Attempt, rec *store.Record, err error) {
	s := r.s.planner.Stage(i)
	budget := newBudget(s.Retry)
	memory := s.Resources.Memory
	for number := 1; ; number++ {
		a := r.takeReady(i)
		if a == nil {
			if a, err = r.create(ctx, i, number, memory); err != nil && ctx.Err() != nil {
				return attempts, nil, ctx.Err()
			}
		}
		var at store.Attempt
		var fail *event.Failure
		if err != nil {
			at, fail = infraAttempt(r.e.cfg.Now(), err)
		} else {
			at, rec, fail = r.attempt(ctx, i, a, attempts, release)
		}
		attempts = append(attempts, at)
		r.emit(event.Event{Type: event.AttemptDone, Stage: s.Name, Attempt: &at, Number: number})
		if fail == nil {
			return attempts, rec, nil
		}
		wait, again := budget.next(at)
		if ctx.Err() != nil || !again {
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
		err = nil
	}
}

func infraAttempt(now time.Time, err error) (store.Attempt, *event.Failure) {
	ee := AsError(err)
	return store.Attempt{Class: store.ClassInfra, Error: ee.Error(), Started: now.UTC(), PeakMemory: -1, ReadBytes: -1, WrittenBytes: -1},
		&event.Failure{Class: store.ClassInfra, Message: ee.Error(), Hint: ee.Hint}
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
		store.ClassPreempted: byDefault, store.ClassInfra: byDefault, store.ClassVoid: byDefault,
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

// attempt runs a created container to its end and, when the command succeeded,
// captures and commits.
func (r *run) attempt(ctx context.Context, i int, a *attempt, before []store.Attempt, release func()) (store.Attempt, *store.Record, *event.Failure) {
	defer r.discard(a)
	s := r.s.planner.Stage(i)
	segment := r.live.segment(s.Name, a.number, a.log)
	at := store.Attempt{Started: r.e.cfg.Now().UTC(), MemoryLimit: a.memory}
	exit, timedOut, err := r.watch(ctx, s, a)
	at.Seconds = r.e.cfg.Now().Sub(at.Started).Seconds()
	at.CPUSeconds, at.PeakMemory = exit.Usage.CPU.Seconds(), exit.Usage.Memory
	at.ReadBytes, at.WrittenBytes = exit.Usage.Read, exit.Usage.Written
	fail := r.classify(ctx, s, &at, exit, timedOut, err)
	if fail == nil {
		release()
	}
	if lerr := r.keepLog(ctx, a, &at); lerr != nil && fail == nil {
		fail = &event.Failure{Class: store.ClassInfra, Message: lerr.Error()}
	}
	segment.finished(at.Log)
	var rec *store.Record
	if fail == nil {
		rec, fail = r.capture(ctx, i, a, append(before, at))
	}
	if fail != nil {
		at.Class, at.Error = fail.Class, fail.Message
		fail.Tail = a.log.tail()
	}
	return at, rec, fail
}

// watch starts the container and waits for its end. It ends it itself when time
// is up or the run is canceled: SIGTERM, the grace, SIGKILL.
func (r *run) watch(ctx context.Context, s *hcl.Stage, a *attempt) (exit runtime.Exit, timedOut bool, err error) {
	if err := a.container.Start(ctx); err != nil {
		return exit, false, fmt.Errorf("starting the container: %w", err)
	}
	type result struct {
		exit runtime.Exit
		err  error
	}
	ended := make(chan result, 1)
	go func() {
		x, err := a.container.Wait(context.WithoutCancel(ctx))
		ended <- result{x, err}
	}()
	var deadline, kill <-chan time.Time
	if s.Timeout > 0 {
		deadline = time.After(s.Timeout)
	}
	usage := time.NewTicker(time.Second)
	defer usage.Stop()
	end := func(sig syscall.Signal, all bool) {
		if kerr := a.container.Kill(context.WithoutCancel(ctx), int(sig), all); kerr != nil {
			r.e.cfg.Logger.Info("signalling a stage", "stage", s.Name, "signal", sig, "error", kerr)
		}
	}
	done := ctx.Done()
	for {
		select {
		case res := <-ended:
			return res.exit, timedOut, res.err
		case <-deadline:
			timedOut, deadline = true, nil
			end(syscall.SIGTERM, true)
			kill = time.After(s.Grace)
		case <-done:
			done = nil
			end(syscall.SIGTERM, true)
			kill = time.After(s.Grace)
		case <-kill:
			end(syscall.SIGKILL, true)
		case <-usage.C:
			if u, err := a.container.Usage(ctx); err == nil {
				r.emit(event.Event{Type: event.StageUsage, Stage: s.Name, Memory: u.Memory})
			}
		}
	}
}

// classify says of which class an attempt was; nil for one that succeeded so far.
func (r *run) classify(ctx context.Context, s *hcl.Stage, at *store.Attempt, exit runtime.Exit, timedOut bool, err error) *event.Failure {
	at.ExitCode = exit.Code
	if exit.Signal != 0 {
		at.Signal = signalName(exit.Signal)
	}
	f := &event.Failure{ExitCode: exit.Code}
	switch {
	case err != nil:
		f.Class, f.Message = store.ClassInfra, err.Error()
	case ctx.Err() != nil:
		f.Class, f.Message = store.ClassCanceled, "the run was canceled"
	case exit.OOM:
		f.Class, f.Message = store.ClassOOM, fmt.Sprintf("out of memory: the limit was %s", sizeText(at.MemoryLimit))
		f.Hint = "raise resources { memory = … }, or let retry { oom = 2, memory_factor = 1.5 } do it"
	case timedOut:
		f.Class, f.Message = store.ClassTimeout, fmt.Sprintf("not done after its timeout of %s", s.Timeout)
		f.Hint = "raise timeout, or let retry { timeout = 1 } try again"
	case exit.Signal == int(syscall.SIGTERM) || exit.Signal == int(syscall.SIGKILL) || exit.Signal == int(syscall.SIGINT) || exit.Signal == int(syscall.SIGHUP):
		f.Class, f.Message = store.ClassPreempted, "ended from outside by "+at.Signal
	case exit.Signal != 0:
		f.Class, f.Message = store.ClassExit, "its command was ended by "+at.Signal
	case exit.Code != 0:
		f.Class, f.Message = store.ClassExit, fmt.Sprintf("its command ended with exit status %d", exit.Code)
		if exit.Code == 127 {
			f.Hint = "127 means that a program was not found; is it in the image?"
		}
	default:
		at.Class = store.ClassOK
		return nil
	}
	return f
}

func sizeText(n int64) string {
	if n <= 0 {
		return "the machine's memory"
	}
	return strconv.FormatInt(n>>20, 10) + " MiB"
}

// keepLog moves what was printed into the store.
func (r *run) keepLog(ctx context.Context, a *attempt, at *store.Attempt) error {
	f, n, err := a.log.finish()
	if err != nil {
		return fmt.Errorf("keeping the log: %w", err)
	}
	if n == 0 {
		return nil
	}
	at.LogBytes = n
	if at.Log, err = r.e.store.PutLog(ctx, f); err != nil {
		return fmt.Errorf("keeping the log: %w", err)
	}
	return nil
}

// capture takes over the outputs, and makes record, history and small blobs
// visible in one commit.
func (r *run) capture(ctx context.Context, i int, a *attempt, attempts []store.Attempt) (*store.Record, *event.Failure) {
	s := r.s.planner.Stage(i)
	d := r.s.planner.Decision(i)
	b := r.e.store.NewBatch()
	defer b.Close()
	rec := &store.Record{Key: d.Key, Action: d.Action, Note: r.s.planner.Note(i).Encode(), Run: r.id, Stage: s.Name, Created: r.e.cfg.Now().UTC(), Attempts: attempts}
	for _, o := range s.Outputs {
		art, err := tree.Capture(ctx, r.e.store, b, a.sandbox.work, o.Path)
		if err == nil && o.Dir && art.Kind != store.KindTree {
			err = errors.New("it was declared as a directory and is a file")
		}
		if err != nil {
			return nil, outputFailure(s, a, fmt.Sprintf("output %q", o.Name), o.Path, err)
		}
		rec.Outputs = append(rec.Outputs, store.Output{Name: o.Name, Path: o.Path, Artifact: art})
	}
	if fail := r.captureMetrics(ctx, s, a, b, rec); fail != nil {
		return nil, fail
	}
	if err := r.unmoved(ctx, i); err != nil {
		return nil, &event.Failure{Class: store.ClassVoid, Message: err.Error()}
	}
	rec.Inputs = r.kept(i)
	b.PutRecord(rec)
	b.History(r.req.Project.Dir, s.Name, d.Key)
	r.e.commits.Add(1)
	err := r.e.room()
	if err == nil {
		err = r.e.store.Commit(ctx, b)
	}
	if err != nil {
		return nil, &event.Failure{Class: store.ClassInfra, Message: fmt.Sprintf("recording the result: %v", err)}
	}
	return rec, nil
}

// kept lists what stage i reads from the store: it stays there with the result, so
// that what differs from a later run can be shown.
func (r *run) kept(i int) []store.Artifact {
	var out []store.Artifact
	for _, in := range r.s.planner.Inputs(i) {
		if !in.Discard {
			out = append(out, in.Artifact)
		}
	}
	return out
}

// unmoved checks the inputs that were bound from the project and not kept.
func (r *run) unmoved(ctx context.Context, i int) error {
	for _, in := range r.s.planner.Inputs(i) {
		if !in.Discard {
			continue
		}
		now, err := r.s.scanner.Scan(ctx, in.Project)
		if err != nil {
			return fmt.Errorf("looking again at %q: %w", in.Project, err)
		}
		if now.Digest != in.Digest || now.Exec != in.Exec || now.Kind != in.Kind {
			return fmt.Errorf("%q changed while the stage read it, and it is not kept (keep = false): the attempt is void", in.Project)
		}
	}
	return nil
}

// metricsOutput is the name under which a metrics file is kept that is no
// declared output.
const metricsOutput = ".metrics"

func (r *run) captureMetrics(ctx context.Context, s *hcl.Stage, a *attempt, b *store.Batch, rec *store.Record) *event.Failure {
	if s.Metrics == "" {
		return nil
	}
	var art store.Artifact
	for _, o := range rec.Outputs {
		if o.Path == s.Metrics {
			art = o.Artifact
		}
	}
	if art.Digest.IsZero() {
		var err error
		if art, err = tree.Capture(ctx, r.e.store, b, a.sandbox.work, s.Metrics); err != nil {
			return outputFailure(s, a, "the metrics file", s.Metrics, err)
		}
		rec.Outputs = append(rec.Outputs, store.Output{Name: metricsOutput, Path: s.Metrics, Artifact: art})
	}
	const most = 16 << 20
	data, err := b.ReadBlob(art.Digest, most)
	if err == nil {
		rec.Metrics, err = parseMetrics(data)
	}
	if err != nil {
		return &event.Failure{Class: store.ClassOutput, Message: fmt.Sprintf("the metrics file %q: %v", s.Metrics, err), Hint: `it must be JSON with numbers, like {"accuracy": 0.97}`}
	}
	return nil
}

// parseMetrics reads flat or nested numbers; nested names are joined by dots. What
// is no number is left out.
func parseMetrics(data []byte) (map[string]float64, error) {
	var v map[string]any
	if err := json.Unmarshal(data, &v); err != nil {
		return nil, fmt.Errorf("reading it as JSON: %w", err)
	}
	out := map[string]float64{}
	var walk func(prefix string, v any)
	walk = func(prefix string, v any) {
		switch v := v.(type) {
		case float64:
			out[prefix] = v
		case map[string]any:
			for k, e := range v {
				walk(strings.TrimPrefix(prefix+"."+k, "."), e)
			}
		}
	}
	walk("", v)
	if len(out) == 0 {
		return nil, errors.New("there is no number in it")
	}
	return out, nil
}

// outputFailure explains a missing output by what was written instead.
func outputFailure(s *hcl.Stage, a *attempt, what, path string, err error) *event.Failure {
	f := &event.Failure{Class: store.ClassOutput, Message: fmt.Sprintf("%s (%q): %v", what, path, err)}
	if !errors.Is(err, os.ErrNotExist) {
		f.Hint = "an output is a file, or a directory of files, directories and links that stay in it"
		return f
	}
	f.Message = fmt.Sprintf("%s was not written: %q is not there", what, path)
	if names := leftIn(a.sandbox, written(s)); len(names) > 0 {
		f.Hint = "it wrote instead: " + strings.Join(names, ", ")
	} else {
		f.Hint = "it wrote nothing else in its workspace"
	}
	return f
}

// leftIn lists what a stage wrote besides what it declares, at most a screenful.
func leftIn(sb *sandbox, declared []string) []string {
	const most = 20
	var names []string
	err := filepath.WalkDir(sb.work, func(p string, d os.DirEntry, err error) error {
		if err != nil {
			return filepath.SkipDir
		}
		rel, err := filepath.Rel(sb.work, p)
		if err != nil || rel == "." {
			return err
		}
		if sb.points[filepath.ToSlash(rel)] {
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		if slices.Contains(declared, filepath.ToSlash(rel)) {
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		if d.IsDir() {
			return nil
		}
		if len(names) == most {
			names = append(names, "…")
			return filepath.SkipAll
		}
		names = append(names, filepath.ToSlash(rel))
		return nil
	})
	if err != nil {
		return append(names, "…")
	}
	return names
}
