package image

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// contents is an archive's table of contents, as far as the image needs it. It is
// what the cache keeps.
type contents struct {
	Index      string             // digest, "" for none
	Manifest   string             // digest
	Made       map[string][]byte  // by digest: what is not in the archive, but follows from it
	Blobs      map[string]section // by digest
	Compressed bool               // as a whole: sections are of what it decompresses to
}

// section is a stretch of the archive.
type section struct{ Offset, Size int64 }

// fromArchive opens an OCI archive or what docker save wrote.
func (r Resolver) fromArchive(name string, info fs.FileInfo, p v1.Platform) (*Image, error) {
	key := cacheKey(name, info, p)
	var c contents
	if !r.recall(key, &c) {
		var err error
		if c, err = readArchive(name, r.Temp, p); err != nil {
			return nil, err
		}
		r.remember(key, c)
	}
	img := &Image{Index: c.Index, manifest: c.Manifest}
	a := &openArchive{contents: c, name: name, temp: r.Temp}
	img.open = func(_ context.Context, digest string) (io.ReadCloser, error) { return a.open(digest) }
	return img, nil
}

// openArchive reads an archive's blobs. One that is compressed as a whole is
// decompressed once, when the first blob is asked for.
type openArchive struct {
	contents
	name string
	temp string
	once sync.Once
	raw  *os.File // decompressed, and already without a name
	err  error
}

func (a *openArchive) open(digest string) (io.ReadCloser, error) {
	if made, ok := a.Made[digest]; ok {
		return io.NopCloser(bytes.NewReader(made)), nil
	}
	s, ok := a.Blobs[digest]
	if !ok {
		return nil, errors.New("the archive does not have it")
	}
	if !a.Compressed {
		f, err := os.Open(a.name)
		if err != nil {
			return nil, err
		}
		return sectionFile{io.NewSectionReader(f, s.Offset, s.Size), f}, nil
	}
	a.once.Do(func() {
		f, err := os.Open(a.name)
		if err != nil {
			a.err = err
			return
		}
		defer f.Close()
		a.raw, _, a.err = decompressed(f, a.temp)
	})
	if a.err != nil {
		return nil, a.err
	}
	return io.NopCloser(io.NewSectionReader(a.raw, s.Offset, s.Size)), nil
}

// cacheKey names a file as it is now.
func cacheKey(name string, info fs.FileInfo, p v1.Platform) string {
	if abs, err := filepath.Abs(name); err == nil {
		name = abs
	}
	var inode uint64
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		inode = st.Ino
	}
	return fmt.Sprintf("archive 2 %q %d %d %d %q", name, info.Size(), info.ModTime().UnixNano(), inode, p.String())
}

func (r Resolver) recall(key string, into any) bool {
	if r.Cache == nil {
		return false
	}
	b, ok := r.Cache.Get(key)
	return ok && json.Unmarshal(b, into) == nil
}

func (r Resolver) remember(key string, v any) {
	if r.Cache == nil {
		return
	}
	if b, err := json.Marshal(v); err == nil {
		r.Cache.Put(key, b)
	}
}

// sectionFile reads a stretch of a file and closes the file.
type sectionFile struct {
	io.Reader
	io.Closer
}

func readArchive(name, temp string, p v1.Platform) (contents, error) {
	f, err := os.Open(name)
	if err != nil {
		return contents{}, err
	}
	defer f.Close()
	raw, packed, err := decompressed(f, temp)
	if err != nil {
		return contents{}, err
	}
	if packed {
		defer raw.Close()
	}
	a, err := index(raw)
	if err != nil {
		return contents{}, err
	}
	c, err := a.contents(p)
	c.Compressed = packed
	return c, err
}

func (a *archive) contents(p v1.Platform) (contents, error) {
	if _, ok := a.files["index.json"]; ok {
		return a.oci(p)
	}
	if _, ok := a.files["manifest.json"]; ok {
		return a.docker(p)
	}
	if a.isRoot {
		return a.rootfs(p)
	}
	return contents{}, errors.New("it is no image: it has neither index.json nor manifest.json, as docker save, podman save and skopeo copy write them, and is no root filesystem either: it has no bin, etc, lib, sbin or usr")
}

// archive is a tar file whose members can be read in any order.
type archive struct {
	f      *os.File
	size   int64
	files  map[string]section
	links  map[string]string
	isRoot bool // it has what a root filesystem has
}

// index reads the headers alone: the tar reader seeks over what is between.
func index(f *os.File) (*archive, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	a := &archive{f: f, size: info.Size(), files: map[string]section{}, links: map[string]string{}}
	r := tar.NewReader(f)
	for {
		h, err := r.Next()
		if err == io.EOF {
			return a, nil
		}
		if err != nil {
			return nil, fmt.Errorf("it is no readable tar file: %w", err)
		}
		name := path.Clean(strings.TrimPrefix(h.Name, "/"))
		top, _, _ := strings.Cut(name, "/")
		a.isRoot = a.isRoot || slices.Contains(rootNames, top)
		switch h.Typeflag {
		case tar.TypeReg:
			if sparse(h) {
				continue // it does not lie there as it is read, and no image's blob is one
			}
			at, err := f.Seek(0, io.SeekCurrent)
			if err != nil {
				return nil, err
			}
			if at+h.Size > a.size {
				return nil, fmt.Errorf("it is cut off: %q should end at byte %d, and the file has %d", name, at+h.Size, a.size)
			}
			a.files[name] = section{at, h.Size}
		case tar.TypeSymlink:
			a.links[name] = path.Join(path.Dir(name), h.Linkname)
		case tar.TypeLink:
			a.links[name] = path.Clean(h.Linkname)
		}
	}
}

