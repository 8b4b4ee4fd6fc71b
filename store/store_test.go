package store

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// clock is a time that tests move.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func newClock() *clock { return &clock{time.Date(2026, 11, 24, 2, 7, 51, 0, time.UTC)} }

func openStore(t testing.TB, dir string, o Options) *Store {
	t.Helper()
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func closeStore(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// cut shortens a file that is not writable.
func cut(path string, size int64) error {
	return errors.Join(os.Chmod(path, 0o600), os.Truncate(path, size))
}

// bytesOf makes n bytes that differ with seed and do not compress.
func bytesOf(seed string, n int) []byte {
	b := make([]byte, 0, n+32)
	for d := Sum([]byte(seed)); len(b) < n; d = Sum(d[:]) {
		b = append(b, d[:]...)
	}
	return b[:n]
}

func mustPut(t testing.TB, s *Store, data []byte, exec bool) Artifact {
	t.Helper()
	a, err := s.PutBytes(context.Background(), data, exec)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func commit(t testing.TB, s *Store, fill func(*Batch)) {
	t.Helper()
	b := s.NewBatch()
	fill(b)
	if err := errors.Join(s.Commit(context.Background(), b), b.Close()); err != nil {
		t.Fatal(err)
	}
}

// snapshot lists every path below dir with what a reader could change.
func snapshot(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		content := ""
		if fi.Mode().IsRegular() {
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			content = Sum(b).Short()
		}
		out[p] = strings.Join([]string{fi.Mode().String(), strconv.FormatInt(fi.Size(), 10), fi.ModTime().String(), content}, " ")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestBlobs(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	for _, tt := range []struct {
		name string
		size int
		exec bool
	}{
		{"empty", 0, false},
		{"one byte", 1, true},
		{"largest small", SmallBlob, false},
		{"smallest large", SmallBlob + 1, false},
		{"large executable", SmallBlob + 1, true},
		{"first buffer full", hashFirst, false},
		{"second buffer begun", hashFirst + 1, false},
		{"second buffer full", hashFirst + hashBuffer, false},
		{"many buffers", 5*hashBuffer + 3, false},
		{"synced at once", 2 * syncAtOnce, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			data := bytesOf(tt.name, tt.size)
			a := mustPut(t, s, data, tt.exec)
			want := Artifact{Kind: KindFile, Digest: Sum(data), Size: int64(tt.size), Exec: tt.exec}
			if diff := cmp.Diff(want, a); diff != "" {
				t.Fatal(diff)
			}
			if again := mustPut(t, s, data, tt.exec); again != a {
				t.Errorf("put again: %v", again)
			}
			if err := s.Check(a); err != nil {
				t.Error(err)
			}
			if size, ok := s.Stat(a.Digest); !ok || size != a.Size {
				t.Errorf("Stat = %d, %v", size, ok)
			}
			r, size, err := s.OpenBlob(context.Background(), a.Digest)
			if err != nil || size != a.Size {
				t.Fatalf("OpenBlob: size %d, %v", size, err)
			}
			got, err := io.ReadAll(r)
			if err = errors.Join(err, r.Close()); err != nil || !bytes.Equal(got, data) {
				t.Errorf("OpenBlob gave %d other bytes, %v", len(got), err)
			}
			if got, err := s.ReadBlob(a.Digest, a.Size); err != nil || !bytes.Equal(got, data) {
				t.Errorf("ReadBlob gave %d other bytes, %v", len(got), err)
			}
			if _, err := s.ReadBlob(a.Digest, a.Size-1); !errors.Is(err, ErrTooLarge) {
				t.Errorf("ReadBlob over the limit: %v", err)
			}
			path, ok := s.BlobFile(a)
			if ok != (tt.size > SmallBlob) {
				t.Fatalf("BlobFile = %v", ok)
			}
			if !ok {
				return
			}
			fi, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			mode := fs.FileMode(modeFile)
			if tt.exec {
				mode = modeExec
			}
			if fi.Mode() != mode || !fi.ModTime().Equal(ContentTime()) {
				t.Errorf("mode %v, time %v", fi.Mode(), fi.ModTime())
			}
		})
	}
	if left, err := os.ReadDir(s.path("tmp")); err != nil || len(left) > 0 {
		t.Errorf("left in tmp: %v, %v", left, err)
	}
}

func TestBlobsNotThere(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	d := Sum([]byte("nothing"))
	if _, _, err := s.OpenBlob(context.Background(), d); !errors.Is(err, ErrNotFound) {
		t.Errorf("OpenBlob: %v", err)
	}
	if _, err := s.ReadBlob(d, 1); !errors.Is(err, ErrNotFound) {
		t.Errorf("ReadBlob: %v", err)
	}
	if _, ok := s.Stat(d); ok {
		t.Error("Stat finds it")
	}
	for _, a := range []Artifact{{Kind: KindFile, Digest: d, Size: 1}, {Kind: KindFile, Digest: d, Size: 1 << 20}, {Kind: KindTree, Digest: d}} {
		if s.Check(a) == nil {
			t.Errorf("Check of %v finds it", a)
		}
	}
}

// A blob whose file was damaged is made again by putting its content.
func TestPutMendsDamage(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	data := bytesOf("large", 100_000)
	a := mustPut(t, s, data, false)
	path, _ := s.BlobFile(a)
	if err := cut(path, 5); err != nil {
		t.Fatal(err)
	}
	if s.Check(a) == nil || s.Has(a) {
		t.Fatal("the damage is not seen")
	}
	mustPut(t, s, data, false)
	if got, err := s.ReadBlob(a.Digest, a.Size); err != nil || !bytes.Equal(got, data) {
		t.Errorf("still damaged: %v", err)
	}
}

func TestReadBlobSeesDamage(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	a := mustPut(t, s, bytesOf("large", 100_000), false)
	path, _ := s.BlobFile(a)
	if err := errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, bytesOf("other", 100_000), 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ReadBlob(a.Digest, a.Size); err == nil {
		t.Error("other bytes of the same length were not noticed")
	}
}

func TestOneOwner(t *testing.T) {
	dir := t.TempDir()
	owner := openStore(t, dir, Options{})
	for name, o := range map[string]Options{"to write": {}, "to read": {ReadOnly: true}} {
		_, err := Open(dir, o)
		var in *InUseError
		if !errors.Is(err, ErrInUse) || !errors.As(err, &in) || in.PID != os.Getpid() {
			t.Errorf("opening %s what is owned: %v", name, err)
		}
	}
	closeStore(t, owner)
	r1 := openStore(t, dir, Options{ReadOnly: true})
	openStore(t, dir, Options{ReadOnly: true})
	if _, err := Open(dir, Options{}); !errors.Is(err, ErrInUse) {
		t.Errorf("opening to write what is being read: %v", err)
	}
	if err := r1.Writable(); !errors.Is(err, ErrInUse) {
		t.Errorf("owning what another reads: %v", err)
	}
	if _, err := r1.Runs(RunFilter{}); err != nil {
		t.Errorf("reading after that: %v", err)
	}
}

func TestNewerFormat(t *testing.T) {
	dir := t.TempDir()
	closeStore(t, openStore(t, dir, Options{}))
	if err := os.WriteFile(filepath.Join(dir, "format"), []byte("7\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	before := snapshot(t, dir)
	for _, o := range []Options{{}, {ReadOnly: true}} {
		_, err := Open(dir, o)
		if !errors.Is(err, ErrNewerFormat) || !strings.Contains(err.Error(), "7") || !strings.Contains(err.Error(), strconv.Itoa(Format)) {
			t.Errorf("opening %+v: %v", o, err)
		}
	}
	if diff := cmp.Diff(before, snapshot(t, dir)); diff != "" {
		t.Error(diff)
	}
}

func TestReadOnlyOfNothing(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "store")
	s := openStore(t, dir, Options{ReadOnly: true})
	if rec, miss, err := s.Lookup(Key{1}); rec != nil || err != nil || miss == nil || miss.Kind != MissAbsent {
		t.Errorf("Lookup = %v, %v, %v", rec, miss, err)
	}
	found, err := s.LookupAll(context.Background(), []Key{{1}, {2}})
	if err != nil || len(found) != 2 || found[1].Miss == nil {
		t.Errorf("LookupAll = %v, %v", found, err)
	}
	if runs, err := s.Runs(RunFilter{}); len(runs) != 0 || err != nil {
		t.Errorf("Runs = %v, %v", runs, err)
	}
	if _, err := s.ReadBlob(Sum(nil), 1); !errors.Is(err, ErrNotFound) {
		t.Errorf("ReadBlob: %v", err)
	}
	if s.Check(Artifact{Kind: KindFile}) == nil {
		t.Error("Check finds something")
	}
	if _, err := s.GC(context.Background(), Policy{}); err != nil {
		t.Errorf("GC: %v", err)
	}
	if _, ok := s.GetCache("x"); ok {
		t.Error("GetCache finds something")
	}
	if err := s.PutRun(&Run{ID: "x"}); !errors.Is(err, ErrReadOnly) {
		t.Errorf("PutRun: %v", err)
	}
	if left, err := os.ReadDir(parent); err != nil || len(left) != 0 {
		t.Errorf("it made %v, %v", left, err)
	}
}

func TestReadOnlyChangesNothing(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Options{})
	a := mustPut(t, s, bytesOf("large", 9000), false)
	commit(t, s, func(b *Batch) { b.PutRecord(&Record{Key: Key{1}, Outputs: []Output{{Name: "o", Artifact: a}}}) })
	if err := s.PutRun(&Run{ID: "20260101-000000-aaaa", Project: "/p", Stages: []StageResult{{Name: "s"}}}); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	before := snapshot(t, dir)
	r := openStore(t, dir, Options{ReadOnly: true})
	if rec, _, err := r.Lookup(Key{1}); rec == nil || err != nil {
		t.Errorf("Lookup = %v, %v", rec, err)
	}
	r.Touch(Key{1})
	if _, err := r.Run("20260101-000000-aaaa"); err != nil {
		t.Error(err)
	}
	for name, err := range map[string]error{
		"PutRun":     r.PutRun(&Run{ID: "x"}),
		"PutCache":   r.PutCache("x", nil),
		"PutFailure": r.PutFailure(&Failure{}),
		"Maintain":   r.Maintain(context.Background()),
		"Put": func() error {
			_, err := r.PutBytes(context.Background(), bytesOf("x", 9000), false)
			return err
		}(),
		"TempDir": func() error { _, err := r.TempDir("x"); return err }(),
		"GC":      func() error { _, err := r.GC(context.Background(), Policy{}); return err }(),
	} {
		if !errors.Is(err, ErrReadOnly) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if rep, err := r.GC(context.Background(), Policy{DryRun: true}); err != nil || rep.Records != 1 {
		t.Errorf("dry GC = %+v, %v", rep, err)
	}
	closeStore(t, r)
	if diff := cmp.Diff(before, snapshot(t, dir)); diff != "" {
		t.Error(diff)
	}
}

func TestWritable(t *testing.T) {
	for _, name := range []string{"of nothing", "of a store"} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "store")
			if name == "of a store" {
				closeStore(t, openStore(t, dir, Options{}))
			}
			s := openStore(t, dir, Options{ReadOnly: true})
			for range 2 {
				if err := s.Writable(); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.PutRun(&Run{ID: "r"}); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(dir, Options{ReadOnly: true}); !errors.Is(err, ErrInUse) {
				t.Errorf("it is not owned: %v", err)
			}
			if r, err := s.Run("r"); err != nil || r.ID != "r" {
				t.Errorf("Run = %v, %v", r, err)
			}
		})
	}
}

// What the last owner left is out of the way at once and gone soon.
func TestLeftoversAreSwept(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Options{})
	boot, err := bootID()
	if err != nil {
		t.Fatal(err)
	}
	tmp, err := s.TempDir("stage-")
	if err != nil {
		t.Fatal(err)
	}
	old := s.path("placed", "another-boot", "d")
	kept := s.path("placed", boot, "d")
	t.Cleanup(func() {
		if err := os.Chmod(kept, 0o700); err != nil {
			t.Error(err)
		}
	})
	for _, d := range []string{filepath.Join(tmp, "sub"), old, kept} {
		if err := errors.Join(os.MkdirAll(d, 0o755), os.WriteFile(filepath.Join(d, "f"), nil, 0o444), os.Chmod(d, 0o555)); err != nil {
			t.Fatal(err)
		}
	}
	closeStore(t, s)
	s = openStore(t, dir, Options{})
	for _, p := range []string{tmp, old} {
		if _, err := os.Lstat(p); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %v", p, err)
		}
	}
	if _, err := os.Lstat(filepath.Join(kept, "f")); err != nil {
		t.Error(err)
	}
	<-s.sweeper.done
	if left, err := s.leftovers(); err != nil || len(left) != 0 {
		t.Errorf("still there: %v, %v", left, err)
	}
}

