package cmd

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"plumb/engine/image/registrytest"
)

// entry is one of a crafted layer.
type entry struct {
	tar.Header
	text string
}

func tarOf(t *testing.T, entries []entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		e.Size = int64(len(e.text))
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func layerOf(t *testing.T, raw []byte) v1.Layer {
	t.Helper()
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil })
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// Layers that lie are refused, with the entry named, and nothing of the machine is
// touched.
func TestHostileLayers(t *testing.T) {
	s := newSite(t)
	outside := filepath.Join(s.root, "outside")
	if err := os.Mkdir(outside, 0o755); err != nil {
		t.Fatal(err)
	}
	reg := registrytest.Start(t, registrytest.Options{})
	var gz bytes.Buffer
	g := gzip.NewWriter(&gz)
	_, _ = g.Write(tarOf(t, []entry{{tar.Header{Name: "f", Typeflag: tar.TypeReg, Mode: 0o644}, strings.Repeat("some text ", 5000)}}))
	_ = g.Close()
	cut := static.NewLayer(gz.Bytes()[:gz.Len()/2], types.OCILayer)
	up := strings.Repeat("../", 40)
	tests := []struct {
		name  string
		layer v1.Layer
		want  string
	}{
		{"a name that climbs", layerOf(t, tarOf(t, []entry{{tar.Header{Name: up + outside[1:] + "/x", Typeflag: tar.TypeReg, Mode: 0o644}, "x"}})), "climbs out"},
		{"through an absolute link", layerOf(t, tarOf(t, []entry{
			{tar.Header{Name: "evil", Typeflag: tar.TypeSymlink, Linkname: outside}, ""},
			{tar.Header{Name: "evil/x", Typeflag: tar.TypeReg, Mode: 0o644}, "x"},
		})), "through a symlink"},
		{"through a link that climbs", layerOf(t, tarOf(t, []entry{
			{tar.Header{Name: "evil", Typeflag: tar.TypeSymlink, Linkname: up + outside[1:]}, ""},
			{tar.Header{Name: "evil/x", Typeflag: tar.TypeReg, Mode: 0o644}, "x"},
		})), "leads out of the image"},
		{"a hard link to outside", layerOf(t, tarOf(t, []entry{{tar.Header{Name: "x", Typeflag: tar.TypeLink, Linkname: up + "etc/passwd"}, ""}})), "outside of the image"},
		{"a hard link to nothing", layerOf(t, tarOf(t, []entry{{tar.Header{Name: "x", Typeflag: tar.TypeLink, Linkname: "/no/such"}, ""}})), "does not have"},
		{"a block device", layerOf(t, tarOf(t, []entry{{tar.Header{Name: "disk", Typeflag: tar.TypeBlock, Devmajor: 8, Mode: 0o666}, ""}})), "is a device"},
		{"a truncated gzip", cut, "cut off or damaged"},
		{"a content that is not the config's", wrongDiffID{layerOf(t, tarOf(t, []entry{{tar.Header{Name: "f", Typeflag: tar.TypeReg}, "x"}}))}, "config says"},
		{"a decompression bomb", static.NewLayer(bomb(t), types.OCILayer), "max_ratio"},
	}
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s.t = t
			img, err := mutate.AppendLayers(s.toolImage(""), test.layer)
			if err != nil {
				t.Fatal(err)
			}
			ref, _ := reg.Push(t, fmt.Sprintf("bad/sh:%d", i), img)
			dir := s.pipeline(fmt.Sprintf("p%d", i), imageBlock("sh", ref)+"stage \"s\" {\n  image = image.sh\n  command = \"true\"\n  outputs = {}\n}\n")
			r := s.want(3, dir, "run", "--force", "s")
			if !strings.Contains(r.err, test.want) {
				t.Errorf("it does not say %q:\n%s", test.want, r.err)
			}
			if strings.Contains(r.err, "trying again") {
				t.Errorf("it was tried again:\n%s", r.err)
			}
			if n := s.imagesKept(); n != 0 {
				t.Errorf("%d images are shown", n)
			}
			if left, err := os.ReadDir(outside); err != nil || len(left) > 0 {
				t.Errorf("outside of the image: %v, %v", left, err)
			}
		})
	}
	limited := filepath.Join(s.root, "config.hcl")
	s.t = t
	s.write(limited, "images { max_unpacked = \"1MiB\" }\n")
	s.env = append(s.env, "PLUMB_CONFIG="+limited)
	ref, _ := reg.Push(t, "good/sh:1", s.toolImage("one"))
	dir := s.pipeline("limited", imageBlock("sh", ref)+useVariant)
	if r := s.want(3, dir, "run"); !strings.Contains(r.err, "max_unpacked") {
		t.Errorf("the limit is not named:\n%s", r.err)
	}
}

// wrongDiffID is a layer that says of its content what is not so.
type wrongDiffID struct{ v1.Layer }

func (wrongDiffID) DiffID() (v1.Hash, error) {
	return v1.NewHash("sha256:" + strings.Repeat("5", 64))
}

// bomb is a layer of a few megabytes that unpacks to gigabytes.
func bomb(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	const size = 1100 << 20
	w := tar.NewWriter(z)
	if err := w.WriteHeader(&tar.Header{Name: "zeros", Typeflag: tar.TypeReg, Mode: 0o644, Size: size}); err != nil {
		t.Fatal(err)
	}
	zeros := make([]byte, 1<<20)
	for range size >> 20 {
		if _, err := w.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
