package containerd_test

import (
	"archive/tar"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"plumb/engine/runtime/containerd"
)

// canary is where the layers of the corpus try to get to by an absolute path.
const canary = "/tmp/plumb-fuzz-canary"

// FuzzUnpack unpacks any bytes as a layer, as the bottom of an image and above another
// layer. Whatever they are, nothing outside of the layer's directory is touched.
func FuzzUnpack(f *testing.F) {
	for _, layer := range sly() {
		f.Add(tarball(f, layer), false)
		f.Add(tarball(f, layer), true)
	}
	for _, l := range tricky(f) {
		if len(l.raw) < 1<<16 {
			f.Add(l.raw, true)
		}
	}
	f.Add([]byte("no tar at all"), false)
	f.Fuzz(func(t *testing.T, raw []byte, above bool) {
		dir, err := os.MkdirTemp("", "plumb-fuzz-")
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := os.RemoveAll(dir); err != nil {
				t.Error(err)
			}
		}()
		root, lower := filepath.Join(dir, "root"), []string(nil)
		lay(t, dir, "root/", "outside/", "outside/f", "lower/", "lower/etc/", "lower/etc/f", canary+"/", canary+"/f")
		for name, target := range map[string]string{"up": "../outside", "absolute": canary, "etc/deep": "../../../outside", "loop": "loop"} {
			if err := os.Symlink(target, filepath.Join(dir, "lower", name)); err != nil {
				t.Fatal(err)
			}
		}
		if above {
			lower = []string{filepath.Join(dir, "lower")}
		}
		before := seen(t, dir, canary)
		if err := containerd.UnpackForTest(t.Context(), root, lower, raw); err != nil && strings.Contains(err.Error(), dir) {
			t.Errorf("the machine's own paths are told: %v", err)
		}
		if diff := cmp.Diff(before, seen(t, dir, canary)); diff != "" {
			t.Errorf("outside of the layer (-before +after):\n%s", diff)
		}
	})
}

// lay makes files; the names of directories end in a slash.
func lay(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		path := name
		if !strings.HasPrefix(name, "/") {
			path = filepath.Join(dir, name)
		}
		var err error
		if strings.HasSuffix(name, "/") {
			err = os.MkdirAll(path, 0o755)
		} else if _, serr := os.Lstat(path); serr != nil {
			err = os.WriteFile(path, []byte(name), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// seen is everything about the files of directories, but for what is in the layer's.
func seen(t *testing.T, dirs ...string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if path == filepath.Join(dir, "root") {
				return filepath.SkipDir
			}
			var st unix.Stat_t
			if err := unix.Lstat(path, &st); err != nil {
				return err
			}
			var names [1024]byte
			n, err := unix.Llistxattr(path, names[:])
			if err != nil {
				return err
			}
			content := ""
			if d.Type().IsRegular() {
				b, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				content = string(b)
			}
			all[path] = fmt.Sprint(st.Ino, st.Mode, st.Uid, st.Gid, st.Nlink, st.Size, st.Mtim, string(names[:n]), content)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// sly are layers that try to get out, each in another way.
func sly() [][]member {
	return [][]member{
		{file("../outside/f", "x", 0o644)},
		{file("/../outside/f", "x", 0o644)},
		{file("a/../../outside/f", "x", 0o644)},
		{file(canary+"/f", "x", 0o644)},
		{link(tar.TypeSymlink, "a", "../outside"), file("a/f", "x", 0o644)},
		{link(tar.TypeSymlink, "a", canary), file("a/f", "x", 0o644)},
		{link(tar.TypeSymlink, "a", canary), link(tar.TypeSymlink, "b", "a/../outside"), file("b/f", "x", 0o644)},
		{link(tar.TypeSymlink, "a", "../outside/f"), file("a", "x", 0o600)},
		{link(tar.TypeSymlink, "a", "../outside"), dir("a/", 0o700), file("a/f", "x", 0o644)},
		{link(tar.TypeLink, "a", "../outside/f"), file("a", "x", 0o644)},
		{link(tar.TypeLink, "a", canary+"/f")},
		{link(tar.TypeSymlink, "a", "../outside/f"), link(tar.TypeLink, "b", "a"), file("b", "x", 0o600)},
		{link(tar.TypeSymlink, "a", ".."), link(tar.TypeLink, "b", "a/outside/f")},
		{file("up/f", "x", 0o644), file("absolute/f", "x", 0o644), file("etc/deep/f", "x", 0o644), file("loop/f", "x", 0o644)},
		{file("up/.wh.f", "", 0o644), file("absolute/.wh..wh..opq", "", 0o644)},
		{file(".wh.up", "", 0o644), file(".wh...", "", 0o644), file(".wh..", "", 0o644), file("etc/.wh.", "", 0o644)},
		{link(tar.TypeLink, "c", "etc/f"), file("c", "changed", 0o600)},
		{link(tar.TypeLink, "d", "up/f"), file("d", "changed", 0o600)},
		{dir("etc/", 0o700), file("etc/.wh..wh..opq", "", 0o644), dir("..", 0o700), dir(".", 0o711)},
		{link(tar.TypeSymlink, "etc", "../outside"), file("etc/f", "x", 0o600), file("etc/.wh.f", "", 0o644)},
	}
}
