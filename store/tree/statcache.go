package tree

import (
	"encoding/binary"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"plumb/store"
)

// racy is how much older than its hashing a file's times must be: more than the
// longest tick of a kernel (10 ms).
const racy = 20 * time.Millisecond

// unusedFor is how many days what is not looked at stays in the cache.
const unusedFor = 30

// stamp is what tells whether a file changed.
type stamp struct {
	dev, ino     uint64
	size         int64
	mtime, ctime int64 // nanoseconds
}

func stampOf(st *unix.Stat_t) stamp {
	return stamp{uint64(st.Dev), st.Ino, st.Size, st.Mtim.Nano(), st.Ctim.Nano()} //nolint:unconvert // Dev is narrower on some machines
}

type remembered struct {
	stamp
	digest store.Digest
	day    int32 // of last use
}

// statCache remembers digests by path, relative to the project.
type statCache struct {
	mu    sync.RWMutex
	files map[string]remembered
	dirty bool
	today int32
}

func (c *statCache) get(path string, s stamp) (store.Digest, bool) {
	c.mu.RLock()
	r, ok := c.files[path]
	c.mu.RUnlock()
	if !ok || r.stamp != s {
		return store.Digest{}, false
	}
	if r.day != c.today {
		r.day = c.today
		c.set(path, r)
	}
	return r.digest, true
}

// put remembers a file that was hashed from started on, unless it is racy.
func (c *statCache) put(path string, s stamp, d store.Digest, started time.Time) {
	if max(s.mtime, s.ctime) >= started.Add(-racy).UnixNano() {
		return
	}
	c.set(path, remembered{s, d, c.today})
}

func (c *statCache) set(path string, r remembered) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.files[path] = r
	c.dirty = true
}

const cacheMagic = "stat 1\n"

// fixedSize is what a file takes besides its path and the length of that.
const fixedSize = 5*8 + 4 + 32

func (c *statCache) encode() []byte {
	c.mu.RLock()
	defer c.mu.RUnlock()
	b := make([]byte, 0, len(cacheMagic)+len(c.files)*(fixedSize+32))
	b = append(b, cacheMagic...)
	for _, path := range slices.Sorted(maps.Keys(c.files)) {
		r := c.files[path]
		if c.today-r.day > unusedFor {
			continue
		}
		b = binary.AppendUvarint(b, uint64(len(path)))
		b = append(b, path...)
		for _, v := range []uint64{r.dev, r.ino, uint64(r.size), uint64(r.mtime), uint64(r.ctime)} {
			b = binary.LittleEndian.AppendUint64(b, v)
		}
		b = binary.LittleEndian.AppendUint32(b, uint32(r.day))
		b = append(b, r.digest[:]...)
	}
	return b
}

// decodeStats reads what encode wrote; of anything else it keeps what is whole.
// All paths share one string.
func decodeStats(data []byte) map[string]remembered {
	rest, ok := strings.CutPrefix(string(data), cacheMagic)
	files := make(map[string]remembered, len(rest)/(fixedSize+24))
	data = data[len(data)-len(rest):]
	for ok && len(rest) > 0 {
		n, used := binary.Uvarint(data)
		if used <= 0 || n > uint64(len(data)) || len(data)-used-int(n) < fixedSize {
			break
		}
		end := used + int(n)
		f := data[end : end+fixedSize]
		word := func(i int) uint64 { return binary.LittleEndian.Uint64(f[8*i:]) }
		files[rest[used:end]] = remembered{
			stamp{word(0), word(1), int64(word(2)), int64(word(3)), int64(word(4))},
			store.Digest(f[fixedSize-32:]),
			int32(binary.LittleEndian.Uint32(f[40:])),
		}
		rest, data = rest[end+fixedSize:], data[end+fixedSize:]
	}
	return files
}
