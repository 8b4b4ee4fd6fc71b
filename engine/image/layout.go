package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// blobs are where an OCI layout keeps its files: a directory or an archive.
type blobs interface {
	file(name string) (io.ReadCloser, error)
}

func fromLayout(dir string, p v1.Platform) (*Image, error) {
	return openLayout(layoutDir(dir), p)
}

// openLayout follows the index, and the indexes in it, to the manifest.
func openLayout(b blobs, p v1.Platform) (*Image, error) {
	raw, err := readFile(b, "index.json")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("it is no OCI layout: it has no index.json; make one with skopeo copy or docker save")
	}
	if err != nil {
		return nil, err
	}
	img := &Image{open: func(_ context.Context, digest string) (io.ReadCloser, error) { return openBlob(b, digest) }}
	for range maxNesting {
		index, err := v1.ParseIndexManifest(bytes.NewReader(raw))
		if err != nil {
			return nil, fmt.Errorf("reading its index: %w", err)
		}
		if len(index.Manifests) != 1 || !index.Manifests[0].MediaType.IsIndex() {
			d, err := choose(index, p)
			img.manifest = d.Digest.String()
			return img, err
		}
		img.Index = index.Manifests[0].Digest.String()
		if raw, err = readBlob(b, index.Manifests[0].Digest); err != nil {
			return nil, fmt.Errorf("reading its index: %w", err)
		}
	}
	return nil, fmt.Errorf("its index is nested more than %d times", maxNesting)
}

// maxNesting is how deep indexes may lie in indexes; real ones do once.
const maxNesting = 4

// maxMetadata bounds what is read into memory: indexes, manifests, configs.
const maxMetadata = 16 << 20

func readFile(b blobs, name string) ([]byte, error) {
	r, err := b.file(name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(io.LimitReader(r, maxMetadata))
}

func openBlob(b blobs, digest string) (io.ReadCloser, error) {
	h, err := v1.NewHash(digest)
	if err != nil {
		return nil, err
	}
	return b.file(filepath.Join("blobs", h.Algorithm, h.Hex))
}

// readBlob reads a small blob and checks it.
func readBlob(b blobs, want v1.Hash) ([]byte, error) {
	r, err := openBlob(b, want.String())
	if err != nil {
		return nil, err
	}
	defer r.Close()
	raw, err := io.ReadAll(io.LimitReader(r, maxMetadata))
	if err != nil {
		return nil, err
	}
	got, _, err := v1.SHA256(bytes.NewReader(raw))
	if err == nil && got != want {
		err = fmt.Errorf("blob %q is damaged: its digest is %q", want, got)
	}
	return raw, err
}

// layoutDir is a layout as a directory. Nothing outside of it is opened, whatever
// links there are in it.
type layoutDir string

func (d layoutDir) file(name string) (io.ReadCloser, error) {
	root, err := os.OpenRoot(string(d))
	if err != nil {
		return nil, err
	}
	defer root.Close()
	info, err := root.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%q is no file", name)
	}
	return root.Open(name)
}
