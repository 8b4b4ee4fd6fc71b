package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"plumb/store/erase"
)

// A placed directory is made once per content and read by running stages. It is
// not synced, so it belongs to one start of the machine. Users are counted: gc
// deletes only what nobody reads.

type placed struct {
	mu    sync.Mutex
	users map[string]int
	going map[string]bool // to be deleted when nobody uses them any more
	turns map[string]*sync.Mutex
	seen  map[string]time.Time // when it was last found whole
}

// lookAgain is for how long what was found whole is taken to be: a run gives one
// directory to many stages, some at the same moment.
const lookAgain = 200 * time.Millisecond

// Placed gives the path of what was placed under name, making it with build if it
// is not there, or whole finds it damaged: build gets a path to make, on the same file
// system, and what it made is renamed into place. It stays until release is called.
func (s *Store) Placed(name Digest, whole func(path string) bool, build func(tmp string) error) (path string, release func(), err error) {
	if !s.isWritable() {
		return "", nil, fmt.Errorf("placing %q: %w", name, ErrReadOnly)
	}
	boot, err := bootID()
	if err != nil {
		return "", nil, err
	}
	path = s.path("placed", boot, name.Hex())
	release = s.usePlaced(path)
	turn := s.placed.turn(path)
	turn.Lock()
	defer turn.Unlock()
	fi, err := os.Lstat(path)
	if err == nil && s.placed.whole(path, whole) {
		if err := openPlaced(path, fi); err != nil {
			release()
			return "", nil, fmt.Errorf("placing %q: %w", name, err)
		}
		return path, release, nil
	}
	if err == nil {
		s.log.Warn("what was placed for stages is damaged, and is made again", "path", path)
		err = s.placed.setAway(path, s.tempName())
	} else {
		err = nil
	}
	if err == nil {
		err = s.place(path, build)
	}
	if err != nil {
		release()
		return "", nil, fmt.Errorf("placing %q: %w", name, err)
	}
	s.placed.found(path)
	return path, release, nil
}

func (p *placed) whole(path string, whole func(string) bool) bool {
	p.mu.Lock()
	at := p.seen[path]
	p.mu.Unlock()
	if time.Since(at) < lookAgain {
		return true
	}
	if !whole(path) {
		return false
	}
	p.found(path)
	return true
}

func (p *placed) found(path string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.seen == nil {
		p.seen = map[string]time.Time{}
	}
	p.seen[path] = time.Now()
}

// setAway renames a damaged directory away. Who reads it already has it mounted, and
// goes on seeing it.
func (p *placed) setAway(path, to string) error {
	if fi, err := os.Lstat(path); err == nil && fi.IsDir() {
		if err := os.Chmod(path, 0o700); err != nil {
			return err
		}
	}
	return os.Rename(path, to+trashSuffix)
}

func (s *Store) place(path string, build func(tmp string) error) error {
	tmp := s.tempName()
	err := build(tmp)
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return errors.Join(err, erase.All(context.Background(), tmp))
	}
	// Only now: a directory that its owner may not write cannot change its parent.
	fi, err := os.Lstat(path)
	if err != nil {
		return err
	}
	return openPlaced(path, fi)
}

// openPlaced lets stages read a directory, and nobody write into it. An owner that was
// killed as it was about to set it aside, or had just put it there, left it otherwise.
func openPlaced(path string, fi fs.FileInfo) error {
	if !fi.IsDir() || fi.Mode().Perm() == 0o555 {
		return nil
	}
	return os.Chmod(path, 0o555)
}

func (p *placed) use(path string) (release func()) {
	return take(&p.mu, &p.users, []string{path})
}

// usePlaced counts a user; the last one deletes what is to go.
func (s *Store) usePlaced(path string) (release func()) {
	leave := s.placed.use(path)
	return sync.OnceFunc(func() {
		leave()
		if !s.placed.isGoing(path) {
			return
		}
		to := s.tempName()
		aside, err := s.placed.setAside(path, to, false)
		if err == nil && aside {
			err = erase.All(context.Background(), to+trashSuffix)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.log.Warn("deleting what was placed", "path", path, "error", err)
		}
	})
}

func (p *placed) isGoing(path string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.going[path]
}

// letGo marks what is in use to be deleted afterwards.
func (p *placed) letGo() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.going == nil {
		p.going = map[string]bool{}
	}
	for path, n := range p.users {
		if n > 0 {
			p.going[path] = true
		}
	}
}

// turn makes two who want the same thing at once build it once.
func (p *placed) turn(path string) *sync.Mutex {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.turns == nil {
		p.turns = map[string]*sync.Mutex{}
	}
	if p.turns[path] == nil {
		p.turns[path] = &sync.Mutex{}
	}
	return p.turns[path]
}

// dropPlaced sets the unused aside, where the lock on users keeps new ones out,
// and deletes it then.
func (s *Store) dropPlaced(ctx context.Context, dry bool) (n int, err error) {
	boot, err := bootID()
	if err != nil {
		return 0, err
	}
	entries, err := os.ReadDir(s.path("placed", boot))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		aside, err := s.placed.setAside(filepath.Join(s.path("placed", boot), e.Name()), s.tempName(), dry)
		if err != nil {
			return n, err
		}
		if !aside {
			continue
		}
		n++
	}
	if dry {
		return n, nil
	}
	return n, s.emptyTrash(ctx)
}

// setAside renames path away unless it is used.
func (p *placed) setAside(path, to string, dry bool) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.users[path] > 0 {
		return false, nil
	}
	if dry {
		return true, nil
	}
	if fi, err := os.Lstat(path); err == nil && fi.IsDir() {
		if err := os.Chmod(path, 0o700); err != nil {
			return false, err
		}
	}
	delete(p.turns, path)
	delete(p.seen, path)
	delete(p.going, path)
	return true, os.Rename(path, to+trashSuffix)
}

const trashSuffix = ".dropped"

func (s *Store) emptyTrash(ctx context.Context) error {
	names, err := filepath.Glob(s.path("tmp", "*"+trashSuffix))
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := erase.All(ctx, n); err != nil {
			return err
		}
	}
	return nil
}
