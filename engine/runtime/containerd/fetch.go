package containerd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/containerd/containerd/v2/core/content"
	ctrimages "github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"plumb/engine/runtime"
)

// fetchAtOnce is how many blobs are read at a time.
const fetchAtOnce = 4

// maxManifest is far above any real manifest.
const maxManifest = 8 << 20

// ProgressReporter is what an image source implements to be told how far its
// import is, in bytes. Progress is called from several goroutines.
type ProgressReporter interface {
	Progress(done, total int64)
}

// fetch copies manifest, config and layers into the content store, each checked
// against its digest and size, and links them for the garbage collector. What
// is there already is not read.
func (i *images) fetch(ctx context.Context, dgst digest.Digest, src runtime.ImageSource, p *progress) (v1.Descriptor, error) {
	raw, err := i.readManifest(ctx, dgst, src)
	if err != nil {
		return v1.Descriptor{}, err
	}
	var m v1.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return v1.Descriptor{}, fmt.Errorf("reading the manifest: %w", err)
	}
	if m.Config.Digest == "" {
		return v1.Descriptor{}, errors.New("reading the manifest: it has no config, so it is no image for one platform")
	}
	if m.MediaType == "" {
		m.MediaType = v1.MediaTypeImageManifest
	}
	desc := v1.Descriptor{MediaType: m.MediaType, Digest: dgst, Size: int64(len(raw))}
	p.expect(m)
	if err := i.fetchAll(ctx, append([]v1.Descriptor{m.Config}, m.Layers...), src, p); err != nil {
		return desc, err
	}
	if err := i.fetchBlob(ctx, desc, src, nil); err != nil {
		return desc, err
	}
	store := i.client.ContentStore()
	link := ctrimages.SetChildrenMappedLabels(store, ctrimages.ChildrenHandler(store), nil)
	if err := ctrimages.Walk(ctx, link, desc); err != nil {
		return desc, fmt.Errorf("linking the blobs: %w", err)
	}
	return desc, nil
}

// readManifest reads what was added to a build already from the store.
func (i *images) readManifest(ctx context.Context, dgst digest.Digest, src runtime.ImageSource) ([]byte, error) {
	raw, err := content.ReadBlob(ctx, i.client.ContentStore(), v1.Descriptor{Digest: dgst})
	if err == nil {
		return raw, nil
	}
	if !errdefs.IsNotFound(err) {
		return nil, fmt.Errorf("reading the manifest: %w", err)
	}
	r, err := src.Blob(ctx, dgst.String())
	if err != nil {
		return nil, fmt.Errorf("reading the manifest: %w", err)
	}
	defer r.Close()
	if raw, err = io.ReadAll(io.LimitReader(r, maxManifest)); err != nil {
		return nil, fmt.Errorf("reading the manifest: %w", err)
	}
	if got := dgst.Algorithm().FromBytes(raw); got != dgst {
		return nil, fmt.Errorf("reading the manifest: its digest is %q", got)
	}
	return raw, nil
}

func (i *images) fetchAll(ctx context.Context, blobs []v1.Descriptor, src runtime.ImageSource, p *progress) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(fetchAtOnce)
	for _, d := range blobs {
		g.Go(func() error { return i.fetchBlob(ctx, d, src, p) })
	}
	return g.Wait()
}

// fetchBlob copies one blob. The content store compares size and digest with
// what it received, and takes nothing that differs.
func (i *images) fetchBlob(ctx context.Context, d v1.Descriptor, src runtime.ImageSource, p *progress) error {
	store := i.client.ContentStore()
	if err := i.hold(ctx, "content", d.Digest.String()); err != nil {
		return err
	}
	if _, err := store.Info(ctx, d.Digest); err == nil {
		p.add(d.Size)
		return nil
	} else if !errdefs.IsNotFound(err) {
		return fmt.Errorf("looking for blob %q: %w", d.Digest, err)
	}
	resumed, err := i.ingest(ctx, d, src, p)
	if resumed && errdefs.IsFailedPrecondition(err) {
		// What an earlier import left may have been of other bytes.
		_, err = i.ingest(ctx, d, src, p)
	}
	if err != nil {
		return fmt.Errorf("importing blob %q: %w", d.Digest, err)
	}
	return nil
}

// ingest copies one blob, from where an import that was cut off ended. What a
// broken connection leaves stays for the next one; what turned out to be wrong does
// not.
func (i *images) ingest(ctx context.Context, d v1.Descriptor, src runtime.ImageSource, p *progress) (resumed bool, err error) {
	store := i.client.ContentStore()
	ref := "plumb-" + d.Digest.String()
	w, err := content.OpenWriter(ctx, store, content.WithRef(ref), content.WithDescriptor(d))
	if errdefs.IsAlreadyExists(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() {
		err = errors.Join(err, w.Close())
		if errdefs.IsFailedPrecondition(err) {
			_ = store.Abort(context.WithoutCancel(ctx), ref) // the next try begins anew
		}
	}()
	st, err := w.Status()
	if err != nil {
		return false, err
	}
	offset := st.Offset
	open := func(ctx context.Context, digest string, _ int64) (io.ReadCloser, error) { return src.Blob(ctx, digest) }
	if resumer, ok := src.(runtime.Resumer); ok {
		open = resumer.BlobAt
	} else if offset > 0 {
		if err := w.Truncate(0); err != nil {
			return false, err
		}
		offset = 0
	}
	p.add(offset)
	if offset < d.Size || d.Size == 0 {
		r, err := open(ctx, d.Digest.String(), offset)
		if err != nil {
			return offset > 0, err
		}
		// One byte more than there should be is enough to know.
		_, err = io.Copy(io.MultiWriter(w, p), io.LimitReader(r, d.Size-offset+1))
		if err = errors.Join(err, r.Close()); err != nil {
			return offset > 0, err
		}
	}
	if err := w.Commit(ctx, d.Size, d.Digest); err != nil && !errdefs.IsAlreadyExists(err) {
		return offset > 0, err
	}
	return offset > 0, nil
}

// progress adds up bytes: each counts half when it is fetched and half when it is
// unpacked. A nil one counts nothing.
type progress struct {
	reporter ProgressReporter
	total    int64
	done     atomic.Int64
}

func newProgress(src runtime.ImageSource) *progress {
	p := &progress{}
	p.reporter, _ = src.(ProgressReporter)
	return p
}

func (p *progress) expect(m v1.Manifest) {
	p.total = m.Config.Size
	for _, l := range m.Layers {
		p.total += l.Size
	}
	p.add(m.Config.Size) // is not unpacked
}

func (p *progress) add(n int64) {
	if p != nil && p.reporter != nil {
		p.reporter.Progress(p.done.Add(n)/2, p.total)
	}
}

// Write counts what is copied.
func (p *progress) Write(b []byte) (int, error) {
	p.add(int64(len(b)))
	return len(b), nil
}
