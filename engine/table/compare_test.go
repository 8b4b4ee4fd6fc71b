package table

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// compare compares two texts under names of one form.
func compare(t *testing.T, ext, a, b string) *Diff {
	t.Helper()
	d, err := Compare(context.Background(), File{Name: "a" + ext, Data: []byte(a)}, File{Name: "b" + ext, Data: []byte(b)}, Options{Temp: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// brief is a Diff in a few lines, as tests can state it.
func brief(d *Diff) string {
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, c := range d.Columns.Added {
		say("+column %s %s", c.Name, c.Type)
	}
	for _, c := range d.Columns.Removed {
		say("-column %s %s", c.Name, c.Type)
	}
	for _, c := range d.Columns.Renamed {
		say("column %s = %s", c.Old, c.New)
	}
	for _, c := range d.Columns.Retyped {
		say("type %s %s > %s", c.Name, c.Old, c.New)
	}
	for _, c := range d.Columns.Moved {
		say("column %s %d > %d", c.Name, c.Old, c.New)
	}
	r := d.Rows
	if r.Added+r.Removed+r.Changed+r.Moved > 0 {
		say("rows +%d -%d ~%d moved %d", r.Added, r.Removed, r.Changed, r.Moved)
	}
	text := func(s *string) string {
		if s == nil {
			return "null"
		}
		return *s
	}
	row := func(sign string, r Row) {
		cells := make([]string, len(r.Cells))
		for i, c := range r.Cells {
			cells[i] = text(c.Text)
		}
		say("%srow %d: %s", sign, r.Number, strings.Join(cells, " "))
	}
	for _, x := range r.FirstAdded {
		row("+", x)
	}
	for _, x := range r.FirstRemoved {
		row("-", x)
	}
	for _, x := range r.FirstChanged {
		for _, c := range x.Cells {
			say("row %d/%d %s: %s: %s > %s", x.NumberA, x.NumberB, x.Key, c.Column, text(c.Old), text(c.New))
		}
	}
	if d.Same != (len(out) == 0) {
		say("same is %t", d.Same)
	}
	return strings.Join(out, "\n")
}

func TestOneChange(t *testing.T) {
	const table = "id,x,name\n1,1.5,ann\n2,2.5,bob\n3,,cid\n4,4.5,dan\n"
	cases := []struct{ name, a, b, want string }{
		{"nothing", table, table, ""},
		{"a value", table, strings.Replace(table, "2.5", "2.25", 1), "rows +0 -0 ~1 moved 0\nrow 2/2 2: x: 2.5 > 2.25"},
		{"a value from null", table, strings.Replace(table, "3,,", "3,0,", 1), "rows +0 -0 ~1 moved 0\nrow 3/3 3: x: null > 0"},
		{"null to an empty text", table, strings.Replace(table, "3,,", `3,"",`, 1), "type x double > text\nrows +0 -0 ~1 moved 0\nrow 3/3 3: x: null > "},
		{"the key of a row", table, strings.Replace(table, "4,4.5", "9,4.5", 1), "rows +0 -0 ~1 moved 0\nrow 4/4 dan: id: 4 > 9"},
		{"a row at the end", table, table + "5,5,eve\n", "rows +1 -0 ~0 moved 0\n+row 5: 5 5 eve"},
		{"a row at the start", table, strings.Replace(table, "1,1.5", "0,0,zoe\n1,1.5", 1), "rows +1 -0 ~0 moved 0\n+row 1: 0 0 zoe"},
		{"a row twice", table, table + "4,4.5,dan\n", "rows +1 -0 ~0 moved 0\n+row 5: 4 4.5 dan"},
		{"a row gone", table, strings.Replace(table, "2,2.5,bob\n", "", 1), "rows +0 -1 ~0 moved 0\n-row 2: 2 2.5 bob"},
		{"a row gone and one changed behind it", table, "id,x,name\n1,1.5,ann\n3,,cyd\n4,4.5,dan\n", "rows +0 -1 ~1 moved 0\n-row 2: 2 2.5 bob\nrow 3/2 3: name: cid > cyd"},
		{"all rows gone", table, "id,x,name\n", "rows +0 -4 ~0 moved 0\n-row 1: 1 1.5 ann\n-row 2: 2 2.5 bob\n-row 3: 3 null cid\n-row 4: 4 4.5 dan"},
		{"a row moved", table, "id,x,name\n2,2.5,bob\n3,,cid\n4,4.5,dan\n1,1.5,ann\n", "rows +0 -0 ~0 moved 1"},
		{"a row moved and changed", table, "id,x,name\n2,2.5,bob\n3,,cid\n4,4.5,dan\n1,1.5,amy\n", "rows +0 -0 ~1 moved 0\nrow 1/4 1: name: ann > amy"},
		{"a column more", table, "id,x,new,name\n1,1.5,a,ann\n2,2.5,b,bob\n3,,c,cid\n4,4.5,d,dan\n", "+column new text"},
		{"a column more and a value", table, "id,x,name,new\n1,1.5,ann,1\n2,2.5,bo,2\n3,,cid,3\n4,4.5,dan,4\n", "+column new integer\nrows +0 -0 ~1 moved 0\nrow 2/2 2: name: bob > bo"},
		{"a column gone", table, "id,name\n1,ann\n2,bob\n3,cid\n4,dan\n", "-column x double"},
		{"a column renamed", table, strings.Replace(table, "name", "who", 1), "column name = who"},
		{"a column renamed and a value changed in it", table, strings.NewReplacer("name", "who", "ann", "amy").Replace(table), "+column who text\n-column name text"},
		{"a constant column renamed", "a,b\n1,0\n2,0\n", "a,c\n1,0\n2,0\n", "+column c integer\n-column b integer"},
		{"a column moved", table, "name,id,x\nann,1,1.5\nbob,2,2.5\ncid,3,\ndan,4,4.5\n", "column name 3 > 1"},
		{"a value in a table without a key", "sqft,price\n100.5,20\n200.25,30\n300.75,40\n", "sqft,price\n100.5,20\n200.25,31\n300.75,40\n", "rows +0 -0 ~1 moved 0\nrow 2/2 : price: 30 > 31"},
		{"the other value in it", "sqft,price\n100.5,20\n200.25,30\n300.75,40\n", "sqft,price\n100.5,20\n200.5,30\n300.75,40\n", "rows +0 -0 ~1 moved 0\nrow 2/2 30: sqft: 200.25 > 200.5"},
		{"all values that are unique by chance", "sqft,rooms,price\n100.5,1,20\n200.25,1,30\n300.75,2,40\n", "sqft,rooms,price\n100.5,1,30\n200.25,1,40\n300.75,2,50\n", "rows +0 -0 ~3 moved 0\nrow 1/1 : price: 20 > 30\nrow 2/2 : price: 30 > 40\nrow 3/3 : price: 40 > 50"},
		{"a value that is unique by chance before the key, and one more", "price,id,x,y\n20,1,a,b\n30,2,a,b\n40,3,a,b\n", "price,id,x,y\n20,1,a,b\n31,2,c,b\n40,3,a,b\n", "rows +0 -0 ~1 moved 0\nrow 2/2 2: price: 30 > 31\nrow 2/2 2: x: a > c"},
		{"a row for another", "id,x,y,name\n1,a,b,ann\n2,a,b,bob\n3,a,b,cid\n", "id,x,y,name\n1,a,b,ann\n9,a,b,zoe\n3,a,b,cid\n", "rows +1 -1 ~0 moved 0\n+row 2: 9 a b zoe\n-row 2: 2 a b bob"},
		{"two columns change places", "id,age,plan,spend,churned\n1,30,a,5,no\n2,40,b,6,yes\n", "id,age,churned,spend,plan\n1,30,no,5,a\n2,40,yes,6,b\n", "column plan 3 > 5\ncolumn churned 5 > 3"},
		{"the order reversed", "a,b,c\n1,2,x\n3,4,y\n", "c,b,a\nx,2,1\ny,4,3\n", "column a 1 > 3\ncolumn c 3 > 1"},
		{"a column moved, and one more before it", "a,b,c\n1,2,x\n3,4,y\n", "new,b,c,a\n5,2,x,1\n6,4,y,3\n", "+column new integer\ncolumn a 1 > 4"},
		{"a column retyped", table, strings.Replace(table, "4,4.5,dan", "4,many,dan", 1), "type x double > text\nrows +0 -0 ~1 moved 0\nrow 4/4 4: x: 4.5 > many"},
		{"an integer column made double", "k\n1\n2\n", "k\n1\n2.5\n", "type k integer > double\nrows +0 -0 ~1 moved 0\nrow 2/2 : k: 2 > 2.5"},
		{"quotes only", table, strings.Replace(table, "ann", `"ann"`, 1), ""},
		{"line endings only", table, strings.ReplaceAll(table, "\n", "\r\n"), ""},
		{"a byte order mark only", table, "\ufeff" + table, ""},
		{"the delimiter only", table, strings.ReplaceAll(table, ",", ";"), ""},
		{"no newline at the end", table, strings.TrimSuffix(table, "\n"), ""},
		{"a value that has all that needs quotes", table, strings.Replace(table, "bob", "\"b,\"\"o\"\"\nb\"", 1), "rows +0 -0 ~1 moved 0\nrow 2/2 2: name: bob > b,\"o\"\nb"},
		{"without a header", "1,2\n3,4\n", "1,2\n3,5\n", "rows +0 -0 ~1 moved 0\nrow 2/2 3: column2: 4 > 5"},
		{"without a key, between equal rows", "x,y\n1,1\n1,1\n1,1\n", "x,y\n1,1\n1,2\n1,1\n", "rows +0 -0 ~1 moved 0\nrow 2/2 : y: 1 > 2"},
		{"one column", "x\na\nb\nb\nc\n", "x\na\nb\nd\nc\n", "rows +0 -0 ~1 moved 0\nrow 3/3 : x: b > d"},
		{"columns of one name", "a,a,b\n1,2,3\n", "a,a,b\n1,2,4\n", "rows +0 -0 ~1 moved 0\nrow 1/1 1: b: 3 > 4"},
		{"columns of one name below which are numbers", "a,a\n1,2\n", "a,a\n1,3\n", "rows +0 -0 ~1 moved 0\nrow 1/1 1: a#2: 2 > 3"},
		{"an empty file gets rows", "", "a\n1\n", "+column a integer\nrows +1 -0 ~0 moved 0\n+row 1: 1"},
		{"an empty file and a header", "", "a,b\n", "+column a null\n+column b null"},
		{"numbers beyond a double", "k\n9007199254740993\n", "k\n9007199254740992\n", "rows +0 -0 ~1 moved 0\nrow 1/1 : k: 9007199254740993 > 9007199254740992"},
		{"text that is no UTF-8", "k\na\xff\n", "k\na\xfe\n", "rows +0 -0 ~1 moved 0\nrow 1/1 : k: a\\xff > a\\xfe"},
		{"a header that pandas writes", ",a\n0,5\n1,6\n", ",a\n0,5\n1,7\n", "rows +0 -0 ~1 moved 0\nrow 2/2 1: a: 6 > 7"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, brief(compare(t, ".csv", c.a, c.b))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOneChangeInJSONLines(t *testing.T) {
	const table = "{\"id\": 1, \"x\": \"a\", \"in\": {\"k\": [1, 2]}}\n{\"id\": 2, \"x\": \"b\", \"in\": null}\n"
	cases := []struct{ name, b, want string }{
		{"nothing", table, ""},
		{"a value", strings.Replace(table, `"a"`, `"c"`, 1), "rows +0 -0 ~1 moved 0\nrow 1/1 1: x: \"a\" > \"c\""},
		{"a nested value", strings.Replace(table, "[1, 2]", "[1, 3]", 1), "rows +0 -0 ~1 moved 0\nrow 1/1 1: in: {\"k\":[1,2]} > {\"k\":[1,3]}"},
		{"a number for its text", strings.Replace(table, `2, "x": "b"`, `2, "x": 2`, 1), "type x text > json\nrows +0 -0 ~1 moved 0\nrow 2/2 2: x: \"b\" > 2"},
		{"white space and escapes", "{\"id\":1,\"x\":\"\\u0061\",\"in\":{\"k\":[1,2]}}\n\n{\"x\":\"b\",\"id\":2}\n", ""},
		{"a member renamed", strings.ReplaceAll(table, `"x"`, `"y"`), "column x = y"},
		{"a member more", strings.Replace(table, `"in": null`, `"new": true`, 1), "+column new boolean"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, brief(compare(t, ".jsonl", table, c.b))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDistribution(t *testing.T) {
	a := "n,t,when,f,big\n1,a,2024-01-01,1,18446744073709551616\n2,a,2024-01-02,NaN,18446744073709551617\n3,b,2024-01-03,inf,3\n4,,2024-01-04,2,4\n"
	b := "n,t,when,f,big\n1,a,2024-01-01,1,18446744073709551616\n2,a,2024-01-02,NaN,18446744073709551615\n30,c,2024-02-29,-inf,3\n4,,2024-01-04 10:00:00,3,4\n"
	d := compare(t, ".csv", a, b)
	p := func(s string) *string { return &s }
	f := func(v float64) *float64 { return &v }
	want := []ColumnShift{
		{
			Name: "n", Measure: "ks", Shift: 0.25, Size: "large",
			A: Distribution{Type: "integer", Distinct: 4, DistinctExact: true, Min: p("1"), Max: p("4"), Mean: f(2.5), Quantiles: []float64{1, 1, 1, 2, 3, 4, 4}},
			B: Distribution{Type: "integer", Distinct: 4, DistinctExact: true, Min: p("1"), Max: p("30"), Mean: f(9.25), Quantiles: []float64{1, 1, 1, 2, 4, 30, 30}},
		},
		{
			Name: "t", Measure: "psi", Shift: round(2 * (1.0/3 - 1e-4) * math.Log(1.0/3/1e-4)), Size: "large",
			A: Distribution{Type: "text", Nulls: 1, Distinct: 2, DistinctExact: true, Min: p("a"), Max: p("b"), Quantiles: []float64{}},
			B: Distribution{Type: "text", Nulls: 1, Distinct: 2, DistinctExact: true, Min: p("a"), Max: p("c"), Quantiles: []float64{}},
		},
		{
			Name: "when", Measure: "ks", Shift: 0.5, Size: "large",
			A: Distribution{Type: "date", Distinct: 4, DistinctExact: true, Min: p("2024-01-01"), Max: p("2024-01-04"), Quantiles: []float64{1704067200, 1704067200, 1704067200, 1704153600, 1704240000, 1704326400, 1704326400}},
			B: Distribution{Type: "timestamp", Distinct: 4, DistinctExact: true, Min: p("2024-01-01"), Max: p("2024-02-29"), Quantiles: []float64{1704067200, 1704067200, 1704067200, 1704153600, 1704362400, 1709164800, 1709164800}},
		},
		{
			Name: "f", Measure: "ks", Shift: 0.5, Size: "large",
			A: Distribution{Type: "double", Distinct: 4, DistinctExact: true, NotFinite: 2, Min: p("1"), Max: p("2"), Mean: f(1.5), Quantiles: []float64{1, 1, 1, 1, 2, 2, 2}},
			B: Distribution{Type: "double", Distinct: 4, DistinctExact: true, NotFinite: 2, Min: p("1"), Max: p("3"), Mean: f(2), Quantiles: []float64{1, 1, 1, 1, 3, 3, 3}},
		},
		{
			Name: "big", Measure: "ks", Size: "none",
			A: Distribution{Type: "integer", Distinct: 4, DistinctExact: true, Min: p("3"), Max: p("18446744073709551617"), Mean: f(9223372036854775809.75), Quantiles: []float64{3, 3, 3, 4, 18446744073709551616, 18446744073709551616, 18446744073709551616}},
			B: Distribution{Type: "integer", Distinct: 4, DistinctExact: true, Min: p("3"), Max: p("18446744073709551616"), Mean: f(9223372036854775809.75), Quantiles: []float64{3, 3, 3, 4, 18446744073709551616, 18446744073709551616, 18446744073709551616}},
		},
	}
	if diff := cmp.Diff(want, d.Shifts); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Retype{{"when", "date", "timestamp"}}, d.Columns.Retyped); diff != "" {
		t.Error(diff)
	}
}

func round(v float64) float64 { return math.Round(v*1e6) / 1e6 }
