package debian

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // what the format has
	"encoding/binary"
	"errors"
	"time"
)

// Java keeps the authorities that it trusts in a keystore, which ca-certificates-java
// makes when it is configured. Each of its entries says when it was added; here that
// is the release's date, as for all files. The format is Sun's "JKS":
//
//	magic feedfeed, version, count, then for each certificate its tag 2, its alias,
//	the time in milliseconds, its type and its bytes; a keyed SHA-1 of all that
//
// A file that is not exactly so stays as it is.

const (
	keystorePath     = "etc/ssl/certs/java/cacerts"
	keystorePassword = "changeit" // no secret: Java's own, for a file of public certificates
	maxKeystore      = 64 << 20
)

var errKeystore = errors.New("no keystore of certificates")

// datedKeystore gives all entries one time.
func datedKeystore(b []byte, date time.Time) []byte {
	const digest = sha1.Size
	if len(b) < 12+digest {
		return b
	}
	body, sum := b[:len(b)-digest], b[len(b)-digest:]
	if !bytes.Equal(keystoreSum(body), sum) {
		return b
	}
	dated := bytes.Clone(body)
	if err := eachEntry(dated, func(when []byte) { binary.BigEndian.PutUint64(when, uint64(date.UnixMilli())) }); err != nil {
		return b
	}
	return append(dated, keystoreSum(dated)...)
}

// eachEntry finds the times in a keystore of version 2.
func eachEntry(b []byte, fn func(when []byte)) error {
	if binary.BigEndian.Uint32(b) != 0xfeedfeed || binary.BigEndian.Uint32(b[4:]) != 2 {
		return errKeystore
	}
	rest := b[12:]
	take := func(n int) []byte {
		if n < 0 || n > len(rest) {
			rest = nil
			return nil
		}
		taken := rest[:n]
		rest = rest[n:]
		return taken
	}
	// part takes a length of so many bytes, and what is as long.
	part := func(width int) bool {
		head := take(width)
		if head == nil {
			return false
		}
		n := 0
		for _, c := range head {
			n = n<<8 | int(c)
		}
		return take(n) != nil
	}
	for range binary.BigEndian.Uint32(b[8:]) {
		tag := take(4)
		if tag == nil || binary.BigEndian.Uint32(tag) != 2 || !part(2) {
			return errKeystore
		}
		when := take(8)
		if when == nil || !part(2) || !part(4) {
			return errKeystore
		}
		fn(when)
	}
	if len(rest) > 0 {
		return errKeystore
	}
	return nil
}

// keystoreSum is the digest at the end of a keystore.
func keystoreSum(body []byte) []byte {
	h := sha1.New() //nolint:gosec // see above
	for _, c := range keystorePassword {
		h.Write([]byte{0, byte(c)})
	}
	h.Write([]byte("Mighty Aphrodite"))
	h.Write(body)
	return h.Sum(nil)
}
