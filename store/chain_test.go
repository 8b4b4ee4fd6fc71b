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
			return changeLink(s, txn, 2, func(l *link) { l.Digest = Sum(p) })
		}, []string{"changed_run run r2"}},
		{"a changed run, and a link that says so", func(t *testing.T, s *Store, txn *badger.Txn) error {
			forge(t, s, txn, "r2", "r2", func(r *storedRun) { r.Params = []RunParam{{Name: "lr", Value: "2"}} })
			p, err := s.payload(txn, runKey(inRuns, "r2"))
			if err != nil {
				return err
			}
			return changeLink(s, txn, 2, func(l *link) { l.State, l.Now, l.When = linkAltered, Sum(p), s.now() })
		}, []string{"changed_run run r2"}},
		{"a changed last run, and its link", func(t *testing.T, s *Store, txn *badger.Txn) error {
			forge(t, s, txn, "r5", "r5", func(r *storedRun) { r.Status = "failed" })
			p, err := s.payload(txn, runKey(inRuns, "r5"))
			if err != nil {
				return err
			}
			return changeLink(s, txn, 5, func(l *link) { l.Digest = Sum(p) })
		}, []string{"changed_run run r5"}},
		{"a changed run, its link, and what the next one says of it", func(t *testing.T, s *Store, txn *badger.Txn) error {
			forge(t, s, txn, "r2", "r2", func(r *storedRun) { r.Status = "failed" })
			p, err := s.payload(txn, runKey(inRuns, "r2"))
			if err != nil {
				return err
			}
			var sum Digest
			if err := changeLink(s, txn, 2, func(l *link) { l.Digest = Sum(p); sum = l.sum() }); err != nil {
				return err
			}
			return changeLink(s, txn, 3, func(l *link) { l.Previous = sum })
		}, []string{"changed_run run r3"}},
		{"a removed run, and a link that says it was dropped", func(_ *testing.T, s *Store, txn *badger.Txn) error {
			return errors.Join(removeRun(txn, "r2"), changeLink(s, txn, 2, func(l *link) { l.State = linkDropped }))
		}, []string{"removed_run run r2"}},
		{"a removed run, and a link that says it was lost", func(_ *testing.T, s *Store, txn *badger.Txn) error {
			return errors.Join(removeRun(txn, "r2"), changeLink(s, txn, 2, func(l *link) { l.State = linkLost }))
		}, []string{"removed_run run r2"}},
		{"a link that says nothing of a run", func(_ *testing.T, s *Store, txn *badger.Txn) error {
			return errors.Join(removeRun(txn, "r2"), changeLink(s, txn, 2, func(l *link) { *l = link{State: linkChanges, Previous: l.Previous} }))
		}, []string{"changed_run number 2 of the chain of runs"}},
		{"a lost beginning", func(_ *testing.T, _ *Store, txn *badger.Txn) error { return txn.Delete(linkKey(0)) }, []string{"wrong_index the chain of runs"}},
		{"a chain that seems to be of the old kind", func(_ *testing.T, s *Store, txn *badger.Txn) error {
			return errors.Join(removeRun(txn, "r2"), changeLink(s, txn, 2, func(l *link) { l.State = linkDropped }),
				txn.Delete(linkKey(0)), changeLink(s, txn, 1, func(l *link) { l.Previous = Digest{} }))
		}, []string{"changed_run run r1", "removed_run run r2", "wrong_index the chain of runs"}},
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
			return changeLink(s, txn, 3, func(l *link) { l.Previous = Digest{1} })
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

func changeLink(s *Store, txn *badger.Txn, seq uint64, change func(*link)) error {
	l, err := s.link(txn, seq)
	if err != nil {
		return err
	}
	change(l)
	return s.setLink(txn, seq, l)
}

