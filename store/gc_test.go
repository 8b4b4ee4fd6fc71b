package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func blobFiles(t testing.TB, s *Store) []string {
	t.Helper()
	names, err := filepath.Glob(s.path("blobs", "sha256", "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// recordWith commits a record of one stage with one output of n bytes.
func recordWith(t testing.TB, s *Store, id byte, n int) Key {
	t.Helper()
	k := Key{id}
	commit(t, s, func(b *Batch) {
		a, err := b.Put(strings.NewReader(string(bytesOf(fmt.Sprint("out", id), n))), false)
		if err != nil {
			t.Fatal(err)
		}
		b.PutRecord(&Record{Key: k, Stage: fmt.Sprint("stage", id), Created: s.now(), Outputs: []Output{{Name: "o", Artifact: a}}})
	})
	return k
}

func gc(t testing.TB, s *Store, p Policy) GCReport {
	t.Helper()
	rep, err := s.GC(context.Background(), p)
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

func alive(t testing.TB, s *Store, keys ...Key) (out []byte) {
	t.Helper()
	for _, k := range keys {
		rec, miss, err := s.Lookup(k)
		if err != nil {
			t.Fatal(err)
		}
		if rec != nil {
			out = append(out, k[0])
		} else if miss.Kind == MissDamaged {
			t.Errorf("key %d: %s", k[0], miss.Detail)
		}
	}
	return out
}

func TestGCKeepsWhatIsNeeded(t *testing.T) {
	c := newClock()
	s := openStore(t, t.TempDir(), Options{Now: c.Now})
	var keys []Key
	for i := range byte(8) {
		keys = append(keys, recordWith(t, s, i+1, int(i)*3000))
	}
	run := func(day int, project, status string, keys ...Key) {
		r := &Run{ID: RunID(fmt.Sprintf("202611%02d-000000-%s", day, project[1:])), Project: project, Status: status, Started: time.Date(2026, 11, day, 0, 0, 0, 0, time.UTC)}
		for _, k := range keys {
			r.Stages = append(r.Stages, StageResult{Name: "s", Key: k})
		}
		if err := s.PutRun(r); err != nil {
			t.Fatal(err)
		}
	}
	run(1, "/old", "succeeded", keys[0])
	run(2, "/p", "succeeded", keys[1])
	run(3, "/p", "succeeded", keys[2])
	run(4, "/p", "succeeded", keys[3])
	run(1, "/p", "running", keys[4])
	c.now = c.now.Add(40 * day)
	s.Touch(keys[5])
	release := s.Lease(keys[6])
	defer release()

	want := []byte{1, 4, 5, 6, 7} // newest of each project, running, touched, leased
	dry := gc(t, s, Policy{KeepRuns: 1, KeepAge: 30 * day, DryRun: true})
	if got := alive(t, s, keys...); len(got) != 8 {
		t.Fatalf("a dry run left %v", got)
	}
	rep := gc(t, s, Policy{KeepRuns: 1, KeepAge: 30 * day})
	if diff := cmp.Diff(want, alive(t, s, keys...)); diff != "" {
		t.Error(diff)
	}
	if rep.Records != 3 || rep.Runs != 2 || rep.Blobs != 3+2 || len(rep.Dropped) != 3 || rep.Dropped[0].Stage != "stage2" {
		t.Errorf("%+v", rep)
	}
	dry.DryRun = false
	if diff := cmp.Diff(rep, dry); diff != "" {
		t.Errorf("the dry run said something else: %s", diff)
	}
	_, miss, err := s.Lookup(keys[1])
	if err != nil || miss.Kind != MissEvicted || !miss.Tombstone.When.Equal(c.now) || miss.Tombstone.Rule == "" {
		t.Errorf("what was dropped: %+v, %v", miss, err)
	}
	if again := gc(t, s, Policy{KeepRuns: 1, KeepAge: 30 * day}); again.Records+again.Runs+again.Blobs != 0 {
		t.Errorf("the second time: %+v", again)
	}
	recordWith(t, s, 2, 3000)
	if diff := cmp.Diff([]byte{2}, alive(t, s, keys[1])); diff != "" {
		t.Errorf("recorded again: %s", diff)
	}
}

func TestGCKeepsEveryReference(t *testing.T) {
	c := newClock()
	s := openStore(t, t.TempDir(), Options{Now: c.Now})
	log, err := s.PutLog(context.Background(), strings.NewReader(string(bytesOf("log", 20_000))))
	if err != nil {
		t.Fatal(err)
	}
	failLog, err := s.PutLog(context.Background(), strings.NewReader(string(bytesOf("fail", 20_000))))
	if err != nil {
		t.Fatal(err)
	}
	input := mustPut(t, s, bytesOf("input", 20_000), false)
	member := mustPut(t, s, bytesOf("member", 20_000), true)
	small := mustPut(t, s, []byte("tiny"), false)
	manifest := mustPut(t, s, EncodeTree([]Entry{
		{Path: "a", Kind: EntryFile, Exec: true, Size: member.Size, Digest: member.Digest},
		{Path: "b", Kind: EntryFile, Size: small.Size, Digest: small.Digest},
	}), false)
	garbage := mustPut(t, s, bytesOf("garbage", 20_000), false)
	commit(t, s, func(b *Batch) {
		b.PutRecord(&Record{Key: Key{1}, Created: c.now, Inputs: []Artifact{input}, Attempts: []Attempt{{Log: log}},
			Outputs: []Output{{Name: "tree", Artifact: Artifact{Kind: KindTree, Digest: manifest.Digest, Size: member.Size + small.Size, Files: 2}}}})
		b.PutFailure(&Failure{Key: Key{2}, When: c.now, Attempts: []Attempt{{Log: failLog}}})
	})
	c.now = c.now.Add(2 * grace)
	rep := gc(t, s, Policy{KeepAge: day})
	if rep.Blobs != 1 || rep.Bytes != garbage.Size {
		t.Errorf("%+v", rep)
	}
	for name, d := range map[string]Digest{"log": log, "log of a failure": failLog, "input": input.Digest, "member": member.Digest, "small member": small.Digest, "manifest": manifest.Digest} {
		if _, ok := s.Stat(d); !ok {
			t.Errorf("the %s is gone", name)
		}
	}
	if rep := gc(t, s, Policy{}); rep.Records != 1 || rep.Blobs != 6 || len(blobFiles(t, s)) != 0 {
		t.Errorf("keeping nothing: %+v, %v", rep, blobFiles(t, s))
	}
	if f, err := s.Failure(Key{2}); f != nil || err != nil {
		t.Errorf("Failure = %v, %v", f, err)
	}
}

// What was put or found lately, or is leased, stays without a record.
func TestGCLeavesTheUnfinishedAlone(t *testing.T) {
	c := newClock()
	s := openStore(t, t.TempDir(), Options{Now: c.Now})
	a := mustPut(t, s, bytesOf("a", 20_000), false)
	found := mustPut(t, s, bytesOf("found", 20_000), false)
	leased := mustPut(t, s, bytesOf("leased", 20_000), false)
	batched := mustPut(t, s, bytesOf("batched", 20_000), false)
	if rep := gc(t, s, Policy{}); rep.Blobs != 0 {
		t.Errorf("just put: %+v", rep)
	}
	c.now = c.now.Add(2 * grace)
	release := s.LeaseBlobs(leased)
	s.Has(found)
	b := s.NewBatch()
	if _, err := b.Put(strings.NewReader(string(bytesOf("batched", 20_000))), false); err != nil {
		t.Fatal(err)
	}
	if rep := gc(t, s, Policy{}); rep.Blobs != 1 || s.Check(a) == nil {
		t.Errorf("later: %+v", rep)
	}
	release()
	release() // counts once
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	c.now = c.now.Add(2 * grace)
	if rep := gc(t, s, Policy{}); rep.Blobs != 3 || s.Check(batched) == nil {
		t.Errorf("at last: %+v", rep)
	}
}

func TestGCDropsPlacedAndCaches(t *testing.T) {
	c := newClock()
	c.now = time.Now()
	s := openStore(t, t.TempDir(), Options{Now: c.Now})
	build := func(tmp string) error { return os.Mkdir(tmp, 0o755) }
	_, releaseA, err := s.Placed(Digest{1}, isWhole, build)
	if err != nil {
		t.Fatal(err)
	}
	usedPath, releaseB, err := s.Placed(Digest{2}, isWhole, build)
	if err != nil {
		t.Fatal(err)
	}
	releaseA()
	if err := s.PutCache("c", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if rep := gc(t, s, Policy{}); rep.Placed != 1 || rep.Caches != 0 {
		t.Errorf("%+v", rep)
	}
	if _, err := os.Lstat(usedPath); err != nil {
		t.Error(err)
	}
	releaseB()
	c.now = c.now.Add(2 * cachesLive)
	if rep := gc(t, s, Policy{}); rep.Placed != 1 || rep.Caches != 1 {
		t.Errorf("%+v", rep)
	}
}

// While gc runs over and over with a policy that keeps nothing, nobody who holds a
// lease or commits sees his blobs go.
func TestGCBesideCommits(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	stop := make(chan struct{})
	var collector, writers sync.WaitGroup
	collector.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if _, err := s.GC(context.Background(), Policy{}); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	for w := range 3 {
		writers.Go(func() {
			for i := range 15 {
				k := Key{byte(w + 1), byte(i)}
				release := s.Lease(k)
				b := s.NewBatch()
				// The same content again and again: found, dropped, made again.
				a, err := b.Put(strings.NewReader(string(bytesOf(fmt.Sprint(i%4), 20_000))), false)
				if err == nil {
					b.PutRecord(&Record{Key: k, Outputs: []Output{{Name: "o", Artifact: a}}})
					err = s.Commit(context.Background(), b)
				}
				if cerr := b.Close(); err != nil || cerr != nil {
					t.Error(err, cerr)
				}
				if _, miss, err := s.Lookup(k); miss != nil || err != nil {
					t.Errorf("%v: %+v, %v", k.Short(), miss, err)
				}
				release()
			}
		})
	}
	writers.Wait()
	close(stop)
	collector.Wait()
}

func TestPlacedIsBuiltOnce(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	var mu sync.Mutex
	var built []string
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			p, release, err := s.Placed(Digest{1}, isWhole, func(tmp string) error {
				mu.Lock()
				defer mu.Unlock()
				built = append(built, tmp)
				return os.Mkdir(tmp, 0o755)
			})
			if err != nil {
				t.Error(err)
				return
			}
			defer release()
			if fi, err := os.Stat(p); err != nil || fi.Mode().Perm() != 0o555 {
				t.Errorf("%v, %v", fi, err)
			}
		})
	}
	wg.Wait()
	if len(slices.Compact(built)) != 1 {
		t.Errorf("built %d times", len(built))
	}
	if _, _, err := s.Placed(Digest{2}, isWhole, func(tmp string) error { return fmt.Errorf("no") }); err == nil {
		t.Error("a failed build was not told")
	}
}

// An owner that is killed as it sets a directory aside has closed it already, and it is
// whole.
func TestPlacedIsOpenAfterAKill(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Options{})
	build := func(tmp string) error { return os.Mkdir(tmp, 0o755) }
	for _, left := range []os.FileMode{0o700, 0o755} {
		path, release, err := s.Placed(Digest{1}, isWhole, build)
		if err != nil {
			t.Fatal(err)
		}
		release()
		if err := errors.Join(os.Chmod(path, left), s.Close()); err != nil {
			t.Fatal(err)
		}
		s = openStore(t, dir, Options{})
		again, release, err := s.Placed(Digest{1}, isWhole, func(string) error { return errors.New("it is there") })
		if err != nil {
			t.Fatal(err)
		}
		release()
		if fi, err := os.Stat(again); err != nil || again != path || fi.Mode().Perm() != 0o555 {
			t.Errorf("left as %v: %v, %v", left, fi, err)
		}
	}
}

func isWhole(string) bool { return true }

// TestLeaseThatEndsDuringGC: whoever had one may have recorded a run that gc did not see.
func TestLeaseThatEndsDuringGC(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	before := s.Lease(Key{1})
	s.guard.begin()
	before()
	s.Lease(Key{2})()
	for _, tt := range []struct {
		k    Key
		want bool
	}{{Key{1}, true}, {Key{2}, true}, {Key{3}, false}} {
		if got := s.guard.leased(tt.k); got != tt.want {
			t.Errorf("key %d is safe: %v", tt.k[0], got)
		}
	}
	s.guard.end()
	if s.guard.leased(Key{1}) || s.guard.leased(Key{2}) {
		t.Error("a lease that is over is one when gc is done")
	}
}
