package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"plumb/engine/runtime"
)

var _ runtime.Builder = (*Runtime)(nil)

// buildLife is how long what a build has added stays when nobody closes it.
const buildLife = 24 * time.Hour

// build is an image being made. Its lease keeps blobs and snapshots that no image
// has yet from the garbage collector.
type build struct {
	r     *Runtime
	lease leases.Lease
	blobs atomic.Int64 // that were begun
	dirty atomic.Bool  // unpacked layers may not be on the disk yet
}

// Build implements runtime.Builder.
func (r *Runtime) Build(ctx context.Context) (runtime.Build, error) {
	if r.opts.IDs == 1 {
		return nil, fmt.Errorf("beginning to make an image: its files have several owners, and there is one id only; %s", idsRemedy)
	}
	lease, err := r.server.client.LeasesService().Create(inNamespace(ctx), leases.WithRandomID(), leases.WithExpiration(buildLife))
	if err != nil {
		return nil, fmt.Errorf("beginning to make an image: taking a lease: %w", err)
	}
	return &build{r: r, lease: lease}, nil
}

// leased is ctx for calls to containerd on account of this build.
func (b *build) leased(ctx context.Context) context.Context {
	return leases.WithLease(inNamespace(ctx), b.lease.ID)
}

// Add implements runtime.Build.
func (b *build) Add(ctx context.Context, write func(w io.Writer) error) (string, int64, error) {
	d, err := b.add(b.leased(ctx), write)
	if err != nil {
		return "", 0, fmt.Errorf("adding a blob: %w", err)
	}
	return d.Digest.String(), d.Size, nil
}

// add lets the content store find digest and size. A blob that is there already is
// taken into the lease.
func (b *build) add(ctx context.Context, write func(w io.Writer) error) (d v1.Descriptor, err error) {
	store := b.r.server.client.ContentStore()
	ref := fmt.Sprintf("plumb-%s-%d", b.lease.ID, b.blobs.Add(1))
	w, err := content.OpenWriter(ctx, store, content.WithRef(ref))
	if err != nil {
		return d, err
	}
	defer func() {
		if err = errors.Join(err, w.Close()); err != nil {
			err = errors.Join(err, ignoreNotFound(store.Abort(context.WithoutCancel(ctx), ref)))
		}
	}()
	behind := writeBehind(ctx, w)
	if err := errors.Join(write(behind), behind.Close(), ctx.Err()); err != nil {
		return d, err
	}
	st, err := w.Status()
	if err != nil {
		return d, err
	}
	d.Digest, d.Size = w.Digest(), st.Offset
	if err := w.Commit(ctx, 0, ""); err != nil && !errdefs.IsAlreadyExists(err) {
		return d, err
	}
	return d, nil
}

// AddLayer implements runtime.Build.
func (b *build) AddLayer(ctx context.Context, below []string, expect string, write func(w io.Writer) error) (string, int64, error) {
	ctx = b.leased(ctx)
	images := &b.r.images
	snapshot := images.client.SnapshotService(snapshotter)
	if expect != "" {
		if _, err := snapshot.Stat(ctx, images.chainOf(below, expect)); err == nil {
			return b.Add(ctx, write)
		}
	}
	key := fmt.Sprintf("build-%s-%d", b.lease.ID, b.blobs.Add(1))
	d, err := b.unpack(ctx, key, images.chainOf(below), write)
	if err == nil {
		err = images.settle()
	}
	if err == nil {
		err = snapshot.Commit(ctx, images.chainOf(below, d.Digest.String()), key)
	}
	if err == nil {
		return d.Digest.String(), d.Size, nil
	}
	there := errdefs.IsAlreadyExists(err)
	if rerr := ignoreNotFound(snapshot.Remove(context.WithoutCancel(ctx), key)); rerr != nil || !there {
		return "", 0, fmt.Errorf("adding a layer: %w", errors.Join(err, rerr))
	}
	return d.Digest.String(), d.Size, images.hold(ctx, "snapshots/"+snapshotter, images.chainOf(below, d.Digest.String()))
}

// chainOf names the snapshot of layers on each other.
func (i *images) chainOf(below []string, more ...string) string {
	var ids []digest.Digest
	for _, d := range append(slices.Clone(below), more...) {
		ids = append(ids, digest.Digest(d))
	}
	return i.chainName(ids)
}

// unpack stores a layer and unpacks it at once: what is written goes both ways.
func (b *build) unpack(ctx context.Context, key, parent string, write func(w io.Writer) error) (d v1.Descriptor, err error) {
	mounts, err := b.r.images.client.SnapshotService(snapshotter).Prepare(ctx, key, parent)
	if err != nil {
		return d, err
	}
	upper, lower, unsee, err := b.r.rootfs.writable(mounts)
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, unsee()) }()
	read, pipe := io.Pipe()
	unpacked := make(chan error, 1)
	go func() {
		err := writeTree(ctx, b.r.rootfs.gate(upper, lower, nil), read)
		read.CloseWithError(err) // nil closes it, too: nobody waits for a reader that is gone
		unpacked <- err
	}()
	return b.add(ctx, func(w io.Writer) error {
		tree := writeBehind(ctx, pipe)
		err := write(io.MultiWriter(w, tree))
		err = errors.Join(err, tree.Close())
		pipe.CloseWithError(err)
		if failed := <-unpacked; failed != nil && (err == nil || errors.Is(err, failed)) {
			return failed // which is why the writing failed, or the same
		}
		return err
	})
}

// Prepare implements runtime.Build.
func (b *build) Prepare(ctx context.Context, img runtime.ImageSource) error {
	b.dirty.Store(true)
	return b.r.Prepare(b.leased(ctx), img)
}

// Changes implements runtime.Build.
func (b *build) Changes(ctx context.Context, of runtime.Container, fn runtime.Change) error {
	c, ok := of.(*container)
	if !ok {
		return fmt.Errorf("reading the changes of a container: it is a %T", of)
	}
	if err := c.changes(ctx, fn); err != nil {
		return fmt.Errorf("reading the changes of container %q: %w", c.id, err)
	}
	return nil
}

// Close implements runtime.Build. It may be called again. Waiting for the disk here,
// and not for each image, lets the kernel write while containers run.
func (b *build) Close(ctx context.Context) error {
	if b.dirty.Swap(false) {
		if err := syncFS(b.r.images.disk); err != nil {
			return err
		}
	}
	err := b.r.server.client.LeasesService().Delete(inNamespace(ctx), b.lease, leases.SynchronousDelete)
	if err := ignoreNotFound(err); err != nil {
		return fmt.Errorf("letting go of what was added to an image: %w", err)
	}
	return nil
}
