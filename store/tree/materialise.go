package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"plumb/store"
)

// MaterialiseOptions says how files come to be. With ReadOnlyLinks a large file
// that cannot be cloned is a read-only hard link to its blob instead of a copy.
type MaterialiseOptions struct {
	ReadOnlyLinks bool
	Quick         bool              // a copy of what is known to be right, by its times, is not hashed
	Wrote         func(bytes int64) // told after each file, from one goroutine at a time; may be nil
}

// Materialise makes a file or directory at dest that belongs to the caller, in
// place of what is there. It is made beside dest and renamed, so that dest is
// never half of it. Modes follow the umask.
func Materialise(ctx context.Context, st *store.Store, a store.Artifact, dest string, o MaterialiseOptions) error {
	defer st.LeaseBlobs(a)()
	if err := materialise(ctx, st, a, dest, o); err != nil {
		return fmt.Errorf("writing %q: %w", dest, err)
	}
	return nil
}

func materialise(ctx context.Context, st *store.Store, a store.Artifact, dest string, o MaterialiseOptions) (err error) {
	if err := os.MkdirAll(filepath.Dir(dest), 0o777); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dest), ".plumb-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	m := &materialiser{ctx, st, o}
	made := filepath.Join(tmp, "new")
	if a.Kind == store.KindTree {
		err = m.tree(made, a)
	} else {
		err = m.file(made, a)
	}
	if err != nil {
		return err
	}
	return replace(made, dest, filepath.Join(tmp, "old"))
}

// replace renames made to dest. What a rename cannot replace goes aside first,
// and comes back if the rename fails.
func replace(made, dest, aside string) error {
	err := os.Rename(made, dest)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, lerr := os.Lstat(dest); lerr != nil {
		return err
	}
	if err := os.Rename(dest, aside); err != nil {
		return err
	}
	if err := os.Rename(made, dest); err != nil {
		return errors.Join(err, os.Rename(aside, dest))
	}
	return nil
}

type materialiser struct {
	ctx context.Context
	st  *store.Store
	o   MaterialiseOptions
}

func (m *materialiser) tree(top string, a store.Artifact) error {
	entries, err := ReadManifest(m.st, a)
	if err != nil {
		return err
	}
	if err := os.Mkdir(top, 0o777); err != nil {
		return err
	}
	for i := range entries {
		e := &entries[i]
		at := filepath.Join(top, e.Path)
		switch e.Kind {
		case KindDir:
			err = os.Mkdir(at, 0o777)
		case KindLink:
			err = os.Symlink(e.Link, at)
		default:
			err = m.file(at, e.Artifact())
		}
		if err != nil {
			return fmt.Errorf("%q: %w", e.Path, err)
		}
	}
	return nil
}

func (m *materialiser) file(dst string, a store.Artifact) error {
	if err := m.ctx.Err(); err != nil {
		return err
	}
	mode := fs.FileMode(0o666)
	if a.Exec {
		mode = 0o777
	}
	if m.o.Wrote != nil {
		defer m.o.Wrote(a.Size)
	}
	if a.Size <= store.SmallBlob {
		data, err := m.st.ReadBlob(a.Digest, store.SmallBlob)
		if err != nil {
			return err
		}
		return os.WriteFile(dst, data, mode)
	}
	f, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	return errors.Join(m.content(f, a, dst), f.Close())
}

// content makes f, which is dst, what the blob is: a clone, which shares its blocks, a
// link where that is wanted, else a copy. A clone or a link is of a file whose content
// is known, a copy is hashed on its way unless it is to be quick.
func (m *materialiser) content(f *os.File, a store.Artifact, dst string) error {
	if cloned, err := clone(m.st, f, a); cloned || err != nil {
		return err
	}
	if m.o.ReadOnlyLinks {
		link := dst + ".link"
		err := m.st.LinkBlob(a, link)
		if err == nil {
			return os.Rename(link, dst)
		}
		if errors.Is(err, store.ErrDamaged) || errors.Is(err, store.ErrNotFound) {
			return err
		} // another file system, too many links: a copy will do
	}
	if m.o.Quick {
		return m.st.CopySound(f, a)
	}
	return m.st.CopyBlob(f, a)
}

// clone makes f share the blocks of a blob's file, where the file system can do that.
func clone(st *store.Store, f *os.File, a store.Artifact) (bool, error) {
	path, ok := st.BlobFile(a)
	if !ok {
		return false, nil // copying says why
	}
	in, err := os.Open(path)
	if err != nil {
		return false, err
	}
	cloned := unix.IoctlFileClone(int(f.Fd()), int(in.Fd())) == nil
	if err := in.Close(); err != nil || !cloned {
		return false, err
	}
	_, err = st.SoundFile(a)
	return true, err
}

// Same reports whether dest is a file or directory with exactly the content of
// the artifact. It reads all of dest that it has to.
func Same(ctx context.Context, _ *store.Store, a store.Artifact, dest string) (bool, error) {
	fi, err := os.Lstat(dest)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("comparing %q: %w", dest, err)
	case a.Kind == store.KindTree:
		if !fi.IsDir() {
			return false, nil
		}
	case !fi.Mode().IsRegular() || fi.Size() != a.Size || fi.Mode()&0o100 != 0 != a.Exec:
		return false, nil
	}
	got, err := contentOf(ctx, dest, a.Kind)
	if errors.Is(err, errSpecial) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("comparing %q: %w", dest, err)
	}
	return got == a.Digest, nil
}

func contentOf(ctx context.Context, dest string, kind store.Kind) (store.Digest, error) {
	sc := &Scanner{root: dest, anyLink: true}
	if kind == store.KindTree {
		sc.cache.files = map[string]remembered{}
		entries, err := sc.walk(ctx, dest, nil)
		return store.Sum(Encode(entries)), err
	}
	a, err := sc.read(unix.AT_FDCWD, dest, nil, forget)
	return a.Digest, err
}
