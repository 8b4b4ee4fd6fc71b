package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

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
	begin   uint64           // the number of the link from which on links have digests of links
	said    map[uint64]state // what became of runs
	edits   []edit           // of links, then what is to be said
	changes []edit
	used    map[RunID]bool

	at   link   // the one before, by what the chain says of it
	last uint64 // the number of that
	sum  Digest // what the next has to have of it
	open bool   // the next may have another one: what this was is lost, or accepted as it is
	told bool   // there is a finding of it
}

// state is what became of a run, and when.
type state struct {
	change
	when time.Time
}

const acceptChain = "it stays as it is, and the chain says so"

// chain compares the records of runs with what the chain says of them.
func (f *fsck) chain(txn *badger.Txn) error {
	c := &chainCheck{f: f, all: map[uint64]*link{}, said: map[uint64]state{}, used: map[RunID]bool{}}
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
	c.findBegin(end, bySeq)
	c.hear(end)
	for seq := min(c.begin, 1); seq <= end; seq++ {
		if err := c.place(seq, bySeq[seq]); err != nil {
			return err
		}
	}
	if err := c.end(end); err != nil {
		return err
	}
	f.edits = append(append(f.edits, c.edits...), c.changes...)
	c.report()
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
			if l.State != linkBegin && l.State != linkChanges {
				c.f.report.Links++
			}
		}
		return err
	})
}

// findBegin finds the number from which on links have digests of links: that of the empty
// link. The one behind it knows when it is gone, and if what was before it is another, too,
// then the first two of which one has the digest of the other.
func (c *chainCheck) findBegin(end uint64, bySeq map[uint64]*seenRun) {
	c.begin = math.MaxUint64
	for seq := range end + 1 {
		l := c.all[seq]
		if l != nil && l.State == linkBegin {
			c.begin = seq
			return
		}
		before := Digest{}
		if seq > 0 && c.all[seq-1] != nil {
			before = c.all[seq-1].Digest
		}
		next, r := c.all[seq+1], bySeq[seq+1]
		if next != nil && next.Previous == beginning(before) || r != nil && r.previous == beginning(before) {
			c.begin = seq
			return
		}
		if c.begin > end && seq > 0 && l != nil && next != nil && next.Previous == l.sum() {
			c.begin = seq - 1
		}
	}
}

// hear collects what the chain says that became of runs, where it is what was said.
func (c *chainCheck) hear(end uint64) {
	for seq, l := range c.all {
		if seq < c.begin && l.State != linkSound || l.State == linkAdded {
			c.said[seq] = state{change{Seq: seq, State: l.State, Now: l.Now}, l.When}
		}
	}
	if c.begin > end {
		return
	}
	for seq := c.begin + 1; seq <= end; seq++ {
		l := c.all[seq]
		if l == nil || l.State != linkChanges {
			continue
		}
		if next := c.all[seq+1]; next != nil && next.Previous != l.sum() || next == nil && c.head != nil && c.head.Seq == seq && c.head.Digest != l.sum() {
			continue
		}
		for _, x := range l.Changes {
			before := c.said[x.Seq] // it may be altered in one way, and then in another
			if x.Now.IsZero() && x.State == linkAltered {
				x.Now = before.Now
			}
			if x.Link.IsZero() {
				x.Link = before.Link
			}
			c.said[x.Seq] = state{x, l.When}
		}
	}
}

// place looks at one number: its link, and its record, which may be nil.
func (c *chainCheck) place(seq uint64, r *seenRun) error {
	l := c.all[seq]
	if seq == c.begin {
		return c.beginning(seq, l)
	}
	if l == nil {
		return c.lostLink(seq, r)
	}
	if l.State == linkAdded {
		r = c.f.runOf(l.Run)
	}
	l, err := c.follows(seq, l, r)
	if err != nil {
		return err
	}
	c.pass(seq, l)
	if l.State == linkChanges || l.State == linkBegin {
		return nil
	}
	if s := c.said[seq].State; s != linkDropped && s != linkReplaced && s != linkLost {
		return c.compare(seq, l, r)
	}
	if r == nil {
		return nil
	}
	c.used[r.id] = true
	return c.accept(Finding{
		Kind: FoundAddedRun, Object: "run " + string(r.id), Detail: fmt.Sprintf("it has number %d of the chain of runs, and that one was %s", seq, c.said[seq].State),
		Effect: "it was not recorded by a run",
	}, change{Seq: seq, State: linkAltered, Now: r.sum}, r.id)
}

// pass goes on behind a link.
func (c *chainCheck) pass(seq uint64, l *link) {
	c.at, c.last, c.sum, c.told = *l, seq, l.Digest, false
	if seq >= c.begin {
		c.sum = l.sum()
	}
	c.open = c.said[seq].Link == c.sum && !c.sum.IsZero()
}

