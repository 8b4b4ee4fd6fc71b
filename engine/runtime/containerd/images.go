package containerd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	ctrimages "github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"plumb/engine/runtime"
)

// images are the images that are present, by manifest digest. An image stays
// until Remove: its record in containerd roots its content and its snapshots.
type images struct {
	client    *client.Client
	rootfs    *rootfs
	prefix    string // of the names of records
	disk      string // what snapshots are on
	furnish   string
	mu        *sync.Mutex
	unpacking *sync.Map // layers, by the chain of those below and themselves: whose turn it is
	ready     map[digest.Digest]*preparing
}

// preparing is one image, ready when done is closed. Who asks for an image that
// another is preparing waits for that one.
type preparing struct {
	done  chan struct{}
	image *image
	err   error
}

// image is an unpacked image.
type image struct {
	digest digest.Digest
	config v1.ImageConfig
	layers []string // directories as in the image, topmost first
	mu     sync.Mutex
	homes  map[string]furnished // by Spec.Home
	bare   *furnished           // for bare containers, nil until there is one
	names  map[string]bool      // what it was prepared as, in this process
}

func newImages(c *client.Client, r *rootfs, o Options) images {
	return images{
		client:    c,
		rootfs:    r,
		prefix:    "plumb/",
		disk:      o.Root,
		furnish:   filepath.Join(o.Root, "furnish"),
		mu:        new(sync.Mutex),
		unpacking: new(sync.Map),
		ready:     map[digest.Digest]*preparing{},
	}
}

// Prepare makes the image present and unpacked. Images that are cost nothing.
func (r *Runtime) Prepare(ctx context.Context, src runtime.ImageSource) error {
	dgst, err := digest.Parse(src.Manifest())
	if err != nil {
		return fmt.Errorf("preparing image %q: %w", src.Manifest(), err)
	}
	err = r.guarded(ctx, func(ctx context.Context) error {
		_, err := r.images.prepare(inNamespace(ctx), dgst, src)
		return err
	})
	if err != nil {
		return fmt.Errorf("preparing image %q: %w", dgst, err)
	}
	if named, ok := src.(runtime.Named); ok {
		if err := r.images.name(inNamespace(ctx), dgst, named.Name()); err != nil {
			return fmt.Errorf("noting the name of image %q: %w", dgst, err)
		}
	}
	return nil
}

// Remove forgets an image and frees what no other image needs. Containers of it
// that live keep running.
func (r *Runtime) Remove(ctx context.Context, manifest string) error {
	if err := r.images.remove(inNamespace(ctx), digest.Digest(manifest)); err != nil {
		return fmt.Errorf("removing image %q: %w", manifest, err)
	}
	return nil
}

// get answers a prepared image.
func (i *images) get(ctx context.Context, dgst digest.Digest) (*image, error) {
	img, err := i.prepare(inNamespace(ctx), dgst, nil)
	if errdefs.IsNotFound(err) {
		return nil, fmt.Errorf("image %q is not prepared", dgst)
	}
	return img, err
}

// prepare does the work once for all who ask. The one who does it passes its
// own context on; when that is cancelled the others try again.
func (i *images) prepare(ctx context.Context, dgst digest.Digest, src runtime.ImageSource) (*image, error) {
	for {
		i.mu.Lock()
		p, known := i.ready[dgst]
		if !known {
			p = &preparing{done: make(chan struct{})}
			i.ready[dgst] = p
		}
		i.mu.Unlock()
		if !known {
			p.image, p.err = i.open(ctx, dgst, src)
			if p.err != nil {
				i.drop(dgst)
			}
			close(p.done)
			return p.image, p.err
		}
		select {
		case <-p.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if p.err == nil {
			return p.image, nil
		}
		if !errors.Is(p.err, context.Canceled) && !(errdefs.IsNotFound(p.err) && src != nil) {
			return nil, p.err
		}
	}
}

func (i *images) drop(dgst digest.Digest) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.ready, dgst)
}

// open finds the image in containerd, or imports it.
func (i *images) open(ctx context.Context, dgst digest.Digest, src runtime.ImageSource) (*image, error) {
	_, err := i.client.ImageService().Get(ctx, i.recordName(dgst))
	if errdefs.IsNotFound(err) && src != nil {
		err = i.importImage(ctx, dgst, src)
	}
	if err != nil {
		return nil, err
	}
	return i.load(ctx, dgst)
}

// recordName is the name of an image's record in containerd. The record is
// written last, so it also says that the image is unpacked.
func (i *images) recordName(dgst digest.Digest) string { return i.prefix + dgst.String() }

// viewName is the key of the snapshot through which an image's layers are found.
func (i *images) viewName(dgst digest.Digest) string {
	return strings.ReplaceAll(i.prefix, "/", "-") + dgst.Encoded()
}

// chainName is the key of the snapshot of layers on each other, "" for none. One whose
// files have other owners than the image says is another.
func (i *images) chainName(diffs []digest.Digest) string {
	chain := identity.ChainID(diffs).String()
	if chain != "" && i.rootfs.shifted {
		chain = fmt.Sprintf("plumb-%d-%s", i.rootfs.base, chain)
	}
	return chain
}

