package image

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Blobs opens an image's blobs by digest.
type Blobs func(ctx context.Context, digest string) (io.ReadCloser, error)

// WriteArchive writes an image as an OCI archive, which docker load, podman load and
// skopeo read. The same image gives the same bytes: nothing is compressed again, and
// there are no times.
func WriteArchive(ctx context.Context, w io.Writer, manifest, ref string, open Blobs) error {
	rc, err := open(ctx, manifest)
	if err != nil {
		return err
	}
	raw, err := readVerified(rc, manifest)
	if err = closed(rc, err); err != nil {
		return fmt.Errorf("reading the manifest %q: %w", manifest, err)
	}
	m, err := v1.ParseManifest(bytes.NewReader(raw))
	if err != nil {
		return fmt.Errorf("reading the manifest %q: %w", manifest, err)
	}
	a := &archiveWriter{w: tar.NewWriter(w), open: open, have: map[string]bool{}}
	if err := a.index(manifest, ref, raw, m); err != nil {
		return err
	}
	for _, d := range append([]v1.Descriptor{m.Config}, m.Layers...) {
		if err := a.blob(ctx, d); err != nil {
			return fmt.Errorf("writing the blob %q: %w", d.Digest, err)
		}
	}
	return a.w.Close()
}

func closed(c io.Closer, err error) error {
	if e := c.Close(); err == nil {
		err = e
	}
	return err
}

type archiveWriter struct {
	w    *tar.Writer
	open Blobs
	have map[string]bool
}

// index writes what tells readers where to begin: OCI's index, and docker's list for
// programs that do not know that yet.
func (a *archiveWriter) index(manifest, ref string, raw []byte, m *v1.Manifest) error {
	mediaType := m.MediaType
	if mediaType == "" {
		mediaType = types.OCIManifestSchema1
	}
	h, err := v1.NewHash(manifest)
	if err != nil {
		return err
	}
	top := v1.Descriptor{MediaType: mediaType, Size: int64(len(raw)), Digest: h}
	if ref != "" {
		top.Annotations = map[string]string{"org.opencontainers.image.ref.name": ref}
	}
	type saved struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	docker := saved{Config: blobName(m.Config.Digest), RepoTags: []string{}, Layers: []string{}}
	for _, l := range m.Layers {
		docker.Layers = append(docker.Layers, blobName(l.Digest))
	}
	for _, f := range []struct {
		name    string
		content any
	}{
		{"oci-layout", map[string]string{"imageLayoutVersion": "1.0.0"}},
		{"index.json", v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{top}}},
		{"manifest.json", []saved{docker}},
		{blobName(h), json.RawMessage(raw)},
	} {
		b := raw
		if f.name != blobName(h) {
			if b, err = json.Marshal(f.content); err != nil {
				return err
			}
		}
		if err := a.file(f.name, int64(len(b)), bytes.NewReader(b)); err != nil {
			return err
		}
	}
	a.have[manifest] = true
	return nil
}

func blobName(h v1.Hash) string { return "blobs/" + h.Algorithm + "/" + h.Hex }

func (a *archiveWriter) blob(ctx context.Context, d v1.Descriptor) error {
	if a.have[d.Digest.String()] {
		return nil
	}
	a.have[d.Digest.String()] = true
	rc, err := a.open(ctx, d.Digest.String())
	if err != nil {
		return err
	}
	return closed(rc, a.file(blobName(d.Digest), d.Size, rc))
}

func (a *archiveWriter) file(name string, size int64, r io.Reader) error {
	if err := a.w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: size}); err != nil {
		return err
	}
	_, err := io.Copy(a.w, r)
	return err
}
