package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/google/go-cmp/cmp"
)

// fullRecord sets every field.
func fullRecord(k Key) *Record {
	at := time.Date(2026, 11, 24, 2, 7, 51, 123456789, time.UTC)
	return &Record{
		Key: k, Action: []byte("action\x00of " + k.Short()), Note: []byte(`{"image":"python:3.13@sha256:…"}`),
		Outputs: []Output{
			{Name: "model", Path: "out/model.bin", Artifact: Artifact{Kind: KindFile, Digest: Sum([]byte("m")), Size: 1 << 33, Exec: true}},
			{Name: "plots", Path: "plots", Artifact: Artifact{Kind: KindTree, Digest: Sum([]byte("p")), Size: 12, Files: 3}},
		},
		Inputs:  []Artifact{{Kind: KindFile, Digest: Sum([]byte("i")), Size: 5}},
		Metrics: map[string]float64{"accuracy": 0.97, "loss": -1e-9}, Run: "20261124-020751-k3f9", Stage: "train[lr=0.1]", Created: at,
		Attempts: []Attempt{
			{Class: ClassOOM, ExitCode: 137, Signal: "killed", Error: "out of memory", Started: at.Add(-time.Minute), Seconds: 1.5, CPUSeconds: 2.5, PeakMemory: 1 << 31, ReadBytes: -1, WrittenBytes: 7, MemoryLimit: 1 << 31, Log: Sum([]byte("l")), LogBytes: 99},
			{Class: ClassOK},
		},
	}
}

func TestRecordCodec(t *testing.T) {
	k := Key(Sum([]byte("k")))
	for name, want := range map[string]*Record{"full": fullRecord(k), "empty": {Key: k}} {
		got, err := decodeRecord(k, encodeRecord(want))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	b := encodeRecord(fullRecord(k))
	for n := range b {
		if _, err := decodeRecord(k, b[:n]); err == nil {
			t.Errorf("the first %d of %d bytes are taken for a record", n, len(b))
		}
	}
}

func FuzzRecordCodec(f *testing.F) {
	f.Add(encodeRecord(fullRecord(Key{1})))
	f.Add(encodeRecord(&Record{}))
	f.Fuzz(func(t *testing.T, b []byte) {
		rec, err := decodeRecord(Key{1}, b)
		if err != nil {
			return
		}
		again, err := decodeRecord(Key{1}, encodeRecord(rec))
		if err != nil {
			t.Fatal(err)
		}
		if string(encodeRecord(again)) != string(encodeRecord(rec)) {
			t.Errorf("%+v became %+v", rec, again)
		}
	})
}

func FuzzTableCodec(f *testing.F) {
	f.Add(encodeTable([]StageResult{{Name: "a", Status: "ran", Key: Key{1}, Metrics: map[string]float64{"m": 1}, Attempts: []Attempt{{Class: ClassOK}}}, {Name: "b"}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		stages, err := decodeTable(b)
		if err != nil {
			return
		}
		if again, err := decodeTable(encodeTable(stages)); err != nil || len(again) != len(stages) {
			t.Errorf("%d stages became %d, %v", len(stages), len(again), err)
		}
	})
}

func FuzzFrame(f *testing.F) {
	p := newPacker()
	for _, n := range []int{0, 10, 5000} {
		b, err := p.frame(make([]byte, n))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, 1)
	}
	f.Fuzz(func(t *testing.T, b []byte, at int) {
		payload, spilled, err := p.unframe(b)
		if err != nil || !spilled.IsZero() {
			return
		}
		again, err := p.frame(payload)
		if err != nil {
			t.Fatal(err)
		}
		if got, _, err := p.unframe(again); err != nil || string(got) != string(payload) {
			t.Errorf("%q became %q, %v", payload, got, err)
		}
		torn := append([]byte(nil), b...)
		torn[uint(at)%uint(len(torn))] ^= 0x40
		if _, _, err := p.unframe(torn); err == nil {
			t.Error("a changed byte was not noticed")
		}
	})
}

func TestLookup(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	small := mustPut(t, s, []byte("small"), false)
	large := mustPut(t, s, bytesOf("large", 50_000), false)
	exec := mustPut(t, s, bytesOf("exec", 50_000), true)
	member := mustPut(t, s, bytesOf("member", 60_000), false)
	manifest := mustPut(t, s, EncodeTree([]Entry{{Path: "d", Kind: EntryDir}, {Path: "d/f", Kind: EntryFile, Size: member.Size, Digest: member.Digest}}), false)
	tree := Artifact{Kind: KindTree, Digest: manifest.Digest, Size: member.Size, Files: 1}
	rec := &Record{Key: Key{1}, Stage: "s", Outputs: []Output{{Name: "small", Artifact: small}, {Name: "large", Artifact: large}, {Name: "exec", Artifact: exec}, {Name: "tree", Artifact: tree}}}
	commit(t, s, func(b *Batch) { b.PutRecord(rec) })
	got, miss, err := s.Lookup(Key{1})
	if err != nil || miss != nil {
		t.Fatal(miss, err)
	}
	if diff := cmp.Diff(rec, got); diff != "" {
		t.Fatal(diff)
	}

	file := func(a Artifact) string { p, _ := s.BlobFile(a); return p }
	drop := func(key []byte) error { return s.update(func(txn *badger.Txn) error { return txn.Delete(key) }) }
	for _, tt := range []struct {
		name   string
		damage func() error
		mend   Artifact
		data   []byte
		want   string
	}{
		{"small one lost", func() error { return drop(blobKey(small.Digest)) }, small, []byte("small"), `output "small": `},
		{"large one lost", func() error { return os.Remove(file(large)) }, large, bytesOf("large", 50_000), `output "large": `},
		{"large one cut", func() error { return cut(file(large), 1) }, large, bytesOf("large", 50_000), "has 1 bytes instead of 50000"},
		{"executable lost", func() error { return os.Remove(file(exec)) }, exec, bytesOf("exec", 50_000), `output "exec": `},
		{"member lost", func() error { return os.Remove(file(member)) }, member, bytesOf("member", 60_000), `output "tree": "d/f" in it: `},
		{"manifest lost", func() error { return drop(blobKey(manifest.Digest)) }, Artifact{}, nil, `output "tree": the manifest `},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.damage(); err != nil {
				t.Fatal(err)
			}
			rec, miss, err := s.Lookup(Key{1})
			if err != nil || rec != nil || miss == nil || miss.Kind != MissDamaged || !strings.Contains(miss.Detail, tt.want) {
				t.Errorf("Lookup = %v, %+v, %v", rec, miss, err)
			}
			if tt.data != nil {
				mustPut(t, s, tt.data, tt.mend.Exec)
				if _, miss, err := s.Lookup(Key{1}); miss != nil || err != nil {
					t.Errorf("mended: %+v, %v", miss, err)
				}
			}
		})
	}
}

