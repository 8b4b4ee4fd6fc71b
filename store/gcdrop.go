package store

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// dropKeys deletes what was decided, each portion in a transaction of its own.
func (g *gcRun) dropKeys(ctx context.Context) error {
	const portion = maxTxnCount / 2 // a record is two writes
	for part := range slices.Chunk(g.drops, portion) {
		if err := ctx.Err(); err != nil {
			return err
		}
		done, err := g.dropPart(part)
		if err != nil {
			return err
		}
		g.report.Records += len(done)
		g.report.Dropped = append(g.report.Dropped, done...)
	}
	slices.SortFunc(g.report.Dropped, func(a, b Dropped) int {
		return slices.Compare([]string{a.Stage, a.Key.Hex()}, []string{b.Stage, b.Key.Hex()})
	})
	return nil
}

func (g *gcRun) dropPart(part []dropping) (done []Dropped, err error) {
	if g.p.DryRun {
		for _, d := range part {
			if d.record != nil {
				done = append(done, *d.record)
			}
		}
		return done, nil
	}
	g.s.gc.Lock()
	defer g.s.gc.Unlock()
	quiet := g.s.guard.quiet()
	list, err := g.withLinks(part)
	if err != nil {
		return nil, err
	}
	small, late := portions(list)
	for _, p := range small {
		var some []Dropped
		if err := g.s.drops.while(func() error {
			return g.s.update(func(txn *badger.Txn) (err error) {
				some, err = g.dropAll(txn, p, quiet)
				return err
			})
		}); err != nil {
			return done, err
		}
		done = append(done, some...)
	}
	return done, g.dropLate(late)
}

func (g *gcRun) dropAll(txn *badger.Txn, part []linkedDrop, quiet bool) (done []Dropped, err error) {
	var runs []change
	for _, d := range part {
		ok, err := g.dropOne(txn, d.dropping, quiet)
		if err != nil {
			return nil, err
		}
		if ok && d.seq > 0 {
			linked, err := g.s.isLinkOf(txn, d.seq, RunID(d.key[1:]))
			if err != nil {
				return nil, err
			}
			if linked {
				runs = append(runs, change{Seq: d.seq, State: linkDropped})
			}
		}
		if !ok || d.record == nil {
			continue
		}
		done = append(done, *d.record)
		for _, k := range d.links {
			if err := deleteIf(txn, k); err != nil {
				return nil, err
			}
		}
	}
	return done, g.s.sayChanges(txn, runs)
}

// dropOne deletes a key unless it was written since, or its action was leased or
// used. When all was quiet since it was decided nothing can have been written.
func (g *gcRun) dropOne(txn *badger.Txn, d dropping, quiet bool) (bool, error) {
	if !quiet {
		item, err := txn.Get(d.key)
		if errors.Is(err, badger.ErrKeyNotFound) {
			return false, nil
		}
		if err != nil || item.Version() != d.version {
			return false, err
		}
	}
	if d.record != nil {
		used := g.s.touchedLately(d.record.Key, g.now, g.p.KeepAge)
		if d.limited {
			used = g.s.touchedNow(d.record.Key)
		}
		if used || g.s.guard.leased(d.record.Key) {
			return false, nil
		}
		if err := g.s.setTombstone(txn, &Tombstone{Key: d.record.Key, When: g.now.UTC(), Rule: d.record.Rule}); err != nil {
			return false, err
		}
		if g.keys[d.record.Key] {
			if err := setBygone(txn, d.record.Key); err != nil {
				return false, err
			}
		}
	}
	return true, txn.Delete(d.key)
}

func (s *Store) setTombstone(txn *badger.Txn, t *Tombstone) error {
	p, err := json.Marshal(t)
	if err == nil {
		p, err = s.pack.frame(p)
	}
	if err != nil {
		return err
	}
	return txn.Set(keyOf(inTombstones, t.Key), p)
}

// touchedNow reports whether a record was used since gc wrote which were.
func (s *Store) touchedNow(k Key) bool {
	s.touched.mu.Lock()
	defer s.touched.mu.Unlock()
	return s.touched.known[k]
}

// touchedLately reports whether a record was used so lately that this may not be
// written yet.
func (s *Store) touchedLately(k Key, now time.Time, age time.Duration) bool {
	if age <= 0 {
		return false
	}
	s.touched.mu.Lock()
	defer s.touched.mu.Unlock()
	_, ok := s.touched.known[k]
	return ok && now.Sub(time.Unix(0, (s.touched.day+1)*int64(day))) < age
}
