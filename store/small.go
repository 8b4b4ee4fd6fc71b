package store

import (
	"errors"
	"fmt"
	"os"
	"slices"
)

// smallBlobs are the small contents of a batch. They are kept in memory up to a limit:
// a stage may write a million files of a few kilobytes, and the process that takes them
// over also runs other stages. What is beyond lies in a file without a name, and is read
// again when it is committed.
type smallBlobs struct {
	held  map[Digest][]byte
	bytes int // of held
	rest  map[Digest]span
	file  *os.File // nil while there is no rest
	end   int64    // of file
}

// span is where a content lies in the file.
type span struct {
	from int64
	size int
}

// maxHeld is how many bytes of small contents a batch keeps in memory.
const maxHeld = 32 << 20

func newSmallBlobs() smallBlobs {
	return smallBlobs{held: map[Digest][]byte{}, rest: map[Digest]span{}}
}

// put keeps data, which nobody changes any more.
func (b *smallBlobs) put(s *Store, d Digest, data []byte) error {
	if b.has(d) {
		return nil
	}
	if b.bytes+len(data) <= maxHeld {
		b.held[d] = data
		b.bytes += len(data)
		return nil
	}
	if b.file == nil {
		f, err := s.createTemp()
		if err != nil {
			return fmt.Errorf("making a temporary file: %w", err)
		}
		if err := os.Remove(f.Name()); err != nil {
			return errors.Join(err, f.Close())
		}
		b.file = f
	}
	if _, err := b.file.WriteAt(data, b.end); err != nil {
		return fmt.Errorf("keeping content: %w", err)
	}
	b.rest[d] = span{b.end, len(data)}
	b.end += int64(len(data))
	return nil
}

func (b *smallBlobs) has(d Digest) bool {
	_, held := b.held[d]
	_, rest := b.rest[d]
	return held || rest
}

// get is the content of one that is there.
func (b *smallBlobs) get(d Digest) ([]byte, error) {
	if data, ok := b.held[d]; ok {
		return data, nil
	}
	at := b.rest[d]
	data := make([]byte, at.size)
	if _, err := b.file.ReadAt(data, at.from); err != nil {
		return nil, fmt.Errorf("reading back %q: %w", d, err)
	}
	if Sum(data) != d {
		return nil, fmt.Errorf("reading back %q: its content is damaged", d)
	}
	return data, nil
}

func (b *smallBlobs) len() int { return len(b.held) + len(b.rest) }

// digests are those of all, in order.
func (b *smallBlobs) digests() []Digest {
	all := make([]Digest, 0, b.len())
	for d := range b.held {
		all = append(all, d)
	}
	for d := range b.rest {
		all = append(all, d)
	}
	slices.SortFunc(all, func(a, b Digest) int { return slices.Compare(a[:], b[:]) })
	return all
}

// drop forgets all of them.
func (b *smallBlobs) drop() error {
	f := b.file
	*b = newSmallBlobs()
	if f == nil {
		return nil
	}
	return f.Close()
}
