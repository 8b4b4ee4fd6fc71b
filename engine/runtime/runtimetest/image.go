package runtimetest

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"sync"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
)

// Image describes an image to be made for a test: the tool program under all
// its names, in one layer and on demand more.
type Image struct {
	User   string
	Env    []string
	Files  []File   // beside the tool, in a layer of their own
	Links  []string // "path target"
	Layers int      // empty-handed extra layers, one file each
	Bare   bool     // without /etc/passwd, /etc/group and /tmp
}

// File is one file of an image.
type File struct {
	Path     string // that of a directory ends in a slash
	Data     string
	Mode     int64
	UID, GID int
	Device   bool // a character device, 1:3

	Capability string // the attribute of that name
}

// ToolImage is the plain one.
func ToolImage() Image { return Image{} }

// Layout makes the image and answers the directory of its OCI layout. It is
// the same for the same image, wherever and whenever it is made.
func (i Image) Layout(tb testing.TB) string {
	tb.Helper()
	dir := tb.TempDir()
	l := layout{dir: dir}
	if err := l.write(i); err != nil {
		tb.Fatalf("making the test image: %v", err)
	}
	return dir
}

// Source makes the image and answers it in the form that a runtime reads.
func (i Image) Source(tb testing.TB) Source {
	tb.Helper()
	s, err := OpenLayout(i.Layout(tb))
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// Source is the image of an OCI layout with one manifest.
type Source struct {
	dir      string
	manifest string
}

// OpenLayout reads the index of a layout.
func OpenLayout(dir string) (Source, error) {
	b, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		return Source{}, err
	}
	var index v1.Index
	if err := json.Unmarshal(b, &index); err != nil {
		return Source{}, err
	}
	if len(index.Manifests) != 1 {
		return Source{}, fmt.Errorf("layout %q has %d manifests", dir, len(index.Manifests))
	}
	return Source{dir: dir, manifest: index.Manifests[0].Digest.String()}, nil
}

// Manifest is the digest of the manifest.
func (s Source) Manifest() string { return s.manifest }

// Blob opens a blob.
func (s Source) Blob(_ context.Context, d string) (io.ReadCloser, error) {
	return os.Open(filepath.Join(s.dir, "blobs/sha256", strings.TrimPrefix(d, "sha256:")))
}

// layout is an OCI layout being written.
type layout struct{ dir string }

func (l layout) write(i Image) error {
	if err := os.MkdirAll(filepath.Join(l.dir, "blobs/sha256"), 0o755); err != nil {
		return err
	}
	tool, err := toolLayer(i.Bare)
	if err != nil {
		return err
	}
	layers := [][]byte{tool}
	if len(i.Files)+len(i.Links) > 0 {
		extra, err := fileLayer(i.Files, i.Links)
		if err != nil {
			return err
		}
		layers = append(layers, extra)
	}
	for n := range i.Layers {
		more, err := fileLayer([]File{{Path: fmt.Sprintf("layer/%d", n), Data: "x", Mode: 0o644}}, nil)
		if err != nil {
			return err
		}
		layers = append(layers, more)
	}
	return l.index(i, layers)
}

func (l layout) index(i Image, layers [][]byte) error {
	config := v1.Image{
		Platform: v1.Platform{OS: "linux", Architecture: goruntime.GOARCH},
		Config:   v1.ImageConfig{User: i.User, Env: i.Env},
		RootFS:   v1.RootFS{Type: "layers"},
	}
	manifest := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest}
	for _, b := range layers {
		d, err := l.blob(b, v1.MediaTypeImageLayer)
		if err != nil {
			return err
		}
		manifest.Layers = append(manifest.Layers, d)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, d.Digest)
	}
	var err error
	if manifest.Config, err = l.json(config, v1.MediaTypeImageConfig); err != nil {
		return err
	}
	d, err := l.json(manifest, v1.MediaTypeImageManifest)
	if err != nil {
		return err
	}
	d.Platform = &config.Platform
	index, err := json.Marshal(v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{d}})
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(l.dir, "index.json"), index, 0o644),
		os.WriteFile(filepath.Join(l.dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644))
}

