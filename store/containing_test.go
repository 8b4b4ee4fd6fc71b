package store

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/dgraph-io/badger/v4"
)

// TestUnreadDirectoriesAreTold is that a search which could not look into a directory does
// not say that it was whole, and that one which fails says why.
func TestUnreadDirectoriesAreTold(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spoil func(t *testing.T, s *Store, d Digest) error
		fails bool
	}{
		{"not kept", func(_ *testing.T, s *Store, d Digest) error {
			return s.update(func(txn *badger.Txn) error { return txn.Delete(blobKey(d)) })
		}, false},
		{"damaged", func(_ *testing.T, s *Store, d Digest) error {
			return s.update(func(txn *badger.Txn) error { return txn.Set(blobKey(d), []byte("something else")) })
		}, false},
		{"unreadable", func(_ *testing.T, s *Store, d Digest) error {
			path := s.blobPath(d, false)
			return errors.Join(s.update(func(txn *badger.Txn) error { return txn.Delete(blobKey(d)) }), os.MkdirAll(path, 0o755))
		}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := openStore(t, t.TempDir(), Options{Names: testNames})
			one, two := putTree(t, s, "wanted"), putTree(t, s, "other")
			commit(t, s, func(b *Batch) {
				b.PutRecord(&Record{Key: Key{1}, Outputs: []Output{{Name: "d", Artifact: one}, {Name: "e", Artifact: two}}})
			})
			if err := tt.spoil(t, s, two.Digest); err != nil {
				t.Fatal(err)
			}
			found, how, err := s.Containing(context.Background(), named("wanted"), 10, 1<<20)
			if tt.fails {
				if err == nil {
					t.Errorf("no error: %+v", how)
				}
				return
			}
			if err != nil || len(found) != 1 || how.Whole || how.Unread != 1 || how.Directories != 1 {
				t.Errorf("%+v %+v %v", found, how, err)
			}
		})
	}
}
