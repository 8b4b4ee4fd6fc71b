package registrytest

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Layer makes a layer of files, compressed with gzip.
func Layer(tb testing.TB, files map[string]string) v1.Layer {
	tb.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, text := range files {
		check(tb, w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(text))}))
		_, err := w.Write([]byte(text))
		check(tb, err)
	}
	check(tb, w.Close())
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
	check(tb, err)
	return l
}

// Image makes an image for a platform of layers.
func Image(tb testing.TB, platform string, layers ...v1.Layer) v1.Image {
	tb.Helper()
	p, err := v1.ParsePlatform(platform)
	check(tb, err)
	img, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant, RootFS: v1.RootFS{Type: "layers"}})
	check(tb, err)
	img, err = mutate.AppendLayers(img, layers...)
	check(tb, err)
	return img
}

// Index puts images for several platforms under one index.
func Index(tb testing.TB, images map[string]v1.Image) v1.ImageIndex {
	tb.Helper()
	index := v1.ImageIndex(empty.Index)
	for platform, img := range images {
		p, err := v1.ParsePlatform(platform)
		check(tb, err)
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: p}})
	}
	return index
}

// Artifact makes an OCI artifact of files: by name, "" for one without.
func Artifact(tb testing.TB, files map[string]string) v1.Image {
	tb.Helper()
	img := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	img = mutate.ConfigMediaType(img, "application/vnd.example.data")
	for name, text := range files {
		add := mutate.Addendum{Layer: static.NewLayer([]byte(text), "application/octet-stream")}
		if name != "" {
			add.Annotations = map[string]string{"org.opencontainers.image.title": name}
		}
		var err error
		img, err = mutate.Append(img, add)
		check(tb, err)
	}
	return img
}

// Push puts an image or an index under a name such as "team/py:1" and gives the
// whole reference and the digest.
func (r *Registry) Push(tb testing.TB, repository string, what remote.Taggable) (ref, digest string) {
	tb.Helper()
	parsed, err := name.ParseReference(r.Host + "/" + repository)
	check(tb, err)
	opts := []remote.Option{remote.WithTransport(r.Client(tb)), remote.WithAuth(&authn.Basic{Username: User, Password: Password})}
	switch w := what.(type) {
	case v1.ImageIndex:
		err = remote.WriteIndex(parsed, w, opts...)
	case v1.Image:
		err = remote.Write(parsed, w, opts...)
	default:
		err = fmt.Errorf("neither image nor index: %T", what)
	}
	check(tb, err)
	h, err := what.(interface{ Digest() (v1.Hash, error) }).Digest()
	check(tb, err)
	return parsed.String(), h.String()
}
