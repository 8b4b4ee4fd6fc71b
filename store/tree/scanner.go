package tree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"plumb/store"
)

// Scanner knows the files of one project. Its methods may be called from several
// goroutines.
type Scanner struct {
	st    *store.Store
	root  string // absolute, without symlinks
	name  string // of the stat cache
	cache statCache
	save  sync.Mutex

	anyLink bool // where symlinks lead does not matter
}

// NewScanner makes a Scanner of the project at root, with what the store remembers
// of its files.
func NewScanner(st *store.Store, root string) (*Scanner, error) {
	abs, err := filepath.Abs(root)
	if err == nil {
		abs, err = filepath.EvalSymlinks(abs)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the project %q: %w", root, err)
	}
	sc := &Scanner{st: st, root: abs, name: "stat/" + abs}
	sc.cache.today = int32(time.Now().Unix() / (24 * 60 * 60))
	data, _ := st.GetCache(sc.name)
	sc.cache.files = decodeStats(data)
	return sc, nil
}

// Save writes what was learned, when there is something.
func (sc *Scanner) Save() error {
	sc.save.Lock()
	defer sc.save.Unlock()
	sc.cache.mu.Lock()
	dirty := sc.cache.dirty
	sc.cache.dirty = false
	sc.cache.mu.Unlock()
	if !dirty {
		return nil
	}
	return sc.st.PutCache(sc.name, sc.cache.encode())
}

// Scan gives the artifact at a slash-separated path of the project. It writes
// nothing.
func (sc *Scanner) Scan(ctx context.Context, rel string) (store.Artifact, error) {
	a, _, err := sc.look(ctx, rel, nil)
	if err != nil {
		return store.Artifact{}, fmt.Errorf("hashing %q: %w", rel, err)
	}
	return a, nil
}

// Content gives the digest of what is in a file of the project, which is named by an
// absolute path without symlinks.
func (sc *Scanner) Content(ctx context.Context, full string) (store.Digest, error) {
	rel, ok := strings.CutPrefix(full, sc.root+"/")
	if !ok {
		return store.Digest{}, fmt.Errorf("hashing %q: it is not in the project", full)
	}
	a, err := sc.Scan(ctx, rel)
	return a.Digest, err
}

// Entries gives what is in a directory of the project.
func (sc *Scanner) Entries(ctx context.Context, rel string) ([]Entry, error) {
	a, entries, err := sc.look(ctx, rel, nil)
	if err == nil && a.Kind != store.KindTree {
		err = errors.New("it is not a directory")
	}
	if err != nil {
		return nil, fmt.Errorf("listing %q: %w", rel, err)
	}
	return entries, nil
}

// Ingest gives the artifact at a slash-separated path of the project and makes
// its content present in the store. A file that the store lacks is read once.
func (sc *Scanner) Ingest(ctx context.Context, rel string) (store.Artifact, error) {
	b := sc.st.NewBatch()
	a, err := sc.IngestInto(ctx, rel, b)
	if err == nil && !b.Empty() {
		err = sc.st.Commit(ctx, b)
	}
	if err = errors.Join(err, b.Close()); err != nil {
		return store.Artifact{}, fmt.Errorf("taking %q into the store: %w", rel, err)
	}
	return a, nil
}

// ScanInto is Scan that puts a file which it has to read anyway into the batch, so
// that no byte is read twice. What is remembered is not looked for in the store.
func (sc *Scanner) ScanInto(ctx context.Context, rel string, b *store.Batch) (store.Artifact, error) {
	a, _, err := sc.look(ctx, rel, b)
	if err != nil {
		return store.Artifact{}, fmt.Errorf("hashing %q: %w", rel, err)
	}
	return a, nil
}

// IngestInto is Ingest for many paths with one commit, which is the caller's.
func (sc *Scanner) IngestInto(ctx context.Context, rel string, b *store.Batch) (store.Artifact, error) {
	a, entries, err := sc.look(ctx, rel, b)
	if err != nil {
		return a, err
	}
	if a.Kind == store.KindFile {
		if !b.Holds(a) && !sc.st.Has(a) {
			// It is remembered, but its blob is gone.
			if a, err = sc.put(rel, b); err != nil {
				return a, err
			}
		}
		return a, nil
	}
	if b.Empty() && sc.st.Check(a) == nil {
		sc.st.Has(store.Artifact{Kind: store.KindFile, Digest: a.Digest}) // safe from gc until it is leased
		return a, nil
	}
	return a, sc.complete(rel, entries, b)
}

// complete adds the members of a directory that are remembered but not in the
// store, and the manifest.
func (sc *Scanner) complete(rel string, entries []Entry, b *store.Batch) error {
	for i := range entries {
		e := &entries[i]
		if e.Kind != KindFile || b.Holds(e.Artifact()) || sc.st.Has(e.Artifact()) {
			continue
		}
		got, err := sc.put(path.Join(rel, e.Path), b)
		if err == nil && got != e.Artifact() {
			err = errChanged
		}
		if err != nil {
			return fmt.Errorf("%q: %w", e.Path, err)
		}
	}
	_, err := b.Put(bytes.NewReader(Encode(entries)), false)
	return err
}

// put reads a file into the batch, whatever is remembered of it.
func (sc *Scanner) put(rel string, b *store.Batch) (store.Artifact, error) {
	full, st, err := sc.resolve(rel)
	if err != nil {
		return store.Artifact{}, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return store.Artifact{}, errChanged
	}
	return sc.read(unix.AT_FDCWD, full, b, forget)
}

