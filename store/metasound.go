package store

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/table"
)

// RecordsDamagedError says that the records cannot be opened, or not all of them can be
// read, and why.
type RecordsDamagedError struct {
	Dir string // of Badger
	Err error
}

func (e *RecordsDamagedError) Error() string {
	return fmt.Sprintf("the records in %q are damaged: %v", e.Dir, e.Err)
}

// TellsOfDamage reports whether a message, of another process perhaps, is that of a
// store that cannot be opened for damage.
func TellsOfDamage(message string) bool {
	return strings.Contains(message, "the records in ") && strings.Contains(message, " are damaged: ") ||
		strings.Contains(message, ErrFormat.Error()+": ") && strings.Contains(message, " is no version")
}

func (e *RecordsDamagedError) Unwrap() error { return e.Err }

// soundTables are the stamps of Badger's tables that were found whole. Tables never
// change, so each is read once, when it is first seen by an owner; the stamps are kept
// from one owner to the next beside Badger's own files, where a reader sees them, too.
type soundTables struct {
	mu    sync.Mutex
	known map[string]stamp // by name
	dirty bool
	last  time.Time // when all were found whole, by the clock of this machine
}

const tablesFile = "TABLES"

func (t *soundTables) load(dir string) {
	t.known = map[string]stamp{}
	b, err := os.ReadFile(filepath.Join(dir, tablesFile))
	if err != nil || len(b) < len(Digest{}) {
		return
	}
	data, sum := b[:len(b)-len(Digest{})], b[len(b)-len(Digest{}):]
	if Sum(data) != Digest(sum) {
		return
	}
	r := &reader{b: data}
	for range r.count(8) {
		name := r.string()
		t.known[name] = stamp{r.uint(), r.int(), r.int(), r.int()}
	}
	if !r.done() {
		t.known = map[string]stamp{}
	}
}

// check reads the tables that are new, or were changed. Only those count that are in
// the list: others are being written, or were when their writer was killed.
func (t *soundTables) check(dir string) error {
	names, err := listedTables(dir)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.known == nil {
		t.load(dir)
	}
	there := map[string]bool{}
	var errs []error
	for _, name := range names {
		there[name] = true
		path := filepath.Join(dir, name)
		st, ok := stampAt(path)
		if have, known := t.known[name]; ok && known && have == st {
			continue
		}
		bad, err := readTable(path, nil)
		if errors.Is(err, fs.ErrNotExist) {
			continue // compacted away meanwhile
		}
		if err == nil && bad > 0 {
			err = fmt.Errorf("%w: %q: blocks that are not what was written: %d", errTable, name, bad)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		t.known[name], t.dirty = st, true
	}
	maps.DeleteFunc(t.known, func(name string, _ stamp) bool { return !there[name] })
	return errors.Join(errs...)
}

// save keeps what is known. It is not synced: a torn file is as good as none.
func (t *soundTables) save(dir string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.dirty {
		return nil
	}
	t.dirty = false
	w := &writer{}
	w.uint(uint64(len(t.known)))
	for name, st := range t.known {
		w.string(name)
		w.uint(st.ino)
		w.int(st.size)
		w.int(st.mtime)
		w.int(st.ctime)
	}
	sum := Sum(w.b)
	tmp := filepath.Join(dir, tablesFile+".new")
	if err := os.WriteFile(tmp, append(w.b, sum[:]...), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(dir, tablesFile))
}

// keepTables notes down what the tables are that a closed store has. Whoever opens it
// next finds out what is wrong with them.
func (s *Store) keepTables() {
	dir := s.path("meta")
	err := s.tables.check(dir)
	if err == nil {
		err = s.tables.save(dir)
	}
	if err != nil {
		s.log.Warn("looking over the records", "error", err)
	}
}

// listedTables reads Badger's list of its tables.
func listedTables(dir string) ([]string, error) {
	f, err := os.Open(filepath.Join(dir, badger.ManifestFilename))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m, _, err := badger.ReplayManifestFile(f, 0, badger.DefaultOptions(dir).WithLogger(nil))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("the list of its tables: %w", err)
	}
	names := make([]string, 0, len(m.Tables))
	for id := range m.Tables {
		names = append(names, filepath.Base(table.NewFilename(id, dir)))
	}
	slices.Sort(names)
	return names, nil
}