// TestChangesOfRunsAreChained meddles with what the chain says that became of runs.
func TestChangesOfRunsAreChained(t *testing.T) {
	for _, tt := range []struct {
		name   string
		meddle func(s *Store, txn *badger.Txn) error
		want   []string
	}{
		{"nothing", func(*Store, *badger.Txn) error { return nil }, nil},
		{"that another was dropped", func(s *Store, txn *badger.Txn) error {
			return errors.Join(removeRun(txn, "r4"), changeLink(s, txn, 6, func(l *link) { l.Changes = append(l.Changes, change{Seq: 4, State: linkDropped}) }))
		}, []string{"changed_run number 6 of the chain of runs", "removed_run run r1", "removed_run run r2", "removed_run run r3", "removed_run run r4"}},
		{"the link of one that was dropped", func(s *Store, txn *badger.Txn) error {
			return changeLink(s, txn, 2, func(l *link) { l.Run = "r0" })
		}, []string{"changed_run run r0"}},
		{"that they were dropped is lost", func(_ *Store, txn *badger.Txn) error { return txn.Delete(linkKey(6)) },
			[]string{"removed_run run number 6", "removed_run run r1", "removed_run run r2", "removed_run run r3"}},
		{"one that was dropped is back", func(s *Store, txn *badger.Txn) error {
			forge(t, s, txn, "r5", "r2", func(r *storedRun) { r.ID, r.Seq = "r2", 2 })
			return nil
		}, []string{"added_run run r2"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := chainOf(t)
			gc(t, s, Policy{KeepRuns: 2})
			putRun(t, s, aRun(t, s, "r6"))
			meddle(t, s, func(txn *badger.Txn) error { return tt.meddle(s, txn) })
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
			gc(t, s, Policy{KeepRuns: 1})
			putRun(t, s, aRun(t, s, "r7"))
			sound(t, s, "after further runs")
		})
	}
}

// TestAcceptedRunsAreTold is that a repair does not end that one hears of it.
func TestAcceptedRunsAreTold(t *testing.T) {
	s := chainOf(t)
	meddle(t, s, func(txn *badger.Txn) error {
		forge(t, s, txn, "r2", "r2", func(r *storedRun) { r.Status = "failed" })
		forge(t, s, txn, "r3", "r35", func(r *storedRun) { r.ID, r.Seq = "r35", 0 })
		return removeRun(txn, "r4")
	})
	if _, err := s.Fsck(context.Background(), FsckOptions{Repair: true}); err != nil {
		t.Fatal(err)
	}
	putRun(t, s, aRun(t, s, "r6"))
	accepted := func() (out []string) {
		rep, err := s.Fsck(context.Background(), FsckOptions{})
		if err != nil || !rep.OK || rep.UnchainedUntil != "" {
			t.Errorf("%+v %v", rep, err)
		}
		for _, a := range rep.Accepted {
			if a.When.IsZero() {
				t.Errorf("%+v has no time", a)
			}
			out = append(out, fmt.Sprintf("%s %s %d", a.State, a.Run, a.Number))
		}
		return out
	}
	if diff := cmp.Diff([]string{"altered r2 2", "lost r4 4", "added r35 6"}, accepted()); diff != "" {
		t.Error(diff)
	}
	meddle(t, s, func(txn *badger.Txn) error { // once more is not covered by that
		forge(t, s, txn, "r2", "r2", func(r *storedRun) { r.Status = "canceled" })
		return nil
	})
	if rep, err := s.Fsck(context.Background(), FsckOptions{}); err != nil || !slices.Equal(findings(rep), []string{"changed_run run r2"}) {
		t.Errorf("%+v %v", rep, err)
	}
	gc(t, s, Policy{})
	if rep, err := s.Fsck(context.Background(), FsckOptions{}); err != nil || !rep.OK || len(rep.Accepted) != 1 || rep.Accepted[0].Run != "r4" {
		t.Errorf("when gc had dropped all: %+v %v", rep, err)
	}
}

