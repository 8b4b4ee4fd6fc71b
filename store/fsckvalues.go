package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/dgraph-io/badger/v4"
)

// edit is a key to write anew, or to delete, if it still has that version.
type edit struct {
	key     []byte
	version uint64
	val     []byte // nil deletes
	payload []byte // to be framed into val
	run     *Run   // to be encoded into payload
	lost    *Record
	rule    string
	added   *seenRun // to be linked; no key
	link    *link    // to be written whatever is there
	change  *change  // to be said at the end of the chain; no key
	of      RunID    // of which the change is, if of one
}

// smalls reads every blob in Badger.
func (f *fsck) smalls(ctx context.Context) error {
	return f.s.view(func(txn *badger.Txn) error {
		return eachItem(txn, inBlobs, func(item *badger.Item) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			if len(item.Key()) != 1+len(Digest{}) {
				return f.stray(item)
			}
			d := Digest(item.Key()[1:])
			b, err := item.ValueCopy(nil)
			if err != nil {
				return err
			}
			if Sum(b) == d {
				f.small[d] = int64(len(b))
				f.report.Blobs++
				return nil
			}
			return f.change(Finding{
				Kind: FoundDamagedBlob, Object: "blob " + d.String(), Detail: "its content has the digest " + Sum(b).String(),
				Effect: "the results that it is part of are of no use: see there", Remedy: "it is dropped",
			}, edit{key: item.KeyCopy(nil), version: item.Version()})
		})
	})
}

// change notes a finding that one edit mends, and the edit for later.
func (f *fsck) change(x Finding, e edit) error {
	return f.found(x, func() error {
		f.edits = append(f.edits, e)
		return nil
	})
}

func (f *fsck) stray(item *badger.Item) error {
	return f.change(Finding{
		Kind: FoundDamagedRecord, Object: fmt.Sprintf("key %x", item.Key()), Detail: "no key of plumb's has this form", Effect: "none: nothing reads it", Remedy: "it is dropped",
	}, edit{key: item.KeyCopy(nil), version: item.Version()})
}

// values reads everything else in Badger.
func (f *fsck) values(ctx context.Context) error {
	return f.s.view(func(txn *badger.Txn) error {
		for _, space := range []struct {
			of  byte
			one func(*badger.Txn, *badger.Item) error
		}{
			{inRecords, f.record}, {inFailures, f.failure}, {inTombstones, f.tombstone}, {inRuns, f.run},
			{inUses, f.use}, {inHistories, f.history}, {inProjects, f.indexed}, {inActive, f.indexed},
			{inBegun, f.begunEffect}, {inDone, f.doneEffect}, {inBygones, f.bygone}, {inSummaries, f.summary}, {inAbsences, f.absence},
		} {
			if err := eachItem(txn, space.of, func(item *badger.Item) error {
				if err := ctx.Err(); err != nil {
					return err
				}
				return space.one(txn, item)
			}); err != nil {
				return err
			}
		}
		if err := f.lostPlaces(); err != nil {
			return err
		}
		if err := f.annotations(txn); err != nil {
			return err
		}
		return f.chain(txn)
	})
}

// decoded reads a value of a kind; nil when it is damaged, which is noted then.
func decoded[T any](f *fsck, txn *badger.Txn, item *badger.Item, what, effect string, decode func([]byte) (*T, error)) (*T, error) {
	p, err := f.s.payload(txn, item.KeyCopy(nil))
	var v *T
	if err == nil {
		v, err = decode(p)
	}
	if err == nil {
		return v, nil
	}
	if !errors.Is(err, errFrame) {
		return nil, err
	}
	return nil, f.change(Finding{Kind: FoundDamagedRecord, Object: what, Detail: err.Error(), Effect: effect, Remedy: "it is dropped"},
		edit{key: item.KeyCopy(nil), version: item.Version()})
}

