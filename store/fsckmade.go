package store

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/dgraph-io/badger/v4"
)

// madeOtherwise looks whether the records of results say what the run that made them says
// in its table of stages, which its own record names by digest. One that was made again, by
// a later run, names that run, and is held against its table. Of cached results each run
// has the outputs, too: that tells of those whose own run was dropped. They are looked at
// once for a table that many runs share.
func (f *fsck) madeOtherwise(txn *badger.Txn, run *Run, table Digest) error {
	seen := f.held[table]
	f.held[table] = true
	for i := range run.Stages {
		row := &run.Stages[i]
		maker := run.ID
		if row.Status == "cached" {
			maker = row.MadeBy
		}
		if row.Key.IsZero() || maker == "" || row.Status != "ran" && (seen || row.Status != "cached") {
			continue
		}
		if err := f.heldAgainst(txn, row, maker); err != nil {
			return err
		}
	}
	return nil
}

func (f *fsck) heldAgainst(txn *badger.Txn, row *StageResult, maker RunID) error {
	rec, err := f.s.record(txn, row.Key)
	if errors.Is(err, errFrame) { // it is found by itself
		return nil
	}
	if rec == nil || err != nil || rec.Run != maker || rec.Stage != row.Name || f.other[row.Key] {
		return err
	}
	what := ""
	switch {
	case row.Outputs != nil && !slices.EqualFunc(row.Outputs, rec.Outputs, sameOutput): // runs of before had none
		what = "outputs"
	case !maps.EqualFunc(row.Metrics, rec.Metrics, sameMetric):
		what = "metrics"
	default:
		return nil
	}
	f.other[row.Key] = true
	item, err := txn.Get(keyOf(inRecords, row.Key))
	if err != nil {
		return err
	}
	return f.change(Finding{
		Kind: FoundChangedRecord, Object: fmt.Sprintf("record %s of stage %s", row.Key.Short(), rec.Stage),
		Detail: fmt.Sprintf("its %s are not those that run %s says it made", what, maker),
		Effect: fmt.Sprintf("stage %s of run %s runs again when its result is needed", rec.Stage, maker),
		Remedy: "the record is dropped, and a later plan says why",
	}, edit{key: item.KeyCopy(nil), version: item.Version(), lost: rec, rule: "its " + what + " were changed after it was recorded"})
}

// sameOutput leaves out whether the bytes were dropped, which may be since.
func sameOutput(a, b Output) bool {
	return a.Name == b.Name && a.Path == b.Path && a.Artifact == b.Artifact
}

func sameMetric(a, b float64) bool { return a == b || a != a && b != b }
