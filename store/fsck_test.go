package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// everything is a store with something of each kind in it.
type everything struct {
	dir                 string
	key, exec, failed   Key
	file, program       Artifact
	small, tree, small2 Artifact
	log, failLog        Digest
	input               Artifact
}

func fillEverything(t testing.TB) *everything {
	t.Helper()
	e := &everything{dir: t.TempDir(), key: Key{1}, exec: Key{2}, failed: Key{3}}
	s := openStore(t, e.dir, Options{})
	e.file = mustPut(t, s, bytesOf("file", 300_000), false)
	e.program = mustPut(t, s, bytesOf("program", 20_000), true)
	e.small = mustPut(t, s, []byte("small"), false)
	e.small2 = mustPut(t, s, []byte("small two"), true)
	e.input = mustPut(t, s, bytesOf("input", 9000), false)
	manifest := mustPut(t, s, EncodeTree([]Entry{
		{Path: "large", Kind: EntryFile, Size: e.file.Size, Digest: e.file.Digest},
		{Path: "small", Kind: EntryFile, Exec: true, Size: e.small2.Size, Digest: e.small2.Digest},
	}), false)
	e.tree = Artifact{Kind: KindTree, Digest: manifest.Digest, Size: e.file.Size + e.small2.Size, Files: 2}
	var err error
	if e.log, err = s.PutLog(context.Background(), strings.NewReader(string(bytesOf("log", 30_000)))); err != nil {
		t.Fatal(err)
	}
	if e.failLog, err = s.PutLog(context.Background(), strings.NewReader("no good\n")); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	commit(t, s, func(b *Batch) {
		b.PutRecord(&Record{Key: e.key, Stage: "train", Run: "r1", Created: now, Action: bytesOf("action", 600), Inputs: []Artifact{e.input},
			Outputs:  []Output{{Name: "tree", Artifact: e.tree}, {Name: "small", Artifact: e.small}},
			Attempts: []Attempt{{Class: ClassOK, Log: e.log, LogBytes: 30_000}}})
		b.PutRecord(&Record{Key: e.exec, Stage: "build", Run: "r1", Created: now, Outputs: []Output{{Name: "program", Artifact: e.program}}})
		b.PutFailure(&Failure{Key: e.failed, Stage: "test", Run: "r1", When: now, Attempts: []Attempt{{Class: ClassExit, Log: e.failLog}}})
		b.History("/p", "train", e.key)
		b.PutRun(&Run{ID: "r1", Project: "/p", Status: "succeeded", Started: now, Stages: []StageResult{
			{Name: "train", Status: "ran", Key: e.key, Attempts: []Attempt{{Class: ClassOK, Log: e.log}}},
			{Name: "build", Status: "ran", Key: e.exec},
		}})
	})
	s.Touch(e.key)
	if err := s.PutCache("something", []byte("found out")); err != nil {
		t.Fatal(err)
	}
	_, release, err := s.Placed(Digest{9}, isWhole, func(tmp string) error {
		return errors.Join(os.Mkdir(tmp, 0o755), s.LinkBlob(e.file, filepath.Join(tmp, "large")),
			os.WriteFile(filepath.Join(tmp, "small"), []byte("small"), 0o444))
	})
	if err != nil {
		t.Fatal(err)
	}
	release()
	closeStore(t, s)
	return e
}

// look runs fsck on a store that it opens for it, however that has to be done.
func look(t testing.TB, dir string, repair bool) *FsckReport {
	t.Helper()
	ctx := context.Background()
	o := Options{ReadOnly: !repair}
	s, err := Open(dir, o)
	var damaged *RecordsDamagedError
	var first []Finding
	if errors.As(err, &damaged) || errors.Is(err, ErrFormat) {
		if !repair {
			rep, err := FsckUnopened(ctx, dir, o, FsckOptions{})
			if err != nil {
				t.Fatal(err)
			}
			return rep
		}
		if first, err = RebuildRecords(dir, o); err != nil {
			t.Fatal(err)
		}
		s, err = Open(dir, o)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, s)
	rep, err := s.Fsck(ctx, FsckOptions{Repair: repair})
	if err != nil {
		t.Fatal(err)
	}
	rep.Add(first...)
	return rep
}

func kinds(rep *FsckReport) []FindingKind {
	seen := map[FindingKind]bool{}
	for _, x := range rep.Findings {
		seen[x.Kind] = true
	}
	return slices.Sorted(maps.Keys(seen))
}

