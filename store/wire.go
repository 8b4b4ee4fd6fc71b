package store

import (
	"encoding/binary"
	"math"
	"time"
)

// writer and reader are the primitive forms of the store's binary values:
// varints, length-prefixed bytes, times in nanoseconds. The reader remembers the
// first thing that was wrong and gives zero values from then on, so that a
// decoder reads straight down and asks once at its end.

type writer struct{ b []byte }

func (w *writer) uint(v uint64) { w.b = binary.AppendUvarint(w.b, v) }
func (w *writer) int(v int64)   { w.b = binary.AppendVarint(w.b, v) }

func (w *writer) float(v float64) {
	w.b = binary.LittleEndian.AppendUint64(w.b, math.Float64bits(v))
}

func (w *writer) bytes(v []byte) {
	w.uint(uint64(len(v)))
	w.b = append(w.b, v...)
}

func (w *writer) string(v string) {
	w.uint(uint64(len(v)))
	w.b = append(w.b, v...)
}

// digest costs one byte when it is zero.
func (w *writer) digest(d Digest) {
	if d.IsZero() {
		w.b = append(w.b, 0)
		return
	}
	w.b = append(append(w.b, 1), d[:]...)
}

func (w *writer) bool(v bool) {
	if v {
		w.b = append(w.b, 1)
		return
	}
	w.b = append(w.b, 0)
}

// time keeps the zero time apart, which has no count of nanoseconds.
func (w *writer) time(t time.Time) {
	w.bool(!t.IsZero())
	if !t.IsZero() {
		w.int(t.UnixNano())
	}
}

type reader struct {
	b   []byte
	bad bool
}

func (r *reader) fail() { r.b, r.bad = nil, true }

// take gives the next n bytes without copying them.
func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) int() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) float() float64 {
	b := r.take(8)
	if b == nil {
		return 0
	}
	return math.Float64frombits(binary.LittleEndian.Uint64(b))
}

func (r *reader) string() string { return string(r.take(r.uint())) }

// bytes copies, so that what was decoded does not hold on to its source; nil
// when empty.
func (r *reader) bytes() []byte { return append([]byte(nil), r.take(r.uint())...) }

func (r *reader) bool() bool {
	b := r.take(1)
	if b != nil && b[0] > 1 {
		r.fail()
	}
	return b != nil && b[0] == 1
}

func (r *reader) digest() (d Digest) {
	if r.bool() {
		copy(d[:], r.take(uint64(len(d))))
	}
	return d
}

func (r *reader) time() time.Time {
	if !r.bool() {
		return time.Time{}
	}
	return time.Unix(0, r.int()).UTC()
}

// count reads how many elements follow, each of at least size bytes: a damaged
// count must not make the decoder allocate.
func (r *reader) count(size int) int {
	n := r.uint()
	if n > uint64(len(r.b)/size) {
		r.fail()
		return 0
	}
	return int(n)
}

// done reports whether all was read and nothing was wrong.
func (r *reader) done() bool { return !r.bad && len(r.b) == 0 }
