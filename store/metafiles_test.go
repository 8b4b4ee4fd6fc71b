package store

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// A store with a damaged table does not open until it was told to go on without what
// that held; what is in other tables is there.
func TestDamagedTable(t *testing.T) {
	for _, tt := range []struct {
		name   string
		damage func(path string, size int64) error
	}{
		{"cut in half", func(path string, size int64) error { return os.Truncate(path, size/2) }},
		{"empty", func(path string, _ int64) error { return os.Truncate(path, 0) }},
		{"zeros at the end", func(path string, size int64) error {
			return errors.Join(os.Truncate(path, size-100), os.Truncate(path, size))
		}},
		{"a bit of the index", func(path string, size int64) error { return flipped(t, path, size-60) }},
		{"a bit of a block", func(path string, _ int64) error { return flipped(t, path, 20) }},
	} {
		for _, readOnly := range []bool{false, true} {
			t.Run(tt.name, func(t *testing.T) {
				dir := t.TempDir()
				ids := []string{"in the first table", "in the second table"}
				for _, id := range ids {
					s := openStore(t, dir, Options{})
					if err := commitResult(s, Key(Sum([]byte(id))), id); err != nil {
						t.Fatal(err)
					}
					closeStore(t, s)
				}
				tables, err := filepath.Glob(filepath.Join(dir, "meta", "*.sst"))
				if err != nil || len(tables) != 2 {
					t.Fatalf("there are the tables %q, %v", tables, err)
				}
				fi, err := os.Stat(tables[0])
				if err == nil {
					err = tt.damage(tables[0], fi.Size())
				}
				if err != nil {
					t.Fatal(err)
				}
				var damaged *RecordsDamagedError
				if s, err := Open(dir, Options{ReadOnly: readOnly}); !errors.As(err, &damaged) {
					t.Fatalf("it was opened: %v, %v", s, err)
				}
				if _, err := RebuildRecords(dir, Options{}); err != nil {
					t.Fatal(err)
				}
				s := openStore(t, dir, Options{ReadOnly: readOnly})
				if _, miss, err := s.Lookup(Key(Sum([]byte(ids[1])))); miss != nil || err != nil {
					t.Errorf("what is in the sound table is %+v, %v", miss, err)
				}
				if r, miss, err := s.Lookup(Key(Sum([]byte(ids[0])))); err != nil || miss == nil && r.Stage != ids[0] {
					t.Errorf("what is in the damaged table is %+v, %v", r, err)
				}
				closeStore(t, s)
				s = openStore(t, dir, Options{})
				if err := commitResult(s, Key(Sum([]byte(ids[0]))), ids[0]); err != nil {
					t.Error(err)
				}
				if _, miss, err := s.Lookup(Key(Sum([]byte(ids[0])))); miss != nil || err != nil {
					t.Errorf("what was committed again is %+v, %v", miss, err)
				}
			})
		}
	}
}

func flipped(t *testing.T, path string, at int64) error {
	flip(t, path, at, false)
	return nil
}
