package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// A run names what it read and wrote, and keeps it; but a limit of size goes before that,
// and content can be lost. What is not there any more is noted beside, since the run's own
// record never changes: so that whoever wants the run back is told which of both it was,
// and fsck takes nothing for lost that gc was told to drop.
//
// A note counts for nothing while the content is there. It goes with the last run that
// names it, and when gc finds that the content has come back.

// Absence says since when content is not there, by which rule, and by whom it was dropped,
// or found to be lost, which is gc where nothing is said.
type Absence struct {
	When time.Time `json:"when"`
	Rule string    `json:"rule"`
	By   string    `json:"by,omitempty"`
}

// Absence says why content that a run names is not there; nil when that is not known.
func (s *Store) Absence(d Digest) (*Absence, error) {
	var a *Absence
	err := s.view(func(txn *badger.Txn) error {
		p, err := s.payload(txn, absenceKey(d))
		if p == nil || err != nil {
			return err
		}
		a, err = decodeJSON[Absence](p)
		return err
	})
	if err != nil && !errors.Is(err, errFrame) {
		return nil, fmt.Errorf("reading what became of %q: %w", d, err)
	}
	return a, nil
}

func (s *Store) encodeAbsence(a *Absence) ([]byte, error) {
	p, err := json.Marshal(a)
	if err != nil {
		return nil, err
	}
	return s.pack.frame(p)
}

// holds reports whether anything is there under a digest, whatever it is.
func (s *Store) holds(txn *badger.Txn, d Digest) (bool, error) {
	if ok, err := has(txn, blobKey(d)); ok || err != nil {
		return ok, err
	}
	for _, exec := range []bool{false, true} {
		if _, ok := fileSize(s.blobPath(d, exec)); ok {
			return true, nil
		}
	}
	return false, nil
}

// placesOf gives what a run keeps of what it read and wrote: a limit of size goes before
// that every run can be restored, but for those that are pinned.
func (g *gcRun) placesOf(txn *badger.Txn, sr *storedRun) []Place {
	keep := g.p.KeepSize == 0 || g.pins[sr.ID]
	if !g.first(sr.Places, keep) {
		return nil
	}
	places, err := g.s.places(txn, sr.Places)
	if err != nil {
		g.s.log.Warn("gc: the list of what a run read is damaged", "run", string(sr.ID), "error", err)
	}
	if keep {
		return places
	}
	for _, a := range placeRefs(places) {
		g.unkept[a.Digest] = true
	}
	return nil
}

// noteAbsences says of content that runs name that it is about to be dropped, before it
// is, and forgets what nobody asks about.
func (g *gcRun) noteAbsences(ctx context.Context) error {
	if g.p.DryRun {
		return nil
	}
	var over, gone [][]byte
	if err := g.s.view(func(txn *badger.Txn) error {
		for d := range g.unkept {
			if err := ctx.Err(); err != nil {
				return err
			}
			if there, err := g.s.holds(txn, d); err != nil {
				return err
			} else if there && !g.wanted(d) {
				gone = append(gone, absenceKey(d))
			}
		}
		return eachItem(txn, inAbsences, func(item *badger.Item) error {
			d := Digest(item.Key()[1:])
			there, err := g.s.holds(txn, d)
			if err == nil && (!g.marked[d] && !g.unkept[d] || there && g.wanted(d)) {
				over = append(over, item.KeyCopy(nil))
			}
			return err
		})
	}); err != nil {
		return err
	}
	for part := range slices.Chunk(over, 1000) {
		if err := g.deleteAll(part); err != nil {
			return err
		}
	}
	frame, err := g.s.encodeAbsence(&Absence{When: g.now.UTC(), Rule: fmt.Sprintf("size: only %s are kept", sizeText(g.p.KeepSize))})
	if err != nil {
		return err
	}
	for part := range slices.Chunk(gone, 1000) {
		if err := g.s.update(func(txn *badger.Txn) error {
			for _, key := range part {
				if err := txn.Set(key, frame); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// absence looks over one.
func (f *fsck) absence(txn *badger.Txn, item *badger.Item) error {
	if len(item.Key()) != 1+len(Digest{}) {
		return f.stray(item)
	}
	d := Digest(item.Key()[1:])
	_, err := decoded(f, txn, item, "absence of "+d.String(), "whether that was dropped or lost is not known", decodeJSON[Absence])
	return err
}
