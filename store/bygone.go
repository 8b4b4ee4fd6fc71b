package store

import (
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"
)

// A record can go before the runs that name it: gc is told to hold a limit of size or
// count, or fsck finds that an output is lost. What the stage did and what came of it is
// then still wanted by whoever asks about the run, so the record is kept aside, as it was,
// for as long as a run names it. Nothing of it counts as being there.

// Remembered gives the record of a key, be it of use or kept aside; nil when there is
// neither.
func (s *Store) Remembered(k Key) (*Record, error) {
	rec, err := s.Record(k)
	if rec != nil || err != nil {
		return rec, err
	}
	err = s.view(func(txn *badger.Txn) error {
		p, err := s.payload(txn, keyOf(inBygones, k))
		if p == nil || err != nil {
			return err
		}
		rec, err = decodeRecord(k, p)
		return err
	})
	if err != nil && !errors.Is(err, errFrame) {
		return nil, fmt.Errorf("reading what is known of %q: %w", k, err)
	}
	return rec, nil
}

// setBygone keeps the record of k aside, which is about to be deleted.
func setBygone(txn *badger.Txn, k Key) error {
	frame, err := value(txn, keyOf(inRecords, k))
	if frame == nil || err != nil {
		return err
	}
	return txn.Set(keyOf(inBygones, k), frame)
}

// decideBygones drops those that no run asks about, or that are of use again.
func (g *gcRun) decideBygones(txn *badger.Txn) error {
	return eachItem(txn, inBygones, func(item *badger.Item) error {
		k := Key(item.Key()[1:])
		again, err := has(txn, keyOf(inRecords, k))
		if err == nil && (!g.keys[k] || again && !g.gone[string(keyOf(inRecords, k))]) {
			g.drop(item, nil)
		}
		return err
	})
}

// bygoneRefs: that something was made once does not keep it.
func (g *gcRun) bygoneRefs(*badger.Txn, []byte, []byte) ([]Artifact, error) { return nil, nil }

func (f *fsck) bygone(txn *badger.Txn, item *badger.Item) error {
	if len(item.Key()) != 1+len(Key{}) {
		return f.stray(item)
	}
	k := Key(item.Key()[1:])
	_, err := decoded(f, txn, item, "what is known of "+k.Short(), "plumb why and plumb diff cannot say what the stage did",
		func(b []byte) (*Record, error) { return decodeRecord(k, b) })
	return err
}