// unchangedBy requires that do writes nothing below dir.
func unchangedBy(t *testing.T, dir string, do func()) {
	t.Helper()
	before := snapshot(t, dir)
	do()
	if diff := cmp.Diff(before, snapshot(t, dir)); diff != "" {
		t.Errorf("something was written (-before +after):\n%s", diff)
	}
}

func TestFsckOfASoundStore(t *testing.T) {
	e := fillEverything(t)
	unchangedBy(t, e.dir, func() {
		rep := look(t, e.dir, false)
		want := &FsckReport{OK: true, Records: 2, Failures: 1, Runs: 1, Links: 1, Blobs: 9, Placed: 1, Caches: 2, Bytes: rep.Bytes, Findings: []Finding{}}
		if diff := cmp.Diff(want, rep); diff != "" {
			t.Error(diff)
		}
	})
	rep := look(t, e.dir, true)
	if len(rep.Findings) > 0 || !rep.OK {
		t.Errorf("repairing finds %+v", rep.Findings)
	}
	if rep := look(t, filepath.Join(e.dir, "nowhere"), false); !rep.OK {
		t.Errorf("no store: %+v", rep)
	}
}

// flip changes one bit in the middle of a file, or at a place; with keep the file has
// its times from before, but for the one that only the kernel sets.
func flip(t testing.TB, path string, at int64, keep bool) {
	t.Helper()
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if at < 0 {
		at += fi.Size()
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[at] ^= 0x10
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(b[at:at+1], at); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Close(), os.Chmod(path, fi.Mode())); err != nil {
		t.Fatal(err)
	}
	if keep {
		if err := os.Chtimes(path, fi.ModTime(), fi.ModTime()); err != nil {
			t.Fatal(err)
		}
	}
}

func oneOf(t testing.TB, pattern string) string {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		t.Fatalf("%q: %v, %v", pattern, names, err)
	}
	return names[0]
}

