package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"plumb/store"
)

// portion is how many names of a directory one goroutine looks at: fewer are not
// worth handing over.
const portion = 256

// walker lists one directory of the project, on all cores.
type walker struct {
	sc    *Scanner
	ctx   context.Context
	batch *store.Batch
	top   string // the directory
	base  string // its path in the project, with a slash unless that is the root
	group errgroup.Group
}

// found is an entry, or what is below it when it is a directory.
type found struct {
	entry Entry
	below []found
}

// walk gives everything in a directory, sorted by path.
func (sc *Scanner) walk(ctx context.Context, full string, b *store.Batch) ([]Entry, error) {
	w := &walker{sc: sc, ctx: ctx, batch: b, top: full}
	if in := sc.inProject(full); in != "" {
		w.base = in + "/"
	}
	w.group.SetLimit(runtime.GOMAXPROCS(0))
	var list []found
	err := w.dir("", &list)
	if err = errors.Join(err, w.group.Wait()); err != nil {
		return nil, err
	}
	entries := flatten(nil, list)
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Path, b.Path) })
	return entries, nil
}

func flatten(entries []Entry, list []found) []Entry {
	for i := range list {
		entries = flatten(append(entries, list[i].entry), list[i].below)
	}
	return entries
}

// dir lists the directory at rel, "" for the top.
func (w *walker) dir(rel string, list *[]found) error {
	d, err := os.Open(path.Join(w.top, rel))
	if err != nil {
		return err
	}
	names, err := d.Readdirnames(-1)
	if err != nil {
		return errors.Join(err, d.Close())
	}
	*list = make([]found, len(names))
	var err2 error
	for from := 0; from < len(names); from += portion {
		part, out := names[from:min(from+portion, len(names))], (*list)[from:]
		if len(names) > portion {
			err2 = errors.Join(err2, w.spread(func() error { return w.names(path.Join(w.top, rel), rel, part, out) }))
		} else {
			err2 = w.namesIn(d, rel, part, out)
		}
	}
	return errors.Join(err2, d.Close())
}

// spread runs fn in another goroutine if there is one to be had.
func (w *walker) spread(fn func() error) error {
	if w.group.TryGo(fn) {
		return nil
	}
	return fn()
}

func (w *walker) names(full, rel string, names []string, out []found) error {
	d, err := os.Open(full)
	if err != nil {
		return err
	}
	return errors.Join(w.namesIn(d, rel, names, out), d.Close())
}

func (w *walker) namesIn(d *os.File, rel string, names []string, out []found) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	if rel != "" {
		rel += "/"
	}
	for i, name := range names {
		if err := w.one(int(d.Fd()), name, rel+name, &out[i]); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) one(dir int, name, rel string, out *found) error {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &fs.PathError{Op: "lstat", Path: rel, Err: err}
	}
	var err error
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		var a store.Artifact
		if a, err = w.sc.file(dir, name, w.base+rel, &st, w.batch); err == nil {
			out.entry = Entry{Path: rel, Kind: KindFile, Exec: a.Exec, Size: a.Size, Digest: a.Digest}
		}
	case unix.S_IFDIR:
		out.entry = Entry{Path: rel, Kind: KindDir}
		return w.spread(func() error { return w.dir(rel, &out.below) })
	case unix.S_IFLNK:
		out.entry, err = w.link(dir, name, rel)
	default:
		err = special(&st)
	}
	if err != nil {
		return fmt.Errorf("%q: %w", rel, err)
	}
	return nil
}

func (w *walker) link(dir int, name, rel string) (Entry, error) {
	target, err := readLink(dir, name)
	if err != nil {
		return Entry{}, err
	}
	if !w.sc.anyLink && leaves(w.base+rel, target) {
		return Entry{}, fmt.Errorf("it is a symlink that leaves the project, to %q", target)
	}
	return Entry{Path: rel, Kind: KindLink, Link: target}, nil
}

// leaves reports whether a symlink at a path leads above what that path is
// relative to.
func leaves(at, target string) bool {
	if path.IsAbs(target) {
		return true
	}
	to := path.Join(path.Dir(at), target)
	return to == ".." || strings.HasPrefix(to, "../")
}

func readLink(dir int, name string) (string, error) {
	for size := 256; ; size *= 2 {
		b := make([]byte, size)
		n, err := unix.Readlinkat(dir, name, b)
		if err != nil {
			return "", &fs.PathError{Op: "readlink", Path: name, Err: err}
		}
		if n < size {
			return string(b[:n]), nil
		}
	}
}
