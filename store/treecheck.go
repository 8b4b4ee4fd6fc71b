package store

import (
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// A tree of ten thousand files that a hundred stages read would be looked at a
// million times. So a large tree that was found whole is remembered together
// with the directories its members' blobs lie in: a file that disappears changes
// its directory, and at most 256 of those need a look. Small blobs only
// disappear through gc, which empties the memo.

// memoFrom is the number of members from which remembering repays.
const memoFrom = 512

// memoSlack is more than a tick of the kernel's coarse clock: a directory whose
// time is not older by that may change again unseen.
const memoSlack = 20 * time.Millisecond

type treeMemo struct {
	mu    sync.Mutex
	whole map[Digest]wholeTree
}

type wholeTree struct {
	when time.Time
	dirs [256]bool
}

func (m *treeMemo) get(d Digest) (wholeTree, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w, ok := m.whole[d]
	return w, ok
}

func (m *treeMemo) put(d Digest, w wholeTree) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.whole == nil || len(m.whole) >= 1024 {
		m.whole = map[Digest]wholeTree{}
	}
	m.whole[d] = w
}

func (m *treeMemo) clear() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.whole = nil
}

func (s *Store) checkTree(txn *badger.Txn, a Artifact) error {
	if w, ok := s.trees.get(a.Digest); ok && s.unchanged(&w) {
		return nil
	}
	started := time.Now() // the file system's clock, not the caller's
	b, err := s.readBlobIn(txn, a.Digest, maxPayload)
	if err != nil {
		return fmt.Errorf("the manifest %q: %w", a.Digest, err)
	}
	entries, err := DecodeTree(b)
	if err != nil {
		return fmt.Errorf("the manifest %q: %w", a.Digest, err)
	}
	w := wholeTree{when: started.Add(-memoSlack)}
	w.dirs[a.Digest[0]] = true
	for i := range entries {
		if entries[i].Kind != EntryFile {
			continue
		}
		if err := s.checkFile(txn, entries[i].Artifact()); err != nil {
			return fmt.Errorf("%q in it: %w", entries[i].Path, err)
		}
		if entries[i].Size > SmallBlob {
			w.dirs[entries[i].Digest[0]] = true
		}
	}
	if len(entries) >= memoFrom {
		s.trees.put(a.Digest, w)
	}
	return nil
}

// unchanged reports whether none of the directories changed since.
func (s *Store) unchanged(w *wholeTree) bool {
	for i, in := range w.dirs {
		if !in {
			continue
		}
		fi, err := os.Lstat(fmt.Sprintf("%s/blobs/sha256/%02x", s.dir, i))
		if err != nil || !fi.ModTime().Before(w.when) {
			return false
		}
	}
	return true
}
