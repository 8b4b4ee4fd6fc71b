package store

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// placedRun is a run with what it read, and what its image was made of, in the store.
func placedRun(t *testing.T, s *Store, id RunID, contents ...[]byte) []Artifact {
	t.Helper()
	r := &Run{ID: id, Project: "/p", Status: "succeeded", Started: s.now()}
	var arts []Artifact
	commit(t, s, func(b *Batch) {
		for i, data := range contents {
			a, err := b.Put(newBytes(data), false)
			if err != nil {
				t.Fatal(err)
			}
			arts = append(arts, a)
			r.Places = append(r.Places, Place{Path: fmt.Sprint("data/", i), Role: PlaceImage, Artifact: a, Source: "x"})
		}
		b.PutRun(r)
	})
	return arts
}

func lose(t *testing.T, s *Store, a Artifact) {
	t.Helper()
	var err error
	if a.Size <= SmallBlob {
		err = s.update(func(txn *badger.Txn) error { return txn.Delete(blobKey(a.Digest)) })
	} else {
		err = os.Remove(s.blobPath(a.Digest, a.Exec))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func checked(t *testing.T, s *Store, repair bool) *FsckReport {
	t.Helper()
	rep, err := s.Fsck(context.Background(), FsckOptions{Repair: repair})
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

// What runs read and wrote is looked for by fsck: once for all runs that name it.
func TestFsckOfLostPlaces(t *testing.T) {
	for _, tt := range []struct {
		name string
		data []byte
	}{{"large", bytesOf("large", 50_000)}, {"small", []byte("small")}} {
		t.Run(tt.name, func(t *testing.T) {
			s := openStore(t, t.TempDir(), Options{})
			other := bytesOf("other", 9000)
			arts := placedRun(t, s, "r1", tt.data, other)
			placedRun(t, s, "r2", tt.data, other)
			placedRun(t, s, "r3", tt.data)
			placedRun(t, s, "r4", other)
			if rep := checked(t, s, false); !rep.OK {
				t.Fatalf("before: %+v", rep.Findings)
			}
			lose(t, s, arts[0])
			for _, repair := range []bool{false, true} {
				rep := checked(t, s, repair)
				if !slices.Equal(kinds(rep), []FindingKind{FoundLostFile}) || rep.OK != repair {
					t.Fatalf("repair %v: %+v", repair, rep.Findings)
				}
				x := rep.Findings[0]
				if x.Object != `image "data/0" of run r3` || !strings.HasPrefix(x.Effect, "3 runs, the newest of which is r3, cannot be restored") || !strings.Contains(x.Detail, arts[0].Digest.String()) {
					t.Errorf("repair %v: %+v", repair, x)
				}
			}
			if rep := checked(t, s, false); !rep.OK || len(rep.Findings) != 0 {
				t.Errorf("after the repair: %+v", rep.Findings)
			}
			a, err := s.Absence(arts[0].Digest)
			if err != nil || a == nil || a.By != ByFsck {
				t.Errorf("%+v, %v", a, err)
			}
		})
	}
}

// A limit of size goes before that runs can be restored, but for pinned ones. What it
// takes is told from what is lost, for as long as a run names it.
func TestGCNotesWhatItTakesFromRuns(t *testing.T) {
	c := newClock()
	s := openStore(t, t.TempDir(), Options{Now: c.Now})
	both, one := bytesOf("both", 9000), bytesOf("one", 9000)
	pinned := placedRun(t, s, "20261101-000000-aaaa", both)
	pin := true
	if _, err := s.Annotate("20261101-000000-aaaa", AnnotationChange{Pinned: &pin}); err != nil {
		t.Fatal(err)
	}
	arts := placedRun(t, s, "20261102-000000-aaaa", both, one)
	same := placedRun(t, s, "20261103-000000-aaaa", both)
	c.now = c.now.Add(time.Hour)
	for _, dry := range []bool{true, false} {
		gc(t, s, Policy{KeepRuns: 10, KeepSize: 1 << 20, DryRun: dry})
		a, err := s.Absence(arts[1].Digest)
		if err != nil || dry != (a == nil) || a != nil && (a.By != "" || a.Rule != "size: only 1 MiB are kept" || !a.When.Equal(c.now)) {
			t.Fatalf("dry %v: %+v, %v", dry, a, err)
		}
	}
	if s.Check(pinned[0]) != nil || s.Check(same[0]) != nil || s.Check(arts[1]) == nil {
		t.Error("what a pinned run names went, or what no pinned one does stayed")
	}
	if a, err := s.Absence(pinned[0].Digest); a != nil || err != nil {
		t.Errorf("of what is there: %+v, %v", a, err)
	}
	if rep := checked(t, s, false); !rep.OK {
		t.Errorf("fsck: %+v", rep.Findings)
	}
	gc(t, s, Policy{KeepRuns: 10}) // which takes nothing more, and forgets nothing
	if a, err := s.Absence(arts[1].Digest); a == nil || err != nil {
		t.Errorf("%+v, %v", a, err)
	}

	mustPut(t, s, one, false) // it comes back
	gc(t, s, Policy{KeepRuns: 10})
	if a, err := s.Absence(arts[1].Digest); a != nil || err != nil {
		t.Errorf("of what came back: %+v, %v", a, err)
	}
	lose(t, s, arts[1])
	if rep := checked(t, s, false); !slices.Equal(kinds(rep), []FindingKind{FoundLostFile}) {
		t.Errorf("fsck: %+v", rep.Findings)
	}
}

// What nobody names any more is forgotten.
func TestGCForgetsAbsences(t *testing.T) {
	c := newClock()
	s := openStore(t, t.TempDir(), Options{Now: c.Now})
	arts := placedRun(t, s, "20261101-000000-aaaa", bytesOf("x", 9000))
	c.now = c.now.Add(time.Hour)
	gc(t, s, Policy{KeepRuns: 10, KeepSize: 1 << 20})
	if a, err := s.Absence(arts[0].Digest); a == nil || err != nil {
		t.Fatalf("%+v, %v", a, err)
	}
	c.now = c.now.Add(time.Hour)
	gc(t, s, Policy{})
	if a, err := s.Absence(arts[0].Digest); a != nil || err != nil {
		t.Errorf("%+v, %v", a, err)
	}
}
