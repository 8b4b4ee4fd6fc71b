package debian

import (
	"context"
	"io"
	"runtime"
	"sync"
)

// Decompressing is most of the work, and the packages of a layer are written one
// after the other. So packages are decompressed ahead of their turn, as many at once
// as there are processors, and what comes out waits in memory. All that waits
// together is bounded; the package whose turn it is may always go on, else those
// behind it could keep it from ending.
const (
	chunkSize  = 256 << 10
	aheadBytes = 48 << 20
	turnBytes  = 8 << 20 // of the one whose turn it is
)

// ahead decompresses packages in order.
type ahead struct {
	ctx    context.Context
	cancel context.CancelFunc
	stop   func() bool // of the wake-up
	packs  []*waiting

	mu      sync.Mutex
	moved   *sync.Cond
	next    int // to be taken up
	turn    int // being read
	used    int // bytes that wait
	free    [][]byte
	workers sync.WaitGroup
}

// waiting is one package: opened, when it was, and what came out of it so far.
type waiting struct {
	pkg    Package
	deb    *debFile // set before opened is
	opened bool
	chunks [][]byte
	done   bool
	err    error
}

// newAhead begins with the first package. close must be called.
func newAhead(ctx context.Context, packs []Package) *ahead {
	a := &ahead{turn: -1}
	a.ctx, a.cancel = context.WithCancel(ctx)
	a.moved = sync.NewCond(&a.mu)
	a.stop = context.AfterFunc(a.ctx, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.moved.Broadcast()
	})
	for _, p := range packs {
		a.packs = append(a.packs, &waiting{pkg: p})
	}
	for range min(runtime.GOMAXPROCS(0), len(packs)) {
		a.workers.Go(a.work)
	}
	return a
}

// close ends what still runs.
func (a *ahead) close() {
	a.cancel()
	a.workers.Wait()
	a.stop()
}

func (a *ahead) work() {
	for {
		a.mu.Lock()
		i := a.next
		a.next++
		a.mu.Unlock()
		if i >= len(a.packs) || a.ctx.Err() != nil {
			return
		}
		a.unpack(i)
	}
}

// unpack decompresses one package.
func (a *ahead) unpack(i int) {
	w := a.packs[i]
	d, err := openDeb(w.pkg)
	a.mu.Lock()
	w.deb, w.opened = d, err == nil
	w.err = err
	w.done = err != nil
	a.moved.Broadcast()
	a.mu.Unlock()
	if err != nil {
		return
	}
	err = a.pump(i, d)
	if cerr := d.close(); err == nil {
		err = cerr
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	w.done, w.err = true, err
	a.moved.Broadcast()
}

func (a *ahead) pump(i int, d *debFile) error {
	in, err := d.data.open()
	if err != nil {
		return err
	}
	defer in.Close() // was only read
	for {
		b, err := a.room(i)
		if err != nil {
			return err
		}
		n, err := readChunk(in, b)
		a.put(i, b[:n])
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// readChunk fills b as io.ReadFull does, and keeps apart the end of what is read, and
// a decompressor's error that there was an end where none should be.
func readChunk(in io.Reader, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var m int
		m, err = in.Read(b[n:])
		n += m
	}
	return n, err
}

// room waits until a chunk of package i may be made.
func (a *ahead) room(i int) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	w := a.packs[i]
	for a.ctx.Err() == nil {
		if i == a.turn && len(w.chunks) < turnBytes/chunkSize || i != a.turn && a.used < aheadBytes {
			a.used += chunkSize
			if n := len(a.free); n > 0 {
				b := a.free[n-1]
				a.free = a.free[:n-1]
				return b[:chunkSize], nil
			}
			return make([]byte, chunkSize), nil
		}
		a.moved.Wait()
	}
	return nil, a.ctx.Err()
}

func (a *ahead) put(i int, b []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(b) == 0 {
		a.giveBack(b)
		return
	}
	a.packs[i].chunks = append(a.packs[i].chunks, b)
	a.moved.Broadcast()
}

func (a *ahead) giveBack(b []byte) {
	a.used -= chunkSize
	a.free = append(a.free, b)
}

// begin gives package i its turn: its control files, and its data as a reader. It is
// called for one package after the other.
func (a *ahead) begin(i int) (*debFile, io.Reader, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.turn = i
	a.moved.Broadcast()
	w := a.packs[i]
	for !w.opened && !w.done && a.ctx.Err() == nil {
		a.moved.Wait()
	}
	if w.opened {
		return w.deb, &turnReader{a: a, w: w}, nil
	}
	if w.err != nil {
		return nil, nil, w.err
	}
	return nil, nil, a.ctx.Err()
}

// turnReader reads what comes out of the package whose turn it is.
type turnReader struct {
	a  *ahead
	w  *waiting
	at int // in the first chunk
}

func (r *turnReader) Read(p []byte) (int, error) {
	r.a.mu.Lock()
	defer r.a.mu.Unlock()
	for len(r.w.chunks) == 0 {
		switch {
		case r.a.ctx.Err() != nil:
			return 0, r.a.ctx.Err()
		case r.w.done && r.w.err != nil:
			return 0, r.w.err
		case r.w.done:
			return 0, io.EOF
		}
		r.a.moved.Wait()
	}
	first := r.w.chunks[0]
	n := copy(p, first[r.at:])
	if r.at += n; r.at == len(first) {
		r.w.chunks = r.w.chunks[1:]
		r.at = 0
		r.a.giveBack(first)
		r.a.moved.Broadcast()
	}
	return n, nil
}
