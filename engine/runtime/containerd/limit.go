package containerd

import (
	"fmt"
	"io"

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
// being written.
type ahead struct {
	*io.PipeReader
	done chan struct{} // nothing is passed on any more
	read chan struct{} // nothing is read any more
}

// aheadBlock is how much is read at a time.
const aheadBlock = 512 << 10

func readAhead(r io.Reader) *ahead {
	blocks := make(chan []byte, 4)
	free := make(chan []byte, 6)
	for range cap(free) {
		free <- make([]byte, aheadBlock)
	}
	pr, pw := io.Pipe()
	a := &ahead{pr, make(chan struct{}), make(chan struct{})}
	stop := make(chan struct{})
	failed := make(chan error, 1)
	go func() { // reads
		defer close(a.read)
		defer close(blocks)
		for {
			var b []byte
			select {
			case b = <-free:
			case <-stop:
				return
			}
			n, err := io.ReadFull(r, b[:aheadBlock])
			if n > 0 {
				select {
				case blocks <- b[:n]:
				case <-stop:
					return
				}
			}
			if err != nil {
				if err == io.EOF || err == io.ErrUnexpectedEOF && n > 0 && atEnd(r) {
					err = io.EOF
				}
				failed <- err
				return
			}
		}
	}()
	go func() { // passes on
		defer close(a.done)
		defer close(stop)
		for b := range blocks {
			if _, err := pw.Write(b); err != nil {
				return // nobody reads any more
			}
			free <- b[:aheadBlock]
		}
		_ = pw.CloseWithError(<-failed)
	}()
	return a
}

// atEnd tells the end of the content from a compressed stream that was cut off:
// both make ReadFull come up short. Reading again gives io.EOF at an end only.
func atEnd(r io.Reader) bool {
	var b [1]byte
	n, err := r.Read(b[:])
	return n == 0 && err == io.EOF
}

// Close ends both goroutines and waits for them.
func (a *ahead) Close() error {
	err := a.PipeReader.Close()
	<-a.done
	<-a.read
	return err
}
