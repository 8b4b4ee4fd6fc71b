package table

// tally is what is known of each fingerprint: two numbers, for the tables. Open
// addressing, half full at most.
type tally struct {
	most    int // fingerprints
	n       int
	entries []entry
}

type entry struct {
	fingerprint
	used bool
	n    [2]int64
}

func newTally(most int) *tally { return &tally{most: most, entries: make([]entry, 16)} }

// at are a fingerprint's numbers, 0 when it is new, until the next call; nil when there
// are too many.
func (t *tally) at(f fingerprint) *[2]int64 {
	e := t.slot(f)
	if e.used {
		return &e.n
	}
	if t.n == t.most {
		return nil
	}
	if 2*t.n >= len(t.entries) {
		old := t.entries
		t.entries = make([]entry, 2*len(old))
		for i := range old {
			if old[i].used {
				*t.slot(old[i].fingerprint) = old[i]
			}
		}
		e = t.slot(f)
	}
	t.n++
	*e = entry{fingerprint: f, used: true}
	return &e.n
}

func (t *tally) slot(f fingerprint) *entry {
	i := int(f[1]) & (len(t.entries) - 1)
	for t.entries[i].used && t.entries[i].fingerprint != f {
		i = (i + 1) & (len(t.entries) - 1)
	}
	return &t.entries[i]
}