// load reads what is needed of an unpacked image.
func (i *images) load(ctx context.Context, dgst digest.Digest) (*image, error) {
	_, config, err := i.read(ctx, dgst)
	if err != nil {
		return nil, err
	}
	mounts, err := i.client.SnapshotService(snapshotter).Mounts(ctx, i.viewName(dgst))
	if err != nil {
		return nil, fmt.Errorf("finding the layers: %w", err)
	}
	all, err := layersOf(mounts)
	layers := all
	if err == nil {
		layers, err = i.rootfs.see(layers)
	}
	if jail := i.rootfs.jail; err == nil && jail != nil {
		layers = make([]string, 1)
		layers[0], err = jail.flatOf(dgst.Encoded(), all)
	}
	if err != nil {
		return nil, err
	}
	return &image{digest: dgst, config: config.Config, layers: layers, homes: map[string]furnished{}, names: map[string]bool{}}, nil
}

// layersOf takes the directories out of a read-only snapshot's mount: a bind of
// the only one, or an overlay of several.
func layersOf(mounts []mount.Mount) ([]string, error) {
	if len(mounts) == 1 && mounts[0].Type == "bind" {
		return []string{mounts[0].Source}, nil
	}
	if len(mounts) == 1 && mounts[0].Type == "overlay" {
		for _, o := range mounts[0].Options {
			if dirs, ok := strings.CutPrefix(o, "lowerdir="); ok {
				return strings.Split(dirs, ":"), nil
			}
		}
	}
	return nil, fmt.Errorf("finding the layers: unexpected mounts %v", mounts)
}

// read reads manifest and config from the content store.
func (i *images) read(ctx context.Context, dgst digest.Digest) (m v1.Manifest, c v1.Image, err error) {
	if err = i.readJSON(ctx, v1.Descriptor{Digest: dgst}, &m); err != nil {
		return m, c, fmt.Errorf("reading the manifest: %w", err)
	}
	if err = i.readJSON(ctx, m.Config, &c); err != nil {
		return m, c, fmt.Errorf("reading the config: %w", err)
	}
	return m, c, nil
}

func (i *images) readJSON(ctx context.Context, d v1.Descriptor, into any) error {
	b, err := content.ReadBlob(ctx, i.client.ContentStore(), d)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, into)
}

// importImage brings in what is missing, unpacks it and writes the record. The
// lease keeps what has no record yet from the garbage collector.
func (i *images) importImage(ctx context.Context, dgst digest.Digest, src runtime.ImageSource) (err error) {
	_, leased := leases.FromContext(ctx) // of a build, and the build's to end
	ctx, done, err := i.client.WithLease(ctx)
	if err != nil {
		return fmt.Errorf("taking a lease: %w", err)
	}
	defer func() { err = errors.Join(err, ignoreNotFound(done(context.WithoutCancel(ctx)))) }()
	p := newProgress(src)
	desc, err := i.fetch(ctx, dgst, src, p)
	if err != nil {
		return err
	}
	record := ctrimages.Image{Name: i.recordName(dgst), Target: desc}
	if err := i.unpack(ctx, dgst, limitsOf(src), p); err != nil {
		if leased {
			return err
		}
		// What came is of no use: it is not kept for another try, as what a broken
		// connection leaves is.
		return errors.Join(err, i.sweep(context.WithoutCancel(ctx)))
	}
	if !leased { // a build does it once, at its end
		if err := syncFS(i.disk); err != nil {
			return err
		}
	}
	if _, err := i.client.ImageService().Create(ctx, record); err != nil && !errdefs.IsAlreadyExists(err) {
		return fmt.Errorf("recording the image: %w", err)
	}
	return nil
}

func limitsOf(src runtime.ImageSource) runtime.Limits {
	if l, ok := src.(runtime.Limited); ok {
		return l.Limits()
	}
	return runtime.Limits{}
}

// settle waits for the disk before a daemon is told that a snapshot is whole. Its
// database outlives a power cut, and all stores of the machine believe it; the store of
// the containerd inside is discarded then (store.go), and has to wait for less.
func (i *images) settle() error {
	if !i.rootfs.shifted {
		return nil
	}
	return syncFS(i.disk)
}

// hold takes something that is there, perhaps, into the lease: whoever brought it may
// let go of it at any time. kind is "content" or that of a snapshot.
func (i *images) hold(ctx context.Context, kind, id string) error {
	lease, ok := leases.FromContext(ctx)
	if !ok {
		return nil
	}
	if err := i.client.LeasesService().AddResource(ctx, leases.Lease{ID: lease}, leases.Resource{Type: kind, ID: id}); err != nil {
		return fmt.Errorf("holding %q: %w", id, err)
	}
	return nil
}

// sweep frees what nothing refers to, which this import's lease does until it is
// deleted.
func (i *images) sweep(ctx context.Context) error {
	if id, ok := leases.FromContext(ctx); ok {
		if err := ignoreNotFound(i.client.LeasesService().Delete(ctx, leases.Lease{ID: id}, leases.SynchronousDelete)); err != nil {
			return fmt.Errorf("clearing away what was imported: %w", err)
		}
	}
	return nil
}

func (i *images) remove(ctx context.Context, dgst digest.Digest) error {
	img, err := i.prepare(ctx, dgst, nil)
	if errdefs.IsNotFound(err) {
		return nil
	}
	i.drop(dgst)
	if err == nil {
		err = errors.Join(i.rootfs.forgetLayers(img.mappedLayers()), i.rootfs.unsee(img.seenLayers()))
	}
	if jail := i.rootfs.jail; jail != nil {
		err = errors.Join(err, jail.forgetFlat(dgst.Encoded()))
	}
	return errors.Join(err,
		ignoreNotFound(i.client.SnapshotService(snapshotter).Remove(ctx, i.viewName(dgst))),
		ignoreNotFound(i.client.ImageService().Delete(ctx, i.recordName(dgst), ctrimages.SynchronousDelete())),
		i.unfurnish(dgst))
}

func ignoreNotFound(err error) error {
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}
