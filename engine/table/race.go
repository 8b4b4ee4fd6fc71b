package table

import "context"

// Where tables part, what was edited may be told in several ways, and where rows repeat
// all of them look right for a while: after "0 0 0 …" became "1 0 0 0 …" a row may be
// new, or have changed, and only the tables' ends tell. So there is a race: each runner
// takes one way, at first with one edit (a row of a alone, one of b alone, or one of
// each), and runs as far as the rows are alike. When all have come to a stand, each
// goes on with one edit more. Of runners at one distance from each other (of a's row
// from b's) the foremost stays, which makes the edits the fewest (this is Ukkonen's way
// to Levenshtein's distance). The race is over when one runner is well ahead of all
// others, or at the end of both tables. A single edit of a table is told right however
// its rows repeat: its runner never stands.
//
// What would take more edits than this ends undecided, and the way that found most
// rows alike is taken as far as it did so.

const (
	hurdles = 16  // edits at most
	stretch = 512 // rows by which to be ahead
)

// course is where a race takes place: both tables' windows.
type course struct {
	feeds   [2]*feed
	gone    [2]int // rows of the race that no runner needs any more, and no window has
	stretch int
	edits   []jump
}

// jump is an edit: rows that have no equal one beside them.
type jump struct {
	before int // the edit before it in edits, -1 if there is none
	at     [2]int
	alike  int // rows found alike before it
	has    [2]bool
	rows   [2]print
}

// runner stands at a place that counts from the start of the race.
type runner struct {
	at    [2]int
	alike int
	last  int // of its edits, -1 if there is none
	edits int
}

func (r *runner) way() int { return r.at[0] + r.at[1] }

// race is run where the tables part. It gives the runner to follow, nil when there is
// none worth it.
func (c *course) race(ctx context.Context) (*runner, error) {
	c.gone, c.edits = [2]int{}, c.edits[:0]
	field := []*runner{{last: -1}}
	for range hurdles {
		field = c.hurdle(field)
		first, err := c.run(ctx, &field)
		if first != nil || err != nil {
			return first, err
		}
	}
	return c.best(field), nil
}

// hurdle gives each runner one more edit.
func (c *course) hurdle(field []*runner) []*runner {
	foremost := map[int]*runner{}
	var order []int
	for _, has := range [][2]bool{{true, false}, {false, true}, {true, true}} {
		for _, r := range field {
			next, ok := c.over(r, has)
			if !ok {
				continue
			}
			distance := next.at[0] - next.at[1]
			now := foremost[distance]
			if now == nil {
				order = append(order, distance)
			}
			if now == nil || next.way() > now.way() || next.way() == now.way() && next.alike > now.alike {
				foremost[distance] = next
			}
		}
	}
	field = field[:0:0]
	for _, distance := range order {
		field = append(field, foremost[distance])
	}
	return field
}

func (c *course) over(r *runner, has [2]bool) (*runner, bool) {
	next, e := *r, jump{before: r.last, at: r.at, alike: r.alike, has: has}
	for i, f := range c.feeds {
		if !has[i] {
			continue
		}
		if r.at[i]-c.gone[i] >= len(f.window) {
			return nil, false
		}
		e.rows[i] = f.window[r.at[i]-c.gone[i]]
		next.at[i]++
	}
	next.last = len(c.edits)
	next.edits++
	c.edits = append(c.edits, e)
	return &next, true
}

// run lets all go on until they stand, or one has won.
func (c *course) run(ctx context.Context, field *[]*runner) (*runner, error) {
	for {
		var first, second *runner
		running := false
		for _, r := range *field {
			on, home := c.step(r)
			if home {
				return r, nil
			}
			running = running || on
			switch {
			case first == nil || r.way() > first.way():
				first, second = r, first
			case second == nil || r.way() > second.way():
				second = r
			}
		}
		if first == nil || second != nil && first.way()-second.way() >= 2*c.stretch {
			return first, nil
		}
		if !running {
			return nil, nil
		}
		if err := c.forward(ctx, field, first.way()); err != nil {
			return nil, err
		}
	}
}

// step takes one runner as far as the windows go, and says whether more rows would take
// it further, or it is at the end of both tables.
func (c *course) step(r *runner) (on, home bool) {
	a, b := c.feeds[0].window[r.at[0]-c.gone[0]:], c.feeds[1].window[r.at[1]-c.gone[1]:]
	n, most := 0, min(len(a), len(b))
	for n < most && a[n].fingerprint == b[n].fingerprint {
		n++
	}
	r.at[0], r.at[1], r.alike = r.at[0]+n, r.at[1]+n, r.alike+n
	for i, left := range []int{len(a) - n, len(b) - n} {
		on = on || left == 0 && !c.feeds[i].done
	}
	return on, !on && len(a) == n && len(b) == n
}

// forward reads on, and forgets runners that are far behind and rows that all others
// have passed.
func (c *course) forward(ctx context.Context, field *[]*runner, way int) error {
	near := (*field)[:0]
	for _, r := range *field {
		if way-r.way() < 4*c.stretch {
			near = append(near, r)
		}
	}
	*field = near
	for i, f := range c.feeds {
		passed, reach := near[0].at[i], near[0].at[i]
		for _, r := range near {
			passed, reach = min(passed, r.at[i]), max(reach, r.at[i])
		}
		if passed -= c.gone[i]; passed >= c.stretch {
			f.window = f.window[passed:]
			c.gone[i] += passed
		}
		if err := f.need(ctx, reach-c.gone[i]+1); err != nil {
			return err
		}
	}
	return nil
}

// best is the runner that found most rows alike for its edits, and is taken back to
// where that was. A row alike is worth four edits.
func (c *course) best(field []*runner) *runner {
	var best *runner
	most := 0
	better := func(r runner) {
		worth := 4*r.alike - r.edits
		if r.at[0] >= c.gone[0] && r.at[1] >= c.gone[1] && worth > most {
			best, most = &r, worth
		}
	}
	for _, r := range field {
		better(*r)
		back := *r
		for back.last >= 0 {
			e := &c.edits[back.last]
			back = runner{at: e.at, alike: e.alike, last: e.before, edits: back.edits - 1}
			better(back)
		}
	}
	return best
}

// path are a runner's edits in order.
func (c *course) path(r *runner) []*jump {
	path := make([]*jump, r.edits)
	for i, at := r.edits-1, r.last; at >= 0; i, at = i-1, c.edits[at].before {
		path[i] = &c.edits[at]
	}
	return path
}
