package store

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/dgraph-io/badger/v4"
)

// TestFsckHoldsRecordsAgainstTheirRuns changes a result under its key: the table of the run
// that made it, or of one that found it cached, still says what it was.
func TestFsckHoldsRecordsAgainstTheirRuns(t *testing.T) {
	k := Key{7}
	for _, tt := range []struct {
		name   string
		change func(t *testing.T, s *Store, rec *Record)
		want   []string
	}{
		{"nothing", func(*testing.T, *Store, *Record) {}, nil},
		{"other outputs", func(t *testing.T, s *Store, rec *Record) {
			rec.Outputs = []Output{{Name: "model", Path: "model", Artifact: mustPut(t, s, []byte("other"), false)}}
		}, []string{"changed_record record " + k.Short() + " of stage a"}},
		{"other metrics", func(_ *testing.T, _ *Store, rec *Record) { rec.Metrics = map[string]float64{"acc": 0.99} },
			[]string{"changed_record record " + k.Short() + " of stage a"}},
		{"bytes that were dropped", func(_ *testing.T, _ *Store, rec *Record) { rec.Outputs[0].Dropped = true }, nil},
		{"made again by a later run", func(t *testing.T, s *Store, rec *Record) {
			rec.Run, rec.Metrics = "r3", map[string]float64{"acc": 0.7}
			rec.Outputs = []Output{{Name: "model", Path: "model", Artifact: mustPut(t, s, []byte("again"), false)}}
			putRun(t, s, madeRun(s, "r3", rec))
		}, nil},
	} {
		for _, gone := range []bool{false, true} {
			name := tt.name
			if gone {
				name += ", and its run is dropped"
			}
			t.Run(name, func(t *testing.T) {
				s := openStore(t, t.TempDir(), Options{})
				rec := &Record{
					Key: k, Action: []byte("a"), Run: "r1", Stage: "a", Created: s.now(), Metrics: map[string]float64{"acc": 0.5},
					Outputs: []Output{{Name: "model", Path: "model", Artifact: mustPut(t, s, []byte("model"), false)}},
				}
				b := s.NewBatch()
				b.PutRecord(rec)
				b.PutRun(madeRun(s, "r1", rec))
				cached := madeRun(s, "r2", rec)
				cached.Stages[0].Status, cached.Stages[0].MadeBy = "cached", "r1"
				b.PutRun(cached)
				if err := errors.Join(s.Commit(context.Background(), b), b.Close()); err != nil {
					t.Fatal(err)
				}
				tt.change(t, s, rec)
				meddle(t, s, func(txn *badger.Txn) error {
					if !gone {
						return txn.Set(keyOf(inRecords, k), seal(0, encodeRecord(rec)))
					}
					return errors.Join(removeRun(txn, "r1"), s.sayChanges(txn, []change{{Seq: 1, State: linkDropped}}), txn.Set(keyOf(inRecords, k), seal(0, encodeRecord(rec))))
				})
				rep, err := s.Fsck(context.Background(), FsckOptions{Repair: true})
				if err != nil || !slices.Equal(findings(rep), tt.want) {
					t.Errorf("%v, want %v: %+v %v", findings(rep), tt.want, rep.Findings, err)
				}
				sound(t, s, "after the repair")
				if found, miss, err := s.Lookup(k); err != nil || (found == nil) != (tt.want != nil) {
					t.Errorf("looking it up: %+v %+v %v", found, miss, err)
				}
			})
		}
	}
}

// madeRun is a run that made a record.
func madeRun(s *Store, id RunID, rec *Record) *Run {
	return &Run{ID: id, Project: "/p", Status: "succeeded", Started: s.now(), Stages: []StageResult{
		{Name: rec.Stage, Status: "ran", Key: rec.Key, Metrics: rec.Metrics, Outputs: slices.Clone(rec.Outputs)},
	}}
}
