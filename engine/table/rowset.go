package table

import (
	"math/bits"
	"slices"
)

// rowset is a set of row numbers, counted from 0, at a bit each.
type rowset struct {
	words []uint64
	count int64
}

func (s *rowset) add(row int64) {
	for int(row/64) >= len(s.words) {
		s.words = append(s.words, 0)
	}
	if bit := uint64(1) << (row % 64); s.words[row/64]&bit == 0 {
		s.words[row/64] |= bit
		s.count++
	}
}

func (s *rowset) remove(row int64) {
	if s.has(row) {
		s.words[row/64] &^= 1 << (row % 64)
		s.count--
	}
}

func (s *rowset) has(row int64) bool {
	return int(row/64) < len(s.words) && s.words[row/64]&(1<<(row%64)) != 0
}

// next is the first row of the set that is not below row, -1 when there is none.
func (s *rowset) next(row int64) int64 {
	for i := int(row / 64); i < len(s.words); i++ {
		word := s.words[i]
		if i == int(row/64) {
			word &^= 1<<(row%64) - 1
		}
		if word != 0 {
			return int64(i)*64 + int64(bits.TrailingZeros64(word))
		}
	}
	return -1
}

// first are the first n rows.
func (s *rowset) first(n int) []int64 {
	rows := []int64{}
	for row := s.next(0); row >= 0 && len(rows) < n; row = s.next(row + 1) {
		rows = append(rows, row)
	}
	return rows
}

func allRows(n int64) *rowset {
	s := &rowset{words: make([]uint64, (n+63)/64), count: n}
	for i := range s.words {
		s.words[i] = ^uint64(0)
	}
	if n%64 != 0 {
		s.words[len(s.words)-1] = 1<<(n%64) - 1
	}
	return s
}

func (s *rowset) clone() rowset {
	return rowset{words: slices.Clone(s.words), count: s.count}
}

// ranker counts the rows of a set below others, which are asked for in order.
type ranker struct {
	s    *rowset
	word int
	sum  int64
}

func (r *ranker) below(row int64) int64 {
	for ; r.word < int(row/64) && r.word < len(r.s.words); r.word++ {
		r.sum += int64(bits.OnesCount64(r.s.words[r.word]))
	}
	if r.word >= len(r.s.words) {
		return r.sum
	}
	return r.sum + int64(bits.OnesCount64(r.s.words[r.word]&(1<<(row%64)-1)))
}

// between is the part of a set from one row to before another.
func (s *rowset) between(from, to int64) *rowset {
	part := &rowset{words: slices.Clone(s.words[:min(int64(len(s.words)), (to+63)/64)])}
	for i := range part.words {
		if low := from - int64(i)*64; low > 0 {
			part.words[i] &= ^uint64(0) << min(low, 64)
		}
		if high := to - int64(i)*64; high < 64 {
			part.words[i] &= 1<<high - 1
		}
		part.count += int64(bits.OnesCount64(part.words[i]))
	}
	return part
}
