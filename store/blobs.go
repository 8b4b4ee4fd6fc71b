package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/dgraph-io/badger/v4"
)

// SmallBlob is the size up to which a blob lies in Badger: a file of its own
// would cost an fsync and a block on disk.
const SmallBlob = 4 << 10

// Put keeps what r gives and returns it as a file artifact, synced.
func (s *Store) Put(ctx context.Context, r io.Reader, exec bool) (Artifact, error) {
	b := s.NewBatch()
	a, err := b.Put(r, exec)
	if err == nil {
		err = s.Commit(ctx, b)
	}
	if err = errors.Join(err, b.Close()); err != nil {
		return Artifact{}, err
	}
	return a, nil
}

// PutBytes keeps data and returns it as a file artifact, synced.
func (s *Store) PutBytes(ctx context.Context, data []byte, exec bool) (Artifact, error) {
	return s.Put(ctx, bytes.NewReader(data), exec)
}

// OpenBlob opens a blob, whose content is known to be right, and gives its size. The
// error is ErrNotFound when there is none, ErrDamaged when it is damaged.
func (s *Store) OpenBlob(_ context.Context, d Digest) (io.ReadCloser, int64, error) {
	var small []byte
	err := s.view(func(txn *badger.Txn) (err error) {
		small, err = smallBlob(txn, d)
		return err
	})
	if err != nil {
		return nil, 0, fmt.Errorf("opening the blob %q: %w", d, err)
	}
	if small != nil {
		return io.NopCloser(bytes.NewReader(small)), int64(len(small)), nil
	}
	f, size, err := s.openSound(d)
	if err != nil {
		return nil, 0, fmt.Errorf("opening the blob %q: %w", d, err)
	}
	return f, size, nil
}

// openSound opens a blob's file, in whatever mode there is one that holds the right
// content.
func (s *Store) openSound(d Digest) (*os.File, int64, error) {
	var errs []error
	for _, exec := range []bool{false, true} {
		size, ok := fileSize(s.blobPath(d, exec))
		if !ok {
			continue
		}
		path, err := s.SoundFile(Artifact{Kind: KindFile, Digest: d, Size: size, Exec: exec})
		if err != nil {
			errs = append(errs, err)
			continue
		}
		f, err := os.Open(path)
		return f, size, err
	}
	if len(errs) == 0 {
		return nil, 0, ErrNotFound
	}
	return nil, 0, errors.Join(errs...)
}

// smallBlob gives a blob out of Badger, nil when it is not there.
func smallBlob(txn *badger.Txn, d Digest) ([]byte, error) {
	b, err := value(txn, blobKey(d))
	if b == nil || err != nil {
		return nil, err
	}
	if Sum(b) != d {
		return nil, ErrDamaged
	}
	return b, nil
}

func (s *Store) openBlobFile(d Digest) (*os.File, int64, error) {
	f, err := os.Open(s.blobPath(d, false))
	if errors.Is(err, fs.ErrNotExist) {
		f, err = os.Open(s.blobPath(d, true))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, ErrNotFound
	}
	if err != nil {
		return nil, 0, err
	}
	fi, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, fi.Size(), nil
}

// ReadBlob reads a whole blob of at most limit bytes and checks its content. The
// error is ErrNotFound or ErrTooLarge for those.
func (s *Store) ReadBlob(d Digest, limit int64) ([]byte, error) {
	var b []byte
	var err error
	if verr := s.view(func(txn *badger.Txn) error {
		b, err = s.readBlobIn(txn, d, limit)
		return nil
	}); verr != nil {
		err = verr
	}
	if err == nil && b == nil {
		err = ErrNotFound // there is no store on disk
	}
	if err != nil {
		return nil, fmt.Errorf("reading the blob %q: %w", d, err)
	}
	return b, nil
}

