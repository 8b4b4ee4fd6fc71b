package containerd

import (
	"fmt"
	"io"
	"os"

	"plumb/engine/runtime"
)

// refusal is an error about what is in a layer, not about the machine.
type refusal struct{ text string }

func (r *refusal) Error() string { return r.text }

// Is tells that trying again is of no use.
func (r *refusal) Is(target error) bool { return target == runtime.ErrBadImage }

func refuse(format string, args ...any) error { return &refusal{fmt.Sprintf(format, args...)} }

// limiter ends the reading of a layer that unpacks to more than any real one does.
type limiter struct {
	r          io.Reader
	n          int64
	packed     int64
	max, ratio int64
}

func (l *limiter) Read(b []byte) (int, error) {
	n, err := l.r.Read(b)
	l.n += int64(n)
	if err := l.allows(l.n); err != nil {
		return 0, err
	}
	return n, err
}

// allows says whether a layer may unpack to so many bytes.
func (l *limiter) allows(n int64) error {
	switch {
	case l == nil:
	case n > l.max:
		return refuse("it unpacks to more than %d bytes; images { max_unpacked = \"…\" } in plumb's configuration allows more", l.max)
	case n > freeOfRatio && n/max(l.packed, 1) > l.ratio:
		return refuse("it unpacks to more than %d times its size of %d bytes, as decompression bombs do; images { max_ratio = … } in plumb's configuration allows more", l.ratio, l.packed)
	}
	return nil
}

// ahead reads and decompresses on a goroutine of its own, while what came before is
// being written. It hands whole blocks over: a pipe, which wakes the other side for
// each read, took as long as all the writing.
type ahead struct {
	full chan []byte // closed at the end
	free chan []byte
	stop chan struct{}
	part []byte // being read
	rest []byte // of part
	err  error  // of the reading, valid when full is closed
}

// aheadBlock is how much is read at a time.
const aheadBlock = 512 << 10

func readAhead(r io.Reader) *ahead {
	a := &ahead{full: make(chan []byte, 4), free: make(chan []byte, 6), stop: make(chan struct{}), err: os.ErrClosed}
	for range cap(a.free) {
		a.free <- make([]byte, aheadBlock)
	}
	go func() {
		defer close(a.full)
		for a.fill(r) {
		}
	}()
	return a
}

// fill reads one block, and says whether there may be more.
func (a *ahead) fill(r io.Reader) bool {
	var b []byte
	select {
	case b = <-a.free:
	case <-a.stop:
		return false
	}
	n, err := io.ReadFull(r, b[:aheadBlock])
	if n > 0 {
		select {
		case a.full <- b[:n]:
		case <-a.stop:
			return false
		}
	}
	if err == nil {
		return true
	}
	if a.err = err; err == io.ErrUnexpectedEOF && n > 0 && atEnd(r) {
		a.err = io.EOF
	}
	return false
}

func (a *ahead) Read(p []byte) (int, error) {
	for len(a.rest) == 0 {
		if a.part != nil {
			a.free <- a.part
			a.part = nil
		}
		b, ok := <-a.full
		if !ok {
			return 0, a.err
		}
		a.part, a.rest = b, b
	}
	n := copy(p, a.rest)
	a.rest = a.rest[n:]
	return n, nil
}

// atEnd tells the end of the content from a compressed stream that was cut off:
// both make ReadFull come up short. Reading again gives io.EOF at an end only.
func atEnd(r io.Reader) bool {
	var b [1]byte
	n, err := r.Read(b[:])
	return n == 0 && err == io.EOF
}

// Close ends the reading and waits for it.
func (a *ahead) Close() error {
	close(a.stop)
	for range a.full {
	}
	return nil
}
