package store

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// What a run did cannot be changed afterwards without fsck noticing. Each final record of
// a run has a number, and a link of that number beside it, with the run, the digest of the
// record and that of the link before; the record has that too, and a head has the last
// number and digest. All three are written by the transaction that makes the record
// visible. So a record that is changed has another digest than its link, one that is
// removed leaves its link, one that is added has none, and who changes a link has to change
// all behind it.
//
// A link is not written again. What becomes of a run later (gc drops it, it is recorded
// again, fsck found it changed and was told to accept that) is a link of its own at the end
// of the chain, one for many runs, and so is as hard to change as what runs did. What fsck
// accepted it tells of for ever. All this is evidence, no lock: whoever can write the store
// and takes the trouble can forge the whole chain from some run on, or put to its end that
// one was dropped, but not against a head that was written down elsewhere.
//
// The chain begins with a link that has nothing in it. In stores of before that, digests
// went from record to record, and a link said itself what became of its run. There the
// empty link is behind the links of that time, up to which what they say is believed.
//
// Links are a hundred bytes each and are kept for ever. Runs from before there was a
// chain have no number.

// link is one place in the chain of runs. Digest is the record's; Previous that of the
// link before, and of the record before where links are of the old kind.
type link struct {
	Run      RunID
	Digest   Digest
	Previous Digest
	State    linkState
	When     time.Time // of the state
	Now      Digest    // of the record as fsck left it or found it; of the old kind
	Changes  []change  // of linkChanges
}

// linkState is what became of a recorded run, or what a link is that is of none.
type linkState string

// The states of links.
const (
	linkSound    linkState = ""
	linkDropped  linkState = "dropped"  // by gc
	linkReplaced linkState = "replaced" // it was recorded again
	linkAltered  linkState = "altered"  // it was changed, or repaired
	linkLost     linkState = "lost"
	linkAdded    linkState = "added" // fsck found a record that had no link

	linkBegin   linkState = "begin" // from here on, each link has the digest of the one before
	linkChanges linkState = "changes"
)

// change is what became of the run of a number. Now is the digest of its record as fsck
// left or found it, Link that of its link, which the one behind it says was another.
type change struct {
	Seq   uint64
	State linkState
	Now   Digest
	Link  Digest
}

// chainHead is the end of the chain. Runs before First may have no number when Old.
type chainHead struct {
	Seq    uint64
	Digest Digest
	First  RunID
	Old    bool // there were runs before the chain
	Linked bool // Digest is that of a link, not of a record
}

func linkKey(seq uint64) []byte { return binary.BigEndian.AppendUint64([]byte{inLinks}, seq) }

func headKey() []byte { return []byte{inHead} }

func encodeLink(l *link) []byte {
	w := &writer{}
	w.string(string(l.Run))
	w.digest(l.Digest)
	w.digest(l.Previous)
	w.string(string(l.State))
	w.time(l.When)
	w.digest(l.Now)
	if l.State == linkChanges {
		w.uint(uint64(len(l.Changes)))
		for _, c := range l.Changes {
			w.uint(c.Seq)
			w.string(string(c.State))
			w.digest(c.Now)
			w.digest(c.Link)
		}
	}
	return w.b
}

// sum is what the link behind this one has of it.
func (l *link) sum() Digest { return Sum(encodeLink(l)) }

// beginning is the sum of the link that begins a chain, behind what was there before.
func beginning(before Digest) Digest { return (&link{State: linkBegin, Previous: before}).sum() }

func decodeLink(b []byte) (*link, error) {
	r := &reader{b: b}
	l := &link{Run: RunID(r.string()), Digest: r.digest(), Previous: r.digest(), State: linkState(r.string()), When: r.time(), Now: r.digest()}
	if l.State == linkChanges {
		l.Changes = make([]change, r.count(4))
		for i := range l.Changes {
			l.Changes[i] = change{r.uint(), linkState(r.string()), r.digest(), r.digest()}
		}
	}
	if !r.done() {
		return nil, errFrame
	}
	return l, nil
}

func encodeHead(h *chainHead) []byte {
	w := &writer{}
	w.uint(h.Seq)
	w.digest(h.Digest)
	w.string(string(h.First))
	w.bool(h.Old)
	w.bool(h.Linked)
	return w.b
}

