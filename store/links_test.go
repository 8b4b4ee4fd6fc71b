package store

import (
	"context"
	"flag"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/google/go-cmp/cmp"
)

// testNames takes an action for a list of digests of which the first is the image's.
func testNames(action []byte) (n Named) {
	for i := 0; len(action) >= len(Digest{}); i++ {
		d := Digest(action[:len(Digest{})])
		if action = action[len(Digest{}):]; i == 0 {
			n.Image = d
			continue
		}
		n.Inputs = append(n.Inputs, d)
	}
	return n
}

func actionOfDigests(list ...Digest) (b []byte) {
	for _, d := range list {
		b = append(b, d[:]...)
	}
	return b
}

func named(text string) Digest { return Sum([]byte(text)) }

// linkedRecord is one that read inputs in an image and made one file.
func linkedRecord(t testing.TB, s *Store, id byte, made string, inputs ...string) *Record {
	t.Helper()
	ds := []Digest{named("image")}
	for _, in := range inputs {
		ds = append(ds, named(in))
	}
	r := &Record{Key: Key{id}, Stage: fmt.Sprint("stage", id), Created: s.now().Add(time.Duration(id) * time.Hour), Action: actionOfDigests(ds...)}
	commit(t, s, func(b *Batch) {
		a, err := b.Put(strings.NewReader(made), false)
		if err != nil {
			t.Fatal(err)
		}
		r.Outputs = []Output{{Name: "o", Artifact: a}}
		b.PutRecord(r)
	})
	return r
}

func linkedKeys(t testing.TB, s *Store, kind Link, d Digest, limit int) (ids []byte, more bool) {
	t.Helper()
	recs, more, err := s.Linked(context.Background(), kind, d, limit)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range recs {
		ids = append(ids, r.Key[0])
	}
	return ids, more
}

