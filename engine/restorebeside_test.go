package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"plumb/engine/event"
)

// Restores beside each other, which all remove what killed ones left, leave each other
// alone.
func TestRestoresBesideEachOther(t *testing.T) {
	parent := t.TempDir()
	for n := range 20 { // of restores that were killed
		if err := os.MkdirAll(filepath.Join(parent, fmt.Sprint(restoreTemp, n), "new"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	one := func() error {
		tmp, done, err := beginRestore(parent)
		if err != nil {
			return err
		}
		err = os.Mkdir(filepath.Join(tmp, "new"), 0o700)
		if err == nil {
			_, err = os.Stat(filepath.Join(tmp, "new"))
		}
		return errors.Join(err, done())
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				if err := one(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if entries, err := os.ReadDir(parent); err != nil || len(entries) > 0 {
		t.Errorf("%v is left, %v", entries, err)
	}
}

func TestRestoresOfOneRunBesideEachOther(t *testing.T) {
	r := newMonth(t)
	if _, _, err := r.ran(t.Context()); err != nil {
		t.Fatal(err)
	}
	parent := filepath.Join(t.TempDir(), "a", "b")
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			to := filepath.Join(parent, fmt.Sprint(n))
			if _, err := r.Restore(t.Context(), RestoreRequest{Dir: r.dir, To: to}, func(event.Event) {}); err != nil {
				t.Error(err)
			}
			if b, err := os.ReadFile(filepath.Join(to, "data/raw.csv")); err != nil || string(b) != "a,b\n" {
				t.Errorf("%q, %v", b, err)
			}
		})
	}
	all.Wait()
	entries, err := os.ReadDir(parent)
	if err != nil || len(entries) != 8 {
		t.Errorf("%v is there, %v", entries, err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			t.Errorf("%q is left", e.Name())
		}
	}
}
