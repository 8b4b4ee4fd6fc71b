package store

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Caches are files, not values of Badger: one may have megabytes, none is worth a
// sync, and each is read and replaced as a whole. A file ends with the SHA-256 of
// the digest it is named by and its data, so that one torn by a crash is simply not
// there, and one can be checked by who does not know what it was called.

func (s *Store) cachePath(name string) string { return s.path("cache", Sum([]byte(name)).Hex()) }

func cacheSum(name string, data []byte) Digest {
	return cacheSumOf(Sum([]byte(name)), data)
}

func cacheSumOf(name Digest, data []byte) Digest {
	h := sha256.New()
	h.Write(name[:])
	h.Write(data)
	return Digest(h.Sum(nil))
}

// GetCache gives what was last put under name, if it is still there and whole.
func (s *Store) GetCache(name string) ([]byte, bool) {
	b, err := os.ReadFile(s.cachePath(name))
	if err != nil || len(b) < len(Digest{}) {
		return nil, false
	}
	data, sum := b[:len(b)-len(Digest{})], b[len(b)-len(Digest{}):]
	if cacheSum(name, data) != Digest(sum) {
		return nil, false
	}
	return data, true
}

// PutCache keeps data under name until gc finds it unused. It is not synced.
func (s *Store) PutCache(name string, data []byte) error {
	if !s.isWritable() {
		return fmt.Errorf("keeping the cache %q: %w", name, ErrReadOnly)
	}
	sum := cacheSum(name, data)
	tmp := s.tempName()
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("keeping the cache %q: %w", name, err)
	}
	_, err = f.Write(data)
	if err == nil {
		_, err = f.Write(sum[:])
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(tmp, s.cachePath(name))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("keeping the cache %q: %w", name, err), os.Remove(tmp))
	}
	return nil
}

// dropCaches calls drop for every cache.
func (s *Store) dropCaches(drop func(path string, fi os.FileInfo) error) error {
	entries, err := os.ReadDir(s.path("cache"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		fi, err := e.Info()
		if err != nil {
			continue // replaced meanwhile
		}
		if err := drop(filepath.Join(s.path("cache"), e.Name()), fi); err != nil {
			return err
		}
	}
	return nil
}
