package faultfs

import (
	"fmt"
	"math/rand/v2"
)

// Kind says what a change does.
type Kind int

// The kinds of change. Sync is of a file or a directory; a mark is a word of the
// program's, and no change.
const (
	Make Kind = iota
	Link
	Remove
	Rename
	Exchange
	Write
	Resize
	Attr
	Sync
	Words
)

// Op is one change.
type Op struct {
	Kind   Kind
	Ino    uint64
	Dir    uint64 // of Name
	Name   string
	ToDir  uint64 // of ToName, where a rename leads
	ToName string
	ToIno  uint64 // what is exchanged for Ino
	Off    int64  // of Data, or the new size
	Data   []byte
	Target string // of a symlink
	Failed bool   // of a sync
	Words  string

	Mode, UID, GID uint32
	Times          [2]int64 // access, modification
	Has            Fields   // which of those an Attr sets
	At             int64    // when
}

// Fields are those of an Attr.
type Fields struct{ Mode, UID, GID, Atime, Mtime bool }

func (op *Op) set(n *node) {
	if op.Has.Mode {
		n.mode = n.kind() | op.Mode&0o7777
	}
	if op.Has.UID {
		n.uid = op.UID
	}
	if op.Has.GID {
		n.gid = op.GID
	}
	if op.Has.Atime {
		n.atime = op.Times[0]
	}
	if op.Has.Mtime {
		n.mtime = op.Times[1]
	}
	n.ctime = op.At
}

// describe says what a change does, in the words of system calls.
func (t *Tree) describe(op *Op) string {
	at := func(dir uint64, name string) string { return t.path(dir) + "/" + name }
	switch op.Kind {
	case Make:
		return fmt.Sprintf("make %s (mode %o)", at(op.Dir, op.Name), op.Mode)
	case Link:
		return fmt.Sprintf("link %s as %s", t.path(op.Ino), at(op.Dir, op.Name))
	case Remove:
		return "remove " + at(op.Dir, op.Name)
	case Rename:
		return fmt.Sprintf("rename %s to %s", at(op.Dir, op.Name), at(op.ToDir, op.ToName))
	case Exchange:
		return fmt.Sprintf("exchange %s and %s", at(op.Dir, op.Name), at(op.ToDir, op.ToName))
	case Write:
		return fmt.Sprintf("write %d bytes at %d of %s", len(op.Data), op.Off, t.path(op.Ino))
	case Resize:
		return fmt.Sprintf("resize %s to %d", t.path(op.Ino), op.Off)
	case Attr:
		return "set attributes of " + t.path(op.Ino)
	case Sync:
		return "sync " + t.path(op.Ino)
	}
	return "mark " + op.Words
}

// Journal is every change in order.
type Journal []Op

// Marks are the words among the first n changes.
func (j Journal) Marks(n int) []string {
	var out []string
	for i := range j[:n] {
		if j[i].Kind == Words {
			out = append(out, j[i].Words)
		}
	}
	return out
}

// Describe says what the nth change does, counted from 0.
func (j Journal) Describe(n int) string {
	t := newTree()
	for i := range j[:n] {
		t.apply(&j[i])
	}
	return t.describe(&j[n])
}

// Model says what a power cut leaves of what was not synced.
type Model int

const (
	// Strict leaves what POSIX promises and nothing else: a file's content and
	// attributes as of its own last sync, a directory's entries as of its own.
	Strict Model = iota
	// Named is Strict but for one thing: syncing a file makes the name durable by which
	// it was last made, linked or renamed. No file system of Linux does without that,
	// and there are programs that rely on it.
	Named
	// Ordered leaves what ext4, XFS and btrfs promise besides: changes of names,
	// sizes and attributes survive in order, and any sync takes along all that came
	// before it. Content survives by its own file's sync.
	Ordered
)

func (m Model) String() string { return [...]string{"strict", "named", "ordered"}[m] }

// Survivor is the state after a power cut that comes when the first n changes are
// done. With a seed, each change that did not have to survive does so at a coin's
// toss, written pages each by themselves; without one none of them does. What a
// failed sync should have written is lost also when a later one succeeds.
func (j Journal) Survivor(n int, m Model, seed uint64) *Tree {
	s := survival{j: j[:n], m: m}
	if seed != 0 {
		s.coin = rand.New(rand.NewPCG(seed, uint64(n)))
	}
	s.look()
	t := newTree()
	for i := range s.j {
		if s.j[i].Kind == Make {
			t.born(&s.j[i]) // whether anything leads to it is another matter
		}
	}
	for i := range s.j {
		s.replay(t, i)
	}
	return t
}

