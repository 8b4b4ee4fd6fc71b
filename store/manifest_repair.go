package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/table"
	"google.golang.org/protobuf/proto"
)

// Badger's manifest lists its tables: sets of changes, each with its length and
// checksum. When syncing a set fails Badger deletes the table that it was to make
// known and tries again with another, and leaves the set where it is; a write that
// was cut short it writes on after. Neither is opened again. So a manifest that does
// not fit its directory is written anew here, by what is certain:
//
//   - A set that makes known a table which is not there did not come about. When the
//     tables that it takes away are there, or a later set takes them away, it is left out
//     as a whole. When it takes none away it was of what was in memory, which Badger
//     wrote into another table then, or has in a log.
//   - When they are not there the table is lost, and nothing is written: that is for
//     somebody to decide, who is told what fsck can do.
//   - What is no set is passed over, and may have made known the tables that are there
//     and that no set speaks of: they count as below, when they can be read. Where all
//     are sets, such a table is one that Badger could not write, and wrote another for:
//     it is set aside, however whole it looks as long as the kernel has it in memory.
//   - Without anything that is a manifest all tables that are there count, at the
//     level where they may overlap: every entry has a version.

var manifestHead = []byte{'B', 'd', 'g', 'r', 0, 0, 0, 8}

// repairManifest reports whether there was something to mend.
func repairManifest(dir string, log *slog.Logger) (bool, error) {
	path := filepath.Join(dir, badger.ManifestFilename)
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, fmt.Errorf("mending the manifest of the records: %w", err)
	}
	tables, err := tablesIn(dir)
	aside := 0
	if err == nil {
		aside, err = setUnlistedAside(dir, old, tables, log)
	}
	if err != nil {
		return false, fmt.Errorf("mending the manifest of the records: %w", err)
	}
	sets, said, lost := keptSets(old, tables)
	if len(said) == 0 || lost {
		return aside > 0, nil
	}
	for _, what := range said {
		log.Warn("mending the manifest of the records", "damage", what)
	}
	if err := writeManifest(dir, sets); err != nil {
		return false, fmt.Errorf("mending the manifest of the records: %w", err)
	}
	return true, nil
}

// setUnlistedAside renames the tables that no set speaks of and that are of no use.
func setUnlistedAside(dir string, old []byte, tables map[uint64]bool, log *slog.Logger) (n int, err error) {
	if len(old) < len(manifestHead) || !slices.Equal(old[:len(manifestHead)], manifestHead) {
		return 0, nil
	}
	sets, skipped := parseSets(old[len(manifestHead):])
	for _, c := range unspoken(sets, tables).Changes {
		path := table.NewFilename(c.Id, dir)
		if skipped > 0 {
			if bad, err := readTable(path, nil); err == nil && bad == 0 {
				continue
			}
		}
		log.Warn("a table that is not listed is set aside", "table", path)
		if err := os.Rename(path, path+".damaged"); err != nil {
			return n, err
		}
		delete(tables, c.Id)
		n++
	}
	return n, nil
}

// tablesIn lists Badger's tables.
func tablesIn(dir string) (map[uint64]bool, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil {
		return nil, err
	}
	out := map[uint64]bool{}
	for _, n := range names {
		id, err := strconv.ParseUint(strings.TrimSuffix(filepath.Base(n), ".sst"), 10, 64)
		if _, regular := fileSize(n); err == nil && regular {
			out[id] = true
		}
	}
	return out, nil
}

// keptSets gives the sets of a manifest that hold, and what is wrong with the others.
func keptSets(old []byte, tables map[uint64]bool) (sets []*pb.ManifestChangeSet, said []string, loss bool) {
	if len(old) < len(manifestHead) || !slices.Equal(old[:len(manifestHead)], manifestHead) {
		return []*pb.ManifestChangeSet{unspoken(nil, tables)}, []string{"it is none; all tables that are there count"}, false
	}
	all, skipped := parseSets(old[len(manifestHead):])
	if skipped > 0 {
		said = append(said, fmt.Sprintf("%d bytes in it are no changes", skipped))
	}
	more := unspoken(all, tables)
	for i, set := range all {
		lost := lostTables(set, all[i+1:], tables)
		if len(lost) == 0 {
			sets = append(sets, set)
			continue
		}
		if takesOnlyPresent(set, all[i+1:], tables) {
			said = append(said, fmt.Sprintf("tables %v never came about", lost))
			continue
		}
		return nil, append(said, fmt.Sprintf("tables %v are lost", lost)), true
	}
	if len(more.Changes) > 0 {
		said = append(said, fmt.Sprintf("it does not speak of %d tables that are there", len(more.Changes)))
		sets = append(sets, more)
	}
	return consistent(sets), said, false
}

