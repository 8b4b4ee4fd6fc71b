package containerd_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plumb/engine/runtime/containerd"
)

// breaking is an image whose blobs break off, and can be read from an offset on.
type breaking struct {
	*crafted
	after   int64 // bytes at a time; 0 for all
	mu      sync.Mutex
	offsets []int64
}

func (b *breaking) BlobAt(ctx context.Context, digest string, offset int64) (io.ReadCloser, error) {
	rc, err := b.Blob(ctx, digest)
	if err != nil || digest == b.manifest {
		return rc, err
	}
	b.mu.Lock() // config and layer come at once
	b.offsets = append(b.offsets, offset)
	b.mu.Unlock()
	if _, err := io.CopyN(io.Discard, rc, offset); err != nil {
		return nil, err
	}
	if b.after == 0 || int64(len(b.blobs[digest])) < b.after {
		return rc, nil
	}
	return io.NopCloser(io.MultiReader(io.LimitReader(rc, b.after), failing{})), nil
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("the line broke") }

// An import that broke off goes on where it was, also in another process.
func TestImportGoesOn(t *testing.T) {
	dir := tempDir(t)
	img := &breaking{crafted: craft(t, layer{raw: tarball(t, []member{file("f", strings.Repeat("0123456789", 50000), 0o644)})}), after: 200000}
	var last string
	for n := range 3 {
		r, err := containerd.New(t.Context(), options(dir))
		if err != nil {
			t.Fatal(err)
		}
		if n == 2 {
			img.after = 0
		}
		err = r.Prepare(t.Context(), img)
		if (err == nil) != (n == 2) || err != nil && !strings.Contains(err.Error(), "the line broke") {
			t.Errorf("try %d: %v", n, err)
		}
		if n == 2 {
			last = unpacked(t, r, img)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	var large []int64
	for _, o := range img.offsets {
		if o > 0 {
			large = append(large, o)
		}
	}
	if diff := cmp.Diff([]int64{200000, 400000}, large); diff != "" {
		t.Errorf("gone on from (-want +got):\n%s", diff)
	}
	if !strings.Contains(last, `"f"`) {
		t.Errorf("unpacked:\n%s", last)
	}
}
