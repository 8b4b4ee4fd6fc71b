package store

import (
	"context"
	"encoding/binary"
	"os"
	"testing"
)

// numbered is a small content like no other.
func numbered(n int) []byte {
	b := make([]byte, SmallBlob)
	binary.LittleEndian.PutUint64(b, uint64(n))
	return b
}

// A batch holds so much in memory and no more; what is beyond is there all the same,
// before the commit and after it, and leaves nothing behind.
func TestManySmallBlobs(t *testing.T) {
	const n = maxHeld/SmallBlob + 500
	for _, commit := range []bool{true, false} {
		s, err := Open(t.TempDir(), Options{})
		if err != nil {
			t.Fatal(err)
		}
		b := s.NewBatch()
		for i := range n {
			for range 1 + i%2 { // many of them twice
				if _, err := b.putSmall(numbered(i), false); err != nil {
					t.Fatal(err)
				}
			}
		}
		if b.small.bytes > maxHeld || len(b.small.rest) != 500 || b.small.len() != n {
			t.Errorf("%d bytes are held, %d of %d are not", b.small.bytes, len(b.small.rest), b.small.len())
		}
		for _, i := range []int{0, n - 1} {
			if got, err := b.ReadBlob(Sum(numbered(i)), SmallBlob); err != nil || string(got) != string(numbered(i)) {
				t.Errorf("blob %d of the batch: %d bytes, %v", i, len(got), err)
			}
		}
		if commit {
			if err := s.Commit(context.Background(), b); err != nil {
				t.Fatal(err)
			}
		}
		file := b.small.file
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		if file != nil && file.Close() == nil {
			t.Error("the file is open still")
		}
		for i := range n {
			if _, ok := s.Stat(Sum(numbered(i))); ok != commit {
				t.Fatalf("blob %d is there: %v", i, ok)
			}
		}
		if left, err := os.ReadDir(s.path("tmp")); err != nil || len(left) > 0 {
			t.Errorf("left: %v, %v", left, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// What was changed on the disk meanwhile is not taken.
func TestDamagedSmallBlob(t *testing.T) {
	s, err := Open(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	b := s.NewBatch()
	defer b.Close()
	b.small.bytes = maxHeld
	a, err := b.putSmall(numbered(1), false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.small.file.WriteAt([]byte("x"), 5); err != nil {
		t.Fatal(err)
	}
	if _, err := b.ReadBlob(a.Digest, SmallBlob); err == nil {
		t.Error("it was read")
	}
	if err := s.Commit(context.Background(), b); err == nil {
		t.Error("it was committed")
	}
}
