package table

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

var singleRounds = flag.Int("single-rounds", 4000, "how many tables of few different rows have a single edit named")

// repeating makes rows of a few different ones, among them long runs and patterns.
func repeating(random *rand.Rand, rows int) [][2]string {
	kinds := 1 + random.IntN(4)
	table := make([][2]string, 0, rows)
	for len(table) < rows {
		some := make([][2]string, 1+random.IntN(3))
		for i := range some {
			some[i] = [2]string{fmt.Sprintf("%d.5", random.IntN(kinds)), fmt.Sprintf("%d.25", random.IntN(2))}
		}
		for range 1 + random.IntN(rows) {
			table = append(table, some...)
		}
	}
	return table[:rows]
}

// editOnce makes one edit and says how it is told.
func editOnce(random *rand.Rand, a [][2]string) ([][2]string, string) {
	b, i := slices.Clone(a), random.IntN(len(a))
	fresh := [2]string{fmt.Sprintf("%d.5", random.IntN(5)), fmt.Sprintf("%d.25", random.IntN(3))}
	switch random.IntN(4) {
	case 0:
		column := random.IntN(2)
		b[i][column] = fresh[column]
		if b[i] == a[i] {
			return b, ""
		}
		return b, "rows +0 -0 ~1 moved 0"
	case 1:
		return slices.Insert(b, i, fresh), "rows +1 -0 ~0 moved 0"
	case 2:
		return slices.Delete(b, i, i+1), "rows +0 -1 ~0 moved 0"
	}
	row := b[i]
	b = slices.Delete(b, i, i+1)
	b = slices.Insert(b, random.IntN(len(a)), row)
	if slices.Equal(a, b) {
		return b, ""
	}
	return b, "rows +0 -0 ~0 moved 1"
}

func asText(rows [][2]string) string {
	var b strings.Builder
	b.WriteString("x,y\n")
	for _, row := range rows {
		b.WriteString(row[0] + "," + row[1] + "\n")
	}
	return b.String()
}

// TestSingleEditIsNamed edits tables once whose rows repeat, so that nothing is a key and
// a row looks like any other: the edit is told and nothing else.
func TestSingleEditIsNamed(t *testing.T) {
	failed := 0
	for seed := range *singleRounds {
		random := rand.New(rand.NewPCG(uint64(seed), 21))
		rows := 1 + random.IntN(12)
		if seed%100 == 0 {
			rows = 1 + random.IntN(3*batch) // more than is looked at ahead
		}
		a := repeating(random, rows)
		b, want := editOnce(random, a)
		d := compare(t, ".csv", asText(a), asText(b))
		got, _, _ := strings.Cut(brief(d), "\n")
		if got != want && failed < 10 {
			failed++
			t.Errorf("seed %d: %q, want %q", seed, got, want)
			if rows < 20 {
				t.Logf("%v\n%v", a, b)
			}
		}
	}
}

// TestSingleEditAtShortSight is the same of the alignment alone, where a race is decided
// by little and most tables are longer than that.
func TestSingleEditAtShortSight(t *testing.T) {
	failed := 0
	for seed := range 2 * *singleRounds {
		random := rand.New(rand.NewPCG(uint64(seed), 22))
		a := repeating(random, 1+random.IntN(80))
		b, want := editOnce(random, a)
		s := newSeeds()
		var sides [2][]print
		for i, rows := range [][][2]string{a, b} {
			for k, row := range rows {
				sides[i] = append(sides[i], print{s.of([]byte(row[0] + "," + row[1])), int64(k)})
			}
		}
		al := alignedPrints(t, sides, 4+random.IntN(8))
		got := fmt.Sprintf("rows +%d -%d ~0 moved %d", al.free[1].count, al.free[0].count, al.moved)
		if al.free[0].count == 1 && al.free[1].count == 1 && al.loose[0].count == 1 {
			got = "rows +0 -0 ~1 moved 0" // they stand beside each other, see below
			if x, y := al.loose[0].next(0), al.loose[1].next(0); x != y {
				got = fmt.Sprintf("row %d of a and %d of b", x, y)
			}
		}
		if want == "" {
			want = "rows +0 -0 ~0 moved 0"
		}
		if got != want && failed < 10 {
			failed++
			t.Errorf("seed %d: %q, want %q\n%v\n%v", seed, got, want, a, b)
		}
	}
}

// alignedPrints aligns prints that arrive two at a time.
func alignedPrints(t *testing.T, sides [2][]print, stretch int) *alignment {
	t.Helper()
	p := newPool(Options{}.withDefaults()) // nothing is written
	defer p.close()
	al := &alignment{stretch: stretch}
	var feeds [2]*feed
	for i, rows := range sides {
		feeds[i] = &feed{in: make(chan []print, len(rows)+1), used: make(chan []print)}
		for len(rows) > 0 {
			n := min(2, len(rows))
			feeds[i].in <- slices.Clone(rows[:n])
			rows = rows[n:]
		}
		close(feeds[i].in)
	}
	if err := al.walk(context.Background(), feeds[0], feeds[1], p); err != nil {
		t.Fatal(err)
	}
	if err := al.sort(context.Background(), p); err != nil {
		t.Fatal(err)
	}
	return al
}

// TestEditsBetweenRowsThatRepeat changes every other row: none moved.
func TestEditsBetweenRowsThatRepeat(t *testing.T) {
	for _, pairs := range []int{2, 3, 1000, 20000} {
		var a, b strings.Builder
		for i := range pairs {
			fmt.Fprintf(&a, "a%d,1\n0,0\n", i)
			fmt.Fprintf(&b, "b%d,1\n0,0\n", i)
		}
		d := compare(t, ".csv", "x,y\n"+a.String(), "x,y\n"+b.String())
		if r := d.Rows; r.Changed != int64(pairs) || r.Added+r.Removed+r.Moved != 0 {
			t.Errorf("%d pairs: %d added, %d removed, %d changed, %d moved", pairs, r.Added, r.Removed, r.Changed, r.Moved)
		}
	}
}
