package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

const (
	syncAtOnce     = 1 << 20  // files from this size on are synced while they are hashed
	writebackEvery = 16 << 20 // how much is left to the kernel before it is told to write
)

// pendingFile is a blob's content under a temporary name.
type pendingFile struct {
	path   string
	size   int64
	synced bool
}

// blobID tells the files of one content apart: hard links share a mode, so the
// executable twin is a file of its own.
type blobID struct {
	digest Digest
	exec   bool
}

// fileSize gives the size of a regular file.
func fileSize(path string) (int64, bool) {
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return 0, false
	}
	return st.Size, true
}

func (s *Store) tempName() string {
	return s.dir + "/tmp/blob-" + strconv.FormatUint(s.temps.Add(1), 36)
}

// createTemp makes a file for a blob's content.
func (s *Store) createTemp() (*os.File, error) {
	if !s.isWritable() {
		return nil, ErrReadOnly
	}
	return os.OpenFile(s.tempName(), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
}

// writeback is a writer that has the kernel start writing early, so that the
// fsync at the end finds little left to do.
type writeback struct {
	f     *os.File
	done  int64
	asked int64
}

func (w *writeback) Write(p []byte) (int, error) {
	n, err := w.f.Write(p)
	w.done += int64(n)
	if w.done-w.asked >= writebackEvery {
		// Only advice: what it cannot do, fsync does.
		_ = unix.SyncFileRange(int(w.f.Fd()), w.asked, w.done-w.asked, unix.SYNC_FILE_RANGE_WRITE)
		w.asked = w.done
	}
	return n, err
}

// Put takes what r gives into the batch.
func (b *Batch) Put(r io.Reader, exec bool) (Artifact, error) {
	first := make([]byte, SmallBlob+1)
	n, err := readFull(r, first)
	if errors.Is(err, io.EOF) {
		return b.putSmall(bytes.Clone(first[:n]), exec) // the batch keeps no more than it needs
	}
	if err != nil {
		return Artifact{}, fmt.Errorf("reading content: %w", err)
	}
	return b.putFile(func(f *os.File) (Digest, int64, error) {
		return hashStream(io.MultiReader(bytes.NewReader(first), r), &writeback{f: f})
	}, exec)
}

// PutFile takes the content of src, read from its beginning, into the batch: as a
// clone that shares its blocks where the file system can do that, else as a copy.
func (b *Batch) PutFile(src *os.File, exec bool) (Artifact, error) {
	fi, err := src.Stat()
	if err != nil {
		return Artifact{}, err
	}
	if fi.Size() <= SmallBlob {
		return b.Put(src, exec)
	}
	return b.putFile(func(f *os.File) (Digest, int64, error) {
		if unix.IoctlFileClone(int(f.Fd()), int(src.Fd())) == nil {
			return hashStream(f, nil)
		}
		return hashStream(src, &writeback{f: f})
	}, exec)
}

func (b *Batch) putSmall(data []byte, exec bool) (Artifact, error) {
	a := Artifact{Kind: KindFile, Digest: Sum(data), Size: int64(len(data)), Exec: exec}
	b.lease(a.Digest)
	b.mu.Lock()
	defer b.mu.Unlock()
	return a, b.small.put(b.s, a.Digest, data)
}

// putFile has fill write a temporary file, and takes it.
func (b *Batch) putFile(fill func(*os.File) (Digest, int64, error), exec bool) (_ Artifact, err error) {
	f, err := b.s.createTemp()
	if err != nil {
		return Artifact{}, fmt.Errorf("making a temporary file: %w", err)
	}
	taken := false
	defer func() {
		if err = errors.Join(err, f.Close()); !taken {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	d, size, err := fill(f)
	if err != nil {
		return Artifact{}, fmt.Errorf("keeping content: %w", err)
	}
	a := Artifact{Kind: KindFile, Digest: d, Size: size, Exec: exec}
	if size <= SmallBlob { // it shrank since it was looked at
		data := make([]byte, size)
		if _, err := f.ReadAt(data, 0); err != nil {
			return Artifact{}, fmt.Errorf("keeping content: %w", err)
		}
		return b.putSmall(data, exec)
	}
	if b.known(a) {
		return a, nil
	}
	if err := finish(f, exec); err != nil {
		return Artifact{}, fmt.Errorf("keeping content: %w", err)
	}
	synced := size >= syncAtOnce
	if synced {
		if err := f.Sync(); err != nil {
			return Artifact{}, fmt.Errorf("keeping content: %w", err)
		}
	}
	taken = b.take(a, pendingFile{f.Name(), size, synced})
	return a, nil
}

// finish gives a file the mode, time and owner of a blob. It comes before the
// sync, which covers it then.
func finish(f *os.File, exec bool) error {
	if err := f.Chown(os.Geteuid(), os.Getegid()); err != nil {
		return err
	}
	mode := os.FileMode(modeFile)
	if exec {
		mode = modeExec
	}
	if err := f.Chmod(mode); err != nil {
		return err
	}
	tv := unix.NsecToTimeval(ContentTime().UnixNano())
	return unix.Futimes(int(f.Fd()), []unix.Timeval{tv, tv})
}

// Adopt takes over the regular file name of dir, opened as f, without copying:
// the file leaves dir. One hashing pass is all that it costs, since a large file
// is synced at the same time. The caller makes sure that nobody writes the file
// any more and that it has no other name.
func (b *Batch) Adopt(dir *os.File, name string, f *os.File, exec bool) (Artifact, error) {
	fi, err := f.Stat()
	if err != nil {
		return Artifact{}, err
	}
	if fi.Size() <= SmallBlob {
		return b.Put(f, exec)
	}
	if !b.s.isWritable() {
		return Artifact{}, fmt.Errorf("taking over %q: %w", name, ErrReadOnly)
	}
	if err := finish(f, exec); err != nil {
		return Artifact{}, fmt.Errorf("taking over %q: %w", name, err)
	}
	synced := make(chan error, 1)
	large := fi.Size() >= syncAtOnce
	if large {
		go func() { synced <- f.Sync() }()
	} else {
		synced <- nil
	}
	d, size, err := hashStream(f, nil)
	if err = errors.Join(err, <-synced); err != nil {
		return Artifact{}, fmt.Errorf("taking over %q: %w", name, err)
	}
	a := Artifact{Kind: KindFile, Digest: d, Size: size, Exec: exec}
	if b.known(a) {
		return a, nil
	}
	tmp := b.s.tempName()
	if err := unix.Renameat(int(dir.Fd()), name, unix.AT_FDCWD, tmp); err != nil {
		return Artifact{}, fmt.Errorf("taking over %q: %w", name, err)
	}
	if !b.take(a, pendingFile{tmp, size, large}) {
		return a, os.Remove(tmp)
	}
	return a, nil
}

// known reports whether the store has the content, or the batch.
func (b *Batch) known(a Artifact) bool {
	b.lease(a.Digest)
	id := blobID{a.Digest, a.Exec}
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.files[id]; ok {
		return true
	}
	if _, ok := b.s.BlobFile(a); ok {
		b.found = append(b.found, id)
		return true
	}
	return false
}

// take makes p part of the batch, unless another got there first.
func (b *Batch) take(a Artifact, p pendingFile) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	id := blobID{a.Digest, a.Exec}
	if _, ok := b.files[id]; ok {
		return false
	}
	b.files[id] = p
	return true
}
