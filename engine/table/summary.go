package table

import (
	"bytes"
	"encoding/binary"
	"math"
)

// summary is what is kept of some rows of a column. Summaries of parts of a table,
// merged in the order of the parts, make that of the table.
type summary struct {
	nulls     int64
	kinds     [kinds]int64
	notFinite int64
	finite    int64
	sum, lost float64 // of finite numbers, and what rounding took from it

	least, most         float64 // of numbers and times, with their texts
	leastText, mostText []byte
	first, last         []byte // of all texts, in the order of bytes
	low, high           uint64 // what these begin with, see prefix

	distinct distinct
	numbers  []float64 // a sample: numbers and times
	hashes   []uint64  // of all its values
}

// limits bound the memory of all summaries.
type limits struct {
	sample    int // values of a column
	distinct  int
	precision int
}

// limitsOf counts fewer distinct values exactly where a column has very many: most
// look-ups in a large set wait for memory, ten of them for every row.
func limitsOf(columns int, rows int64) limits {
	l := limits{sample: min(1<<16, 1<<21/max(1, columns)), precision: 14}
	if columns > 256 {
		l.precision = 11
	}
	l.distinct = l.sample / 2
	if rows > 1<<18 {
		l.distinct = min(l.distinct, 1<<11)
	}
	return l
}

func newSummary(l limits) *summary {
	return &summary{least: math.Inf(1), most: math.Inf(-1), distinct: distinct{limit: l.distinct, precision: l.precision}}
}

// add takes one cell, which is in the sample or not.
func (s *summary) add(cell []byte, t source, column int, sampled bool) {
	if cell == nil {
		s.nulls++
		return
	}
	if p := prefix(cell); p <= s.low || p >= s.high {
		s.bound(cell, p)
	}
	kind, v := t.classify(column, cell)
	s.kinds[kind]++
	var h uint64
	switch number := kind >= kindInteger && kind <= kindTimestamp; {
	case !number:
		h = cellHash(cell)
	case math.IsNaN(v) || math.IsInf(v, 0):
		h = cellHash(cell)
		s.notFinite++
	default:
		s.finite++
		s.plus(v)
		s.extend(v, cell)
		if sampled {
			s.numbers = append(s.numbers, v)
		}
		if h = mix(math.Float64bits(v)); len(cell) > exactDigits {
			h = cellHash(cell)
		}
	}
	s.distinct.add(h)
	if sampled {
		s.hashes = append(s.hashes, h)
	}
}

// exactDigits is how many characters of a number a double tells apart.
const exactDigits = 15

// prefix is what a text begins with, as a number: texts whose prefixes differ are in
// their order, and most need no other comparison.
func prefix(b []byte) uint64 {
	if len(b) >= 8 {
		return binary.BigEndian.Uint64(b)
	}
	var p uint64
	for _, c := range b {
		p = p<<8 | uint64(c)
	}
	return p << (8 * (8 - len(b)))
}

// bound keeps a cell, whose prefix p is, when it is the first or the last so far.
func (s *summary) bound(cell []byte, p uint64) {
	if s.first == nil || p < s.low || p == s.low && bytes.Compare(cell, s.first) < 0 {
		s.first, s.low = append(make([]byte, 0, len(cell)), cell...), p
	}
	if s.last == nil || p > s.high || p == s.high && bytes.Compare(cell, s.last) > 0 {
		s.last, s.high = append(make([]byte, 0, len(cell)), cell...), p
	}
}

// plus adds to the sum and keeps what rounding takes (Neumaier's way).
func (s *summary) plus(v float64) {
	t := s.sum + v
	if math.Abs(s.sum) >= math.Abs(v) {
		s.lost += s.sum - t + v
	} else {
		s.lost += v - t + s.sum
	}
	s.sum = t
}

func (s *summary) extend(v float64, text []byte) {
	if v < s.least || v == s.least && len(text) > exactDigits && lessInteger(text, s.leastText) {
		s.least, s.leastText = v, keep(s.leastText, text)
	}
	if v > s.most || v == s.most && len(text) > exactDigits && lessInteger(s.mostText, text) {
		s.most, s.mostText = v, keep(s.mostText, text)
	}
}

func keep(old, b []byte) []byte { return append(old[:0], b...) }

// lessInteger orders integers that are one as doubles, having more than 15 digits.
func lessInteger(a, b []byte) bool {
	negative := func(x []byte) bool { return len(x) > 0 && x[0] == '-' }
	for _, x := range [][]byte{a, b} {
		for i, c := range x {
			if (c < '0' || c > '9') && !(i == 0 && (c == '-' || c == '+')) {
				return false
			}
		}
	}
	if negative(a) != negative(b) {
		return negative(a)
	}
	if negative(a) {
		a, b = b, a
	}
	a, b = bytes.TrimLeft(a, "+-0"), bytes.TrimLeft(b, "+-0")
	if len(a) != len(b) {
		return len(a) < len(b)
	}
	return bytes.Compare(a, b) < 0
}

// merge adds what comes after.
func (s *summary) merge(o *summary) {
	s.nulls += o.nulls
	for k := range s.kinds {
		s.kinds[k] += o.kinds[k]
	}
	s.notFinite += o.notFinite
	s.finite += o.finite
	s.plus(o.sum)
	s.lost += o.lost
	if o.leastText != nil {
		s.extend(o.least, o.leastText)
		s.extend(o.most, o.mostText)
	}
	if o.first != nil {
		s.bound(o.first, o.low)
		s.bound(o.last, o.high)
	}
	s.distinct.merge(&o.distinct)
	s.numbers = append(s.numbers, o.numbers...)
	s.hashes = append(s.hashes, o.hashes...)
}

func (s *summary) values() int64 {
	var n int64
	for _, k := range s.kinds {
		n += k
	}
	return n
}

// ordered says whether a type is one of numbers or times.
func ordered(count [kinds]int64) bool {
	switch typeOf(count) {
	case "integer", "double", "date", "timestamp":
		return true
	}
	return false
}
