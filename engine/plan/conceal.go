package plan

import (
	"crypto/hmac"
	"crypto/sha256"
	"sync"

	"golang.org/x/crypto/argon2"

	"plumb/hcl"
	"plumb/store"
)

// A sensitive value stands in an action as something that differs when the value does.
// The key of the action is made of it, and keys are the same on every machine: a result
// that one made is a hit for another. So there is nothing secret to make it with but the
// value, and whoever can read the store can try values out. What can be done is to make
// that dear: a key is derived from each sensitive param, slowly and with memory, and what
// stands for the param and for what is computed from it is made with that key, which costs
// nothing more. A plain digest lets one core try millions of values a second; this lets it
// try some twenty. A password of four digits is still found in minutes: what must not be
// found belongs into a secret, which is in no key.
//
// Derived from the param alone, a key does not change with another param; and a thousand
// stages with texts of their own, made from one param, cost one derivation.

// What deriving takes. To change any of it changes keys.
const (
	concealTime   = 2
	concealMemory = 32 << 10 // KiB
)

// Concealer derives keys and remembers them, so that a process derives each once. The
// zero value is ready. It may be used by several goroutines.
type Concealer struct {
	mu    sync.Mutex // also bounds the memory in use to that of one
	known map[store.Digest][]byte
}

// maxConcealed bounds what is remembered, by far above what a pipeline has.
const maxConcealed = 1000

// conceal stands for a value that is made from these params, in a place of the action.
func (c *Concealer) conceal(from []hcl.Param, place, value string) string {
	var key []byte
	for i := range from {
		key = append(key, c.derived(&from[i])...)
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(place + "\x00" + value)) // no name has a NUL in it
	return store.Digest(mac.Sum(nil)).String()
}

func (c *Concealer) derived(p *hcl.Param) []byte {
	salt := store.Sum([]byte("plumb sensitive\x00" + p.Name)) // the same everywhere
	at := store.Sum(append(salt[:], p.Value...))
	c.mu.Lock()
	defer c.mu.Unlock()
	if key, ok := c.known[at]; ok {
		return key
	}
	if c.known == nil || len(c.known) >= maxConcealed {
		c.known = map[store.Digest][]byte{}
	}
	c.known[at] = argon2.IDKey([]byte(p.Value), salt[:], concealTime, concealMemory, 1, sha256.Size)
	return c.known[at]
}
