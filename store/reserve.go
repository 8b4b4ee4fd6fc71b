package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// On a disk that is full there is no room to make room: to drop a record is to write
// that it is dropped. So there is a file that holds nothing but its place. It is made
// when there is plenty of room, and removed for the sake of opening the store, of gc
// and of fsck when there is none.

// ReserveSize is how much of the disk the file takes.
const ReserveSize = 16 << 20

func reservePath(dir string) string { return filepath.Join(dir, "reserve") }

// HasReserve reports whether there is one.
func HasReserve(dir string) bool {
	size, ok := fileSize(reservePath(dir))
	return ok && size == ReserveSize
}

// ReleaseReserve gives the reserve back to the disk.
func ReleaseReserve(dir string) error {
	err := os.Remove(reservePath(dir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("giving up the reserve: %w", err)
	}
	return nil
}

// MakeReserve takes the reserve, unless it is there. A file system that cannot promise
// room has none.
func (s *Store) MakeReserve() error {
	if !s.isWritable() || HasReserve(s.dir) {
		return nil
	}
	f, err := os.OpenFile(reservePath(s.dir), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("making the reserve: %w", err)
	}
	err = unix.Fallocate(int(f.Fd()), 0, 0, ReserveSize)
	if err = errors.Join(err, f.Close()); err == nil {
		return nil
	}
	if rerr := ReleaseReserve(s.dir); rerr != nil {
		return errors.Join(err, rerr)
	}
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return nil
	}
	return fmt.Errorf("making the reserve: %w", err)
}

// compactFrom is how many keys gc drops before it has Badger write its tables anew: until
// then they still hold what was dropped.
const compactFrom = 1000

// compact gives back the room of what was dropped from Badger. It needs as much room as
// the tables take; where there is not so much, compactions that come by themselves do it
// bit by bit.
//
// Badger keeps deletions in memory like all that is new, and writes them into a table when
// it is closed: so it is closed, for some milliseconds in which whoever reads waits.
func (s *Store) compact() error {
	if ok, err := s.reopen(); !ok || err != nil {
		return err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.db == nil {
		return nil
	}
	if err := s.db.Flatten(1); err != nil {
		return fmt.Errorf("compacting the records: %w", err)
	}
	return nil
}

// reopen closes Badger and opens it again, where there is room for what compacting takes.
func (s *Store) reopen() (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.db == nil || !s.rw.Load() {
		return false, nil
	}
	var fsys unix.Statfs_t
	if err := unix.Statfs(s.dir, &fsys); err != nil {
		return false, fmt.Errorf("looking for room: %w", err)
	}
	lsm, _ := s.db.Size()
	if int64(fsys.Bavail)*fsys.Bsize < 2*lsm+ReserveSize {
		return false, nil
	}
	err := s.closeDB()
	if errors.Is(err, errStuck) { // whoever comes next tries to mend that
		s.broken.CompareAndSwap(nil, &err)
		return false, fmt.Errorf("compacting the records: %w", err)
	}
	s.db = nil
	if err == nil {
		s.db, err = s.openSoundMeta(false)
	}
	if err != nil {
		s.rw.Store(false) // nothing is written to what is not there
		return false, fmt.Errorf("compacting the records: %w", err)
	}
	return true, nil
}
