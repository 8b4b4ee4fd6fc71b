package hcl

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"maps"
	"slices"
)

// fingerprintVersion changes when the language or the meaning of a pipeline
// does, so that nothing evaluated by an older build is taken for current.
const fingerprintVersion = "plumb pipeline 4"

// Fingerprint digests everything Evaluate depends on but what file and fileset
// read: equal fingerprints and ReadsUnchanged mean an equal pipeline. Every field
// is framed by its length.
func Fingerprint(files []File, opts Options) [32]byte {
	f := framer{sha256.New()}
	f.text(fingerprintVersion)
	f.text(opts.Version)
	f.text(opts.Profile)
	sorted := slices.Clone(files)
	slices.SortFunc(sorted, func(a, b File) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	f.files(sorted)
	f.files(opts.ParamFiles) // in the order given: the later one wins
	f.strings(opts.Environ)
	f.strings(opts.Params)
	for _, name := range slices.Sorted(slices.Values(opts.Withheld)) {
		f.text(name)
	}
	return [32]byte(f.Sum(nil))
}

// framer writes length-prefixed fields into a hash.
type framer struct{ hash.Hash }

func (f framer) count(n int) {
	var buffer [8]byte
	binary.BigEndian.PutUint64(buffer[:], uint64(n))
	f.Write(buffer[:])
}

func (f framer) text(s string) {
	f.count(len(s))
	f.Write([]byte(s))
}

func (f framer) files(files []File) {
	f.count(len(files))
	for _, file := range files {
		f.text(file.Name)
		f.count(len(file.Data))
		f.Write(file.Data)
	}
}

func (f framer) strings(m map[string]string) {
	f.count(len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		f.text(name)
		f.text(m[name])
	}
}
