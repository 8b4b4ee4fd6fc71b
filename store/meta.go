package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// Badger's keys begin with one byte that says what the value is:
//
//	r KEY            record               R RUN            run
//	f KEY            failure              P PROJECT RUN    run, by project (no value)
//	t KEY            tombstone            A RUN            run that is not over (no value)
//	u KEY            day of last use      h STAGE          the last keys of a stage
//	e KEY            effect that began    d KEY            effect that is done
//	b DIGEST         small blob, as it is k KEY            record that is not of use any more
//	c NUMBER         link in the chain      a RUN            what was said of a run
//	C                head of the chain      g PROJECT TAG    the run that a tag names
//	s RUN            what runs are picked by
//	o, i, y LINK     record, by what it made, what it read and by its image (no value)
//	D DIGEST         directory that a record names (no value)
//	x DIGEST         content that runs name, and that is not there: since when, and why
//	M NAME           what has been done to the store (no value)
//
// PROJECT and STAGE are the first 16 bytes of a SHA-256, so that keys have one
// length whatever people call things.
const (
	inRecords    = 'r'
	inFailures   = 'f'
	inTombstones = 't'
	inUses       = 'u'
	inBlobs      = 'b'
	inRuns       = 'R'
	inProjects   = 'P'
	inActive     = 'A'
	inHistories  = 'h'
	inBegun      = 'e'
	inDone       = 'd'
	inBygones    = 'k'
	inLinks      = 'c'
	inHead       = 'C'

	inAnnotations = 'a'
	inTags        = 'g'
	inSummaries   = 's'

	inMade        = 'o'
	inRead        = 'i'
	inOnImage     = 'y'
	inDirectories = 'D'
	inAbsences    = 'x'
	inMarks       = 'M'
)

func keyOf(space byte, k Key) []byte     { return append([]byte{space}, k[:]...) }
func blobKey(d Digest) []byte            { return append([]byte{inBlobs}, d[:]...) }
func absenceKey(d Digest) []byte         { return append([]byte{inAbsences}, d[:]...) }
func runKey(space byte, id RunID) []byte { return append([]byte{space}, id...) }

func projectKey(project string, id RunID) []byte {
	d := Sum([]byte(project))
	return append(append([]byte{inProjects}, d[:16]...), id...)
}

func historyKey(project, stage string) []byte {
	b := binary.AppendUvarint(nil, uint64(len(project)))
	d := Sum(append(append(b, project...), stage...))
	return append([]byte{inHistories}, d[:16]...)
}

// What one transaction may hold. Badger allows 15 % of a memtable, and a count
// that follows from it; these stay well below both. The memtable is cleared when
// the store is opened and then is resident: 4 MiB open twice as fast as 8.
const (
	memTableSize   = 4 << 20
	valueThreshold = 512 << 10 // above, a value would go to the value log; none does
	maxTxnBytes    = 256 << 10
	maxTxnCount    = 2000
)

// openMeta opens Badger for small values on a small heap: every value lies in
// the tables themselves (none is larger than 36 KiB), which are not compressed
// and so need no cache but the kernel's. Badger's own lock is not used, the
// store's is held already.
func openMeta(dir string, readOnly bool, log badgerLog) (*badger.DB, error) {
	o := badger.DefaultOptions(dir)
	o.ReadOnly = readOnly
	o.SyncWrites = true
	o.BypassLockGuard = true
	o.MetricsEnabled = false
	o.Logger = log
	o.MemTableSize = memTableSize
	o.NumMemtables = 2
	o.ValueThreshold = valueThreshold
	o.ValueLogFileSize = 1 << 20
	o.Compression = options.None
	o.BlockCacheSize = 0
	o.NumCompactors = 2
	o.NumGoroutines = 2
	o.ChecksumVerificationMode = options.OnBlockRead
	if !readOnly {
		if err := readyMeta(dir); err != nil {
			return nil, err
		}
	}
	return badger.Open(o)
}

