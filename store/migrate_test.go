package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"plumb/store/faultfs"
)

// newer is the format after this one, as far as a test needs one: it has a key that
// counts the records, each of which it has written anew.
func newer() *formats {
	return &formats{current: Format + 1, steps: map[int]step{Format: countRecords}}
}

var countKey = []byte("Zcount")

func countRecords(db *badger.DB) error {
	return db.Update(func(txn *badger.Txn) error {
		var all []entry
		if err := each(txn, []byte{inRecords}, func(key, val []byte) error {
			all = append(all, entry{slices.Clone(key), slices.Clone(val)})
			return nil
		}); err != nil {
			return err
		}
		if err := setAll(txn, all); err != nil {
			return err
		}
		return txn.Set(countKey, []byte(fmt.Sprint(len(all))))
	})
}

// count is what the step left.
func (s *Store) count() (string, error) {
	var b []byte
	err := s.view(func(txn *badger.Txn) (err error) {
		b, err = value(txn, countKey)
		return err
	})
	return string(b), err
}

const records = 3

// older makes a store of this format.
func older(dir string) error {
	s, err := Open(dir, Options{Version: "v1"})
	if err != nil {
		return err
	}
	for i := range records {
		id := fmt.Sprint("r", i)
		if err := commitResult(s, Key(Sum([]byte(id))), id); err != nil {
			return err
		}
	}
	return s.Close()
}

// wantRecords looks for all that older made.
func wantRecords(s *Store) error {
	for i := range records {
		if _, miss, err := s.Lookup(Key(Sum([]byte(fmt.Sprint("r", i))))); miss != nil || err != nil {
			return fmt.Errorf("record %d: %+v, %w", i, miss, err)
		}
	}
	return wantSound(s)
}

func TestMigrate(t *testing.T) {
	for _, readOnly := range []bool{false, true} {
		t.Run(fmt.Sprint("read-only ", readOnly), func(t *testing.T) {
			dir := t.TempDir()
			if err := older(dir); err != nil {
				t.Fatal(err)
			}
			before, err := os.ReadFile(filepath.Join(dir, "meta", "MANIFEST"))
			if err != nil {
				t.Fatal(err)
			}
			s := openStore(t, dir, Options{ReadOnly: readOnly, formats: newer()})
			if n, err := s.count(); n != fmt.Sprint(records) || err != nil {
				t.Errorf("the step left %q, %v", n, err)
			}
			if err := wantRecords(s); err != nil {
				t.Error(err)
			}
			closeStore(t, s)
			saved := filepath.Join(dir, savedMeta+"1")
			if b, err := os.ReadFile(filepath.Join(saved, "MANIFEST")); err != nil || !bytes.Equal(before, b) {
				t.Errorf("the old records are not what they were: %v", err)
			}
			if _, err := Open(dir, Options{Version: "v1"}); !errors.Is(err, ErrNewerFormat) || !strings.Contains(err.Error(), "its format is 2, this plumb (v1) knows 1") {
				t.Errorf("an older plumb gets %v", err)
			}
			s = openStore(t, dir, Options{formats: newer()})
			if _, err := os.Lstat(saved); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the old records are still there: %v", err)
			}
			if err := wantRecords(s); err != nil {
				t.Error(err)
			}
		})
	}
}

// The old records can be put back for as long as they are there.
func TestMigrationUndone(t *testing.T) {
	dir := t.TempDir()
	if err := older(dir); err != nil {
		t.Fatal(err)
	}
	closeStore(t, openStore(t, dir, Options{formats: newer()}))
	meta := filepath.Join(dir, "meta")
	if err := errors.Join(os.RemoveAll(meta), os.Rename(filepath.Join(dir, savedMeta+"1"), meta), os.WriteFile(filepath.Join(dir, "format"), []byte("1\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	if err := wantRecords(openStore(t, dir, Options{})); err != nil {
		t.Error(err)
	}
}

// What keeps a store from being migrated changes nothing of it.
func TestMigrationFails(t *testing.T) {
	failing := newer()
	failing.steps[Format] = func(*badger.DB) error { return errors.New("the step fails") }
	gap := &formats{current: Format + 2, steps: map[int]step{Format + 1: countRecords}}
	for _, tt := range []struct {
		name string
		o    Options
		want string
	}{
		{"no room", Options{formats: newer(), free: func(string) (int64, error) { return 1 << 20, nil }}, "migrating it from format 1 to 2: no space left on device: a copy of its records needs"},
		{"a step fails", Options{formats: failing}, "migrating it from format 1 to 2: the step from format 1: the step fails"},
		{"a format too old", Options{formats: gap, Version: "v3"}, "its format is 1, which this plumb (v3) does not read any more; it knows 3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := older(dir); err != nil {
				t.Fatal(err)
			}
			before := snapshot(t, filepath.Join(dir, "meta"))
			if _, err := Open(dir, tt.o); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("opening it: %v, want %q", err, tt.want)
			}
			if diff := cmp.Diff(before, snapshot(t, filepath.Join(dir, "meta"))); diff != "" {
				t.Errorf("the records changed (-before +after):\n%s", diff)
			}
			if names, _ := filepath.Glob(filepath.Join(dir, "meta*")); len(names) != 1 {
				t.Errorf("there are %q", names)
			}
			if err := wantRecords(openStore(t, dir, Options{})); err != nil {
				t.Error(err)
			}
		})
	}
}

