package store

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/dgraph-io/badger/v4"
)

// Beginning gives the digests that begin with some hex digits, of what actions made, read
// and ran in, and of actions themselves: at most limit of them, sorted, and whether there
// are more. Links and records are sorted by digest, so it costs what it finds.
func (s *Store) Beginning(ctx context.Context, digits string, limit int) (found []Digest, more bool, err error) {
	add := func(d Digest) bool {
		if strings.HasPrefix(d.Hex(), digits) && !slices.Contains(found, d) {
			found = append(found, d)
		}
		return len(found) <= limit
	}
	err = s.view(func(txn *badger.Txn) error {
		marked, err := has(txn, linksMark())
		if err != nil {
			return err
		}
		kinds := []Link{LinkMade, LinkRead, LinkImage}
		if !marked {
			return s.eachRecord(ctx, txn, func(r *Record) error {
				for _, kind := range kinds {
					for _, d := range s.linkedTo(r, kind) {
						add(d)
					}
				}
				add(Digest(r.Key))
				return nil
			})
		}
		for _, kind := range kinds {
			if err := s.linksBeginning(ctx, txn, keysFrom{byte(kind), digits, add}); err != nil {
				return err
			}
		}
		return s.linksBeginning(ctx, txn, keysFrom{inRecords, digits, add})
	})
	if err != nil {
		return nil, false, fmt.Errorf("looking for digests that begin with %q: %w", digits, err)
	}
	slices.SortFunc(found, func(a, b Digest) int { return strings.Compare(a.Hex(), b.Hex()) })
	if len(found) > limit {
		found, more = found[:limit], true
	}
	return found, more, nil
}

// keysFrom is what is looked for in a space of keys, and who is told; it answers whether
// to go on.
type keysFrom struct {
	space  byte
	digits string
	add    func(Digest) bool
}

// linksBeginning looks through the keys of a space. Of a digest it needs one link that
// leads somewhere, and leaps over the others: there may be a million.
func (s *Store) linksBeginning(ctx context.Context, txn *badger.Txn, b keysFrom) error {
	const inLink = 16 // bytes of the digest
	whole, err := hex.DecodeString(b.digits[:len(b.digits)&^1])
	if err != nil {
		return err
	}
	o := badger.DefaultIteratorOptions
	o.PrefetchValues, o.Prefix = false, append([]byte{b.space}, whole[:min(len(whole), inLink)]...)
	it := txn.NewIterator(o)
	defer it.Close()
	for it.Rewind(); it.Valid(); {
		if err := ctx.Err(); err != nil {
			return err
		}
		at := it.Item().KeyCopy(nil)
		d, ok, err := s.ofKey(txn, at)
		if err != nil {
			return err
		}
		if !ok {
			it.Next()
			continue
		}
		if !b.add(d) {
			return nil
		}
		it.Seek(append(at[:1+inLink:1+inLink], slices.Repeat([]byte{0xff}, linkLength-inLink)...))
	}
	return nil
}

// ofKey gives the digest that a link leads from, or an action's.
func (s *Store) ofKey(txn *badger.Txn, at []byte) (d Digest, ok bool, err error) {
	if at[0] == inRecords {
		if ok = len(at) == 1+len(d); ok {
			d = Digest(at[1:])
		}
		return d, ok, nil
	}
	if len(at) != linkLength {
		return d, false, nil
	}
	rec, err := s.record(txn, linkTarget(at))
	if rec == nil || err != nil {
		if errors.Is(err, errFrame) {
			err = nil
		}
		return d, false, err
	}
	for _, d := range s.linkedTo(rec, Link(at[0])) {
		if string(linkPrefix(Link(at[0]), d)) == string(at[:1+16]) {
			return d, true, nil
		}
	}
	return d, false, nil
}