// Whole is the state after the first n changes when nothing is lost.
func (j Journal) Whole(n int) *Tree {
	t := newTree()
	for i := range j[:n] {
		t.apply(&j[i])
	}
	return t
}

// survival knows which changes are safe: content of the change's own file, entries of
// its directory, and of the directory it leads to.
type survival struct {
	j    Journal
	m    Model
	coin *rand.Rand
	own  []bool
	dir  []bool
	to   []bool
	page map[pageOf]int // the last write to a page that is safe
}

type pageOf struct {
	ino  uint64
	page int64
}

// look goes backwards: the next sync of what a change concerns decides.
func (s *survival) look() {
	s.own, s.dir, s.to = make([]bool, len(s.j)), make([]bool, len(s.j)), make([]bool, len(s.j))
	s.page = map[pageOf]int{}
	next := map[uint64]bool{} // inode → whether its next sync succeeds
	any := false
	for i := len(s.j) - 1; i >= 0; i-- {
		op := &s.j[i]
		if op.Kind == Sync {
			next[op.Ino] = !op.Failed
			any = any || !op.Failed
			continue
		}
		s.own[i], s.dir[i], s.to[i] = next[op.Ino], next[op.Dir], next[op.ToDir]
		if s.m == Named && next[op.Ino] {
			s.dir[i], s.to[i] = s.dir[i] || op.Kind == Make || op.Kind == Link, true
		}
		if s.m == Ordered && any {
			s.own[i] = s.own[i] || op.Kind != Write
			s.dir[i], s.to[i] = true, true
		}
		if op.Kind == Write && s.own[i] {
			s.noteSafe(i)
		}
	}
}

// noteSafe remembers a write that is safe: a page is written as a whole, and so takes
// along what was written to it before and met a sync that failed.
func (s *survival) noteSafe(i int) {
	op := &s.j[i]
	for at := op.Off / pageSize; at*pageSize < op.Off+int64(len(op.Data)); at++ {
		if p := (pageOf{op.Ino, at}); s.page[p] < i {
			s.page[p] = i
		}
	}
}

func (s *survival) lucky() bool { return s.coin != nil && s.coin.IntN(2) == 0 }

func (s *survival) replay(t *Tree, i int) {
	op := &s.j[i]
	switch op.Kind {
	case Make, Link:
		if s.dir[i] || s.lucky() {
			t.set(op.Dir, op.Name, op.Ino, op.At)
		}
	case Remove:
		if s.dir[i] || s.lucky() {
			t.unset(op.Dir, op.Name, op.At)
		}
	case Rename:
		s.rename(t, i)
	case Exchange: // as a whole, and in one directory only
		if s.dir[i] || s.lucky() {
			t.apply(op)
		}
	case Write:
		s.write(t.nodes[op.Ino], i)
	case Resize, Attr:
		if s.own[i] || s.lucky() {
			t.apply(op)
		}
	}
}

// rename keeps both halves together where the coin decides: no file system tears
// them. Where a sync decides it may be of one directory only.
func (s *survival) rename(t *Tree, i int) {
	op := &s.j[i]
	luck := s.lucky()
	if s.dir[i] || luck {
		if t.nodes[op.Dir].entries[op.Name] == op.Ino {
			t.unset(op.Dir, op.Name, op.At)
		}
	}
	if s.to[i] || luck {
		t.set(op.ToDir, op.ToName, op.Ino, op.At)
	}
}

func (s *survival) write(n *node, i int) {
	op := &s.j[i]
	if s.own[i] {
		n.write(op.Off, op.Data)
		return
	}
	for off, data := op.Off, op.Data; len(data) > 0; {
		step := min(pageSize-int(off%pageSize), len(data))
		if last, ok := s.page[pageOf{op.Ino, off / pageSize}]; ok && i <= last || s.lucky() {
			n.write(off, data[:step])
		}
		off, data = off+int64(step), data[step:]
	}
}
