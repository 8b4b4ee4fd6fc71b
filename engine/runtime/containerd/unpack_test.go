package containerd_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"plumb/engine/runtime"
	"plumb/engine/runtime/containerd"
)

// What an image unpacks to is held against what umoci makes of it.

type member struct {
	tar.Header
	text string
}

func file(name, text string, mode int64) member {
	return member{tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: mode, ModTime: time.Unix(1600000000, 0)}, text}
}

func dir(name string, mode int64) member {
	return member{tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: mode, ModTime: time.Unix(1500000000, 0)}, ""}
}

func link(kind byte, name, target string) member {
	return member{tar.Header{Name: name, Typeflag: kind, Linkname: target, Mode: 0o777, ModTime: time.Unix(1400000000, 0)}, ""}
}

func tarball(t testing.TB, members []member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		m.Size = int64(len(m.text))
		if err := w.WriteHeader(&m.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, m.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// crafted is an image in memory.
type crafted struct {
	manifest string
	blobs    map[string][]byte
	limits   runtime.Limits
}

func (c *crafted) Manifest() string       { return c.manifest }
func (c *crafted) Limits() runtime.Limits { return c.limits }

func (c *crafted) Blob(_ context.Context, digest string) (io.ReadCloser, error) {
	b, ok := c.blobs[digest]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

func digestOf(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }

func (c *crafted) add(b []byte) (descriptor string) {
	c.blobs[digestOf(b)] = b
	return fmt.Sprintf(`"digest":%q,"size":%d`, digestOf(b), len(b))
}

// layer is a tar with the form it is packed in: "", "gzip" or "zstd".
type layer struct {
	raw  []byte
	form string
	lie  bool // about the digest of its content
}

func craft(t testing.TB, layers ...layer) *crafted {
	t.Helper()
	c := &crafted{blobs: map[string][]byte{}}
	var diffIDs, descriptors []string
	for _, l := range layers {
		diffID := digestOf(l.raw)
		if l.lie {
			diffID = digestOf(nil)
		}
		diffIDs = append(diffIDs, fmt.Sprintf("%q", diffID))
		packed, suffix := pack(t, l), ""
		if l.form != "" {
			suffix = "+" + l.form
		}
		descriptors = append(descriptors, fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.layer.v1.tar%s",%s}`, suffix, c.add(packed)))
	}
	config := c.add(fmt.Appendf(nil, `{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[%s]}}`, strings.Join(diffIDs, ",")))
	manifest := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json",%s},"layers":[%s]}`, config, strings.Join(descriptors, ","))
	c.add(manifest)
	c.manifest = digestOf(manifest)
	return c
}

func pack(t testing.TB, l layer) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	switch l.form {
	case "":
		return l.raw
	case "gzip":
		w = gzip.NewWriter(&b)
	case "zstd":
		z, err := zstd.NewWriter(&b)
		if err != nil {
			t.Fatal(err)
		}
		w = z
	}
	if _, err := w.Write(l.raw); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// layout writes the image as an OCI layout, for other tools.
func (c *crafted) layout(t testing.TB) string {
	t.Helper()
	root := t.TempDir()
	write := func(name string, b []byte) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for d, b := range c.blobs {
		write("blobs/sha256/"+strings.TrimPrefix(d, "sha256:"), b)
	}
	write("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	write("index.json", fmt.Appendf(nil, `{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":%q,"size":%d,"annotations":{"org.opencontainers.image.ref.name":"x"}}]}`, c.manifest, len(c.blobs[c.manifest])))
	return root
}

// listing describes a tree: a line a path, and which names are links of one file.
func listing(t testing.TB, root string) string {
	t.Helper()
	var lines []string
	inodes := map[uint64]string{}
	err := filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		name := strings.TrimPrefix(strings.TrimPrefix(p, root), "/")
		line := fmt.Sprintf("%q %o %d:%d", name, st.Mode, st.Uid, st.Gid)
		if st.Mode&unix.S_IFMT != unix.S_IFDIR { // umoci leaves directories that it wrote into with today's time
			line += fmt.Sprintf(" %d", st.Mtim.Sec)
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %d %x", st.Size, sha256.Sum256(b))
			if first, ok := inodes[st.Ino]; ok && st.Nlink > 1 {
				line += " = " + first
			}
			inodes[st.Ino] = name
		case unix.S_IFLNK:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			line += " -> " + target
		case unix.S_IFCHR, unix.S_IFBLK:
			line += fmt.Sprintf(" dev %d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
		}
		lines = append(lines, line+xattrsOf(p))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func xattrsOf(p string) string {
	buf := make([]byte, 4096)
	n, err := unix.Llistxattr(p, buf)
	if err != nil || n == 0 {
		return ""
	}
	names := strings.Split(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00")
	slices.Sort(names)
	out := ""
	for _, name := range names {
		value := make([]byte, 4096)
		n, err := unix.Lgetxattr(p, name, value)
		if err == nil && !strings.HasPrefix(name, "trusted.overlay.") && !strings.HasPrefix(name, "user.rootlesscontainers") {
			out += fmt.Sprintf(" %s=%x", name, value[:n])
		}
	}
	return out
}

// unpacked prepares an image and lists what it holds.
func unpacked(t testing.TB, r *containerd.Runtime, src runtime.ImageSource) string {
	t.Helper()
	if err := r.Prepare(t.Context(), src); err != nil {
		t.Fatal(err)
	}
	var got string
	if err := r.View(t.Context(), src.Manifest(), func(root string) error {
		got = listing(t, root)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return got
}

// byUmoci lists what umoci makes of a layout.
func byUmoci(t testing.TB, layout, tag string) string {
	t.Helper()
	bundle := filepath.Join(t.TempDir(), "bundle")
	out, err := exec.Command("umoci", "unpack", "--image", layout+":"+tag, bundle).CombinedOutput()
	if err != nil {
		t.Fatalf("umoci unpack: %v\n%s", err, out)
	}
	return listing(t, filepath.Join(bundle, "rootfs"))
}
