package table

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	duckdb "github.com/duckdb/duckdb-go-bindings"
	"github.com/google/go-cmp/cmp"
)

// writeParquet makes a Parquet file of a SELECT.
func writeParquet(t *testing.T, path, query string) {
	t.Helper()
	var db duckdb.Database
	var conn duckdb.Connection
	var message string
	var config duckdb.Config
	if duckdb.CreateConfig(&config) == duckdb.StateError {
		t.Fatal("no configuration")
	}
	defer duckdb.DestroyConfig(&config)
	if duckdb.OpenExt(":memory:", &db, config, &message) == duckdb.StateError {
		t.Fatal(message)
	}
	defer duckdb.Close(&db)
	if duckdb.Connect(db, &conn) == duckdb.StateError {
		t.Fatal("no connection")
	}
	defer duckdb.Disconnect(&conn)
	d := &duck{db: db, conn: conn}
	if err := d.exec("COPY (" + query + ") TO " + quoted(path) + " (FORMAT parquet)"); err != nil {
		t.Fatal(err)
	}
}

func TestParquet(t *testing.T) {
	const rows = "SELECT i::INT AS id, i * 0.5::DOUBLE AS x, 'n' || i AS name, [i, NULL] AS list, {'a': i} AS struct, 'b\\xFF'::BLOB AS bytes, " +
		"TIMESTAMP '2024-01-01 00:00:00' + INTERVAL (i) HOUR AS \"at\", CASE WHEN i % 2 = 0 THEN i END AS half FROM range(5000) r(i)"
	cases := []struct{ name, query, want string }{
		{"nothing", rows + " WHERE i >= 0", ""},
		{"a value", "SELECT * REPLACE (CASE WHEN id = 4321 THEN 0.25 ELSE x END AS x) FROM (" + rows + ")", "rows +0 -0 ~1 moved 0\nrow 4322/4322 4321: x: 2160.5 > 0.25"},
		{"a null", "SELECT * REPLACE (CASE WHEN id = 2 THEN NULL ELSE half END AS half) FROM (" + rows + ")", "rows +0 -0 ~1 moved 0\nrow 3/3 2: half: 2 > null"},
		{"a nested value", "SELECT * REPLACE (CASE WHEN id = 7 THEN {'a': 8} ELSE struct END AS struct) FROM (" + rows + ")", "rows +0 -0 ~1 moved 0\nrow 8/8 7: struct: {'a': 7} > {'a': 8}"},
		{"a NaN", "SELECT * REPLACE (CASE WHEN id = 7 THEN 'NaN'::DOUBLE ELSE x END AS x) FROM (" + rows + ")", "rows +0 -0 ~1 moved 0\nrow 8/8 7: x: 3.5 > nan"},
		{"a row gone", rows + " WHERE i <> 3000", "rows +0 -1 ~0 moved 0\n-row 3001: 3000 1500.0 n3000 [3000, NULL] {'a': 3000} b\\xFF 2024-05-05 00:00:00 3000"},
		{"a type", "SELECT * REPLACE (id::BIGINT AS id) FROM (" + rows + ")", "type id integer > bigint"},
		{"a column gone", "SELECT * EXCLUDE (list) FROM (" + rows + ")", "-column list bigint[]"},
		{"a column renamed", "SELECT * EXCLUDE (\"at\"), \"at\" AS time FROM (" + rows + ")", "column at = time\ncolumn at 7 > 8"},
	}
	dir := t.TempDir()
	a, b := filepath.Join(dir, "it's [a] *"), filepath.Join(dir, "b")
	writeParquet(t, a, rows)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			writeParquet(t, b, c.query)
			d, err := Compare(context.Background(), File{Name: "a.parquet", Path: a}, File{Name: "b.parquet", Path: b}, Options{Temp: dir})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, brief(d)); diff != "" {
				t.Error(diff)
			}
			inMemory := func(path, name string) File {
				data, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				return File{Name: name, Data: data}
			}
			again, err := Compare(context.Background(), inMemory(a, "a.parquet"), inMemory(b, "b.parquet"), Options{Temp: dir})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(d, again); diff != "" {
				t.Error("from memory:", diff)
			}
		})
	}
}

