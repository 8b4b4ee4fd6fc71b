package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/dgraph-io/badger/v4"
)

// seenRun is what the chain has to be told of a run's record.
type seenRun struct {
	id       RunID
	seq      uint64
	previous Digest
	sum      Digest
	running  bool
}

// chainCheck goes along the chain of runs, from its beginning, and compares.
type chainCheck struct {
	f    *fsck
	head *chainHead

	version uint64 // of the head
	all     map[uint64]*link
	at      link   // the one before, by what the chain says of it
	last    uint64 // the number of that
	used    map[RunID]bool
}

const acceptChain = "it stays as it is, and the chain says so"

// chain compares the records of runs with what the chain says of them.
func (f *fsck) chain(txn *badger.Txn) error {
	c := &chainCheck{f: f, all: map[uint64]*link{}, used: map[RunID]bool{}}
	if err := c.read(txn); err != nil {
		return err
	}
	bySeq := map[uint64]*seenRun{}
	for i := range f.runs {
		r := &f.runs[i]
		if l := c.all[r.seq]; r.seq > 0 && (l == nil || l.Run == r.id) { // else it is found to be added
			bySeq[r.seq] = r
		}
	}
	end := uint64(0)
	if c.head != nil {
		end = c.head.Seq
	}
	for seq := range c.all {
		end = max(end, seq)
	}
	for seq := range bySeq {
		end = max(end, seq)
	}
	for seq := uint64(1); seq <= end; seq++ {
		if err := c.place(seq, bySeq[seq]); err != nil {
			return err
		}
	}
	if err := c.end(end); err != nil {
		return err
	}
	return c.added()
}

func (c *chainCheck) read(txn *badger.Txn) (err error) {
	c.head, err = c.f.s.head(txn)
	if err != nil && !errors.Is(err, errFrame) {
		return err
	}
	if item, err := txn.Get(headKey()); err == nil {
		c.version = item.Version()
	} else if !errors.Is(err, badger.ErrKeyNotFound) {
		return err
	}
	return eachItem(txn, inLinks, func(item *badger.Item) error {
		if len(item.Key()) != 9 {
			return c.f.stray(item)
		}
		seq := binary.BigEndian.Uint64(item.Key()[1:])
		l, err := decoded(c.f, txn, item, fmt.Sprintf("link %d of the chain of runs", seq), "whether that run was changed cannot be told", decodeLink)
		if l != nil {
			c.all[seq] = l
			c.f.report.Links++
		}
		return err
	})
}

// place looks at one number: its link, and its record, which may be nil.
func (c *chainCheck) place(seq uint64, r *seenRun) error {
	l := c.all[seq]
	if l == nil {
		l = &link{Previous: c.at.Digest, State: linkLost}
		defer func() { c.at, c.last = *l, seq }()
		return c.lostLink(seq, l, r)
	}
	defer func() { c.at, c.last = *l, seq }()
	if l.State == linkAdded {
		r = c.f.runOf(l.Run)
	}
	if l.Previous != c.at.Digest && seq > 1 {
		if err := c.accept(seq, l, linkAltered, c.misplaced(l, r)); err != nil {
			return err
		}
	}
	if l.State != linkDropped && l.State != linkReplaced && l.State != linkLost {
		return c.compare(seq, l, r)
	}
	if r == nil {
		return nil
	}
	c.used[r.id] = true
	return c.accept(seq, l, linkAltered, Finding{
		Kind: FoundAddedRun, Object: "run " + string(r.id), Detail: fmt.Sprintf("it has number %d of the chain of runs, and that one was %s", seq, l.State),
		Effect: "it was not recorded by a run",
	}, r.sum)
}

// misplaced is that a link does not go on from the one before: that one was changed
// together with its record, unless the record of this one says otherwise.
func (c *chainCheck) misplaced(l *link, r *seenRun) Finding {
	if r != nil && r.previous == c.at.Digest {
		return Finding{
			Kind: FoundChangedRun, Object: "run " + string(l.Run), Detail: "its link in the chain of runs was changed", Effect: "none, if its record is sound",
		}
	}
	return Finding{
		Kind: FoundChangedRun, Object: c.name(), Detail: fmt.Sprintf("run %s was recorded after it, and when it was another", l.Run),
		Effect: "what it says may not be what was recorded",
	}
}

// name is how the link before is called.
func (c *chainCheck) name() string {
	if c.at.Run == "" {
		return fmt.Sprintf("run number %d", c.last)
	}
	return "run " + string(c.at.Run)
}

func (c *chainCheck) after() string {
	if c.last == 0 {
		return "before all others"
	}
	return "after " + c.name()
}

// compare looks whether a record is what its link says.
func (c *chainCheck) compare(seq uint64, l *link, r *seenRun) error {
	want := l.Digest
	if !l.Now.IsZero() {
		want = l.Now
	}
	switch {
	case r == nil:
		if again := c.f.runOf(l.Run); again != nil {
			return c.renumbered(seq, l, again)
		}
		return c.accept(seq, l, linkLost, Finding{
			Kind: FoundRemovedRun, Object: "run " + string(l.Run), Detail: "it was recorded, and its record is not there", Effect: "plumb runs and plumb show do not show it; nobody knows any more what it was", Remedy: "the chain says that it is lost",
		})
	case r.sum != want:
		c.used[r.id] = true
		return c.accept(seq, l, linkAltered, Finding{
			Kind: FoundChangedRun, Object: "run " + string(l.Run), Detail: "its record was changed after it was written", Effect: "what it says may not be what was recorded",
		}, r.sum)
	}
	c.used[r.id] = true
	return nil
}

