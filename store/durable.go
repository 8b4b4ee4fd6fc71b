package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// What makes a store durable beyond what a commit syncs. All of it was found by
// having the power fail, and changes fail, at each step of a store's life (see
// faults_test.go):
//
//   - A directory that is made has to be synced into the one above it.
//   - Badger syncs a new log's content and not its name.
//   - An owner that was killed leaves in the kernel's memory what it had not synced.
//     The next one sees it, and would build on it.
//   - What a failed sync should have written is not written by the next one: the
//     kernel takes the pages to be clean. Nothing may be built on that either, so
//     blobs whose directory could not be synced are taken back, and Badger is closed,
//     which writes all that it has in memory into a table, and opened again.

// closePatience is how long Badger may take to write what it has in memory. On a disk
// that takes nothing it tries for ever.
const closePatience = 5 * time.Second

// makeDirs is os.MkdirAll, synced.
func makeDirs(path string) error {
	if fi, err := os.Stat(path); err == nil && fi.IsDir() {
		return nil
	}
	parent := filepath.Dir(path)
	if parent != path {
		if err := makeDirs(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(path, 0o711); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(parent)
}

// settleNew syncs all that leads to a store which has no format yet: whoever began to
// make it may have been killed before it had synced that.
func (s *Store) settleNew() error {
	for _, dir := range []string{s.path("blobs"), s.path("meta"), s.dir} {
		if err := syncDir(dir); err != nil {
			return err
		}
	}
	for dir := s.dir; dir != filepath.Dir(dir); {
		dir = filepath.Dir(dir)
		// What may not be read was not made by us, nor can be on its way to the disk.
		if err := syncDir(dir); err != nil && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, fs.ErrInvalid) {
			return err
		}
	}
	return nil
}

// settleKilled makes durable what a killed owner left, before anything refers to it:
// the records in its logs, and the names of its blobs.
func (s *Store) settleKilled() error {
	paths := []string{s.path("meta"), s.path("blobs", "sha256")}
	for _, pattern := range []string{s.path("meta", "*.mem"), s.path("meta", "MANIFEST"), s.path("blobs", "sha256", "??")} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			return err
		}
		paths = append(paths, names...)
	}
	if err := inParallel(paths, syncDir); err != nil {
		return fmt.Errorf("after an owner that was killed: %w", err)
	}
	return nil
}

// metaNames knows which of Badger's files have their names on disk.
type metaNames struct {
	mu     sync.Mutex
	synced []string
}

// sync syncs Badger's directory when there is a file in it that was not there before.
func (m *metaNames) sync(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	names, err := d.Readdirnames(-1)
	if err == nil {
		slices.Sort(names)
		if slices.Equal(names, m.synced) {
			return d.Close()
		}
		err = d.Sync()
	}
	if err = errors.Join(err, d.Close()); err != nil {
		return fmt.Errorf("syncing the directory %q: %w", dir, err)
	}
	m.synced = names
	return nil
}

// errStuck says that Badger could not be closed. Its log has all that was committed,
// and the store stays locked by this process: Badger still tries to write.
var errStuck = errors.New("the disk does not take the records")

// commitTxn commits, and notes when Badger has failed.
func (s *Store) commitTxn(txn *badger.Txn) error {
	err := txn.Commit()
	if err == nil {
		err = s.listed.sync(s.path("meta"))
	}
	if err != nil && !errors.Is(err, badger.ErrConflict) {
		s.broken.CompareAndSwap(nil, &err)
	}
	return err
}

// mend closes Badger and opens it again, after it has failed.
func (s *Store) mend() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	why := s.broken.Load()
	if why == nil || !s.rw.Load() {
		return nil
	}
	s.log.Warn("opening the records again", "error", *why)
	if s.db != nil {
		err := s.closeDB()
		if errors.Is(err, errStuck) {
			return fmt.Errorf("%w: %w", err, *why)
		}
		if err != nil {
			s.log.Warn("closing the records", "error", err)
		}
	}
	db, err := s.openMetaToWrite()
	if err != nil {
		return fmt.Errorf("opening the records again: %w", err)
	}
	s.db = db
	return nil
}

// closeDB closes Badger and gives it up, unless it is stuck.
func (s *Store) closeDB() error {
	patience := s.patience
	if s.closing != nil {
		patience /= 10 // it has had its time
	} else {
		s.closing = make(chan error, 1)
		go func(db *badger.DB, done chan<- error) { done <- db.Close() }(s.db, s.closing)
	}
	select {
	case err := <-s.closing:
		s.db, s.closing = nil, nil
		return err
	case <-time.After(patience):
		return errStuck
	}
}

// openMetaToWrite opens Badger for the owner.
func (s *Store) openMetaToWrite() (*badger.DB, error) {
	killed, err := unfinished(s.path("meta"))
	if err != nil {
		return nil, err
	}
	if killed {
		if err := s.settleKilled(); err != nil {
			return nil, err
		}
	}
	db, err := s.openMended(s.path("meta"))
	if err != nil {
		return nil, err
	}
	// The names of its new files are synced with the first commit.
	s.broken.Store(nil)
	return db, nil
}

// openMended opens Badger, again when its manifest could be mended without a loss. What
// could not is an error: fsck says what is lost by it, and goes on without that when it is
// told to.
func (s *Store) openMended(dir string) (*badger.DB, error) {
	keys := badKeys(dir)
	if keys != nil { // nothing is encrypted, so that it holds no key
		if err := os.Remove(filepath.Join(dir, keyRegistry)); err != nil {
			return nil, err
		}
	}
	db, err := s.openLookedOver(dir, false)
	if err == nil && keys != nil {
		s.noteMended(keys)
	}
	if err == nil || elsewhere(err) {
		return db, err
	}
	mended, merr := repairManifest(dir, s.log)
	if merr != nil || !mended {
		return nil, errors.Join(err, merr)
	}
	why := err
	if db, err = s.openLookedOver(dir, false); err == nil {
		s.noteMended(why)
	}
	return db, err
}

// noteMended keeps for fsck what was mended as the records were opened.
func (s *Store) noteMended(why error) {
	x := rebuildFinding(why)
	x.Effect, x.Remedy, x.Repaired = "what was only in a table that is lost is forgotten: its stages run again", "it was written anew when the store was opened", true
	s.mended = append(s.mended, x)
}

// badgerLog passes on what Badger says. An error is one of its background: it could
// not write a table, and tries again with what it knows, which is not what is on disk.
func (s *Store) badgerLog() badgerLog {
	return badgerLog{s.log, func(message string) {
		err := errors.New(message)
		s.broken.CompareAndSwap(nil, &err)
	}}
}

// takeBack removes blobs whose names could not be synced, so that nobody finds them
// and takes them for kept. What others lease stays: they sync it themselves.
func (b *Batch) takeBack(ids []blobID) error {
	g := &b.s.guard
	g.mu.Lock()
	defer g.mu.Unlock()
	var errs []error
	for _, id := range ids {
		if g.blobs[id.digest] > 1 {
			continue
		}
		if err := os.Remove(b.s.blobPath(id.digest, id.exec)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
