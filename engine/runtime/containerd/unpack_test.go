package containerd_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"plumb/engine/image"
	"plumb/engine/image/registrytest"
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

// tricky is what layers may hold.
func tricky(t testing.TB) []layer {
	capability := "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	withXattr := file("usr/bin/ping", "ping", 0o755)
	withXattr.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": capability, "SCHILY.xattr.user.note": "x"}
	owned := file("home/u/f", "mine", 0o640)
	owned.Uid, owned.Gid = 1000, 1001
	null := member{tar.Header{Name: "dev/null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3, Mode: 0o666, ModTime: time.Unix(1, 0)}, ""}
	fifo := member{tar.Header{Name: "run/fifo", Typeflag: tar.TypeFifo, Mode: 0o600, ModTime: time.Unix(2, 0)}, ""}
	first := []member{
		dir("./", 0o755), dir("usr/", 0o755), dir("usr/bin/", 0o755), link(tar.TypeSymlink, "bin", "usr/bin"), file("usr/bin/sh", "shell", 0o755),
		file("usr/bin/su", "su", 0o4755), file("usr/bin/wall", "wall", 0o2755), dir("tmp/", 0o1777), withXattr, dir("home/", 0o755), owned,
		link(tar.TypeLink, "usr/bin/bash", "usr/bin/sh"), link(tar.TypeLink, "usr/bin/rbash", "./usr/bin/sh"),
		link(tar.TypeSymlink, "etc-link", "/etc"), dir("etc/", 0o755), file("etc/a", "a", 0o644), file("etc/gone", "x", 0o644),
		dir("opaque/", 0o755), file("opaque/old", "old", 0o644), dir("replaced/", 0o755), file("replaced/x", "x", 0o644), file("became", "a file", 0o644),
		file(strings.Repeat("long/", 60)+strings.Repeat("n", 200), "long", 0o600), file("name with \n newline and ü", "odd", 0o644), file("empty", "", 0o444),
		dir("dev/", 0o755), null, dir("run/", 0o755), fifo, file("big", strings.Repeat("0123456789abcdef", 100000), 0o644),
	}
	second := []member{
		file("bin/tool", "through the link", 0o755), file("etc/.wh.gone", "", 0o644), dir("opaque/", 0o700), file("opaque/.wh..wh..opq", "", 0o644), file("opaque/new", "new", 0o644),
		file("replaced", "now a file", 0o644), dir("became/", 0o750), file("became/d", "now a directory", 0o644), link(tar.TypeLink, "etc/b", "etc/a"), file("usr/lib/new/made", "deep", 0o644),
	}
	third := []member{file(".wh.tmp", "", 0o644), file("usr/bin/sh", "another shell", 0o755), dir("tmp/", 0o755), file("tmp/x", "x", 0o644)}
	return []layer{{tarball(t, first), "gzip", false}, {tarball(t, second), "zstd", false}, {tarball(t, third), "", false}}
}

func TestUnpackAsUmociDoes(t *testing.T) {
	registrytest.Need(t, "umoci")
	r := newRuntime(t)
	all := tricky(t)
	if diff := cmp.Diff(byUmoci(t, craft(t, all[0]).layout(t), "x"), unpacked(t, r, craft(t, all[0]))); diff != "" {
		t.Errorf("one layer: umoci (-) and plumb (+):\n%s", diff)
	}
	for i := range all { // this umoci does not know zstd
		all[i].form = ""
	}
	want := byUmoci(t, craft(t, all...).layout(t), "x")
	if diff := cmp.Diff(want, unpacked(t, r, craft(t, tricky(t)...))); diff != "" {
		t.Errorf("three layers: umoci (-) and plumb (+):\n%s", diff)
	}
}

// An image that umoci made, and skopeo copied into other forms.
func TestUnpackWhatToolsMake(t *testing.T) {
	registrytest.Need(t, "umoci")
	registrytest.Need(t, "skopeo")
	work := t.TempDir()
	oci, bundle := filepath.Join(work, "oci"), filepath.Join(work, "bundle")
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	run("umoci", "init", "--layout", oci)
	run("umoci", "new", "--image", oci+":x")
	for n := range 3 {
		_ = os.RemoveAll(bundle)
		run("umoci", "unpack", "--image", oci+":x", bundle)
		run("sh", "-c", fmt.Sprintf(`cd %s/rootfs && mkdir -p d%d/sub && echo %d > d%d/f && ln d%d/f d%d/hard && ln -s f d%d/soft && chmod 4711 d%d/f && chown 7:8 d%d/sub && rm -rf d0/sub && truncate -s 8M sparse && mkfifo fifo%d`, bundle, n, n, n, n, n, n, n, n, n))
		run("umoci", "repack", "--image", oci+":x", bundle)
	}
	run("umoci", "config", "--image", oci+":x", "--architecture", "amd64", "--os", "linux")
	want := byUmoci(t, oci, "x")
	r := newRuntime(t)
	for name, args := range map[string][]string{
		"as it is":       {"oci:" + work + "/plain:x"},
		"zstd":           {"--dest-compress-format", "zstd", "--dest-compress", "oci:" + work + "/zstd:x"},
		"oci archive":    {"oci-archive:" + work + "/oci.tar:x"},
		"docker archive": {"docker-archive:" + work + "/docker.tar:x:1"},
	} {
		run(append([]string{"skopeo", "copy", "oci:" + oci + ":x"}, args...)...)
		_, where, _ := strings.Cut(args[len(args)-1], ":")
		where, _, _ = strings.Cut(where, ":")
		img, err := image.Resolver{}.Resolve(t.Context(), image.Locator{Archive: where}, "linux/amd64")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, unpacked(t, r, img)); diff != "" {
			t.Errorf("%s: umoci (-) and plumb (+):\n%s", name, diff)
		}
	}
}

// A root file system by mmdebstrap, against tar and umoci.
func TestUnpackRootFilesystem(t *testing.T) {
	registrytest.Need(t, "mmdebstrap")
	registrytest.Need(t, "umoci")
	work := t.TempDir()
	root := filepath.Join(work, "root.tar")
	out, err := exec.Command("mmdebstrap", "--variant=extract", "--include=busybox-static", "bookworm", root).CombinedOutput()
	if err != nil {
		registrytest.Missing(t, "mmdebstrap has no mirror here: %v\n%s", err, out)
	}
	img, err := image.Resolver{}.Resolve(t.Context(), image.Locator{Archive: root}, "linux/amd64")
	if err != nil {
		t.Fatal(err)
	}
	plain := filepath.Join(work, "plain")
	if err := os.Mkdir(plain, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("tar", "-C", plain, "--same-owner", "-p", "--xattrs", "-xf", root).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	got := unpacked(t, newRuntime(t), img)
	if diff := cmp.Diff(listing(t, plain), got); diff != "" {
		t.Errorf("tar (-) and plumb (+):\n%s", diff)
	}
	oci := filepath.Join(work, "oci")
	for _, args := range [][]string{{"init", "--layout", oci}, {"new", "--image", oci + ":x"}, {"raw", "add-layer", "--image", oci + ":x", root}} {
		if out, err := exec.Command("umoci", args...).CombinedOutput(); err != nil {
			t.Fatalf("umoci %v: %v\n%s", args, err, out)
		}
	}
	if diff := cmp.Diff(byUmoci(t, oci, "x"), got); diff != "" {
		t.Errorf("umoci (-) and plumb (+):\n%s", diff)
	}
}

// Sparse files in the forms that GNU tar writes, longer names and sizes than the old
// tar format has room for.
func TestUnpackWhatTarMakes(t *testing.T) {
	work := t.TempDir()
	root := filepath.Join(work, "root")
	script := `mkdir -p usr/bin && truncate -s 40M usr/sparse && printf x | dd of=usr/sparse bs=1 seek=20000000 conv=notrunc status=none && printf y >> usr/sparse && ln usr/sparse usr/again &&
		touch -d @1500000000 usr/bin/$(printf 'n%.0s' $(seq 200)) && chown 70000:70001 usr/bin/*`
	cmd := exec.Command("sh", "-euc", script)
	if cmd.Dir = root; os.Mkdir(root, 0o755) != nil {
		t.Fatal("no directory")
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := listing(t, root)
	r := newRuntime(t)
	for _, format := range []string{"gnu", "pax"} {
		name := filepath.Join(work, format+".tar")
		if out, err := exec.Command("tar", "-C", root, "--format", format, "--sparse", "-cf", name, ".").CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if info, err := os.Stat(name); err != nil || info.Size() > 1<<20 {
			t.Errorf("%s: the tar is not sparse: %v", format, err)
		}
		img, err := image.Resolver{}.Resolve(t.Context(), image.Locator{Archive: name}, "linux/amd64")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, unpacked(t, r, img)); diff != "" {
			t.Errorf("%s: (-want +got):\n%s", format, diff)
		}
	}
}

// breaking is an image whose blobs break off, and can be read from an offset on.
type breaking struct {
	*crafted
	after   int64 // bytes at a time; 0 for all
	mu      sync.Mutex
	offsets []int64
}

func (b *breaking) BlobAt(ctx context.Context, digest string, offset int64) (io.ReadCloser, error) {
	rc, err := b.Blob(ctx, digest)
	if err != nil || digest == b.manifest {
		return rc, err
	}
	b.mu.Lock() // config and layer come at once
	b.offsets = append(b.offsets, offset)
	b.mu.Unlock()
	if _, err := io.CopyN(io.Discard, rc, offset); err != nil {
		return nil, err
	}
	if b.after == 0 || int64(len(b.blobs[digest])) < b.after {
		return rc, nil
	}
	return io.NopCloser(io.MultiReader(io.LimitReader(rc, b.after), failing{})), nil
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("the line broke") }

// An import that broke off goes on where it was, also in another process.
func TestImportGoesOn(t *testing.T) {
	dir := tempDir(t)
	img := &breaking{crafted: craft(t, layer{raw: tarball(t, []member{file("f", strings.Repeat("0123456789", 50000), 0o644)})}), after: 200000}
	var last string
	for n := range 3 {
		r, err := containerd.New(t.Context(), options(dir))
		if err != nil {
			t.Fatal(err)
		}
		if n == 2 {
			img.after = 0
		}
		err = r.Prepare(t.Context(), img)
		if (err == nil) != (n == 2) || err != nil && !strings.Contains(err.Error(), "the line broke") {
			t.Errorf("try %d: %v", n, err)
		}
		if n == 2 {
			last = unpacked(t, r, img)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	var large []int64
	for _, o := range img.offsets {
		if o > 0 {
			large = append(large, o)
		}
	}
	if diff := cmp.Diff([]int64{200000, 400000}, large); diff != "" {
		t.Errorf("gone on from (-want +got):\n%s", diff)
	}
	if !strings.Contains(last, `"f"`) {
		t.Errorf("unpacked:\n%s", last)
	}
}

func TestUnpackRefuses(t *testing.T) {
	r := newRuntime(t)
	good := tarball(t, []member{file("f", strings.Repeat("some text, ", 20000), 0o644)})
	many := craft(t, layer{raw: good})
	many.limits = runtime.Limits{Unpacked: 1000}
	cut := func(form string) *crafted {
		c := craft(t, layer{raw: good, form: form})
		for d, b := range c.blobs {
			if bytes.HasPrefix(b, []byte("\x1f\x8b")) || bytes.HasPrefix(b, []byte("\x28\xb5\x2f\xfd")) {
				short := b[:len(b)/2]
				m := strings.NewReplacer(d, digestOf(short), fmt.Sprintf(`"size":%d}]`, len(b)), fmt.Sprintf(`"size":%d}]`, len(short))).Replace(string(c.blobs[c.manifest]))
				c.add(short)
				c.add([]byte(m))
				c.manifest = digestOf([]byte(m))
			}
		}
		return c
	}
	up := strings.Repeat("../", 30)
	bad := func(members ...member) *crafted {
		return craft(t, layer{raw: tarball(t, []member{dir("etc/", 0o755)})}, layer{raw: tarball(t, members), form: "gzip"})
	}
	tests := map[string]struct {
		img  *crafted
		want string
	}{
		"climbs":                     {bad(file("a/../../x", "", 0o644)), "climbs out"},
		"a link that climbs":         {bad(link(tar.TypeSymlink, "l", up+"tmp"), file("l/x", "", 0o644)), "leads out of the image"},
		"a link to nothing":          {bad(link(tar.TypeSymlink, "l", "/no/such"), file("l/x", "", 0o644)), "does not have"},
		"links in a ring":            {bad(link(tar.TypeSymlink, "l", "m"), link(tar.TypeSymlink, "m", "l"), file("l/x", "", 0o644)), "symlinks"},
		"a hard link out":            {bad(link(tar.TypeLink, "l", up+"etc/passwd")), "outside of the image"},
		"a hard link through a link": {bad(link(tar.TypeSymlink, "s", up), link(tar.TypeLink, "l", "s/etc/passwd")), "leads out of the image"},
		"a hard link to a directory": {bad(link(tar.TypeLink, "l", "etc")), "the directory"},
		"a device":                   {bad(member{tar.Header{Name: "mem", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 1}, ""}), "is a device"},
		"an overlay's whiteout":      {bad(member{tar.Header{Name: "etc", Typeflag: tar.TypeChar}, ""}), "is a device"},
		"another content":            {craft(t, layer{raw: good, lie: true}), "config says"},
		"too large":                  {many, "max_unpacked"},
		"gzip, cut off":              {cut("gzip"), "cut off or damaged"},
		"zstd, cut off":              {cut("zstd"), "cut off or damaged"},
		"tar, cut off":               {craft(t, layer{raw: good[:600]}), "cut off or damaged"},
		"no tar":                     {craft(t, layer{raw: []byte(strings.Repeat("this is a text. ", 100)), form: "gzip"}), "no readable tar"},
		"no layers":                  {craft(t), "no layers"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := r.Prepare(t.Context(), test.img)
			if err == nil || !strings.Contains(err.Error(), test.want) || !errors.Is(err, runtime.ErrBadImage) {
				t.Errorf("error %v, want %q", err, test.want)
			}
			if all, err := r.Images(t.Context()); len(all) > 0 || err != nil {
				t.Errorf("%d images are shown, %v", len(all), err)
			}
		})
	}
	left, err := filepath.Glob(filepath.Join(r.Root(), "io.containerd.*", "*", "*", "*"))
	for _, name := range left {
		if strings.Contains(name, "snapshots/") || strings.Contains(name, "blobs/sha256/") {
			t.Errorf("left behind: %s, %v", name, err)
		}
	}
}

// No directory has the time of the unpacking: not one that a layer writes into, and
// not one that no layer has an entry for.
func TestTimesOfDirectories(t *testing.T) {
	img := craft(t,
		layer{raw: tarball(t, []member{dir("a/", 0o755), dir("a/b/", 0o755), file("made/f", "", 0o644)})},
		layer{raw: tarball(t, []member{file("a/b/c", "", 0o644), dir("d/", 0o755), file("d/e/f", "", 0o644)})})
	r := newRuntime(t)
	if err := r.Prepare(t.Context(), img); err != nil {
		t.Fatal(err)
	}
	got := map[string]int64{}
	if err := r.View(t.Context(), img.Manifest(), func(root string) error {
		for _, name := range []string{"a", "a/b", "made", "d", "d/e"} {
			info, err := os.Stat(filepath.Join(root, name))
			if err != nil {
				return err
			}
			got[name] = info.ModTime().Unix()
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]int64{"a": 1500000000, "a/b": 1500000000, "made": 0, "d": 1500000000, "d/e": 0}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// What a review thought of: links that take a directory's place after it was used,
// and links of a layer below under a directory of the one above.
func TestNothingOfTheHostIsReadOrWritten(t *testing.T) {
	host := t.TempDir()
	secret := filepath.Join(host, "secret")
	if err := os.WriteFile(secret, []byte("of the host"), 0o600); err != nil {
		t.Fatal(err)
	}
	old := time.Unix(1000000000, 0)
	if err := os.Mkdir(filepath.Join(host, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(filepath.Join(host, "sub"), old, old); err != nil {
		t.Fatal(err)
	}
	r := newRuntime(t)
	for name, img := range map[string]*crafted{
		"a directory becomes a link": craft(t,
			layer{raw: tarball(t, []member{dir("d/", 0o755), file("d/evil", "evil", 0o644)})},
			layer{raw: tarball(t, []member{link(tar.TypeSymlink, "s", host), file("d/y", "", 0o644), link(tar.TypeLink, "d", "s"), link(tar.TypeLink, "z", "d/evil")})}),
		"a link below a directory": craft(t,
			layer{raw: tarball(t, []member{link(tar.TypeSymlink, "d", host)})},
			layer{raw: tarball(t, []member{dir("d/", 0o755), link(tar.TypeLink, "stolen", "d/secret")})}),
		"times": craft(t,
			layer{raw: tarball(t, []member{file("a/sub/x", "", 0o644), link(tar.TypeSymlink, "a", host)})}),
	} {
		err := r.Prepare(t.Context(), img)
		t.Logf("%s: %v", name, err)
		if err == nil {
			if err := r.View(t.Context(), img.Manifest(), func(root string) error {
				if strings.Contains(listing(t, root), digestOf([]byte("of the host"))[7:]) {
					t.Errorf("%s: a file of the host is in the image", name)
				}
				return nil
			}); err != nil {
				t.Error(err)
			}
		}
		if left, err := os.ReadDir(host); err != nil || len(left) != 2 {
			t.Errorf("%s: the host's directory has %v, %v", name, left, err)
		}
		if info, err := os.Stat(filepath.Join(host, "sub")); err != nil || !info.ModTime().Equal(old) {
			t.Errorf("%s: the host's directory has another time, %v", name, err)
		}
	}
}

// Links of a layer above a usr-merge keep to the image.
func TestEntriesFollowTheImagesLinks(t *testing.T) {
	r := newRuntime(t)
	img := craft(t,
		layer{raw: tarball(t, []member{dir("usr/bin/", 0o755), link(tar.TypeSymlink, "bin", "usr/bin"), dir("run/", 0o755), dir("var/", 0o755), link(tar.TypeSymlink, "var/run", "/run")})},
		layer{raw: tarball(t, []member{file("bin/x", "x", 0o755), file("var/run/pid", "1", 0o644)})})
	got := unpacked(t, r, img)
	for _, want := range []string{`"bin" 120777`, `"usr/bin/x"`, `"run/pid"`} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(tarball(f, []member{dir("usr/bin/", 0o755), link(tar.TypeSymlink, "bin", "usr/bin"), file("bin/x", "x", 0o755)}))
	f.Add(tarball(f, []member{link(tar.TypeSymlink, "l", "../../../../tmp"), file("l/plumb-fuzz-escaped", "x", 0o755)}))
	f.Add(tarball(f, []member{link(tar.TypeLink, "l", "../../../../etc/passwd"), file(".wh.x", "", 0o644)}))
	root := f.TempDir()
	f.Fuzz(func(t *testing.T, raw []byte) {
		dir, err := os.MkdirTemp(root, "")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		layerDir := filepath.Join(dir, "a", "b", "layer")
		if err := os.MkdirAll(layerDir, 0o755); err != nil {
			t.Fatal(err)
		}
		_ = containerd.ApplyForTest(t.Context(), layerDir, raw) // any error will do
		for _, d := range []string{dir, filepath.Join(dir, "a"), filepath.Join(dir, "a", "b")} {
			if all, err := os.ReadDir(d); err != nil || len(all) != 1 {
				t.Fatalf("%s holds %v, %v", d, all, err)
			}
		}
		if _, err := os.Lstat("/tmp/plumb-fuzz-escaped"); err == nil {
			t.Fatal("it got out")
		}
	})
}

// Holes take no room in a tar, and all of it in what it unpacks to.
func TestHolesCount(t *testing.T) {
	work := t.TempDir()
	out, err := exec.Command("sh", "-euc", "cd "+work+" && mkdir usr && truncate -s 3M usr/hole && tar --format=pax --sparse -cf hole.tar usr").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	raw, err := os.ReadFile(filepath.Join(work, "hole.tar"))
	if err != nil {
		t.Fatal(err)
	}
	img := craft(t, layer{raw: raw, form: "gzip"})
	img.limits = runtime.Limits{Unpacked: 1 << 20}
	if err := newRuntime(t).Prepare(t.Context(), img); !errors.Is(err, runtime.ErrBadImage) || !strings.Contains(err.Error(), "max_unpacked") {
		t.Errorf("a tar of %d bytes: %v", len(raw), err)
	}
}