func (f *fsck) record(txn *badger.Txn, item *badger.Item) error {
	if len(item.Key()) != 1+len(Key{}) {
		return f.stray(item)
	}
	k := Key(item.Key()[1:])
	rec, err := decoded(f, txn, item, "record "+k.Short(), "the stage that made it runs again", func(b []byte) (*Record, error) { return decodeRecord(k, b) })
	if rec == nil || err != nil {
		return err
	}
	f.report.Records++
	name := fmt.Sprintf("record %s of stage %s", k.Short(), rec.Stage)
	for _, o := range rec.Outputs {
		if !mustHave(o) {
			continue
		}
		lost := f.resolves(txn, o.Artifact)
		if lost == nil {
			continue
		}
		return f.change(Finding{
			Kind: FoundLostOutput, Object: name, Detail: fmt.Sprintf("output %q: %v", o.Name, lost),
			Effect: fmt.Sprintf("stage %s of run %s runs again when its result is needed", rec.Stage, rec.Run),
			Remedy: "the record is dropped, and a later plan says why",
		}, edit{key: item.KeyCopy(nil), version: item.Version(), lost: rec, rule: fmt.Sprintf("output %q was damaged or lost", o.Name)})
	}
	return f.recordExtras(txn, item, rec, name)
}

// mustHave reports whether a record is of no use without the bytes of an output: those
// that are dropped on purpose are not missed.
func mustHave(o Output) bool { return !o.Dropped }

// recordExtras looks at what a hit does not need: inputs and logs.
func (f *fsck) recordExtras(txn *badger.Txn, item *badger.Item, rec *Record, name string) error {
	kept := slices.DeleteFunc(slices.Clone(rec.Inputs), func(a Artifact) bool { return f.resolves(txn, a) != nil })
	attempts, logs := f.withoutLost(txn, rec.Attempts)
	if len(kept) == len(rec.Inputs) && logs == 0 {
		return nil
	}
	if n := len(rec.Inputs) - len(kept); n > 0 {
		if err := f.found(Finding{
			Kind: FoundLostInput, Object: name, Detail: fmt.Sprintf("%d of what it had read is damaged or lost", n),
			Effect: "its result stays good; plumb why cannot show what was in that input", Remedy: "the record says no more that it is kept",
		}, func() error { return nil }); err != nil {
			return err
		}
	}
	if logs > 0 {
		if err := f.lostLogs(name, logs); err != nil {
			return err
		}
	}
	if !f.o.Repair {
		return nil
	}
	again := *rec
	again.Inputs, again.Attempts = kept, attempts
	f.rewrite(item, encodeRecord(&again))
	return nil
}

func (f *fsck) lostLogs(name string, n int) error {
	return f.found(Finding{
		Kind: FoundLostLog, Object: name, Detail: fmt.Sprintf("logs that are damaged or lost: %d", n), Effect: "plumb logs cannot show them", Remedy: "it says no more that there is one",
	}, func() error { return nil })
}

// rewrite replaces a value.
func (f *fsck) rewrite(item *badger.Item, payload []byte) {
	f.edits = append(f.edits, edit{key: item.KeyCopy(nil), version: item.Version(), payload: payload})
}

// prepare encodes what edits will write. What is too large for Badger becomes a blob,
// which is committed here and so is there before what refers to it.
func (f *fsck) prepare(ctx context.Context, edits []edit) (err error) {
	b := f.s.NewBatch()
	defer func() { err = errors.Join(err, b.Close()) }()
	b.mu.Lock()
	for i := range edits {
		e := &edits[i]
		if e.run != nil && err == nil {
			var sr *storedRun
			if sr, err = b.storeRun(e.run); err == nil {
				e.payload, err = json.Marshal(sr)
			}
		}
		if e.payload != nil && err == nil {
			e.val, err = b.fit(e.payload)
		}
	}
	b.mu.Unlock()
	if err != nil || b.Empty() {
		return err
	}
	return f.s.Commit(ctx, b)
}

// withoutLost gives attempts without the logs that are not there.
func (f *fsck) withoutLost(txn *badger.Txn, attempts []Attempt) (out []Attempt, lost int) {
	out = slices.Clone(attempts)
	for i := range out {
		if !out[i].Log.IsZero() && f.resolvesLog(txn, out[i].Log) != nil {
			out[i].Log, out[i].LogBytes = Digest{}, 0
			lost++
		}
	}
	return out, lost
}

