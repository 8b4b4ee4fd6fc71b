package store

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// twoTrees commits a record with a tree, another with a tree that has a file of it, and
// answers the keys and what they hold.
func twoTrees(t *testing.T, s *Store) (keys [2]Key, trees [2]Artifact) {
	t.Helper()
	for n := range keys {
		keys[n] = Key{byte(n + 1)}
		commit(t, s, func(b *Batch) {
			var entries []Entry
			for i, content := range []string{"shared", "small shared", fmt.Sprint("own", n), fmt.Sprint("small own", n)} {
				size := 30_000
				if i%2 == 1 {
					size = 20
				}
				a, err := b.Put(newBytes(bytesOf(content, size)), false)
				if err != nil {
					t.Fatal(err)
				}
				entries = append(entries, Entry{Path: fmt.Sprint("f", i), Kind: EntryFile, Size: a.Size, Digest: a.Digest})
			}
			m, err := b.Put(newBytes(EncodeTree(entries)), false)
			if err != nil {
				t.Fatal(err)
			}
			trees[n] = Artifact{Kind: KindTree, Digest: m.Digest, Size: 60_040, Files: 4}
			b.PutRecord(&Record{Key: keys[n], Stage: "s", Created: time.Now(), Outputs: []Output{{Name: "tree", Artifact: trees[n]}}})
		})
	}
	return keys, trees
}

func TestDropTakesWhatNothingElseNeeds(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	keys, trees := twoTrees(t, s)
	if n := len(blobFiles(t, s)); n != 3 {
		t.Fatalf("%d large blobs", n)
	}
	gone, err := s.Drop(keys[0], []string{"tree", "unheard of"})
	if err != nil || len(gone) != 1 || gone[0] != trees[0] {
		t.Fatalf("dropped %+v, %v", gone, err)
	}
	if again, err := s.Drop(keys[0], []string{"tree"}); err != nil || again != nil {
		t.Errorf("dropped again: %+v, %v", again, err)
	}
	rec, miss, err := s.Lookup(keys[0])
	if err != nil || miss != nil || !rec.Outputs[0].Dropped || rec.Outputs[0].Digest != trees[0].Digest {
		t.Fatalf("record %+v, miss %+v, %v", rec, miss, err)
	}
	n, err := s.DropBlobs(context.Background(), gone)
	if err != nil || n != 30_000 {
		t.Errorf("%d bytes, %v", n, err)
	}
	if n := len(blobFiles(t, s)); n != 2 {
		t.Errorf("%d large blobs are left", n)
	}
	if got := alive(t, s, keys[0], keys[1]); len(got) != 2 {
		t.Errorf("usable: %v", got)
	}
	if err := s.Check(trees[1]); err != nil {
		t.Errorf("the other one: %v", err)
	}
	if err := s.Check(trees[0]); err == nil {
		t.Error("its bytes are still there")
	}
}

func TestDropLeavesWhatIsLeased(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	keys, trees := twoTrees(t, s)
	release := s.LeaseBlobs(trees[0])
	gone, err := s.Drop(keys[0], []string{"tree"})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := s.DropBlobs(context.Background(), gone); err != nil || n != 0 {
		t.Errorf("%d bytes, %v", n, err)
	}
	if err := s.Check(trees[0]); err != nil {
		t.Error(err)
	}
	release()
	if n, err := s.DropBlobs(context.Background(), gone); err != nil || n != 30_000 {
		t.Errorf("%d bytes, %v", n, err)
	}
}

func TestDropTakesPlacedLinks(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	keys, _ := twoTrees(t, s)
	file := blobFiles(t, s)[0]
	path, release, err := s.Placed(Sum([]byte("place")), func(string) bool { return true }, func(tmp string) error { return linkInto(tmp, blobFiles(t, s)) })
	if err != nil {
		t.Fatal(err)
	}
	used, leave, err := s.Placed(Sum([]byte("used")), func(string) bool { return true }, func(tmp string) error { return linkInto(tmp, blobFiles(t, s)) })
	if err != nil {
		t.Fatal(err)
	}
	release()
	for _, k := range keys {
		gone, err := s.Drop(k, []string{"tree"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.DropBlobs(context.Background(), gone); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(used); err != nil {
		t.Errorf("what is in use: %v", err)
	}
	leave()
	for _, p := range []string{path, used, file} {
		if _, err := os.Stat(p); err == nil {
			t.Errorf("%s is still there", p)
		}
	}
	if left, err := os.ReadDir(s.path("tmp")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// BenchmarkDropBlobs is what it costs to know that nothing else refers to an output.
func BenchmarkDropBlobs(b *testing.B) {
	for _, records := range []int{100, 10_000} {
		b.Run(fmt.Sprint(records, " records"), func(b *testing.B) {
			s := openStore(b, b.TempDir(), Options{})
			batch := s.NewBatch()
			for i := range records {
				batch.PutRecord(&Record{Key: Key(Sum([]byte(fmt.Sprint(i)))), Stage: "s", Action: bytesOf(fmt.Sprint(i), 1000), Created: time.Now(), Outputs: []Output{{Name: "o", Artifact: Artifact{Kind: KindFile, Digest: Sum(bytesOf("x", 10)), Size: 10}}}})
				if i%500 == 0 {
					if _, err := batch.Put(newBytes(bytesOf("x", 10)), false); err != nil {
						b.Fatal(err)
					}
					if err := s.Commit(context.Background(), batch); err != nil {
						b.Fatal(err)
					}
				}
			}
			if err := s.Commit(context.Background(), batch); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, err := s.DropBlobs(context.Background(), []Artifact{{Kind: KindFile, Digest: Sum([]byte("nothing")), Size: 1}}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func linkInto(dir string, files []string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for _, f := range files {
		if err := os.Link(f, filepath.Join(dir, filepath.Base(f))); err != nil {
			return err
		}
	}
	return nil
}
