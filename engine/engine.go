// Package engine brings stages up to date.
//
// It is the façade over the rooms below: hcl reads the files, plan decides, sched
// says when, a runtime runs, store keeps. Data goes forward once:
//
//	load.go      files ─▶ Pipeline, kept by the content of the files
//	pins.go      images and sources from outside ─▶ digests, from the lock, the disk or a registry;
//	             outside.go says how that is reached, remote.go brings data, debian.go makes images
//	             of packages, lock.go writes the lock
//	session.go   Pipeline + digests + project ─▶ Planner: what Plan, Why and Run share
//	run.go       Planner ─▶ sched; journal.go notes, result.go records, summary.go tells, export.go exports
//	attempt.go   one stage: sandbox.go, watch.go, capture.go, and again by retry.go;
//	             secrets.go says what of it nobody else may see; checkpoint.go what the next one finds,
//	             effect.go when there must be no next one, unkept.go what of its result goes again
//	             files.go and places.go say of what the run was made, so that it can be made again
//	history.go   what is recorded: Runs, Show; logs.go, why.go, get.go likewise;
//	             inspect.go looks into images
//	lineage.go   what came of what, and what of it; restore.go brings a run's project back
//	diff.go      what differs between two runs: package compare finds causes, diffopen.go lays them
//	             open for it and for why, diffdata.go tables, diffimage.go images; diffconfig.go says
//	             what of the files is in no key, difftold.go what is told twice
//
// An Engine is the only user of a store and of a runtime. In production it lives in
// the agent; tests and reading commands use it in their own process.
package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	goruntime "runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"plumb/engine/origin"
	"plumb/engine/plan"
	"plumb/engine/runtime"
	"plumb/engine/sched"
	"plumb/store"
	"plumb/store/tree"
)

// Config says what an Engine works with. NewRuntime is called when the first
// container is needed.
type Config struct {
	Dir        string // the store
	ReadOnly   bool   // change no byte of it; Run and GC then fail
	Version    string
	PID        int // as others see this process, 0 for its own word
	Logger     *slog.Logger
	Now        func() time.Time
	CDI        []string // directories of the files that describe devices, nil for the usual
	NewRuntime func(ctx context.Context, at Place) (runtime.Runtime, error)
}

// Engine implements API.
type Engine struct {
	cfg   Config
	store *store.Store

	pipelines   pipelines
	concealer   plan.Concealer
	scanners    scanners
	runtimes    runtimes
	keys        keyLocks
	failures    failures
	checkpoints checkpoints
	live        liveRuns
	background  sync.WaitGroup  // containers being deleted, caches being saved
	removing    context.Context // of places of stages; ends a while after Close began
	endRemoval  context.CancelFunc
	builds      turns // images being made, by manifest
	nextBuild   atomic.Int64
	commits     atomic.Int64 // records written so far: what a plan remembered may be out of date
	sweeps      atomic.Int64 // collections so far: what was in the store may be gone
	drops       drops
	leavings    leavings
	ids         sync.Mutex
	lastID      time.Time      // zero before the first, when the store is asked
	machine     *sched.Machine // what all runs share
	host        func() store.Host
	running     atomic.Int64 // attempts under way
	overdueMu   sync.Mutex
	overdue     []*store.Run // could not be recorded yet
	unfinished  sync.Map     // key → store.Failure, of interrupted runs that the next owner will record
}

var _ API = (*Engine)(nil)

// Open opens the store. ErrInUse of package store comes back when another process
// owns it.
func Open(cfg Config) (*Engine, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if !cfg.ReadOnly {
		if err := roomToOpen(cfg.Dir); err != nil {
			return nil, err
		}
	}
	st, err := store.Open(cfg.Dir, store.Options{ReadOnly: cfg.ReadOnly, Logger: cfg.Logger, Now: cfg.Now, PID: cfg.PID, Version: cfg.Version, Names: namesOf})
	if err != nil {
		return nil, openError(err)
	}
	e := &Engine{cfg: cfg, store: st, host: sync.OnceValue(func() store.Host { return origin.Machine(machineMemory()) }), machine: sched.NewMachine(sched.Limits{CPU: float64(goruntime.NumCPU()), Memory: machineMemory()})}
	e.removing, e.endRemoval = context.WithCancel(context.Background())
	if !cfg.ReadOnly {
		if err := errors.Join(e.closeInterrupted(), e.dropFinishedCheckpoints()); err != nil {
			e.endRemoval()
			return nil, errors.Join(err, st.Close())
		}
	}
	return e, nil
}