// TestParquetReadsNothingElse asks DuckDB, as Compare opens it, for what it must not do.
func TestParquetReadsNothingElse(t *testing.T) {
	dir := t.TempDir()
	mine, other := filepath.Join(dir, "mine"), filepath.Join(dir, "other")
	writeParquet(t, mine, "SELECT 1 AS x")
	writeParquet(t, other, "SELECT 2 AS x")
	d, err := openDuck(mine, Options{Temp: dir}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	if err := d.exec("SELECT * FROM read_parquet(" + quoted(mine) + ")"); err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		"SELECT * FROM read_parquet(" + quoted(other) + ")",
		"SELECT * FROM read_text('/etc/passwd')",
		"COPY (SELECT 1) TO " + quoted(filepath.Join(dir, "written")),
		"ATTACH " + quoted(filepath.Join(dir, "base")),
		"INSTALL httpfs", "LOAD httpfs", "SELECT * FROM read_parquet('http://127.0.0.1:1/x')",
		"SET enable_external_access = true", "SET allowed_paths = ['/etc/passwd']", "SET autoload_known_extensions = true",
	} {
		if err := d.exec(sql); err == nil {
			t.Errorf("%s: done", sql)
		}
	}
	d.close()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 2 {
		t.Errorf("left in the directory: %v", entries)
	}
}

func TestFilesThatAreNotOfTheirForm(t *testing.T) {
	parquet := filepath.Join(t.TempDir(), "p")
	writeParquet(t, parquet, "SELECT i AS x, 'n' || i AS s FROM range(100000) r(i)")
	whole, err := os.ReadFile(parquet)
	if err != nil {
		t.Fatal(err)
	}
	damaged := bytes.Clone(whole)
	for i := len(damaged) / 3; i < len(damaged)/3+4000; i++ {
		damaged[i] ^= 0x5a
	}
	cases := []struct {
		name, ext, data string
		line            int64
		reason          string
	}{
		{"a row with a field less", ".csv", "a,b\n1,2\n3\n4,5\n", 3, "1 field, where the first row has 2"},
		{"a row with a field more, behind a cell of three lines", ".csv", "a,b\n1,\"x\ny\nz\"\n3,4,5\n", 5, "3 fields, where the first row has 2"},
		{"a field less far down", ".csv", "a,b\n" + strings.Repeat("1,2\n", 100000) + "3\n", 100002, "1 field, where"},
		{"a quote that is not closed", ".csv", "a,b\n1,\"x\n2,3\n", 2, "a quote is opened in this row and never closed"},
		{"text behind a quote", ".csv", "a,b\n1,\"x\"y\n", 2, "something other than a delimiter follows a closing quote"},
		{"a NUL byte", ".csv", "a,b\n1,\x00\n", 2, "a NUL byte"},
		{"Parquet in CSV", ".csv", string(whole), 1, "begins like Parquet"},
		{"gzip in CSV", ".csv", "\x1f\x8b\x08", 1, "compressed with gzip"},
		{"JSON in CSV", ".csv", "{\"a\": 1}\n", 1, "begins like JSON"},
		{"UTF-16", ".tsv", "\xff\xfea\x00", 1, "UTF-16"},
		{"CSV in JSON Lines", ".jsonl", "a,b\n1,2\n", 1, "invalid character 'a'"},
		{"a damaged line", ".jsonl", "{\"a\": 1}\n{\"a\": }\n", 2, "invalid character '}'"},
		{"a line that is an array", ".ndjson", "{\"a\": 1}\n\n[1]\n", 3, "not an object"},
		{"a line cut short", ".jsonl", "{\"a\": 1}\n{\"a\": ", 2, "unexpected end"},
		{"text in Parquet", ".parquet", "a,b\n1,2\n3,4\n5,6\n", 0, "does not begin with PAR1"},
		{"Parquet cut short", ".parquet", string(whole[:len(whole)/2]), 0, "does not end with PAR1"},
		{"Parquet of nothing", ".parquet", "", 0, "0 bytes are too few"},
		{"Parquet without a footer", ".parquet", "PAR1" + strings.Repeat("x", 100) + "PAR1", 0, ""},
		{"damaged Parquet", ".parquet", string(damaged), 0, ""},
		{"no form at all", ".txt", "a", 0, "no extension of a table"},
	}
	good := map[string]string{".csv": "a,b\n1,2\n", ".tsv": "a\tb\n", ".jsonl": "{}\n", ".ndjson": "{}\n", ".parquet": string(whole), ".txt": "b"}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			bad, ok := File{Name: "bad" + c.ext, Data: []byte(c.data)}, File{Name: "good" + c.ext, Data: []byte(good[c.ext])}
			for _, pair := range [][2]File{{bad, ok}, {ok, bad}, {bad, bad}} {
				_, err := Compare(context.Background(), pair[0], pair[1], Options{Temp: t.TempDir()})
				var form *FormError
				if !errors.As(err, &form) || !errors.Is(err, ErrForm) {
					t.Fatalf("%v: not a FormError", err)
				}
				if form.Line != c.line || !strings.Contains(form.Reason, c.reason) || form.Name != bad.Name && c.ext != ".txt" {
					t.Errorf("%v: want line %d, %q", err, c.line, c.reason)
				}
				if strings.Contains(err.Error(), "/proc/") {
					t.Errorf("%v: names a path that nobody knows", err)
				}
			}
		})
	}
	t.Run("two forms", func(t *testing.T) {
		_, err := Compare(context.Background(), File{Name: "a.csv"}, File{Name: "b.jsonl"}, Options{})
		if !errors.Is(err, ErrForm) {
			t.Errorf("%v: not ErrForm", err)
		}
	})
}

