package mask

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"sort"
)

// longest is the length of the longest pattern, and as many bits as a head has.
const longest = 64

// Set is all forms of some values, made ready to be searched for.
type Set struct {
	shift    []uint8             // by the last two bytes of a window of least bytes: how far no pattern can begin
	least    int                 // length of the shortest pattern
	most     int                 // length of the longest
	heads    map[uint32]uint64   // first four bytes → lengths of patterns that begin so, bit n-1 for n
	filter   []uint64            // which heads there may be
	all      map[string]struct{} // the patterns
	sorted   []string            // the patterns
	firstOne [256]bool
}

// New makes a set of values, nil when none is to be hidden: those shorter than
// Shortest are left out.
func New(values [][]byte) *Set {
	s := &Set{least: longest, heads: map[uint32]uint64{}, all: map[string]struct{}{}}
	for _, v := range values {
		forms(v, s.add)
	}
	if len(s.all) == 0 {
		return nil
	}
	s.sorted = make([]string, 0, len(s.all))
	for p := range s.all {
		s.sorted = append(s.sorted, p)
	}
	slices.Sort(s.sorted)
	s.index()
	return s
}

// add takes a form, in parts when it is long: the last part ends where it ends.
func (s *Set) add(form string) {
	for len(form) > longest {
		s.all[form[:longest]] = struct{}{}
		if len(form) < 2*longest {
			form = form[len(form)-longest:]
		} else {
			form = form[longest:]
		}
	}
	if len(form) >= Shortest {
		s.all[form] = struct{}{}
	}
}

// index makes what the search goes by.
func (s *Set) index() {
	for _, p := range s.sorted {
		s.least, s.most = min(s.least, len(p)), max(s.most, len(p))
	}
	s.shift = make([]uint8, 1<<16)
	for i := range s.shift {
		s.shift[i] = uint8(s.least - 1)
	}
	s.filter = make([]uint64, 1<<filterBits/64)
	for _, p := range s.sorted {
		s.firstOne[p[0]] = true
		head := headOf([]byte(p))
		s.heads[head] |= 1 << (len(p) - 1)
		at := filterAt(head)
		s.filter[at/64] |= 1 << (at % 64)
		for i := range s.least - 1 {
			block := int(p[i]) | int(p[i+1])<<8
			s.shift[block] = min(s.shift[block], uint8(s.least-2-i))
		}
	}
}

// filterBits is the binary logarithm of the size of the filter.
const filterBits = 18

func headOf(p []byte) uint32 { return binary.LittleEndian.Uint32(p) }

func filterAt(head uint32) uint32 { return head * 0x9e3779b1 >> (32 - filterBits) }

// next finds the first pattern that begins at or behind from and before end, the
// longest that begins there; -1 when there is none.
func (s *Set) next(text []byte, from, end int) (start, stop int) {
	shift, look, most := (*[1 << 16]uint8)(s.shift), s.least-2, s.least-1
	last := min(end-1, len(text)-s.least)
	for at := from; at <= last; {
		pair := (*[2]byte)(text[at+look:])
		step := int(shift[int(pair[0])|int(pair[1])<<8])
		if step == most { // told apart, so that the processor can guess it and read on
			at += most
			continue
		}
		if step > 0 {
			at += step
			continue
		}
		if n := s.at(text[at:]); n > 0 {
			return at, at + n
		}
		at++
	}
	return -1, -1
}

// at gives the length of the longest pattern that text begins with.
func (s *Set) at(text []byte) int {
	head := headOf(text)
	bit := filterAt(head)
	if s.filter[bit/64]&(1<<(bit%64)) == 0 {
		return 0
	}
	for lengths := s.heads[head]; lengths != 0; {
		n := bits.Len64(lengths)
		if n <= len(text) {
			if _, ok := s.all[string(text[:n])]; ok {
				return n
			}
		}
		lengths &^= 1 << (n - 1)
	}
	return 0
}

// decided says up to where it is known which patterns text has: at the first place
// behind, a pattern may begin that goes on behind the text.
func (s *Set) decided(text []byte) int {
	for at := max(0, len(text)-s.most+1); at < len(text); at++ {
		if s.firstOne[text[at]] && s.begins(text[at:]) {
			return at
		}
	}
	return len(text)
}

// begins says whether a pattern begins with text and goes on.
func (s *Set) begins(text []byte) bool {
	if len(text) >= Shortest {
		head := headOf(text)
		bit := filterAt(head)
		if s.filter[bit/64]&(1<<(bit%64)) == 0 || s.heads[head]>>len(text) == 0 {
			return false
		}
	}
	i := sort.Search(len(s.sorted), func(i int) bool { return s.sorted[i] > string(text) })
	return i < len(s.sorted) && len(s.sorted[i]) > len(text) && s.sorted[i][:len(text)] == string(text)
}
