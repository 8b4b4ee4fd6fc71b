package store

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// placed looks over the directories that were made for stages. Their files are links
// to blobs' files, which were hashed, or copies of small blobs.
func (f *fsck) placed(ctx context.Context) error {
	if f.s.absent() { // without its records, nobody knows what small ones there are
		return nil
	}
	inodes := map[uint64]bool{}
	for id := range f.files {
		if st, ok := stampAt(f.s.blobPath(id.digest, id.exec)); ok {
			inodes[st.ino] = true
		}
	}
	boot, err := bootID()
	if err != nil {
		return err
	}
	entries, err := readDir(f.s.path("placed", boot))
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := f.s.path("placed", boot, e.Name())
		why, err := f.placedWrong(ctx, path, inodes)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it is being replaced
		}
		if err != nil {
			return err
		}
		f.report.Placed++
		if why == "" {
			continue
		}
		if err := f.found(Finding{
			Kind: FoundDamagedPlaced, Object: f.name(path), Detail: why,
			Effect: "stages that read it now may read what is wrong; it is looked over before another gets it", Remedy: "it is dropped, and made again when it is needed",
		}, func() error { return f.s.placed.setAway(path, f.s.tempName()) }); err != nil {
			return err
		}
	}
	if !f.o.Repair {
		return nil
	}
	return f.s.emptyTrash(ctx)
}

func (f *fsck) placedWrong(ctx context.Context, top string, inodes map[uint64]bool) (why string, err error) {
	err = filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Type()&fs.ModeSymlink != 0 {
			return errors.Join(err, ctx.Err())
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return &fs.PathError{Op: "lstat", Path: path, Err: err}
		}
		if inodes[st.Ino] {
			return nil
		}
		rel, _ := filepath.Rel(top, path) // it is below
		if st.Mode&unix.S_IFMT != unix.S_IFREG {
			why = fmt.Sprintf("%q is no file", rel)
			return fs.SkipAll
		}
		data, err := sumFile(path)
		if err != nil {
			return err
		}
		_, small := f.small[data]
		_, plain := f.files[blobID{data, false}]
		_, exec := f.files[blobID{data, true}]
		if !small && !plain && !exec {
			why = fmt.Sprintf("%q holds nothing that is kept", rel)
			return fs.SkipAll
		}
		return nil
	})
	return why, err
}

func sumFile(path string) (Digest, error) {
	file, err := os.Open(path)
	if err != nil {
		return Digest{}, err
	}
	d, _, err := hashStream(file, nil)
	return d, errors.Join(err, file.Close())
}

// caches reads what can be made again. A damaged one is never used.
func (f *fsck) caches(ctx context.Context) error {
	entries, err := readDir(f.s.path("cache"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		path := f.s.path("cache", e.Name())
		why, err := cacheWrong(path, e.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		f.report.Caches++
		if why == "" {
			continue
		}
		if err := f.found(Finding{
			Kind: FoundDamagedCache, Object: f.name(path), Detail: why, Effect: "what it kept is found out anew", Remedy: "it is deleted",
		}, func() error { return os.RemoveAll(path) }); err != nil {
			return err
		}
	}
	return nil
}

func cacheWrong(path, name string) (why string, err error) {
	var of Digest
	if n, err := hex.Decode(of[:], []byte(name)); err != nil || n != len(of) || len(name) != 2*len(of) {
		return "it is no cache", nil
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if err != nil {
		return err.Error(), nil
	}
	if len(b) < len(of) || cacheSumOf(of, b[:len(b)-len(of)]) != Digest(b[len(b)-len(of):]) {
		return "its checksum is another", nil
	}
	return "", nil
}
