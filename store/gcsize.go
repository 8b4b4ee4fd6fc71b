package store

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// Age and runs say what is of no more use; size and count say how much may be kept of
// what is. The results that are left are put in the order of their last use, and from
// the first on that does not fit any more, all go: whoever sets a limit wants it held,
// so it is above what the newest runs need. What is leased is in use, and what a pinned run
// needs is wanted; both come first and never go.

// kept is a record that age and runs have left.
type kept struct {
	key    []byte
	vers   uint64
	rec    *Record
	used   time.Time
	leased bool // or pinned
}

// lastUse is when a record was made or last used, by the day.
func (g *gcRun) lastUse(txn *badger.Txn, r *Record) time.Time {
	last := r.Created
	b, err := value(txn, keyOf(inUses, r.Key))
	if err == nil && b != nil {
		if d, n := binary.Varint(b); n > 0 {
			if at := time.Unix(0, d*int64(day)).UTC(); at.After(last) {
				last = at
			}
		}
	}
	return last
}

// keep notes a record for the limits. Only what they need of it is held on to.
func (g *gcRun) keep(txn *badger.Txn, item *badger.Item, rec *Record) {
	if g.p.KeepSize <= 0 && g.p.KeepCount <= 0 {
		return
	}
	rec.Action, rec.Note, rec.Metrics = nil, nil, nil
	g.kept = append(g.kept, kept{item.KeyCopy(nil), item.Version(), rec, g.lastUse(txn, rec), g.pinned[rec.Key] || g.s.guard.leased(rec.Key)})
}

// decideLimits drops what does not fit.
func (g *gcRun) decideLimits(_ context.Context, txn *badger.Txn) error {
	if len(g.kept) == 0 {
		return nil
	}
	slices.SortFunc(g.kept, func(a, b kept) int {
		switch {
		case a.leased != b.leased && a.leased:
			return -1
		case a.leased != b.leased:
			return 1
		case !a.used.Equal(b.used):
			return b.used.Compare(a.used)
		}
		return slices.Compare(a.key, b.key)
	})
	w := weigher{s: g.s, seen: map[blobID]bool{}}
	full := ""
	for i, k := range g.kept {
		more := w.add(txn, k.rec)
		switch {
		case k.leased:
		case g.p.KeepCount > 0 && i >= g.p.KeepCount && full == "":
			full = fmt.Sprintf("count: only the %d results that were used last are kept", g.p.KeepCount)
		case g.p.KeepSize > 0 && w.sum > g.p.KeepSize && full == "":
			full = fmt.Sprintf("size: what was used later fills the %s that are kept", sizeText(g.p.KeepSize))
		}
		if k.leased || full == "" {
			g.report.Kept++
			g.report.KeptBytes += more
			continue
		}
		g.drops = append(g.drops, dropping{key: k.key, version: k.vers, record: dropped(k.rec, full, k.used), limited: true})
		g.gone[string(k.key)] = true
	}
	return nil
}

func dropped(r *Record, rule string, used time.Time) *Dropped {
	return &Dropped{Key: r.Key, Stage: r.Stage, Run: r.Run, Used: used.UTC(), Rule: rule}
}

// weigher adds up what records need, each content once.
type weigher struct {
	s    *Store
	seen map[blobID]bool
	sum  int64
}

func (w *weigher) add(txn *badger.Txn, r *Record) (more int64) {
	before := w.sum
	for _, a := range r.refs() {
		if a.Kind != KindTree {
			w.one(txn, a)
			continue
		}
		manifest := Artifact{Kind: KindFile, Digest: a.Digest}
		if w.seen[blobID{a.Digest, false}] {
			continue
		}
		w.one(txn, manifest)
		b, err := w.s.readBlobIn(txn, a.Digest, maxPayload)
		if err != nil {
			continue // damaged: it weighs what of it is there
		}
		entries, err := DecodeTree(b)
		if err != nil {
			continue
		}
		for i := range entries {
			if entries[i].Kind == EntryFile {
				w.one(txn, entries[i].Artifact())
			}
		}
	}
	return w.sum - before
}

// one weighs a blob; what is known of a log is its digest alone.
func (w *weigher) one(txn *badger.Txn, a Artifact) {
	id := blobID{a.Digest, a.Exec && a.Size > SmallBlob}
	if w.seen[id] {
		return
	}
	w.seen[id] = true
	size := a.Size
	if size == 0 {
		if item, err := txn.Get(blobKey(a.Digest)); err == nil {
			size = item.ValueSize()
		} else {
			size, _ = fileSize(w.s.blobPath(a.Digest, a.Exec)) // 0 when it is lost
		}
	}
	w.sum += size
}

// sizeText is a size as it is written on the command line.
func sizeText(n int64) string {
	for _, u := range []struct {
		of   int64
		name string
	}{{1 << 40, "TiB"}, {1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if n >= u.of {
			return fmt.Sprintf("%.4g %s", float64(n)/float64(u.of), u.name)
		}
	}
	return fmt.Sprintf("%d B", n)
}

// ageText is a length of time as people say it.
func ageText(d time.Duration) string {
	if d >= day && d%day == 0 {
		if d == day {
			return "a day"
		}
		return fmt.Sprintf("%d days", d/day)
	}
	return d.String()
}