func TestLookupOfDamagedRecord(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	for name, val := range map[string]string{"foreign": "something else", "empty": "", "newer": "\x09\x00xxxxxx"} {
		if err := s.update(func(txn *badger.Txn) error { return txn.Set(keyOf(inRecords, Key{1}), []byte(val)) }); err != nil {
			t.Fatal(err)
		}
		rec, miss, err := s.Lookup(Key{1})
		if err != nil || rec != nil || miss == nil || miss.Kind != MissDamaged {
			t.Errorf("%s: Lookup = %v, %+v, %v", name, rec, miss, err)
		}
		if rec, err := s.Record(Key{1}); rec != nil || err != nil {
			t.Errorf("%s: Record = %v, %v", name, rec, err)
		}
	}
}

// A tree with many members is not looked at again, unless something disappeared.
func TestLargeTreeIsRemembered(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	b := s.NewBatch()
	var entries []Entry
	var last Artifact
	for i := range memoFrom {
		a, err := b.Put(strings.NewReader(string(bytesOf(fmt.Sprint(i), SmallBlob+1))), false)
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, Entry{Path: fmt.Sprintf("f%06d", i), Kind: EntryFile, Size: a.Size, Digest: a.Digest})
		last = a
	}
	manifest, err := b.Put(strings.NewReader(string(EncodeTree(entries))), false)
	if err = errors.Join(err, s.Commit(context.Background(), b), b.Close()); err != nil {
		t.Fatal(err)
	}
	tree := Artifact{Kind: KindTree, Digest: manifest.Digest}
	time.Sleep(2 * memoSlack) // the directories have to be older than the check
	if err := s.Check(tree); err != nil {
		t.Fatal(err)
	}
	if w, ok := s.trees.get(tree.Digest); !ok || !s.unchanged(&w) {
		t.Errorf("it is not remembered")
	}
	path, _ := s.BlobFile(last)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if s.Check(tree) == nil {
		t.Error("the loss of a member is not noticed")
	}
}

func TestLookupAllAgreesWithLookup(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	keys := make([]Key, 300)
	commit(t, s, func(b *Batch) {
		for i := range keys {
			keys[i] = Key(Sum([]byte{byte(i), byte(i >> 8)}))
			if i%3 != 0 {
				a, err := b.Put(strings.NewReader(fmt.Sprint(i)), false)
				if err != nil {
					t.Fatal(err)
				}
				b.PutRecord(&Record{Key: keys[i], Stage: fmt.Sprint(i), Outputs: []Output{{Name: "o", Artifact: a}}})
			}
		}
	})
	all, err := s.LookupAll(context.Background(), keys)
	if err != nil {
		t.Fatal(err)
	}
	for i, k := range keys {
		rec, miss, err := s.Lookup(k)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(Found{rec, miss}, all[i]); diff != "" {
			t.Error(diff)
		}
	}
}

