package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// A blob's file is hashed when it comes into the store, and whoever reads it later
// must not get anything else. Three things see to that, from cheap to dear:
//
//	a hit        all blobs have one modification time. Whatever wrote into a file gave
//	             it another, so the lstat that looks for its size finds that, too, and
//	             only then the file is hashed.
//	a place      a stage gets the file itself, not a copy. It is hashed before unless
//	             its inode, size and both times are those that it had when this store
//	             last knew its content: nothing but the kernel sets a change time.
//	a copy       what is copied is hashed on its way. A restore copies as a place does:
//	             gigabytes, and it must not take longer than cp.
//
// What no time tells, a disk that returns other bytes than were written, is found by
// the last of these and by fsck.
//
// A blob that proves to be damaged is set aside, so that it is lost from then on: a
// miss with a reason, and what made it makes it again.

// ErrDamaged is in errors about content that is not what its digest says.
var ErrDamaged = errors.New("its content is damaged")

// stamp tells whether a file was changed.
type stamp struct {
	ino                uint64
	size, mtime, ctime int64
}

func stampOf(st *unix.Stat_t) stamp {
	return stamp{st.Ino, st.Size, st.Mtim.Nano(), st.Ctim.Nano()}
}

// stampAt gives the stamp of a regular file.
func stampAt(path string) (stamp, bool) {
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return stamp{}, false
	}
	return stampOf(&st), true
}

// written reports whether the time is one that writing leaves.
func (s stamp) written() bool { return s.mtime != ContentTime().UnixNano() }

// soundFiles are the stamps of blobs' files whose content is known.
type soundFiles struct {
	mu     sync.Mutex
	loaded bool
	dirty  bool
	known  map[blobID]stamp
	copies map[string]stamp // of small blobs, placed, by path
}

// soundCache is the name under which they are kept from one owner to the next. Only
// those are that take long to hash again.
const (
	soundCache = "sound blobs 1"
	soundFrom  = 256 << 10
	soundMost  = 200_000
)

func (f *soundFiles) load(s *Store) {
	if f.loaded {
		return
	}
	f.loaded = true
	if f.known == nil {
		f.known = map[blobID]stamp{}
	}
	b, ok := s.GetCache(soundCache)
	if !ok {
		return
	}
	r := &reader{b: b}
	for range r.count(40) {
		id := blobID{r.digest(), r.bool()}
		st := stamp{r.uint(), r.int(), r.int(), r.int()}
		if _, newer := f.known[id]; !newer && !r.bad {
			f.known[id] = st
		}
	}
}

func (f *soundFiles) is(s *Store, id blobID, st stamp) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.load(s)
	have, ok := f.known[id]
	return ok && have == st
}

func (f *soundFiles) put(id blobID, st stamp) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.known == nil {
		f.known = map[blobID]stamp{}
	}
	if len(f.known) >= soundMost { // small files are soon hashed again
		maps.DeleteFunc(f.known, func(_ blobID, st stamp) bool { return st.size < soundFrom })
	}
	f.known[id] = st
	f.dirty = f.dirty || st.size >= soundFrom
}

func (f *soundFiles) drop(id blobID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.known, id)
	f.dirty = true
}

// saveSound keeps the stamps; what cannot be kept is hashed again.
func (s *Store) saveSound() error {
	f := &s.sound
	f.mu.Lock()
	if !f.dirty {
		f.mu.Unlock()
		return nil
	}
	f.load(s)
	f.dirty = false
	w := &writer{}
	n := 0
	for _, st := range f.known {
		if st.size >= soundFrom {
			n++
		}
	}
	n = min(n, soundMost)
	w.uint(uint64(n))
	for id, st := range f.known {
		if st.size < soundFrom || n == 0 {
			continue
		}
		n--
		w.digest(id.digest)
		w.bool(id.exec)
		w.uint(st.ino)
		w.int(st.size)
		w.int(st.mtime)
		w.int(st.ctime)
	}
	f.mu.Unlock()
	return s.PutCache(soundCache, w.b)
}

// isCopy and putCopy are for what stages get of small blobs: files of their own, not
// kept in mind any longer than this process lives.
func (f *soundFiles) isCopy(path string, st stamp) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	have, ok := f.copies[path]
	return ok && have == st
}

func (f *soundFiles) putCopy(path string, st stamp) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.copies == nil || len(f.copies) >= soundMost {
		f.copies = map[string]stamp{}
	}
	f.copies[path] = st
}

// learn remembers a file that was just put in its place.
func (s *Store) learn(id blobID, path string) {
	if st, ok := stampAt(path); ok {
		s.sound.put(id, st)
	}
}

// quick looks at a blob's file without reading it, unless it was written into.
func (s *Store) quick(a Artifact) error {
	id := blobID{a.Digest, a.Exec}
	path := s.blobPath(a.Digest, a.Exec)
	st, ok := stampAt(path)
	if !ok {
		return lostBlob(a.Digest)
	}
	if st.size != a.Size {
		s.condemn(id, path, st)
		return sameSize(a, st.size)
	}
	if !st.written() || s.sound.is(s, id, st) {
		return nil
	}
	return s.examine(id, path, st)
}

// lostBlob is the error about a blob that should be there: ErrNotFound.
type lostBlob Digest

func (d lostBlob) Error() string { return fmt.Sprintf("the blob %q is lost", Digest(d)) }

