package table

import (
	"context"
	"math"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// distributions compares how the values of columns are distributed. Rows that both
// tables have are read from a alone and count for both.
func (c *comparison) distributions(ctx context.Context) error {
	differ, err := c.differing(ctx)
	if err != nil {
		return err
	}
	l := limitsOf(len(differ)+len(c.schema.added)+len(c.schema.removed), max(c.t[0].count, c.t[1].count))
	w := work{limits: l, columns: make([]int, 0, len(differ))}
	for _, k := range differ {
		w.columns = append(w.columns, c.schema.common[k][0])
	}
	w.columns = append(w.columns, c.schema.removed...)
	all := allRows(c.t[0].count)
	both, onlyA, err := c.t[0].summaries(ctx, w, all, &c.al.free[0])
	if err != nil {
		return err
	}
	w.columns = w.columns[:0:0]
	for _, k := range differ {
		w.columns = append(w.columns, c.schema.common[k][1])
	}
	w.columns = append(w.columns, c.schema.added...)
	some := &c.al.free[1]
	if len(c.schema.added) > 0 {
		some = allRows(c.t[1].count)
	}
	bothB, onlyB, err := c.t[1].summaries(ctx, w, some, &c.al.free[1])
	if err != nil {
		return err
	}
	for i, k := range differ {
		c.compareColumn(k, []part{{both[i], true, true}, {onlyA[i], true, false}, {onlyB[i], false, true}})
	}
	for i := range c.schema.removed {
		setType(&c.diff.Columns.Removed[i], both[len(differ)+i], onlyA[len(differ)+i])
	}
	for i := range c.schema.added {
		setType(&c.diff.Columns.Added[i], bothB[len(differ)+i], onlyB[len(differ)+i])
	}
	return nil
}

func setType(column *Column, parts ...*summary) {
	if column.Type == "" {
		column.Type = typeOf(kindsOf(parts...))
	}
}

func kindsOf(parts ...*summary) (sum [kinds]int64) {
	for _, p := range parts {
		for k, n := range p.kinds {
			sum[k] += n
		}
	}
	return sum
}

// differing are the common columns whose values are not the same in both tables, in
// whatever order: those of the rows that no row equals tell it.
func (c *comparison) differing(ctx context.Context) ([]int, error) {
	var sums [2][]uint64
	err := both(ctx, func(ctx context.Context, i int) error {
		places := c.schema.places(i)
		sums[i] = make([]uint64, len(places))
		return c.t[i].visit(ctx, &c.al.free[i], func(_ int64, cells [][]byte) error {
			for k, place := range places {
				sums[i][k] += mix(cellHash(cells[place]))
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	var differ []int
	for k := range c.schema.common {
		if c.al.free[0].count != c.al.free[1].count || sums[0][k] != sums[1][k] {
			differ = append(differ, k)
		}
	}
	return differ, nil
}

// compareColumn adds a column's shift, and its types if they differ.
func (c *comparison) compareColumn(k int, parts []part) {
	place := c.schema.common[k]
	a, b := c.t[0].columns()[place[0]], c.t[1].columns()[place[1]]
	shift := ColumnShift{Name: a.Name}
	numbers := numbersOf(parts)
	shift.A = distribution(a.Type, numbers, parts[0], parts[1])
	shift.B = distribution(b.Type, numbers, parts[0], parts[2])
	// A column without a value has no type that could have changed.
	if a.Type == "" && shift.A.Type != shift.B.Type && shift.A.Type != "null" && shift.B.Type != "null" {
		c.diff.Columns.Retyped = append(c.diff.Columns.Retyped, Retype{Name: a.Name, Old: shift.A.Type, New: shift.B.Type})
	}
	for _, p := range parts {
		shift.Sampled = shift.Sampled || int64(len(p.hashes)) < p.values()
	}
	switch {
	case len(shift.A.Quantiles) > 0 && len(shift.B.Quantiles) > 0:
		shift.Measure, shift.Shift = "ks", kolmogorov(numbers)
	case parts[0].values()+parts[1].values() > 0 && parts[0].values()+parts[2].values() > 0:
		shift.Measure, shift.Shift = "psi", stability(hashesOf(parts))
	}
	shift.Shift = math.Round(shift.Shift*1e6) / 1e6
	shift.Size = sizeOf(shift.Measure, shift.Shift)
	c.diff.Shifts = append(c.diff.Shifts, shift)
}

func distribution(declared string, numbers []weighted[float64], shared, own part) Distribution {
	// The parts stay as they are: the shared one is the other table's as well.
	sum := newSummary(limits{distinct: shared.distinct.limit, precision: shared.distinct.precision})
	for _, p := range []part{shared, own} {
		one := *p.summary
		one.numbers, one.hashes = nil, nil
		sum.merge(&one)
	}
	d := Distribution{Type: declared, Nulls: sum.nulls, NotFinite: sum.notFinite, Quantiles: []float64{}}
	if declared == "" {
		d.Type = typeOf(sum.kinds)
	}
	d.Distinct, d.DistinctExact = sum.distinct.count()
	if !ordered(sum.kinds) {
		d.Min, d.Max = value(sum.first), value(sum.last)
		return d
	}
	d.Min, d.Max = value(sum.leastText), value(sum.mostText)
	weight := func(w weighted[float64]) float64 { return w.a }
	if own.b {
		weight = func(w weighted[float64]) float64 { return w.b }
	}
	d.Quantiles = quantiles(numbers, weight)
	if sum.finite > 0 && sum.kinds[kindDate]+sum.kinds[kindTimestamp] == 0 {
		mean := (sum.sum + sum.lost) / float64(sum.finite)
		if !math.IsInf(mean, 0) && !math.IsNaN(mean) {
			d.Mean = &mean
		}
	}
	return d
}

// work is which columns to summarise, in what space.
type work struct {
	limits
	columns []int
}

// summaries makes those of the rows that are not free, and of those that are. The
// table is read in as many parts as it has, which do not depend on the machine, so
// sums of doubles come out the same everywhere.
func (t *side) summaries(ctx context.Context, w work, some, free *rowset) (shared, own []*summary, err error) {
	pieces := t.pieces(len(w.columns))
	type result struct{ shared, own []*summary }
	results := make([]result, len(pieces)-1)
	masks := [2]uint64{maskFor(some.count-free.count, w.sample), maskFor(free.count, w.sample)}
	group, ctx := errgroup.WithContext(ctx)
	var next atomic.Int32
	for range min(2, len(results)) {
		group.Go(func() error {
			for i := int(next.Add(1)) - 1; i < len(results); i = int(next.Add(1)) - 1 {
				r := &results[i]
				r.shared, r.own = w.summaries(), w.summaries()
				err := t.visit(ctx, some.between(pieces[i], pieces[i+1]), func(row int64, cells [][]byte) error {
					sums, mask := r.shared, masks[0]
					if free.has(row) {
						sums, mask = r.own, masks[1]
					}
					sampled := mix(uint64(row))&mask == 0
					for k, column := range w.columns {
						sums[k].add(cells[column], t, column, sampled)
					}
					return nil
				})
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, nil, err
	}
	shared, own = w.summaries(), w.summaries()
	for _, r := range results {
		for k := range w.columns {
			shared[k].merge(r.shared[k])
			own[k].merge(r.own[k])
		}
	}
	return shared, own, nil
}

func (w work) summaries() []*summary {
	s := make([]*summary, len(w.columns))
	for k := range s {
		s[k] = newSummary(w.limits)
	}
	return s
}

// maskFor makes a sample of about n rows, all if there are no more: it takes those whose
// mixed number has none of its bits.
func maskFor(rows int64, n int) uint64 {
	mask := uint64(0)
	for rows>>1 >= int64(n) {
		mask = mask<<1 | 1
		rows >>= 1
	}
	return mask
}

// pieces are where to cut the table's rows: at marks, and where summaries take much
// memory not at all.
func (t *side) pieces(columns int) []int64 {
	const most = 8
	if columns > 256 || len(t.marks) < 2*most {
		return []int64{0, t.count}
	}
	cuts := []int64{}
	for i := range most {
		cuts = append(cuts, t.marks[i*len(t.marks)/most].row)
	}
	return append(cuts, t.count)
}
