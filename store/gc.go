package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// GC goes from what people ask for to what lies on disk: runs, then the records
// that the kept runs name or that were used lately, then the blobs those refer
// to. Each is decided from a snapshot and dropped under a lock that holds off
// commits, in portions, after looking again: a record that was written since,
// was touched or leased stays. Records go before blobs, so that a crash in
// between leaves garbage and no record without its blobs.

// Policy says what gc keeps: for each project what its newest KeepRuns runs need,
// and everything used less than KeepAge ago; of that, no more than KeepCount results
// and KeepSize bytes of content, those that were used last (0 for as much as there is).
// What is leased, and what pinned runs need, stays in any case.
type Policy struct {
	KeepRuns  int
	KeepAge   time.Duration
	KeepSize  int64
	KeepCount int
	DryRun    bool
}

// GCReport says what was dropped, or with DryRun would be. Bytes counts blobs. Kept is
// what the limits of size and count left; nothing is counted without them.
type GCReport struct {
	DryRun    bool      `json:"dry_run"`
	Records   int       `json:"records"`
	Runs      int       `json:"runs"`
	Blobs     int       `json:"blobs"`
	Placed    int       `json:"placed"`
	Caches    int       `json:"caches"`
	Bytes     int64     `json:"bytes"`
	Kept      int       `json:"kept,omitempty"`
	KeptBytes int64     `json:"kept_bytes,omitempty"`
	Dropped   []Dropped `json:"dropped"` // the records, by stage and key
}

// Dropped is one record that was dropped, and the rule that did it. Run is the one that
// made it.
type Dropped struct {
	Key   Key       `json:"key"`
	Stage string    `json:"stage"`
	Run   RunID     `json:"run"`
	Used  time.Time `json:"used"` // last, by the day
	Rule  string    `json:"rule"`
}

const (
	tombstonesLive = 90 * day // how long "evicted" can be told from "new"
	cachesLive     = 30 * day
)

// gcRun is one collection: what was decided so far.
type gcRun struct {
	s      *Store
	p      Policy
	now    time.Time
	rule   string
	report GCReport

	keys   map[Key]bool    // named by kept runs
	pinned map[Key]bool    // by pinned ones
	named  map[Digest]bool // tables of which that is noted
	drops  []dropping
	kept   []kept          // by age and runs, for the limits
	pins   map[RunID]bool  // the pinned runs
	unkept map[Digest]bool // what kept runs name, where a limit of size goes before that
	marked map[Digest]bool
	lists  map[seenList]bool // tables of stages and lists of files that were gone through
	gone   map[string]bool   // Badger keys that are dropped, or would be
	smalls int               // blobs that were dropped from Badger
	mu     sync.Mutex        // of the report, while files are deleted

	added map[RunID]uint64 // numbers of runs that fsck linked; nil until it is asked for
}

// dropping is a key to delete if it still has that version.
type dropping struct {
	key     []byte
	version uint64
	record  *Dropped // for a record
	limited bool     // by size or count: that it was used lately is no reason to keep it
	seq     uint64   // of a run's link, which stays
}

// GC drops what p does not keep.
func (s *Store) GC(ctx context.Context, p Policy) (GCReport, error) {
	s.gcTurn.Lock()
	defer s.gcTurn.Unlock()
	g := &gcRun{s: s, p: p, now: s.now(), report: GCReport{DryRun: p.DryRun, Dropped: []Dropped{}}}
	g.keys, g.pinned, g.named, g.unkept, g.marked, g.gone = map[Key]bool{}, map[Key]bool{}, map[Digest]bool{}, map[Digest]bool{}, map[Digest]bool{}, map[string]bool{}
	g.rule = fmt.Sprintf("age: not needed by the newest %d runs of a project, not used for %s", p.KeepRuns, ageText(p.KeepAge))
	if s.absent() {
		return g.report, nil
	}
	if !p.DryRun {
		if !s.isWritable() {
			return g.report, fmt.Errorf("collecting garbage: %w", ErrReadOnly)
		}
		if err := s.flushTouched(); err != nil {
			return g.report, err
		}
	}
	if err := s.recordsSound(); err != nil { // what it did not see it would take for garbage
		return g.report, fmt.Errorf("collecting garbage: %w", err)
	}
	s.guard.expire(g.now)
	s.guard.begin()
	defer s.guard.end()
	for _, phase := range []func(context.Context) error{g.decide, g.dropKeys, g.dropDirectories, g.mark, g.noteAbsences, g.sweepSmall, g.sweepFiles, g.sweepOthers} {
		if err := phase(ctx); err != nil {
			return g.report, fmt.Errorf("collecting garbage: %w", err)
		}
	}
	s.trees.clear()
	if !p.DryRun && len(g.drops)+g.smalls >= compactFrom {
		return g.report, s.compact()
	}
	return g.report, nil
}