// beginning looks at the empty link, which is made again when it is lost.
func (c *chainCheck) beginning(seq uint64, l *link) error {
	if l != nil && l.sum() == beginning(l.Previous) && (seq > 0 || l.Previous.IsZero()) {
		if seq > 0 {
			if _, err := c.follows(seq, l, nil); err != nil {
				return err
			}
		}
		c.pass(seq, l)
		return nil
	}
	empty := &link{State: linkBegin, Previous: c.sum}
	c.pass(seq, empty)
	return c.f.found(Finding{
		Kind: FoundWrongIndex, Object: "the chain of runs", Detail: fmt.Sprintf("its beginning, number %d, is lost or changed", seq), Effect: "none: it has nothing in it", Remedy: "it is written anew",
	}, func() error {
		c.edits = append(c.edits, edit{key: linkKey(seq), link: empty})
		return nil
	})
}

// follows looks whether a link goes on from the one before. If not, that one was changed,
// unless the record of this one says otherwise.
func (c *chainCheck) follows(seq uint64, l *link, r *seenRun) (*link, error) {
	switch {
	case l.Previous == c.sum || c.open:
		return l, nil
	case c.last == 0 && c.begin > 0: // there is none, and links are of the old kind
		return l, nil
	case r != nil && r.previous == c.sum && r.id == l.Run:
		mended := *l
		mended.Previous = c.sum
		return &mended, c.f.found(Finding{
			Kind: FoundChangedRun, Object: "run " + string(l.Run), Detail: "its link in the chain of runs was changed", Effect: "none, if its record is sound", Remedy: "it is written as the record has it",
		}, func() error {
			c.edits = append(c.edits, edit{key: linkKey(seq), link: &mended})
			return nil
		})
	}
	behind := fmt.Sprintf("number %d", seq)
	if l.Run != "" {
		behind = "run " + string(l.Run)
	}
	return l, c.acceptLast(fmt.Sprintf("%s was recorded after it, and when it was another", behind))
}

// acceptLast accepts the link before as it is, though what is behind it says that it was
// another. When its record was found already, that is the same.
func (c *chainCheck) acceptLast(detail string) error {
	x := change{Seq: c.last, State: linkAltered, Link: c.sum}
	if s := c.said[c.last].State; s != linkSound && s != linkAdded {
		x.State = s
	}
	if c.told {
		if i := len(c.changes) - 1; i >= 0 && c.changes[i].change != nil && c.changes[i].change.Seq == c.last {
			c.changes[i].change.Link = c.sum
		}
		return nil
	}
	effect := "what it says may not be what was recorded"
	if c.at.State == linkChanges {
		effect = "what became of runs is not believed where it is said there"
	}
	return c.accept(Finding{Kind: FoundChangedRun, Object: c.name(), Detail: detail, Effect: effect}, x, c.at.Run)
}