// unfinished reports whether Badger's last writer was killed: it left a log of
// what was in memory, whose end only a writer may cut off.
func unfinished(dir string) (bool, error) {
	logs, err := filepath.Glob(filepath.Join(dir, "*.mem"))
	return len(logs) > 0, err
}

// badgerLog passes on what Badger says, which is little that a user should see.
type badgerLog struct {
	log    *slog.Logger
	failed func(message string) // nil for nothing
}

func said(format string, args []any) string { return strings.TrimSpace(fmt.Sprintf(format, args...)) }

// Errorf is how Badger tells of what failed in its background.
func (l badgerLog) Errorf(f string, a ...any) {
	l.log.Error("badger", "message", said(f, a))
	if l.failed != nil {
		l.failed(said(f, a))
	}
}

func (l badgerLog) Warningf(f string, a ...any) { l.log.Warn("badger", "message", said(f, a)) }
func (l badgerLog) Infof(string, ...any)        {}
func (l badgerLog) Debugf(string, ...any)       {}

// view runs fn in a transaction that only reads. It is not run at all when there
// is no store on disk.
func (s *Store) view(fn func(*badger.Txn) error) (err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	defer s.blame(&err)
	if s.db == nil || s.closing != nil {
		if why := s.broken.Load(); why != nil {
			return fmt.Errorf("the records are closed: %w", *why)
		}
		return nil
	}
	return s.db.View(fn)
}

// update runs fn in a transaction and syncs it, again when another transaction
// wrote what it read.
func (s *Store) update(fn func(*badger.Txn) error) error {
	for {
		if s.broken.Load() != nil {
			if err := s.mend(); err != nil {
				return err
			}
		}
		if err := s.try(fn); !errors.Is(err, badger.ErrConflict) {
			return err
		}
	}
}

func (s *Store) try(fn func(*badger.Txn) error) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if !s.rw.Load() {
		return ErrReadOnly
	}
	if err := s.present(); err != nil {
		return err
	}
	if why := s.broken.Load(); why != nil { // since a moment
		return *why
	}
	txn := s.db.NewTransaction(true)
	defer txn.Discard()
	if err := fn(txn); err != nil {
		return err
	}
	return s.commitTxn(txn)
}

// value gives a copy of the value of key, nil when there is none.
func value(txn *badger.Txn, key []byte) ([]byte, error) {
	item, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	b, err := item.ValueCopy(nil)
	if b == nil && err == nil {
		b = []byte{}
	}
	return b, err
}

func has(txn *badger.Txn, key []byte) (bool, error) {
	_, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return false, nil
	}
	return err == nil, err
}

// payload gives what the frame at key holds, following it into a blob; nil
// when there is none. The error is errFrame when it is damaged.
func (s *Store) payload(txn *badger.Txn, key []byte) ([]byte, error) {
	b, err := value(txn, key)
	if b == nil || err != nil {
		return nil, err
	}
	return s.open(txn, b)
}

func (s *Store) open(txn *badger.Txn, frame []byte) ([]byte, error) {
	p, spilled, err := s.pack.unframe(frame)
	if err != nil || spilled.IsZero() {
		return p, err
	}
	b, err := s.readBlobIn(txn, spilled, maxPayload)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errFrame, err)
	}
	p, again, err := s.pack.unframe(b)
	if err == nil && !again.IsZero() {
		err = errFrame
	}
	return p, err
}

// each calls fn for every key that begins with prefix, in order, with the value.
func each(txn *badger.Txn, prefix []byte, fn func(key, val []byte) error) error {
	o := badger.DefaultIteratorOptions
	o.Prefix = prefix
	it := txn.NewIterator(o)
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		key := it.Item().Key()
		if err := it.Item().Value(func(v []byte) error { return fn(key, v) }); err != nil {
			return err
		}
	}
	return nil
}
