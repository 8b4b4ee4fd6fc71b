package table

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
)

// side is one of the two tables and what is known of it.
type side struct {
	source
	c     *content
	marks []mark // where to read from, some rows apart
	count int64  // rows
	kept  *kept  // rows that are asked for often, nil if there are none or too many
}

// seeds makes fingerprints.
type seeds [2]maphash.Seed

func newSeeds() seeds { return seeds{maphash.MakeSeed(), maphash.MakeSeed()} }

func (s seeds) of(b []byte) fingerprint {
	return fingerprint{maphash.Bytes(s[0], b), maphash.Bytes(s[1], b)}
}

// scan reads the table for the first time: it checks every row, sets the marks, and
// yields each row as the file has it.
func (t *side) scan(s seeds) prints {
	return func(ctx context.Context, yield func(print) error) error {
		r, err := t.rows(ctx, mark{})
		if err != nil {
			return err
		}
		defer r.close()
		t.marks = []mark{r.mark()}
		for {
			if t.count%often == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
			if m := r.mark(); m.row > 0 && m.row%batch == 0 {
				t.marks = append(t.marks, m)
			}
			raw, err := r.next()
			if err == io.EOF {
				return nil
			}
			if err == nil {
				err = r.check(raw)
			}
			if err == nil {
				err = yield(print{s.of(raw), t.count})
			}
			if err != nil {
				return err
			}
			t.count++
		}
	}
}

// visit reads the cells of some rows, in order, with their numbers counted from 0.
// The cells last as long as the call.
func (t *side) visit(ctx context.Context, some *rowset, each func(row int64, cells [][]byte) error) error {
	var cells [][]byte
	return t.read(ctx, some, func(row int64, r splitter, raw []byte) error {
		cells = r.cells(raw, cells)
		return each(row, cells)
	})
}

// read reads some rows, in order, and passes by the marks between which there are none.
func (t *side) read(ctx context.Context, some *rowset, each func(row int64, r splitter, raw []byte) error) error {
	if t.kept.has(some) {
		return t.kept.read(some, t.splitter(), each)
	}
	var r rowReader
	defer func() {
		if r != nil {
			r.close()
		}
	}()
	at, m, steps := int64(0), 0, 0
	next := func() ([]byte, error) {
		if steps++; steps%often == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return r.next()
	}
	for want := some.next(0); want >= 0; want = some.next(want + 1) {
		for m+1 < len(t.marks) && t.marks[m+1].row <= want {
			m++
		}
		if r == nil || t.marks[m].row > at {
			if r != nil {
				r.close()
			}
			var err error
			if r, err = t.rows(ctx, t.marks[m]); err != nil {
				return err
			}
			at = t.marks[m].row
		}
		raw, err := next()
		for ; err == nil && at < want; at++ {
			raw, err = next()
		}
		if err != nil {
			return fmt.Errorf("read row %d of %q again: %w", want+1, t.c.name, err)
		}
		at++
		if err := each(want, r, raw); err != nil {
			return err
		}
	}
	return nil
}

// project yields some rows as the cells of some columns.
func (t *side) project(s seeds, some *rowset, columns []int) prints {
	return func(ctx context.Context, yield func(print) error) error {
		var b []byte
		return t.visit(ctx, some, func(row int64, cells [][]byte) error {
			b = b[:0]
			for _, c := range columns {
				b = appendCell(b, cells[c])
			}
			return yield(print{s.of(b), row})
		})
	}
}

func appendCell(b, cell []byte) []byte {
	if cell == nil {
		return append(b, 0)
	}
	return append(binary.AppendUvarint(b, uint64(len(cell))+1), cell...)
}

// kept is rows in memory. Rows that differ are looked at several times, and where there
// is one in every few thousand each time would read the whole table.
type kept struct {
	rows  map[int64][]byte
	bytes int64
}

// keep reads rows to be kept, unless they take more memory than that.
func (t *side) keep(ctx context.Context, some *rowset, most int64) error {
	const overhead = 64 // of a row
	k := &kept{rows: map[int64][]byte{}}
	if some.count*overhead > most {
		return nil
	}
	err := t.read(ctx, some, func(row int64, _ splitter, raw []byte) error {
		if k.bytes += int64(len(raw)) + overhead; k.bytes > most {
			return errTooMany
		}
		k.rows[row] = bytes.Clone(raw)
		return nil
	})
	if err == errTooMany {
		return nil
	}
	t.kept = k
	return err
}

var errTooMany = errors.New("too many rows to keep")

// has says whether all of some rows are kept.
func (k *kept) has(some *rowset) bool {
	if k == nil || some.count > int64(len(k.rows)) {
		return false
	}
	for row := some.next(0); row >= 0; row = some.next(row + 1) {
		if _, ok := k.rows[row]; !ok {
			return false
		}
	}
	return true
}

func (k *kept) read(some *rowset, s splitter, each func(row int64, r splitter, raw []byte) error) error {
	for row := some.next(0); row >= 0; row = some.next(row + 1) {
		if err := each(row, s, k.rows[row]); err != nil {
			return err
		}
	}
	return nil
}