// name is how the link before is called.
func (c *chainCheck) name() string {
	switch {
	case c.at.State == linkChanges || c.at.State == linkBegin:
		return fmt.Sprintf("number %d of the chain of runs", c.last)
	case c.at.Run == "":
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
	if now := c.said[seq].Now; !now.IsZero() {
		want = now
	}
	switch {
	case r == nil:
		if again := c.f.runOf(l.Run); again != nil {
			return c.renumbered(seq, again)
		}
		return c.accept(Finding{
			Kind: FoundRemovedRun, Object: "run " + string(l.Run), Detail: "it was recorded, and its record is not there", Effect: "plumb runs and plumb show do not show it; nobody knows any more what it was", Remedy: "the chain says that it is lost",
		}, change{Seq: seq, State: linkLost}, "")
	case r.sum != want:
		c.used[r.id] = true
		return c.accept(Finding{
			Kind: FoundChangedRun, Object: "run " + string(l.Run), Detail: "its record was changed after it was written", Effect: "what it says may not be what was recorded",
		}, change{Seq: seq, State: linkAltered, Now: r.sum}, r.id)
	}
	c.used[r.id] = true
	return nil
}

// renumbered is a record that says it has another number than its link has.
func (c *chainCheck) renumbered(seq uint64, r *seenRun) error {
	c.used[r.id] = true
	if own := c.all[r.seq]; (own == nil || own.Run != r.id) && !r.running && c.f.o.Repair {
		c.changes = append(c.changes, edit{added: r})
	}
	return c.accept(Finding{
		Kind: FoundChangedRun, Object: "run " + string(r.id), Detail: fmt.Sprintf("it has number %d of the chain of runs, and its record says %d", seq, r.seq),
		Effect: "what it says may not be what was recorded",
	}, change{Seq: seq, State: linkReplaced}, "")
}

// lostLink is a number without a link.
func (c *chainCheck) lostLink(seq uint64, r *seenRun) error {
	after := c.after()
	l := &link{Previous: c.sum}
	if r != nil {
		c.used[r.id] = true
		l.Run, l.Digest, l.Previous = r.id, r.sum, r.previous
	}
	if c.f.o.Repair {
		c.edits = append(c.edits, edit{key: linkKey(seq), link: l})
	}
	c.pass(seq, l)
	c.open = true
	if r == nil {
		return c.accept(Finding{
			Kind: FoundRemovedRun, Object: fmt.Sprintf("run number %d", seq), Detail: fmt.Sprintf("a run was recorded %s, and neither it nor its link is there", after),
			Effect: "plumb runs and plumb show do not show it; nobody knows any more which it was", Remedy: "the chain says that it is lost",
		}, change{Seq: seq, State: linkLost, Link: c.sum}, "")
	}
	x := Finding{
		Kind: FoundChangedRun, Object: "run " + string(r.id), Detail: "its link in the chain of runs is lost", Effect: "whether its record was changed cannot be told", Remedy: "it is linked anew, which the chain says",
	}
	if next := c.all[seq+1]; next != nil && next.Previous == c.sum {
		x.Effect = "none: what was recorded behind it vouches for its record"
	}
	return c.accept(x, change{Seq: seq, State: linkAltered, Now: r.sum, Link: c.sum}, r.id)
}

// accept notes a finding, and what repairing says of it at the end of the chain: that the
// run is as it is.
func (c *chainCheck) accept(x Finding, said change, of RunID) error {
	c.told = true
	if x.Remedy == "" {
		x.Remedy = acceptChain
	}
	return c.f.found(x, func() error {
		c.say(said, of)
		return nil
	})
}

func (c *chainCheck) say(said change, of RunID) {
	c.changes = append(c.changes, edit{change: &said, of: of})
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
	for _, seq := range slices.Sorted(maps.Keys(c.all)) {
		if h.First = c.all[seq].Run; h.First != "" {
			break
		}
	}
	return h
}

// end looks at the head. One that was written since is left alone.
func (c *chainCheck) end(seq uint64) error {
	if c.head != nil && c.head.Seq == seq {
		if c.head.Digest == c.sum || c.open {
			return nil
		}
		return c.acceptLast("the head of the chain of runs says that it was another")
	}
	if seq == 0 {
		return nil
	}
	h := c.rebuilt()
	h.Seq, h.Digest, h.Linked = seq, c.sum, seq >= c.begin
	e := edit{key: headKey(), version: c.version, val: seal(0, encodeHead(&h))}
	return c.f.found(Finding{
		Kind: FoundWrongIndex, Object: "the chain of runs", Detail: fmt.Sprintf("its head is not that of number %d, the last there is", seq),
		Effect: "whether runs at its end were removed cannot be told", Remedy: "it is written anew",
	}, func() error {
		c.f.edits = slices.Insert(c.f.edits, 0, e) // before anything is said behind it
		return nil
	})
}

// report tells what was accepted of runs that are still to be known of.
func (c *chainCheck) report() {
	for _, seq := range slices.Sorted(maps.Keys(c.said)) {
		x := c.said[seq]
		if x.State != linkAltered && x.State != linkLost && x.State != linkAdded {
			continue
		}
		run := RunID("")
		if l := c.all[seq]; l != nil {
			run = l.Run
		}
		c.f.report.Accepted = append(c.f.report.Accepted, AcceptedRun{run, seq, string(x.State), x.when})
	}
	for seq, at := range c.all {
		if seq < c.begin && at.Run > c.f.report.UnchainedUntil {
			c.f.report.UnchainedUntil = at.Run
		}
	}
}

// sayMended notes what is to be said of a run, whose record may have been repaired just
// before, for something else: it is accepted as it is by then.
func (f *fsck) sayMended(txn *badger.Txn, x change, of RunID) error {
	if !x.Now.IsZero() {
		p, err := f.s.payload(txn, runKey(inRuns, of))
		if err != nil && !errors.Is(err, errFrame) {
			return err
		}
		if p != nil && err == nil {
			x.Now = Sum(p)
		}
	}
	f.changes = append(f.changes, x)
	return nil
}

// linkAddedRun gives a record that was found a place at the end of the chain.
func (s *Store) linkAddedRun(txn *badger.Txn, r *seenRun) error {
	p, err := s.payload(txn, runKey(inRuns, r.id)) // which may have been repaired just before
	if p == nil || err != nil {
		return err
	}
	c := chaining{s: s}
	if err := c.begin(txn, r.id); err != nil {
		return err
	}
	c.append(&link{Run: r.id, Digest: Sum(p), State: linkAdded, When: s.now().UTC()})
	return setAll(txn, c.entries())
}
