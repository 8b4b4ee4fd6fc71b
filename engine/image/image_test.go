package image_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"plumb/engine/image"
)

// made is an image of two layers for a platform; seed makes it differ.
func made(t *testing.T, platform, seed string) v1.Image {
	t.Helper()
	p, err := v1.ParsePlatform(platform)
	if err != nil {
		t.Fatal(err)
	}
	img := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	img = mutate.ConfigMediaType(img, types.OCIConfigJSON)
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config.OS, config.Architecture = p.OS, p.Architecture
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"base", seed} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		if err := w.WriteHeader(&tar.Header{Name: "etc/" + text, Size: int64(len(text)), Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if img, err = mutate.AppendLayers(img, static.NewLayer(b.Bytes(), types.OCIUncompressedLayer)); err != nil {
			t.Fatal(err)
		}
	}
	return img
}

func digestOf(t *testing.T, of interface{ Digest() (v1.Hash, error) }) string {
	t.Helper()
	h, err := of.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return h.String()
}

// multi is an index for two platforms.
func multi(t *testing.T, seed string) (index v1.ImageIndex, amd, arm v1.Image) {
	t.Helper()
	amd, arm = made(t, "linux/amd64", seed), made(t, "linux/arm64", seed)
	index = mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex),
		mutate.IndexAddendum{Add: amd, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}},
		mutate.IndexAddendum{Add: arm, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}}})
	return index, amd, arm
}

func layoutDir(t *testing.T, add func(layout.Path) error) string {
	t.Helper()
	dir := t.TempDir()
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := add(p); err != nil {
		t.Fatal(err)
	}
	return dir
}