// unspoken makes known the tables that no set speaks of.
func unspoken(sets []*pb.ManifestChangeSet, tables map[uint64]bool) *pb.ManifestChangeSet {
	spoken := map[uint64]bool{}
	for _, set := range sets {
		for _, c := range set.Changes {
			spoken[c.Id] = true
		}
	}
	out := &pb.ManifestChangeSet{}
	for id := range tables {
		if !spoken[id] {
			out.Changes = append(out.Changes, &pb.ManifestChange{Id: id, Op: pb.ManifestChange_CREATE})
		}
	}
	return out
}

// parseSets reads sets, passing over what is none.
func parseSets(b []byte) (sets []*pb.ManifestChangeSet, skipped int) {
	for len(b) > 0 {
		if len(b) >= 8 && binary.BigEndian.Uint64(b) == 0 { // a set of nothing, as a new one has it
			b = b[8:]
			continue
		}
		set, n := parseSet(b)
		if set == nil {
			b, skipped = b[1:], skipped+1
			continue
		}
		sets, b = append(sets, set), b[n:]
	}
	return sets, skipped
}

func parseSet(b []byte) (*pb.ManifestChangeSet, int) {
	const head = 8 // length and checksum
	if len(b) < head {
		return nil, 0
	}
	size := int(binary.BigEndian.Uint32(b))
	if size == 0 || size > len(b)-head {
		return nil, 0
	}
	body := b[head : head+size]
	if crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)) != binary.BigEndian.Uint32(b[4:]) {
		return nil, 0
	}
	set := &pb.ManifestChangeSet{}
	if proto.Unmarshal(body, set) != nil {
		return nil, 0
	}
	return set, head + size
}

// lostTables lists what set makes known, nothing later takes away, and is not there.
func lostTables(set *pb.ManifestChangeSet, later []*pb.ManifestChangeSet, tables map[uint64]bool) (lost []uint64) {
	for _, c := range set.Changes {
		if c.Op == pb.ManifestChange_CREATE && !tables[c.Id] && !takenAway(c.Id, later) {
			lost = append(lost, c.Id)
		}
	}
	return lost
}

func takenAway(id uint64, sets []*pb.ManifestChangeSet) bool {
	return slices.ContainsFunc(sets, func(set *pb.ManifestChangeSet) bool {
		return slices.ContainsFunc(set.Changes, func(c *pb.ManifestChange) bool {
			return c.Op == pb.ManifestChange_DELETE && c.Id == id
		})
	})
}

// takesOnlyPresent reports whether set takes away nothing but what is there, or what a
// later set takes away.
func takesOnlyPresent(set *pb.ManifestChangeSet, later []*pb.ManifestChangeSet, tables map[uint64]bool) bool {
	return !slices.ContainsFunc(set.Changes, func(c *pb.ManifestChange) bool {
		return c.Op == pb.ManifestChange_DELETE && !tables[c.Id] && !takenAway(c.Id, later)
	})
}

// consistent leaves out the changes that no longer fit, since a set before them was
// left out: Badger refuses to take away a table twice, or one that it does not know.
func consistent(sets []*pb.ManifestChangeSet) []*pb.ManifestChangeSet {
	known := map[uint64]bool{}
	for _, set := range sets {
		set.Changes = slices.DeleteFunc(set.Changes, func(c *pb.ManifestChange) bool {
			create := c.Op == pb.ManifestChange_CREATE
			if known[c.Id] == create {
				return true
			}
			known[c.Id] = create
			return false
		})
	}
	return sets
}

// writeManifest puts a new one in the old one's place.
func writeManifest(dir string, sets []*pb.ManifestChangeSet) error {
	out := slices.Clone(manifestHead)
	for _, set := range sets {
		if len(set.Changes) == 0 {
			continue
		}
		body, err := proto.Marshal(set)
		if err != nil {
			return err
		}
		out = binary.BigEndian.AppendUint32(out, uint32(len(body)))
		out = binary.BigEndian.AppendUint32(out, crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
		out = append(out, body...)
	}
	tmp := filepath.Join(dir, "MANIFEST-MENDED")
	if err := writeSynced(tmp, out); err != nil {
		return err
	}
	if err := os.Rename(tmp, filepath.Join(dir, badger.ManifestFilename)); err != nil {
		return err
	}
	return syncDir(dir)
}