// checkManifest looks whether the tables that are listed are there, and those that are
// there listed, before Badger does. Badger makes a new one when it is
// gone and cuts off an end that it cannot read, and then deletes the tables that are
// not in it. After a crash that is right: what they hold is in a log, too. Without a
// log it would lose what nobody has.
func checkManifest(dir string) error {
	tables, err := tableFiles(dir)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(filepath.Join(dir, badger.ManifestFilename)); errors.Is(err, fs.ErrNotExist) {
		if len(tables) > 0 {
			return errors.New("the list of its tables is lost")
		}
		return nil
	}
	listed, err := listedTables(dir)
	if err != nil {
		return err
	}
	for _, name := range listed {
		if _, ok := fileSize(filepath.Join(dir, name)); !ok {
			return fmt.Errorf("a table is lost: %s", name)
		}
	}
	killed, err := unfinished(dir)
	if err != nil || killed || len(listed) == len(tables) {
		return err
	}
	b, err := os.ReadFile(filepath.Join(dir, badger.ManifestFilename))
	if err != nil {
		return err
	}
	there, err := tablesIn(dir)
	if err != nil {
		return err
	}
	sets, skipped := parseSets(b[min(len(b), len(manifestHead)):])
	if more := len(unspoken(sets, there).Changes); more > 0 || skipped > 0 {
		return fmt.Errorf("the list of its tables has %d of %d", len(listed), len(tables))
	}
	return nil // those that it has not were taken away, and could not be deleted
}

// checkMeta reports what would make Badger lose records, or end this process.
func (t *soundTables) checkMeta(dir string) error {
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	err := checkManifest(dir)
	if err == nil {
		err = t.check(dir)
	}
	return err
}

// openSoundMeta opens the records, after a look at what is in their files.
func (s *Store) openSoundMeta(readOnly bool) (*badger.DB, error) {
	if !readOnly {
		return s.openMetaToWrite()
	}
	return s.openLookedOver(s.path("meta"), true)
}

// openLookedOver is openMeta of what was looked over.
func (s *Store) openLookedOver(dir string, readOnly bool) (db *badger.DB, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("badger: %v", r)
		}
		if err != nil && !elsewhere(err) {
			err = &RecordsDamagedError{dir, err}
		}
	}()
	if !readOnly {
		if err := readyMeta(dir); err != nil {
			return nil, err
		}
	}
	if err := s.tables.checkMeta(dir); err != nil {
		return nil, err
	}
	log := badgerLog{log: s.log}
	if !readOnly {
		log = s.badgerLog()
	}
	return openMeta(dir, readOnly, log)
}

// elsewhere reports that the machine is at fault and not what is in the files.
func elsewhere(err error) bool {
	for _, text := range []string{"permission denied", "read-only file system", "no space left", "too many open files", "input/output error", "cannot allocate memory"} {
		if strings.Contains(err.Error(), text) {
			return true
		}
	}
	return false
}

// recordsSound looks again whether all records can be read: a table that was written
// into since it was opened gives fewer than there are, without a word. The caller has
// the store open.
func (s *Store) recordsSound() error {
	if err := s.tables.check(s.path("meta")); err != nil {
		return &RecordsDamagedError{s.path("meta"), err}
	}
	s.tables.mu.Lock()
	s.tables.last = time.Now()
	s.tables.mu.Unlock()
	return nil
}

// soundLately is recordsSound for what is asked ten thousand times.
func (s *Store) soundLately() error {
	s.tables.mu.Lock()
	last := s.tables.last
	s.tables.mu.Unlock()
	if time.Since(last) < time.Second {
		return nil
	}
	return s.recordsSound()
}

// blame turns a panic of Badger's over a damaged table into an error.
func (s *Store) blame(err *error) {
	r := recover()
	if r == nil {
		return
	}
	if *err = s.recordsSound(); *err == nil {
		panic(r)
	}
}
