package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4/fb"
	"github.com/dgraph-io/badger/v4/y"
)

// Badger trusts its tables: a flipped bit in one is a panic in one of its own
// goroutines, or the end of an iteration that was to see everything, after which gc
// would take what it did not see for garbage. So this package reads tables itself
// before Badger does, and believes nothing in them that a checksum does not cover:
//
//	block…  index  length of index  checksum of index  length of that
//	block:  entry…  offset of each  how many  checksum of all before  length of that
//	entry:  how much of the key is that of the block's first, how much follows,
//	        the rest of the key, value
//
// Lengths and offsets have 32 bits, those of a key 16; keys end with a version.

var errTable = errors.New("a table of the records is damaged")

// tableEntry is one version of a key.
type tableEntry struct {
	key     []byte // without the version
	version uint64
	gone    bool // it marks a deletion
	val     []byte
}

// readTable calls fn for each entry of the table at path, as far as blocks are sound.
// bad counts those that are not; the error is errTable when nothing can be read.
func readTable(path string, fn func(tableEntry) error) (bad int, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	defer func() {
		// All that is decoded here had its checksum, but who wrote it is not known.
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %q: %v", errTable, filepath.Base(path), r)
		}
	}()
	index, err := tableIndex(data)
	if err != nil {
		return 0, fmt.Errorf("%w: %q: %w", errTable, filepath.Base(path), err)
	}
	var at fb.BlockOffset
	for i := range index.OffsetsLength() {
		if !index.Offsets(&at, i) {
			return bad, fmt.Errorf("%w: %q", errTable, filepath.Base(path))
		}
		from, size := uint64(at.Offset()), uint64(at.Len())
		if from+size > uint64(len(data)) {
			bad++
			continue
		}
		entries, offsets, err := tableBlock(data[from : from+size])
		if err != nil {
			bad++
			continue
		}
		if fn == nil {
			continue
		}
		if err := eachEntry(entries, offsets, fn); err != nil {
			return bad, err
		}
	}
	return bad, nil
}

func tableIndex(data []byte) (*fb.TableIndex, error) {
	rest, sum, err := cutSum(data)
	if err != nil {
		return nil, err
	}
	if len(rest) < 4 {
		return nil, errors.New("it is too short")
	}
	size := binary.BigEndian.Uint32(rest[len(rest)-4:])
	rest = rest[:len(rest)-4]
	if uint64(size) > uint64(len(rest)) || size < 8 {
		return nil, errors.New("its index has no sound length")
	}
	index := rest[len(rest)-int(size):]
	if err := sum.check(index); err != nil {
		return nil, fmt.Errorf("its index: %w", err)
	}
	return fb.GetRootAsTableIndex(index, 0), nil
}

// tableBlock gives the entries of a block and where each begins.
func tableBlock(b []byte) (entries, offsets []byte, err error) {
	b, sum, err := cutSum(b)
	if err != nil {
		return nil, nil, err
	}
	if err := sum.check(b); err != nil {
		return nil, nil, err
	}
	if len(b) < 4 {
		return nil, nil, errors.New("a block is too short")
	}
	n := uint64(binary.BigEndian.Uint32(b[len(b)-4:]))
	b = b[:len(b)-4]
	if 4*n > uint64(len(b)) {
		return nil, nil, errors.New("a block has more entries than fit")
	}
	at := uint64(len(b)) - 4*n
	return b[:at], b[at:], nil
}

func eachEntry(entries, offsets []byte, fn func(tableEntry) error) error {
	const head = 4
	offset := func(i int) int { return int(binary.NativeEndian.Uint32(offsets[4*i:])) }
	var first []byte
	for i := range len(offsets) / 4 {
		end := len(entries)
		if i+1 < len(offsets)/4 {
			end = offset(i + 1)
		}
		e := entries[offset(i):end]
		overlap, diff := int(binary.NativeEndian.Uint16(e)), int(binary.NativeEndian.Uint16(e[2:]))
		key := append(append([]byte(nil), first[:overlap]...), e[head:head+diff]...)
		if i == 0 {
			first = key
		}
		var v y.ValueStruct
		v.Decode(e[head+diff:])
		const deleted, pointer = 1 << 0, 1 << 1
		if v.Meta&pointer != 0 { // into the value log, where nothing of ours lies
			continue
		}
		if err := fn(tableEntry{y.ParseKey(key), y.ParseTs(key), v.Meta&deleted != 0, v.Value}); err != nil {
			return err
		}
	}
	return nil
}

// tableSum is a checksum as Badger keeps it: two numbered fields, which algorithm and
// the sum.
type tableSum struct{ algorithm, sum uint64 }

const castagnoliSums = 0 // the algorithm that Badger writes

// cutSum takes a checksum and its length off the end.
func cutSum(b []byte) ([]byte, tableSum, error) {
	if len(b) < 4 {
		return nil, tableSum{}, errors.New("it is too short")
	}
	n := uint64(binary.BigEndian.Uint32(b[len(b)-4:]))
	b = b[:len(b)-4]
	if n > uint64(len(b)) || n > 64 {
		return nil, tableSum{}, errors.New("a checksum has no sound length")
	}
	at := len(b) - int(n)
	var sum tableSum
	r := &reader{b: b[at:]}
	for len(r.b) > 0 {
		switch r.uint() {
		case 1 << 3:
			sum.algorithm = r.uint()
		case 2 << 3:
			sum.sum = r.uint()
		default:
			r.fail()
		}
	}
	if r.bad {
		return nil, tableSum{}, errors.New("a checksum does not decode")
	}
	return b[:at], sum, nil
}

func (s tableSum) check(b []byte) error {
	if s.algorithm != castagnoliSums || uint64(crc32.Checksum(b, castagnoli())) != s.sum {
		return errors.New("its checksum is another")
	}
	return nil
}

func tableFiles(dir string) ([]string, error) { return filepath.Glob(filepath.Join(dir, "*.sst")) }
