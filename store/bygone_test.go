package store

import (
	"context"
	"testing"

	"github.com/dgraph-io/badger/v4"
	"github.com/google/go-cmp/cmp"
)

// TestRecordOfAKeptRunIsRemembered drops a record that a run names, in each way there is:
// it is a miss from then on, and what it said is known for as long as the run is.
func TestRecordOfAKeptRunIsRemembered(t *testing.T) {
	for _, tt := range []struct {
		name string
		drop func(t *testing.T, s *Store, rec *Record)
		kind MissKind
	}{
		{"by a limit of gc", func(t *testing.T, s *Store, _ *Record) { gc(t, s, Policy{KeepRuns: 1, KeepSize: 1}) }, MissEvicted},
		{"by fsck, its output being lost", func(t *testing.T, s *Store, rec *Record) {
			if err := s.update(func(txn *badger.Txn) error { return txn.Delete(blobKey(rec.Outputs[0].Digest)) }); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Fsck(context.Background(), FsckOptions{Repair: true}); err != nil {
				t.Fatal(err)
			}
		}, MissEvicted},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newClock()
			s := openStore(t, t.TempDir(), Options{Now: c.Now})
			out := mustPut(t, s, []byte("out"), false)
			rec := &Record{Key: Key{1}, Stage: "a", Action: bytesOf("action", 40_000), Run: "r1", Created: c.now.UTC(), Outputs: []Output{{Name: "o", Path: "o", Artifact: out}}}
			commit(t, s, func(b *Batch) { b.PutRecord(rec) })
			r := aRun(t, s, "r1")
			r.Stages = []StageResult{{Name: "a", Status: "ran", Key: rec.Key, Outputs: rec.Outputs}}
			putRun(t, s, r)
			c.now = c.now.Add(2 * day)
			tt.drop(t, s, rec)
			c.now = c.now.Add(2 * day)
			gc(t, s, Policy{KeepRuns: 1, KeepAge: day})
			if have, miss, err := s.Lookup(rec.Key); have != nil || err != nil || miss.Kind != tt.kind {
				t.Errorf("lookup: %v %v %v", have, miss, err)
			}
			got, err := s.Remembered(rec.Key)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(rec, got); diff != "" {
				t.Error(diff)
			}
			if rep, err := s.Fsck(context.Background(), FsckOptions{}); err != nil || !rep.OK {
				t.Errorf("fsck: %+v %v", rep, err)
			}
			gc(t, s, Policy{})
			if got, err := s.Remembered(rec.Key); got != nil || err != nil {
				t.Errorf("without the run: %v %v", got, err)
			}
			if n := len(blobsOf(t, s)); n > 0 {
				t.Errorf("%d blobs are left", n)
			}
		})
	}
}

// TestTableOfBefore reads a table without outputs, as it was written once.
func TestTableOfBefore(t *testing.T) {
	w := &writer{}
	w.uint(1)
	for _, v := range []string{"a", "ran"} {
		w.string(v)
	}
	w.digest(Digest{1})
	w.string("new")
	w.float(1)
	w.string("image")
	w.attempts(nil)
	w.string("")
	w.metrics(map[string]float64{"m": 1})
	got, err := decodeTable(w.b)
	want := []StageResult{{Name: "a", Status: "ran", Key: Key{1}, Reason: "new", Seconds: 1, Image: "image", Metrics: map[string]float64{"m": 1}}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	again := encodeTable(want)
	again[1] = tableVersion + 1
	if _, err := decodeTable(again); err == nil {
		t.Error("a table of a later version decodes")
	}
}
