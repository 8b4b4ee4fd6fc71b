package store

import (
	"errors"
	"fmt"
	"strings"
)

// EntryKind is the kind of a tree's entry.
type EntryKind byte

// The kinds of entry.
const (
	EntryFile EntryKind = 'f'
	EntryDir  EntryKind = 'd'
	EntryLink EntryKind = 'l'
)

// Entry is one path of a tree. Path is slash-separated, relative to the root, and
// may hold any bytes but NUL. Exec, Size and Digest are a file's, Link is what a
// symlink says. The root itself is no entry.
type Entry struct {
	Path   string
	Kind   EntryKind
	Exec   bool
	Size   int64
	Digest Digest
	Link   string
}

// Artifact is the content of a file's entry.
func (e *Entry) Artifact() Artifact {
	return Artifact{Kind: KindFile, Digest: e.Digest, Size: e.Size, Exec: e.Exec}
}

// A manifest is a first line and then every entry, ordered by the bytes of the
// path:
//
//	kind ('f', 'x' executable, 'd', 'l'), length of path, path,
//	f and x: size, digest; l: length of target, target
//
// Numbers are varints in their shortest form. Every directory has an entry, so
// an empty one is kept, and there is exactly one manifest for one tree.
const manifestMagic = "plumb tree 1\n"

var errManifest = errors.New("it is no tree manifest")

// EncodeTree writes the manifest of entries, which must be sorted by Path.
func EncodeTree(entries []Entry) []byte {
	w := &writer{b: make([]byte, 0, len(manifestMagic)+64*len(entries))}
	w.b = append(w.b, manifestMagic...)
	for i := range entries {
		e := &entries[i]
		kind := byte(e.Kind)
		if e.Kind == EntryFile && e.Exec {
			kind = 'x'
		}
		w.b = append(w.b, kind)
		w.string(e.Path)
		switch e.Kind {
		case EntryFile:
			w.uint(uint64(e.Size))
			w.b = append(w.b, e.Digest[:]...)
		case EntryLink:
			w.string(e.Link)
		}
	}
	return w.b
}

// DecodeTree reads a manifest. It accepts nothing that EncodeTree would not write
// for a tree that can exist.
func DecodeTree(b []byte) ([]Entry, error) {
	rest, ok := strings.CutPrefix(string(b), manifestMagic)
	if !ok {
		return nil, errManifest
	}
	// One string is shared by all paths: decoding allocates three times in all.
	m := manifest{rest: rest}
	entries := make([]Entry, 0, len(rest)/48)
	dirs := map[string]bool{}
	for len(m.rest) > 0 {
		e, err := m.entry()
		if err != nil {
			return nil, err
		}
		if n := len(entries); n > 0 && entries[n-1].Path >= e.Path {
			return nil, fmt.Errorf("%w: %q is out of order", errManifest, e.Path)
		}
		if i := strings.LastIndexByte(e.Path, '/'); i >= 0 && !dirs[e.Path[:i]] {
			return nil, fmt.Errorf("%w: %q has no directory", errManifest, e.Path)
		}
		if e.Kind == EntryDir {
			dirs[e.Path] = true
		}
		entries = append(entries, e)
	}
	return entries, nil
}

type manifest struct{ rest string }

func (m *manifest) entry() (Entry, error) {
	kind := m.rest[0]
	m.rest = m.rest[1:]
	path, ok := m.string()
	if !ok || !validPath(path) {
		return Entry{}, fmt.Errorf("%w: a path is not valid", errManifest)
	}
	e := Entry{Path: path, Kind: EntryKind(kind)}
	switch kind {
	case 'x', 'f':
		e.Kind, e.Exec = EntryFile, kind == 'x'
		size, ok := m.uint()
		if !ok || size > 1<<62 || len(m.rest) < len(e.Digest) {
			return Entry{}, errManifest
		}
		e.Size = int64(size)
		copy(e.Digest[:], m.rest)
		m.rest = m.rest[len(e.Digest):]
	case 'l':
		if e.Link, ok = m.string(); !ok || e.Link == "" || strings.IndexByte(e.Link, 0) >= 0 {
			return Entry{}, errManifest
		}
	case 'd':
	default:
		return Entry{}, fmt.Errorf("%w: unknown kind %q", errManifest, kind)
	}
	return e, nil
}

// uint reads a varint and refuses a longer form than needed.
func (m *manifest) uint() (v uint64, ok bool) {
	for i := 0; i < len(m.rest) && i < 10; i++ {
		c := m.rest[i]
		if i == 9 && c > 1 {
			return 0, false
		}
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			m.rest = m.rest[i+1:]
			return v, i == 0 || c != 0
		}
	}
	return 0, false
}

func (m *manifest) string() (string, bool) {
	n, ok := m.uint()
	if !ok || n > uint64(len(m.rest)) {
		return "", false
	}
	s := m.rest[:n]
	m.rest = m.rest[n:]
	return s, true
}

// validPath accepts clean relative paths with no dots to climb by.
func validPath(p string) bool {
	if strings.IndexByte(p, 0) >= 0 {
		return false
	}
	for rest, more := p, true; more; {
		var name string
		name, rest, more = strings.Cut(rest, "/")
		if name == "" || name == "." || name == ".." {
			return false
		}
	}
	return true
}
