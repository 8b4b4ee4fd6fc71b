package store

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/dgraph-io/badger/v4"
)

// links looks whether every record is found by what it made and read, and every link
// leads to a record that is there. It comes after the records are mended. A store that
// has no links yet lacks none.
func (f *fsck) links(ctx context.Context) error {
	if f.s.names == nil || f.s.absent() {
		return nil
	}
	lost, dangling, err := f.wrongLinks(ctx)
	if err != nil {
		return err
	}
	if len(lost) > 0 {
		if err := f.found(Finding{
			Kind: FoundWrongIndex, Object: "links", Detail: fmt.Sprintf("results are not found by what they made or read: %d links are missing", len(lost)),
			Effect: "plumb lineage does not tell of them", Remedy: "they are made anew from the results",
		}, func() error { return f.s.eachPart(lost, setMissing) }); err != nil {
			return err
		}
	}
	if len(dangling) == 0 {
		return nil
	}
	return f.found(Finding{
		Kind: FoundWrongIndex, Object: "links", Detail: fmt.Sprintf("%d lead to results that are not recorded", len(dangling)), Effect: "none: nobody follows them", Remedy: "they are dropped",
	}, func() error { return f.s.eachPart(dangling, dropDangling) })
}

// dropDangling looks again: the record may have come since.
func dropDangling(txn *badger.Txn, keys [][]byte) error {
	for _, k := range keys {
		if len(k) == linkLength {
			ok, err := has(txn, keyOf(inRecords, linkTarget(k)))
			if err != nil {
				return err
			}
			if ok {
				continue
			}
		}
		if err := deleteIf(txn, k); err != nil {
			return err
		}
	}
	return nil
}

// eachPart writes keys in portions while nothing is committed.
func (s *Store) eachPart(keys [][]byte, fn func(*badger.Txn, [][]byte) error) error {
	for part := range slices.Chunk(keys, maxTxnCount/2) {
		s.gc.Lock()
		err := s.update(func(txn *badger.Txn) error { return fn(txn, part) })
		s.gc.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// wrongLinks compares the links with the records, both as they are at one moment.
func (f *fsck) wrongLinks(ctx context.Context) (lost, dangling [][]byte, err error) {
	f.s.gc.Lock() // no commit is between its links and its records
	var begun sync.Once
	err = f.s.view(func(txn *badger.Txn) error {
		begun.Do(f.s.gc.Unlock)
		marked, err := has(txn, linksMark())
		if err != nil || !marked {
			return err
		}
		there := map[Key]bool{}
		if err := f.s.eachRecord(ctx, txn, func(r *Record) error {
			there[r.Key] = true
			for _, k := range f.s.links(r) {
				ok, err := has(txn, k)
				if err != nil {
					return err
				}
				if !ok {
					lost = append(lost, k)
				}
			}
			return nil
		}); err != nil {
			return err
		}
		for _, kind := range []Link{LinkMade, LinkRead, LinkImage} {
			if err := eachItem(txn, byte(kind), func(item *badger.Item) error {
				if k := item.Key(); len(k) != linkLength || !there[linkTarget(k)] {
					dangling = append(dangling, item.KeyCopy(nil))
				}
				return ctx.Err()
			}); err != nil {
				return err
			}
		}
		return nil
	})
	begun.Do(f.s.gc.Unlock) // there is no store on disk
	return lost, dangling, err
}
