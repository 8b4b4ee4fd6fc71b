package faultfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const (
	rootIno  = 1
	pageSize = 4096
)

// Tree is the state of a file system.
type Tree struct{ nodes map[uint64]*node }

// node is a file, a directory or a symlink. Content is kept by pages, since most of
// a mapped log is a hole.
type node struct {
	mode     uint32 // with the kind
	uid, gid uint32
	atime    int64
	mtime    int64
	ctime    int64
	links    int
	size     int64
	pages    map[int64]*[pageSize]byte
	target   string
	entries  map[string]uint64
}

// name is an entry of a directory.
type name struct {
	name string
	ino  uint64
}

func newTree() *Tree {
	t := &Tree{nodes: map[uint64]*node{}}
	t.born(&Op{Ino: rootIno, Mode: unix.S_IFDIR | 0o755, At: time.Now().UnixNano()})
	return t
}

func (n *node) kind() uint32 { return n.mode & unix.S_IFMT }

func (t *Tree) born(op *Op) {
	n := &node{mode: op.Mode, uid: op.UID, gid: op.GID, atime: op.At, mtime: op.At, ctime: op.At, target: op.Target}
	switch n.kind() {
	case unix.S_IFDIR:
		n.entries, n.links = map[string]uint64{}, 2
	case unix.S_IFLNK:
		n.size = int64(len(op.Target))
	default:
		n.pages = map[int64]*[pageSize]byte{}
	}
	t.nodes[op.Ino] = n
}

// apply makes a change.
func (t *Tree) apply(op *Op) {
	switch op.Kind {
	case Make:
		t.born(op)
		t.set(op.Dir, op.Name, op.Ino, op.At)
	case Link:
		t.set(op.Dir, op.Name, op.Ino, op.At)
	case Remove:
		t.unset(op.Dir, op.Name, op.At)
	case Rename:
		t.unset(op.Dir, op.Name, op.At)
		t.set(op.ToDir, op.ToName, op.Ino, op.At)
	case Exchange:
		t.set(op.Dir, op.Name, op.ToIno, op.At)
		t.set(op.ToDir, op.ToName, op.Ino, op.At)
	case Write:
		t.nodes[op.Ino].write(op.Off, op.Data)
		t.nodes[op.Ino].mtime, t.nodes[op.Ino].ctime = op.At, op.At
	case Resize:
		t.nodes[op.Ino].resize(op.Off)
		t.nodes[op.Ino].mtime, t.nodes[op.Ino].ctime = op.At, op.At
	case Attr:
		op.set(t.nodes[op.Ino])
	}
}

func (t *Tree) set(dir uint64, name string, ino uint64, at int64) {
	t.unset(dir, name, at)
	t.nodes[dir].entries[name] = ino
	if n := t.nodes[ino]; n.kind() != unix.S_IFDIR {
		n.links++
	}
}

func (t *Tree) unset(dir uint64, name string, at int64) {
	d := t.nodes[dir]
	d.mtime, d.ctime = at, at
	ino, ok := d.entries[name]
	if !ok {
		return
	}
	delete(d.entries, name)
	n := t.nodes[ino]
	n.ctime = at
	n.links--
}

func (n *node) write(off int64, data []byte) {
	n.size = max(n.size, off+int64(len(data)))
	for len(data) > 0 {
		p := n.pages[off/pageSize]
		if p == nil {
			p = new([pageSize]byte)
			n.pages[off/pageSize] = p
		}
		done := copy(p[off%pageSize:], data)
		off, data = off+int64(done), data[done:]
	}
}

func (n *node) resize(size int64) {
	for at, p := range n.pages {
		switch from := at * pageSize; {
		case from >= size:
			delete(n.pages, at)
		case from+pageSize > size:
			clear(p[size-from:])
		}
	}
	n.size = size
}

// read gives at most so many bytes.
func (n *node) read(off int64, most int) []byte {
	if off >= n.size {
		return nil
	}
	out := make([]byte, min(int64(most), n.size-off))
	for done := 0; done < len(out); {
		at := off + int64(done)
		step := min(pageSize-int(at%pageSize), len(out)-done)
		if p := n.pages[at/pageSize]; p != nil {
			copy(out[done:done+step], p[at%pageSize:])
		}
		done += step
	}
	return out
}

// list gives a directory's entries in order.
func (n *node) list() []name {
	out := make([]name, 0, len(n.entries))
	for s, ino := range n.entries {
		out = append(out, name{s, ino})
	}
	slices.SortFunc(out, func(a, b name) int {
		if a.name < b.name {
			return -1
		}
		return 1
	})
	return out
}

// path finds a way to an inode, for messages.
func (t *Tree) path(ino uint64) string {
	if ino == rootIno {
		return "/"
	}
	for dir, n := range t.nodes {
		for s, i := range n.entries {
			if i == ino {
				return filepath.Join(t.path(dir), s)
			}
		}
	}
	return fmt.Sprintf("(inode %d)", ino)
}

// WriteTo makes the tree below dir, on an ordinary file system.
func (t *Tree) WriteTo(dir string) error {
	w := writer{t: t, made: map[uint64]string{}}
	if err := w.dir(rootIno, dir); err != nil {
		return fmt.Errorf("writing out a tree of faultfs: %w", err)
	}
	return nil
}

type writer struct {
	t    *Tree
	made map[uint64]string // files, by inode: one with two names is a hard link
}

func (w *writer) dir(ino uint64, path string) error {
	n := w.t.nodes[ino]
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	for _, e := range n.list() {
		if err := w.node(e.ino, filepath.Join(path, e.name)); err != nil {
			return err
		}
	}
	return w.finish(n, path)
}

func (w *writer) node(ino uint64, path string) error {
	n := w.t.nodes[ino]
	if first, ok := w.made[ino]; ok {
		return os.Link(first, path)
	}
	switch n.kind() {
	case unix.S_IFDIR:
		return w.dir(ino, path)
	case unix.S_IFLNK:
		return os.Symlink(n.target, path)
	case unix.S_IFREG:
		w.made[ino] = path
		if err := n.writeFile(path); err != nil {
			return err
		}
		return w.finish(n, path)
	}
	return nil // a socket or a FIFO says nothing about a disk
}

func (n *node) writeFile(path string) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for at, p := range n.pages {
		from := at * pageSize
		if from >= n.size {
			continue
		}
		if _, err := f.WriteAt(p[:min(pageSize, n.size-from)], from); err != nil {
			return err
		}
	}
	return f.Truncate(n.size)
}

func (w *writer) finish(n *node, path string) error {
	return errors.Join(os.Chmod(path, os.FileMode(n.mode&0o777)), os.Chtimes(path, time.Unix(0, n.atime), time.Unix(0, n.mtime)))
}
