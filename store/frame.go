package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// A value in Badger is a frame: a version, flags, the payload and a CRC-32C over
// all before it. What does not frame is damage, and damage is a miss: no decoder
// behind this one ever sees a torn or foreign value. Payloads that gain by it are
// compressed here and not by Badger, whose compression needs a block cache on the
// heap; uncompressed tables are read straight from the page cache. A payload that
// would crowd a transaction goes to a blob and leaves its digest.

const (
	frameVersion = 1
	flagZstd     = 1 << 0
	flagSpilled  = 1 << 1

	compressFrom = 1 << 10  // smaller payloads do not repay a decoder
	spillFrom    = 32 << 10 // larger ones are blobs
	frameExtra   = 2 + 4    // version and flags before, CRC behind
	maxPayload   = 1 << 30  // no honest payload is larger
)

var errFrame = errors.New("the value is damaged")

// packer compresses and decompresses. Both directions are made when first used:
// a store that is only looked into never pays for an encoder.
type packer struct {
	encoder func() (*zstd.Encoder, error)
	decoder func() (*zstd.Decoder, error)
}

func newPacker() *packer {
	return &packer{
		encoder: sync.OnceValues(func() (*zstd.Encoder, error) {
			return zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(256<<10))
		}),
		decoder: sync.OnceValues(func() (*zstd.Decoder, error) {
			return zstd.NewReader(nil, zstd.WithDecoderConcurrency(2), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(maxPayload))
		}),
	}
}

// frame wraps payload, compressed when that makes it smaller.
func (p *packer) frame(payload []byte) ([]byte, error) {
	var flags byte
	if len(payload) >= compressFrom {
		enc, err := p.encoder()
		if err != nil {
			return nil, fmt.Errorf("starting zstd: %w", err)
		}
		if packed := enc.EncodeAll(payload, nil); len(packed) < len(payload) {
			payload, flags = packed, flagZstd
		}
	}
	return seal(flags, payload), nil
}

func seal(flags byte, payload []byte) []byte {
	b := make([]byte, 0, len(payload)+frameExtra)
	b = append(b, frameVersion, flags)
	b = append(b, payload...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli()))
}

// spillFrame stands for a frame that lies in the blob d.
func spillFrame(d Digest) []byte { return seal(flagSpilled, d[:]) }

// castagnoli is the polynomial that processors compute by themselves; the table
// is made once by the library.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// unframe gives the payload of a frame, or the blob that holds the frame.
func (p *packer) unframe(b []byte) (payload []byte, spilled Digest, err error) {
	if len(b) < frameExtra || b[0] != frameVersion {
		return nil, Digest{}, errFrame
	}
	body := b[:len(b)-4]
	if crc32.Checksum(body, castagnoli()) != binary.LittleEndian.Uint32(b[len(body):]) {
		return nil, Digest{}, errFrame
	}
	flags, payload := body[1], body[2:]
	switch {
	case flags == 0:
		return payload, Digest{}, nil
	case flags == flagSpilled && len(payload) == len(spilled):
		return nil, Digest(payload), nil
	case flags == flagZstd:
		dec, err := p.decoder()
		if err != nil {
			return nil, Digest{}, fmt.Errorf("starting zstd: %w", err)
		}
		payload, err = dec.DecodeAll(payload, nil)
		if err != nil {
			return nil, Digest{}, fmt.Errorf("%w: %w", errFrame, err)
		}
		return payload, Digest{}, nil
	}
	return nil, Digest{}, errFrame
}
