package table

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// compared compares two texts, and fails for an error that is not of the form.
func compared(t *testing.T, ext string, a, b []byte) *Diff {
	t.Helper()
	d, err := Compare(context.Background(), File{Name: "a" + ext, Data: a}, File{Name: "b" + ext, Data: b}, Options{Temp: t.TempDir()})
	if err != nil && !errors.Is(err, ErrForm) {
		t.Fatal(err)
	}
	return d
}

// FuzzText compares any bytes as CSV and as JSON Lines: a table is like itself, and what
// is added one way is removed the other.
func FuzzText(f *testing.F) {
	for _, seed := range [][2]string{
		{"a,b\n1,2\n", "a,b\n1,\"2\"\n3,4\n"},
		{"a;b\r\n\"x\ny\";\"\"\"\"\r\n", "\ufeffb;a\n;\n"},
		{"\"", "a\n\"\"\n\n\n"},
		{"{\"a\": [1, {\"b\": \"\\u00e9\\\"}\"}]}\n", "{\"a\":null,\"a\":1}\n\n{ }"},
		{"{\"\\u0061\": -1e5}", "{\"a\": \"\\ud800\"}\n{\"b\":true}"},
		{",\n2024-02-30,1e999\n", ",\n2024-02-29T23:59:60.5+01:00,0x1p-2\n"},
	} {
		f.Add([]byte(seed[0]), []byte(seed[1]))
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		for _, ext := range []string{".csv", ".jsonl"} {
			if d := compared(t, ext, a, a); d != nil && !d.Same {
				t.Errorf("%s differs from itself: %s", ext, brief(d))
			}
			there, back := compared(t, ext, a, b), compared(t, ext, b, a)
			if (there == nil) != (back == nil) {
				t.Fatalf("%s can be compared one way only", ext)
			}
			if there == nil {
				continue
			}
			if there.Same != back.Same || there.Rows.Added+there.Rows.Changed != back.Rows.Removed+back.Rows.Changed {
				t.Errorf("%s: one way\n%s\nthe other\n%s", ext, brief(there), brief(back))
			}
		}
	})
}

// FuzzCSVRows holds the rows of a CSV file against the standard library's. What that
// takes and RFC 4180 does not, quotes within a field, is left out.
func FuzzCSVRows(f *testing.F) {
	for _, seed := range []string{"a,b\n1,2\n", "\"x\ny\",\"\"\"\"\r\nz,\n", "1,2\n\n3,4", "a\n\"\"\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if bytes.IndexByte(data, 0) >= 0 || bytes.Contains(data, []byte("\r")) || bytes.HasPrefix(data, []byte("\ufeff")) {
			return
		}
		r := csv.NewReader(bytes.NewReader(data))
		want, err := r.ReadAll()
		if err != nil || len(want) == 0 || len(want[0]) == 1 {
			return // an empty line is a row of one column here
		}
		names := make([]Column, len(want[0]))
		s := &csvSource{c: &content{name: "a.csv", form: CSV, size: int64(len(data)), ReaderAt: bytes.NewReader(data)}, delim: ',', names: names}
		rows, err := s.rows(context.Background(), mark{})
		if err != nil {
			t.Fatal(err)
		}
		var got [][]string
		for {
			raw, err := rows.next()
			if err == io.EOF {
				break
			}
			if err == nil {
				err = rows.check(raw)
			}
			if err != nil {
				t.Fatal(err)
			}
			var row []string
			for i, cell := range rows.cells(raw, nil) {
				row = append(row, string(cell))
				if one := rows.cell(raw, i); (one == nil) != (cell == nil) || !bytes.Equal(one, cell) {
					t.Errorf("cell %d alone is %q, among all %q", i, one, cell)
				}
			}
			got = append(got, row)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}
