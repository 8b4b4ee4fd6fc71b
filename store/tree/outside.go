package tree

import (
	"context"
	"fmt"
	"os"

	"plumb/store"
)

// Outside gives the artifact that a file or directory anywhere is. It reads all of it,
// remembers nothing and writes nothing.
func Outside(ctx context.Context, path string) (store.Artifact, error) {
	fi, err := os.Stat(path)
	a := store.Artifact{Kind: store.KindFile}
	if err == nil && fi.IsDir() {
		a.Kind = store.KindTree
	} else if err == nil {
		a.Size, a.Exec = fi.Size(), fi.Mode()&0o100 != 0
	}
	if err == nil {
		a.Digest, err = contentOf(ctx, path, a.Kind)
	}
	if err != nil {
		return store.Artifact{}, fmt.Errorf("hashing %q: %w", path, err)
	}
	return a, nil
}