// migrateThrough is what the child does for TestMigrationCut.
func migrateThrough(mount string) error {
	dir := filepath.Join(mount, "home", "store")
	if err := errors.Join(older(dir), faultfs.Mark(mount, "older")); err != nil {
		return err
	}
	for _, mark := range []string{"migrated", "opened again"} {
		s, err := Open(dir, Options{formats: newer()})
		if err != nil {
			return err
		}
		if err := errors.Join(s.Close(), faultfs.Mark(mount, mark)); err != nil {
			return err
		}
	}
	return nil
}

// TestMigrationCut has a migrating process killed, and the power fail, after each
// change: the next owner has all records in the new format, and one that knows only the
// old either finds all in that or is refused.
func TestMigrationCut(t *testing.T) {
	seed := seedOf(t)
	dir := t.TempDir()
	f, end := mountFaults(t, dir)
	defer end()
	if err := runChild(dir, "PLUMB_TEST_FAULT_ROUNDS="); err != nil {
		t.Fatal(err)
	}
	j := f.Journal()
	from := slices.IndexFunc(j, func(op faultfs.Op) bool { return op.Words == "older" })
	all := map[string]func(int) *faultfs.Tree{"the process is killed": j.Whole}
	for _, m := range []faultfs.Model{faultfs.Strict, faultfs.Named, faultfs.Ordered} {
		all[fmt.Sprint("the power fails, ", m)] = func(n int) *faultfs.Tree { return j.Survivor(n, m, 0) }
		if m != faultfs.Strict { // see TestPowerCuts
			all[fmt.Sprint("the power fails, ", m, ", by a coin")] = func(n int) *faultfs.Tree { return j.Survivor(n, m, seed) }
		}
	}
	at := memory(t)
	for name, left := range all {
		first, step := stride(len(j)-from, 40, seed)
		for n := from + first; n <= len(j); n += step {
			if err := wantMigrated(left(n), at); err != nil {
				t.Errorf("%s after %d changes, the last being %q:\n%v", name, n, last(j, n), err)
			}
		}
	}
	t.Logf("%d changes while migrating", len(j)-from)
}

func wantMigrated(tree *faultfs.Tree, at string) error {
	for _, f := range []*formats{knownFormats(), newer()} {
		dir := filepath.Join(at, "left")
		err := tree.WriteTo(dir)
		if err == nil {
			err = wantFormat(filepath.Join(dir, "home", "store"), f)
		}
		if err = errors.Join(err, os.RemoveAll(dir)); err != nil {
			return fmt.Errorf("a plumb of format %d: %w", f.current, err)
		}
	}
	return nil
}

func wantFormat(dir string, f *formats) (err error) {
	s, err := Open(dir, Options{formats: f})
	if errors.Is(err, ErrNewerFormat) && f.current == Format {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := wantRecords(s); err != nil {
		return err
	}
	if n, err := s.count(); f.current > Format && n != fmt.Sprint(records) {
		return fmt.Errorf("the step left %q: %w", n, err)
	}
	return nil
}

// Where two names cannot be exchanged there is a moment without records; what comes
// after it goes on.
func TestMigrationWithoutExchange(t *testing.T) {
	dir := t.TempDir()
	if err := older(dir); err != nil {
		t.Fatal(err)
	}
	s := openStore(t, dir, Options{})
	s.formats = newer()
	if err := s.makeNext(Format); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	if err := unix.Rename(filepath.Join(dir, "meta"), filepath.Join(dir, savedMeta+"1")); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir, Options{formats: newer()})
	if err := wantRecords(s); err != nil {
		t.Error(err)
	}
	if n, err := s.count(); n != fmt.Sprint(records) || err != nil {
		t.Errorf("the step left %q, %v", n, err)
	}
}
