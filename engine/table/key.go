package table

import (
	"cmp"
	"context"
	"errors"
	"slices"
)

var errNoKey = errors.New("a null is no key")

// pairByKey pairs rows by the first column that could be a key and is one: it has a
// value in every row, and no value twice, in both tables. It gives its place among the
// common columns, -1 when there is none, and the pairs.
//
// Only the rows that differ are read at first. Where their places tell the same pairs,
// as they do when cells were changed here and there and rows came and went between,
// nothing depends on whether the others' keys differ too, and a is not read for it: a
// column that tells those is preferred to one before it, and then one that tells more.
// Many rows are not paired by place before, which takes longer.
func (c *comparison) pairByKey(ctx context.Context, byPlace *pairing) (int, *pairing, error) {
	if len(c.schema.common) < 2 {
		return -1, nil, nil // a value that changed would be another key
	}
	candidates, err := c.candidates(ctx)
	if err != nil {
		return -1, nil, err
	}
	joined := map[int]*pairing{} // by column
	tried := candidates[:min(len(candidates), 2)]
	for _, k := range tried {
		byKey := c.newPairing()
		ok, err := c.readKeys(ctx, k, &c.al.free[0], func(keys *pool) (bool, error) { return keys.join(ctx, byKey) })
		if err != nil {
			return -1, nil, err
		}
		if !ok {
			continue
		}
		if byKey.changed > 0 && byKey.like(byPlace) {
			return k, byKey, nil
		}
		joined[k] = byKey
		if byKey.partner == nil { // so many rows are not read for another column before this one is none
			if ok, err := c.isKey(ctx, k, byKey, byPlace); ok || err != nil {
				return k, byKey, err
			}
			delete(joined, k)
		}
	}
	tried = slices.DeleteFunc(tried, func(k int) bool { return joined[k] == nil })
	slices.SortStableFunc(tried, func(k, l int) int { return cmp.Compare(joined[l].changed, joined[k].changed) })
	for _, k := range tried {
		if ok, err := c.isKey(ctx, k, joined[k], byPlace); ok || err != nil {
			return k, joined[k], err
		}
	}
	return -1, nil, nil
}

// isKey looks at all rows, where something depends on it.
func (c *comparison) isKey(ctx context.Context, k int, byKey, byPlace *pairing) (bool, error) {
	if byKey.like(byPlace) {
		return true, nil
	}
	return c.readKeys(ctx, k, allRows(c.t[0].count), func(keys *pool) (bool, error) { return keys.unique(ctx, &c.al.free[0]) })
}

// keyKinds are what keys are made of. Doubles are none: measurements differ from each
// other and mean nothing by it.
var keyKinds = [kinds]bool{kindInteger: true, kindText: true, kindString: true, kindDate: true, kindTimestamp: true}

// candidates are the common columns that are keys as far as the first rows tell.
func (c *comparison) candidates(ctx context.Context) ([]int, error) {
	var no [2][]bool
	err := both(ctx, func(ctx context.Context, i int) error {
		places := c.schema.places(i)
		no[i] = make([]bool, len(places))
		seen := make([]map[uint64]bool, len(places))
		for k := range seen {
			seen[k] = map[uint64]bool{}
		}
		head := allRows(min(c.t[i].count, max(1, min(batch, int64(1<<20/(len(places)+1))))))
		return c.t[i].visit(ctx, head, func(_ int64, cells [][]byte) error {
			for k, place := range places {
				cell := cells[place]
				if no[i][k] {
					continue
				}
				h := cellHash(cell)
				no[i][k] = cell == nil || seen[k][h]
				if !no[i][k] {
					kind, _ := c.t[i].classify(place, cell)
					no[i][k] = !keyKinds[kind]
				}
				seen[k][h] = true
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	keys := []int{}
	for k := range c.schema.common {
		if !no[0][k] && !no[1][k] {
			keys = append(keys, k)
		}
	}
	return keys, nil
}

// readKeys reads a column of some rows of a, and of those rows of b that a has not:
// the others are equal to rows of a, so their keys differ if a's do.
func (c *comparison) readKeys(ctx context.Context, k int, ofA *rowset, then func(*pool) (bool, error)) (bool, error) {
	keys := newPool(c.o)
	defer keys.close()
	for i, some := range [2]*rowset{ofA, &c.al.free[1]} {
		place := c.schema.common[k][i]
		err := c.t[i].read(ctx, some, func(row int64, r splitter, raw []byte) error {
			cell := r.cell(raw, place)
			if cell == nil {
				return errNoKey
			}
			return keys.add(i, print{c.seeds.of(cell), row})
		})
		if err == errNoKey {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
	return then(keys)
}

// unique says whether no key of a or b is there twice, nor is one of b that of a row of a
// that is not free.
func (p *pool) unique(ctx context.Context, free *rowset) (bool, error) {
	return p.matches(ctx, func(rowA, _ int64) bool { return free.has(rowA) })
}

// join pairs rows of one key, unless a key is there twice.
func (p *pool) join(ctx context.Context, to *pairing) (bool, error) {
	return p.matches(ctx, func(rowA, rowB int64) bool {
		to.add(rowA, rowB)
		return true
	})
}

// matches calls each with the rows that have one key, and says whether all are good and
// no key is there twice in a table. Of those that are, some may have been given already.
func (p *pool) matches(ctx context.Context, each func(rowA, rowB int64) bool) (bool, error) {
	good := true
	err := p.shares(func(s share) (bool, error) {
		t, full := newTally(p.most), false
		err := s.each(ctx, func(side int, x print) bool {
			rows := t.at(x.fingerprint)
			if full = rows == nil; full {
				return false
			}
			good = good && rows[side] == 0
			rows[side] = x.row + 1
			return good
		})
		if full {
			return false, errFull
		}
		for _, e := range t.entries {
			if e.n[0] > 0 && e.n[1] > 0 {
				good = good && each(e.n[0]-1, e.n[1]-1)
			}
		}
		return good, err
	})
	return good, err
}