func sparse(h *tar.Header) bool {
	for name := range h.PAXRecords {
		if strings.HasPrefix(name, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// rootNames are what tells a root filesystem from any other tar file.
var rootNames = []string{"bin", "etc", "lib", "sbin", "usr"}

// find follows links: docker save writes a repeated layer as one.
func (a *archive) find(name string) (section, error) {
	name = path.Clean(name)
	for range 8 {
		if s, ok := a.files[name]; ok {
			return s, nil
		}
		target, ok := a.links[name]
		if !ok {
			break
		}
		name = target
	}
	return section{}, fmt.Errorf("the archive has no %q: %w", name, fs.ErrNotExist)
}

func (a *archive) file(name string) (io.ReadCloser, error) {
	s, err := a.find(name)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(io.NewSectionReader(a.f, s.Offset, s.Size)), nil
}

// oci reads an archive that is an OCI layout.
func (a *archive) oci(p v1.Platform) (contents, error) {
	img, err := openLayout(a, p)
	if err != nil {
		return contents{}, err
	}
	c := contents{Index: img.Index, Manifest: img.manifest, Blobs: map[string]section{}}
	h, err := v1.NewHash(img.manifest)
	if err != nil {
		return contents{}, err
	}
	raw, err := readBlob(a, h)
	if err != nil {
		return contents{}, fmt.Errorf("reading its manifest: %w", err)
	}
	m, err := v1.ParseManifest(bytes.NewReader(raw))
	if err != nil {
		return contents{}, fmt.Errorf("reading its manifest: %w", err)
	}
	for _, d := range append([]v1.Hash{h, m.Config.Digest}, layerDigests(m)...) {
		if c.Blobs[d.String()], err = a.find(path.Join("blobs", d.Algorithm, d.Hex)); err != nil {
			return contents{}, err
		}
	}
	return c, nil
}

func layerDigests(m *v1.Manifest) (all []v1.Hash) {
	for _, l := range m.Layers {
		all = append(all, l.Digest)
	}
	return all
}

// docker reads what docker save wrote. There is no manifest in it; one is made
// over the layers as they lie there, so that nothing is compressed and the same
// archive has the same digest everywhere.
func (a *archive) docker(p v1.Platform) (contents, error) {
	raw, err := readFile(a, "manifest.json")
	if err != nil {
		return contents{}, err
	}
	var images []struct {
		Config string
		Layers []string
	}
	if err := json.Unmarshal(raw, &images); err != nil {
		return contents{}, fmt.Errorf("reading its manifest.json: %w", err)
	}
	if len(images) != 1 {
		return contents{}, fmt.Errorf("it holds %d images; save one by itself", len(images))
	}
	config, err := readFile(a, images[0].Config)
	if err != nil {
		return contents{}, err
	}
	parsed, err := v1.ParseConfigFile(bytes.NewReader(config))
	if err != nil {
		return contents{}, fmt.Errorf("reading its config: %w", err)
	}
	if have := parsed.Platform(); have != nil && !have.Satisfies(p) {
		return contents{}, fmt.Errorf("it is for platform %q, not for %q; set platform, or use another image", have.String(), p.String())
	}
	if len(parsed.RootFS.DiffIDs) != len(images[0].Layers) {
		return contents{}, fmt.Errorf("its config has %d layers, its manifest.json %d", len(parsed.RootFS.DiffIDs), len(images[0].Layers))
	}
	return a.make(images[0].Config, config, images[0].Layers, parsed.RootFS.DiffIDs)
}

func (a *archive) make(configName string, config []byte, layers []string, diffIDs []v1.Hash) (contents, error) {
	c := contents{Blobs: map[string]section{}}
	at, err := a.find(configName)
	if err != nil {
		return c, err
	}
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1}
	m.Config = v1.Descriptor{MediaType: types.OCIConfigJSON, Size: int64(len(config)), Digest: hashOf(config)}
	c.Blobs[m.Config.Digest.String()] = at
	for i, name := range layers {
		d, at, err := a.layer(name, diffIDs[i])
		if err != nil {
			return c, err
		}
		m.Layers = append(m.Layers, d)
		c.Blobs[d.Digest.String()] = at
	}
	return c, c.seal(m)
}

// seal adds the manifest, which is not in the archive.
func (c *contents) seal(m v1.Manifest) error {
	raw, err := json.Marshal(m)
	if err != nil {
		return err
	}
	c.Manifest = hashOf(raw).String()
	if c.Made == nil {
		c.Made = map[string][]byte{}
	}
	c.Made[c.Manifest] = raw
	return nil
}

// layer describes a layer. An uncompressed one has the digest that the config
// names; a compressed one has to be read for it.
func (a *archive) layer(name string, diffID v1.Hash) (v1.Descriptor, section, error) {
	at, err := a.find(name)
	if err != nil {
		return v1.Descriptor{}, at, err
	}
	d := v1.Descriptor{MediaType: types.OCIUncompressedLayer, Size: at.Size, Digest: diffID}
	var magic [4]byte
	if n, _ := a.f.ReadAt(magic[:], at.Offset); n < len(magic) {
		return d, at, nil // empty
	}
	switch compression(magic[:]) {
	case "gzip":
		d.MediaType = types.OCILayer
	case "zstd":
		d.MediaType = types.OCILayerZStd
	default:
		return d, at, nil
	}
	d.Digest, _, err = v1.SHA256(io.NewSectionReader(a.f, at.Offset, at.Size))
	return d, at, err
}

func hashOf(b []byte) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", sha256.Sum256(b))}
}
