package store

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// ErrGone says that the store's directory is not at its path any more, or that
// somebody took its lock away: whoever comes now makes a store there, or owns this one
// too. Nothing may be done at that path then, by whoever thinks to own it.
var ErrGone = errors.New("the store was removed, moved or replaced while it was in use")

// Present reports whether the store is still what lies at its path. The error is
// ErrGone when it is not, and stays that.
func (s *Store) Present() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.present()
}

func (s *Store) present() error {
	if s.gone.Load() {
		return fmt.Errorf("%q: %w", s.dir, ErrGone)
	}
	if s.lock == nil {
		return nil
	}
	var held, there unix.Stat_t
	if err := unix.Fstat(int(s.lock.Fd()), &held); err != nil {
		return fmt.Errorf("looking at the lock of the store %q: %w", s.dir, err)
	}
	switch err := unix.Stat(s.path("lock"), &there); {
	case err == nil && there.Dev == held.Dev && there.Ino == held.Ino:
		return nil
	case err == nil, errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ESTALE):
		s.gone.Store(true)
		return fmt.Errorf("%q: %w", s.dir, ErrGone)
	default:
		return fmt.Errorf("looking for the store %q: %w", s.dir, err)
	}
}

// Abandon gives up a store that is gone, without a write: Badger would make and remove
// files by their paths. The process should end soon.
func (s *Store) Abandon() {
	s.gone.Store(true)
	s.sweeper.stop()
}
