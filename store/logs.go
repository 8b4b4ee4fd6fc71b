package store

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// PutLog keeps what r gives, compressed in a stream, and returns the blob's
// digest.
func (s *Store) PutLog(ctx context.Context, r io.Reader) (Digest, error) {
	pr, pw := io.Pipe()
	go func() { pw.CloseWithError(compressLog(pw, r)) }()
	a, err := s.Put(ctx, pr, false)
	// The compressor must not wait for a reader that has given up.
	if err = errors.Join(err, pr.CloseWithError(io.ErrClosedPipe)); err != nil {
		return Digest{}, fmt.Errorf("keeping a log: %w", err)
	}
	return a.Digest, nil
}

func compressLog(w io.Writer, r io.Reader) error {
	enc, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(1<<20))
	if err != nil {
		return err
	}
	_, err = io.Copy(enc, r)
	return errors.Join(err, enc.Close())
}

// OpenLog opens a log that PutLog kept, decompressed.
func (s *Store) OpenLog(d Digest) (io.ReadCloser, error) {
	f, _, err := s.OpenBlob(context.Background(), d)
	if err != nil {
		return nil, fmt.Errorf("opening a log: %w", err)
	}
	dec, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening a log: %w", err), f.Close())
	}
	return &logReader{dec, f}, nil
}

type logReader struct {
	*zstd.Decoder
	blob io.Closer
}

// Close ends the decompressor and closes the blob.
func (l *logReader) Close() error {
	l.Decoder.Close()
	return l.blob.Close()
}
