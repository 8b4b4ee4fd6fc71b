package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/dgraph-io/badger/v4"
	"github.com/google/go-cmp/cmp"
)

// chainOf is a store with five runs, r1 to r5.
func chainOf(t *testing.T) *Store {
	t.Helper()
	c := newClock()
	s := openStore(t, t.TempDir(), Options{Now: c.Now})
	for i := range 5 {
		c.now = c.now.Add(day)
		putRun(t, s, aRun(t, s, RunID(fmt.Sprint("r", i+1))))
	}
	return s
}

func meddle(t *testing.T, s *Store, fn func(*badger.Txn) error) {
	t.Helper()
	if err := s.update(fn); err != nil {
		t.Fatal(err)
	}
}

// forge writes the record of a run anew, as one would who knows the format.
func forge(t *testing.T, s *Store, txn *badger.Txn, from, to RunID, change func(*storedRun)) {
	t.Helper()
	sr, err := s.storedRun(txn, from)
	if err != nil {
		t.Fatal(err)
	}
	change(sr)
	p, err := json.Marshal(sr)
	if err != nil {
		t.Fatal(err)
	}
	if err := txn.Set(runKey(inRuns, to), seal(0, p)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(txn.Set(projectKey(sr.Project, to), nil), txn.Delete(runKey(inSummaries, to))); err != nil {
		t.Fatal(err)
	}
}

func findings(rep *FsckReport) (out []string) {
	for _, x := range rep.Findings {
		out = append(out, string(x.Kind)+" "+x.Object)
	}
	return out
}

// TestChainOfRuns meddles with a store in the ways there are: fsck names the run, and
// when it was told to accept that, it finds nothing more, also after further runs.
func TestChainOfRuns(t *testing.T) {
	for _, tt := range []struct {
		name   string
		meddle func(t *testing.T, s *Store, txn *badger.Txn) error
		want   []string
	}{
		{"nothing", func(*testing.T, *Store, *badger.Txn) error { return nil }, nil},
		{"a changed param", func(t *testing.T, s *Store, txn *badger.Txn) error {
			forge(t, s, txn, "r2", "r2", func(r *storedRun) { r.Params = []RunParam{{Name: "lr", Value: "2"}} })
			return nil
		}, []string{"changed_run run r2"}},
		{"a changed last run", func(t *testing.T, s *Store, txn *badger.Txn) error {
			forge(t, s, txn, "r5", "r5", func(r *storedRun) { r.Status = "failed" })
			return nil
		}, []string{"changed_run run r5"}},
		{"a changed run and its link", func(t *testing.T, s *Store, txn *badger.Txn) error {
			forge(t, s, txn, "r2", "r2", func(r *storedRun) { r.Status = "failed" })
			p, err := s.payload(txn, runKey(inRuns, "r2"))
			if err != nil {
				return err
			}
			l, err := s.link(txn, 2)
			if err != nil {
				return err
			}
			l.Digest = Sum(p)
			return s.setLink(txn, 2, l)
		}, []string{"changed_run run r2"}},
		{"a removed run", func(_ *testing.T, _ *Store, txn *badger.Txn) error { return removeRun(txn, "r3") }, []string{"removed_run run r3"}},
		{"a removed run and its link", func(_ *testing.T, _ *Store, txn *badger.Txn) error {
			if err := removeRun(txn, "r3"); err != nil {
				return err
			}
			return txn.Delete(linkKey(3))
		}, []string{"removed_run run number 3"}},
		{"the first run and its link", func(_ *testing.T, _ *Store, txn *badger.Txn) error {
			if err := removeRun(txn, "r1"); err != nil {
				return err
			}
			return txn.Delete(linkKey(1))
		}, []string{"removed_run run number 1"}},
		{"the last two runs and their links", func(_ *testing.T, _ *Store, txn *badger.Txn) error {
			for i, id := range []RunID{"r4", "r5"} {
				if err := removeRun(txn, id); err != nil {
					return err
				}
				if err := txn.Delete(linkKey(uint64(i + 4))); err != nil {
					return err
				}
			}
			return nil
		}, []string{"removed_run run number 4", "removed_run run number 5"}},
		{"an added run", func(t *testing.T, s *Store, txn *badger.Txn) error {
			forge(t, s, txn, "r3", "r35", func(r *storedRun) { r.ID, r.Seq = "r35", 0 })
			return nil
		}, []string{"added_run run r35"}},
		{"an added run with a number that is taken", func(t *testing.T, s *Store, txn *badger.Txn) error {
			forge(t, s, txn, "r3", "r35", func(r *storedRun) { r.ID = "r35" })
			return nil
		}, []string{"added_run run r35"}},
		{"an added run from before the others", func(t *testing.T, s *Store, txn *badger.Txn) error {
			forge(t, s, txn, "r3", "a1", func(r *storedRun) { r.ID, r.Seq = "a1", 0 })
			return nil
		}, []string{"added_run run a1"}},
		{"a lost link", func(_ *testing.T, _ *Store, txn *badger.Txn) error { return txn.Delete(linkKey(2)) }, []string{"changed_run run r2"}},
		{"a link that is changed", func(_ *testing.T, s *Store, txn *badger.Txn) error {
			l, err := s.link(txn, 3)
			if err != nil {
				return err
			}
			l.Previous = Digest{1}
			return s.setLink(txn, 3, l)
		}, []string{"changed_run run r3"}},
		{"a lost head", func(_ *testing.T, _ *Store, txn *badger.Txn) error { return txn.Delete(headKey()) }, []string{"wrong_index the chain of runs"}},
		{"a head of before", func(_ *testing.T, s *Store, txn *badger.Txn) error {
			l, err := s.link(txn, 4)
			if err != nil {
				return err
			}
			return txn.Set(headKey(), seal(0, encodeHead(&chainHead{Seq: 4, Digest: l.Digest, First: "r1"})))
		}, []string{"wrong_index the chain of runs"}},
		{"a number that is changed", func(t *testing.T, s *Store, txn *badger.Txn) error {
			forge(t, s, txn, "r3", "r3", func(r *storedRun) { r.Seq = 0 })
			return nil
		}, []string{"changed_run run r3"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := chainOf(t)
			meddle(t, s, func(txn *badger.Txn) error { return tt.meddle(t, s, txn) })
			for _, repair := range []bool{false, true} {
				rep, err := s.Fsck(context.Background(), FsckOptions{Repair: repair})
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tt.want, findings(rep)); diff != "" || rep.OK != (repair || tt.want == nil) {
					t.Errorf("repair %v, ok %v: %s %+v", repair, rep.OK, diff, rep.Findings)
				}
			}
			sound(t, s, "after the repair")
			putRun(t, s, aRun(t, s, "r6"))
			putRun(t, s, aRun(t, s, "r7"))
			sound(t, s, "after further runs")
		})
	}
}