// TestFsckFindsDamage damages one thing of each kind: fsck says so and changes nothing;
// repairing mends it, and leaves nothing to find.
func TestFsckFindsDamage(t *testing.T) {
	for _, tt := range []struct {
		name   string
		damage func(t *testing.T, e *everything, s *Store)
		want   []FindingKind
		misses []Key // that have to run again after the repair
	}{
		{"a file", func(t *testing.T, e *everything, s *Store) { flip(t, s.blobPath(e.file.Digest, false), 1000, false) },
			[]FindingKind{FoundDamagedBlob, FoundDamagedPlaced, FoundLostOutput}, []Key{{1}}},
		{"a file, its time as before", func(t *testing.T, e *everything, s *Store) { flip(t, s.blobPath(e.file.Digest, false), 1000, true) },
			[]FindingKind{FoundDamagedBlob, FoundDamagedPlaced, FoundLostOutput}, []Key{{1}}},
		{"an executable file", func(t *testing.T, e *everything, s *Store) { flip(t, s.blobPath(e.program.Digest, true), 0, true) },
			[]FindingKind{FoundDamagedBlob, FoundLostOutput}, []Key{{2}}},
		{"a file that is cut off", func(t *testing.T, e *everything, s *Store) {
			if err := cut(s.blobPath(e.program.Digest, true), 100); err != nil {
				t.Fatal(err)
			}
		}, []FindingKind{FoundDamagedBlob, FoundLostOutput}, []Key{{2}}},
		{"a lost file", func(t *testing.T, e *everything, s *Store) {
			if err := os.Remove(s.blobPath(e.program.Digest, true)); err != nil {
				t.Fatal(err)
			}
		}, []FindingKind{FoundLostOutput}, []Key{{2}}},
		{"an input", func(t *testing.T, e *everything, s *Store) { flip(t, s.blobPath(e.input.Digest, false), 0, true) },
			[]FindingKind{FoundDamagedBlob, FoundLostInput}, nil},
		{"a log", func(t *testing.T, e *everything, s *Store) { flip(t, s.blobPath(e.log, false), 99, true) },
			[]FindingKind{FoundDamagedBlob, FoundLostLog}, nil},
		{"a mode", func(t *testing.T, e *everything, s *Store) {
			if err := os.Chmod(s.blobPath(e.file.Digest, false), 0o644); err != nil {
				t.Fatal(err)
			}
		}, []FindingKind{FoundWrongMode}, nil},
		{"a time", func(t *testing.T, e *everything, s *Store) {
			if err := os.Chtimes(s.blobPath(e.file.Digest, false), time.Now(), time.Now()); err != nil {
				t.Fatal(err)
			}
		}, []FindingKind{FoundWrongTime}, nil},
		{"foreign files", func(t *testing.T, e *everything, s *Store) {
			for _, name := range []string{"blobs/readme", "blobs/sha256/x", "blobs/sha256/ab/note", "blobs/sha256/zz/" + e.file.Digest.Hex()} {
				if err := errors.Join(os.MkdirAll(filepath.Dir(s.path(name)), 0o755), os.WriteFile(s.path(name), []byte("mine"), 0o644)); err != nil {
					t.Fatal(err)
				}
			}
		}, []FindingKind{FoundForeignFile}, nil},
		{"a cache", func(t *testing.T, e *everything, s *Store) { flip(t, oneOf(t, s.path("cache", "*")), 0, true) },
			[]FindingKind{FoundDamagedCache}, nil},
		{"a placed copy", func(t *testing.T, e *everything, s *Store) {
			flip(t, oneOf(t, s.path("placed", "*", "*", "small")), 0, true)
		},
			[]FindingKind{FoundDamagedPlaced}, nil},
		{"a table's block", func(t *testing.T, e *everything, s *Store) { flip(t, oneOf(t, s.path("meta", "*.sst")), 40, true) },
			[]FindingKind{FoundDamagedRecords}, []Key{{1}, {2}}},
		{"a table's index", func(t *testing.T, e *everything, s *Store) { flip(t, oneOf(t, s.path("meta", "*.sst")), -40, false) },
			[]FindingKind{FoundDamagedRecords}, []Key{{1}, {2}}},
		{"a table's last byte", func(t *testing.T, e *everything, s *Store) { flip(t, oneOf(t, s.path("meta", "*.sst")), -1, false) },
			[]FindingKind{FoundDamagedRecords}, []Key{{1}, {2}}},
		{"a table that is cut off", func(t *testing.T, e *everything, s *Store) {
			if err := cut(oneOf(t, s.path("meta", "*.sst")), 3); err != nil {
				t.Fatal(err)
			}
		}, []FindingKind{FoundDamagedRecords}, []Key{{1}, {2}}},
		{"a lost table", func(t *testing.T, e *everything, s *Store) {
			if err := os.Remove(oneOf(t, s.path("meta", "*.sst"))); err != nil {
				t.Fatal(err)
			}
		}, []FindingKind{FoundDamagedRecords}, []Key{{1}, {2}}},
		{"the list of tables", func(t *testing.T, e *everything, s *Store) { flip(t, s.path("meta", "MANIFEST"), -1, true) },
			[]FindingKind{FoundDamagedRecords}, nil},
		{"the list of tables, cut off", func(t *testing.T, e *everything, s *Store) {
			if err := cut(s.path("meta", "MANIFEST"), 9); err != nil {
				t.Fatal(err)
			}
		}, []FindingKind{FoundDamagedRecords}, nil},
		{"the list of tables, lost", func(t *testing.T, e *everything, s *Store) {
			if err := os.Remove(s.path("meta", "MANIFEST")); err != nil {
				t.Fatal(err)
			}
		}, []FindingKind{FoundDamagedRecords}, nil},
		{"the list of tables, garbage", func(t *testing.T, e *everything, s *Store) {
			if err := os.WriteFile(s.path("meta", "MANIFEST"), bytesOf("garbage", 200), 0o600); err != nil {
				t.Fatal(err)
			}
		}, []FindingKind{FoundDamagedRecords}, nil},
		{"the format", func(t *testing.T, e *everything, s *Store) { flip(t, s.path("format"), 0, false) },
			[]FindingKind{FoundDamagedFormat}, nil},
		{"the registry of keys", func(t *testing.T, e *everything, s *Store) { flip(t, s.path("meta", "KEYREGISTRY"), -1, false) },
			[]FindingKind{FoundDamagedRecords}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := fillEverything(t)
			s := newStore(e.dir, Options{})
			tt.damage(t, e, s)
			unchangedBy(t, e.dir, func() {
				rep := look(t, e.dir, false)
				if diff := cmp.Diff(tt.want, kinds(rep)); diff != "" || rep.OK {
					t.Errorf("OK %v, %s\n%+v", rep.OK, diff, rep.Findings)
				}
			})
			rep := look(t, e.dir, true)
			for _, x := range rep.Findings {
				if !x.Repaired || x.Detail == "" || x.Effect == "" || x.Remedy == "" {
					t.Errorf("after a repair: %+v", x)
				}
			}
			if !rep.OK || len(rep.Findings) == 0 {
				t.Errorf("repairing: %+v", rep)
			}
			if again := look(t, e.dir, false); len(again.Findings) > 0 {
				t.Errorf("after the repair: %+v", again.Findings)
			}
			s = openStore(t, e.dir, Options{})
			for _, k := range []Key{e.key, e.exec} {
				rec, miss, err := s.Lookup(k)
				if lost := slices.Contains(tt.misses, k); err != nil || (rec == nil) != lost {
					t.Errorf("key %d: %v, %+v, %v", k[0], rec, miss, err)
				} else if lost && tt.want[0] != FoundDamagedRecords && (miss.Kind != MissEvicted || miss.Tombstone.By != ByFsck || miss.Tombstone.Rule == "") {
					t.Errorf("key %d: %+v", k[0], miss)
				}
			}
		})
	}
}