// renumbered is a record that says it has another number than its link has.
func (c *chainCheck) renumbered(seq uint64, l *link, r *seenRun) error {
	c.used[r.id] = true
	if own := c.all[r.seq]; (own == nil || own.Run != r.id) && !r.running && c.f.o.Repair {
		c.f.edits = append(c.f.edits, edit{added: r})
	}
	return c.accept(seq, l, linkReplaced, Finding{
		Kind: FoundChangedRun, Object: "run " + string(r.id), Detail: fmt.Sprintf("it has number %d of the chain of runs, and its record says %d", seq, r.seq),
		Effect: "what it says may not be what was recorded",
	})
}

// lostLink is a number without a link.
func (c *chainCheck) lostLink(seq uint64, l *link, r *seenRun) error {
	if r == nil {
		if next := c.all[seq+1]; next != nil {
			l.Digest = next.Previous
		} else if c.head != nil && c.head.Seq == seq {
			l.Digest = c.head.Digest
		}
		return c.accept(seq, l, linkLost, Finding{
			Kind: FoundRemovedRun, Object: fmt.Sprintf("run number %d", seq), Detail: fmt.Sprintf("a run was recorded %s, and neither it nor its link is there", c.after()),
			Effect: "plumb runs and plumb show do not show it; nobody knows any more which it was", Remedy: "the chain says that it is lost",
		})
	}
	c.used[r.id] = true
	l.Run, l.Digest, l.Previous = r.id, r.sum, r.previous
	return c.accept(seq, l, linkAltered, Finding{
		Kind: FoundChangedRun, Object: "run " + string(r.id), Detail: "its link in the chain of runs is lost", Effect: "whether its record was changed cannot be told", Remedy: "it is linked anew, which the chain says",
	}, r.sum)
}

// accept notes a finding, and the state of the link that repairing gives it.
func (c *chainCheck) accept(seq uint64, l *link, state linkState, x Finding, now ...Digest) error {
	if x.Remedy == "" {
		x.Remedy = acceptChain
	}
	return c.f.found(x, func() error {
		again := *l
		again.State, again.When, again.Previous = state, c.f.s.now().UTC(), c.at.Digest
		if len(now) > 0 {
			again.Now = now[0]
		}
		if c.last == 0 {
			again.Previous = l.Previous
		}
		*l = again
		c.f.edits = append(c.f.edits, edit{key: linkKey(seq), link: &again})
		return nil
	})
}

// runOf finds a run's record.
func (f *fsck) runOf(id RunID) *seenRun {
	i := slices.IndexFunc(f.runs, func(r seenRun) bool { return r.id == id })
	if i < 0 {
		return nil
	}
	return &f.runs[i]
}

// added finds records that no link knows. They are linked at the end.
func (c *chainCheck) added() error {
	for i := range c.f.runs {
		r := &c.f.runs[i]
		if r.running || c.used[r.id] || r.seq == 0 && c.before(r.id) {
			continue
		}
		x := Finding{
			Kind: FoundAddedRun, Object: "run " + string(r.id), Detail: "it has no place in the chain of runs",
			Effect: "it was not recorded by a run, or is from another store", Remedy: "it is linked behind the others, as one that was added",
		}
		if err := c.f.found(x, func() error {
			c.f.edits = append(c.f.edits, edit{added: r})
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// before reports whether a run may be from before there was a chain.
func (c *chainCheck) before(id RunID) bool {
	h := c.rebuilt()
	return h.First == "" || h.Old && id < h.First
}

// rebuilt is the head as it is, else with what the links say of it.
func (c *chainCheck) rebuilt() chainHead {
	if c.head != nil {
		return *c.head
	}
	h := chainHead{Old: true} // nobody knows any more
	if len(c.all) > 0 {
		h.First = c.all[slices.Min(slices.Collect(maps.Keys(c.all)))].Run
	}
	return h
}

// end looks at the head. One that was written since is left alone.
func (c *chainCheck) end(seq uint64) error {
	if seq == 0 || c.head != nil && c.head.Seq == seq && c.head.Digest == c.at.Digest {
		return nil
	}
	h := c.rebuilt()
	h.Seq, h.Digest = seq, c.at.Digest
	return c.f.change(Finding{
		Kind: FoundWrongIndex, Object: "the chain of runs", Detail: fmt.Sprintf("its head is not that of number %d, the last there is", seq),
		Effect: "whether runs at its end were removed cannot be told", Remedy: "it is written anew",
	}, edit{key: headKey(), version: c.version, val: seal(0, encodeHead(&h))})
}

// setMended writes the link of a record that may have been repaired just before, for
// something else: it is linked as it is by then.
func (f *fsck) setMended(txn *badger.Txn, key []byte, l *link) error {
	if !l.Now.IsZero() {
		p, err := f.s.payload(txn, runKey(inRuns, l.Run))
		if err != nil && !errors.Is(err, errFrame) {
			return err
		}
		if p != nil && err == nil {
			l.Now = Sum(p)
		}
	}
	return txn.Set(key, seal(0, encodeLink(l)))
}

// linkAddedRun gives a record that was found a place at the end of the chain.
func (s *Store) linkAddedRun(txn *badger.Txn, r *seenRun) error {
	h, err := s.head(txn)
	if err != nil {
		return err
	}
	if h == nil {
		h = &chainHead{First: r.id}
	}
	p, err := s.payload(txn, runKey(inRuns, r.id)) // which may have been repaired just before
	if p == nil || err != nil {
		return err
	}
	l := &link{Run: r.id, Digest: Sum(p), Previous: h.Digest, State: linkAdded, When: s.now().UTC()}
	h.Seq, h.Digest = h.Seq+1, l.Digest
	if err := s.setLink(txn, h.Seq, l); err != nil {
		return err
	}
	return txn.Set(headKey(), seal(0, encodeHead(h)))
}
