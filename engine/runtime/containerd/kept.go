package containerd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	ctrimages "github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"plumb/engine/runtime"
)

var _ runtime.Images = (*Runtime)(nil)

// namesLabel keeps on an image's record what it was prepared as: a JSON list.
const namesLabel = "plumb/names"

// maxNames bounds the list; the oldest go.
const maxNames = 16

// name notes what people call an image, on its record, once in a process.
func (i *images) name(ctx context.Context, dgst digest.Digest, name string) error {
	img, err := i.prepare(ctx, dgst, nil)
	if err != nil || name == "" {
		return err
	}
	img.mu.Lock()
	defer img.mu.Unlock()
	if img.names[name] {
		return nil
	}
	record, err := i.client.ImageService().Get(ctx, i.recordName(dgst))
	if err != nil {
		return err
	}
	names := namesOf(record)
	if !slices.Contains(names, name) {
		if names = append(names, name); len(names) > maxNames {
			names = names[len(names)-maxNames:]
		}
		b, err := json.Marshal(names)
		if err != nil {
			return err
		}
		record.Labels = map[string]string{namesLabel: string(b)}
		if _, err := i.client.ImageService().Update(ctx, record, "labels."+namesLabel); err != nil {
			return err
		}
	}
	img.names[name] = true
	return nil
}

func namesOf(record ctrimages.Image) []string {
	var names []string
	// A list that cannot be read is no reason not to show the image.
	_ = json.Unmarshal([]byte(record.Labels[namesLabel]), &names)
	return names
}

// Images implements runtime.Images.
func (r *Runtime) Images(ctx context.Context) ([]runtime.StoredImage, error) {
	ctx = inNamespace(ctx)
	records, err := r.images.client.ImageService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing the images: %w", err)
	}
	out := []runtime.StoredImage{}
	for _, record := range records {
		if !strings.HasPrefix(record.Name, r.images.prefix) {
			continue
		}
		img, err := r.images.describe(ctx, record)
		if err != nil {
			return nil, fmt.Errorf("describing image %q: %w", record.Target.Digest, err)
		}
		out = append(out, img)
	}
	slices.SortFunc(out, func(a, b runtime.StoredImage) int { return strings.Compare(a.Manifest, b.Manifest) })
	return out, nil
}

func (i *images) describe(ctx context.Context, record ctrimages.Image) (runtime.StoredImage, error) {
	m, config, err := i.read(ctx, record.Target.Digest)
	if err != nil {
		return runtime.StoredImage{}, err
	}
	out := runtime.StoredImage{
		Manifest: record.Target.Digest.String(), Created: record.CreatedAt, Names: namesOf(record),
		Platform: config.OS + "/" + config.Architecture,
	}
	slices.Sort(out.Names)
	if config.Variant != "" {
		out.Platform += "/" + config.Variant
	}
	for n, layer := range m.Layers {
		out.Packed += layer.Size
		out.Layers = append(out.Layers, layer.Digest.String())
		usage, err := i.client.SnapshotService(snapshotter).Usage(ctx, i.chainName(config.RootFS.DiffIDs[:n+1]))
		if err != nil {
			return out, err
		}
		out.Unpacked += usage.Size
	}
	return out, nil
}

// Has implements runtime.Images.
func (r *Runtime) Has(ctx context.Context, manifest string) (bool, error) {
	_, err := r.images.client.ImageService().Get(inNamespace(ctx), r.images.recordName(digest.Digest(manifest)))
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking for image %q: %w", manifest, err)
	}
	return true, nil
}

// OpenBlob implements runtime.Images.
func (r *Runtime) OpenBlob(ctx context.Context, dgst string) (io.ReadCloser, error) {
	ra, err := r.images.client.ContentStore().ReaderAt(inNamespace(ctx), v1.Descriptor{Digest: digest.Digest(dgst)})
	if err != nil {
		return nil, fmt.Errorf("opening blob %q: %w", dgst, err)
	}
	return struct {
		io.Reader
		io.Closer
	}{content.NewReader(ra), ra}, nil
}

// View implements runtime.Images.
func (r *Runtime) View(ctx context.Context, manifest string, fn func(root string) error) (err error) {
	img, err := r.images.get(ctx, digest.Digest(manifest))
	if err != nil {
		return err
	}
	if len(img.layers) == 1 {
		return fn(img.layers[0])
	}
	at, err := os.MkdirTemp(filepath.Join(r.opts.State), "view-")
	if err != nil {
		return fmt.Errorf("looking into image %q: %w", manifest, err)
	}
	defer func() { err = errors.Join(err, os.Remove(at)) }()
	m := mount.Mount{Type: "overlay", Source: "overlay", Options: append(overlayNotes(), "ro", "nodev", "nosuid", "index=off", "lowerdir="+strings.Join(img.layers, ":"))}
	if err := mount.All([]mount.Mount{m}, at); err != nil {
		return fmt.Errorf("looking into image %q: %w", manifest, err)
	}
	defer func() { err = errors.Join(err, detach(at)) }()
	return fn(at)
}