func decodeHead(b []byte) (*chainHead, error) {
	r := &reader{b: b}
	h := &chainHead{Seq: r.uint(), Digest: r.digest(), First: RunID(r.string()), Old: r.bool()}
	if len(r.b) > 0 { // else it is of before there was such a thing
		h.Linked = r.bool()
	}
	if !r.done() {
		return nil, errFrame
	}
	return h, nil
}

// head reads the end of the chain; nil when there is none.
func (s *Store) head(txn *badger.Txn) (*chainHead, error) {
	p, err := s.payload(txn, headKey())
	if p == nil || err != nil {
		return nil, err
	}
	return decodeHead(p)
}

func (s *Store) link(txn *badger.Txn, seq uint64) (*link, error) {
	p, err := s.payload(txn, linkKey(seq))
	if p == nil || err != nil {
		return nil, err
	}
	return decodeLink(p)
}

// DroppedRun finds the newest run that gc dropped and whose id begins with ref, and when
// that was: its link in the chain is kept. "" is for none. It goes through all links, which
// is for answers that nobody waits for often: a hundred thousand take 0.1 s.
func (s *Store) DroppedRun(ref string) (id RunID, when time.Time, err error) {
	named := map[uint64]RunID{}
	take := func(run RunID, state linkState, at time.Time) {
		if state == linkDropped && run >= id {
			id, when = run, at
		}
	}
	err = s.view(func(txn *badger.Txn) error {
		return each(txn, []byte{inLinks}, func(key, frame []byte) error {
			p, _, err := s.pack.unframe(frame)
			if err != nil || len(key) != 9 {
				return nil // fsck says so
			}
			l, err := decodeLink(p)
			if err != nil {
				return nil // as above
			}
			if l.Run != "" && strings.HasPrefix(string(l.Run), ref) {
				named[binary.BigEndian.Uint64(key[1:])] = l.Run
				take(l.Run, l.State, l.When) // of the old kind
			}
			for _, c := range l.Changes {
				if run, ok := named[c.Seq]; ok {
					take(run, c.State, l.When)
				}
			}
			return nil
		})
	})
	if err != nil {
		return "", time.Time{}, fmt.Errorf("looking for run %q among those that were dropped: %w", ref, err)
	}
	return id, when, nil
}

func (s *Store) setLink(txn *badger.Txn, seq uint64, l *link) error {
	return txn.Set(linkKey(seq), seal(0, encodeLink(l)))
}

// sayChanges puts to the end of the chain what became of runs. Its caller holds off commits.
func (s *Store) sayChanges(txn *badger.Txn, changes []change) error {
	if len(changes) == 0 {
		return nil
	}
	c := chaining{s: s, changes: changes}
	if err := c.begin(txn, ""); err != nil {
		return err
	}
	c.sayChanges()
	return setAll(txn, c.entries())
}

// chaining numbers the final records of one commit. Its caller holds the store's
// chain lock until they are written, as each has the digest of the one before.
type chaining struct {
	s       *Store
	head    *chainHead
	links   map[uint64]*link
	changes []change // to be said
}

// begin reads where the chain ends. One whose end is lost goes on behind its last link.
func (c *chaining) begin(txn *badger.Txn, first RunID) error {
	h, err := c.s.head(txn)
	if err != nil && !errors.Is(err, errFrame) {
		return err
	}
	if h == nil {
		if h, err = c.s.headOfLinks(txn); err != nil {
			return err
		}
	}
	if h == nil {
		h = &chainHead{First: first}
		if err := c.s.eachRun(txn, RunFilter{}, func(id RunID) (bool, error) {
			active, err := has(txn, runKey(inActive, id))
			h.Old = !active
			return active, err
		}); err != nil {
			return err
		}
	}
	c.head, c.links = h, map[uint64]*link{}
	switch {
	case h.Linked:
	case h.Seq == 0 && h.Digest.IsZero():
		h.Linked, h.Digest, c.links[0] = true, beginning(Digest{}), &link{State: linkBegin}
	default:
		h.Linked = true
		c.append(&link{State: linkBegin})
	}
	return nil
}

