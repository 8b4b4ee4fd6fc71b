package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

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

// The directories that a restore made above its own go with it when it fails, and no
// other does.
func TestRestoreThatFailsLeavesNoParents(t *testing.T) {
	r := newMonth(t)
	if _, _, err := r.ran(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		also string // comes to be while it is under way
		want []string
	}{
		{"alone", "", []string{"old"}},
		{"with something of somebody else", "old/x/mine", []string{"old", "old/x", "old/x/mine"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			top := t.TempDir()
			if err := os.Mkdir(filepath.Join(top, "old"), 0o700); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			_, err := r.Restore(ctx, RestoreRequest{Dir: r.dir, To: filepath.Join(top, "old/x/y/z")}, func(e event.Event) {
				if e.Type != event.Progress {
					return
				}
				cancel()
				if c.also != "" {
					if err := os.WriteFile(filepath.Join(top, c.also), nil, 0o600); err != nil {
						t.Error(err)
					}
				}
			})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("the error is %v", err)
			}
			var got []string
			if err := filepath.WalkDir(top, func(p string, _ fs.DirEntry, err error) error {
				if rel, _ := filepath.Rel(top, p); rel != "." {
					got = append(got, rel)
				}
				return err
			}); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("there is (-want +got)\n%s", diff)
			}
		})
	}
}

// Restores that remove the parents that they made take none from each other.
func TestRestoresBesideEachOtherMakeParents(t *testing.T) {
	top := t.TempDir()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				parents, tmp, done, err := beginIn(filepath.Join(top, "a/b"))
				if err != nil {
					t.Error(err)
					continue
				}
				err = os.Mkdir(filepath.Join(tmp, "new"), 0o700)
				if err := errors.Join(err, done(), unmake(parents)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}
