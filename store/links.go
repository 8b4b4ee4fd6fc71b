package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// Links lead from content to the actions that made or read it, and from an image to the
// actions that ran in it, newest first. They are an index and nothing more: each is a key
// without a value, written in the transaction of its record, dropped with it, and made
// anew from the records by fsck. Whoever follows one looks into the record, so that a
// link that leads nowhere, or to what has another digest with the same beginning, does no
// harm.
//
// A record has one link for each input, each output and its image: at 60 bytes about a
// quarter of what the record takes. What is in a directory has none: a data set of ten
// thousand files would cost ten thousand links each time one of them changes. There is a
// list of the directories instead, and a file is looked for in their manifests, which are
// searched at the speed of memory; see Containing.
//
// Stores that were written before there were links get them from Relink. Until then, and
// by a reader of such a store, links are found by reading all records.

// Link says how an action has to do with a digest.
type Link byte

// The kinds of link. They are spaces of keys.
const (
	LinkMade  Link = inMade
	LinkRead  Link = inRead
	LinkImage Link = inOnImage
)

// Named is what an action names by digest.
type Named struct {
	Image  Digest
	Inputs []Digest
}

// linkPrefix is the beginning of all links of one kind from d.
func linkPrefix(kind Link, d Digest) []byte {
	return append([]byte{byte(kind)}, d[:16]...)
}

// linkTo orders the newest first.
func linkTo(kind Link, d Digest, r *Record) []byte {
	b := linkPrefix(kind, d)
	b = binary.BigEndian.AppendUint32(b, ^uint32(r.Created.Unix()))
	return append(b, r.Key[:]...)
}

// linkLength is that of every link's key.
const linkLength = 1 + 16 + 4 + len(Key{})

func directoryKey(d Digest) []byte { return append([]byte{inDirectories}, d[:]...) }

// linkedTo lists what a record is linked to.
func (s *Store) linkedTo(r *Record, kind Link) []Digest {
	var out []Digest
	add := func(d Digest) {
		if !d.IsZero() && !slices.Contains(out, d) {
			out = append(out, d)
		}
	}
	if kind == LinkMade {
		for i := range r.Outputs {
			add(r.Outputs[i].Digest)
		}
		return out
	}
	named := Named{}
	if s.names != nil {
		named = s.names(r.Action)
	}
	if kind == LinkImage {
		add(named.Image)
		return out
	}
	seen := make(map[Digest]bool, len(named.Inputs))
	for _, d := range named.Inputs {
		if !seen[d] && !d.IsZero() {
			seen[d] = true
			out = append(out, d)
		}
	}
	for _, a := range r.Inputs {
		if !seen[a.Digest] {
			seen[a.Digest] = true
			out = append(out, a.Digest)
		}
	}
	return out
}

// links lists the keys of a record's links, and of the directories it names.
func (s *Store) links(r *Record) [][]byte {
	var keys [][]byte
	for _, kind := range []Link{LinkMade, LinkRead, LinkImage} {
		for _, d := range s.linkedTo(r, kind) {
			keys = append(keys, linkTo(kind, d, r))
		}
	}
	for i := range r.Outputs {
		if o := &r.Outputs[i]; o.Kind == KindTree && !o.Dropped {
			keys = append(keys, directoryKey(o.Digest))
		}
	}
	for _, a := range r.Inputs {
		if a.Kind == KindTree {
			keys = append(keys, directoryKey(a.Digest))
		}
	}
	return keys
}

// linksInline is up to how many links go into one transaction with their records.
const linksInline = 500

// linkAhead writes the links of records that have too many for one transaction. Killed
// before the records are there, it leaves links that lead nowhere.
func (s *Store) linkAhead(records []*Record) error {
	var keys [][]byte
	for _, r := range records {
		keys = append(keys, s.links(r)...)
	}
	if len(keys) <= linksInline {
		return nil
	}
	for part := range slices.Chunk(keys, maxTxnCount/2) {
		if err := s.update(func(txn *badger.Txn) error { return setMissing(txn, part) }); err != nil {
			return err
		}
	}
	return nil
}

