package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"

	"github.com/dgraph-io/badger/v4/y"
	"golang.org/x/sys/unix"
)

// Salvaging makes new records of damaged ones. It reads Badger's files without Badger,
// block by block, and takes the newest version of each key from those that are sound.
// A newer version, or a deletion, may have been in what is not: then an older one comes
// back, which was true once, and Fsck drops it when what it refers to is gone.
//
// The new records are made beside the old ones, under a name in DIR/damaged, and change
// places with them in one step. Killed before that, it is begun anew; after, it is done.

// spaces are the kinds of key that there are.
var spaces = []byte{
	inRecords, inFailures, inTombstones, inUses, inBlobs, inRuns, inProjects, inActive, inHistories, inBegun, inDone, inBygones,
	inLinks, inHead, inAnnotations, inTags, inSummaries, inMade, inRead, inOnImage, inDirectories, inAbsences, inMarks,
}

// RebuildRecords makes a store that cannot be opened for damage one that can: it salvages
// the records, and writes the format anew. It says what it mended. Nobody else may have
// the store open.
func RebuildRecords(dir string, o Options) ([]Finding, error) {
	s, err := bare(dir, o)
	if err != nil {
		return nil, err
	}
	lock, err := lockExclusive(s.path("lock"))
	if err != nil {
		return nil, fmt.Errorf("repairing the store %q: %w", s.dir, err)
	}
	found, err := s.rebuildClosed()
	if err = errors.Join(err, lock.Close()); err != nil {
		return found, fmt.Errorf("repairing the store %q: %w", s.dir, err)
	}
	return found, nil
}

func (s *Store) rebuildClosed() (found []Finding, err error) {
	_, err = s.readFormat()
	if errors.Is(err, ErrFormat) {
		x := formatFinding(err)
		if err = s.rewriteFormat(); err == nil {
			x.Repaired = true
			found = append(found, x)
		}
	}
	if err != nil {
		return found, err
	}
	db, err := s.openSoundMeta(false)
	if err == nil {
		return found, db.Close()
	}
	var damaged *RecordsDamagedError
	if !errors.As(err, &damaged) {
		return found, err
	}
	x := rebuildFinding(err)
	if err := s.salvage(); err != nil {
		return found, err
	}
	x.Repaired = true
	return append(found, x), nil
}

// rewriteFormat writes the only format that there was so far.
func (s *Store) rewriteFormat() error {
	if err := os.MkdirAll(s.path("tmp"), 0o711); err != nil {
		return err
	}
	if _, err := s.asideDamaged(s.path("format")); err != nil {
		return err
	}
	return writeFormat(s.dir, s.formats.current)
}

// rebuild salvages the records of a store that is open.
func (s *Store) rebuild() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.db.Close(); err != nil {
		s.log.Warn("closing the damaged records", "error", err)
	}
	err := s.salvage()
	s.db = nil
	if err == nil {
		s.db, err = s.openSoundMeta(false)
	}
	if err != nil {
		s.rw.Store(false) // nothing is written to what is not there
		return fmt.Errorf("opening the records again: %w", err)
	}
	return nil
}

// salvage puts new records in the place of the closed, damaged ones.
func (s *Store) salvage() error {
	if err := os.MkdirAll(s.path(damagedDir), 0o700); err != nil {
		return err
	}
	made, err := os.MkdirTemp(s.path(damagedDir), s.now().UTC().Format("20060102-150405-")+"meta-")
	if err != nil {
		return err
	}
	if err := s.copySound(s.path("meta"), made); err != nil {
		return fmt.Errorf("reading what is left of the records: %w", err)
	}
	if err := swap(made, s.path("meta")); err != nil {
		return err
	}
	s.tables.mu.Lock()
	s.tables.known = nil
	s.tables.mu.Unlock()
	s.log.Warn("the records were damaged: what could be read of them was written anew", "old", made)
	return errors.Join(syncDir(s.dir), syncDir(s.path(damagedDir)))
}

// swap makes two directories change places.
func swap(a, b string) error {
	err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
	if errors.Is(err, unix.ENOENT) {
		return os.Rename(a, b) // the old one is lost altogether
	}
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) {
		// A file system that cannot: two steps, and between them both are there.
		return errors.Join(os.Rename(b, a+".old"), os.Rename(a, b))
	}
	return err
}

// newestOf is the version of a key that counts.
type newestOf struct {
	version uint64
	gone    bool
}

