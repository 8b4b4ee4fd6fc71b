package table

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"
)

// Compare tells what differs from table a to table b. An error is ErrForm when one of
// them is not of the form that its name says, or they are of two forms.
func Compare(ctx context.Context, a, b File, o Options) (*Diff, error) {
	o = o.withDefaults()
	caller := ctx
	ctx, cancel := context.WithTimeout(ctx, o.Time)
	defer cancel()
	var t [2]*side
	for i, f := range []File{a, b} {
		c, err := f.open()
		if err != nil {
			return nil, err
		}
		defer c.close()
		c.second = i == 1
		t[i] = &side{c: c}
	}
	if t[0].c.form != t[1].c.form {
		return nil, t[1].c.wrong(0, "the other file, %q, is %s", a.Name, t[0].c.form)
	}
	for _, side := range t {
		var err error
		if side.source, err = openSource(ctx, side.c, o); err != nil {
			return nil, err
		}
		defer side.close()
	}
	c := &comparison{t: t, o: o, seeds: newSeeds(), diff: newDiff()}
	err := c.run(ctx)
	if err != nil && caller.Err() == nil {
		err = c.without(caller, err)
	}
	if err != nil {
		return nil, fmt.Errorf("compare tables: %w", err)
	}
	return c.diff, nil
}

// comparison is one Compare under way.
type comparison struct {
	t      [2]*side
	o      Options
	seeds  seeds
	schema *schema
	al     *alignment // of whole rows, then of common cells
	diff   *Diff
}

// without tells what there is to tell without comparing rows, where that has a limit as
// its reason: how large the tables are, and their columns if they are known.
func (c *comparison) without(ctx context.Context, reason error) error {
	var wide *wideError
	var memory *memoryError
	switch {
	case errors.As(reason, &wide), errors.As(reason, &memory):
		if c.schema, reason = nil, wide; wide == nil { // then it is Parquet, whose columns are known
			c.schema, c.al, reason = match(c.t[0].columns(), c.t[1].columns()), &alignment{}, memory
		}
		ctx, cancel := context.WithTimeout(ctx, c.o.Time)
		defer cancel()
		err := both(ctx, func(ctx context.Context, i int) (err error) {
			c.t[i].count, err = c.t[i].rowCount(ctx)
			return err
		})
		if err != nil {
			return err
		}
	case errors.Is(reason, context.DeadlineExceeded):
		reason = &timeError{c.o.Time}
		if c.schema == nil { // not even read to the end
			return reason
		}
		if c.al == nil {
			c.al = &alignment{}
		}
	default:
		return reason
	}
	same := c.diff.Same
	c.diff = newDiff()
	c.sizes()
	c.diff.Same, c.diff.Rows.Moved, c.diff.Note = same, 0, "rows are not compared: "+reason.Error()
	return nil
}

func newDiff() *Diff {
	return &Diff{
		Columns: Columns{Added: []Column{}, Removed: []Column{}, Renamed: []Rename{}, Retyped: []Retype{}, Moved: []Move{}},
		Rows:    Rows{FirstAdded: []Row{}, FirstRemoved: []Row{}, FirstChanged: []RowChange{}},
		Shifts:  []ColumnShift{},
	}
}

func (c *comparison) run(ctx context.Context) error {
	same := false
	if c.t[0].c.size == c.t[1].c.size {
		var err error
		if same, err = sameBytes(ctx, c.t[0].c, c.t[1].c); err != nil {
			return err
		}
	}
	if same {
		return c.same(ctx)
	}
	agree(c.t)
	if err := c.alignRows(ctx); err != nil {
		return err
	}
	c.sizes()
	if err := c.pair(ctx); err != nil {
		return err
	}
	if err := c.distributions(ctx); err != nil {
		return err
	}
	d := c.diff
	d.Same = len(d.Columns.Added)+len(d.Columns.Removed)+len(d.Columns.Renamed)+len(d.Columns.Retyped)+len(d.Columns.Moved) == 0 &&
		d.Rows.Added+d.Rows.Removed+d.Rows.Changed+d.Rows.Moved == 0
	return nil
}

