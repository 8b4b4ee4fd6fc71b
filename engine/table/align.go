package table

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// batch is how many rows go from one goroutine to another at a time, and between two
// marks of a file.
const batch = 4096

// prints calls yield with the rows of a table, in order.
type prints func(ctx context.Context, yield func(print) error) error

// alignment is which rows of the tables are equal.
type alignment struct {
	loose [2]rowset // rows that no equal row stands beside
	free  [2]rowset // rows that no row of the other table equals; all are loose
	moved int64     // pairs of equal rows that are loose

	stretch int // of races
}

// align reads both tables at once and side by side. Where they part it looks for the
// fewest edits (race.go), and where those are many a little ahead for where the tables
// meet again; what lies between goes through a pool, which finds rows that are equal
// wherever they are.
func align(ctx context.Context, tables [2]prints, o Options) (*alignment, error) {
	al := &alignment{stretch: stretch}
	p := newPool(o)
	defer p.close()
	whole := ctx
	group, ctx := errgroup.WithContext(ctx)
	var feeds [2]*feed
	for i, rows := range tables {
		f := &feed{in: make(chan []print, 4), used: make(chan []print, 4)}
		feeds[i] = f
		group.Go(func() error {
			defer close(f.in)
			return f.produce(ctx, rows)
		})
	}
	group.Go(func() error { return al.walk(ctx, feeds[0], feeds[1], p) })
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return al, al.sort(whole, p)
}

// sort tells rows that are only elsewhere from those that are free.
func (al *alignment) sort(ctx context.Context, p *pool) error {
	al.free = [2]rowset{al.loose[0].clone(), al.loose[1].clone()}
	return p.pairs(ctx, func(side int, row int64) {
		al.free[side].remove(row)
		if side == 0 {
			al.moved++
		}
	})
}

// feed is a table's rows as far as they were read.
type feed struct {
	in     chan []print
	used   chan []print // batches to be filled again
	batch  []print      // the one that window lies in, nil if none
	window []print
	done   bool
}

func (f *feed) produce(ctx context.Context, rows prints) error {
	send := func(b []print) error {
		select {
		case f.in <- b:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	b := make([]print, 0, batch)
	err := rows(ctx, func(x print) error {
		b = append(b, x)
		if len(b) < batch {
			return nil
		}
		if err := send(b); err != nil {
			return err
		}
		select {
		case b = <-f.used:
			b = b[:0]
		default:
			b = make([]print, 0, batch)
		}
		return nil
	})
	if err != nil || len(b) == 0 {
		return err
	}
	return send(b)
}

// need reads until there are n rows in the window, or no more.
func (f *feed) need(ctx context.Context, n int) error {
	for len(f.window) < n && !f.done {
		select {
		case b, ok := <-f.in:
			f.done = !ok
			if len(f.window) > 0 {
				f.window = append(f.window, b...)
				f.reuse(b)
				continue
			}
			f.reuse(f.batch)
			f.batch, f.window = b, b[:len(b):len(b)]
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (f *feed) reuse(b []print) {
	select {
	case f.used <- b:
	default:
	}
}

func (al *alignment) walk(ctx context.Context, a, b *feed, p *pool) error {
	c := &course{feeds: [2]*feed{a, b}, stretch: al.stretch}
	for {
		if err := a.need(ctx, 1); err != nil {
			return err
		}
		if err := b.need(ctx, 1); err != nil {
			return err
		}
		n, most := 0, min(len(a.window), len(b.window))
		for n < most && a.window[n].fingerprint == b.window[n].fingerprint {
			n++
		}
		a.window, b.window = a.window[n:], b.window[n:]
		if n > 0 {
			continue
		}
		if len(a.window) == 0 && len(b.window) == 0 {
			return nil
		}
		if len(a.window) == 0 || len(b.window) == 0 { // one has ended
			if err := al.loosen(p, a, b, len(a.window), len(b.window)); err != nil {
				return err
			}
			continue
		}
		r, err := c.race(ctx)
		if err == nil && r != nil {
			err = al.follow(p, c, r)
		} else if err == nil {
			err = al.leap(ctx, p, a, b)
		}
		if err != nil {
			return err
		}
	}
}

// follow takes a runner's way.
func (al *alignment) follow(p *pool, c *course, r *runner) error {
	for _, e := range c.path(r) {
		for side, x := range e.rows {
			if !e.has[side] {
				continue
			}
			if err := al.add(p, side, x); err != nil {
				return err
			}
		}
	}
	for i, f := range c.feeds {
		f.window = f.window[r.at[i]-c.gone[i]:]
	}
	return nil
}

// leap goes to where the tables meet again.
func (al *alignment) leap(ctx context.Context, p *pool, a, b *feed) error {
	for look := 8; ; look *= 8 {
		if err := a.need(ctx, look); err != nil {
			return err
		}
		if err := b.need(ctx, look); err != nil {
			return err
		}
		skipA, skipB, met := meet(a.window, b.window, look)
		if met || look >= batch || a.done && b.done && look >= max(len(a.window), len(b.window)) {
			return al.loosen(p, a, b, skipA, skipB)
		}
	}
}

// loosen passes by some rows of both tables, of which those are loose that differ from
// the one beside them.
func (al *alignment) loosen(p *pool, a, b *feed, skipA, skipB int) error {
	for i := range max(skipA, skipB) {
		if i < min(skipA, skipB) && a.window[i].fingerprint == b.window[i].fingerprint {
			continue
		}
		if i < skipA {
			if err := al.add(p, 0, a.window[i]); err != nil {
				return err
			}
		}
		if i < skipB {
			if err := al.add(p, 1, b.window[i]); err != nil {
				return err
			}
		}
	}
	a.window, b.window = a.window[skipA:], b.window[skipB:]
	return nil
}

func (al *alignment) add(p *pool, side int, x print) error {
	al.loose[side].add(x.row)
	return p.add(side, x)
}

// meet looks for the next place, at most look rows ahead, where the tables go on
// alike: for as little as is skipped. A row that is there several times may be alike
// by coincidence, so the next one has to be alike too. Where there is no such place it
// skips half of what it saw, so that what is far ahead is seen from nearer.
func meet(a, b []print, look int) (skipA, skipB int, met bool) {
	la, lb := min(len(a), look), min(len(b), look)
	at := make(map[fingerprint]int, lb)
	for i := lb - 1; i >= 0; i-- {
		at[b[i].fingerprint] = i
	}
	best := la + lb + 1
	for i := 0; i < la && i < best; i++ {
		j, ok := at[a[i].fingerprint]
		if !ok || i+j >= best {
			continue
		}
		follows := i+1 < len(a) && j+1 < len(b) && a[i+1].fingerprint == b[j+1].fingerprint
		if follows || single(a[:la], a[i].fingerprint) && single(b[:lb], a[i].fingerprint) {
			best, skipA, skipB, met = i+j, i, j, true
		}
	}
	if !met {
		return (la + 1) / 2, (lb + 1) / 2, false
	}
	return skipA, skipB, true
}

func single(rows []print, f fingerprint) bool {
	n := 0
	for i := range rows {
		if rows[i].fingerprint == f {
			n++
		}
	}
	return n == 1
}