func TestManyColumns(t *testing.T) {
	const columns = 10000
	var a, b strings.Builder
	for row := range 20 {
		for i := range columns {
			end := ","
			if i == columns-1 {
				end = "\n"
			}
			cell := fmt.Sprintf("c%d", i)
			if row > 0 {
				cell = fmt.Sprint(row*columns + i)
			}
			a.WriteString(cell + end)
			if row == 7 && i == 4567 {
				cell = "0"
			}
			b.WriteString(cell + end)
		}
	}
	d := compare(t, ".csv", a.String(), b.String())
	if diff := cmp.Diff("rows +0 -0 ~1 moved 0\nrow 7/7 70000: c4567: 74567 > 0", brief(d)); diff != "" {
		t.Error(diff)
	}
	if len(d.Shifts) != 1 || d.Shifts[0].Name != "c4567" {
		t.Errorf("shifts of %d columns", len(d.Shifts))
	}
}

func TestManyColumnsInParquet(t *testing.T) {
	dir := t.TempDir()
	columns := make([]string, 3000)
	for i := range columns {
		columns[i] = fmt.Sprintf("i + %d AS c%d", i, i)
	}
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	writeParquet(t, a, "SELECT "+strings.Join(columns, ", ")+" FROM range(3) r(i)")
	columns[2345] = "CASE i WHEN 1 THEN -1 ELSE 0 END AS c2345"
	writeParquet(t, b, "SELECT "+strings.Join(columns, ", ")+" FROM range(3) r(i) WHERE i <> 2")
	d, err := Compare(context.Background(), File{Name: "a.parquet", Path: a}, File{Name: "b.parquet", Path: b}, Options{Temp: dir})
	if err != nil {
		t.Fatal(err)
	}
	if d.Rows.Changed != 2 || d.Rows.Removed != 1 || len(d.Shifts) != 3000 || len(d.Columns.Retyped) != 1 {
		t.Errorf("%d rows changed, %d removed, %d columns shifted, %d retyped", d.Rows.Changed, d.Rows.Removed, len(d.Shifts), len(d.Columns.Retyped))
	}
}

func TestCompareCanBeStopped(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	parquet := [2]string{filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")}
	writeParquet(t, parquet[0], "SELECT i AS x FROM range(100000) r(i)")
	writeParquet(t, parquet[1], "SELECT i + 1 AS x FROM range(100000) r(i)")
	rows := strings.Repeat("1,2\n", 100000)
	for name, files := range map[string][2]File{
		"CSV":     {{Name: "a.csv", Data: []byte(rows)}, {Name: "b.csv", Data: []byte(rows + "x,y\n")}},
		"Parquet": {{Name: "a.parquet", Path: parquet[0]}, {Name: "b.parquet", Path: parquet[1]}},
	} {
		if _, err := Compare(ctx, files[0], files[1], Options{Temp: t.TempDir()}); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want %v", name, err, context.Canceled)
		}
	}
}
