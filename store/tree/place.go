package tree

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"plumb/store"
)

// Item is an artifact at a slash-separated path of a placed directory; a tree at
// "" is the directory itself.
type Item struct {
	Path string
	store.Artifact
}

// Place gives a read-only directory that holds items. It is made once for the same
// items and stays until release is called. Large files are hard links to blobs,
// small ones are written; modes are 0444 and 0555, and every time is the same.
// Readers must not be able to write, whatever the modes: bind it read-only.
func Place(ctx context.Context, st *store.Store, items []Item) (dir string, release func(), err error) {
	items = slices.Clone(items)
	slices.SortFunc(items, func(a, b Item) int { return strings.Compare(a.Path, b.Path) })
	artifacts := make([]store.Artifact, len(items))
	for i, it := range items {
		artifacts[i] = it.Artifact
		if it.Path != "" && !filepath.IsLocal(it.Path) {
			return "", nil, fmt.Errorf("placing %q: the path leaves the directory", it.Path)
		}
	}
	leased := st.LeaseBlobs(artifacts...)
	defer leased()
	whole := func(at string) bool {
		p := placer{ctx: ctx, st: st, top: at}
		return p.intact(items)
	}
	return st.Placed(nameOf("directory", items), whole, func(tmp string) error {
		p := placer{ctx: ctx, st: st, top: tmp}
		return p.build(items)
	})
}

// PlaceArtifact gives a read-only file or directory that is the artifact.
func PlaceArtifact(ctx context.Context, st *store.Store, a store.Artifact) (at string, release func(), err error) {
	if a.Kind == store.KindTree {
		return Place(ctx, st, []Item{{Artifact: a}})
	}
	leased := st.LeaseBlobs(a)
	if a.Size > store.SmallBlob {
		at, err := st.SoundFile(a)
		if err != nil {
			leased()
			return "", nil, fmt.Errorf("placing: %w", err)
		}
		return at, leased, nil
	}
	defer leased()
	name := nameOf("file", []Item{{Artifact: a}})
	whole := func(at string) bool { return st.SoundLink(a, at) }
	return st.Placed(name, whole, func(tmp string) error {
		p := placer{ctx: ctx, st: st, top: tmp}
		return p.file("", a)
	})
}

// intact reports whether what was placed before is still what the items are: nobody
// wrote into a file, and none is missing.
func (p *placer) intact(items []Item) bool {
	file := func(rel string, a store.Artifact) bool {
		return p.ctx.Err() == nil && p.st.SoundLink(a, filepath.Join(p.top, rel))
	}
	for _, it := range items {
		if it.Kind != store.KindTree {
			if !file(it.Path, it.Artifact) {
				return false
			}
			continue
		}
		entries, err := ReadManifest(p.st, it.Artifact)
		if err != nil {
			return false
		}
		for i := range entries {
			e := &entries[i]
			at := path.Join(it.Path, e.Path)
			switch e.Kind {
			case KindFile:
				if !file(at, e.Artifact()) {
					return false
				}
			case KindLink:
				if to, err := os.Readlink(filepath.Join(p.top, at)); err != nil || to != e.Link {
					return false
				}
			default:
				if fi, err := os.Lstat(filepath.Join(p.top, at)); err != nil || !fi.IsDir() {
					return false
				}
			}
		}
	}
	return true
}

// nameOf tells placed things apart, every field with its length.
func nameOf(what string, items []Item) store.Digest {
	var b []byte
	add := func(s string) { b = append(binary.AppendUvarint(b, uint64(len(s))), s...) }
	add(what)
	for _, it := range items {
		add(it.Path)
		add(string(it.Kind))
		add(string(it.Digest[:]))
		add(fmt.Sprint(it.Exec))
	}
	return store.Sum(b)
}

// placer builds one directory at top.
type placer struct {
	ctx  context.Context
	st   *store.Store
	top  string
	dirs []string // relative to top, in the order they were made
	made map[string]bool
}