func removeRun(txn *badger.Txn, id RunID) error {
	for _, key := range [][]byte{runKey(inRuns, id), projectKey("/p", id), runKey(inSummaries, id)} {
		if err := txn.Delete(key); err != nil {
			return err
		}
	}
	return nil
}

func sound(t *testing.T, s *Store, when string) {
	t.Helper()
	if rep, err := s.Fsck(context.Background(), FsckOptions{}); err != nil || !rep.OK {
		t.Errorf("%s: %+v %v", when, rep, err)
	}
}

func TestChainGoesOn(t *testing.T) {
	s := chainOf(t)
	gc(t, s, Policy{KeepRuns: 2})
	sound(t, s, "after gc")
	running := aRun(t, s, "r6")
	running.Status = statusRunning
	putRun(t, s, running)
	sound(t, s, "while one runs")
	running.Status = "canceled"
	putRun(t, s, running)
	putRun(t, s, running)
	sound(t, s, "when one was recorded twice")
	gc(t, s, Policy{KeepRuns: 0})
	sound(t, s, "when all are dropped")
	putRun(t, s, aRun(t, s, "r7"))
	r, err := s.Run("r7")
	if err != nil || r.Seq != 8 || r.Previous.IsZero() {
		t.Errorf("%+v %v", r, err)
	}
	meddle(t, s, func(txn *badger.Txn) error { return removeRun(txn, "r7") })
	if rep, err := s.Fsck(context.Background(), FsckOptions{}); err != nil || !slices.Equal(findings(rep), []string{"removed_run run r7"}) {
		t.Errorf("%+v %v", rep, err)
	}
}

// TestChainBeginsBehindOldRuns: records without a number are of before there was a chain.
func TestChainBeginsBehindOldRuns(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	old := aRun(t, s, "a1")
	p, err := json.Marshal(storedRun{Run: *old})
	if err != nil {
		t.Fatal(err)
	}
	meddle(t, s, func(txn *badger.Txn) error {
		if err := txn.Set(projectKey("/p", "a1"), nil); err != nil {
			return err
		}
		return txn.Set(runKey(inRuns, "a1"), seal(0, p))
	})
	sound(t, s, "before")
	putRun(t, s, aRun(t, s, "r1"))
	sound(t, s, "after")
	gc(t, s, Policy{KeepRuns: 1})
	sound(t, s, "without the old one")
}

// TestChainOfARunThatIsRepaired loses the link of a run and a log of it: repairing the one
// does not make the other wrong.
func TestChainOfARunThatIsRepaired(t *testing.T) {
	for name, also := range map[string]func(*badger.Txn) error{
		"the log alone":        func(*badger.Txn) error { return nil },
		"the log and its link": func(txn *badger.Txn) error { return txn.Delete(linkKey(6)) },
	} {
		s := chainOf(t)
		lost, err := s.PutLog(context.Background(), strings.NewReader("printed"))
		if err != nil {
			t.Fatal(err)
		}
		r := aRun(t, s, "r6")
		r.Stages[0].Attempts = []Attempt{{Class: ClassOK, Log: lost}}
		putRun(t, s, r)
		putRun(t, s, aRun(t, s, "r7"))
		meddle(t, s, func(txn *badger.Txn) error { return errors.Join(txn.Delete(blobKey(lost)), also(txn)) })
		if _, err := s.Fsck(context.Background(), FsckOptions{Repair: true}); err != nil {
			t.Fatal(err)
		}
		sound(t, s, name)
	}
}

// TestRunsAreChainedFromAllSides records runs at the same time.
func TestRunsAreChainedFromAllSides(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 10 {
				if err := s.PutRun(&Run{ID: RunID(fmt.Sprintf("r%d-%d", i, n)), Project: "/p", Status: "succeeded"}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	sound(t, s, "after all")
	rep, err := s.Fsck(context.Background(), FsckOptions{})
	if err != nil || rep.Links != 80 {
		t.Errorf("%d links, %v", rep.Links, err)
	}
}