func setMissing(txn *badger.Txn, keys [][]byte) error {
	for _, k := range keys {
		ok, err := has(txn, k)
		if err == nil && !ok {
			err = txn.Set(k, nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// linkRecords writes the links of records that take the place of those in the store.
func (s *Store) linkRecords(txn *badger.Txn, records []*Record) error {
	for _, r := range records {
		now := s.links(r)
		old, err := s.record(txn, r.Key)
		if err != nil && !errors.Is(err, errFrame) {
			return err
		}
		if old != nil && err == nil {
			for _, k := range s.links(old) {
				if k[0] == inDirectories || slices.ContainsFunc(now, func(n []byte) bool { return bytes.Equal(n, k) }) {
					continue
				}
				if err := txn.Delete(k); err != nil {
					return err
				}
			}
		}
		if err := setMissing(txn, now); err != nil {
			return err
		}
	}
	return nil
}

// Linked gives the records that have to do with a digest, newest first, at most limit of
// them (0 for all), and whether there are more.
func (s *Store) Linked(ctx context.Context, kind Link, d Digest, limit int) (out []*Record, more bool, err error) {
	err = s.view(func(txn *badger.Txn) error {
		marked, err := has(txn, linksMark())
		if err != nil {
			return err
		}
		if !marked {
			out, err = s.linkedSlowly(ctx, txn, kind, d)
			if limit > 0 && len(out) > limit {
				out, more = out[:limit], true
			}
			return err
		}
		out, more, err = s.follow(ctx, txn, kind, d, limit)
		return err
	})
	if err != nil {
		return nil, false, fmt.Errorf("looking for what has to do with %q: %w", d, err)
	}
	return out, more, nil
}

func (s *Store) follow(ctx context.Context, txn *badger.Txn, kind Link, d Digest, limit int) (out []*Record, more bool, err error) {
	o := badger.DefaultIteratorOptions
	o.PrefetchValues, o.Prefix = false, linkPrefix(kind, d)
	it := txn.NewIterator(o)
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		if err := ctx.Err(); err != nil {
			return nil, false, err
		}
		at := it.Item().Key()
		if len(at) != linkLength {
			continue
		}
		rec, err := s.record(txn, Key(at[linkLength-len(Key{}):]))
		if errors.Is(err, errFrame) || err == nil && (rec == nil || !slices.Contains(s.linkedTo(rec, kind), d)) {
			continue
		}
		if err != nil {
			return nil, false, err
		}
		if limit > 0 && len(out) == limit {
			return out, true, nil
		}
		out = append(out, rec)
	}
	return out, false, nil
}

// linkedSlowly reads all records: of a store that has no links yet.
func (s *Store) linkedSlowly(ctx context.Context, txn *badger.Txn, kind Link, d Digest) ([]*Record, error) {
	var out []*Record
	err := s.eachRecord(ctx, txn, func(r *Record) error {
		if slices.Contains(s.linkedTo(r, kind), d) {
			out = append(out, r)
		}
		return nil
	})
	slices.SortFunc(out, func(a, b *Record) int { return b.Created.Compare(a.Created) })
	return out, err
}

// eachRecord calls fn with every record that decodes.
func (s *Store) eachRecord(ctx context.Context, txn *badger.Txn, fn func(*Record) error) error {
	return eachItem(txn, inRecords, func(item *badger.Item) error {
		if err := ctx.Err(); err != nil || len(item.Key()) != 1+len(Key{}) {
			return err
		}
		rec, err := s.record(txn, Key(item.Key()[1:]))
		if errors.Is(err, errFrame) || err == nil && rec == nil {
			return nil
		}
		if err != nil {
			return err
		}
		return fn(rec)
	})
}

func linksMark() []byte { return []byte{inMarks, 'l'} }

// Relink gives a store that was written before there were links its own, beside whatever
// else is done. It costs nothing when that has been done.
func (s *Store) Relink(ctx context.Context) error {
	done := false
	if err := s.view(func(txn *badger.Txn) (err error) {
		done, err = has(txn, linksMark())
		return err
	}); err != nil || done || !s.isWritable() || s.names == nil {
		return err
	}
	began := s.now()
	var from []byte
	for {
		next, err := s.relinkPart(ctx, from)
		if err != nil {
			return fmt.Errorf("linking results to what they read and made: %w", err)
		}
		if next == nil {
			break
		}
		from = next
	}
	if err := s.update(func(txn *badger.Txn) error { return txn.Set(linksMark(), nil) }); err != nil {
		return fmt.Errorf("linking results to what they read and made: %w", err)
	}
	if took := s.now().Sub(began); took > time.Second {
		s.log.Info("results were linked to what they read and made", "seconds", took.Seconds())
	}
	return nil
}

// relinkPart links the records of some keys from one on, and answers where to go on. No
// record is dropped meanwhile.
func (s *Store) relinkPart(ctx context.Context, from []byte) (next []byte, err error) {
	const portion = 1000
	s.gc.RLock()
	defer s.gc.RUnlock()
	var keys [][]byte
	if err := s.view(func(txn *badger.Txn) error {
		o := badger.DefaultIteratorOptions
		o.PrefetchValues, o.Prefix = false, []byte{inRecords}
		it := txn.NewIterator(o)
		defer it.Close()
		n := 0
		for it.Seek(append([]byte{inRecords}, from...)); it.Valid(); it.Next() {
			if err := ctx.Err(); err != nil {
				return err
			}
			at := it.Item().KeyCopy(nil)
			if n++; n > portion {
				next = at[1:]
				return nil
			}
			rec, err := s.record(txn, Key(at[1:]))
			if err != nil && !errors.Is(err, errFrame) {
				return err
			}
			if rec != nil && err == nil {
				keys = append(keys, s.links(rec)...)
			}
		}
		return nil
	}); err != nil {
		return nil, err
	}
	for part := range slices.Chunk(keys, maxTxnCount) {
		if err := s.update(func(txn *badger.Txn) error { return setMissing(txn, part) }); err != nil {
			return nil, err
		}
	}
	return next, nil
}
