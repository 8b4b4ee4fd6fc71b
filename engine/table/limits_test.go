package table

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestTooManyColumns compares what would need memory for each of very many columns: how
// large the tables are is told, and why nothing else.
func TestTooManyColumns(t *testing.T) {
	dir := t.TempDir()
	wide := func(row string) string { return strings.Repeat(row+",", maxColumns) + row + "\n" }
	lines := func(value int) string {
		var b strings.Builder
		for i := range 3 * maxColumns {
			fmt.Fprintf(&b, "{\"k%d\":%d}\n", i, value)
		}
		return b.String()
	}
	columns := make([]string, maxColumns+1)
	for i := range columns {
		columns[i] = fmt.Sprintf("i AS c%d", i)
	}
	parquet := filepath.Join(dir, "wide")
	writeParquet(t, parquet, "SELECT "+strings.Join(columns, ", ")+" FROM range(3) r(i)")
	narrow := filepath.Join(dir, "narrow")
	writeParquet(t, narrow, "SELECT i FROM range(5) r(i)")
	cases := []struct {
		name string
		a, b File
		rows [2]int64
		note string
	}{
		{"CSV", File{Name: "a.csv", Data: []byte(wide("1") + wide("2"))}, File{Name: "b.csv", Data: []byte("x,y\n1,2\n")}, [2]int64{2, 1}, `"a.csv" has 10001 columns`},
		{"both", File{Name: "a.csv", Data: []byte(wide("1"))}, File{Name: "b.csv", Data: []byte(wide("\"\""))}, [2]int64{1, 1}, `.csv" has 10001 columns`},
		{"JSON Lines", File{Name: "a.jsonl", Data: []byte(lines(1))}, File{Name: "b.jsonl", Data: []byte(lines(2))}, [2]int64{3 * maxColumns, 3 * maxColumns}, `.jsonl" has more than 10000 columns`},
		{"Parquet", File{Name: "a.parquet", Path: narrow}, File{Name: "b.parquet", Path: parquet}, [2]int64{5, 3}, `"b.parquet" has more than 10000 columns`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			d, err := Compare(context.Background(), c.a, c.b, Options{Temp: dir})
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(d.Note, "rows are not compared: ") || !strings.Contains(d.Note, c.note) || d.Same {
				t.Errorf("note %q, same %t; want %q", d.Note, d.Same, c.note)
			}
			if d.A.Bytes == 0 || d.B.Bytes == 0 {
				t.Errorf("%d and %d bytes", d.A.Bytes, d.B.Bytes)
			}
			if got := [2]int64{d.A.Rows, d.B.Rows}; got != c.rows {
				t.Errorf("rows %v, want %v", got, c.rows)
			}
			if diff := cmp.Diff(newDiff().Rows, d.Rows); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestLongValuesInParquet compares values of which DuckDB must not have a row's copy each:
// what differs is told, and what looks like a long value's short form is not one.
func TestLongValuesInParquet(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	long := "repeat('x', 1000000) || CASE WHEN i = 77 THEN '%s' ELSE '' END"
	cases := []struct{ name, a, b, want string }{
		{"texts", fmt.Sprintf("SELECT i, "+long+" AS v FROM range(300) r(i)", "one"), fmt.Sprintf("SELECT i, "+long+" AS v FROM range(300) r(i)", "two"),
			"rows +0 -0 ~1 moved 0\nrow 78/78 77: v: " + strings.Repeat("x", 200) + "… (1000003 bytes, SHA-256 "},
		{"bytes", fmt.Sprintf("SELECT i, CAST("+long+" AS BLOB) AS v FROM range(300) r(i)", "one"), fmt.Sprintf("SELECT i, CAST("+long+" AS BLOB) AS v FROM range(300) r(i)", "two"),
			"rows +0 -0 ~1 moved 0\nrow 78/78 77: v: … (1000003 bytes, SHA-256 "},
		{"a text that looks like the form", "SELECT i, repeat('x', 1000000) AS v FROM range(20) r(i)",
			"SELECT i, CASE WHEN i = 3 THEN repeat('x', 200) || '… (1000000 bytes, SHA-256 ' || sha256(repeat('x', 1000000)) || ')' ELSE repeat('x', 1000000) END AS v FROM range(20) r(i)",
			"rows +0 -0 ~1 moved 0\nrow 4/4 3: v: " + strings.Repeat("x", 200) + "… (1000000 bytes, SHA-256 "},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			writeParquet(t, a, c.a)
			writeParquet(t, b, c.b)
			d, err := Compare(context.Background(), File{Name: "a.parquet", Path: a}, File{Name: "b.parquet", Path: b}, Options{Temp: dir})
			if err != nil {
				t.Fatal(err)
			}
			if got := brief(d); !strings.HasPrefix(got, c.want) || d.Note != "" {
				t.Errorf("%q: %q, want %q", d.Note, got, c.want)
			}
		})
	}
}

// TestParquetThatNeedsTooMuchMemory holds lists in few bytes that are long as texts.
func TestParquetThatNeedsTooMuchMemory(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	for i, path := range []string{a, b} {
		writeParquet(t, path, fmt.Sprintf("SELECT i, v FROM range(%d) r(i), (SELECT list(7) AS v FROM range(100000))", 1000+i))
	}
	d, err := Compare(context.Background(), File{Name: "a.parquet", Path: a}, File{Name: "b.parquet", Path: b}, Options{Temp: dir})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(d.Note, `.parquet" need too much memory: `) || d.A.Rows != 1000 || d.B.Rows != 1001 || d.Columns.Common != 2 || len(d.Columns.Retyped)+len(d.Shifts) > 0 {
		t.Errorf("%+v", d)
	}
}

// TestColumnsOfOneName holds that telling very many columns apart takes no time.
func TestColumnsOfOneName(t *testing.T) {
	seen, start := names{}, time.Now()
	last := ""
	for range 100 * maxColumns {
		last = seen.unique("x")
	}
	if took := time.Since(start); last != "x#1000000" || took > 20*time.Second {
		t.Errorf("the last is called %s, after %v", last, took)
	}
	if again := seen.unique("x#2"); again != "x#2#2" {
		t.Errorf("a name that another was given becomes %s", again)
	}
}

// TestCompareEndsInTime stops comparisons at all stages: by their own limit, which is told
// with what is known by then, and by the caller.
func TestCompareEndsInTime(t *testing.T) {
	var text [2]strings.Builder
	const rows = 100000
	for row := range rows {
		fmt.Fprintf(&text[0], "%d,%d,x,%d\n", row%1000, row, row%7)
		fmt.Fprintf(&text[1], "%d,%d,y,%d\n", row%1000, row, row%5)
	}
	files := [2]File{{Name: "a.csv", Data: []byte("a,b,c,d\n" + text[0].String())}, {Name: "b.csv", Data: []byte("a,b,c,d\n" + text[1].String())}}
	noted := 0
	for limit := 10 * time.Microsecond; ; limit += limit/4 + 5*time.Millisecond {
		d, err := Compare(context.Background(), files[0], files[1], Options{Temp: t.TempDir(), Time: limit})
		if err != nil {
			if !strings.Contains(err.Error(), "not done within "+limit.String()) || errors.Is(err, ErrForm) {
				t.Fatal(err)
			}
		} else if d.Note == "" {
			if d.Rows.Changed != rows {
				t.Errorf("%d rows changed", d.Rows.Changed)
			}
			break
		} else {
			noted++
			if d.A.Rows != rows || d.B.Rows != rows || d.Columns.Common != 4 || d.Rows.Changed+d.Rows.Added+d.Rows.Moved != 0 || len(d.Shifts) > 0 || d.Same {
				t.Errorf("after %v: %+v", limit, d)
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		_, err = Compare(ctx, files[0], files[1], Options{Temp: t.TempDir()})
		cancel()
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("the caller's end is told as %v", err)
		}
	}
	if noted == 0 {
		t.Error("no comparison ended between reading the tables and the end")
	}
}
