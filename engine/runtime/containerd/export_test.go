package containerd

import (
	"bytes"
	"context"

	"github.com/containerd/containerd/v2/pkg/archive"
)

// Root is where the runtime keeps what it keeps.
func (r *Runtime) Root() string { return r.opts.Root }

// ApplyForTest unpacks a layer into a directory, as the bottom of an image.
func ApplyForTest(ctx context.Context, dir string, raw []byte) error {
	g := newGate(dir, nil, nil)
	if _, err := archive.Apply(ctx, dir, bytes.NewReader(raw), archive.WithFilter(g.check)); err != nil {
		return err
	}
	return g.finish()
}