func TestSuccessDropsFailure(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	k := Key{1}
	f := &Failure{Key: k, Stage: "s", Run: "r", Action: []byte("a"), When: time.Unix(1, 0).UTC(), Attempts: []Attempt{{Class: ClassExit, ExitCode: 3}}}
	if err := s.PutFailure(f); err != nil {
		t.Fatal(err)
	}
	got, err := s.Failure(k)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(f, got); diff != "" {
		t.Fatal(diff)
	}
	commit(t, s, func(b *Batch) { b.PutRecord(&Record{Key: k}) })
	if got, err := s.Failure(k); got != nil || err != nil {
		t.Errorf("Failure = %v, %v", got, err)
	}
}

func TestStageHistory(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	add := func(project, stage string, keys ...byte) {
		for _, k := range keys {
			commit(t, s, func(b *Batch) { b.History(project, stage, Key{k}) })
		}
	}
	add("/p", "s", 1, 2, 2, 3, 1)
	add("/p", "t", 9)
	add("/ps", "", 8) // not the same as /p and s
	for i := range byte(40) {
		add("/p", "many", i)
	}
	for _, tt := range []struct {
		name, project, stage string
		limit                int
		want                 []byte
	}{
		{"newest first, each once", "/p", "s", 0, []byte{1, 3, 2}},
		{"limited", "/p", "s", 2, []byte{1, 3}},
		{"another stage", "/p", "t", 0, []byte{9}},
		{"another project", "/q", "s", 0, nil},
		{"bounded", "/p", "many", 0, []byte{39, 38, 37, 36, 35, 34, 33, 32, 31, 30, 29, 28, 27, 26, 25, 24}},
	} {
		keys, err := s.StageHistory(tt.project, tt.stage, tt.limit)
		if err != nil {
			t.Fatal(err)
		}
		var got []byte
		for _, k := range keys {
			got = append(got, k[0])
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

// A value too large for Badger goes to a blob and comes back; losing the blob is a
// damaged miss.
func TestLargeRecordSpills(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	rec := &Record{Key: Key{1}, Action: bytesOf("action", 3<<20), Created: time.Now()}
	commit(t, s, func(b *Batch) { b.PutRecord(rec) })
	got, miss, err := s.Lookup(Key{1})
	if err != nil || miss != nil {
		t.Fatal(miss, err)
	}
	if string(got.Action) != string(rec.Action) {
		t.Error("another action came back")
	}
	if rep, err := s.GC(context.Background(), Policy{KeepAge: day}); err != nil || rep.Blobs != 0 {
		t.Errorf("GC = %+v, %v", rep, err)
	}
	removeBlobs(t, s)
	if _, miss, err := s.Lookup(Key{1}); err != nil || miss == nil || miss.Kind != MissDamaged {
		t.Errorf("Lookup = %+v, %v", miss, err)
	}
}

func removeBlobs(t *testing.T, s *Store) {
	t.Helper()
	if err := os.RemoveAll(s.path("blobs", "sha256")); err != nil {
		t.Fatal(err)
	}
}

func TestCommitRefusesDanglingRecord(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	b := s.NewBatch()
	b.PutRecord(&Record{Key: Key{1}, Stage: "s", Outputs: []Output{{Name: "o", Artifact: Artifact{Kind: KindFile, Digest: Digest{1}, Size: 9}}}})
	if err := s.Commit(context.Background(), b); err == nil || !strings.Contains(err.Error(), `output "o" of stage "s"`) {
		t.Errorf("Commit: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if rec, err := s.Record(Key{1}); rec != nil || err != nil {
		t.Errorf("Record = %v, %v", rec, err)
	}
}

func TestClosedBatchLeavesNothing(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	b := s.NewBatch()
	a, err := b.Put(strings.NewReader(string(bytesOf("x", 100_000))), false)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := b.ReadBlob(a.Digest, 1<<20); err != nil || Sum(got) != a.Digest {
		t.Errorf("the batch does not see its content: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(s.path("tmp")); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	if s.Check(a) == nil {
		t.Error("it is in the store")
	}
}

// More small blobs than one transaction can hold.
func TestLargeBatch(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	var last Artifact
	commit(t, s, func(b *Batch) {
		for i := range 2000 {
			a, err := b.Put(strings.NewReader(string(bytesOf(fmt.Sprint(i), 3000))), false)
			if err != nil {
				t.Fatal(err)
			}
			last = a
		}
		b.PutRecord(&Record{Key: Key{1}, Outputs: []Output{{Name: "o", Artifact: last}}})
	})
	if _, miss, err := s.Lookup(Key{1}); miss != nil || err != nil {
		t.Errorf("%+v, %v", miss, err)
	}
	for i := range 2000 {
		if _, ok := s.Stat(Sum(bytesOf(fmt.Sprint(i), 3000))); !ok {
			t.Fatalf("blob %d is not there", i)
		}
	}
}