// TestNeverServed flips a bit in each blob of a store, with the file's time kept and
// not, and reads it in every way there is.
func TestNeverServed(t *testing.T) {
	for _, keep := range []bool{false, true} {
		e := fillEverything(t)
		s := openStore(t, e.dir, Options{})
		for name, a := range map[string]Artifact{"file": e.file, "program": e.program, "log": {Kind: KindFile, Digest: e.log, Size: -1}} {
			flip(t, s.blobPath(a.Digest, a.Exec), 77, keep)
			ways := map[string]func() error{
				"SoundFile": func() error { _, err := s.SoundFile(a); return err },
				"CopyBlob":  func() error { return s.CopyBlob(discard{}, a) },
				"LinkBlob":  func() error { return s.LinkBlob(a, filepath.Join(t.TempDir(), "l")) },
				"ReadBlob":  func() error { _, err := s.ReadBlob(a.Digest, 1<<30); return err },
				"OpenBlob":  func() error { _, _, err := s.OpenBlob(context.Background(), a.Digest); return err },
				"OpenLog":   func() error { _, err := s.OpenLog(a.Digest); return err },
			}
			for way, read := range ways {
				if err := read(); !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNotFound) {
					t.Errorf("%s, times kept %v: %s gives %v", name, keep, way, err)
				}
			}
		}
		for _, k := range []Key{e.key, e.exec} {
			if _, miss, err := s.Lookup(k); err != nil || miss == nil || miss.Kind != MissDamaged {
				t.Errorf("%v, %v", miss, err)
			}
		}
		// What is put again takes the place of what was damaged.
		if a := mustPut(t, s, bytesOf("program", 20_000), true); s.Check(a) != nil {
			t.Error("it is not whole after it was put again")
		}
		if _, miss, err := s.Lookup(e.exec); err != nil || miss != nil {
			t.Errorf("%+v, %v", miss, err)
		}
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// TestHitNoticesWriting has a file written into: a hit finds it without reading any
// other, and a file that was only touched is not lost.
func TestHitNoticesWriting(t *testing.T) {
	e := fillEverything(t)
	s := openStore(t, e.dir, Options{})
	path := s.blobPath(e.program.Digest, true)
	if err := os.Chtimes(path, time.Now(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, miss, err := s.Lookup(e.exec); miss != nil || err != nil {
		t.Errorf("touched: %+v, %v", miss, err)
	}
	if fi, err := os.Stat(path); err != nil || !fi.ModTime().Equal(ContentTime()) {
		t.Errorf("its time is not set back: %v, %v", fi.ModTime(), err)
	}
	flip(t, path, 5, false)
	if _, miss, err := s.Lookup(e.exec); err != nil || miss == nil || miss.Kind != MissDamaged {
		t.Errorf("written into: %+v, %v", miss, err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
	if len(oneOf(t, s.path(damagedDir, "*"))) == 0 {
		t.Error("it was not set aside")
	}
}

// TestTablesBitByBit flips bits all over a table: whatever they hit, opening the store
// fails with what to do, or gives exactly the records that there were.
func TestTablesBitByBit(t *testing.T) {
	e := fillEverything(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	s := newStore(e.dir, Options{})
	for _, pattern := range []string{"*.sst", "MANIFEST", "KEYREGISTRY", "*.vlog", "DISCARD"} {
		path := oneOf(t, s.path("meta", pattern))
		fi, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		for range 60 {
			at := random.Int64N(min(fi.Size(), 1<<20))
			flip(t, path, at, false)
			func() {
				s, err := Open(e.dir, Options{ReadOnly: true})
				var damaged *RecordsDamagedError
				if errors.As(err, &damaged) {
					return
				}
				if err != nil {
					t.Errorf("%s, byte %d: %v", pattern, at, err)
					return
				}
				defer closeStore(t, s)
				for _, k := range []Key{e.key, e.exec} {
					if rec, miss, err := s.Lookup(k); err != nil || rec == nil {
						t.Errorf("%s, byte %d: %+v, %v", pattern, at, miss, err)
					}
				}
			}()
			flip(t, path, at, false)
		}
	}
}

// TestRepairGoesOn repairs in every state that a killed repair leaves: after each of
// its steps there is less to do.
func TestRepairGoesOn(t *testing.T) {
	e := fillEverything(t)
	s := newStore(e.dir, Options{})
	flip(t, oneOf(t, s.path("meta", "*.sst")), 40, false)
	// Killed while the new records were written: half of them lie in damaged/.
	half := s.path(damagedDir, "20260101-000000-meta-1")
	if err := errors.Join(os.MkdirAll(half, 0o700), os.WriteFile(filepath.Join(half, "MANIFEST"), []byte("x"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if rep := look(t, e.dir, true); !rep.OK {
		t.Errorf("%+v", rep.Findings)
	}
	// Killed when files were set aside and records still refer to them.
	e = fillEverything(t)
	s = newStore(e.dir, Options{})
	if err := errors.Join(os.MkdirAll(s.path(damagedDir), 0o700), os.Rename(s.blobPath(e.file.Digest, false), s.path(damagedDir, "x"))); err != nil {
		t.Fatal(err)
	}
	if rep := look(t, e.dir, true); !rep.OK || !slices.Contains(kinds(rep), FoundLostOutput) {
		t.Errorf("%+v", rep.Findings)
	}
	if rep := look(t, e.dir, false); !rep.OK {
		t.Errorf("%+v", rep.Findings)
	}
}

func TestFsckBesideCommits(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	stop := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			if err := commitResult(s, Key(Sum(fmt.Append(nil, i))), fmt.Sprint("beside", i)); err != nil {
				done <- err
				return
			}
		}
	}()
	for range 10 {
		rep, err := s.Fsck(context.Background(), FsckOptions{Repair: true})
		if err != nil || len(rep.Findings) > 0 {
			t.Errorf("%+v, %v", rep, err)
		}
	}
	close(stop)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestDamageWhileOpen has a table written into while the store is open: no look-up gives
// anything wrong or says that nothing was ever there, gc touches nothing, and a repair
// goes on with the store open.
func TestDamageWhileOpen(t *testing.T) {
	for at := range int64(12) {
		e := fillEverything(t)
		s := openStore(t, e.dir, Options{})
		flip(t, oneOf(t, s.path("meta", "*.sst")), 10+at*40, false)
		for _, k := range []Key{e.key, e.exec} {
			if rec, miss, err := s.Lookup(k); err == nil && rec == nil && miss.Kind != MissDamaged {
				t.Errorf("byte %d: %+v", 10+at*40, miss)
			}
		}
		if rep, err := s.GC(context.Background(), Policy{}); err == nil || rep.Records+rep.Blobs > 0 {
			t.Errorf("gc went on: %+v, %v", rep, err)
		}
		rep, err := s.Fsck(context.Background(), FsckOptions{Repair: true})
		if err != nil || !rep.OK || !slices.Contains(kinds(rep), FoundDamagedRecords) {
			t.Fatalf("%+v, %v", rep, err)
		}
		if rep, err = s.Fsck(context.Background(), FsckOptions{}); err != nil || len(rep.Findings) > 0 {
			t.Errorf("%+v, %v", rep, err)
		}
		if err := commitResult(s, Key{42}, "again"); err != nil {
			t.Error(err)
		}
	}
}

// What is known of a large file stays known to the next owner, also after a stage had a
// link to it; of a small one it is found out again.
func TestSoundIsRemembered(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Options{})
	large := mustPut(t, s, bytesOf("large", soundFrom), false)
	small := mustPut(t, s, bytesOf("small", soundFrom-1), true)
	link := filepath.Join(t.TempDir(), "link")
	if err := s.LinkBlob(large, link); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	s = openStore(t, dir, Options{})
	for name, tt := range map[string]struct {
		a     Artifact
		known bool
	}{"large": {large, true}, "small": {small, false}} {
		id := blobID{tt.a.Digest, tt.a.Exec}
		st, ok := stampAt(s.blobPath(tt.a.Digest, tt.a.Exec))
		if known := s.sound.is(s, id, st); !ok || known != tt.known {
			t.Errorf("%s: known %v", name, known)
		}
		if _, err := s.SoundFile(tt.a); err != nil || !s.sound.is(s, id, st) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := os.Remove(link); err != nil { // changes its time of change: it is hashed again
		t.Fatal(err)
	}
	if st, _ := stampAt(s.blobPath(large.Digest, false)); s.sound.is(s, blobID{large.Digest, false}, st) {
		t.Error("a change of its file was not noticed")
	}
}
