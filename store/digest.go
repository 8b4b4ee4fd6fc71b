package store

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// Digest is the SHA-256 of some content. The zero Digest stands for none.
type Digest [sha256.Size]byte

// Key is the digest of an action: equal keys mean equal work. It is a type of
// its own so that the key of an action is never taken for the digest of what
// the action produced.
type Key Digest

const digestPrefix = "sha256:"

// Sum returns the digest of b.
func Sum(b []byte) Digest { return sha256.Sum256(b) }

// ParseDigest reads the form "sha256:" and 64 lower-case hex digits.
func ParseDigest(s string) (Digest, error) {
	var d Digest
	h, ok := strings.CutPrefix(s, digestPrefix)
	if !ok || len(h) != hex.EncodedLen(len(d)) || strings.ToLower(h) != h {
		return Digest{}, fmt.Errorf("digest %q: not sha256: and 64 hex digits", s)
	}
	if _, err := hex.Decode(d[:], []byte(h)); err != nil {
		return Digest{}, fmt.Errorf("digest %q: %w", s, err)
	}
	return d, nil
}

// IsZero reports whether d stands for no content.
func (d Digest) IsZero() bool { return d == Digest{} }

// Hex returns the 64 hex digits without the algorithm.
func (d Digest) Hex() string { return hex.EncodeToString(d[:]) }

// String returns the form that ParseDigest reads; "" for the zero Digest.
func (d Digest) String() string {
	if d.IsZero() {
		return ""
	}
	return digestPrefix + d.Hex()
}

// Short returns the first twelve hex digits, for people.
func (d Digest) Short() string { return d.Hex()[:12] }

// MarshalText implements encoding.TextMarshaler.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Digest) UnmarshalText(b []byte) (err error) {
	if len(b) == 0 {
		*d = Digest{}
		return nil
	}
	*d, err = ParseDigest(string(b))
	return err
}

// IsZero reports whether k is not known.
func (k Key) IsZero() bool { return k == Key{} }

// Hex returns the 64 hex digits.
func (k Key) Hex() string { return Digest(k).Hex() }

// Short returns the first twelve hex digits, for people.
func (k Key) Short() string { return Digest(k).Short() }

// String returns "sha256:" and the hex digits; "" for the zero Key.
func (k Key) String() string { return Digest(k).String() }

// MarshalText implements encoding.TextMarshaler.
func (k Key) MarshalText() ([]byte, error) { return Digest(k).MarshalText() }

// UnmarshalText implements encoding.TextUnmarshaler.
func (k *Key) UnmarshalText(b []byte) error { return (*Digest)(k).UnmarshalText(b) }
