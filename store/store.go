// Package store keeps what plumb knows: blobs by content, the records of
// executed actions, runs, and small caches. It alone knows Badger, the blob
// files and how they lie on disk:
//
//	DIR/lock            held by flock for as long as a process owns the store; its text is that process's id
//	DIR/format          the version of all this, a number
//	DIR/meta/           Badger: records, failures, tombstones, runs, histories, blobs up to 4 KiB
//	DIR/blobs/sha256/   larger blobs, ab/abcd…, mode 0444; abcd….x is the executable twin, mode 0555
//	DIR/cache/          what can be made again: evaluated pipelines, stat caches
//	DIR/placed/BOOT/    directories of hard links to blobs, which running stages read
//	DIR/tmp/            being written; the next owner sweeps it
//	DIR/damaged/        what proved to be damaged, or foreign; nothing reads it
//
// # Owning
//
// A store has one owner at a time. Open with ReadOnly shares the store with other
// readers and changes no byte of it; Writable turns such a store into an owned
// one in place. A directory that is not there, opened ReadOnly, is an empty
// store. There is one exception to changing nothing: when the last owner was
// killed, Badger's log has an end that only a writer may cut off, so opening it
// to read is then a recovery, which needs the store to be free.
//
// # Writing
//
// What belongs together is collected in a Batch and made visible by Commit, in
// this order: the content of files is synced, files are renamed into blobs,
// their directories are synced, and one synced transaction writes records and
// small blobs. So after a crash at any instant every record resolves, and what
// nothing refers to is garbage. Transactions that are committed at the same time
// share one sync: Badger's writer takes all that wait.
//
// # Reading
//
// Damage is a miss, not an error: a record that does not decode, or one of whose
// blobs is lost, has another size or was written into, is a MissDamaged with the
// reason, and no reader is ever given other content than a digest stands for (see
// sound.go). Checking a
// tree means to look for each of its members. A large tree that was found whole
// is taken to be so for as long as the directories that hold its members' blobs
// have not changed since.
//
// # Dropping
//
// GC drops records that nothing needs, leaving tombstones, then the blobs that
// nothing refers to. It runs beside commits: whatever is put, found or leased by
// this process is safe from it (see gc.go).
package store

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// Options says how a store is opened. Logger and Now may be nil.
type Options struct {
	ReadOnly bool
	Logger   *slog.Logger
	Now      func() time.Time
	PID      int // as others see the owner, when that is not what os.Getpid says
}

// The errors that callers tell apart.
var (
	ErrInUse       = errors.New("the store is in use by another process")
	ErrNewerFormat = errors.New("the store was written by a newer plumb")
	ErrReadOnly    = errors.New("the store is opened read-only")
	ErrNotFound    = errors.New("not in the store")
	ErrTooLarge    = errors.New("too large")
	ErrFormat      = errors.New("reading the format") // it is damaged
)

// Store is an opened store. Its methods may be called from several goroutines.
type Store struct {
	dir  string
	now  func() time.Time
	log  *slog.Logger
	pack *packer
	pid  int

	mu   sync.RWMutex // guards what Writable and Close exchange
	lock *os.File     // nil when there is no store on disk
	db   *badger.DB   // nil when there is no store on disk
	rw   atomic.Bool

	temps   atomic.Uint64
	dirty   dirtyDirs
	gc      sync.RWMutex // commits share it, dropping records excludes them
	chain   sync.Mutex   // held from reading the head of the chain of runs to writing it
	guard   guard        // what gc must leave alone
	touched touched      // records used, not yet written
	trees   treeMemo
	sound   soundFiles
	tables  soundTables
	sweeper sweeper
	placed  placed
	gcTurn  sync.Mutex // one gc at a time
}

// Open opens the store at dir, which is created unless o.ReadOnly. It returns an
// error that is ErrInUse when another process owns it, ErrNewerFormat when this
// plumb is too old for it.
func Open(dir string, o Options) (*Store, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the store %q: %w", dir, err)
	}
	s := newStore(abs, o)
	open := s.openWritable
	if o.ReadOnly {
		open = s.openReadOnly
	}
	if err := open(); err != nil {
		return nil, fmt.Errorf("opening the store %q: %w", abs, err)
	}
	return s, nil
}

