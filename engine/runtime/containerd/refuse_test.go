package containerd_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"plumb/engine/runtime"
)

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
