package tree

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"plumb/store"
)

func capture(t *testing.T, st *store.Store, dir, rel string) (store.Artifact, error) {
	t.Helper()
	b := st.NewBatch()
	a, err := Capture(context.Background(), st, b, dir, rel)
	if err == nil {
		must(t, st.Commit(context.Background(), b))
	}
	must(t, b.Close())
	return a, err
}

// workspace is a directory on the store's file system.
func workspace(t *testing.T, st *store.Store) string {
	t.Helper()
	dir, err := st.TempDir("stage-")
	must(t, err)
	return dir
}

func TestCapture(t *testing.T) {
	st := openStore(t)
	for _, tt := range []struct {
		name  string
		files map[string]string
		rel   string
		want  store.Artifact
	}{
		{"small file", map[string]string{"o/f": "x"}, "o/f", store.Artifact{Kind: store.KindFile, Digest: store.Sum([]byte("x")), Size: 1}},
		{"large file", map[string]string{"f": large("f")}, "f", store.Artifact{Kind: store.KindFile, Digest: store.Sum([]byte(large("f"))), Size: int64(len(large("f")))}},
		{"executable", map[string]string{"f*": large("x")}, "f", store.Artifact{Kind: store.KindFile, Digest: store.Sum([]byte(large("x"))), Size: int64(len(large("x"))), Exec: true}},
		{"empty directory", map[string]string{"d/": ""}, "d", store.Artifact{Kind: store.KindTree, Digest: store.Sum(Encode(nil))}},
		{"directory", map[string]string{"d/a": "a", "d/s/b*": large("b"), "d/n/": "", "d/s/l": "-> ../a", "d/dangling": "-> nowhere"}, "d", store.Artifact{
			Kind: store.KindTree, Size: int64(1 + len(large("b"))), Files: 2,
			Digest: store.Sum(Encode([]Entry{
				file("a", "a", false), {Path: "dangling", Kind: KindLink, Link: "nowhere"}, {Path: "n", Kind: KindDir}, {Path: "s", Kind: KindDir},
				file("s/b", large("b"), true), {Path: "s/l", Kind: KindLink, Link: "../a"},
			})),
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := workspace(t, st)
			lay(t, dir, tt.files)
			got, err := capture(t, st, dir, tt.rel)
			must(t, err)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			must(t, st.Check(got))
		})
	}
}

func TestCaptureTakesOverByRenaming(t *testing.T) {
	st := openStore(t)
	dir := workspace(t, st)
	lay(t, dir, map[string]string{"f*": large("f")})
	must(t, os.Chmod(filepath.Join(dir, "f"), 0o755|fs.ModeSetuid))
	var before unix.Stat_t
	must(t, unix.Lstat(filepath.Join(dir, "f"), &before))
	a, err := capture(t, st, dir, "f")
	must(t, err)
	path, ok := st.BlobFile(a)
	if !ok {
		t.Fatal("no blob")
	}
	var after unix.Stat_t
	must(t, unix.Lstat(path, &after))
	if after.Ino != before.Ino || after.Mode&0o7777 != 0o555 {
		t.Errorf("inode %d became %d, mode %o", before.Ino, after.Ino, after.Mode)
	}
	if _, err := os.Lstat(filepath.Join(dir, "f")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
}

func TestCaptureRefuses(t *testing.T) {
	st := openStore(t)
	for _, tt := range []struct {
		name string
		make func(t *testing.T, dir string)
		rel  string
		want string
	}{
		{"nothing", func(*testing.T, string) {}, "o", "no such file"},
		{"nothing deeper", func(*testing.T, string) {}, "a/b/o", "no such file"},
		{"symlink", func(t *testing.T, dir string) { lay(t, dir, map[string]string{"o": "-> f", "f": "x"}) }, "o", "it is a symlink"},
		{"symlink on the way", func(t *testing.T, dir string) { lay(t, dir, map[string]string{"d/f": "x", "l": "-> d"}) }, "l/f", `"l" is not a directory`},
		{"symlink out of the tree", func(t *testing.T, dir string) { lay(t, dir, map[string]string{"o/s/l": "-> ../../f", "f": "x"}) }, "o", `"s/l" in it: it is a symlink that leaves the output, to "../../f"`},
		{"absolute symlink", func(t *testing.T, dir string) { lay(t, dir, map[string]string{"o/l": "-> /etc/passwd"}) }, "o", "leaves the output"},
		{"FIFO", func(t *testing.T, dir string) { must(t, unix.Mkfifo(filepath.Join(dir, "o"), 0o600)) }, "o", "a FIFO"},
		{"FIFO inside", func(t *testing.T, dir string) {
			must(t, errors.Join(os.Mkdir(filepath.Join(dir, "o"), 0o755), unix.Mkfifo(filepath.Join(dir, "o", "p"), 0o600)))
		}, "o", `"p" in it: it is a FIFO`},
		{"socket", func(t *testing.T, dir string) {
			t.Chdir(dir) // a socket's address is short
			l, err := net.Listen("unix", "o")
			must(t, err)
			l.(*net.UnixListener).SetUnlinkOnClose(false)
			must(t, l.Close())
		}, "o", "a socket"},
		{"out of the workspace", func(*testing.T, string) {}, "../o", "leaves the workspace"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := workspace(t, st)
			tt.make(t, dir)
			if a, err := capture(t, st, dir, tt.rel); err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), tt.rel) {
				t.Errorf("captured %v, %v", a, err)
			}
		})
	}
}

