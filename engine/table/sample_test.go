package table

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// TestLargeTablesAreSampled compares tables of more rows than a sample has with what
// sorting all values says.
func TestLargeTablesAreSampled(t *testing.T) {
	const rows = 300000
	random := rand.New(rand.NewPCG(3, 4))
	var text [2]strings.Builder
	var values [2][]float64
	for i := range text {
		text[i].WriteString("id,x\n")
	}
	for row := range rows {
		x := math.Round(random.NormFloat64()*1e4) / 1e4
		fmt.Fprintf(&text[0], "%d,%.4f\n", row, x)
		values[0] = append(values[0], x)
		if row%5 == 0 {
			x = math.Round((x+1)*1e4) / 1e4
		}
		fmt.Fprintf(&text[1], "%d,%.4f\n", row, x)
		values[1] = append(values[1], x)
	}
	d := compare(t, ".csv", text[0].String(), text[1].String())
	if d.Rows.Changed != rows/5 || d.Rows.Key != "id" || len(d.Shifts) != 1 {
		t.Fatalf("%d rows changed by key %q, %d shifts", d.Rows.Changed, d.Rows.Key, len(d.Shifts))
	}
	shift := d.Shifts[0]
	if !shift.Sampled || shift.Size != "small" || math.Abs(shift.Shift-statistic(values)) > 0.002 {
		t.Errorf("shift is %v, %s, sampled %t; of all values it is %v", shift.Shift, shift.Size, shift.Sampled, statistic(values))
	}
	for i, got := range []Distribution{shift.A, shift.B} {
		all := slices.Sorted(slices.Values(values[i]))
		for k, q := range Quantiles {
			rank, _ := slices.BinarySearch(all, got.Quantiles[k])
			if math.Abs(float64(rank)/rows-q) > 0.005 {
				t.Errorf("table %d: quantile %v is %v, which lies at %v", i, q, got.Quantiles[k], float64(rank)/rows)
			}
		}
		sum := 0.0
		for _, v := range all {
			sum += v
		}
		if math.Abs(*got.Mean-sum/rows) > 1e-9 || *got.Min != fmt.Sprintf("%.4f", all[0]) || *got.Max != fmt.Sprintf("%.4f", all[rows-1]) {
			t.Errorf("table %d: mean %v from %s to %s, want %v from %v to %v", i, *got.Mean, *got.Min, *got.Max, sum/rows, all[0], all[rows-1])
		}
		different := float64(len(slices.Compact(all)))
		if got.DistinctExact || math.Abs(float64(got.Distinct)/different-1) > 0.03 {
			t.Errorf("table %d: %d distinct, exact %t, want about %v", i, got.Distinct, got.DistinctExact, different)
		}
	}
	before, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	after, err := json.Marshal(compare(t, ".csv", text[0].String(), text[1].String()))
	if err != nil {
		t.Fatal(err)
	}
	if string(before) != string(after) {
		t.Error("on one processor the tables differ otherwise")
	}
}

// statistic is that of Kolmogorov and Smirnov, from all values.
func statistic(values [2][]float64) float64 {
	a, b := slices.Sorted(slices.Values(values[0])), slices.Sorted(slices.Values(values[1]))
	most, j := 0.0, 0
	for i, v := range a {
		if i+1 < len(a) && a[i+1] == v {
			continue
		}
		for j < len(b) && b[j] <= v {
			j++
		}
		most = max(most, math.Abs(float64(i+1)/float64(len(a))-float64(j)/float64(len(b))))
	}
	return most
}

// TestRowsInAnyOrder compares more rows in another order than are looked at ahead. Of
// rows in a random order about two square roots of their number are in order by chance.
func TestRowsInAnyOrder(t *testing.T) {
	const rows = 50000
	order := rand.New(rand.NewPCG(5, 6)).Perm(rows)
	var a, b strings.Builder
	a.WriteString("id,x\n")
	b.WriteString("id,x\n")
	for row := range rows {
		fmt.Fprintf(&a, "%d,%d\n", row, row/7)
		x := order[row] / 7
		if order[row] == 777 {
			x = -1
		}
		fmt.Fprintf(&b, "%d,%d\n", order[row], x)
	}
	d := compare(t, ".csv", a.String(), b.String())
	if r := d.Rows; r.Changed != 1 || r.Added+r.Removed != 0 || r.Moved < rows-500 || r.FirstChanged[0].Key != "777" {
		t.Errorf("%d added, %d removed, %d changed, %d moved: want one changed and nearly all moved", r.Added, r.Removed, r.Changed, r.Moved)
	}
}
