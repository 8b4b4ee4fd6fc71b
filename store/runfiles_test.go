package store

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/google/go-cmp/cmp"
)

// aRun is a finished run that was read from files, which are in the store.
func aRun(t testing.TB, s *Store, id RunID, contents ...string) *Run {
	t.Helper()
	r := &Run{ID: id, Project: "/p", Status: "succeeded", Started: s.now(), Stages: []StageResult{{Name: "a", Status: "cached"}}}
	for i, c := range contents {
		a := mustPut(t, s, []byte(c), false)
		r.Files = append(r.Files, RunFile{Path: fmt.Sprint("file", i), Role: RolePipeline, Digest: a.Digest, Size: a.Size})
	}
	return r
}

func putRun(t testing.TB, s *Store, r *Run) {
	t.Helper()
	if err := s.PutRun(r); err != nil {
		t.Fatal(err)
	}
}

func TestRunFilesRoundTrip(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	r := aRun(t, s, "r1", "pipeline")
	r.Files = append(r.Files, RunFile{Path: "secret.json", Role: RoleParams, Withheld: true}, RunFile{Path: "lost", Role: RoleRead, Digest: Digest{1}, Size: 3, Lost: true}, RunFile{Path: "seen", Role: RoleListed})
	putRun(t, s, r)
	got, err := s.Run("r1")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r.Files, got.Files); diff != "" {
		t.Error(diff)
	}
}

func FuzzDecodeFiles(f *testing.F) {
	f.Add(encodeFiles([]RunFile{{Path: "p", Role: RoleLock, Digest: Digest{1}, Size: 1}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		files, err := decodeFiles(b)
		if err != nil {
			return
		}
		again, err := decodeFiles(encodeFiles(files))
		if diff := cmp.Diff(files, again); err != nil || diff != "" {
			t.Errorf("%v %s", err, diff)
		}
	})
}

// TestRunFilesAreShared records many runs of the same files: nothing but the runs is added.
func TestRunFilesAreShared(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	large := string(bytesOf("large", 20_000))
	putRun(t, s, aRun(t, s, "r0", "small", large))
	before := len(blobsOf(t, s))
	for i := range 100 {
		putRun(t, s, aRun(t, s, RunID(fmt.Sprintf("r%03d", i)), "small", large))
	}
	if after := len(blobsOf(t, s)); after != before {
		t.Errorf("%d blobs became %d", before, after)
	}
}

func blobsOf(t testing.TB, s *Store) []Digest {
	t.Helper()
	var all []Digest
	err := s.view(func(txn *badger.Txn) error {
		return each(txn, []byte{inBlobs}, func(key, _ []byte) error {
			all = append(all, Digest(key[1:]))
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range blobFiles(t, s) {
		d, ok := blobName(name[len(name)-64:])
		if !ok {
			t.Fatalf("%q", name)
		}
		all = append(all, d)
	}
	return all
}

func TestGCKeepsTheFilesOfKeptRuns(t *testing.T) {
	now := time.Now()
	s := openStore(t, t.TempDir(), Options{Now: func() time.Time { return now }})
	old, kept := string(bytesOf("old", 9000)), string(bytesOf("kept", 9000))
	putRun(t, s, aRun(t, s, "r1", old, "old"))
	now = now.Add(3 * time.Hour)
	putRun(t, s, aRun(t, s, "r2", kept, "kept"))
	now = now.Add(3 * time.Hour)
	gc(t, s, Policy{KeepRuns: 1})
	for content, want := range map[string]bool{old: false, "old": false, kept: true, "kept": true} {
		if _, ok := s.Stat(Sum([]byte(content))); ok != want {
			t.Errorf("content %.4q: kept %v, want %v", content, ok, want)
		}
	}
	if r, err := s.Run("r2"); err != nil || len(r.Files) != 2 {
		t.Errorf("the kept run: %+v, %v", r, err)
	}
}

func TestFsckOfLostRunFiles(t *testing.T) {
	for _, tt := range []struct {
		name string
		lose func(r *Run) Digest
		want []RunFile
	}{
		{"a file", func(r *Run) Digest { return r.Files[1].Digest }, []RunFile{
			{Path: "file0", Role: RolePipeline, Digest: Sum([]byte("pipeline")), Size: 8},
			{Path: "file1", Role: RolePipeline, Digest: Sum([]byte("lock")), Size: 4, Lost: true},
		}},
		{"the list", func(r *Run) Digest {
			frame, err := newPacker().frame(encodeFiles(r.Files))
			if err != nil {
				t.Fatal(err)
			}
			return Sum(frame)
		}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			s := openStore(t, dir, Options{})
			r := aRun(t, s, "r1", "pipeline", "lock")
			putRun(t, s, r)
			if err := s.update(func(txn *badger.Txn) error { return txn.Delete(blobKey(tt.lose(r))) }); err != nil {
				t.Fatal(err)
			}
			for _, repair := range []bool{false, true} {
				rep, err := s.Fsck(context.Background(), FsckOptions{Repair: repair})
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(kinds(rep), []FindingKind{FoundLostFile}) || rep.OK != repair || rep.Findings[0].Object != "run r1" {
					t.Errorf("repair %v: %+v", repair, rep)
				}
			}
			got, err := s.Run("r1")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got.Files); diff != "" {
				t.Error(diff)
			}
			if rep, err := s.Fsck(context.Background(), FsckOptions{}); err != nil || !rep.OK {
				t.Errorf("after the repair: %+v, %v", rep, err)
			}
		})
	}
}