func (g *gcRun) drop(item *badger.Item, rec *Dropped) {
	key := item.KeyCopy(nil)
	g.drops = append(g.drops, dropping{key: key, version: item.Version(), record: rec})
	g.gone[string(key)] = true
}

// decide goes through all of it in one transaction: a record that is committed together
// with its run is seen with it or not at all.
func (g *gcRun) decide(ctx context.Context) error {
	return g.s.view(func(txn *badger.Txn) error {
		for _, part := range []func(context.Context, *badger.Txn) error{g.decideRuns, g.decideRecords, g.decideLimits, g.decideRest} {
			if err := part(ctx, txn); err != nil {
				return err
			}
		}
		return nil
	})
}

// decideRuns keeps the newest runs of each project, the young and the unfinished,
// and notes the actions they name.
func (g *gcRun) decideRuns(_ context.Context, txn *badger.Txn) error {
	kept := map[string]int{}
	pinned, err := g.s.pinnedRuns(txn)
	if err != nil {
		return err
	}
	g.pins = pinned
	return g.s.eachRun(txn, RunFilter{}, func(id RunID) (bool, error) {
		sr, err := g.s.storedRun(txn, id)
		if err != nil && !errors.Is(err, errFrame) {
			return false, err
		}
		if sr != nil && err == nil && pinned[id] {
			return true, g.nameKeys(txn, sr, g.pinned)
		}
		if sr != nil && err == nil && g.keepsRun(kept, &sr.Run) {
			return true, g.nameKeys(txn, sr, nil)
		}
		g.report.Runs++
		if sr == nil {
			sr = &storedRun{Run: Run{ID: id}}
		}
		return true, g.dropRun(txn, &sr.Run)
	})
}

func (g *gcRun) keepsRun(kept map[string]int, r *Run) bool {
	kept[r.Project]++
	return kept[r.Project] <= g.p.KeepRuns || r.Status == statusRunning || g.now.Sub(r.Started) < g.p.KeepAge
}

// nameKeys notes the actions that a kept run names, and that they are pinned when pinned
// is given.
func (g *gcRun) nameKeys(txn *badger.Txn, sr *storedRun, pinned map[Key]bool) error {
	if pinned == nil && g.named[sr.Table] {
		return nil
	}
	g.named[sr.Table] = true
	stages, err := g.s.table(txn, sr.Table)
	if err != nil {
		g.s.log.Warn("gc: a run's table of stages is damaged", "run", string(sr.ID), "error", err)
		return nil
	}
	for i := range stages {
		g.keys[stages[i].Key] = true
		if pinned != nil {
			pinned[stages[i].Key] = true
		}
	}
	return nil
}