func TestCaches(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Options{})
	big := bytesOf("cache", 3<<20)
	for name, data := range map[string][]byte{"empty": {}, "small": []byte("x"), "big": big} {
		if err := errors.Join(s.PutCache(name, []byte("before")), s.PutCache(name, data)); err != nil {
			t.Fatal(err)
		}
		if got, ok := s.GetCache(name); !ok || !bytes.Equal(got, data) {
			t.Errorf("%s: %d bytes, %v", name, len(got), ok)
		}
	}
	if _, ok := s.GetCache("never put"); ok {
		t.Error("there is what was never put")
	}
	b, err := os.ReadFile(s.cachePath("small"))
	if err != nil {
		t.Fatal(err)
	}
	for name, torn := range map[string][]byte{"short": b[:10], "changed": append([]byte("y"), b[1:]...), "empty": {}} {
		if err := os.WriteFile(s.cachePath("small"), torn, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, ok := s.GetCache("small"); ok {
			t.Errorf("a %s one is taken for whole", name)
		}
	}
	if err := os.Rename(s.cachePath("big"), s.cachePath("small")); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.GetCache("small"); ok {
		t.Error("one of another name is taken")
	}
}

func TestLogs(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	for name, text := range map[string]string{"empty": "", "short": "a line\n", "long": strings.Repeat("epoch 1 loss 0.5\n", 100_000)} {
		d, err := s.PutLog(context.Background(), strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		r, err := s.OpenLog(d)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err = errors.Join(err, r.Close()); err != nil || string(got) != text {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	if _, err := s.OpenLog(Sum([]byte("no log"))); !errors.Is(err, ErrNotFound) {
		t.Errorf("a log that is not there: %v", err)
	}
}
