package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A store of an older format is migrated by its next owner. The steps work on a copy
// of the records, so that the old ones are whole until the new ones are:
//
//	1  copy meta to tmp, take the steps there, sync all of it
//	2  rename the copy to meta.next
//	3  exchange meta and meta.next
//	4  rename what is meta.next now to meta.format-N, the copy of the old
//	5  write the format
//
// The new records carry their format in a file of theirs, so that whoever comes after
// a crash knows whether 3 has happened: then it goes on from there, else it begins
// anew, since an older plumb may have written meanwhile. (Where the file system cannot
// exchange, 3 is two renames, between which there is no meta with records in it.)
// meta.format-N stays until the store has been opened once more by a plumb that knows
// the new format; until then, putting it back as meta and the old number into format
// undoes the migration.

const (
	nextMeta  = "meta.next"
	savedMeta = "meta.format-" // and the old format
	metaMark  = "FORMAT"       // in the new records
)

// slackMigrating is what Badger writes besides what is copied.
const slackMigrating = 4 * memTableSize

// migrate makes the current format of an older one.
func (s *Store) migrate(have int) error {
	s.log.Warn("migrating the store", "store", s.dir, "from", have, "to", s.formats.current)
	err := s.exchangeFor(have)
	if err == nil {
		err = writeFormat(s.dir, s.formats.current)
	}
	if err != nil {
		return fmt.Errorf("migrating it from format %d to %d: %w", have, s.formats.current, err)
	}
	return nil
}

// exchangeFor puts migrated records in the place of the old, and these aside.
func (s *Store) exchangeFor(have int) error {
	meta, next, saved := s.path("meta"), s.path(nextMeta), s.path(savedMeta+strconv.Itoa(have))
	if !s.migrated(meta) {
		if !s.migrated(next) || hasRecords(meta) {
			if err := s.makeNext(have); err != nil {
				return err
			}
		}
		if err := exchange(meta, next, saved); err != nil {
			return err
		}
	}
	if _, err := os.Lstat(next); err == nil {
		if err := os.Rename(next, saved); err != nil {
			return err
		}
	}
	return syncDir(s.dir)
}

// migrated reports whether records carry the current format.
func (s *Store) migrated(dir string) bool {
	b, err := os.ReadFile(filepath.Join(dir, metaMark))
	return err == nil && strings.TrimSpace(string(b)) == strconv.Itoa(s.formats.current)
}

func hasRecords(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, "MANIFEST"))
	return err == nil
}

// exchange swaps meta and next, or where that cannot be done leaves the old aside.
func exchange(meta, next, saved string) error {
	if !hasRecords(meta) { // between the two renames
		if err := os.Remove(meta); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return os.Rename(next, meta)
	}
	err := unix.Renameat2(unix.AT_FDCWD, meta, unix.AT_FDCWD, next, unix.RENAME_EXCHANGE)
	if err == nil || !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) {
		return err
	}
	if err := os.Rename(meta, saved); err != nil {
		return err
	}
	return os.Rename(next, meta)
}

// makeNext makes the migrated records beside the old.
func (s *Store) makeNext(have int) error {
	for _, old := range []string{nextMeta, savedMeta + strconv.Itoa(have)} {
		if _, err := os.Lstat(s.path(old)); err == nil {
			if err := os.Rename(s.path(old), s.asideName()); err != nil {
				return err
			}
		}
	}
	if err := s.roomToMigrate(); err != nil {
		return err
	}
	work := s.path("tmp", nextMeta)
	if err := copyRecords(s.path("meta"), work); err != nil {
		return err
	}
	db, err := s.openMended(work)
	if err != nil {
		return err
	}
	for at := have; at < s.formats.current && err == nil; at++ {
		if err = s.formats.steps[at](db); err != nil {
			err = fmt.Errorf("the step from format %d: %w", at, err)
		}
	}
	if err = errors.Join(err, db.Close()); err != nil {
		return err
	}
	if err := writeSynced(filepath.Join(work, metaMark), []byte(strconv.Itoa(s.formats.current)+"\n")); err != nil {
		return err
	}
	if err := syncAllIn(work); err != nil {
		return err
	}
	if err := os.Rename(work, s.path(nextMeta)); err != nil {
		return err
	}
	return syncDir(s.dir)
}

// roomToMigrate requires room for a copy of the records before anything is made.
func (s *Store) roomToMigrate() error {
	entries, err := os.ReadDir(s.path("meta"))
	if err != nil {
		return err
	}
	need := int64(slackMigrating)
	for _, e := range entries {
		var st unix.Stat_t
		if err := unix.Lstat(s.path("meta", e.Name()), &st); err != nil {
			return err
		}
		need += st.Blocks * 512
	}
	free, err := s.free(s.dir)
	if err != nil {
		return err
	}
	if free < need {
		return fmt.Errorf("%w: a copy of its records needs %d MiB, and %d MiB are free", unix.ENOSPC, need>>20, free>>20)
	}
	return nil
}

func freeBytes(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("looking for room: %w", &fs.PathError{Op: "statfs", Path: dir, Err: err})
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// copyRecords copies Badger's files. Hard links would not do: it empties a table
// before it removes it.
func copyRecords(from, to string) error {
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		if err := copyRecord(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
			return fmt.Errorf("copying the records: %w", err)
		}
	}
	return nil
}

// copyRecord copies one file, sharing its blocks where that can be done.
func copyRecord(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close() //nolint:errcheck // only read
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if unix.IoctlFileClone(int(out.Fd()), int(in.Fd())) == nil {
		return nil
	}
	_, err = io.Copy(out, in)
	return err
}

func syncAllIn(dir string) error {
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return err
	}
	return errors.Join(inParallel(names, syncDir), syncDir(dir))
}

// dropSaved sets the copies of older formats aside: the store has been opened with the
// new one since.
func (s *Store) dropSaved() error {
	names, err := filepath.Glob(s.path(savedMeta + "*"))
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := os.Rename(n, s.asideName()); err != nil {
			return err
		}
	}
	return nil
}
