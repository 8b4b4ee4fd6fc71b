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
	full := make(chan chunk, hashBuffers)
	free := make(chan []byte, hashBuffers)
	for range hashBuffers {
		free <- nil // made when first used: most files need one
	}
	go pump(r, w, free, full)
	h := sha256.New()
	var size int64
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
		n, err := io.ReadFull(r, b)
		if n > 0 && w != nil {
			if _, werr := w.Write(b[:n]); werr != nil {
				full <- chunk{err: werr}
				return
			}
		}
		end := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if n > 0 {
			full <- chunk{b: b[:n]}
		}
		if err != nil {
			if !end {
				full <- chunk{err: err}
			}
			return
		}
	}
}

// SumReader gives the digest and length of what r holds.
func SumReader(r io.Reader) (Digest, int64, error) {
	first := make([]byte, SmallBlob+1)
	n, err := io.ReadFull(r, first)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return Sum(first[:n]), int64(n), nil
	}
	if err != nil {
		return Digest{}, 0, err
	}
	return hashStream(io.MultiReader(&bytesOnce{first[:n]}, r), nil)
}

// bytesOnce is a reader of bytes that MultiReader passes in one piece.
type bytesOnce struct{ b []byte }

func (o *bytesOnce) Read(p []byte) (int, error) {
	if len(o.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, o.b)
	o.b = o.b[n:]
	return n, nil
}
