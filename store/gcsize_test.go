package store

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestGCLimits(t *testing.T) {
	const each = 20_000
	for _, tt := range []struct {
		name string
		p    Policy
		want []byte // of eight results, each used on a later day than the one before
		rule string
	}{
		{"no limit", Policy{KeepAge: 90 * day}, []byte{1, 2, 3, 4, 5, 6, 7, 8}, ""},
		{"count", Policy{KeepAge: 90 * day, KeepCount: 3}, []byte{1, 7, 8}, "count"},
		{"size", Policy{KeepAge: 90 * day, KeepSize: 4*each + each/2}, []byte{1, 6, 7, 8}, "size"},
		{"both, the size is less", Policy{KeepAge: 90 * day, KeepCount: 6, KeepSize: 2 * each}, []byte{1, 8}, "size"},
		{"size for nothing but what is leased", Policy{KeepAge: 90 * day, KeepSize: 1}, []byte{1}, "size"},
		{"a limit is above runs", Policy{KeepRuns: 5, KeepAge: 90 * day, KeepCount: 2}, []byte{1, 8}, "count"},
		{"age goes first", Policy{KeepAge: 4 * day, KeepCount: 7}, []byte{1, 6, 7, 8}, "age"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newClock()
			s := openStore(t, t.TempDir(), Options{Now: c.Now})
			var keys []Key
			var stages []StageResult
			for i := range byte(8) {
				keys = append(keys, recordWith(t, s, i+1, each))
				stages = append(stages, StageResult{Name: "s", Key: keys[i]})
				c.now = c.now.Add(day)
			}
			if err := s.PutRun(&Run{ID: "20261201-000000-aaaa", Project: "/p", Status: "succeeded", Started: c.now.Add(-80 * day), Stages: stages}); err != nil {
				t.Fatal(err)
			}
			defer s.Lease(keys[0])() // the oldest
			c.now = c.now.Add(day / 2)
			dry := tt.p
			dry.DryRun = true
			would := gc(t, s, dry)
			rep := gc(t, s, tt.p)
			if diff := cmp.Diff(tt.want, alive(t, s, keys...)); diff != "" {
				t.Error(diff)
			}
			would.DryRun = false
			if diff := cmp.Diff(rep, would); diff != "" {
				t.Errorf("the dry run said something else: %s", diff)
			}
			for _, d := range rep.Dropped {
				_, miss, err := s.Lookup(d.Key)
				if err != nil || !strings.HasPrefix(d.Rule, tt.rule+": ") || miss.Kind != MissEvicted || miss.Tombstone.Rule != d.Rule || d.Used.IsZero() {
					t.Errorf("%+v: %+v, %v", d, miss, err)
				}
			}
		})
	}
}

// Content that two results share is counted once, and a tree with its members.
func TestWeigher(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	shared := mustPut(t, s, bytesOf("shared", 10_000), false)
	small := mustPut(t, s, []byte("12345"), true)
	manifest := EncodeTree([]Entry{{Path: "a", Kind: EntryFile, Size: shared.Size, Digest: shared.Digest}, {Path: "b", Kind: EntryFile, Exec: true, Size: 5, Digest: small.Digest}})
	tree := mustPut(t, s, manifest, false)
	rep := gc(t, s, Policy{KeepSize: 1 << 30})
	if rep.Kept != 0 {
		t.Errorf("%+v", rep)
	}
	commit(t, s, func(b *Batch) {
		b.PutRecord(&Record{Key: Key{1}, Created: s.now(), Outputs: []Output{{Artifact: Artifact{Kind: KindTree, Digest: tree.Digest, Size: 10_005, Files: 2}}}})
		b.PutRecord(&Record{Key: Key{2}, Created: s.now(), Outputs: []Output{{Artifact: shared}}, Inputs: []Artifact{small}})
	})
	rep = gc(t, s, Policy{KeepAge: day, KeepSize: 1 << 30})
	if want := int64(10_005 + len(manifest)); rep.Kept != 2 || rep.KeptBytes != want {
		t.Errorf("kept %d results of %d bytes, want 2 of %d", rep.Kept, rep.KeptBytes, want)
	}
}

// What gc drops from Badger is given back to the disk.
func TestGCGivesRoomBack(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, Options{})
	for from := 0; from < 6000; from += 1000 {
		commit(t, s, func(b *Batch) {
			for i := from; i < from+1000; i++ {
				a, err := b.Put(strings.NewReader(string(bytesOf(fmt.Sprint("small", i), 4000))), false)
				if err != nil {
					t.Fatal(err)
				}
				b.PutRecord(&Record{Key: Key(Sum(fmt.Append(nil, i))), Created: s.now(), Outputs: []Output{{Artifact: a}}})
			}
		})
	}
	closeStore(t, s)
	before := diskSize(t, s.path("meta"))
	s = openStore(t, dir, Options{})
	if rep := gc(t, s, Policy{}); rep.Records != 6000 || rep.Blobs != 6000 {
		t.Fatalf("%d records, %d blobs", rep.Records, rep.Blobs)
	}
	closeStore(t, s)
	after := diskSize(t, s.path("meta"))
	t.Logf("%d KiB before, %d KiB after", before>>10, after>>10)
	if after > before/4 {
		t.Errorf("the records take %d KiB, and took %d", after>>10, before>>10)
	}
}

func TestReserve(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	for range 2 {
		if err := s.MakeReserve(); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := allocated(s.path("reserve")); err != nil || n < ReserveSize || !HasReserve(s.Dir()) {
		t.Errorf("it takes %d bytes, %v", n, err)
	}
	for range 2 {
		if err := ReleaseReserve(s.Dir()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Lstat(s.path("reserve")); err == nil || HasReserve(s.Dir()) {
		t.Error("it is still there")
	}
}
