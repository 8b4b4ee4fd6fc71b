package table

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// fingerprint stands for a row or a cell. Its 128 bits are made with seeds that only
// the process knows, so nobody can write two rows that share one.
type fingerprint [2]uint64

// print is a fingerprint and where it was met.
type print struct {
	fingerprint
	row int64
}

const parts = 64

// pool finds equal fingerprints among two tables' rows in any order. What exceeds its
// memory goes to a file without a name, in parts that are then looked at one by one.
//
// A part's size depends on how often rows repeat (a table of one row a million times is
// one part), so it is never in memory whole: it is read as often as needed, and only
// what is known of each fingerprint is kept (tally). Where there are too many different
// ones even for that, half of them are looked at at a time.
type pool struct {
	temp   string
	limit  int // prints in memory
	most   int // different fingerprints that are looked at together
	held   int
	memory [2][parts][]print
	files  [parts]*partFile
}

type partFile struct {
	f *os.File
	w *bufio.Writer
}

func newPool(o Options) *pool {
	return &pool{temp: o.Temp, limit: int(o.Memory / 8 / 24), most: int(o.Memory / 4 / 96)}
}

// add takes a print of table a (0) or b (1).
func (p *pool) add(side int, x print) error {
	part := x.fingerprint[0] % parts
	p.memory[side][part] = append(p.memory[side][part], x)
	if p.held++; p.held < p.limit {
		return nil
	}
	return p.spill()
}

func (p *pool) spill() error {
	for part := range parts {
		if p.files[part] == nil {
			f, err := os.CreateTemp(p.temp, "rows-*")
			if err != nil {
				return fmt.Errorf("compare rows: %w", err)
			}
			p.files[part] = &partFile{f, bufio.NewWriterSize(f, 32<<10)}
			if err := os.Remove(f.Name()); err != nil {
				return fmt.Errorf("compare rows: %w", err)
			}
		}
		for side := range 2 {
			for _, x := range p.memory[side][part] {
				if err := p.files[part].write(side, x); err != nil {
					return err
				}
			}
			p.memory[side][part] = p.memory[side][part][:0]
			if cap(p.memory[side][part]) > p.limit/parts { // next time another part may be as large
				p.memory[side][part] = nil
			}
		}
	}
	p.held = 0
	return nil
}

func (f *partFile) write(side int, x print) error {
	b := f.w.AvailableBuffer()
	b = binary.LittleEndian.AppendUint64(b, x.fingerprint[0])
	b = binary.LittleEndian.AppendUint64(b, x.fingerprint[1])
	b = binary.LittleEndian.AppendUint64(b, uint64(x.row)<<1|uint64(side))
	if _, err := f.w.Write(b); err != nil {
		return fmt.Errorf("compare rows: %w", err)
	}
	return nil
}

// read gives a part's prints in the order in which they were written, until yield says
// no.
func (f *partFile) read(yield func(side int, x print) bool) error {
	if err := f.w.Flush(); err != nil {
		return fmt.Errorf("compare rows: %w", err)
	}
	if _, err := f.f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("compare rows: %w", err)
	}
	r := bufio.NewReaderSize(f.f, 256<<10)
	var b [24]byte
	for {
		if _, err := io.ReadFull(r, b[:]); err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("compare rows: %w", err)
		}
		row := binary.LittleEndian.Uint64(b[16:])
		x := print{fingerprint{binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint64(b[8:])}, int64(row >> 1)}
		if !yield(int(row&1), x) {
			return nil
		}
	}
}

func (p *pool) close() {
	for _, f := range p.files {
		if f != nil {
			f.f.Close() // has no name: nothing is left of it
		}
	}
}

// share is some of a pool's prints: all that are equal to one of them are in it.
type share struct {
	p          *pool
	part       int
	bits, mask uint64 // of fingerprints, above those that tell the part
}

// each gives the prints of a share, those of a table in the order in which they were
// added, until yield says no.
func (s share) each(ctx context.Context, yield func(side int, x print) bool) error {
	n, on := 0, true
	some := func(side int, x print) bool {
		if n++; n%batch == 0 && ctx.Err() != nil {
			on = false
		}
		on = on && (x.fingerprint[0]/parts&s.mask != s.bits || yield(side, x))
		return on
	}
	if f := s.p.files[s.part]; f != nil {
		if err := f.read(some); err != nil {
			return err
		}
	}
	for side := range 2 {
		for _, x := range s.p.memory[side][s.part] {
			if on && !some(side, x) {
				break
			}
		}
	}
	return ctx.Err()
}

// errFull says that a share has too many different fingerprints, before anything was
// made of it.
var errFull = errors.New("too many different rows")

// shares calls do with all prints, a share at a time, until it says no.
func (p *pool) shares(do func(share) (bool, error)) error {
	if p.files[0] != nil { // so that memory is there for the tallies
		if err := p.spill(); err != nil {
			return err
		}
		p.memory = [2][parts][]print{}
	}
	var halves func(share) (bool, error)
	halves = func(s share) (bool, error) {
		more, err := do(s)
		if err != errFull {
			return more, err
		}
		if s.mask == ^uint64(0)/parts {
			return false, fmt.Errorf("compare rows: %w", err)
		}
		bit := s.mask + 1
		s.mask = s.mask<<1 | 1
		if more, err = halves(s); !more || err != nil {
			return more, err
		}
		s.bits |= bit
		return halves(s)
	}
	for part := range parts {
		if more, err := halves(share{p: p, part: part}); !more || err != nil {
			return err
		}
	}
	return nil
}

// pairs calls each with the rows of both tables that have equal ones in the other: of
// several the first, and as many of one table as of the other.
func (p *pool) pairs(ctx context.Context, each func(side int, row int64)) error {
	return p.shares(func(s share) (bool, error) {
		t, full := newTally(p.most), false
		err := s.each(ctx, func(side int, x print) bool {
			rows := t.at(x.fingerprint)
			if full = rows == nil; !full {
				rows[side]++
			}
			return !full
		})
		if full {
			return false, errFull
		}
		if err != nil {
			return false, err
		}
		for i := range t.entries {
			n := &t.entries[i].n
			n[0] = min(n[0], n[1])
			n[1] = n[0]
		}
		err = s.each(ctx, func(side int, x print) bool {
			if n := t.at(x.fingerprint); n[side] > 0 {
				n[side]--
				each(side, x.row)
			}
			return true
		})
		return true, err
	})
}
