package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
	"golang.org/x/sync/errgroup"
)

// Found is what LookupAll says of one key: a record or a miss.
type Found struct {
	Record *Record
	Miss   *Miss
}

// Lookup finds the usable record of a key, or says what kind of miss it is.
func (s *Store) Lookup(k Key) (*Record, *Miss, error) {
	f := Found{Miss: &Miss{Kind: MissAbsent}}
	err := s.view(func(txn *badger.Txn) (err error) {
		f, err = s.lookup(txn, k)
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("looking up the action %q: %w", k, err)
	}
	return f.Record, f.Miss, nil
}

// LookupAll looks up many keys, on all cores; the answers are in the keys' order.
func (s *Store) LookupAll(ctx context.Context, keys []Key) ([]Found, error) {
	out := make([]Found, len(keys))
	workers := min(runtime.GOMAXPROCS(0), 1+len(keys)/64)
	var g errgroup.Group
	for w := range workers {
		from, to := len(keys)*w/workers, len(keys)*(w+1)/workers
		g.Go(func() error {
			for i := from; i < to; i++ {
				out[i].Miss = &Miss{Kind: MissAbsent}
			}
			return s.view(func(txn *badger.Txn) (err error) {
				for i := from; i < to && err == nil; i++ {
					if err = ctx.Err(); err == nil {
						out[i], err = s.lookup(txn, keys[i])
					}
				}
				return err
			})
		})
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("looking up %d actions: %w", len(keys), err)
	}
	return out, nil
}

// lookup answers an effect that is done also when its record is not there any more.
func (s *Store) lookup(txn *badger.Txn, k Key) (Found, error) {
	f, err := s.lookupRecord(txn, k)
	if err != nil || f.Miss == nil {
		return f, err
	}
	done, err := s.done(txn, k)
	if done == nil || err != nil {
		return f, err
	}
	for i := range done.Outputs {
		done.Outputs[i].Dropped = s.check(txn, done.Outputs[i].Artifact) != nil
	}
	return Found{Record: done}, nil
}

func (s *Store) lookupRecord(txn *badger.Txn, k Key) (Found, error) {
	rec, err := s.record(txn, k)
	if errors.Is(err, errFrame) {
		return Found{Miss: &Miss{Kind: MissDamaged, Detail: "the record does not decode"}}, nil
	}
	if err != nil {
		return Found{}, err
	}
	if rec == nil {
		return s.missed(txn, k)
	}
	for _, o := range rec.Outputs {
		if o.Dropped {
			continue
		}
		if err := s.check(txn, o.Artifact); err != nil {
			return Found{Miss: &Miss{Kind: MissDamaged, Detail: fmt.Sprintf("output %q: %v", o.Name, err)}}, nil
		}
	}
	return Found{Record: rec}, nil
}

// record gives nil when there is none.
func (s *Store) record(txn *badger.Txn, k Key) (*Record, error) {
	p, err := s.payload(txn, keyOf(inRecords, k))
	if p == nil || err != nil {
		return nil, err
	}
	return decodeRecord(k, p)
}

func (s *Store) missed(txn *badger.Txn, k Key) (Found, error) {
	p, err := s.payload(txn, keyOf(inTombstones, k))
	if err != nil && !errors.Is(err, errFrame) {
		return Found{}, err
	}
	if p != nil && err == nil {
		if t, err := decodeJSON[Tombstone](p); err == nil {
			return Found{Miss: &Miss{Kind: MissEvicted, Tombstone: t}}, nil
		}
	}
	if err := s.soundLately(); err != nil { // it may well have been there
		return Found{Miss: &Miss{Kind: MissDamaged, Detail: err.Error()}}, nil
	}
	return Found{Miss: &Miss{Kind: MissAbsent}}, nil
}

// Record gives the record of a key without looking at its blobs; nil when there
// is none or it is damaged.
func (s *Store) Record(k Key) (*Record, error) {
	var rec *Record
	err := s.view(func(txn *badger.Txn) (err error) {
		rec, err = s.record(txn, k)
		return err
	})
	if err != nil && !errors.Is(err, errFrame) {
		return nil, fmt.Errorf("reading the record %q: %w", k, err)
	}
	return rec, nil
}

// Failure gives the last failure of an action; nil when there was none.
func (s *Store) Failure(k Key) (*Failure, error) {
	var f *Failure
	err := s.view(func(txn *badger.Txn) error {
		p, err := s.payload(txn, keyOf(inFailures, k))
		if p == nil || err != nil {
			return err
		}
		f, err = decodeJSON[Failure](p)
		return err
	})
	if err != nil && !errors.Is(err, errFrame) {
		return nil, fmt.Errorf("reading the failure of %q: %w", k, err)
	}
	return f, nil
}

// PutFailure records the last failed try at an action.
func (s *Store) PutFailure(f *Failure) error {
	b := s.NewBatch()
	b.PutFailure(f)
	return errors.Join(s.Commit(context.Background(), b), b.Close())
}

// maxHistory bounds how many keys are kept of a stage.
const maxHistory = 16

// StageHistory gives the last distinct keys of a project's stage, newest first.
func (s *Store) StageHistory(project, stage string, limit int) ([]Key, error) {
	var keys []Key
	err := s.view(func(txn *badger.Txn) error {
		b, err := value(txn, historyKey(project, stage))
		keys = decodeKeys(b)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the history of stage %q: %w", stage, err)
	}
	if limit > 0 && len(keys) > limit {
		keys = keys[:limit]
	}
	return keys, nil
}

func decodeKeys(b []byte) []Key {
	keys := make([]Key, 0, len(b)/len(Key{}))
	for ; len(b) >= len(Key{}); b = b[len(Key{}):] {
		keys = append(keys, Key(b[:len(Key{})]))
	}
	return keys
}

// write moves the key to the front. Nothing is written when it is there already,
// as it is in most runs.
func (h *history) write(txn *badger.Txn) error {
	at := historyKey(h.project, h.stage)
	old, err := value(txn, at)
	if err != nil {
		return err
	}
	keys := decodeKeys(old)
	if len(keys) > 0 && keys[0] == h.key {
		return nil
	}
	b := append([]byte(nil), h.key[:]...)
	for _, k := range keys {
		if k != h.key && len(b) < maxHistory*len(k) {
			b = append(b, k[:]...)
		}
	}
	return txn.Set(at, b)
}

// touched remembers which records were used. A day is written once for each, so
// that a hit costs no write.
type touched struct {
	mu    sync.Mutex
	day   int64
	known map[Key]bool // used that day; true when that is not written yet
}

const day = 24 * time.Hour

// Touch says that the record of k is of use. It is written with Maintain or Close.
func (s *Store) Touch(k Key) {
	today := s.now().UnixNano() / int64(day)
	s.touched.mu.Lock()
	defer s.touched.mu.Unlock()
	if s.touched.known == nil || s.touched.day != today {
		s.touched.day, s.touched.known = today, map[Key]bool{}
	}
	if _, ok := s.touched.known[k]; !ok {
		s.touched.known[k] = true
	}
}

func (s *Store) flushTouched() error {
	s.touched.mu.Lock()
	var keys []Key
	for k, unwritten := range s.touched.known {
		if unwritten {
			keys = append(keys, k)
		}
	}
	today := s.touched.day
	s.touched.mu.Unlock()
	for len(keys) > 0 {
		n := min(len(keys), maxTxnCount)
		if err := s.update(func(txn *badger.Txn) error { return touchAll(txn, keys[:n], today) }); err != nil {
			return fmt.Errorf("writing which records were used: %w", err)
		}
		s.touched.written(keys[:n], today)
		keys = keys[n:]
	}
	return nil
}

func (t *touched) written(keys []Key, today int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, k := range keys {
		if t.day == today {
			t.known[k] = false
		}
	}
}

func touchAll(txn *badger.Txn, keys []Key, today int64) error {
	val := binary.AppendVarint(nil, today)
	for _, k := range keys {
		at := keyOf(inUses, k)
		old, err := value(txn, at)
		if err != nil {
			return err
		}
		if string(old) == string(val) {
			continue
		}
		if err := txn.Set(at, val); err != nil {
			return err
		}
	}
	return nil
}