// TestChainOfTheOldKind reads a store in which links said themselves what became of runs:
// nothing of it is damaged, and what comes after is chained.
func TestChainOfTheOldKind(t *testing.T) {
	s := oldChain(t)
	rep, err := s.Fsck(context.Background(), FsckOptions{})
	if err != nil || !rep.OK || rep.UnchainedUntil != "r5" || len(rep.Accepted) != 1 || rep.Accepted[0].Run != "r3" {
		t.Fatalf("%+v %v", rep, err)
	}
	for _, tt := range []struct {
		name   string
		meddle func(s *Store, txn *badger.Txn) error
		want   []string
	}{
		{"what was said after", func(s *Store, txn *badger.Txn) error {
			return errors.Join(removeRun(txn, "r6"), changeLink(s, txn, 7, func(l *link) { l.State = linkDropped }))
		}, []string{"removed_run run r6"}},
		{"a record of before", func(s *Store, txn *badger.Txn) error {
			forge(t, s, txn, "r5", "r5", func(r *storedRun) { r.Status = "failed" })
			return nil
		}, []string{"changed_run run r5"}},
		{"the beginning", func(_ *Store, txn *badger.Txn) error { return txn.Delete(linkKey(6)) }, []string{"wrong_index the chain of runs"}},
		{"the last record of before, and its link", func(s *Store, txn *badger.Txn) error {
			forge(t, s, txn, "r5", "r5", func(r *storedRun) { r.Status = "failed" })
			p, err := s.payload(txn, runKey(inRuns, "r5"))
			return errors.Join(err, changeLink(s, txn, 5, func(l *link) { l.Digest = Sum(p) }))
		}, []string{"changed_run run r5"}},
		{"that, and the beginning", func(s *Store, txn *badger.Txn) error {
			forge(t, s, txn, "r5", "r5", func(r *storedRun) { r.Status = "failed" })
			p, err := s.payload(txn, runKey(inRuns, "r5"))
			return errors.Join(err, changeLink(s, txn, 5, func(l *link) { l.Digest = Sum(p) }), txn.Delete(linkKey(6)))
		}, []string{"changed_run number 6 of the chain of runs", "wrong_index the chain of runs"}},
		{"the head", func(_ *Store, txn *badger.Txn) error { return txn.Delete(headKey()) }, []string{"wrong_index the chain of runs"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := oldChain(t)
			putRun(t, s, aRun(t, s, "r6"))
			putRun(t, s, aRun(t, s, "r7"))
			gc(t, s, Policy{KeepRuns: 3})
			sound(t, s, "when it went on")
			meddle(t, s, func(txn *badger.Txn) error { return tt.meddle(s, txn) })
			if rep, err := s.Fsck(context.Background(), FsckOptions{Repair: true}); err != nil || !slices.Equal(findings(rep), tt.want) {
				t.Errorf("%v, want %v: %+v %v", findings(rep), tt.want, rep, err)
			}
			sound(t, s, "after the repair")
			putRun(t, s, aRun(t, s, "r8"))
			sound(t, s, "in the end")
		})
	}
}

// oldChain is a store with runs r1 to r5 as a plumb of before wrote it: r1 was dropped,
// and r3 was found to be another.
func oldChain(t *testing.T) *Store {
	t.Helper()
	c := newClock()
	s := openStore(t, t.TempDir(), Options{Now: c.Now})
	meddle(t, s, func(txn *badger.Txn) error {
		head := &chainHead{First: "r1"}
		for seq := uint64(1); seq <= 5; seq++ {
			c.now = c.now.Add(day)
			r := aRun(t, s, RunID(fmt.Sprint("r", seq)))
			r.Seq, r.Previous, r.Stages = seq, head.Digest, nil
			r.Started = c.now
			p, err := json.Marshal(&storedRun{Run: *r})
			if err != nil {
				return err
			}
			l := &link{Run: r.ID, Digest: Sum(p), Previous: head.Digest}
			head.Seq, head.Digest = seq, l.Digest
			if seq == 1 {
				l.State, l.When = linkDropped, c.now
			} else {
				if seq == 3 {
					l.State, l.When, l.Now, l.Digest = linkAltered, c.now, l.Digest, Digest{3}
					head.Digest = l.Digest
				}
				if err := errors.Join(txn.Set(runKey(inRuns, r.ID), seal(0, p)), txn.Set(projectKey(r.Project, r.ID), nil)); err != nil {
					return err
				}
			}
			if err := s.setLink(txn, seq, l); err != nil {
				return err
			}
		}
		frame := encodeHead(head)
		return txn.Set(headKey(), seal(0, frame[:len(frame)-1]))
	})
	return s
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
	if err != nil || r.Seq != 11 || r.Previous.IsZero() { // 6 and 10 say what gc dropped, 9 that r6 was recorded twice
		t.Errorf("%+v %v", r, err)
	}
	meddle(t, s, func(txn *badger.Txn) error { return removeRun(txn, "r7") })
	if rep, err := s.Fsck(context.Background(), FsckOptions{}); err != nil || !slices.Equal(findings(rep), []string{"removed_run run r7"}) {
		t.Errorf("%+v %v", rep, err)
	}
}

// TestDroppedRun finds what gc dropped, in chains of both kinds, and nothing else.
func TestDroppedRun(t *testing.T) {
	s := chainOf(t)
	gc(t, s, Policy{KeepRuns: 2})
	old := oldChain(t)
	for _, tt := range []struct {
		s         *Store
		ref, want RunID
	}{{s, "r", "r3"}, {s, "r2", "r2"}, {s, "r4", ""}, {s, "x", ""}, {old, "r", "r1"}, {old, "r3", ""}} {
		id, when, err := tt.s.DroppedRun(string(tt.ref))
		if err != nil || id != tt.want || when.IsZero() != (tt.want == "") {
			t.Errorf("%s: %s %v %v, want %s", tt.ref, id, when, err, tt.want)
		}
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
