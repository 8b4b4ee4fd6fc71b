// Package image finds images: it turns what a pipeline says of an image into
// the digest of one manifest, and opens the blobs behind it for a runtime.
//
//	registry reference ──┐
//	OCI layout ──────────┼─▶ Resolve ─▶ Image: manifest digest, blobs by digest
//	archive (OCI, docker, root filesystem)┘
//
// An image is known by the digest of its manifest for one platform, and by
// nothing else: a reference must carry a digest (ResolveTag finds the one that a
// tag stands for, which is a decision of its own, made when a lock file is
// written). Resolve reads as little as it can, since it happens on every run:
// for a layout the index; for an archive its table of contents, which a Cache
// remembers as long as the file stays the same file; for a reference nothing
// when the manifest is known, else the index, once.
//
// Whoever reads blobs must check their digests; containerd's content store does.
package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Locator says where an image is. Exactly one of Ref and Archive is set.
type Locator struct {
	Ref      string // registry reference with a digest
	Manifest string // the platform's manifest when it is known, from a lock file: Ref is not asked then
	Index    string // the index that the lock has it from, "" for none
	Archive  string // OCI layout directory, OCI archive or docker-save archive
}

// String is the locator as people know it.
func (l Locator) String() string {
	if l.Archive != "" {
		return l.Archive
	}
	return l.Ref
}

// Cache remembers small facts that are dear to find out. Forgetting is always
// allowed.
type Cache interface {
	Get(key string) ([]byte, bool)
	Put(key string, value []byte)
}

// Image is a found image.
type Image struct {
	Index      string                  // digest of the index that it was found in, "" for none
	Platform   string                  // as asked for, never empty
	OnProgress func(done, total int64) // is told how many bytes are imported, may be nil
	manifest   string                  // digest
	open       func(context.Context, string) (io.ReadCloser, error)
	openAt     func(context.Context, string, int64) (io.ReadCloser, error) // nil when it cannot
	name       string
}

// Manifest is the digest of the platform's manifest.
func (i *Image) Manifest() string { return i.manifest }

// Blob opens the manifest, the config or a layer.
func (i *Image) Blob(ctx context.Context, digest string) (io.ReadCloser, error) {
	r, err := i.open(ctx, digest)
	if err != nil {
		return nil, fmt.Errorf("reading %q of image %q: %w", digest, i.name, err)
	}
	return r, nil
}

// BlobAt opens the manifest, the config or a layer from an offset on.
func (i *Image) BlobAt(ctx context.Context, digest string, offset int64) (io.ReadCloser, error) {
	if i.openAt != nil {
		r, err := i.openAt(ctx, digest, offset)
		if err != nil {
			return nil, fmt.Errorf("reading %q of image %q: %w", digest, i.name, err)
		}
		return r, nil
	}
	r, err := i.Blob(ctx, digest)
	if err != nil {
		return nil, err
	}
	if _, err := io.CopyN(io.Discard, r, offset); err != nil {
		return nil, errors.Join(fmt.Errorf("reading %q of image %q: %w", digest, i.name, err), r.Close())
	}
	return r, nil
}

// Name is what people call the image.
func (i *Image) Name() string { return i.name }

// Progress is called by a runtime that imports the image.
func (i *Image) Progress(done, total int64) {
	if i.OnProgress != nil {
		i.OnProgress(done, total)
	}
}

// Resolver finds images. The zero value does, without remembering anything.
type Resolver struct {
	Cache      Cache
	Registries *Registries // nil for the usual way
	Temp       string      // where an archive that is compressed as a whole is decompressed; "" for the usual place
}

// Resolve finds the image for a platform ("linux/amd64"), "" for the machine's.
// The error names the image, what is wrong with it, and what to do.
func (r Resolver) Resolve(ctx context.Context, l Locator, platform string) (*Image, error) {
	p, err := parsePlatform(platform)
	if err != nil {
		return nil, fmt.Errorf("resolving image %q: %w", l, err)
	}
	img, err := r.resolve(ctx, l, p)
	if err != nil {
		return nil, fmt.Errorf("resolving image %q: %w", l, err)
	}
	img.Platform, img.name = p.String(), l.String()
	return img, nil
}

func (r Resolver) resolve(ctx context.Context, l Locator, p v1.Platform) (*Image, error) {
	switch {
	case (l.Ref == "") == (l.Archive == ""):
		return nil, fmt.Errorf("name either a reference or an archive")
	case l.Ref != "":
		return r.fromRegistry(ctx, l, p)
	}
	info, err := os.Stat(l.Archive)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return fromLayout(l.Archive, p)
	}
	return r.fromArchive(l.Archive, info, p)
}

func parsePlatform(s string) (v1.Platform, error) {
	if s == "" {
		s = "linux/" + runtime.GOARCH
	}
	p, err := v1.ParsePlatform(s)
	if err != nil || p.Architecture == "" {
		return v1.Platform{}, fmt.Errorf("platform %q is not of the form os/architecture", s)
	}
	return *p, nil
}

// choose takes the one manifest for the platform out of an index. One that says
// no platform will do when it is the only one.
func choose(index *v1.IndexManifest, p v1.Platform) (v1.Descriptor, error) {
	var fits []v1.Descriptor
	var there []string
	for _, d := range index.Manifests {
		if d.MediaType.IsIndex() || d.Annotations["vnd.docker.reference.type"] == "attestation-manifest" {
			continue
		}
		switch {
		case d.Platform == nil && len(index.Manifests) == 1, d.Platform != nil && d.Platform.Satisfies(p):
			fits = append(fits, d)
		case d.Platform != nil:
			there = append(there, d.Platform.String())
		}
	}
	if len(fits) == 0 {
		return v1.Descriptor{}, fmt.Errorf("it has nothing for platform %q, only for [%s]; set platform, or use another image", p.String(), strings.Join(there, ", "))
	}
	for _, d := range fits {
		if d.Digest != fits[0].Digest {
			return v1.Descriptor{}, fmt.Errorf("it holds %d images for platform %q; export one by itself", len(fits), p.String())
		}
	}
	return fits[0], nil
}