// forget is for what is not worth remembering.
func forget(stamp, store.Digest, time.Time) {}

// look finds the artifact at rel. With a batch, what is not remembered is put into
// it while it is hashed.
func (sc *Scanner) look(ctx context.Context, rel string, b *store.Batch) (store.Artifact, []Entry, error) {
	full, st, err := sc.resolve(rel)
	if err != nil {
		return store.Artifact{}, nil, err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		a, err := sc.file(unix.AT_FDCWD, full, sc.inProject(full), &st, b)
		return a, nil, err
	case unix.S_IFDIR:
		entries, err := sc.walk(ctx, full, b)
		if err != nil {
			return store.Artifact{}, nil, err
		}
		return artifactOf(entries, store.Sum(Encode(entries))), entries, nil
	}
	return store.Artifact{}, nil, special(&st)
}

// inProject is the path by which a file is remembered.
func (sc *Scanner) inProject(full string) string {
	return strings.TrimPrefix(strings.TrimPrefix(full, sc.root), "/")
}

// resolve finds the file or directory that rel stands for, which must be in the
// project also when it, or a directory on the way, is a symlink.
func (sc *Scanner) resolve(rel string) (full string, st unix.Stat_t, err error) {
	if !filepath.IsLocal(rel) || strings.IndexByte(rel, 0) >= 0 {
		return "", st, errors.New("the path leaves the project")
	}
	full = sc.root
	if clean := path.Clean(rel); clean != "." {
		full += "/" + clean
	}
	for at := len(sc.root); at < len(full); {
		if next := strings.IndexByte(full[at+1:], '/'); next >= 0 {
			at += 1 + next
		} else {
			at = len(full)
		}
		if err := unix.Lstat(full[:at], &st); err != nil {
			return "", st, missing(err, full[:at])
		}
		if st.Mode&unix.S_IFMT == unix.S_IFLNK {
			return sc.follow(full)
		}
	}
	if full == sc.root {
		err = unix.Lstat(full, &st)
	}
	return full, st, err
}

// missing turns the bare error of a system call into one that says what is not
// there, and that callers can tell apart.
func missing(err error, path string) error {
	return &fs.PathError{Op: "lstat", Path: path, Err: err}
}

func (sc *Scanner) follow(full string) (string, unix.Stat_t, error) {
	var st unix.Stat_t
	real, err := filepath.EvalSymlinks(full)
	if err != nil {
		return "", st, err
	}
	if real != sc.root && !strings.HasPrefix(real, sc.root+"/") {
		return "", st, fmt.Errorf("it is a symlink that leaves the project, to %q", real)
	}
	return real, st, unix.Lstat(real, &st)
}

// special says what a path is that is no file and no directory.
func special(st *unix.Stat_t) error {
	kind := "a device"
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFIFO:
		kind = "a FIFO"
	case unix.S_IFSOCK:
		kind = "a socket"
	}
	return fmt.Errorf("it is %s, %w", kind, errSpecial)
}

var errSpecial = errors.New("neither a file nor a directory")

// file gives the artifact of a regular file that was just looked at.
func (sc *Scanner) file(dir int, name, rel string, st *unix.Stat_t, b *store.Batch) (store.Artifact, error) {
	if d, ok := sc.cache.get(rel, stampOf(st)); ok {
		return store.Artifact{Kind: store.KindFile, Digest: d, Size: st.Size, Exec: executable(st)}, nil
	}
	return sc.read(dir, name, b, func(s stamp, d store.Digest, started time.Time) { sc.cache.put(rel, s, d, started) })
}

// executable is the owner's bit; the others follow it in what is made of it.
func executable(st *unix.Stat_t) bool { return st.Mode&unix.S_IXUSR != 0 }

var errChanged = errors.New("it changes while it is being read")

// readTries is how often a file is read that changes meanwhile.
const readTries = 3

// read hashes a file, into the batch if there is one, until it held still.
func (sc *Scanner) read(dir int, name string, b *store.Batch, learn func(stamp, store.Digest, time.Time)) (store.Artifact, error) {
	for range readTries {
		f, err := openAt(dir, name)
		if err != nil {
			return store.Artifact{}, err
		}
		started := time.Now()
		a, s, err := readOnce(f, b)
		if err = errors.Join(err, f.Close()); err == nil {
			learn(s, a.Digest, started)
			return a, nil
		}
		if !errors.Is(err, errChanged) {
			return store.Artifact{}, err
		}
	}
	return store.Artifact{}, errChanged
}

func openAt(dir int, name string) (*os.File, error) {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

func readOnce(f *os.File, b *store.Batch) (a store.Artifact, s stamp, err error) {
	var before, after unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &before); err != nil {
		return a, s, err
	}
	if before.Mode&unix.S_IFMT != unix.S_IFREG {
		return a, s, special(&before)
	}
	if b != nil {
		a, err = b.PutFile(f, executable(&before))
	} else {
		a = store.Artifact{Kind: store.KindFile, Exec: executable(&before)}
		a.Digest, a.Size, err = store.SumReader(f)
	}
	if err != nil {
		return a, s, err
	}
	if err := unix.Fstat(int(f.Fd()), &after); err != nil {
		return a, s, err
	}
	s = stampOf(&before)
	if s != stampOf(&after) || a.Size != before.Size || before.Mode != after.Mode {
		return a, s, errChanged
	}
	return a, s, nil
}