func countLinks(t testing.TB, s *Store) (n int) {
	t.Helper()
	if err := s.view(func(txn *badger.Txn) error {
		for _, kind := range []Link{LinkMade, LinkRead, LinkImage} {
			if err := eachItem(txn, byte(kind), func(*badger.Item) error { n++; return nil }); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestResultsAreFoundByWhatTheyMadeAndRead(t *testing.T) {
	c := newClock()
	for _, relinked := range []bool{false, true} {
		t.Run(fmt.Sprintf("relinked=%v", relinked), func(t *testing.T) {
			s := openStore(t, t.TempDir(), Options{Now: c.Now, Names: testNames})
			linkedRecord(t, s, 1, "a", "raw")
			linkedRecord(t, s, 2, "b", "a", "raw")
			linkedRecord(t, s, 3, "b", "a", "other")
			if relinked {
				if err := s.Relink(context.Background()); err != nil {
					t.Fatal(err)
				}
			}
			for _, x := range []struct {
				name  string
				kind  Link
				of    string
				limit int
				want  []byte
				more  bool
			}{
				{"made by one", LinkMade, "a", 0, []byte{1}, false},
				{"made by two, the newest first", LinkMade, "b", 0, []byte{3, 2}, false},
				{"the newest of two", LinkMade, "b", 1, []byte{3}, true},
				{"read by two", LinkRead, "raw", 2, []byte{2, 1}, false},
				{"read by one", LinkRead, "other", 0, []byte{3}, false},
				{"image", LinkImage, "image", 0, []byte{3, 2, 1}, false},
				{"image is no input", LinkRead, "image", 0, nil, false},
				{"nothing", LinkMade, "raw", 0, nil, false},
			} {
				got, more := linkedKeys(t, s, x.kind, named(x.of), x.limit)
				if diff := cmp.Diff(x.want, got); diff != "" || more != x.more {
					t.Errorf("%s: more %v, (-want +got)\n%s", x.name, more, diff)
				}
			}
		})
	}
}

// An action that is done again with another output is not found by the old one.
func TestLinksFollowTheRecord(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{Names: testNames})
	if err := s.Relink(context.Background()); err != nil {
		t.Fatal(err)
	}
	linkedRecord(t, s, 1, "first", "raw")
	linkedRecord(t, s, 1, "second", "raw")
	if n := countLinks(t, s); n != 3 {
		t.Errorf("there are %d links, and one each for output, input and image is right", n)
	}
	if got, _ := linkedKeys(t, s, LinkMade, named("first"), 0); got != nil {
		t.Errorf("the old output leads to %v", got)
	}
	if got, _ := linkedKeys(t, s, LinkMade, named("second"), 0); len(got) != 1 {
		t.Errorf("the new output leads to %v", got)
	}
}

// A record with more inputs than a transaction holds is linked to all of them, and they
// go with it.
func TestManyInputsAreLinkedAndDropped(t *testing.T) {
	c := newClock()
	s := openStore(t, t.TempDir(), Options{Now: c.Now, Names: testNames})
	if err := s.Relink(context.Background()); err != nil {
		t.Fatal(err)
	}
	var many []string
	for i := range 12_000 {
		many = append(many, fmt.Sprint("in", i))
	}
	linkedRecord(t, s, 1, "out", many...)
	if n := countLinks(t, s); n != 12_002 {
		t.Errorf("there are %d links", n)
	}
	if got, _ := linkedKeys(t, s, LinkRead, named("in11999"), 0); len(got) != 1 {
		t.Error("the last input is not linked")
	}
	c.now = c.now.Add(48 * time.Hour)
	if rep := gc(t, s, Policy{}); rep.Records != 1 {
		t.Fatalf("gc dropped %d records", rep.Records)
	}
	if n := countLinks(t, s); n != 0 {
		t.Errorf("%d links are left", n)
	}
}

func TestGCDropsLinksAndDirectories(t *testing.T) {
	c := newClock()
	s := openStore(t, t.TempDir(), Options{Now: c.Now, Names: testNames})
	if err := s.Relink(context.Background()); err != nil {
		t.Fatal(err)
	}
	tree := putTree(t, s, "member")
	put := func(id byte, created time.Time) {
		commit(t, s, func(b *Batch) {
			b.PutRecord(&Record{Key: Key{id}, Stage: "s", Created: created, Action: actionOfDigests(named("image")), Outputs: []Output{{Name: "d", Artifact: tree}}})
		})
	}
	put(1, c.now)
	c.now = c.now.Add(100 * day)
	put(2, c.now)
	gc(t, s, Policy{KeepAge: 10 * day})
	if got, _ := linkedKeys(t, s, LinkMade, tree.Digest, 0); !slices.Equal(got, []byte{2}) {
		t.Errorf("the directory was made by %v", got)
	}
	if in, _, _ := s.Containing(context.Background(), named("member"), 10, 1<<20); len(in) != 1 {
		t.Errorf("the file is found in %v", in)
	}
	c.now = c.now.Add(100 * day)
	gc(t, s, Policy{KeepAge: 10 * day})
	if n := countLinks(t, s); n != 0 {
		t.Errorf("%d links are left", n)
	}
	if err := s.view(func(txn *badger.Txn) error {
		return eachItem(txn, inDirectories, func(*badger.Item) error {
			t.Error("a directory is still listed")
			return nil
		})
	}); err != nil {
		t.Fatal(err)
	}
}

// putTree keeps a directory with one file of that text in a directory of its own.
func putTree(t testing.TB, s *Store, text string) (a Artifact) {
	t.Helper()
	commit(t, s, func(b *Batch) {
		f, err := b.Put(strings.NewReader(text), false)
		if err != nil {
			t.Fatal(err)
		}
		m, err := b.Put(strings.NewReader(string(EncodeTree([]Entry{{Path: "d", Kind: EntryDir}, {Path: "d/f", Kind: EntryFile, Size: f.Size, Digest: f.Digest}}))), false)
		if err != nil {
			t.Fatal(err)
		}
		a = Artifact{Kind: KindTree, Digest: m.Digest, Size: f.Size, Files: 1}
	})
	return a
}

func TestFilesAreFoundInDirectories(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{Names: testNames})
	one, two := putTree(t, s, "wanted"), putTree(t, s, "unwanted")
	commit(t, s, func(b *Batch) {
		b.PutRecord(&Record{Key: Key{1}, Outputs: []Output{{Name: "d", Artifact: one}}})
		b.PutRecord(&Record{Key: Key{2}, Inputs: []Artifact{two}})
	})
	for _, relinked := range []bool{false, true} {
		if relinked {
			if err := s.Relink(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		for text, want := range map[string][]Inside{"wanted": {{one.Digest, "d/f"}}, "unwanted": {{two.Digest, "d/f"}}, "lost": nil} {
			got, how, err := s.Containing(context.Background(), named(text), 10, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" || !how.Whole || how.Directories != 2 {
				t.Errorf("relinked=%v, %s: %+v, (-want +got)\n%s", relinked, text, how, diff)
			}
		}
	}
	if _, how, _ := s.Containing(context.Background(), named("lost"), 10, 1); how.Whole || how.Directories != 1 {
		t.Errorf("a search with a bound says %+v", how)
	}
}

// A store of before there were links gets them, whoever opens it next.
func TestOldStoresAreLinked(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Options{Names: testNames})
	for from := 0; from < 2500; from += 100 {
		commit(t, s, func(b *Batch) {
			for i := from; i < from+100; i++ {
				b.PutRecord(&Record{Key: Key(Sum(fmt.Append(nil, i))), Stage: "s", Action: actionOfDigests(named("image"), named(fmt.Sprint("in", i%10)))})
			}
		})
	}
	dropLinks(t, s)
	closeStore(t, s)

	s = openStore(t, dir, Options{ReadOnly: true, Names: testNames})
	before, _ := linkedKeys(t, s, LinkRead, named("in3"), 0)
	closeStore(t, s)
	s = openStore(t, dir, Options{Names: testNames})
	if err := s.Maintain(context.Background()); err != nil {
		t.Fatal(err)
	}
	if countLinks(t, s) == 0 {
		t.Fatal("there are no links")
	}
	after, _ := linkedKeys(t, s, LinkRead, named("in3"), 0)
	if len(before) != 250 || len(after) != 250 {
		t.Errorf("%d results without links, %d with them", len(before), len(after))
	}
	if rep := fsckOf(t, s, false); !rep.OK {
		t.Errorf("%+v", rep.Findings)
	}
}

func dropLinks(t testing.TB, s *Store) {
	t.Helper()
	var keys [][]byte
	if err := s.view(func(txn *badger.Txn) error {
		for _, space := range []byte{inMade, inRead, inOnImage, inDirectories, inMarks} {
			if err := eachItem(txn, space, func(i *badger.Item) error { keys = append(keys, i.KeyCopy(nil)); return nil }); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for part := range slices.Chunk(keys, 1000) {
		if err := s.update(func(txn *badger.Txn) error {
			for _, k := range part {
				if err := txn.Delete(k); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
}

func fsckOf(t testing.TB, s *Store, repair bool) *FsckReport {
	t.Helper()
	rep, err := s.Fsck(context.Background(), FsckOptions{Repair: repair})
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

func TestFsckMendsLinks(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{Names: testNames})
	if err := s.Relink(context.Background()); err != nil {
		t.Fatal(err)
	}
	r := linkedRecord(t, s, 1, "out", "raw")
	stray := &Record{Key: Key{9}, Created: s.now()}
	if err := s.update(func(txn *badger.Txn) error {
		if err := txn.Delete(linkTo(LinkRead, named("raw"), r)); err != nil {
			return err
		}
		return txn.Set(linkTo(LinkMade, named("nothing"), stray), nil)
	}); err != nil {
		t.Fatal(err)
	}
	for i, want := range []struct {
		repair, ok bool
		findings   int
	}{{false, false, 2}, {true, true, 2}, {false, true, 0}} {
		rep := fsckOf(t, s, want.repair)
		if rep.OK != want.ok || len(rep.Findings) != want.findings {
			t.Errorf("look %d: %+v", i, rep.Findings)
		}
	}
	if got, _ := linkedKeys(t, s, LinkRead, named("raw"), 0); len(got) != 1 {
		t.Error("the lost link was not made anew")
	}
}

var linkActions = flag.Int("link.actions", 20_000, "how many actions BenchmarkLinked has in its store")

// With -link.actions 1000000 it is the store that lineage has to be quick in.
func BenchmarkLinked(b *testing.B) {
	dir := b.TempDir()
	s := openStore(b, dir, Options{Names: testNames})
	n := *linkActions
	at := time.Unix(1.7e9, 0)
	for from := 0; from < n; from += 100 {
		commit(b, s, func(batch *Batch) {
			for i := from; i < min(n, from+100); i++ {
				batch.PutRecord(&Record{
					Key: Key(Sum(fmt.Append(nil, "key", i))), Run: "20261124-020751-k3f9", Stage: fmt.Sprint("stage", i%10), Created: at.Add(time.Duration(i) * time.Second),
					Action:  append(actionOfDigests(named("image"), named(fmt.Sprint("out", i-1)), named("data")), bytesOf(fmt.Sprint(i), 300)[:300]...),
					Outputs: []Output{{Name: "o", Path: "out", Dropped: true, Artifact: Artifact{Kind: KindFile, Digest: named(fmt.Sprint("out", i)), Size: 1e6}}},
				})
			}
		})
	}
	began := time.Now()
	dropped := n <= 100_000
	if dropped {
		dropLinks(b, s)
	}
	if err := s.Relink(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.Logf("%d actions, linked anew=%v in %s, %d MiB of records", n, dropped, time.Since(began).Round(time.Millisecond), diskSize(b, filepath.Join(dir, "meta"))>>20)
	for _, x := range []struct {
		name  string
		kind  Link
		of    string
		limit int
	}{{"made", LinkMade, "out777", 50}, {"read", LinkRead, "out777", 50}, {"read-by-all", LinkRead, "data", 50}, {"image", LinkImage, "image", 50}} {
		b.Run(x.name, func(b *testing.B) {
			for b.Loop() {
				got, _, err := s.Linked(b.Context(), x.kind, named(x.of), x.limit)
				if err != nil || len(got) == 0 {
					b.Fatal(len(got), err)
				}
			}
		})
	}
}

// What a kept run read stays, also what no result names; a limit of size goes before it.
func TestGCKeepsWhatRunsRead(t *testing.T) {
	for _, c := range []struct {
		name   string
		policy Policy
		kept   bool
	}{
		{"kept with its run", Policy{KeepRuns: 1}, true},
		{"gone with its run", Policy{}, false},
		{"gone by size", Policy{KeepRuns: 1, KeepSize: 1}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			clock := newClock()
			s := openStore(t, t.TempDir(), Options{Now: clock.Now})
			a := mustPut(t, s, bytesOf("read", 9000), false)
			run := &Run{ID: "20261124-020751-k3f9", Project: "/p", Status: "failed", Started: clock.now, Places: []Place{{Path: "in", Role: PlaceInput, Artifact: a, As: []string{"b", "c"}}}}
			if err := s.PutRun(run); err != nil {
				t.Fatal(err)
			}
			got, err := s.Run(run.ID)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(run.Places, got.Places); d != "" {
				t.Errorf("places (-want +got)\n%s", d)
			}
			clock.now = clock.now.Add(48 * time.Hour)
			gc(t, s, c.policy)
			if kept := s.Check(a) == nil; kept != c.kept {
				t.Errorf("kept %v", kept)
			}
		})
	}
}

// A run whose list of what it read is lost says so, once.
func TestFsckFindsLostPlaces(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	run := &Run{ID: "20261124-020751-k3f9", Project: "/p", Status: "succeeded", Stages: []StageResult{{Name: "a", Status: "ran"}}, Places: []Place{{Path: "in", Role: PlaceInput, Dropped: true, Artifact: Artifact{Kind: KindFile, Digest: named("x"), Size: 1}}}}
	if err := s.PutRun(run); err != nil {
		t.Fatal(err)
	}
	if rep := fsckOf(t, s, false); !rep.OK {
		t.Fatalf("%+v", rep.Findings)
	}
	if err := s.update(func(txn *badger.Txn) error {
		sr, err := s.storedRun(txn, run.ID)
		if err != nil {
			return err
		}
		return txn.Delete(blobKey(sr.Places))
	}); err != nil {
		t.Fatal(err)
	}
	for i, want := range []struct {
		repair, ok bool
		findings   int
	}{{false, false, 1}, {true, true, 1}, {false, true, 0}} {
		rep := fsckOf(t, s, want.repair)
		if rep.OK != want.ok || len(rep.Findings) != want.findings {
			t.Errorf("look %d: %+v", i, rep.Findings)
		}
	}
	got, err := s.Run(run.ID)
	if err != nil || len(got.Stages) != 1 || got.Places != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

// Digests are found by their first digits, however many links lead from one, and whether
// there are links at all.
func TestBeginning(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{Names: testNames})
	if err := s.Relink(t.Context()); err != nil {
		t.Fatal(err)
	}
	for id := range byte(5) {
		linkedRecord(t, s, id+1, fmt.Sprint("made ", id), "read by all")
	}
	all, read := named("made 3"), named("read by all")
	key := Digest(Key{3})
	for _, marked := range []bool{true, false} {
		for _, c := range []struct {
			name, digits string
			limit        int
			want         []Digest
			more         bool
		}{
			{"what was made", all.Hex()[:7], 5, []Digest{all}, false},
			{"what all read", read.Hex()[:6], 5, []Digest{read}, false},
			{"a whole digest", read.Hex(), 5, []Digest{read}, false},
			{"but for the last digit", read.Hex()[:63], 5, []Digest{read}, false},
			{"another that begins the same", read.Hex()[:40] + "00", 5, nil, false},
			{"an image", named("image").Hex()[:9], 5, []Digest{named("image")}, false},
			{"an action", key.Hex()[:8], 5, []Digest{key}, false},
			{"several", "", 2, nil, true},
			{"nothing", "ffffffff", 5, nil, false},
		} {
			t.Run(fmt.Sprint(c.name, " ", marked), func(t *testing.T) {
				got, more, err := s.Beginning(t.Context(), c.digits, c.limit)
				if err != nil {
					t.Fatal(err)
				}
				if c.want == nil && c.more { // which of them is not said, but how many
					if len(got) != c.limit {
						t.Errorf("%d digests", len(got))
					}
				} else if d := cmp.Diff(c.want, got); d != "" {
					t.Errorf("(-want +got)\n%s", d)
				}
				if more != c.more {
					t.Errorf("more: %v", more)
				}
			})
		}
		if err := s.update(func(txn *badger.Txn) error { return deleteIf(txn, linksMark()) }); err != nil {
			t.Fatal(err)
		}
	}
}
