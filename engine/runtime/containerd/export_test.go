package containerd

import (
	"bytes"
	"context"

	"github.com/containerd/containerd/v2/pkg/archive"

	"plumb/engine/runtime"
)

// HasCgroups says whether an ordinary user has any.
func HasCgroups() bool {
	c, err := openCgroups("plumb-test", true)
	return err == nil && c.path("x") != ""
}

// Root is where the runtime keeps what it keeps.
func (r *Runtime) Root() string { return r.opts.Root }

// ChangesForTest compares a scratch layer with an image.
func ChangesForTest(ctx context.Context, upper, view string, base, ids uint32, fn runtime.Change) error {
	d := &difference{ctx: ctx, upper: upper, view: view, fn: fn, base: base, ids: ids, first: map[uint64]string{}}
	return d.all()
}

// ApplyForTest unpacks a layer into a directory, as the bottom of an image.
func ApplyForTest(ctx context.Context, dir string, raw []byte) error {
	g := newGate(dir, nil, nil)
	if _, err := archive.Apply(ctx, dir, bytes.NewReader(raw), archive.WithFilter(g.check)); err != nil {
		return err
	}
	return g.finish()
}
