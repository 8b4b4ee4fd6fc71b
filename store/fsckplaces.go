package store

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/dgraph-io/badger/v4"
)

// lostPlace is content that runs read or wrote and that is not there, though nobody was
// told to drop it.
type lostPlace struct {
	place  Place
	why    error
	runs   int
	newest RunID
}

// placesOf looks for what a run's list of places names. Runs that share a list, or what is
// in it, have that looked for once.
func (f *fsck) placesOf(txn *badger.Txn, run *Run, list Digest) error {
	lost, known := f.lists[list]
	if !known {
		for i := range run.Places {
			p := &run.Places[i]
			if p.Dropped {
				continue
			}
			why := f.resolves(txn, p.Artifact)
			if why == nil {
				continue
			}
			if noted, err := f.noted(txn, p.Digest); noted || err != nil {
				if err != nil {
					return err
				}
				continue
			}
			lost = append(lost, p.Digest)
			if f.lost[p.Digest] == nil {
				f.lost[p.Digest] = &lostPlace{place: *p, why: why}
			}
		}
		slices.SortFunc(lost, compareDigests)
		lost = slices.Compact(lost)
		f.lists[list] = lost
	}
	for _, d := range lost {
		l := f.lost[d]
		l.runs, l.newest = l.runs+1, max(l.newest, run.ID)
	}
	return nil
}

func compareDigests(a, b Digest) int { return slices.Compare(a[:], b[:]) }

// noted reports whether it is known why content is not there. A note that does not decode
// is found by itself.
func (f *fsck) noted(txn *badger.Txn, d Digest) (bool, error) {
	p, err := f.s.payload(txn, absenceKey(d))
	if err != nil && !errors.Is(err, errFrame) {
		return false, err
	}
	return p != nil && err == nil, nil
}

// lostPlaces says what is lost of what runs read and wrote.
func (f *fsck) lostPlaces() error {
	for _, d := range slices.SortedFunc(maps.Keys(f.lost), compareDigests) {
		l := f.lost[d]
		who := "run " + string(l.newest)
		if l.runs > 1 {
			who = fmt.Sprintf("%d runs, the newest of which is %s,", l.runs, l.newest)
		}
		effect := who + " cannot be restored; results stay"
		if l.place.Role == PlaceOutside {
			effect = "it is brought again, as it is pinned, when a stage that reads it runs"
		}
		frame, err := f.s.encodeAbsence(&Absence{When: f.s.now().UTC(), Rule: l.why.Error(), By: ByFsck})
		if err != nil {
			return err
		}
		if err := f.change(Finding{
			Kind: FoundLostFile, Object: fmt.Sprintf("%s %q of run %s", l.place.Role, cmp.Or(l.place.Path, l.place.Source), l.newest), Detail: l.why.Error(),
			Effect: effect, Remedy: "it is remembered that it is lost",
		}, edit{key: absenceKey(d), val: frame}); err != nil {
			return err
		}
	}
	return nil
}
