package store

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// gc by a clock that was wrong drops nothing that was used within its age by the right
// one, when it is set back; nothing of what is under way, when it jumps ahead.
func TestGCWithAClockThatJumps(t *testing.T) {
	const age = 7 * day
	for _, tt := range []struct {
		name         string
		before, then time.Duration // what the clock shows when a record is made, and at gc
		kept         bool
	}{
		{"a right clock, young", 0, day, true},
		{"a right clock, old", 0, 10 * day, false},
		{"set back by a year", 365 * day, 0, true},
		{"set back by a second", time.Second, 0, true},
		{"ahead by a year", 0, 365 * day, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newClock()
			begin := c.now
			s := openStore(t, t.TempDir(), Options{Now: c.Now})
			key := Key(Sum([]byte("used")))
			c.now = begin.Add(tt.before)
			commit(t, s, func(b *Batch) { b.PutRecord(&Record{Key: key, Stage: "used", Created: c.now}) })
			s.Touch(key)
			if err := s.Maintain(context.Background()); err != nil {
				t.Fatal(err)
			}
			c.now = begin.Add(tt.then)
			if _, err := s.GC(context.Background(), Policy{KeepAge: age}); err != nil {
				t.Fatal(err)
			}
			if rec, err := s.Record(key); err != nil || (rec != nil) != tt.kept {
				t.Errorf("the record is %v, %v", rec, err)
			}
		})
	}
}

// A clock that jumps ahead while something is being made ends no lease, and what was
// set aside under a time that comes again is not mistaken for something else.
func TestUnderWayWhenTheClockJumps(t *testing.T) {
	c := newClock()
	dir := t.TempDir()
	s := openStore(t, dir, Options{Now: c.Now})
	b := s.NewBatch()
	large, err := b.Put(newBytes(bytesOf("large", 30_000)), false)
	if err != nil {
		t.Fatal(err)
	}
	small := mustPut(t, s, []byte("small"), false)
	defer s.LeaseBlobs(small)()
	c.now = c.now.Add(365 * day)
	if _, err := s.GC(context.Background(), Policy{}); err != nil {
		t.Fatal(err)
	}
	b.PutRecord(&Record{Key: Key{1}, Created: c.now, Outputs: []Output{{Name: "large", Artifact: large}, {Name: "small", Artifact: small}}})
	if err := s.Commit(context.Background(), b); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, miss, err := s.Lookup(Key{1}); miss != nil || err != nil {
		t.Errorf("%+v, %v", miss, err)
	}
	closeStore(t, s)
	for i := range 3 { // the same time each time
		if err := writeSynced(s.path("tmp", fmt.Sprint(i)), nil); err != nil {
			t.Fatal(err)
		}
		s = openStore(t, dir, Options{Now: c.Now})
		closeStore(t, s)
	}
}
