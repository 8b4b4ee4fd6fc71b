package table

import (
	"context"
	"hash/maphash"

	"golang.org/x/sync/errgroup"
)

// placed is a row without a partner and the gap it lies in: how many rows before it
// have an equal one beside them, which is the same number in both tables.
type placed struct {
	row, gap int64
	cells    []uint64 // what stands for those of common columns
}

// together is how many rows of a gap are looked at together, and near how far from
// its place a row is looked for.
const together, near = 64, 8

// alike is how many cells two rows have to have in common to be one row that changed:
// half of them but one. With less, one row went and another came. Where there is a key
// by which they were not paired, it is all others, and two at least.
func (c *comparison) alike(key int) int {
	columns := len(c.schema.common)
	if key >= 0 {
		return max(columns-1, 2)
	}
	return columns / 2
}

// pairByPlace pairs rows between the same rows that did not change, in order, which
// have so many cells in common.
func (c *comparison) pairByPlace(ctx context.Context, p *pairing, least int) error {
	rest := [2]rowset{p.rest[0].clone(), p.rest[1].clone()}
	group, ctx := errgroup.WithContext(ctx)
	var from [2]chan placed
	for i := range c.t {
		from[i] = make(chan placed, max(1, min(16*together, 1<<20/max(1, len(c.schema.common)))))
		group.Go(func() error {
			defer close(from[i])
			return c.place(ctx, i, &rest[i], from[i])
		})
	}
	group.Go(func() error {
		a, b := &gaps{in: from[0]}, &gaps{in: from[1]}
		for a.peek() && b.peek() {
			gap := min(a.head.gap, b.head.gap)
			p.gap(a.take(gap), b.take(gap), least)
		}
		for a.peek() || b.peek() { // or who sends would wait
			a.take(-1)
			b.take(-1)
		}
		return nil
	})
	return group.Wait()
}

// place sends rows with the gaps they lie in.
func (c *comparison) place(ctx context.Context, side int, some *rowset, to chan<- placed) error {
	rank := ranker{s: &c.al.loose[side]}
	places := c.schema.places(side)
	return c.t[side].visit(ctx, some, func(row int64, cells [][]byte) error {
		x := placed{row: row, gap: row - rank.below(row), cells: c.seeds.all(cells, places)}
		select {
		case to <- x:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}

// all stand for some of a row's cells: a row can be long, and many wait.
func (s seeds) all(cells [][]byte, places []int) []uint64 {
	all := make([]uint64, len(places))
	for k, place := range places {
		if cell := cells[place]; cell != nil {
			all[k] = maphash.Bytes(s[0], cell) | 1 // a null is none
		}
	}
	return all
}

// gaps takes rows from a channel by the gap.
type gaps struct {
	in   <-chan placed
	head *placed
}

func (g *gaps) peek() bool {
	if g.head == nil {
		if x, ok := <-g.in; ok {
			g.head = &x
		}
	}
	return g.head != nil
}

// take takes the next rows that lie in a gap, any gap if it is -1.
func (g *gaps) take(gap int64) []placed {
	var rows []placed
	for len(rows) < together && g.peek() && (gap < 0 || g.head.gap == gap) {
		rows = append(rows, *g.head)
		g.head = nil
	}
	return rows
}

// gap pairs the rows of one gap.
func (p *pairing) gap(a, b []placed, least int) {
	if len(a) == len(b) && allAlike(a, b, least) {
		for i := range a {
			p.placed(&a[i], &b[i])
		}
		return
	}
	from := 0
	for i := range a {
		best, most := -1, least-1
		for j := from; j < min(len(b), from+near); j++ {
			if equal := common(a[i].cells, b[j].cells); equal > most {
				best, most = j, equal
			}
		}
		if best >= 0 {
			p.placed(&a[i], &b[best])
			from = best + 1
		}
	}
}

func (p *pairing) placed(a, b *placed) {
	p.add(a.row, b.row)
	if p.several != nil && common(a.cells, b.cells) < len(a.cells)-1 {
		p.several[a.row] = true
	}
}

func allAlike(a, b []placed, least int) bool {
	for i := range a {
		if common(a[i].cells, b[i].cells) < least {
			return false
		}
	}
	return true
}

// common is how many cells are equal.
func common(a, b []uint64) int {
	equal := 0
	for k := range a {
		if a[k] == b[k] {
			equal++
		}
	}
	return equal
}