func (l layout) json(v any, mediaType string) (v1.Descriptor, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return v1.Descriptor{}, err
	}
	return l.blob(b, mediaType)
}

func (l layout) blob(b []byte, mediaType string) (v1.Descriptor, error) {
	d := v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
	return d, os.WriteFile(filepath.Join(l.dir, "blobs/sha256", d.Digest.Encoded()), b, 0o644)
}

// toolVariable names the compiled tool program where there is no compiler: in tests
// that another test runs as an ordinary user.
const toolVariable = "PLUMB_TEST_TOOL"

// buildTool compiles the tool program, once for a test process.
var buildTool = sync.OnceValues(func() ([]byte, error) {
	if path := os.Getenv(toolVariable); path != "" {
		return os.ReadFile(path)
	}
	_, self, _, _ := goruntime.Caller(0)
	dir, err := os.MkdirTemp("", "plumb-tool-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	exe := filepath.Join(dir, "tool")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", exe, "./testdata/toolimage")
	build.Dir = filepath.Join(filepath.Dir(self), "../../..")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building the tool program: %w\n%s", err, out)
	}
	return os.ReadFile(exe)
})

// toolLayer is the tool program with a link for each of its names.
func toolLayer(bare bool) ([]byte, error) {
	tool, err := buildTool()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	dirs := []string{"bin/", "usr/", "usr/bin/", "root/", "etc/"}
	if !bare {
		dirs = append(dirs, "tmp/", "home/", "home/worker/")
	}
	for _, d := range dirs {
		if err := w.WriteHeader(dirHeader(d)); err != nil {
			return nil, err
		}
	}
	if err := add(w, File{Path: "bin/tool", Data: string(tool), Mode: 0o755}); err != nil {
		return nil, err
	}
	for _, name := range toolNames() {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + name, Linkname: "tool", Mode: 0o777}); err != nil {
			return nil, err
		}
	}
	if !bare {
		err = errors.Join(
			add(w, File{Path: "etc/passwd", Data: "root:x:0:0:root:/root:/bin/sh\nworker:x:1000:1000::/home/worker:/bin/sh\n", Mode: 0o644}),
			add(w, File{Path: "etc/group", Data: "root:x:0:\nworker:x:1000:\naudio:x:29:worker\n", Mode: 0o644}))
	}
	return b.Bytes(), errors.Join(err, w.Close())
}

func dirHeader(name string) *tar.Header {
	h := &tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755}
	switch name {
	case "tmp/":
		h.Mode = 0o1777
	case "root/":
		h.Mode = 0o700
	case "home/worker/":
		h.Uid, h.Gid = 1000, 1000
	}
	return h
}

func fileLayer(files []File, links []string) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		if err := add(w, f); err != nil {
			return nil, err
		}
	}
	for _, l := range links {
		path, target, _ := strings.Cut(l, " ")
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: path, Linkname: target, Mode: 0o777}); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), w.Close()
}

func add(w *tar.Writer, f File) error {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: f.Path, Mode: f.Mode, Size: int64(len(f.Data)), Uid: f.UID, Gid: f.GID}
	if strings.HasSuffix(f.Path, "/") {
		h.Typeflag = tar.TypeDir
	}
	if f.Capability != "" {
		h.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": f.Capability}
	}
	if f.Device {
		h.Typeflag, h.Devmajor, h.Devminor = tar.TypeChar, 1, 3
	}
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err := io.WriteString(w, f.Data)
	return err
}

// toolNames are the names the tool program answers to.
func toolNames() []string {
	return strings.Fields(`[ awk basename cat chmod chown cp cut date dd env false find grep head id kill ln ls mkdir mv pwd readlink rm sed seq sh
		sha256sum sleep sort stat tail tee test touch tr true uniq wc yes probe-connect probe-daemon probe-effect probe-files probe-fork probe-memory probe-names
		probe-remount probe-spin probe-syscall probe-winsize probe-betray probe-abstract probe-binary probe-bomb probe-fill probe-limits probe-make probe-many
		probe-mounts probe-readable probe-silent probe-stop probe-stubborn probe-swap probe-trace probe-writable`)
}
