package store

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/dgraph-io/badger/v4"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

const (
	syncsAtOnce = 8  // fsyncs under way at a time: the disk orders them
	syncEach    = 32 // more files than this are synced by one syncfs
)

func newBytes(b []byte) io.Reader { return bytes.NewReader(b) }

// publish puts the batch's files in their places: content synced, renamed,
// directories synced.
func (b *Batch) publish() error {
	if err := b.syncContent(); err != nil {
		return err
	}
	dirs := map[string]bool{}
	var moved []blobID
	for id, p := range b.files {
		dst := b.s.blobPath(id.digest, id.exec)
		if err := b.s.dirty.rename(p.path, dst); err != nil {
			return errors.Join(err, b.takeBack(moved))
		}
		b.s.learn(id, dst)
		delete(b.files, id)
		moved = append(moved, id)
		dirs[filepath.Dir(dst)] = true
	}
	for _, id := range b.found { // by another commit perhaps, a moment ago
		if dir := filepath.Dir(b.s.blobPath(id.digest, id.exec)); b.s.dirty.is(dir) {
			dirs[dir] = true
		}
	}
	if parent := b.s.path("blobs", "sha256"); b.s.dirty.is(parent) {
		dirs[parent] = true
	}
	if err := b.s.dirty.sync(dirs); err != nil {
		return errors.Join(err, b.takeBack(moved))
	}
	return nil
}

// syncContent makes the content of all files durable.
func (b *Batch) syncContent() error {
	var paths []string
	for _, p := range b.files {
		if !p.synced {
			paths = append(paths, p.path)
		}
	}
	if len(paths) > syncEach {
		return syncFileSystem(b.s.path("tmp"))
	}
	slices.Sort(paths)
	return inParallel(paths, func(path string) error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
}

func syncFileSystem(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(f.Fd())), f.Close())
}

func inParallel(paths []string, fn func(string) error) error {
	if len(paths) == 1 {
		return fn(paths[0])
	}
	var g errgroup.Group
	g.SetLimit(syncsAtOnce)
	for _, p := range paths {
		g.Go(func() error { return fn(p) })
	}
	return g.Wait()
}

// dirtyDirs knows the directories whose entries are not synced yet. A commit that
// finds a blob which another commit has just renamed into place has to wait for
// that directory too.
type dirtyDirs struct {
	mu   sync.Mutex
	dirs map[string]int
}

// rename moves a file into a directory, which is made when it is missing.
func (d *dirtyDirs) rename(from, to string) error {
	dir := filepath.Dir(to)
	d.soil(dir)
	err := os.Rename(from, to)
	if errors.Is(err, fs.ErrNotExist) {
		d.soil(filepath.Dir(dir))
		if err := os.Mkdir(dir, 0o711); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return os.Rename(from, to)
	}
	return err
}

func (d *dirtyDirs) soil(dir string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dirs == nil {
		d.dirs = map[string]int{}
	}
	d.dirs[dir]++
}

// syncAll syncs what commits that failed left.
func (d *dirtyDirs) syncAll() error {
	d.mu.Lock()
	dirs := make(map[string]bool, len(d.dirs))
	for dir := range d.dirs {
		dirs[dir] = true
	}
	d.mu.Unlock()
	return d.sync(dirs)
}

func (d *dirtyDirs) is(dir string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.dirs[dir] > 0
}

// sync syncs directories. One stays dirty when somebody renamed into it since.
func (d *dirtyDirs) sync(dirs map[string]bool) error {
	paths := make([]string, 0, len(dirs))
	before := make(map[string]int, len(dirs))
	d.mu.Lock()
	for dir := range dirs {
		paths = append(paths, dir)
		before[dir] = d.dirs[dir]
	}
	d.mu.Unlock()
	slices.Sort(paths)
	if err := inParallel(paths, syncDir); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, dir := range paths {
		if d.dirs[dir] == before[dir] {
			delete(d.dirs, dir)
		}
	}
	return nil
}

// write commits small blobs and records. What does not fit into one transaction
// goes ahead in others, records always last.
func (s *Store) write(b *Batch, records []entry) error {
	lacking, err := s.missing(b.small.digests())
	if err != nil {
		return err
	}
	var blobs []entry
	size := 0
	for _, d := range lacking {
		data, err := b.small.get(d)
		if err != nil {
			return err
		}
		e := entry{blobKey(d), data}
		if size += len(e.key) + len(e.val); size > maxTxnBytes || len(blobs) >= maxTxnCount {
			if err := s.writeEntries(blobs); err != nil {
				return err
			}
			size, blobs = len(e.key)+len(e.val), nil
		}
		blobs = append(blobs, e)
	}
	if len(records) == 0 && len(b.histories) == 0 {
		return s.writeEntries(blobs)
	}
	if err := s.linkAhead(b.records); err != nil {
		return err
	}
	return s.update(func(txn *badger.Txn) error {
		if err := setAll(txn, blobs); err != nil {
			return err
		}
		if err := s.linkRecords(txn, b.records); err != nil {
			return err
		}
		if err := setAll(txn, records); err != nil {
			return err
		}
		return b.consequences(txn)
	})
}

func (s *Store) writeEntries(entries []entry) error {
	if len(entries) == 0 {
		return nil
	}
	return s.update(func(txn *badger.Txn) error { return setAll(txn, entries) })
}

// missing leaves out the small blobs that the store has. One that is damaged is
// written again.
func (s *Store) missing(small []Digest) ([]Digest, error) {
	var out []Digest
	err := s.view(func(txn *badger.Txn) error {
		for _, d := range small {
			b, err := smallBlob(txn, d)
			if err != nil && !errors.Is(err, ErrDamaged) {
				return err
			}
			if b == nil {
				out = append(out, d)
			}
		}
		return nil
	})
	return out, err
}

func setAll(txn *badger.Txn, entries []entry) error {
	for _, e := range entries {
		if err := txn.Set(e.key, e.val); err != nil {
			return err
		}
	}
	return nil
}

// consequences writes the indexes, and drops what a record makes untrue.
func (b *Batch) consequences(txn *badger.Txn) error {
	for _, r := range b.records {
		for _, space := range []byte{inFailures, inTombstones} {
			if err := deleteIf(txn, keyOf(space, r.Key)); err != nil {
				return err
			}
		}
	}
	for _, r := range b.effects {
		if err := deleteIf(txn, keyOf(inBegun, r.Key)); err != nil {
			return err
		}
	}
	for _, h := range b.histories {
		if err := h.write(txn); err != nil {
			return err
		}
	}
	for _, r := range b.runs {
		if err := indexRun(txn, r); err != nil {
			return err
		}
	}
	return nil
}

// deleteIf leaves no marker of a deletion where there was nothing.
func deleteIf(txn *badger.Txn, key []byte) error {
	ok, err := has(txn, key)
	if err != nil || !ok {
		return err
	}
	return txn.Delete(key)
}
