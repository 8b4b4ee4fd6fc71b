package store

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/dgraph-io/badger/v4"
)

// linkedDrop is a dropping with the links that go with it.
type linkedDrop struct {
	dropping
	links [][]byte
}

// withLinks finds the links of the records among what is to be dropped. The caller holds
// off commits.
func (g *gcRun) withLinks(part []dropping) ([]linkedDrop, error) {
	out := make([]linkedDrop, len(part))
	err := g.s.view(func(txn *badger.Txn) error {
		for i, d := range part {
			out[i].dropping = d
			if d.record == nil {
				continue
			}
			rec, err := g.s.record(txn, d.record.Key)
			if errors.Is(err, errFrame) {
				continue // what it was linked to nobody knows: fsck finds the links
			}
			if err != nil {
				return err
			}
			if rec != nil {
				out[i].links = linksOnly(g.s.links(rec))
			}
		}
		return nil
	})
	return out, err
}

// linksOnly leaves out the directories, which other records may name, too.
func linksOnly(keys [][]byte) [][]byte {
	return slices.DeleteFunc(keys, func(k []byte) bool { return k[0] == inDirectories })
}

// portions parts droppings so that each portion fits a transaction with its links. The
// links of a record that has too many are dropped after it.
func portions(list []linkedDrop) (parts [][]linkedDrop, late [][]byte) {
	const most = maxTxnCount * 3 / 4
	begin, n := 0, 0
	for i := range list {
		if len(list[i].links) > linksInline {
			late = append(late, list[i].links...)
			list[i].links = nil
		}
		size := 3 + len(list[i].links) // the record, its tombstone, what it counts for
		if n+size > most {
			parts = append(parts, list[begin:i])
			begin, n = i, 0
		}
		n += size
	}
	if begin < len(list) {
		parts = append(parts, list[begin:])
	}
	return parts, late
}

// dropLate drops links whose records are gone.
func (g *gcRun) dropLate(links [][]byte) error {
	for part := range slices.Chunk(links, maxTxnCount/2) {
		if err := g.s.update(func(txn *badger.Txn) error { return dropDangling(txn, part) }); err != nil {
			return err
		}
	}
	return nil
}

// linkTarget is the record that a link leads to.
func linkTarget(link []byte) Key { return Key(link[linkLength-len(Key{}):]) }

// dropDirectories takes directories from the list that no record names any more.
func (g *gcRun) dropDirectories(ctx context.Context) error {
	if g.p.DryRun {
		return nil
	}
	var gone [][]byte
	if err := g.s.view(func(txn *badger.Txn) (err error) {
		gone, err = g.s.unnamed(ctx, txn)
		return err
	}); err != nil {
		return err
	}
	for part := range slices.Chunk(gone, maxTxnCount/2) {
		if err := g.exclusive(func() error {
			return g.s.update(func(txn *badger.Txn) error {
				for _, k := range part {
					named, err := g.s.isNamed(txn, Digest(k[1:])) // since, perhaps
					if err == nil && !named {
						err = txn.Delete(k)
					}
					if err != nil {
						return err
					}
				}
				return nil
			})
		}); err != nil {
			return fmt.Errorf("dropping directories from the list: %w", err)
		}
	}
	return nil
}

// unnamed lists the keys of directories that no record names.
func (s *Store) unnamed(ctx context.Context, txn *badger.Txn) ([][]byte, error) {
	var gone [][]byte
	err := eachItem(txn, inDirectories, func(item *badger.Item) error {
		if err := ctx.Err(); err != nil || len(item.Key()) != 1+len(Digest{}) {
			return err
		}
		named, err := s.isNamed(txn, Digest(item.Key()[1:]))
		if err == nil && !named {
			gone = append(gone, item.KeyCopy(nil))
		}
		return err
	})
	return gone, err
}

func (s *Store) isNamed(txn *badger.Txn, d Digest) (bool, error) {
	for _, kind := range []Link{LinkMade, LinkRead} {
		o := badger.DefaultIteratorOptions
		o.PrefetchValues, o.Prefix = false, linkPrefix(kind, d)
		it := txn.NewIterator(o)
		it.Rewind()
		found := it.Valid()
		it.Close()
		if found {
			return true, nil
		}
	}
	return false, nil
}
