package table

import (
	"cmp"
	"context"
	"slices"
)

// pairing is which rows that no row equals are the same row with other values.
type pairing struct {
	first   int // how many pairs to keep
	changed int64
	pairs   [][2]int64 // those of a's first rows, in order
	rest    [2]rowset  // rows without a partner
	sum     uint64     // stands for all pairs

	partner map[int64]int64 // of each of a's rows, nil where they are too many
	several map[int64]bool  // a's rows that differ from theirs in more than one cell, likewise
}

func (c *comparison) newPairing() *pairing {
	p := &pairing{first: c.o.First, rest: [2]rowset{c.al.free[0].clone(), c.al.free[1].clone()}}
	if p.rest[0].count+p.rest[1].count <= few {
		p.partner, p.several = map[int64]int64{}, map[int64]bool{}
	}
	return p
}

func (p *pairing) add(rowA, rowB int64) {
	p.rest[0].remove(rowA)
	p.rest[1].remove(rowB)
	p.changed++
	p.sum += mix(mix(uint64(rowA)) ^ uint64(rowB))
	if p.partner != nil {
		p.partner[rowA] = rowB
	}
	at, _ := slices.BinarySearchFunc(p.pairs, rowA, func(pair [2]int64, row int64) int { return cmp.Compare(pair[0], row) })
	if at >= p.first {
		return
	}
	p.pairs = slices.Insert(p.pairs, at, [2]int64{rowA, rowB})
	p.pairs = p.pairs[:min(len(p.pairs), p.first)]
}

// like says whether two pairings are one.
func (p *pairing) like(o *pairing) bool { return p.changed == o.changed && p.sum == o.sum }

// explains says whether pairs by place are the better answer than those by a column that
// was taken for a key, and may be one by chance: that leaves rows on both sides without a
// partner, and wherever the two disagree the rows at one place differ in one cell. A key
// that changed costs two whole rows, or pairs rows that have nothing to do with each
// other: all else has more cells that changed.
func (p *pairing) explains(byKey *pairing) bool {
	if p.partner == nil || byKey.rest[0].count == 0 || byKey.rest[1].count == 0 {
		return false
	}
	if p.rest[0].count >= byKey.rest[0].count {
		return false
	}
	for rowA, rowB := range p.partner {
		if other, ok := byKey.partner[rowA]; (!ok || other != rowB) && p.several[rowA] {
			return false
		}
	}
	return true
}

// few is how many rows may be looked at by place and by key, to save reading a column
// of all others.
const few = 1 << 16

// pair tells rows that changed from those that came and went: by a key if there is
// one, and the others by their place among the rows that did not change.
func (c *comparison) pair(ctx context.Context) error {
	p, key := c.newPairing(), -1
	if p.rest[0].count > 0 && p.rest[1].count > 0 {
		var err error
		if p, key, err = c.pairRows(ctx, p); err != nil {
			return err
		}
	}
	rows := &c.diff.Rows
	rows.Changed, rows.Removed, rows.Added = p.changed, p.rest[0].count, p.rest[1].count
	if key >= 0 {
		rows.Key = c.t[0].columns()[c.schema.common[key][0]].Name
	}
	return c.show(ctx, p, key)
}

func (c *comparison) pairRows(ctx context.Context, byPlace *pairing) (*pairing, int, error) {
	placed := byPlace.rest[0].count+byPlace.rest[1].count <= few
	if placed {
		if err := c.pairByPlace(ctx, byPlace, c.alike(-1)); err != nil {
			return nil, -1, err
		}
	}
	key, byKey, err := c.pairByKey(ctx, byPlace)
	if err != nil {
		return nil, -1, err
	}
	switch {
	case key >= 0 && byKey.like(byPlace) || key < 0 && placed:
		return byPlace, key, nil
	case key >= 0 && placed && byPlace.explains(byKey):
		return byPlace, -1, nil
	case key >= 0:
		return byKey, key, c.pairByPlace(ctx, byKey, c.alike(key))
	}
	return byPlace, -1, c.pairByPlace(ctx, byPlace, c.alike(-1))
}

// show reads the rows that the Diff quotes.
func (c *comparison) show(ctx context.Context, p *pairing, key int) error {
	lone := [2][]int64{p.rest[0].first(c.o.First), p.rest[1].first(c.o.First)}
	var quoted [2]map[int64][]quote
	err := both(ctx, func(ctx context.Context, i int) error {
		var some rowset
		for _, row := range lone[i] {
			some.add(row)
		}
		for _, pair := range p.pairs {
			some.add(pair[i])
		}
		quoted[i] = map[int64][]quote{}
		return c.t[i].visit(ctx, &some, func(row int64, cells [][]byte) error {
			quoted[i][row] = c.quotes(cells)
			return nil
		})
	})
	if err != nil {
		return err
	}
	rows := &c.diff.Rows
	for _, pair := range p.pairs {
		rows.FirstChanged = append(rows.FirstChanged, c.change(pair, [2][]quote{quoted[0][pair[0]], quoted[1][pair[1]]}, key))
	}
	for i, list := range []*[]Row{&rows.FirstRemoved, &rows.FirstAdded} {
		for _, row := range lone[i] {
			shown := Row{Number: row + 1, Cells: []Value{}}
			for k, column := range c.t[i].columns() {
				shown.Cells = append(shown.Cells, Value{Column: column.Name, Text: quoted[i][row][k].text})
			}
			*list = append(*list, shown)
		}
	}
	return nil
}

func (c *comparison) change(pair [2]int64, cells [2][]quote, key int) RowChange {
	change := RowChange{NumberA: pair[0] + 1, NumberB: pair[1] + 1, Cells: []CellChange{}}
	for k, place := range c.schema.common {
		old, now := cells[0][place[0]], cells[1][place[1]]
		if k == key && old.text != nil && old.sum == now.sum {
			change.Key = *old.text
		}
		if old.sum != now.sum {
			change.Cells = append(change.Cells, CellChange{Column: c.t[0].columns()[place[0]].Name, Old: old.text, New: now.text})
		}
	}
	return change
}

// quote is a cell as it is shown, and what tells it from others.
type quote struct {
	text *string
	sum  fingerprint
}

func (c *comparison) quotes(cells [][]byte) []quote {
	quotes := make([]quote, len(cells))
	for k, cell := range cells {
		quotes[k].text = value(cell)
		if cell != nil {
			quotes[k].sum = c.seeds.of(cell)
		}
	}
	return quotes
}
