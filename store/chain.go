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
// a run has a number and the digest of the final record before it, in the order in which
// they were written; a link beside it has the number, the run and the record's own digest;
// and a head has the last number and digest. All three are written by the transaction
// that makes the record visible. So a record that is changed has another digest than its
// link and than what its successor says, one that is removed leaves its link, one that is
// added has none, and who changes record and link still has to change all behind them.
//
// A run that gc drops leaves its link, marked, so that what was before and after still
// hangs together; so does one that is recorded again, which has a new number. What fsck
// found and was told to accept is marked the same way, and is not forgotten by that: the
// link has the digest of before. It is evidence, no lock: whoever can write the store and
// takes the trouble can forge the whole chain from there on, but not against a head that
// was written down elsewhere.
//
// Links are a hundred bytes each and are kept for ever. Runs from before there was a
// chain have no number.

// link is one place in the chain of runs. Digest is the record's; Previous that of the
// record before. State says what became of it, when that is not what it was.
type link struct {
	Run      RunID
	Digest   Digest
	Previous Digest
	State    linkState
	When     time.Time // of the state
	Now      Digest    // of the record as fsck left it or found it, when altered
}

// linkState is what became of a recorded run.
type linkState string

// The states of links.
const (
	linkSound    linkState = ""
	linkDropped  linkState = "dropped"  // by gc
	linkReplaced linkState = "replaced" // it was recorded again
	linkAltered  linkState = "altered"  // it was changed, or repaired
	linkLost     linkState = "lost"
	linkAdded    linkState = "added" // fsck found a record that had no link
)

// chainHead is the end of the chain. Runs before First may have no number when Old.
type chainHead struct {
	Seq    uint64
	Digest Digest
	First  RunID
	Old    bool // there were runs before the chain
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
	return w.b
}

func decodeLink(b []byte) (*link, error) {
	r := &reader{b: b}
	l := &link{Run: RunID(r.string()), Digest: r.digest(), Previous: r.digest(), State: linkState(r.string()), When: r.time(), Now: r.digest()}
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
	return w.b
}

func decodeHead(b []byte) (*chainHead, error) {
	r := &reader{b: b}
	h := &chainHead{Seq: r.uint(), Digest: r.digest(), First: RunID(r.string()), Old: r.bool()}
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
	err = s.view(func(txn *badger.Txn) error {
		return each(txn, []byte{inLinks}, func(_, frame []byte) error {
			p, _, err := s.pack.unframe(frame)
			if err != nil {
				return nil // fsck says so
			}
			l, err := decodeLink(p)
			if err == nil && l.State == linkDropped && strings.HasPrefix(string(l.Run), ref) && l.Run >= id {
				id, when = l.Run, l.When
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

// markLink says what became of a link; one that is not there is fsck's business.
func (s *Store) markLink(txn *badger.Txn, seq uint64, state linkState, now Digest) error {
	l, err := s.link(txn, seq)
	if l == nil || err != nil {
		if errors.Is(err, errFrame) {
			err = nil
		}
		return err
	}
	l.State, l.When, l.Now = state, s.now().UTC(), now
	return s.setLink(txn, seq, l)
}

// chaining numbers the final records of one commit. Its caller holds the store's
// chain lock until they are written, as each has the digest of the one before.
type chaining struct {
	s     *Store
	head  *chainHead
	links map[uint64]*link
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
	return nil
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
			h = &chainHead{First: l.Run, Old: true} // whether there were is not known any more
		}
		h.Seq, h.Digest = seq, l.Digest
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
		old, err := c.s.link(txn, before.Seq)
		if err != nil && !errors.Is(err, errFrame) {
			return nil, err
		}
		if err == nil && old != nil {
			old.State, old.When = linkReplaced, c.s.now().UTC()
			c.links[before.Seq] = old
		}
	}
	sr.Seq, sr.Previous = c.head.Seq+1, c.head.Digest
	payload, err := json.Marshal(sr)
	if err != nil {
		return nil, err
	}
	c.head.Seq, c.head.Digest = sr.Seq, Sum(payload)
	c.links[sr.Seq] = &link{Run: sr.ID, Digest: c.head.Digest, Previous: sr.Previous}
	return payload, nil
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