// same is for files of the same bytes: one is read, for it may still not be of its
// form, and for its size.
func (c *comparison) same(ctx context.Context) error {
	c.diff.Same = true
	if err := c.t[0].scan(c.seeds)(ctx, func(print) error { return nil }); err != nil {
		return err
	}
	c.t[1].source, c.t[1].count = c.t[0].source, c.t[0].count
	c.sizes()
	c.diff.Columns.Common = len(c.t[0].columns())
	return nil
}

// agree lets two CSV files that begin with the same row both have a header or none:
// which one it is depends on the rows that follow.
func agree(t [2]*side) {
	a, okA := t[0].source.(*csvSource)
	b, okB := t[1].source.(*csvSource)
	if !okA || !okB || a.header == b.header || len(a.first) != len(b.first) || len(a.first) == 0 {
		return
	}
	for i := range a.first {
		if string(a.first[i]) != string(b.first[i]) {
			return
		}
	}
	a.setHeader(true)
	b.setHeader(true)
}

// alignRows finds equal rows: as the files have them first, which is fast, then by the
// cells of common columns.
func (c *comparison) alignRows(ctx context.Context) error {
	raw, err := align(ctx, [2]prints{c.t[0].scan(c.seeds), c.t[1].scan(c.seeds)}, c.o)
	if err != nil {
		return err
	}
	c.schema = match(c.t[0].columns(), c.t[1].columns())
	if err := c.schema.rename(ctx, c.t); err != nil {
		return err
	}
	if c.comparable() {
		c.al = raw
	} else {
		c.al = &alignment{}
		for i, t := range c.t {
			c.al.free[i] = *allRows(t.count)
		}
	}
	err = both(ctx, func(ctx context.Context, i int) error { return c.t[i].keep(ctx, &c.al.free[i], c.o.Memory/8) })
	if err != nil {
		return err
	}
	cells, err := align(ctx, [2]prints{
		c.t[0].project(c.seeds, &c.al.free[0], c.schema.places(0)),
		c.t[1].project(c.seeds, &c.al.free[1], c.schema.places(1)),
	}, c.o)
	if err != nil {
		return err
	}
	c.al.free = cells.free
	c.al.moved += cells.moved
	if c.al != raw {
		c.al.loose = cells.loose
	}
	return nil
}

// comparable says whether rows of the same bytes have the same cells in both files.
func (c *comparison) comparable() bool {
	if a, ok := c.t[0].source.(*csvSource); ok {
		b := c.t[1].source.(*csvSource)
		return a.delim == b.delim && c.schema.aligned()
	}
	return c.t[0].c.form == JSONLines || c.schema.aligned()
}

// sizes fills in all that is known once both tables have been read.
func (c *comparison) sizes() {
	d := c.diff
	d.Form = c.t[0].c.form
	for i, z := range []*Size{&d.A, &d.B} {
		t := c.t[i]
		*z = Size{Name: t.c.name, Form: t.c.form, Rows: t.count, Bytes: t.c.size}
		t.describe(z)
	}
	s := c.schema
	if s == nil {
		return
	}
	a, b := c.t[0].columns(), c.t[1].columns()
	d.Columns.Common = len(s.common)
	d.Columns.Moved = s.moves(a)
	for _, r := range s.renamed {
		d.Columns.Renamed = append(d.Columns.Renamed, Rename{Old: a[r[0]].Name, New: b[r[1]].Name})
	}
	for _, p := range s.common {
		if old, now := a[p[0]].Type, b[p[1]].Type; old != now {
			d.Columns.Retyped = append(d.Columns.Retyped, Retype{Name: a[p[0]].Name, Old: old, New: now})
		}
	}
	for _, i := range s.removed {
		d.Columns.Removed = append(d.Columns.Removed, a[i])
	}
	for _, j := range s.added {
		d.Columns.Added = append(d.Columns.Added, b[j])
	}
	d.Rows.Moved = c.al.moved
}

// both runs something for both tables at once.
func both(ctx context.Context, do func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	for i := range 2 {
		group.Go(func() error { return do(ctx, i) })
	}
	return group.Wait()
}