func (d lostBlob) Unwrap() error { return ErrNotFound }

// SoundFile gives the file that holds a blob in the wanted mode, whose content is
// known to be right: from before, or because it was hashed now. The error is
// ErrNotFound when there is none, ErrDamaged when it holds something else.
func (s *Store) SoundFile(a Artifact) (string, error) {
	id := blobID{a.Digest, a.Exec}
	path := s.blobPath(a.Digest, a.Exec)
	st, ok := stampAt(path)
	if !ok {
		return "", fmt.Errorf("the blob %q: %w", a.Digest, ErrNotFound)
	}
	if st.size == a.Size && s.sound.is(s, id, st) {
		return path, nil
	}
	return path, s.examine(id, path, st)
}

// examine hashes a file. One that is right gets back the time that its blob has to
// have, one that is not is set aside.
func (s *Store) examine(id blobID, path string, st stamp) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the blob %q: %w", id.digest, ErrNotFound)
	}
	if err != nil {
		return fmt.Errorf("the blob %q: %w", id.digest, err)
	}
	d, _, err := hashStream(f, nil)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("the blob %q: %w", id.digest, err)
	}
	if d != id.digest {
		s.condemn(id, path, st)
		return fmt.Errorf("the blob %q: %w", id.digest, ErrDamaged)
	}
	now, ok := stampAt(path)
	if !ok || now != st { // it changes under us: the next one hashes it again
		return nil
	}
	if st.written() && s.isWritable() {
		if err := os.Chtimes(path, ContentTime(), ContentTime()); err != nil {
			return fmt.Errorf("the blob %q: %w", id.digest, err)
		}
		if now, ok = stampAt(path); !ok {
			return nil
		}
	}
	s.sound.put(id, now)
	return nil
}

// condemn sets a damaged file aside, unless another has taken its place meanwhile. A
// store that is only read keeps it, and finds it damaged again.
func (s *Store) condemn(id blobID, path string, st stamp) {
	s.sound.drop(id)
	if !s.isWritable() {
		return
	}
	if now, ok := stampAt(path); !ok || now.ino != st.ino {
		return
	}
	to, err := s.asideDamaged(path)
	if err != nil {
		s.log.Warn("a damaged blob could not be set aside", "blob", id.digest.String(), "error", err)
		return
	}
	s.log.Warn("a blob is damaged: it was set aside, and what made it will run again", "blob", id.digest.String(), "now", to)
}

// damagedDir holds what was found damaged or does not belong into the store. Nothing
// in it is ever read, and nothing deletes it but people.
const damagedDir = "damaged"

// asideDamaged moves a path of the store there, under a name that tells the day and
// where it was.
func (s *Store) asideDamaged(path string) (string, error) {
	if err := os.MkdirAll(s.path(damagedDir), 0o700); err != nil {
		return "", err
	}
	rel, err := filepath.Rel(s.dir, path)
	if err != nil {
		return "", err
	}
	base := s.path(damagedDir, s.now().UTC().Format("20060102-150405-")+strings.ReplaceAll(rel, "/", "_"))
	to := base
	for n := 2; ; n++ {
		if _, err := os.Lstat(to); errors.Is(err, fs.ErrNotExist) {
			break
		}
		to = fmt.Sprintf("%s.%d", base, n)
	}
	return to, os.Rename(path, to)
}

// LinkBlob makes dst a hard link to a blob's file, whose content is known to be right.
func (s *Store) LinkBlob(a Artifact, dst string) error {
	path, err := s.SoundFile(a)
	if err != nil {
		return err
	}
	if err := os.Link(path, dst); err != nil {
		return err
	}
	// The link has changed the file's time of change, and only that.
	id := blobID{a.Digest, a.Exec}
	if st, ok := stampAt(path); ok && !st.written() && st.size == a.Size {
		s.sound.put(id, st)
	}
	return nil
}

// SoundLink reports whether path is a file that LinkBlob made, or a copy of a small
// blob, and holds what it should.
func (s *Store) SoundLink(a Artifact, path string) bool {
	st, ok := stampAt(path)
	if !ok || st.size != a.Size || st.written() {
		return false
	}
	id := blobID{a.Digest, a.Exec}
	small := a.Size <= SmallBlob
	if small && s.sound.isCopy(path, st) || !small && s.sound.is(s, id, st) {
		return true
	}
	if d, err := sumFile(path); err != nil || d != a.Digest {
		return false
	}
	if small {
		s.sound.putCopy(path, st)
	} else if of, ok := stampAt(s.blobPath(a.Digest, a.Exec)); ok && of == st {
		s.sound.put(id, st)
	}
	return true
}

// CopyBlob writes the content of a blob's file to w. The error is ErrDamaged when
// what was written is not what it should be.
func (s *Store) CopyBlob(w io.Writer, a Artifact) error {
	id := blobID{a.Digest, a.Exec}
	path := s.blobPath(a.Digest, a.Exec)
	st, _ := stampAt(path)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the blob %q: %w", a.Digest, ErrNotFound)
	}
	if err != nil {
		return fmt.Errorf("the blob %q: %w", a.Digest, err)
	}
	d, _, err := hashStream(f, w)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("copying the blob %q: %w", a.Digest, err)
	}
	if d != a.Digest {
		s.condemn(id, path, st)
		return fmt.Errorf("the blob %q: %w", a.Digest, ErrDamaged)
	}
	return nil
}
