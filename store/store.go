// Package store keeps what plumb knows: blobs by content, the records of
// executed actions, runs, and small caches. It alone knows Badger, the blob
// files and how they lie on disk:
//
//	DIR/lock            held by flock for as long as a process owns the store; its text is that process's id
//	DIR/format          the version of all this, a number
//	DIR/writer          the version of plumb that last wrote here
//	DIR/meta/           Badger: records, failures, tombstones, effects, runs, histories, blobs up to 4 KiB
//	DIR/blobs/sha256/   larger blobs, ab/abcd…, mode 0444; abcd….x is the executable twin, mode 0555
//	DIR/cache/          what can be made again: evaluated pipelines, stat caches
//	DIR/placed/BOOT/    directories of hard links to blobs, which running stages read
//	DIR/tmp/            being written; the next owner sweeps it
//	DIR/damaged/        what proved to be damaged, or foreign; nothing reads it
//	DIR/meta.format-N   the records as they were before the store was migrated from N
//	DIR/volume          the file system that was tried and found fit
//
// # Owning
//
// A store has one owner at a time. Open with ReadOnly shares the store with other
// readers and changes no byte of it; Writable turns such a store into an owned
// one in place. A directory that is not there, opened ReadOnly, is an empty
// store. There are two exceptions to changing nothing: when the last owner was
// killed, Badger's log has an end that only a writer may cut off, so opening it
// to read is then a recovery, which needs the store to be free; and a store of an
// older format is migrated first (see migrate.go), as it is for an owner.
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
// Drop takes the bytes of outputs and leaves their digests in the record: no damage
// (drop.go). What is known of effects is never dropped (effects.go). GC drops records
// that nothing needs, leaving tombstones, then the blobs that
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

// Options says how a store is opened. Logger and Now may be nil. Names says what an
// action names by digest, since the store does not know the form of actions; without it
// results are found by what they made alone, and no links are checked.
type Options struct {
	ReadOnly bool
	Logger   *slog.Logger
	Now      func() time.Time
	PID      int    // as others see the owner, when that is not what os.Getpid says
	Version  string // of plumb, noted for one that is too old to read what is written

	// Tests have less patience with Badger's end than closePatience, other formats, less
	// room, and choose a file system for a directory.
	patience time.Duration
	volumeOf func(dir string) (volume, error)
	formats  *formats
	free     func(dir string) (int64, error)
	Names    func(action []byte) Named
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

	version string
	formats *formats
	free    func(dir string) (int64, error)
	names   func(action []byte) Named // nil when nobody said

	mu   sync.RWMutex // guards what Writable and Close exchange
	lock *os.File     // nil when there is no store on disk
	db   *badger.DB   // nil when there is no store on disk
	rw   atomic.Bool

	patience time.Duration
	volume   volume
	closing  chan error            // Badger's end, while it is waited for
	broken   atomic.Pointer[error] // why Badger has to be opened again
	listed   metaNames             // of Badger's files
	mended   []Finding             // as the records were opened; fsck tells it
	gone     atomic.Bool           // see ErrGone
	temps    atomic.Uint64
	dirty    dirtyDirs
	gc       sync.RWMutex // commits share it, dropping records excludes them
	chain    sync.Mutex   // held from reading the head of the chain of runs to writing it
	guard    guard        // what gc must leave alone
	drops    drops        // of records
	touched  touched      // records used, not yet written
	trees    treeMemo
	sound    soundFiles
	tables   soundTables
	sweeper  sweeper
	placed   placed
	gcTurn   sync.Mutex // one gc at a time
}

// Open opens the store at dir, which is created unless o.ReadOnly. It returns an
// error that is ErrInUse when another process owns it, ErrNewerFormat when this
// plumb is too old for it, and a FileSystemError where no store can be.
func Open(dir string, o Options) (*Store, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the store %q: %w", dir, err)
	}
	s := newStore(abs, o)
	if o.volumeOf == nil {
		o.volumeOf = volumeOf
	}
	if s.volume, err = checkVolume(abs, o.volumeOf); err != nil {
		return nil, err
	}
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
	s := &Store{dir: dir, now: o.Now, log: o.Logger, pack: newPacker(), pid: o.PID, patience: o.patience, version: o.Version, formats: o.formats, free: o.free, names: o.Names}
	if s.formats == nil {
		s.formats = knownFormats()
	}
	if s.free == nil {
		s.free = freeBytes
	}
	if s.patience == 0 {
		s.patience = closePatience
	}
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
	format, err := s.readFormat()
	if err != nil || format == 0 {
		return errors.Join(err, lock.Close())
	}
	if format < s.formats.current {
		if err := lock.Close(); err != nil {
			return fmt.Errorf("unlocking: %w", err)
		}
		return s.migrateToRead()
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
	db, err := s.openMetaToWrite()
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

// migrateToRead owns the store for as long as it takes to migrate it.
func (s *Store) migrateToRead() error {
	if err := s.openWritable(); err != nil {
		return err
	}
	if err := s.release(); err != nil {
		return err
	}
	return s.openReadOnly()
}

func (s *Store) openWritable() error {
	if err := makeDirs(s.dir); err != nil {
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
	format, err := s.readFormat()
	if err != nil {
		return err
	}
	if err := s.checkLayout(); err != nil {
		return err
	}
	if err := writeOwner(lock, s.pid); err != nil {
		return err
	}
	if err := s.makeLayout(); err != nil {
		return err
	}
	if err := errors.Join(s.settleOn(s.volume), s.signWriter()); err != nil {
		return err
	}
	if format == s.formats.current {
		err = s.dropSaved()
	} else if format > 0 {
		err = s.migrate(format)
	}
	if err != nil {
		return err
	}
	db, err := s.openMetaToWrite()
	if err != nil {
		return fmt.Errorf("opening the records: %w", err)
	}
	if format == 0 {
		if err := errors.Join(s.settleNew(), writeFormat(s.dir, s.formats.current)); err != nil {
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
	if s.gone.Load() {
		return fmt.Errorf("closing the store %q: %w", s.dir, ErrGone)
	}
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
	if s.rw.Load() {
		errs = append(errs, s.dirty.syncAll())
	}
	if s.db != nil {
		if err := s.closeDB(); errors.Is(err, errStuck) {
			return err
		} else if err != nil {
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