func (s *Store) readBlobIn(txn *badger.Txn, d Digest, limit int64) ([]byte, error) {
	b, err := smallBlob(txn, d)
	if err != nil {
		return nil, err
	}
	if b != nil {
		if int64(len(b)) > limit {
			return nil, ErrTooLarge
		}
		return b, nil
	}
	f, size, err := s.openBlobFile(d)
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, errors.Join(ErrTooLarge, f.Close())
	}
	b = make([]byte, size)
	_, err = io.ReadFull(f, b)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if Sum(b) != d {
		return nil, ErrDamaged
	}
	return b, nil
}

// LooksLikeTree reports whether a blob begins as manifests do, without reading
// more of it.
func (s *Store) LooksLikeTree(d Digest) bool {
	is := false
	err := s.view(func(txn *badger.Txn) error {
		is = s.looksLikeTreeIn(txn, d)
		return nil
	})
	return err == nil && is
}

func (s *Store) looksLikeTreeIn(txn *badger.Txn, d Digest) bool {
	if b, err := value(txn, blobKey(d)); b != nil || err != nil {
		return err == nil && strings.HasPrefix(string(b), manifestMagic)
	}
	f, _, err := s.openBlobFile(d)
	if err != nil {
		return false
	}
	head := make([]byte, len(manifestMagic))
	_, err = io.ReadFull(f, head)
	return errors.Join(err, f.Close()) == nil && string(head) == manifestMagic
}

// Stat gives the size of a blob, and whether there is one.
func (s *Store) Stat(d Digest) (size int64, ok bool) {
	err := s.view(func(txn *badger.Txn) error {
		item, err := txn.Get(blobKey(d))
		if err == nil {
			size, ok = item.ValueSize(), true
		}
		return err
	})
	if ok || err != nil && !errors.Is(err, badger.ErrKeyNotFound) {
		return size, ok
	}
	for _, exec := range []bool{false, true} {
		if size, ok = fileSize(s.blobPath(d, exec)); ok {
			return size, true
		}
	}
	return 0, false
}

// BlobFile gives the file that holds a blob in the wanted mode. There is none for
// a small one, nor for one that was never put in that mode.
func (s *Store) BlobFile(a Artifact) (path string, ok bool) {
	return s.blobPath(a.Digest, a.Exec), s.quick(a) == nil
}

// Has reports whether a file's content is there, in its mode and size; what is
// found is safe from gc for a while.
func (s *Store) Has(a Artifact) bool {
	s.guard.keep(a.Digest, s.now())
	found := false
	err := s.view(func(txn *badger.Txn) error {
		found = s.checkFile(txn, a) == nil
		return nil
	})
	return err == nil && found
}

// Check looks whether all of an artifact is there in its recorded size and was not
// written into: a file's blob, a tree's manifest and the blobs of its members. It
// reads the manifest and what lies in Badger, and of files those that were touched.
func (s *Store) Check(a Artifact) error {
	var err error
	verr := s.view(func(txn *badger.Txn) error {
		err = s.check(txn, a)
		return nil
	})
	if verr == nil && s.absent() {
		verr = ErrNotFound
	}
	return errors.Join(verr, err)
}

func (s *Store) absent() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.db == nil && s.broken.Load() == nil
}

func (s *Store) check(txn *badger.Txn, a Artifact) error {
	if a.Kind == KindTree {
		return s.checkTree(txn, a)
	}
	return s.checkFile(txn, a)
}

func (s *Store) checkFile(txn *badger.Txn, a Artifact) error {
	if a.Size <= SmallBlob {
		item, err := txn.Get(blobKey(a.Digest))
		if errors.Is(err, badger.ErrKeyNotFound) {
			return lostBlob(a.Digest)
		}
		if err == nil {
			err = sameSize(a, item.ValueSize())
		}
		if err != nil {
			return err
		}
		return item.Value(func(b []byte) error {
			if Sum(b) != a.Digest {
				return fmt.Errorf("the blob %q: %w", a.Digest, ErrDamaged)
			}
			return nil
		})
	}
	return s.quick(a)
}

func sameSize(a Artifact, size int64) error {
	if size != a.Size {
		return fmt.Errorf("the blob %q has %d bytes instead of %d", a.Digest, size, a.Size)
	}
	return nil
}