// copySound writes what can be read of one Badger into a new one: first it finds the
// newest version of each key, then it copies those, so that values are never all in
// memory.
func (s *Store) copySound(from, to string) error {
	newest := map[string]newestOf{}
	if err := s.eachSound(from, func(e tableEntry) error {
		if have, ok := newest[string(e.key)]; !ok || e.version > have.version {
			newest[string(e.key)] = newestOf{e.version, e.gone}
		}
		return nil
	}); err != nil {
		return err
	}
	db, err := openMeta(to, false, badgerLog{log: s.log})
	if err != nil {
		return err
	}
	wb := db.NewWriteBatch()
	err = s.eachSound(from, func(e tableEntry) error {
		have := newest[string(e.key)]
		if e.gone || have.gone || e.version != have.version || !slices.Contains(spaces, e.key[0]) {
			return nil
		}
		delete(newest, string(e.key)) // once is enough
		return wb.Set(bytes.Clone(e.key), bytes.Clone(e.val))
	})
	if err == nil {
		err = wb.Flush()
	} else {
		wb.Cancel()
	}
	return errors.Join(err, db.Close())
}

// eachSound calls fn for each entry of the tables and logs in dir that can be read.
func (s *Store) eachSound(dir string, fn func(tableEntry) error) error {
	var stop error // of fn: everything else is damage, which is passed over
	keep := func(e tableEntry) error {
		if len(e.key) > 0 && stop == nil {
			stop = fn(e)
		}
		return stop
	}
	tables, err := tableFiles(dir)
	if err != nil {
		return err
	}
	logs, err := filepath.Glob(filepath.Join(dir, "*.mem"))
	if err != nil {
		return err
	}
	for _, path := range tables {
		bad, err := readTable(path, keep)
		if stop != nil {
			return stop
		}
		if bad > 0 || err != nil {
			s.log.Warn("a table of the records is damaged", "table", filepath.Base(path), "blocks", bad, "error", err)
		}
	}
	for _, path := range logs {
		if err := readLog(path, keep); stop != nil || err != nil {
			return errors.Join(stop, err)
		}
	}
	return nil
}

// readLog calls fn for the entries of a log of what was in memory, up to the first that
// is damaged. Behind 20 bytes of its own it has entries:
//
//	two bytes of flags, lengths of key and value and a time as varints, key, value,
//	checksum of all that
func readLog(path string, fn func(tableEntry) error) error {
	const begin = 20
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for at := begin; at+2 < len(data); {
		r := &reader{b: data[at+2:]}
		keySize, valSize := r.uint(), r.uint()
		r.uint()
		key := r.take(keySize)
		val := r.take(valSize)
		sum := r.take(4)
		if r.bad || len(key) <= 8 {
			return nil
		}
		end := len(data) - len(r.b)
		if crc32.Checksum(data[at:end-4], castagnoli()) != binary.BigEndian.Uint32(sum) {
			return nil
		}
		const deleted = 1 << 0
		if err := fn(tableEntry{y.ParseKey(key), y.ParseTs(key), data[at]&deleted != 0, val}); err != nil {
			return err
		}
		at = end
	}
	return nil
}

// bare is a store that is not opened: its files can be looked at, and nothing of its
// records.
func bare(dir string, o Options) (*Store, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the store %q: %w", dir, err)
	}
	return newStore(abs, o), nil
}

// FsckUnopened is Fsck, without repairing, of a store that cannot be opened for damage:
// of its files alone.
func FsckUnopened(ctx context.Context, dir string, o Options, fo FsckOptions) (_ *FsckReport, err error) {
	s, err := bare(dir, o)
	if err != nil {
		return nil, err
	}
	fo.Repair = false
	_, broken := s.readFormat()
	if broken == nil {
		if broken = s.tables.checkMeta(s.path("meta")); broken == nil {
			broken = errors.New("badger does not open them")
		}
		broken = &RecordsDamagedError{s.path("meta"), broken}
	}
	lock, err := lockShared(s.path("lock"))
	if err != nil {
		return nil, fmt.Errorf("looking over the store %q: %w", s.dir, err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	rep, err := s.Fsck(ctx, fo)
	if err != nil {
		return nil, err
	}
	x := rebuildFinding(broken)
	if errors.Is(broken, ErrFormat) {
		x = formatFinding(broken)
	}
	rep.Add(x)
	return rep, nil
}

func formatFinding(err error) Finding {
	return Finding{Kind: FoundDamagedFormat, Object: "format", Detail: err.Error(), Effect: "nobody opens the store", Remedy: "it is written anew"}
}
