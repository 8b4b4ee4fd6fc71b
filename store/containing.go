package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"
)

// Inside is a place in a directory that is kept.
type Inside struct {
	Tree Digest `json:"tree"`
	Path string `json:"path"`
}

// Searched says how far a search went.
type Searched struct {
	Directories int   `json:"directories"`
	Bytes       int64 `json:"bytes"`            // of their manifests
	Unread      int   `json:"unread,omitempty"` // directories of which what is in them is not kept, or damaged
	Whole       bool  `json:"whole"`            // nothing was left out
}

// Containing finds the directories in which a file with that content lies, at most limit
// places. It searches the manifests of all directories that results name for the bytes
// of the digest, until it has read most bytes of them: a thousand directories of a
// thousand files are 80 MB, which take a tenth of a second when the system has them in
// memory.
func (s *Store) Containing(ctx context.Context, d Digest, limit int, most int64) (found []Inside, how Searched, err error) {
	how.Whole = true
	err = s.view(func(txn *badger.Txn) error {
		trees, err := s.directories(ctx, txn)
		if err != nil {
			return err
		}
		for _, t := range trees {
			if err := ctx.Err(); err != nil {
				return err
			}
			if how.Bytes >= most || len(found) >= limit {
				how.Whole = false
				return nil
			}
			b, err := s.readBlobIn(txn, t, maxPayload)
			switch {
			case errors.Is(err, ErrNotFound) || errors.Is(err, ErrDamaged):
				how.Unread++
				continue
			case err != nil:
				return err
			}
			how.Directories++
			how.Bytes += int64(len(b))
			if !bytes.Contains(b, d[:]) {
				continue
			}
			in, err := placesIn(t, b, d)
			if err != nil { // fsck says so
				how.Directories--
				how.Unread++
			}
			found = append(found, in...)
		}
		return nil
	})
	if err != nil {
		return nil, how, fmt.Errorf("looking for %q in directories: %w", d, err)
	}
	if len(found) > limit {
		found, how.Whole = found[:limit], false
	}
	how.Whole = how.Whole && how.Unread == 0
	return found, how, nil
}

// placesIn lists the paths of a manifest that have the digest.
func placesIn(t Digest, manifest []byte, d Digest) ([]Inside, error) {
	entries, err := DecodeTree(manifest)
	if err != nil {
		return nil, err
	}
	var out []Inside
	for i := range entries {
		if entries[i].Kind == EntryFile && entries[i].Digest == d {
			out = append(out, Inside{t, entries[i].Path})
		}
	}
	return out, nil
}

// directories lists the trees that results name; by reading those where there is no list.
func (s *Store) directories(ctx context.Context, txn *badger.Txn) ([]Digest, error) {
	marked, err := has(txn, linksMark())
	if err != nil {
		return nil, err
	}
	var out []Digest
	seen := map[Digest]bool{}
	add := func(key []byte) {
		if d := Digest(key[1:]); !seen[d] {
			seen[d] = true
			out = append(out, d)
		}
	}
	if marked {
		return out, eachItem(txn, inDirectories, func(item *badger.Item) error {
			if len(item.Key()) == 1+len(Digest{}) {
				add(item.Key())
			}
			return ctx.Err()
		})
	}
	err = s.eachRecord(ctx, txn, func(r *Record) error {
		for _, k := range s.links(r) {
			if k[0] == inDirectories {
				add(k)
			}
		}
		return nil
	})
	return out, err
}
