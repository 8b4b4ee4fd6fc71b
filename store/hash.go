package store

import (
	"crypto/sha256"
	"errors"
	"io"
)

// Hashing a large file costs one SHA-256 pass and little more: one goroutine
// reads (and, when the file is copied, writes), this one hashes. With both in
// one loop the copy out of the page cache comes on top.

const (
	hashFirst   = 32 << 10 // a file that ends within this is hashed without a goroutine
	hashBuffer  = 512 << 10
	hashBuffers = 3
)

type chunk struct {
	b   []byte
	err error
}

// hashStream gives the digest and length of r, writing what it reads to w unless
// that is nil.
func hashStream(r io.Reader, w io.Writer) (Digest, int64, error) {
	h := sha256.New()
	first := make([]byte, hashFirst)
	n, err := readFull(r, first)
	if n > 0 && w != nil {
		if _, werr := w.Write(first[:n]); werr != nil {
			return Digest{}, 0, werr
		}
	}
	h.Write(first[:n])
	size := int64(n)
	if errors.Is(err, io.EOF) {
		return Digest(h.Sum(nil)), size, nil
	}
	if err != nil {
		return Digest{}, 0, err
	}
	full := make(chan chunk, hashBuffers)
	free := make(chan []byte, hashBuffers)
	for range hashBuffers {
		free <- nil // made when first used: few files need all
	}
	go pump(r, w, free, full)
	for c := range full {
		if c.err != nil {
			return Digest{}, 0, c.err
		}
		h.Write(c.b)
		size += int64(len(c.b))
		free <- c.b[:cap(c.b)]
	}
	return Digest(h.Sum(nil)), size, nil
}

// pump ends by itself at the end of r and at the first error, which is the last
// thing it sends.
func pump(r io.Reader, w io.Writer, free <-chan []byte, full chan<- chunk) {
	defer close(full)
	for b := range free {
		if b == nil {
			b = make([]byte, hashBuffer)
		}
		n, err := readFull(r, b)
		if n > 0 && w != nil {
			if _, werr := w.Write(b[:n]); werr != nil {
				full <- chunk{err: werr}
				return
			}
		}
		if n > 0 {
			full <- chunk{b: b[:n]}
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				full <- chunk{err: err}
			}
			return
		}
	}
}

// readFull fills b; at the end of r it gives what there is and io.EOF.
func readFull(r io.Reader, b []byte) (int, error) {
	n, err := io.ReadFull(r, b)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return n, err
}

// SumReader gives the digest and length of what r holds.
func SumReader(r io.Reader) (Digest, int64, error) { return hashStream(r, nil) }
