package containerd

import (
	"bytes"
	"context"

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

// UnpackForTest unpacks a layer as images are, above others, at most 1 MiB of it.
func UnpackForTest(ctx context.Context, dir string, lower []string, raw []byte) error {
	limited := &limiter{r: bytes.NewReader(raw), packed: int64(len(raw)), max: 1 << 20, ratio: defaultRatio}
	return writeTree(ctx, newGate(dir, lower, limited), limited)
}