func (p *placer) build(items []Item) error {
	p.made = map[string]bool{}
	if err := p.dir(""); err != nil {
		return err
	}
	for _, it := range items {
		if err := p.item(it); err != nil {
			return fmt.Errorf("%q: %w", it.Path, err)
		}
	}
	// Children first: making something in a directory changes its time. The top
	// stays writable until it is in its place.
	for _, d := range slices.Backward(p.dirs) {
		if d != "" {
			if err := os.Chmod(filepath.Join(p.top, d), 0o555); err != nil {
				return err
			}
		}
		if err := os.Chtimes(filepath.Join(p.top, d), store.ContentTime(), store.ContentTime()); err != nil {
			return err
		}
	}
	return nil
}

func (p *placer) item(it Item) error {
	if it.Kind != store.KindTree {
		if err := p.dir(parentOf(it.Path)); err != nil {
			return err
		}
		return p.file(it.Path, it.Artifact)
	}
	if err := p.dir(it.Path); err != nil {
		return err
	}
	entries, err := ReadManifest(p.st, it.Artifact)
	if err != nil {
		return err
	}
	for i := range entries {
		e := &entries[i]
		at := path.Join(it.Path, e.Path)
		switch e.Kind {
		case KindDir:
			err = p.dir(at)
		case KindLink:
			err = os.Symlink(e.Link, filepath.Join(p.top, at))
		default:
			err = p.file(at, e.Artifact())
		}
		if err != nil {
			return fmt.Errorf("%q: %w", e.Path, err)
		}
	}
	return nil
}

func parentOf(p string) string {
	if d := path.Dir(p); d != "." {
		return d
	}
	return ""
}

// dir makes a directory with those above it.
func (p *placer) dir(rel string) error {
	if p.made[rel] {
		return nil
	}
	if rel != "" {
		if err := p.dir(parentOf(rel)); err != nil {
			return err
		}
	}
	if err := os.Mkdir(filepath.Join(p.top, rel), 0o755); err != nil {
		return err
	}
	p.made[rel] = true
	p.dirs = append(p.dirs, rel)
	return nil
}

func (p *placer) file(rel string, a store.Artifact) error {
	if err := p.ctx.Err(); err != nil {
		return err
	}
	dst := filepath.Join(p.top, rel)
	if a.Size <= store.SmallBlob {
		data, err := p.st.ReadBlob(a.Digest, store.SmallBlob)
		if err != nil {
			return err
		}
		return writeFile(dst, data, placedMode(a.Exec))
	}
	err := p.st.LinkBlob(a, dst)
	if errors.Is(err, unix.EMLINK) || errors.Is(err, unix.EPERM) {
		// The file system allows no more links to this blob, or none at all.
		return p.copy(a, dst)
	}
	return err
}

func placedMode(exec bool) fs.FileMode {
	if exec {
		return 0o555
	}
	return 0o444
}

// writeFile makes a file with exactly that mode, whatever the umask.
func writeFile(path string, data []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, settle(f, mode))
}

func (p *placer) copy(a store.Artifact, dst string) error {
	f, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	cloned, err := clone(p.st, f, a)
	if !cloned && err == nil {
		err = p.st.CopyBlob(f, a)
	}
	return errors.Join(err, settle(f, placedMode(a.Exec)))
}

// settle gives a written file its mode and time, and closes it.
func settle(f *os.File, mode fs.FileMode) error {
	err := f.Chmod(mode)
	if err == nil {
		tv := unix.NsecToTimeval(store.ContentTime().UnixNano())
		err = unix.Futimes(int(f.Fd()), []unix.Timeval{tv, tv})
	}
	return errors.Join(err, f.Close())
}

// ReadManifest gives what is in a tree of the store.
func ReadManifest(st *store.Store, a store.Artifact) ([]Entry, error) {
	const most = 1 << 30
	b, err := st.ReadBlob(a.Digest, most)
	if err != nil {
		return nil, err
	}
	entries, err := Decode(b)
	if err != nil {
		return nil, fmt.Errorf("the manifest %q: %w", a.Digest, err)
	}
	return entries, nil
}