// append puts a link to the end of the chain.
func (c *chaining) append(l *link) {
	l.Previous = c.head.Digest
	c.head.Seq++
	c.head.Digest, c.links[c.head.Seq] = l.sum(), l
}

func (c *chaining) sayChanges() {
	if len(c.changes) > 0 {
		c.append(&link{State: linkChanges, When: c.s.now().UTC(), Changes: c.changes})
		c.changes = nil
	}
}

// headOfLinks makes the head anew of what hangs on it; nil when there is no link.
func (s *Store) headOfLinks(txn *badger.Txn) (*chainHead, error) {
	var h *chainHead
	err := eachItem(txn, inLinks, func(item *badger.Item) error {
		if len(item.Key()) != 9 {
			return nil
		}
		seq := binary.BigEndian.Uint64(item.Key()[1:])
		l, err := s.link(txn, seq)
		if err != nil || l == nil {
			if errors.Is(err, errFrame) {
				err = nil
			}
			return err
		}
		if h == nil {
			h = &chainHead{Old: true} // whether there were is not known any more
		}
		if h.First == "" {
			h.First = l.Run
		}
		h.Linked = h.Linked || l.State == linkBegin || l.Previous == beginning(Digest{})
		if h.Seq, h.Digest = seq, l.Digest; h.Linked {
			h.Digest = l.sum()
		}
		return nil
	})
	return h, err
}

// add gives a run its place and returns its record's payload.
func (c *chaining) add(txn *badger.Txn, sr *storedRun) ([]byte, error) {
	before, err := c.s.storedRun(txn, sr.ID)
	if err != nil && !errors.Is(err, errFrame) {
		return nil, err
	}
	if err == nil && before != nil && before.Seq > 0 {
		ok, err := c.s.isLinkOf(txn, before.Seq, sr.ID)
		if err != nil {
			return nil, err
		}
		if ok {
			c.changes = append(c.changes, change{Seq: before.Seq, State: linkReplaced})
		}
	}
	sr.Seq, sr.Previous = c.head.Seq+1, c.head.Digest
	payload, err := json.Marshal(sr)
	if err != nil {
		return nil, err
	}
	c.append(&link{Run: sr.ID, Digest: Sum(payload)})
	return payload, nil
}

// isLinkOf reports whether a run has the link that its record says; one that is not there
// is fsck's business.
func (s *Store) isLinkOf(txn *badger.Txn, seq uint64, id RunID) (bool, error) {
	l, err := s.link(txn, seq)
	if errors.Is(err, errFrame) {
		return false, nil
	}
	return l != nil && l.Run == id, err
}

// entries is what to write beside the records.
func (c *chaining) entries() []entry {
	out := []entry{{headKey(), seal(0, encodeHead(c.head))}}
	for seq, l := range c.links {
		out = append(out, entry{linkKey(seq), seal(0, encodeLink(l))})
	}
	return out
}

// chained makes the entries of the batch's runs. One that is under way has no number yet.
func (b *Batch) chained(runs []*runEntry) (out []entry, err error) {
	c := chaining{s: b.s}
	if err := b.s.view(func(txn *badger.Txn) error {
		for _, r := range runs {
			if err := c.place(txn, r); err != nil {
				return fmt.Errorf("run %q: %w", r.stored.ID, err)
			}
		}
		return nil
	}); err != nil {
		return nil, err
	}
	for _, r := range runs {
		frame, err := b.fit(r.payload)
		if err != nil {
			return nil, err
		}
		out = append(out, entry{runKey(inRuns, r.stored.ID), frame}, entry{runKey(inSummaries, r.stored.ID), r.summary})
	}
	if c.head != nil {
		c.sayChanges()
		out = append(out, c.entries()...)
	}
	return out, nil
}

func (c *chaining) place(txn *badger.Txn, r *runEntry) (err error) {
	r.stored.Seq, r.stored.Previous = 0, Digest{}
	if r.stored.Status == statusRunning {
		r.payload, err = json.Marshal(r.stored)
		return err
	}
	if c.head == nil {
		if err := c.begin(txn, r.stored.ID); err != nil {
			return err
		}
	}
	r.payload, err = c.add(txn, r.stored)
	return err
}
