package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// reading is a file to hash: a blob's, or another's.
type reading struct {
	path  string
	id    blobID
	size  int64
	other *OtherFile
}

// contents hashes every blob's file, and those of others, on all cores.
func (f *fsck) contents(ctx context.Context) error {
	list, err := f.listBlobs()
	if err != nil {
		return err
	}
	for i := range f.o.Others {
		o := &f.o.Others[i]
		if size, ok := fileSize(o.Path); ok {
			list = append(list, reading{o.Path, blobID{o.Digest, false}, size, o})
		}
	}
	for _, r := range list {
		f.total += r.size
	}
	jobs := make(chan reading, 256) // files may be small
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(jobs)
		for _, r := range list {
			select {
			case jobs <- r:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	for range runtime.GOMAXPROCS(0) {
		g.Go(func() error {
			buf := make([]byte, 256<<10)
			for r := range jobs {
				if err := f.hash(ctx, r, buf); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err = g.Wait()
	f.report.Bytes = f.done.Load()
	return err
}

// listBlobs walks the directories of blobs. What is no blob there is said.
func (f *fsck) listBlobs() ([]reading, error) {
	top := f.s.path("blobs", "sha256")
	for _, dir := range []struct{ path, only string }{{f.s.path("blobs"), "sha256"}} {
		entries, err := readDir(dir.path)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if e.Name() != dir.only || !e.IsDir() {
				if err := f.foreign(filepath.Join(dir.path, e.Name())); err != nil {
					return nil, err
				}
			}
		}
	}
	dirs, err := readDir(top)
	if err != nil {
		return nil, err
	}
	var list []reading
	for _, d := range dirs {
		path := filepath.Join(top, d.Name())
		if !d.IsDir() || len(d.Name()) != 2 {
			if err := f.foreign(path); err != nil {
				return nil, err
			}
			continue
		}
		if list, err = f.listDir(path, list); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func (f *fsck) listDir(dir string, list []reading) ([]reading, error) {
	entries, err := readDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		path := dir + "/" + e.Name()
		d, ok := blobName(e.Name())
		id := blobID{d, ok && len(e.Name()) > 2*len(d)}
		if !ok || !e.Type().IsRegular() || f.s.blobPath(id.digest, id.exec) != path {
			if err := f.foreign(path); err != nil {
				return nil, err
			}
			continue
		}
		if size, ok := fileSize(path); ok { // else gc of another process, or a look-up, took it away
			list = append(list, reading{path, id, size, nil})
		}
	}
	return list, nil
}

func (f *fsck) foreign(path string) error {
	return f.found(Finding{
		Kind: FoundForeignFile, Object: f.name(path), Detail: "it is no blob, or not in its place",
		Effect: "none: no stage reads it", Remedy: remedyAside,
	}, f.aside(path))
}

// readDir is of a directory that may be lost, with all that was in it.
func readDir(path string) ([]fs.DirEntry, error) {
	entries, err := os.ReadDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return entries, err
}

// name is a path as the report gives it.
func (f *fsck) name(path string) string {
	if rel, err := filepath.Rel(f.s.dir, path); err == nil {
		return rel
	}
	return path
}

// hash compares a file with its name.
func (f *fsck) hash(ctx context.Context, r reading, buf []byte) error {
	// Bare system calls: for small files an os.File costs as much as hashing.
	fd, err := unix.Open(r.path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return &fs.PathError{Op: "open", Path: r.path, Err: err}
	}
	var before unix.Stat_t
	err = unix.Fstat(fd, &before)
	var sum Digest
	if err == nil {
		sum, err = f.sumOf(ctx, fd, buf)
	}
	err = errors.Join(err, unix.Close(fd))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil { // a disk that cannot be read is damage like any other
		return f.damaged(r, stampOf(&before), fmt.Sprintf("it cannot be read: %v", err))
	}
	if sum != r.id.digest {
		return f.damaged(r, stampOf(&before), "its content has the digest "+sum.String())
	}
	f.mu.Lock()
	if r.other == nil {
		f.files[r.id] = r.size
		f.report.Blobs++
	} else {
		f.report.Others++
	}
	f.mu.Unlock()
	if r.other != nil {
		return nil
	}
	return f.attributes(r, &before)
}

func (f *fsck) sumOf(ctx context.Context, fd int, buf []byte) (Digest, error) {
	h := sha256.New()
	for {
		if err := ctx.Err(); err != nil {
			return Digest{}, err
		}
		n, err := unix.Read(fd, buf)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return Digest{}, err
		case n == 0:
			return Digest(h.Sum(nil)), nil
		}
		h.Write(buf[:n])
		done := f.done.Add(int64(n))
		if f.o.Progress != nil {
			f.o.Progress(done, f.total)
		}
	}
}

func (f *fsck) damaged(r reading, st stamp, detail string) error {
	if r.other != nil {
		x := Finding{Kind: FoundDamagedOther, Object: f.name(r.path), Detail: r.other.What + ": " + detail, Effect: r.other.Effect, Remedy: r.other.Remedy}
		if !r.other.Drop {
			return f.found(x, nil)
		}
		return f.found(x, f.aside(r.path))
	}
	f.mu.Lock()
	f.bad[r.id] = detail
	f.mu.Unlock()
	return f.found(Finding{
		Kind: FoundDamagedBlob, Object: f.name(r.path), Detail: detail,
		Effect: "the results that it is part of are of no use: see there", Remedy: remedyAside,
	}, func() error {
		f.s.sound.drop(r.id)
		now, ok := stampAt(r.path)
		if !ok || now.ino != st.ino { // set aside by a look-up, or made again
			return nil
		}
		_, err := f.s.asideDamaged(r.path)
		return err
	})
}

// attributes looks at what else there is of a sound file.
func (f *fsck) attributes(r reading, st *unix.Stat_t) error {
	want := os.FileMode(modeFile)
	if r.id.exec {
		want = modeExec
	}
	if have := os.FileMode(st.Mode & 0o7777); have != want {
		if err := f.found(Finding{
			Kind: FoundWrongMode, Object: f.name(r.path), Detail: fmt.Sprintf("its mode is %04o instead of %04o", have, want),
			Effect: "a stage that reads it may see another mode, or be refused", Remedy: "the mode is set",
		}, func() error { return os.Chmod(r.path, want) }); err != nil {
			return err
		}
	}
	if stampOf(st).written() {
		return f.found(Finding{
			Kind: FoundWrongTime, Object: f.name(r.path), Detail: "its content is right, and it was written or copied since it came into the store",
			Effect: "a stage that reads it may see another time; it is hashed when it is used", Remedy: "the time is set",
		}, func() error { return os.Chtimes(r.path, ContentTime(), ContentTime()) })
	}
	return nil
}
