package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// fromRegistry needs the network only when the reference's digest is that of an
// index whose manifests are not known yet.
func (r Resolver) fromRegistry(ctx context.Context, l Locator, p v1.Platform) (*Image, error) {
	ref, err := name.NewDigest(l.Ref)
	if err != nil {
		return nil, errors.New("the reference has no digest: a tag may stand for something else tomorrow; run plumb lock, or write NAME@sha256:…")
	}
	found := pinned{Index: ref.DigestStr(), Manifest: l.Manifest}
	key := fmt.Sprintf("index 1 %q %q", ref.DigestStr(), p.String())
	if found.Manifest == "" && !r.recall(key, &found) {
		d, err := remote.Get(ref, options(ctx)...)
		if err != nil {
			return nil, explain(err)
		}
		if found, err = pin(d, p); err != nil {
			return nil, err
		}
		r.remember(key, found)
	}
	img := &Image{Index: found.Index, manifest: found.Manifest}
	if img.Index == img.manifest {
		img.Index = ""
	}
	img.open = func(ctx context.Context, digest string) (io.ReadCloser, error) {
		return openRemote(ctx, ref.Context(), digest, found.Manifest)
	}
	return img, nil
}

// pinned is what a digest or a tag was found to stand for.
type pinned struct{ Index, Manifest string }

// pin finds the platform's manifest in what a registry answered.
func pin(d *remote.Descriptor, p v1.Platform) (pinned, error) {
	if !d.MediaType.IsIndex() {
		return pinned{Manifest: d.Digest.String()}, nil
	}
	index, err := v1.ParseIndexManifest(bytes.NewReader(d.Manifest))
	if err != nil {
		return pinned{}, fmt.Errorf("reading its index: %w", err)
	}
	m, err := choose(index, p)
	return pinned{Index: d.Digest.String(), Manifest: m.Digest.String()}, err
}

// ResolveTag asks the registry what a reference stands for today: the digest of
// an index ("" when there is none) and of the platform's manifest.
func (r Resolver) ResolveTag(ctx context.Context, ref, platform string) (index, manifest string, err error) {
	p, err := parsePlatform(platform)
	if err != nil {
		return "", "", fmt.Errorf("resolving image %q: %w", ref, err)
	}
	parsed, err := name.ParseReference(ref)
	if err != nil {
		return "", "", fmt.Errorf("resolving image %q: %w", ref, err)
	}
	d, err := remote.Get(parsed, options(ctx)...)
	if err != nil {
		return "", "", fmt.Errorf("resolving image %q: %w", ref, explain(err))
	}
	found, err := pin(d, p)
	if err != nil {
		return "", "", fmt.Errorf("resolving image %q: %w", ref, err)
	}
	return found.Index, found.Manifest, nil
}

func openRemote(ctx context.Context, repo name.Repository, digest, manifest string) (io.ReadCloser, error) {
	if digest == manifest {
		d, err := remote.Get(repo.Digest(digest), options(ctx)...)
		if err != nil {
			return nil, explain(err)
		}
		return io.NopCloser(bytes.NewReader(d.Manifest)), nil
	}
	layer, err := remote.Layer(repo.Digest(digest), options(ctx)...)
	if err != nil {
		return nil, explain(err)
	}
	r, err := layer.Compressed()
	if err != nil {
		return nil, explain(err)
	}
	return r, nil
}

// options take credentials from where docker login puts them.
func options(ctx context.Context) []remote.Option {
	return []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)}
}

// explain adds what to do to the errors that people meet.
func explain(err error) error {
	var t *transport.Error
	if !errors.As(err, &t) {
		return fmt.Errorf("the registry was not reached; check the network, or import the image from an archive: %w", err)
	}
	switch t.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("the registry does not let us; log in with docker login: %w", err)
	case http.StatusNotFound:
		return fmt.Errorf("the registry does not have it; check name and digest: %w", err)
	}
	return err
}