// removalTime is how long Close goes on removing what stages wrote: a stage may leave
// more files than anybody wants to wait for. The next owner of the store does the rest.
const removalTime = 5 * time.Second

// Close ends the runtime, saves what was learned about files, and closes the store.
func (e *Engine) Close() error {
	enough := time.AfterFunc(removalTime, e.endRemoval)
	e.background.Wait()
	enough.Stop()
	e.endRemoval()
	err := e.runtimes.close()
	if !e.cfg.ReadOnly {
		err = errors.Join(err, e.putOverdue(), e.scanners.save(), e.restock())
	}
	return errors.Join(err, e.store.Close())
}

// Rest does what can wait until there is nothing else to do: the store tidies up,
// and memory that a large run needed goes back to the machine.
func (e *Engine) Rest(ctx context.Context) {
	err := e.putOverdue()
	if err == nil {
		err = e.room()
	}
	if err == nil {
		err = errors.Join(e.store.Maintain(ctx), e.restock())
	}
	if err != nil {
		e.cfg.Logger.Warn("tidying up the store", "error", err)
	}
	debug.FreeOSMemory()
}

// Forget drops what is kept in memory only to be quick.
func (e *Engine) Forget() {
	e.pipelines.mu.Lock()
	e.pipelines.all = nil
	e.pipelines.mu.Unlock()
	if err := e.scanners.save(); err != nil {
		e.cfg.Logger.Warn("saving what is known of files", "error", err)
	}
	e.scanners.mu.Lock()
	e.scanners.all = nil
	e.scanners.mu.Unlock()
	debug.FreeOSMemory()
}

// StartRuntime starts a runtime before it is needed. It clears away what a killed
// owner of the store left: processes, mounts, control groups.
func (e *Engine) StartRuntime(ctx context.Context, at Place) error {
	_, err := e.runtimeOf(ctx, at)
	return err
}

// scanners keeps one scanner per project, with what it knows of the files.
type scanners struct {
	mu  sync.Mutex
	all map[string]*tree.Scanner
}

func (s *scanners) of(st *store.Store, dir string) (*tree.Scanner, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sc, ok := s.all[dir]; ok {
		return sc, nil
	}
	sc, err := tree.NewScanner(st, dir)
	if err != nil {
		return nil, fmt.Errorf("opening the project %q: %w", dir, err)
	}
	if s.all == nil {
		s.all = map[string]*tree.Scanner{}
	}
	s.all[dir] = sc
	return sc, nil
}

func (s *scanners) save() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	for dir, sc := range s.all {
		if e := sc.Save(); e != nil {
			err = errors.Join(err, fmt.Errorf("saving the stat cache of %q: %w", dir, e))
		}
	}
	return err
}

// keyLocks makes each key be built by one run at a time.
type keyLocks struct {
	mu   sync.Mutex
	held map[store.Key]chan struct{}
}

// lock waits for its turn.
func (k *keyLocks) lock(ctx context.Context, key store.Key) error {
	for {
		k.mu.Lock()
		other, ok := k.held[key]
		if !ok {
			if k.held == nil {
				k.held = map[store.Key]chan struct{}{}
			}
			k.held[key] = make(chan struct{})
			k.mu.Unlock()
			return nil
		}
		k.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// busy reports whether some run has its turn at a key.
func (k *keyLocks) busy(key store.Key) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, ok := k.held[key]
	return ok
}

func (k *keyLocks) unlock(key store.Key) {
	k.mu.Lock()
	defer k.mu.Unlock()
	close(k.held[key])
	delete(k.held, key)
}
