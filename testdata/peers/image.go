package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// image is what all containers are made from, in the two forms in which the
// contenders take it.
type image struct {
	layout string // an OCI layout
	rootfs string // the same files, unpacked
}

// makeImage builds the program of testdata/toolimage under the few names that are
// needed here.
func makeImage(ctx context.Context, dir string) (image, error) {
	i := image{layout: filepath.Join(dir, "layout"), rootfs: filepath.Join(dir, "rootfs")}
	// A runtime without a writable layer cannot make the places that it mounts on.
	for _, d := range []string{"bin", "etc", "tmp", "proc", "sys", "dev", "workspace"} {
		if err := os.MkdirAll(filepath.Join(i.rootfs, d), 0o755); err != nil {
			return i, fmt.Errorf("making the image: %w", err)
		}
	}
	if err := goBuild(ctx, filepath.Join(i.rootfs, "bin/tool"), "plumb/testdata/toolimage", "0"); err != nil {
		return i, err
	}
	for _, name := range []string{"sh", "cat", "dd", "true"} {
		if err := os.Symlink("tool", filepath.Join(i.rootfs, "bin", name)); err != nil {
			return i, fmt.Errorf("making the image: %w", err)
		}
	}
	if err := i.pack(); err != nil {
		return i, fmt.Errorf("making the image: %w", err)
	}
	return i, nil
}

// pack writes the layout from the unpacked files.
func (i image) pack() error {
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	if err := w.AddFS(os.DirFS(i.rootfs)); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	l, err := i.blob(layer.Bytes(), v1.MediaTypeImageLayer)
	if err != nil {
		return err
	}
	platform := v1.Platform{OS: "linux", Architecture: runtime.GOARCH}
	config, err := i.document(v1.Image{Platform: platform, RootFS: v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{l.Digest}}}, v1.MediaTypeImageConfig)
	if err != nil {
		return err
	}
	version := specs.Versioned{SchemaVersion: 2}
	manifest, err := i.document(v1.Manifest{Versioned: version, MediaType: v1.MediaTypeImageManifest, Config: config, Layers: []v1.Descriptor{l}}, v1.MediaTypeImageManifest)
	if err != nil {
		return err
	}
	manifest.Platform = &platform
	index, err := json.Marshal(v1.Index{Versioned: version, MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{manifest}})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(i.layout, v1.ImageIndexFile), index, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(i.layout, v1.ImageLayoutFile), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644)
}

func (i image) document(v any, mediaType string) (v1.Descriptor, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return v1.Descriptor{}, err
	}
	return i.blob(b, mediaType)
}

func (i image) blob(b []byte, mediaType string) (v1.Descriptor, error) {
	d := v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
	dir := filepath.Join(i.layout, v1.ImageBlobsDir, "sha256")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return d, err
	}
	return d, os.WriteFile(filepath.Join(dir, d.Digest.Encoded()), b, 0o644)
}

// project makes a plumb project in a new directory: one input file a stage, the
// image, and the graph.
func (i image) project(dir string, g graph, n, inputs int) error {
	if err := writeInputs(dir, inputs); err != nil {
		return err
	}
	if err := os.CopyFS(filepath.Join(dir, "image"), os.DirFS(i.layout)); err != nil {
		return fmt.Errorf("copying the image: %w", err)
	}
	return writeGraph(filepath.Join(dir, "plumb.hcl"), g, n)
}