func (g *gcRun) dropRun(txn *badger.Txn, r *Run) error {
	said, err := g.s.annotationKeys(txn, r)
	if err != nil {
		return err
	}
	for _, key := range append(said, runKey(inRuns, r.ID), projectKey(r.Project, r.ID), runKey(inActive, r.ID), runKey(inSummaries, r.ID)) {
		item, err := txn.Get(key)
		if errors.Is(err, badger.ErrKeyNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		g.drop(item, nil)
		if key[0] == inRuns {
			if g.drops[len(g.drops)-1].seq, err = g.numberOf(txn, r); err != nil {
				return err
			}
		}
	}
	return nil
}

// numberOf is the number of a run's link. Of one that fsck linked its record does not say it.
func (g *gcRun) numberOf(txn *badger.Txn, r *Run) (uint64, error) {
	if ok, err := g.s.isLinkOf(txn, r.Seq, r.ID); ok || err != nil {
		return r.Seq, err
	}
	if g.added == nil {
		g.added = map[RunID]uint64{}
		if err := eachItem(txn, inLinks, func(item *badger.Item) error {
			if len(item.Key()) != 9 {
				return nil // as below
			}
			l, err := g.s.link(txn, binary.BigEndian.Uint64(item.Key()[1:]))
			if err == nil && l.State == linkAdded {
				g.added[l.Run] = binary.BigEndian.Uint64(item.Key()[1:])
			}
			if errors.Is(err, errFrame) {
				err = nil // fsck says so
			}
			return err
		}); err != nil {
			return 0, err
		}
	}
	return g.added[r.ID], nil
}

// decideRecords drops the records that no kept run names and nobody used lately.
func (g *gcRun) decideRecords(ctx context.Context, txn *badger.Txn) error {
	limits := g.p.KeepSize > 0 || g.p.KeepCount > 0
	return eachItem(txn, inRecords, func(item *badger.Item) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		k := Key(item.Key()[1:])
		needed := g.keys[k] || g.s.guard.leased(k)
		if needed && !limits {
			return nil
		}
		rec, err := g.s.recordAt(txn, item)
		if errors.Is(err, errFrame) {
			rec, err = &Record{Key: k}, nil
		}
		if err != nil {
			return err
		}
		if needed || g.usedLately(txn, rec) {
			g.keep(txn, item, rec)
			return nil
		}
		g.drop(item, dropped(rec, g.rule, g.lastUse(txn, rec)))
		return nil
	})
}

func (g *gcRun) usedLately(txn *badger.Txn, r *Record) bool {
	if g.p.KeepAge <= 0 {
		return false
	}
	if g.now.Sub(r.Created) < g.p.KeepAge || g.s.touchedLately(r.Key, g.now, g.p.KeepAge) {
		return true
	}
	b, err := value(txn, keyOf(inUses, r.Key))
	if err != nil || b == nil {
		return false
	}
	used, n := binary.Varint(b)
	return n > 0 && g.now.Sub(time.Unix(0, (used+1)*int64(day))) < g.p.KeepAge
}

// decideRest drops failures like records, tombstones by age, and the days of use
// of what is gone.
func (g *gcRun) decideRest(_ context.Context, txn *badger.Txn) error {
	failed := dropUnless(g, txn, func(f *Failure) bool {
		return g.keys[f.Key] || g.now.Sub(f.When) < g.p.KeepAge
	})
	if err := eachItem(txn, inFailures, failed); err != nil {
		return err
	}
	if err := g.decideBygones(txn); err != nil {
		return err
	}
	evicted := dropUnless(g, txn, func(t *Tombstone) bool { return g.now.Sub(t.When) <= tombstonesLive })
	if err := eachItem(txn, inTombstones, evicted); err != nil {
		return err
	}
	return eachItem(txn, inUses, func(item *badger.Item) error {
		rec := keyOf(inRecords, Key(item.Key()[1:]))
		ok, err := has(txn, rec)
		if err == nil && (!ok || g.gone[string(rec)]) {
			g.drop(item, nil)
		}
		return err
	})
}

// dropUnless drops the values of which keep is false, and the damaged.
func dropUnless[T any](g *gcRun, txn *badger.Txn, keep func(*T) bool) func(*badger.Item) error {
	return func(item *badger.Item) error {
		p, err := g.s.payload(txn, item.KeyCopy(nil))
		if err != nil && !errors.Is(err, errFrame) {
			return err
		}
		v, derr := decodeJSON[T](p)
		if err != nil || derr != nil || !keep(v) {
			g.drop(item, nil)
		}
		return nil
	}
}

// recordAt reads the record that an iterator stands at.
func (s *Store) recordAt(txn *badger.Txn, item *badger.Item) (rec *Record, err error) {
	err = item.Value(func(frame []byte) error {
		p, err := s.open(txn, frame)
		if err == nil {
			rec, err = decodeRecord(Key(item.Key()[1:]), p)
		}
		return err
	})
	return rec, err
}

// eachItem iterates over the keys of one kind.
func eachItem(txn *badger.Txn, space byte, fn func(*badger.Item) error) error {
	o := badger.DefaultIteratorOptions
	o.PrefetchValues, o.Prefix = false, []byte{space}
	it := txn.NewIterator(o)
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		if err := fn(it.Item()); err != nil {
			return err
		}
	}
	return nil
}
