package containerd_test

import (
	"archive/tar"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"plumb/engine/image"
	"plumb/engine/image/registrytest"
)

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
