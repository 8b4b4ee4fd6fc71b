package containerd

import (
	"context"
	"io"
)

// behind writes on a goroutine of its own, so that what is written is hashed and
// copied while more is being made. It gathers small writes. It is for one writer.
type behind struct {
	ctx   context.Context
	full  chan []byte
	free  chan []byte
	part  []byte // being filled
	done  chan struct{}
	fault error // of the writing, valid when done is closed
}

// behindBlock is how much is written at a time.
const behindBlock = 512 << 10

func writeBehind(ctx context.Context, w io.Writer) *behind {
	b := &behind{ctx: ctx, full: make(chan []byte, 2), free: make(chan []byte, 3), done: make(chan struct{})}
	for range cap(b.free) { // all of them fit when they come back
		b.free <- make([]byte, 0, behindBlock)
	}
	b.part = <-b.free
	go func() {
		defer close(b.done)
		for block := range b.full {
			if _, b.fault = w.Write(block); b.fault != nil {
				return
			}
			b.free <- block[:0]
		}
	}()
	return b
}

// Write takes p, and answers the error of an earlier block.
func (b *behind) Write(p []byte) (int, error) {
	taken := 0
	for len(p) > 0 {
		n := copy(b.part[len(b.part):cap(b.part)], p)
		b.part, p, taken = b.part[:len(b.part)+n], p[n:], taken+n
		if len(b.part) < cap(b.part) {
			break
		}
		if err := b.pass(); err != nil {
			return taken, err
		}
	}
	return taken, nil
}

// pass hands the block on and takes a free one.
func (b *behind) pass() error {
	select {
	case b.full <- b.part:
	case <-b.done:
		return b.fault
	}
	select {
	case b.part = <-b.free:
		return b.ctx.Err()
	case <-b.done:
		return b.fault
	}
}

// Close writes the rest and waits. It may be called once, also after an error.
func (b *behind) Close() error {
	if len(b.part) > 0 {
		select {
		case b.full <- b.part:
		case <-b.done:
		}
	}
	close(b.full)
	<-b.done
	return b.fault
}