// A second name may be that of a blob: it must keep its mode, place and content.
func TestCaptureCopiesHardLinks(t *testing.T) {
	st := openStore(t)
	blob, err := st.PutBytes(context.Background(), []byte(large("input")), false)
	must(t, err)
	path, _ := st.BlobFile(blob)
	dir := workspace(t, st)
	must(t, os.Mkdir(filepath.Join(dir, "d"), 0o755))
	for _, name := range []string{"o", "d/o"} {
		must(t, os.Link(path, filepath.Join(dir, name)))
	}
	lay(t, dir, map[string]string{"d/a*": large("twin")})
	must(t, os.Link(filepath.Join(dir, "d/a"), filepath.Join(dir, "d/b")))
	a, err := capture(t, st, dir, "o")
	must(t, err)
	if a != blob {
		t.Errorf("captured %v", a)
	}
	tree, err := capture(t, st, dir, "d")
	must(t, err)
	must(t, errors.Join(st.Check(blob), st.Check(tree)))
	fi, err := os.Lstat(path)
	must(t, err)
	if fi.Mode().Perm() != 0o444 {
		t.Errorf("the input's mode is now %v", fi.Mode())
	}
}

func TestCaptureOfSparseFile(t *testing.T) {
	st := openStore(t)
	dir := workspace(t, st)
	lay(t, dir, map[string]string{"o": ""})
	const size = 64 << 20
	must(t, os.Truncate(filepath.Join(dir, "o"), size))
	a, err := capture(t, st, dir, "o")
	must(t, err)
	if a.Size != size || a.Digest != store.Sum(make([]byte, size)) {
		t.Errorf("captured %v", a)
	}
}

// Holes cost a stage nothing to make, so they are counted over all of an output.
func TestCaptureRefusesHoles(t *testing.T) {
	st := openStore(t)
	for _, tt := range []struct {
		name string
		size int64
		data int64 // where a byte stands, -1 for nowhere
		many int
	}{
		{"one file", 1 << 40, -1, 1},
		{"one file that ends in data", 1 << 40, 1<<40 - 1, 1},
		{"one file that begins with data", maxHoles + 1<<20, 0, 1},
		{"many files", maxHoles / 2, -1, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := workspace(t, st)
			must(t, os.Mkdir(filepath.Join(dir, "o"), 0o755))
			for n := range tt.many {
				f, err := os.Create(filepath.Join(dir, "o", strconv.Itoa(n)))
				must(t, err)
				if tt.data >= 0 {
					_, err = f.WriteAt([]byte("x"), tt.data)
				}
				must(t, errors.Join(err, f.Truncate(tt.size), f.Close()))
			}
			if tt.many > 1 { // what is allowed would take long to hash
				c := &capturer{ctx: t.Context()}
				c.hollow.Add(maxHoles - tt.size + 1)
				f, err := os.Open(filepath.Join(dir, "o", "0"))
				must(t, err)
				var stat unix.Stat_t
				must(t, unix.Fstat(int(f.Fd()), &stat))
				if err := errors.Join(c.holes(f, &stat), f.Close()); err == nil || !strings.Contains(err.Error(), "more than 16 GiB of holes") {
					t.Errorf("got %v", err)
				}
				return
			}
			if a, err := capture(t, st, dir, "o"); err == nil || !strings.Contains(err.Error(), "more than 16 GiB of holes") {
				t.Errorf("captured %v, %v", a, err)
			}
		})
	}
}

// What nobody may read is still captured by its owner.
func TestCaptureOfUnreadable(t *testing.T) {
	st := openStore(t)
	dir := workspace(t, st)
	lay(t, dir, map[string]string{"o/s/f": "x"})
	for _, p := range []string{"o/s/f", "o/s", "o", "."} {
		must(t, os.Chmod(filepath.Join(dir, p), 0))
	}
	a, err := capture(t, st, dir, "o")
	must(t, err)
	if a.Files != 1 || a.Size != 1 {
		t.Errorf("captured %v", a)
	}
}

func TestFailedCaptureLeavesNothing(t *testing.T) {
	st := openStore(t)
	dir := workspace(t, st)
	lay(t, dir, map[string]string{"o/a": large("a"), "o/l": "-> /etc"})
	if _, err := capture(t, st, dir, "o"); err == nil {
		t.Fatal("captured")
	}
	must(t, os.RemoveAll(dir))
	left, err := os.ReadDir(filepath.Join(st.Dir(), "tmp"))
	if err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
