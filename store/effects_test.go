package store

import (
	"encoding/hex"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/google/go-cmp/cmp"
)

func effectOf(t *testing.T, s *Store, k Key) *Effect {
	t.Helper()
	e, err := s.Effect(k)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// finishEffect commits a result with its effect.
func finishEffect(t *testing.T, s *Store, id byte, n int) *Record {
	t.Helper()
	rec := &Record{Key: Key{id}, Stage: "load", Run: "r1", Created: s.now(), Metrics: map[string]float64{"rows": 3}, Inputs: []Artifact{{Kind: KindFile, Digest: Sum([]byte("in")), Size: 2}}}
	commit(t, s, func(b *Batch) {
		a, err := b.Put(newBytes(bytesOf("receipt", n)), false)
		if err != nil {
			t.Fatal(err)
		}
		rec.Outputs = []Output{{Name: "receipt", Artifact: a}}
		b.PutRecord(rec)
		b.FinishEffect(rec)
	})
	return rec
}

func TestEffectFromBeginningToEnd(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Options{})
	if e := effectOf(t, s, Key{1}); e != nil {
		t.Errorf("before it began: %+v", e)
	}
	begun := Beginning{Run: "r1", Stage: "load", Attempt: 2, When: time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC), Place: []byte(`{}`)}
	if err := s.BeginEffect(Key{1}, begun); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	s = openStore(t, dir, Options{})
	if diff := cmp.Diff(&Effect{Begun: &begun}, effectOf(t, s, Key{1})); diff != "" {
		t.Errorf("begun (-want +got):\n%s", diff)
	}
	gc(t, s, Policy{})
	if e := effectOf(t, s, Key{1}); e == nil || e.Begun == nil {
		t.Errorf("after gc: %+v", e)
	}
	rec := finishEffect(t, s, 1, 10)
	if e := effectOf(t, s, Key{1}); e.Begun != nil || e.Done == nil || e.Done.Run != rec.Run {
		t.Errorf("done: %+v", e)
	}
	if err := s.BeginEffect(Key{1}, begun); err != nil {
		t.Fatal(err)
	}
	if e := effectOf(t, s, Key{1}); e.Begun == nil || e.Done == nil {
		t.Errorf("begun again: %+v", e)
	}
}

// TestDoneEffectIsFoundWithoutItsRecord, with the outputs that are there still.
func TestDoneEffectIsFoundWithoutItsRecord(t *testing.T) {
	for _, c := range []struct {
		name    string
		size    int
		lose    func(*testing.T, *Store)
		dropped bool
	}{
		{"record and blobs collected", 10, func(t *testing.T, s *Store) { gc(t, s, Policy{}) }, true},
		{"large ones, too", 100_000, func(t *testing.T, s *Store) { gc(t, s, Policy{}) }, true},
		{"record damaged", 10, func(t *testing.T, s *Store) { overwrite(t, s, keyOf(inRecords, Key{1}), []byte("x")) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := openStore(t, t.TempDir(), Options{})
			want := finishEffect(t, s, 1, c.size)
			c.lose(t, s)
			rec, miss, err := s.Lookup(Key{1})
			if err != nil || miss != nil {
				t.Fatalf("miss %+v, %v", miss, err)
			}
			if o := rec.Outputs[0]; o.Digest != want.Outputs[0].Digest || o.Dropped != c.dropped || rec.Metrics["rows"] != 3 || rec.Run != "r1" {
				t.Errorf("found %+v", rec)
			}
		})
	}
}

func overwrite(t *testing.T, s *Store, key, val []byte) {
	t.Helper()
	if err := s.update(func(txn *badger.Txn) error { return txn.Set(key, val) }); err != nil {
		t.Fatal(err)
	}
}

// TestDamagedEffectCounts: what cannot be read began, or is done.
func TestDamagedEffectCounts(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	overwrite(t, s, keyOf(inBegun, Key{1}), []byte("x"))
	overwrite(t, s, keyOf(inDone, Key{2}), []byte("x"))
	if e := effectOf(t, s, Key{1}); e == nil || e.Begun == nil {
		t.Errorf("begun: %+v", e)
	}
	if e := effectOf(t, s, Key{2}); e == nil || e.Done == nil {
		t.Errorf("done: %+v", e)
	}
}

// TestRecordsOfBefore holds the bytes that plumb wrote before outputs could be dropped
// and attempts resumed, and the new marks against them.
func TestRecordsOfBefore(t *testing.T) {
	rec := &Record{
		Key: Key{1}, Action: []byte("action"), Stage: "s", Run: "r", Created: time.Unix(1, 2).UTC(),
		Outputs: []Output{
			{Name: "a", Path: "p", Artifact: Artifact{Kind: KindFile, Digest: Sum([]byte("a")), Size: 1, Exec: true}},
			{Name: "b", Path: "q", Artifact: Artifact{Kind: KindTree, Digest: Sum([]byte("b")), Size: 2, Files: 3}},
		},
		Attempts: []Attempt{
			{Class: ClassPreempted, Signal: "SIGTERM", Started: time.Unix(3, 4).UTC(), Seconds: 1.5, PeakMemory: -1},
			{Class: ClassOK, Started: time.Unix(5, 6).UTC(), Log: Sum([]byte("log")), LogBytes: 7, MemoryLimit: 8},
		},
	}
	const before = "06616374696f6e0002016101700101ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb02000162017102013e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d04060000017201730184a8d6b9070209707265656d7074656400075349475445524d000188f882ad16000000000000f83f0000000000000000010000000000026f6b000000018cc8afa025000000000000000000000000000000000000001001836ff184e7b41b1e13cb5fd89fa1de98dbbab99e9d2918913ff43b86a5c7c2130e"
	if got := hex.EncodeToString(encodeRecord(rec)); got != before {
		t.Errorf("encoded as %s", got)
	}
	for _, c := range []struct {
		name   string
		change func(*Record)
	}{
		{"as before", func(*Record) {}},
		{"dropped", func(r *Record) { r.Outputs[0].Dropped, r.Outputs[1].Dropped = true, true }},
		{"resumed", func(r *Record) { r.Attempts[0].Resumed, r.Attempts[1].Resumed = true, true }},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.change(rec)
			back, err := decodeRecord(rec.Key, encodeRecord(rec))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(rec, back); diff != "" {
				t.Errorf("read back (-want +got):\n%s", diff)
			}
		})
	}
}
