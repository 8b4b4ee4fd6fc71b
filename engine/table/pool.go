package table

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"slices"
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
// memory goes to a file without a name, in parts that are then sorted one by one.
type pool struct {
	temp   string
	limit  int // prints in memory
	held   int
	memory [2][parts][]print
	files  [parts]*partFile
}

type partFile struct {
	f *os.File
	w *bufio.Writer
}

func newPool(o Options) *pool {
	return &pool{temp: o.Temp, limit: int(o.Memory / 4 / 24)}
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

// read appends a part's prints to those of both tables.
func (f *partFile) read(all *[2][]print) error {
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
		all[row&1] = append(all[row&1], print{
			fingerprint{binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint64(b[8:])}, int64(row >> 1),
		})
	}
}

func (p *pool) close() {
	for _, f := range p.files {
		if f != nil {
			f.f.Close() // has no name: nothing is left of it
		}
	}
}

// each gives the prints of both tables, a part at a time: equal ones are together.
func (p *pool) each(do func(a, b []print) bool) error {
	for part := range parts {
		all := [2][]print{p.memory[0][part], p.memory[1][part]}
		if p.files[part] != nil {
			if err := p.files[part].read(&all); err != nil {
				return err
			}
		}
		if !do(all[0], all[1]) {
			return nil
		}
	}
	return nil
}

func comparePrints(x, y print) int {
	return cmp.Or(cmp.Compare(x.fingerprint[0], y.fingerprint[0]), cmp.Compare(x.fingerprint[1], y.fingerprint[1]))
}

// pairs calls each with rows of equal fingerprints, every row once at most, the
// first of one table with the first of the other.
func (p *pool) pairs(each func(rowA, rowB int64)) error {
	return p.each(func(a, b []print) bool {
		for _, side := range [][]print{a, b} {
			slices.SortFunc(side, func(x, y print) int { return cmp.Or(comparePrints(x, y), cmp.Compare(x.row, y.row)) })
		}
		for len(a) > 0 && len(b) > 0 {
			switch c := comparePrints(a[0], b[0]); {
			case c < 0:
				a = a[1:]
			case c > 0:
				b = b[1:]
			default:
				each(a[0].row, b[0].row)
				a, b = a[1:], b[1:]
			}
		}
		return true
	})
}
