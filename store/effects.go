package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// An effect is what an action does outside of the store, where nothing can be undone or
// looked up. So two facts are kept of it that gc never drops, since both stand for
// something that is still so in the world:
//
//	e KEY   it began, and may have happened; written and synced before the action starts
//	d KEY   it is done, with what it left; written in the transaction of the record, which
//	        takes the other one away
//
// A done effect is looked up like a result when its record is gone (see lookup): what it
// left may be Dropped then. What does not decode counts as begun, or done.

// Beginning says which attempt at an effect began.
type Beginning struct {
	Run     RunID           `json:"run"`
	Stage   string          `json:"stage"`
	Attempt int             `json:"attempt"`
	When    time.Time       `json:"when"`
	Place   json.RawMessage `json:"place,omitempty"` // where it ran, in the engine's words
}

// Effect is what is known of one. Begun is set while it may have happened and is not
// done; with both, it was begun again.
type Effect struct {
	Begun *Beginning
	Done  *Record
}

// BeginEffect notes that an effect may happen from now on. When it returns that is on
// disk.
func (s *Store) BeginEffect(k Key, b Beginning) error {
	err := func() error {
		p, err := json.Marshal(b)
		if err != nil {
			return err
		}
		if p, err = s.pack.frame(p); err != nil {
			return err
		}
		return s.update(func(txn *badger.Txn) error { return txn.Set(keyOf(inBegun, k), p) })
	}()
	if err != nil {
		return fmt.Errorf("noting that the effect %q begins: %w", k, err)
	}
	return nil
}

// FinishEffect says with a record that its effect is done.
func (b *Batch) FinishEffect(r *Record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.effects = append(b.effects, r)
}

// PutDone notes that the effect of a record is done that was made when nobody said that
// it has one.
func (s *Store) PutDone(r *Record) error {
	b := s.NewBatch()
	b.FinishEffect(r)
	if err := errors.Join(s.Commit(context.Background(), b), b.Close()); err != nil {
		return fmt.Errorf("noting that the effect %q is done: %w", r.Key, err)
	}
	return nil
}

// Effect says what is known of the effect of an action; nil when it never began.
func (s *Store) Effect(k Key) (*Effect, error) {
	var e Effect
	err := s.view(func(txn *badger.Txn) (err error) {
		if e.Done, err = s.done(txn, k); err != nil {
			return err
		}
		e.Begun, err = s.begun(txn, k)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("looking up the effect %q: %w", k, err)
	}
	if e == (Effect{}) {
		return nil, nil
	}
	return &e, nil
}

func (s *Store) begun(txn *badger.Txn, k Key) (*Beginning, error) {
	p, err := s.payload(txn, keyOf(inBegun, k))
	if err == nil && p == nil {
		return nil, nil
	}
	var b *Beginning
	if err == nil {
		b, err = decodeJSON[Beginning](p)
	}
	if errors.Is(err, errFrame) {
		return &Beginning{}, nil
	}
	return b, err
}

func (s *Store) done(txn *badger.Txn, k Key) (*Record, error) {
	p, err := s.payload(txn, keyOf(inDone, k))
	if err == nil && p == nil {
		return nil, nil
	}
	var r *Record
	if err == nil {
		r, err = decodeRecord(k, p)
	}
	if errors.Is(err, errFrame) {
		return &Record{Key: k}, nil
	}
	return r, err
}

// remembered is what of a record outlives it: nothing that gc would have to keep.
func (r *Record) remembered() *Record {
	kept := &Record{Key: r.Key, Outputs: r.Outputs, Metrics: r.Metrics, Run: r.Run, Stage: r.Stage, Created: r.Created}
	for _, a := range r.Attempts {
		a.Log, a.LogBytes = Digest{}, 0
		kept.Attempts = append(kept.Attempts, a)
	}
	return kept
}