func (f *fsck) failure(txn *badger.Txn, item *badger.Item) error {
	if len(item.Key()) != 1+len(Key{}) {
		return f.stray(item)
	}
	name := "failure " + Key(item.Key()[1:]).Short()
	v, err := decoded(f, txn, item, name, "plumb plan does not say that the stage failed before", decodeJSON[Failure])
	if v == nil || err != nil {
		return err
	}
	f.report.Failures++
	attempts, lost := f.withoutLost(txn, v.Attempts)
	if lost == 0 {
		return nil
	}
	if err := f.lostLogs(name, lost); err != nil || !f.o.Repair {
		return err
	}
	v.Attempts = attempts
	return f.rewriteJSON(item, v)
}

func (f *fsck) tombstone(txn *badger.Txn, item *badger.Item) error {
	if len(item.Key()) != 1+len(Key{}) {
		return f.stray(item)
	}
	v, err := decoded(f, txn, item, "tombstone "+Key(item.Key()[1:]).Short(), "plumb plan does not say when the result was removed", decodeJSON[Tombstone])
	if v != nil {
		f.report.Tombstones++
	}
	return err
}

func (f *fsck) use(_ *badger.Txn, item *badger.Item) error {
	if len(item.Key()) != 1+len(Key{}) {
		return f.stray(item)
	}
	return item.Value(func(b []byte) error {
		r := &reader{b: b}
		if r.int(); r.done() {
			return nil
		}
		return f.change(Finding{
			Kind: FoundDamagedRecord, Object: "day of use " + Key(item.Key()[1:]).Short(), Detail: "it does not decode", Effect: "gc may drop the result earlier", Remedy: "it is dropped",
		}, edit{key: item.KeyCopy(nil), version: item.Version()})
	})
}

func (f *fsck) history(_ *badger.Txn, item *badger.Item) error {
	if n := item.ValueSize(); n%int64(len(Key{})) == 0 && len(item.Key()) == 17 {
		return nil
	}
	return f.change(Finding{
		Kind: FoundDamagedRecord, Object: fmt.Sprintf("history %x", item.Key()[1:]), Detail: "it does not decode", Effect: "plumb why compares with nothing until the stage ran again", Remedy: "it is dropped",
	}, edit{key: item.KeyCopy(nil), version: item.Version()})
}

// apply writes the edits, in portions that are complete in themselves, while nothing
// is committed.
func (f *fsck) apply(ctx context.Context) error {
	for part := range slices.Chunk(f.edits, 200) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f.prepare(ctx, part); err != nil {
			return fmt.Errorf("repairing records: %w", err)
		}
		f.s.gc.Lock()
		err := f.s.drops.while(func() error {
			return f.s.update(func(txn *badger.Txn) error {
				f.changes = nil
				for _, e := range part {
					if err := f.applyOne(txn, e); err != nil {
						return err
					}
				}
				return f.s.sayChanges(txn, f.changes)
			})
		})
		f.s.gc.Unlock()
		if err != nil {
			return fmt.Errorf("repairing records: %w", err)
		}
	}
	return nil
}

func (f *fsck) applyOne(txn *badger.Txn, e edit) error {
	if e.added != nil {
		return f.s.linkAddedRun(txn, e.added)
	}
	if e.link != nil {
		return txn.Set(e.key, seal(0, encodeLink(e.link)))
	}
	if e.change != nil {
		return f.sayMended(txn, *e.change, e.of)
	}
	item, err := txn.Get(e.key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		if e.version == 0 && e.val != nil { // an index that was missing
			return txn.Set(e.key, e.val)
		}
		return nil
	}
	if err != nil || item.Version() != e.version {
		return err // written since: it is another
	}
	if e.lost != nil {
		t := Tombstone{Key: e.lost.Key, When: f.s.now().UTC(), Rule: e.rule, By: ByFsck}
		if err := errors.Join(f.s.setTombstone(txn, &t), setBygone(txn, e.lost.Key)); err != nil {
			return err
		}
	}
	if e.key[0] == inRuns { // what it is picked by is made anew
		if err := deleteIf(txn, runKey(inSummaries, RunID(e.key[1:]))); err != nil {
			return err
		}
	}
	if e.run != nil && e.run.Seq > 0 {
		linked, err := f.s.isLinkOf(txn, e.run.Seq, e.run.ID)
		if err != nil {
			return err
		}
		if linked {
			f.changes = append(f.changes, change{Seq: e.run.Seq, State: linkAltered, Now: Sum(e.payload)})
		}
	}
	if e.val != nil {
		return txn.Set(e.key, e.val)
	}
	return txn.Delete(e.key)
}
