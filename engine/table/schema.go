package table

import (
	"context"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// schema is which columns of two tables belong together.
type schema struct {
	common         [][2]int // by their places, in a's order
	removed, added []int
	renamed        [][2]int // of common
}

func match(a, b []Column) *schema {
	at := make(map[string]int, len(b))
	for i, c := range b {
		at[c.Name] = i
	}
	s := &schema{}
	for i, c := range a {
		if j, ok := at[c.Name]; ok {
			s.common = append(s.common, [2]int{i, j})
			delete(at, c.Name)
		} else {
			s.removed = append(s.removed, i)
		}
	}
	for j, c := range b {
		if _, ok := at[c.Name]; ok {
			s.added = append(s.added, j)
		}
	}
	return s
}

// aligned says whether rows that are equal in the file have equal cells.
func (s *schema) aligned() bool {
	for i, c := range s.common {
		if c != [2]int{i, i} {
			return false
		}
	}
	return len(s.removed)+len(s.added) == 0
}

// places are those of the common columns in one of the tables.
func (s *schema) places(side int) []int {
	places := make([]int, len(s.common))
	for i, c := range s.common {
		places[i] = c[side]
	}
	return places
}

// columnContent stands for a column: which values it has in which rows.
type columnContent struct {
	sum     uint64
	first   uint64
	several bool // values
}

// rename finds removed and added columns that have the same content.
func (s *schema) rename(ctx context.Context, t [2]*side) error {
	if len(s.removed) == 0 || len(s.added) == 0 || t[0].count != t[1].count {
		return nil
	}
	var contents [2][]columnContent
	columns := [2][]int{s.removed, s.added}
	err := both(ctx, func(ctx context.Context, i int) (err error) {
		contents[i], err = t[i].contents(ctx, columns[i])
		return err
	})
	if err != nil {
		return err
	}
	having := map[uint64][2][]int{}
	for i := range 2 {
		for k, c := range contents[i] {
			if c.several {
				pair := having[c.sum]
				pair[i] = append(pair[i], columns[i][k])
				having[c.sum] = pair
			}
		}
	}
	for _, pair := range having {
		if len(pair[0]) == 1 && len(pair[1]) == 1 {
			s.renamed = append(s.renamed, [2]int{pair[0][0], pair[1][0]})
		}
	}
	for _, r := range s.renamed {
		s.removed = slices.DeleteFunc(s.removed, func(c int) bool { return c == r[0] })
		s.added = slices.DeleteFunc(s.added, func(c int) bool { return c == r[1] })
	}
	s.common = append(s.common, s.renamed...)
	for _, l := range [][][2]int{s.common, s.renamed} {
		slices.SortFunc(l, func(x, y [2]int) int { return x[0] - y[0] })
	}
	return nil
}

func (t *side) contents(ctx context.Context, columns []int) ([]columnContent, error) {
	contents := make([]columnContent, len(columns))
	err := t.visit(ctx, allRows(t.count), func(row int64, cells [][]byte) error {
		for k, c := range columns {
			h := cellHash(cells[c])
			if row == 0 {
				contents[k].first = h
			}
			contents[k].several = contents[k].several || h != contents[k].first
			contents[k].sum += mix(h ^ mix(uint64(row)+1))
		}
		return nil
	})
	return contents, err
}

// cellHash is the same in every process, so that what follows from it is too.
func cellHash(cell []byte) uint64 {
	if cell == nil {
		return 0x9e3779b97f4a7c15
	}
	return xxhash.Sum64(cell)
}

// mix spreads every bit over all (the finisher of splitmix64).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// moves are the fewest columns that were moved to make b's order from a's: all but
// those of a longest increasing sequence. Of several such, it is the one with the most
// columns that are at their place still.
func (s *schema) moves(a []Column) []Move {
	order := make([]int, len(s.common)) // of the common columns in b
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(x, y int) int { return s.common[x][1] - s.common[y][1] })
	place := make([]int, len(order))
	for at, i := range order {
		place[i] = at
	}
	best := make(bestBelow, len(place)+1)
	before := make([]int, len(place))
	last := sequence{end: -1}
	for i, at := range place {
		here := best.upTo(at)
		before[i], here.end = here.end, i
		here.length++
		if s.common[i][0] == s.common[i][1] {
			here.still++
		}
		best.offer(at, here)
		if !last.better(here) {
			last = here
		}
	}
	stays := make([]bool, len(place))
	for i := last.end; i >= 0; i = before[i] {
		stays[i] = true
	}
	moves := []Move{}
	for i, pair := range s.common {
		if !stays[i] {
			moves = append(moves, Move{Name: a[pair[0]].Name, Old: pair[0] + 1, New: pair[1] + 1})
		}
	}
	return moves
}

// sequence is one of columns whose order is that of a in b, too.
type sequence struct {
	length, still int // columns, and those of them that have the same place
	end           int // the last column, -1 for none
}

func (s sequence) better(o sequence) bool {
	return s.length > o.length || s.length == o.length && s.still > o.still
}

// bestBelow finds the best sequence that ends before a place in b: a Fenwick tree.
type bestBelow []sequence

func (t bestBelow) upTo(place int) sequence {
	best := sequence{end: -1}
	for i := place; i > 0; i &= i - 1 {
		if t[i].better(best) {
			best = t[i]
		}
	}
	return best
}

func (t bestBelow) offer(place int, s sequence) {
	for i := place + 1; i < len(t); i += i & -i {
		if s.better(t[i]) {
			t[i] = s
		}
	}
}
