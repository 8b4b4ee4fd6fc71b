package store

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

var leftoverFiles = flag.Int("leftovers.files", 100_000, "how many files TestLeftovers leaves in tmp")

// Opening a store does not wait for what was left in tmp, which goes in the background.
func TestLeftovers(t *testing.T) {
	dir := filepath.Join(memory(t), "store")
	closeStore(t, openStore(t, dir, Options{}))
	plain := opening(t, dir)
	for i := range *leftoverFiles {
		f, err := os.Create(filepath.Join(dir, "tmp", "blob-"+strconv.Itoa(i)))
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	s := openStore(t, dir, Options{})
	took := time.Since(began)
	if took > 10*plain+200*time.Millisecond {
		t.Errorf("opening took %v with %d files in tmp, and %v without", took, *leftoverFiles, plain)
	}
	mustPut(t, s, bytesOf("meanwhile", 30_000), false)
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		left, err := s.leftovers()
		if err != nil {
			t.Fatal(err)
		}
		if len(left) == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("after a minute there are still %q", left)
		}
	}
	t.Logf("opening took %v with %d files in tmp, and %v without; they were gone after %v", took, *leftoverFiles, plain, time.Since(began))
}

func opening(t *testing.T, dir string) time.Duration {
	t.Helper()
	began := time.Now()
	s := openStore(t, dir, Options{})
	took := time.Since(began)
	closeStore(t, s)
	return took
}

// Whose store was moved makes nothing in the one that is at its path now.
func TestNoTempInAnotherStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	old, err := Open(dir, Options{})
	if err == nil {
		err = old.Writable()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := old.Close(); !errors.Is(err, ErrGone) {
			t.Error(err)
		}
	})
	if err := os.Rename(dir, dir+"-aside"); err != nil {
		t.Fatal(err)
	}
	mustPut(t, openStore(t, dir, Options{}), []byte("another"), false)
	if made, err := old.TempDir("x-"); !errors.Is(err, ErrGone) {
		t.Errorf("it made %q, %v", made, err)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(left) > 0 {
		t.Errorf("in the new store lie %v, %v", left, err)
	}
}