// tarOf packs a directory the way an OCI archive is.
func tarOf(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image.tar")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(f)
	if err := w.AddFS(os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// whole reads all blobs of an image and checks their digests; it answers how
// many there are.
func whole(t *testing.T, img *image.Image) int {
	t.Helper()
	read := func(digest string) []byte {
		r, err := img.Blob(t.Context(), digest)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("sha256:%x", sha256.Sum256(b)); got != digest {
			t.Errorf("blob %q has the digest %q", digest, got)
		}
		return b
	}
	m, err := v1.ParseManifest(bytes.NewReader(read(img.Manifest())))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range append([]v1.Descriptor{m.Config}, m.Layers...) {
		if n := len(read(d.Digest.String())); int64(n) != d.Size {
			t.Errorf("blob %q has %d bytes, not %d", d.Digest, n, d.Size)
		}
	}
	return 2 + len(m.Layers)
}

func TestLayout(t *testing.T) {
	index, amd, arm := multi(t, "x")
	single := layoutDir(t, func(p layout.Path) error { return p.AppendImage(amd) })
	nested := layoutDir(t, func(p layout.Path) error { return p.AppendIndex(index) })
	flat := layoutDir(t, func(p layout.Path) error {
		if err := p.AppendImage(amd, layout.WithPlatform(v1.Platform{OS: "linux", Architecture: "amd64"})); err != nil {
			return err
		}
		return p.AppendImage(arm, layout.WithPlatform(v1.Platform{OS: "linux", Architecture: "arm64"}))
	})
	for _, c := range []struct {
		name, path, platform string
		want                 v1.Image
		index                string
	}{
		{"one", single, "", amd, ""},
		{"index", nested, "linux/arm64", arm, digestOf(t, index)},
		{"several", flat, "linux/amd64", amd, ""},
		{"archive of one", tarOf(t, single), "", amd, ""},
		{"archive of an index", tarOf(t, nested), "linux/arm64", arm, digestOf(t, index)},
	} {
		t.Run(c.name, func(t *testing.T) {
			img, err := image.Resolver{}.Resolve(t.Context(), image.Locator{Archive: c.path}, c.platform)
			if err != nil {
				t.Fatal(err)
			}
			if img.Manifest() != digestOf(t, c.want) || img.Index != c.index {
				t.Errorf("manifest %q in index %q", img.Manifest(), img.Index)
			}
			if n := whole(t, img); n != 4 {
				t.Errorf("%d blobs", n)
			}
		})
	}
}

func TestDockerArchive(t *testing.T) {
	amd := made(t, "linux/amd64", "x")
	tag, err := name.NewTag("example.test/x:1")
	if err != nil {
		t.Fatal(err)
	}
	var digests []string
	for range 2 { // the second one at another place and time
		path := filepath.Join(t.TempDir(), "image.tar")
		if err := tarball.WriteToFile(path, tag, amd); err != nil {
			t.Fatal(err)
		}
		img, err := image.Resolver{}.Resolve(t.Context(), image.Locator{Archive: path}, "linux/amd64")
		if err != nil {
			t.Fatal(err)
		}
		if n := whole(t, img); n != 4 {
			t.Errorf("%d blobs", n)
		}
		digests = append(digests, img.Manifest())
	}
	if digests[0] != digests[1] {
		t.Errorf("one image, two digests: %q", digests)
	}
}

// docker save writes a layer that repeats as a link, and other programs
// compress layers.
func TestDockerArchiveOddities(t *testing.T) {
	layer := []byte(strings.Repeat("layer", 1000))
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write(layer); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	diff := fmt.Sprintf("sha256:%x", sha256.Sum256(layer))
	path := writeTar(t, []*tar.Header{{Name: "./b/layer.tar", Typeflag: tar.TypeSymlink, Linkname: "../a/layer.tar"}}, map[string]string{
		"config.json":   fmt.Sprintf(`{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":[%q,%q,%q]}}`, diff, diff, diff),
		"manifest.json": `[{"Config":"config.json","Layers":["a/layer.tar","b/layer.tar","c.tar.gz"]}]`,
		"a/layer.tar":   string(layer),
		"c.tar.gz":      packed.String(),
	})
	img, err := image.Resolver{}.Resolve(t.Context(), image.Locator{Archive: path}, "linux/amd64")
	if err != nil {
		t.Fatal(err)
	}
	if n := whole(t, img); n != 5 {
		t.Errorf("%d blobs", n)
	}
}

func writeTar(t *testing.T, links []*tar.Header, files map[string]string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image.tar")
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range links {
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
	}
	for name, data := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Size: int64(len(data)), Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// memory is a cache that counts.
type memory struct {
	mu         sync.Mutex
	kept       map[string][]byte
	hits, puts int
}

func (m *memory) Get(key string) ([]byte, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.kept[key]
	if ok {
		m.hits++
	}
	return b, ok
}

func (m *memory) Put(key string, value []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.puts++
	m.kept[key] = value
}

func TestArchiveIsRemembered(t *testing.T) {
	cache := &memory{kept: map[string][]byte{}}
	r := image.Resolver{Cache: cache}
	one, other := made(t, "linux/amd64", "x"), made(t, "linux/amd64", "longer")
	path := tarOf(t, layoutDir(t, func(p layout.Path) error { return p.AppendImage(one) }))
	resolve := func(want v1.Image, hits, puts int) {
		t.Helper()
		img, err := r.Resolve(t.Context(), image.Locator{Archive: path}, "linux/amd64")
		if err != nil {
			t.Fatal(err)
		}
		if img.Manifest() != digestOf(t, want) || cache.hits != hits || cache.puts != puts {
			t.Errorf("manifest %q, %d hits, %d puts; want %d, %d", img.Manifest(), cache.hits, cache.puts, hits, puts)
		}
		whole(t, img)
	}
	resolve(one, 0, 1)
	resolve(one, 1, 1)
	if err := os.Rename(tarOf(t, layoutDir(t, func(p layout.Path) error { return p.AppendImage(other) })), path); err != nil {
		t.Fatal(err)
	}
	resolve(other, 1, 2)
}

func TestRegistry(t *testing.T) {
	handler := registry.New()
	server := httptest.NewServer(handler)
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	index, amd, arm := multi(t, "x")
	tag, err := name.NewTag(host + "/images/x:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(tag, index); err != nil {
		t.Fatal(err)
	}
	gotIndex, gotManifest, err := image.Resolver{}.ResolveTag(t.Context(), tag.String(), "linux/arm64")
	if err != nil || gotIndex != digestOf(t, index) || gotManifest != digestOf(t, arm) {
		t.Fatalf("the tag stands for %q, %q, %v", gotIndex, gotManifest, err)
	}
	cache := &memory{kept: map[string][]byte{}}
	for _, c := range []struct {
		name, ref, manifest, platform string
		want                          v1.Image
		index                         string
	}{
		{"index", host + "/images/x@" + gotIndex, "", "linux/amd64", amd, gotIndex},
		{"index again", host + "/images/x@" + gotIndex, "", "linux/amd64", amd, gotIndex},
		{"tag and digest", host + "/images/x:1@" + gotIndex, "", "linux/arm64", arm, gotIndex},
		{"manifest", host + "/images/x@" + gotManifest, "", "linux/arm64", arm, ""},
		{"locked", host + "/images/x@" + gotIndex, gotManifest, "linux/arm64", arm, gotIndex},
	} {
		t.Run(c.name, func(t *testing.T) {
			img, err := image.Resolver{Cache: cache}.Resolve(t.Context(), image.Locator{Ref: c.ref, Manifest: c.manifest}, c.platform)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{digestOf(t, c.want), c.index, c.platform}, []string{img.Manifest(), img.Index, img.Platform}); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			whole(t, img)
		})
	}
	if cache.puts != 3 || cache.hits != 1 {
		t.Errorf("%d puts, %d hits", cache.puts, cache.hits)
	}
	server.Close()
	img, err := image.Resolver{Cache: cache}.Resolve(t.Context(), image.Locator{Ref: host + "/images/x@" + gotIndex}, "linux/amd64")
	if err != nil {
		t.Fatalf("a known reference needs the network: %v", err)
	}
	if _, err := img.Blob(t.Context(), img.Manifest()); err == nil || !strings.Contains(err.Error(), "was not reached") {
		t.Errorf("got %v", err)
	}
}

func TestErrors(t *testing.T) {
	amd := made(t, "linux/amd64", "x")
	single := layoutDir(t, func(p layout.Path) error {
		return p.AppendImage(amd, layout.WithPlatform(v1.Platform{OS: "linux", Architecture: "amd64"}))
	})
	two := layoutDir(t, func(p layout.Path) error {
		for _, seed := range []string{"x", "y"} {
			if err := p.AppendImage(made(t, "linux/amd64", seed), layout.WithPlatform(v1.Platform{OS: "linux", Architecture: "amd64"})); err != nil {
				return err
			}
		}
		return nil
	})
	server := httptest.NewServer(registry.New())
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	none := "sha256:" + strings.Repeat("0", 64)
	write := func(data string) string {
		path := filepath.Join(t.TempDir(), "image")
		if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, c := range []struct {
		name     string
		locator  image.Locator
		platform string
		want     string
	}{
		{"neither", image.Locator{}, "", "either a reference or an archive"},
		{"both", image.Locator{Ref: "a", Archive: "b"}, "", "either a reference or an archive"},
		{"platform", image.Locator{Archive: single}, "linux", "is not of the form"},
		{"tag", image.Locator{Ref: "debian:12"}, "", "plumb lock"},
		{"not there", image.Locator{Archive: "/no/such"}, "", "no such file"},
		{"no layout", image.Locator{Archive: t.TempDir()}, "", "no OCI layout"},
		{"other platform", image.Locator{Archive: single}, "linux/riscv64", `only for [linux/amd64]`},
		{"two images", image.Locator{Archive: two}, "linux/amd64", "holds 2 images"},
		{"damaged", image.Locator{Archive: write("\x1f\x8b\x08 and so on")}, "", "it is damaged"},
		{"compressed with xz", image.Locator{Archive: write("\xfd7zXZ\x00 and so on")}, "", "decompress it first"},
		{"no tar", image.Locator{Archive: write(strings.Repeat("no tar ", 200))}, "", "no readable tar file"},
		{"no image", image.Locator{Archive: writeTar(t, nil, map[string]string{"x": "y"})}, "", "it is no image"},
		{"layers that do not add up", image.Locator{Archive: writeTar(t, nil, map[string]string{
			"config.json":   `{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":[]}}`,
			"manifest.json": `[{"Config":"config.json","Layers":["a"]}]`,
		})}, "linux/amd64", "has 0 layers"},
		{"unknown to the registry", image.Locator{Ref: host + "/x@" + none}, "", "does not have it (404)"},
		{"no registry", image.Locator{Ref: "127.0.0.1:1/x@" + none}, "", "was not reached"},
	} {
		t.Run(c.name, func(t *testing.T) {
			img, err := image.Resolver{}.Resolve(t.Context(), c.locator, c.platform)
			if err == nil {
				t.Fatalf("it was resolved to %q", img.Manifest())
			}
			if !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), fmt.Sprintf("%q", c.locator)) {
				t.Errorf("got %q, want something of %q", err, c.want)
			}
		})
	}
}

func TestDamagedIndex(t *testing.T) {
	index, _, _ := multi(t, "x")
	dir := layoutDir(t, func(p layout.Path) error { return p.AppendIndex(index) })
	path := filepath.Join(dir, "blobs/sha256", strings.TrimPrefix(digestOf(t, index), "sha256:"))
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(b, ' '), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := (image.Resolver{}).Resolve(t.Context(), image.Locator{Archive: dir}, "linux/amd64"); err == nil || !strings.Contains(err.Error(), "is damaged") {
		t.Errorf("got %v", err)
	}
}

func BenchmarkLayout(b *testing.B) {
	dir := b.TempDir()
	if _, err := layout.Write(dir, mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: empty.Image})); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := (image.Resolver{}).Resolve(b.Context(), image.Locator{Archive: dir}, ""); err != nil {
			b.Fatal(err)
		}
	}
}
