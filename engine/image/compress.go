package image

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// An archive that is compressed as a whole is refused when it is larger than this
// after decompression, and when, beyond the first gigabyte, it is so many times as
// large as before: real ones are three to ten times as large.
const (
	maxArchive = 256 << 30
	maxRatio   = 200
)

// compression knows what a file is compressed with by its first bytes, "" for
// nothing.
func compression(b []byte) string {
	for magic, name := range map[string]string{"\x1f\x8b": "gzip", "\x28\xb5\x2f\xfd": "zstd", "BZh": "bzip2", "\xfd7zXZ\x00": "xz"} {
		if bytes.HasPrefix(b, []byte(magic)) {
			return name
		}
	}
	return ""
}

// decompressed gives a file as it is, or what it decompresses to, in a file of its
// own that has no name any more; packed tells which.
func decompressed(f *os.File, temp string) (raw *os.File, packed bool, err error) {
	var magic [6]byte
	n, err := f.ReadAt(magic[:], 0)
	if err != nil && err != io.EOF {
		return nil, false, err
	}
	var r io.Reader
	switch c := compression(magic[:n]); c {
	case "":
		return f, false, nil
	case "gzip":
		r, err = gzip.NewReader(f)
	case "zstd":
		var z *zstd.Decoder
		z, err = zstd.NewReader(f, zstd.WithDecoderMaxMemory(256<<20))
		if err == nil {
			defer z.Close()
		}
		r = z
	default:
		return nil, false, fmt.Errorf("it is compressed with %s; decompress it first", c)
	}
	if err != nil {
		return nil, false, fmt.Errorf("it is damaged: %w", err)
	}
	raw, err = unpackTemp(f, r, temp)
	return raw, true, err
}

func unpackTemp(f *os.File, r io.Reader, temp string) (_ *os.File, err error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	raw, err := os.CreateTemp(temp, "plumb-archive-*")
	if err != nil {
		return nil, err
	}
	err = os.Remove(raw.Name())
	if err == nil {
		limit := min(int64(maxArchive), max(int64(1<<30), maxRatio*info.Size()))
		var n int64
		if n, err = io.Copy(raw, io.LimitReader(r, limit+1)); err == nil && n > limit {
			err = fmt.Errorf("it decompresses to more than %d bytes, %d times what it has; no image does", limit, limit/max(info.Size(), 1))
		}
		if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, gzip.ErrChecksum) || errors.Is(err, gzip.ErrHeader) {
			err = fmt.Errorf("it is cut off or damaged: %w", err)
		}
	}
	if err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	return raw, nil
}
