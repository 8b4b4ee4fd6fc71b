package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"

	"github.com/dgraph-io/badger/v4"
)

// Drop takes the bytes of outputs that their record only has to know. First the record
// says so, then the bytes go, as gc would take them: what anything else refers to, leases
// or has just put stays. A crash in between leaves bytes that nothing refers to, never a
// record that seems damaged. To know what else refers to them it reads all records, so
// several outputs go at once where that can be.

// Drop marks the named outputs of a record and answers what their bytes are; nil when
// there is no record. DropBlobs takes them.
func (s *Store) Drop(k Key, names []string) ([]Artifact, error) {
	rec, err := s.Record(k)
	if err != nil || rec == nil {
		return nil, err
	}
	var gone []Artifact
	for i := range rec.Outputs {
		if o := &rec.Outputs[i]; !o.Dropped && slices.Contains(names, o.Name) {
			o.Dropped = true
			gone = append(gone, o.Artifact)
		}
	}
	if len(gone) == 0 {
		return nil, nil
	}
	b := s.NewBatch()
	b.PutRecord(rec)
	if err := errors.Join(s.Commit(context.Background(), b), b.Close()); err != nil {
		return nil, fmt.Errorf("dropping outputs of stage %q: %w", rec.Stage, err)
	}
	return gone, nil
}

// DropBlobs removes what artifacts consist of and nothing needs, and answers how many
// bytes that were.
func (s *Store) DropBlobs(ctx context.Context, artifacts []Artifact) (int64, error) {
	s.gcTurn.Lock()
	defer s.gcTurn.Unlock()
	g := &gcRun{s: s, now: s.now(), keys: map[Key]bool{}, marked: map[Digest]bool{}, gone: map[string]bool{}}
	s.guard.begin()
	defer s.guard.end()
	err := g.mark(ctx)
	var linked bool
	if err == nil {
		err = g.exclusive(func() (err error) {
			linked, err = g.dropBlobs(artifacts)
			return err
		})
	}
	s.trees.clear()
	if err == nil && linked {
		// Directories that stages read are of links to blobs. Those of stages that have
		// just ended may not be let go of yet.
		s.placed.letGo()
		_, err = s.dropPlaced(ctx, false)
	}
	if err != nil {
		return g.report.Bytes, fmt.Errorf("dropping outputs: %w", err)
	}
	return g.report.Bytes, nil
}

// dropBlobs reports whether a file had other names.
func (g *gcRun) dropBlobs(artifacts []Artifact) (linked bool, err error) {
	digests, err := g.partsOf(artifacts)
	if err != nil {
		return false, err
	}
	var small [][]byte
	for d := range digests {
		if g.wanted(d) {
			continue
		}
		small = append(small, blobKey(d))
		for _, exec := range []bool{false, true} {
			path := g.s.blobPath(d, exec)
			fi, err := os.Lstat(path)
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err != nil {
				return linked, err
			}
			gone, err := g.s.guard.remove(d, func() error { return os.Remove(path) })
			if err != nil {
				return linked, err
			}
			if gone {
				linked = linked || links(fi) > 1
				g.report.Bytes += fi.Size()
			}
		}
	}
	for part := range slices.Chunk(small, 1000) {
		if err := g.deletePresent(part); err != nil {
			return linked, err
		}
	}
	return linked, nil
}

// partsOf lists the blobs of artifacts: a tree's manifest and its files.
func (g *gcRun) partsOf(artifacts []Artifact) (map[Digest]bool, error) {
	digests := map[Digest]bool{}
	err := g.s.view(func(txn *badger.Txn) error {
		for _, a := range artifacts {
			digests[a.Digest] = true
			if a.Kind != KindTree {
				continue
			}
			b, err := g.s.readBlobIn(txn, a.Digest, maxPayload)
			if err != nil {
				continue // its manifest is gone: gc finds the rest
			}
			entries, err := DecodeTree(b)
			if err != nil {
				continue
			}
			for i := range entries {
				if entries[i].Kind == EntryFile {
					digests[entries[i].Digest] = true
				}
			}
		}
		return nil
	})
	return digests, err
}

// deletePresent leaves no marker of a deletion where there was nothing.
func (g *gcRun) deletePresent(keys [][]byte) error {
	return g.s.update(func(txn *badger.Txn) error {
		for _, k := range keys {
			if err := deleteIf(txn, k); err != nil {
				return err
			}
		}
		return nil
	})
}

// links counts the names of a file.
func links(fi os.FileInfo) uint64 {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return 1
	}
	return uint64(st.Nlink)
}
