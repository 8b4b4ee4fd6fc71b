package store

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/google/go-cmp/cmp"
)

// set is one of a manifest: what it makes known, and what it takes away.
func set(create, remove []uint64) *pb.ManifestChangeSet {
	s := &pb.ManifestChangeSet{}
	for _, id := range create {
		s.Changes = append(s.Changes, &pb.ManifestChange{Id: id, Op: pb.ManifestChange_CREATE})
	}
	for _, id := range remove {
		s.Changes = append(s.Changes, &pb.ManifestChange{Id: id, Op: pb.ManifestChange_DELETE})
	}
	return s
}

// A manifest is mended to what Badger reads as the tables that hold.
func TestRepairManifest(t *testing.T) {
	sound := aTable(t)
	flush := func(ids ...uint64) *pb.ManifestChangeSet { return set(ids, nil) }
	for _, tt := range []struct {
		name   string
		sets   []*pb.ManifestChangeSet
		tables []uint64
		damage func([]byte) []byte
		want   []uint64 // nil when there is nothing to mend, or nothing that could be without a loss
	}{
		{"sound", []*pb.ManifestChangeSet{flush(1), flush(2), set([]uint64{3}, []uint64{1, 2})}, []uint64{3}, nil, nil},
		{"a flush that did not come about", []*pb.ManifestChangeSet{flush(1), flush(2), flush(3)}, []uint64{1, 3}, nil, []uint64{1, 3}},
		{"a compaction that did not", []*pb.ManifestChangeSet{flush(1), flush(2), set([]uint64{3}, []uint64{1, 2})}, []uint64{1, 2}, nil, []uint64{1, 2}},
		{"one that did then", []*pb.ManifestChangeSet{flush(1), flush(2), set([]uint64{3}, []uint64{1, 2}), set([]uint64{4}, []uint64{1, 2})}, []uint64{4, 1}, nil, []uint64{4}},
		{"half of what a compaction made", []*pb.ManifestChangeSet{flush(1), set([]uint64{2, 3}, []uint64{1})}, []uint64{1, 2}, nil, []uint64{1}},
		{"a table of a compaction is lost", []*pb.ManifestChangeSet{flush(1), set([]uint64{2, 3}, []uint64{1})}, []uint64{3}, nil, nil},
		{"one that no set speaks of", []*pb.ManifestChangeSet{flush(1)}, []uint64{1, 2}, nil, []uint64{1}},
		{"one that cannot be read besides", []*pb.ManifestChangeSet{flush(1)}, []uint64{1, 99}, nil, []uint64{1}},
		{"garbage between sets", []*pb.ManifestChangeSet{flush(1), flush(2)}, []uint64{1, 2}, func(b []byte) []byte {
			return slices.Insert(b, len(manifestHead), []byte("a write that was cut short")...)
		}, []uint64{1, 2}},
		{"a bit in a set", []*pb.ManifestChangeSet{flush(1), flush(2)}, []uint64{1, 2}, func(b []byte) []byte {
			b[len(b)-1] ^= 1
			return b
		}, []uint64{1, 2}},
		{"another head", []*pb.ManifestChangeSet{flush(1)}, []uint64{1, 7}, func(b []byte) []byte {
			b[0] = 'X'
			return b
		}, []uint64{1, 7}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := writeManifest(dir, tt.sets); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, badger.ManifestFilename)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if tt.damage != nil {
				b = tt.damage(b)
				if err := os.WriteFile(path, b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			for _, id := range tt.tables {
				data := sound
				if id == 99 {
					data = sound[:len(sound)/2]
				}
				if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%06d.sst", id)), data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			mended, err := repairManifest(dir, slog.New(slog.NewTextHandler(io.Discard, nil)))
			if err != nil || mended != (tt.want != nil) {
				t.Fatalf("mended: %v, %v", mended, err)
			}
			if !mended {
				if after, err := os.ReadFile(path); err != nil || !bytes.Equal(b, after) {
					t.Errorf("it was written: %v", err)
				}
				return
			}
			if diff := cmp.Diff(slices.Sorted(slices.Values(tt.want)), listed(t, path)); diff != "" {
				t.Errorf("tables (-want +got):\n%s", diff)
			}
		})
	}
}

// aTable is what is in a table of Badger's.
func aTable(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	s := openStore(t, dir, Options{})
	if err := commitResult(s, Key{1}, "one"); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	b, err := os.ReadFile(oneOf(t, filepath.Join(dir, "meta", "*.sst")))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// listed reads a manifest as Badger does.
func listed(t *testing.T, path string) (ids []uint64) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	m, _, err := badger.ReplayManifestFile(f, 0, badger.DefaultOptions(filepath.Dir(path)))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for id := range m.Tables {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}
