package table

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var tableRounds = flag.Int("table-rounds", 60, "how many random pairs of tables are compared")

var letters = []string{"", "a", "b", "a,b", "\"", "x\ny", " ", "é", "0", "1.5", "-7", "2024-05-06", "\xff", "longer than the others"}

// randomRow makes the cells of a row but its key. A text is told from a null by its
// quotes, which encoding/csv does not write; so there are nulls and no empty texts.
func randomRow(random *rand.Rand, columns int) []string {
	row := make([]string, columns)
	for i := range row {
		row[i] = letters[random.IntN(len(letters))]
		if i%2 == 1 {
			row[i] = fmt.Sprint(random.IntN(50))
		}
	}
	return row
}

func written(t *testing.T, header []string, rows [][]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	if err := w.Write(header); err != nil {
		t.Fatal(err)
	}
	if err := w.WriteAll(rows); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func header(columns int) []string {
	names := []string{"key"}
	for i := range columns {
		names = append(names, fmt.Sprintf("name%d", i))
	}
	return names
}

// edit makes table b from a, and the rows of the Diff that says so.
func edit(random *rand.Rand, a [][]string, often int) ([][]string, Rows) {
	var b [][]string
	want := Rows{Key: "key", FirstAdded: []Row{}, FirstRemoved: []Row{}, FirstChanged: []RowChange{}}
	names := header(len(a[0]) - 1)
	shown := func(number int, row []string) Row {
		r := Row{Number: int64(number)}
		for i, cell := range row {
			r.Cells = append(r.Cells, Value{Column: names[i], Text: value(null([]byte(cell)))})
		}
		return r
	}
	for i, row := range a {
		switch random.IntN(often) {
		case 0:
			want.FirstRemoved = append(want.FirstRemoved, shown(i+1, row))
			continue
		case 1:
			fresh := append([]string{fmt.Sprintf("new%d", i)}, randomRow(random, len(row)-1)...)
			b = append(b, fresh)
			want.FirstAdded = append(want.FirstAdded, shown(len(b), fresh))
		case 2:
			k := 1 + random.IntN(len(row)-1)
			old := row[k]
			row = slices.Clone(row)
			row[k] = fmt.Sprintf("changed%d", i)
			want.FirstChanged = append(want.FirstChanged, RowChange{
				NumberA: int64(i + 1), NumberB: int64(len(b) + 1), Key: row[0],
				Cells: []CellChange{{Column: names[k], Old: value(null([]byte(old))), New: &row[k]}},
			})
		}
		b = append(b, row)
	}
	want.Added, want.Removed, want.Changed = int64(len(want.FirstAdded)), int64(len(want.FirstRemoved)), int64(len(want.FirstChanged))
	return b, want
}

// TestRandomEditsAreNamed edits tables with a key at random: the Diff has these edits and
// no other, and the same as JSON however often it is made.
func TestRandomEditsAreNamed(t *testing.T) {
	for seed := range *tableRounds {
		random := rand.New(rand.NewPCG(uint64(seed), 7))
		columns := 4 + random.IntN(4)
		var a [][]string
		for i := range 1 + random.IntN([]int{5, 100, 12000}[seed%3]) {
			a = append(a, append([]string{fmt.Sprintf("k%d", i)}, randomRow(random, columns)...))
		}
		b, want := edit(random, a, []int{4, 30, 1000}[seed/3%3])
		files := [2]File{{Name: "a.csv", Data: written(t, header(columns), a)}, {Name: "b.csv", Data: written(t, header(columns), b)}}
		var before []byte
		for range 2 {
			d, err := Compare(context.Background(), files[0], files[1], Options{Temp: t.TempDir(), First: 1 << 20})
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if want.Removed == 0 || want.Added == 0 && want.Changed == 0 {
				d.Rows.Key = want.Key // none is looked for
			}
			if diff := cmp.Diff(want, d.Rows); diff != "" {
				t.Fatalf("seed %d, %d rows: %s", seed, len(a), diff)
			}
			if same := want.Added+want.Removed+want.Changed == 0; d.Same != same {
				t.Errorf("seed %d: same is %t, want %t", seed, d.Same, same)
			}
			now, err := json.Marshal(d)
			if err != nil {
				t.Fatal(err)
			}
			if before != nil && !bytes.Equal(before, now) {
				t.Fatalf("seed %d: the same tables differ otherwise the second time", seed)
			}
			before = now
		}
	}
}

// rowsLeft counts rows of a that are not in b, as often as they are there: slowly, and
// with the standard library's reader.
func rowsLeft(t *testing.T, a, b []byte) int64 {
	t.Helper()
	count := map[string]int64{}
	for i, data := range [][]byte{b, a} {
		rows, err := csv.NewReader(bytes.NewReader(data)).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range rows[1:] {
			count[strings.Join(row, "\x01")] += int64(2*i - 1)
		}
	}
	left := int64(0)
	for _, n := range count {
		left += max(n, 0)
	}
	return left
}

// TestRandomTablesAgreeWithSets compares tables of few different rows, in which nothing
// is a key, in every order: the numbers of rows are those of a multiset difference.
func TestRandomTablesAgreeWithSets(t *testing.T) {
	for seed := range *tableRounds {
		random := rand.New(rand.NewPCG(uint64(seed), 11))
		columns := 1 + random.IntN(3)
		pool := make([][]string, 1+random.IntN(40))
		for i := range pool {
			pool[i] = append([]string{"k"}, randomRow(random, columns)...)
		}
		var tables [2][][]string
		for i := range tables {
			for range random.IntN(3000) {
				tables[i] = append(tables[i], pool[random.IntN(len(pool))])
			}
		}
		if seed%4 == 0 {
			tables[1] = slices.Clone(tables[0])
			random.Shuffle(len(tables[1]), func(i, j int) { tables[1][i], tables[1][j] = tables[1][j], tables[1][i] })
		}
		a, b := written(t, header(columns), tables[0]), written(t, header(columns), tables[1])
		d := compare(t, ".csv", string(a), string(b))
		r := d.Rows
		if r.Removed+r.Changed != rowsLeft(t, a, b) || r.Added+r.Changed != rowsLeft(t, b, a) {
			t.Errorf("seed %d: %d removed, %d added, %d changed; sets say %d are gone and %d new", seed, r.Removed, r.Added, r.Changed, rowsLeft(t, a, b), rowsLeft(t, b, a))
		}
		if same := slices.EqualFunc(tables[0], tables[1], slices.Equal[[]string]); d.Same != same {
			t.Errorf("seed %d: same is %t, want %t", seed, d.Same, same)
		}
	}
}

// TestPoolOnDisk pairs more prints than a pool holds in memory, of more different ones
// than it looks at together, one of which is there very often.
func TestPoolOnDisk(t *testing.T) {
	p := &pool{temp: t.TempDir(), limit: 100, most: 3}
	defer p.close()
	s := newSeeds()
	var want [2]rowset
	for row := range int64(1000) {
		for side, n := range []int64{row % 700, row % 500} { // 300 and 500 of them twice
			if err := p.add(side, print{s.of(fmt.Append(nil, n)), row}); err != nil {
				t.Fatal(err)
			}
		}
		if row < 500 || row >= 700 { // 0 to 299 twice, 300 to 499 once
			want[0].add(row)
		}
		if row < 800 {
			want[1].add(row)
		}
	}
	for row := range int64(5000) {
		for side := range min(2, 1+int(row)%3) { // two thirds of them in b
			if err := p.add(side, print{s.of([]byte("often")), 1000 + row}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for row := int64(1000); row < 1000+3333; row++ {
		want[0].add(row)
	}
	for row := range int64(5000) {
		if row%3 > 0 {
			want[1].add(1000 + row)
		}
	}
	var got [2]rowset
	if err := p.pairs(context.Background(), func(side int, row int64) { got[side].add(row) }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(rowset{})); diff != "" {
		t.Error(diff)
	}
	if ok, err := p.join(context.Background(), &pairing{}); ok || err != nil {
		t.Errorf("keys that are there twice are joined: %t, %v", ok, err)
	}
}

// TestKeysOnDisk joins more keys than a pool looks at together.
func TestKeysOnDisk(t *testing.T) {
	p := &pool{temp: t.TempDir(), limit: 100, most: 3}
	defer p.close()
	s, want := newSeeds(), &pairing{first: 5}
	for row := range int64(1000) {
		for side, n := range []int64{row, 1500 - row} {
			if err := p.add(side, print{s.of(fmt.Append(nil, n)), row}); err != nil {
				t.Fatal(err)
			}
		}
		if row > 500 {
			want.add(row, 1500-row)
		}
	}
	got := &pairing{first: 5}
	if ok, err := p.join(context.Background(), got); !ok || err != nil || !got.like(want) || got.changed != 499 {
		t.Errorf("%d joined, want %d: %t, %v", got.changed, want.changed, ok, err)
	}
	free := allRows(1000)
	for _, want := range []bool{true, false} {
		if ok, err := p.unique(context.Background(), free); ok != want || err != nil {
			t.Errorf("unique: %t, %v, want %t", ok, err, want)
		}
		free.remove(777)
	}
}