func newStore(dir string, o Options) *Store {
	s := &Store{dir: dir, now: o.Now, log: o.Logger, pack: newPacker(), pid: o.PID}
	if s.now == nil {
		s.now = time.Now
	}
	if s.pid == 0 {
		s.pid = os.Getpid()
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	return s
}

// Dir is the store's directory.
func (s *Store) Dir() string { return s.dir }

// openReadOnly leaves lock and db nil when there is no whole store on disk.
func (s *Store) openReadOnly() error {
	lock, err := lockShared(s.path("lock"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	known, err := checkFormat(s.path("format"))
	if err != nil || !known { // not known: its first owner did not finish making it
		return errors.Join(err, lock.Close())
	}
	killed, err := unfinished(s.path("meta"))
	if err != nil {
		return errors.Join(err, lock.Close())
	}
	if killed {
		s.log.Info("recovering the store: its last owner was killed", "store", s.dir)
		if err := lock.Close(); err != nil {
			return fmt.Errorf("unlocking: %w", err)
		}
		return s.recover()
	}
	db, err := s.openSoundMeta(true)
	if err != nil {
		return errors.Join(fmt.Errorf("opening the records: %w", err), lock.Close())
	}
	s.lock, s.db = lock, db
	return nil
}

// recover lets Badger cut off what its killed writer left, then opens the store
// to read.
func (s *Store) recover() error {
	lock, err := lockExclusive(s.path("lock"))
	if err != nil {
		return err
	}
	db, err := s.openSoundMeta(false)
	if err == nil {
		err = db.Close()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("recovering the records: %w", err), lock.Close())
	}
	if db, err = s.openSoundMeta(true); err != nil {
		return errors.Join(fmt.Errorf("opening the records: %w", err), lock.Close())
	}
	s.lock, s.db = lock, db
	return nil
}

func (s *Store) openWritable() error {
	if err := os.MkdirAll(s.dir, 0o711); err != nil {
		return err
	}
	lock, err := lockExclusive(s.path("lock"))
	if err != nil {
		return err
	}
	if err := s.own(lock); err != nil {
		return errors.Join(err, lock.Close())
	}
	return nil
}

// own makes what is missing, checks what is there and opens it. The format is
// written last: a store without one is not whole.
func (s *Store) own(lock *os.File) error {
	known, err := checkFormat(s.path("format"))
	if err != nil {
		return err
	}
	if err := writeOwner(lock, s.pid); err != nil {
		return err
	}
	if err := s.makeLayout(); err != nil {
		return err
	}
	db, err := s.openSoundMeta(false)
	if err != nil {
		return fmt.Errorf("opening the records: %w", err)
	}
	if !known {
		if err := writeFormat(s.dir); err != nil {
			return errors.Join(err, db.Close())
		}
	}
	s.lock, s.db = lock, db
	s.rw.Store(true)
	s.sweeper.start(s.log, s.leftovers)
	return nil
}

// Writable makes a store that was opened ReadOnly the process's own, in place.
// It does nothing to a store that is writable.
func (s *Store) Writable() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rw.Load() {
		return nil
	}
	if err := s.release(); err != nil {
		return fmt.Errorf("closing the store %q: %w", s.dir, err)
	}
	if err := s.openWritable(); err != nil {
		// Whoever only reads goes on reading, if that is still possible.
		if again := s.openReadOnly(); again != nil {
			err = errors.Join(err, again)
		}
		return fmt.Errorf("opening the store %q to write: %w", s.dir, err)
	}
	return nil
}

// Close writes what is still in memory and gives the store up.
func (s *Store) Close() error {
	var err error
	if s.isWritable() {
		err = errors.Join(s.flushTouched(), s.saveSound())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(err, s.release())
}

// isWritable takes no lock: it is asked from inside transactions, and one who waits for
// the lock to write would be waited for.
func (s *Store) isWritable() bool { return s.rw.Load() }

// release closes what is open; the lock last, so that the next owner finds
// everything closed.
func (s *Store) release() error {
	s.sweeper.stop()
	var errs []error
	if s.db != nil {
		if err := s.db.Close(); err != nil {
			errs = append(errs, fmt.Errorf("closing the records: %w", err))
		}
	}
	if s.rw.Load() {
		s.keepTables()
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	s.db, s.lock = nil, nil
	s.rw.Store(false)
	return errors.Join(errs...)
}
