package tree

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"plumb/store"
)

// listing says of every path below top what it is: mode, and content or target.
func listing(t testing.TB, top string) map[string]string {
	t.Helper()
	out := map[string]string{}
	must(t, filepath.WalkDir(top, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(top, p)
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		var content string
		switch {
		case fi.Mode().IsRegular():
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			content = string(b)
		case fi.Mode()&fs.ModeSymlink != 0:
			content, err = os.Readlink(p)
		}
		out[rel] = fi.Mode().String() + " " + content
		return err
	}))
	return out
}

// ingested lays files and takes them into the store.
func ingested(t testing.TB, st *store.Store, files map[string]string, rel string) store.Artifact {
	t.Helper()
	root := t.TempDir()
	lay(t, root, files)
	sc, err := NewScanner(st, root)
	must(t, err)
	a, err := sc.Ingest(context.Background(), rel)
	must(t, err)
	return a
}

func TestPlace(t *testing.T) {
	st := openStore(t)
	tree := ingested(t, st, map[string]string{"d/a": "a", "d/s/b*": large("b"), "d/n/": "", "d/l": "-> s/b"}, "d")
	small := ingested(t, st, map[string]string{"f": "small"}, "f")
	exec := ingested(t, st, map[string]string{"f*": "script"}, "f")
	big := ingested(t, st, map[string]string{"f": large("big")}, "f")
	for _, tt := range []struct {
		name  string
		items []Item
		want  map[string]string
	}{
		{"one tree", []Item{{"", tree}}, map[string]string{
			".": "dr-xr-xr-x ", "a": "-r--r--r-- a", "s": "dr-xr-xr-x ", "s/b": "-r-xr-xr-x " + large("b"), "n": "dr-xr-xr-x ", "l": "Lrwxrwxrwx s/b",
		}},
		{"files and a tree", []Item{{"x/y/tree", tree}, {"x/f", small}, {"e", exec}, {"x/big", big}}, map[string]string{
			".": "dr-xr-xr-x ", "e": "-r-xr-xr-x script", "x": "dr-xr-xr-x ", "x/f": "-r--r--r-- small", "x/big": "-r--r--r-- " + large("big"), "x/y": "dr-xr-xr-x ",
			"x/y/tree": "dr-xr-xr-x ", "x/y/tree/a": "-r--r--r-- a", "x/y/tree/s": "dr-xr-xr-x ", "x/y/tree/s/b": "-r-xr-xr-x " + large("b"), "x/y/tree/n": "dr-xr-xr-x ", "x/y/tree/l": "Lrwxrwxrwx s/b",
		}},
		{"nothing", nil, map[string]string{".": "dr-xr-xr-x "}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, release, err := Place(context.Background(), st, tt.items)
			must(t, err)
			defer release()
			if diff := cmp.Diff(tt.want, listing(t, dir)); diff != "" {
				t.Error(diff)
			}
			must(t, filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
				if err != nil {
					return err
				}
				if fi, err := os.Stat(p); err != nil || !fi.ModTime().Equal(store.ContentTime()) {
					t.Errorf("%q has the time %v, %v", p, fi.ModTime(), err)
				}
				return nil
			}))
			again, release2, err := Place(context.Background(), st, tt.items)
			must(t, err)
			release2()
			if again != dir {
				t.Errorf("made twice: %q and %q", dir, again)
			}
		})
	}
}

func TestPlaceLinksLargeFiles(t *testing.T) {
	st := openStore(t)
	tree := ingested(t, st, map[string]string{"d/big": large("big")}, "d")
	dir, release, err := PlaceArtifact(context.Background(), st, tree)
	must(t, err)
	defer release()
	var links unix.Stat_t
	must(t, unix.Lstat(filepath.Join(dir, "big"), &links))
	if links.Nlink != 2 {
		t.Errorf("%d links", links.Nlink)
	}
}

func TestPlaceArtifactOfFiles(t *testing.T) {
	st := openStore(t)
	for name, content := range map[string]string{"small": "x", "small*": "y", "large": large("x"), "large*": large("y")} {
		a := ingested(t, st, map[string]string{name: content}, strings.TrimSuffix(name, "*"))
		at, release, err := PlaceArtifact(context.Background(), st, a)
		must(t, err)
		defer release()
		want := map[string]string{".": "-r--r--r-- " + content}
		if a.Exec {
			want = map[string]string{".": "-r-xr-xr-x " + content}
		}
		if diff := cmp.Diff(want, listing(t, at)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// Other users can reach what is placed.
func TestPlacedIsReachable(t *testing.T) {
	st := openStore(t)
	dir, release, err := PlaceArtifact(context.Background(), st, ingested(t, st, map[string]string{"d/f": "x"}, "d"))
	must(t, err)
	defer release()
	for d := dir; len(d) >= len(st.Dir()); d = filepath.Dir(d) {
		if fi, err := os.Stat(d); err != nil || fi.Mode()&0o001 == 0 {
			t.Errorf("%q: %v, %v", d, fi.Mode(), err)
		}
	}
}

func TestPlaceConcurrently(t *testing.T) {
	st := openStore(t)
	tree := ingested(t, st, map[string]string{"d/a": "a", "d/b": large("b")}, "d")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			dir, release, err := PlaceArtifact(context.Background(), st, tree)
			if err != nil {
				t.Error(err)
				return
			}
			defer release()
			if got := len(listing(t, dir)); got != 3 {
				t.Errorf("%d paths", got)
			}
		})
	}
	wg.Wait()
}

func TestPlaceOfWhatIsLost(t *testing.T) {
	st := openStore(t)
	lost := store.Artifact{Kind: store.KindFile, Digest: store.Digest{1}, Size: 1 << 20}
	if _, _, err := PlaceArtifact(context.Background(), st, lost); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a file: %v", err)
	}
	if _, _, err := Place(context.Background(), st, []Item{{"a/b", lost}}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("in a directory: %v", err)
	}
	if _, _, err := Place(context.Background(), st, []Item{{"../b", lost}}); err == nil {
		t.Error("a path that leaves is accepted")
	}
	left, err := os.ReadDir(filepath.Join(st.Dir(), "tmp"))
	if err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestMaterialise(t *testing.T) {
	st := openStore(t)
	oldMask := unix.Umask(0o022)
	defer unix.Umask(oldMask)
	tree := ingested(t, st, map[string]string{"d/a": "a", "d/s/b*": large("b"), "d/n/": "", "d/l": "-> s/b"}, "d")
	treeWant := map[string]string{
		".": "drwxr-xr-x ", "a": "-rw-r--r-- a", "s": "drwxr-xr-x ", "s/b": "-rwxr-xr-x " + large("b"), "n": "drwxr-xr-x ", "l": "Lrwxrwxrwx s/b",
	}
	small := ingested(t, st, map[string]string{"f": "small"}, "f")
	exec := ingested(t, st, map[string]string{"f*": large("x")}, "f")
	for _, tt := range []struct {
		name   string
		a      store.Artifact
		before map[string]string
		want   map[string]string
	}{
		{"tree", tree, nil, treeWant},
		{"tree over a tree", tree, map[string]string{"o/old/x": "x"}, treeWant},
		{"tree over a file", tree, map[string]string{"o": "x"}, treeWant},
		{"small file", small, nil, map[string]string{".": "-rw-r--r-- small"}},
		{"file over a file", small, map[string]string{"o*": "old"}, map[string]string{".": "-rw-r--r-- small"}},
		{"file over a tree", small, map[string]string{"o/x": "x"}, map[string]string{".": "-rw-r--r-- small"}},
		{"file over a symlink", small, map[string]string{"o": "-> elsewhere"}, map[string]string{".": "-rw-r--r-- small"}},
		{"executable", exec, nil, map[string]string{".": "-rwxr-xr-x " + large("x")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			lay(t, dir, tt.before)
			dest := filepath.Join(dir, "o")
			if same, err := Same(context.Background(), st, tt.a, dest); same || err != nil {
				t.Errorf("the same before: %v, %v", same, err)
			}
			must(t, Materialise(context.Background(), st, tt.a, dest, MaterialiseOptions{}))
			if diff := cmp.Diff(tt.want, listing(t, dest)); diff != "" {
				t.Error(diff)
			}
			if same, err := Same(context.Background(), st, tt.a, dest); !same || err != nil {
				t.Errorf("the same after: %v, %v", same, err)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
				t.Errorf("beside it: %v, %v", left, err)
			}
		})
	}
}

func TestSameSeesDifferences(t *testing.T) {
	st := openStore(t)
	tree := ingested(t, st, map[string]string{"d/a": "a", "d/x*": "x", "d/l": "-> a"}, "d")
	for name, change := range map[string]func(dir string) error{
		"content":    func(d string) error { return os.WriteFile(d+"/a", []byte("b"), 0o644) },
		"mode":       func(d string) error { return os.Chmod(d+"/a", 0o755) },
		"more":       func(d string) error { return os.Mkdir(d+"/new", 0o755) },
		"less":       func(d string) error { return os.Remove(d + "/x") },
		"other link": func(d string) error { return errors.Join(os.Remove(d+"/l"), os.Symlink("/etc", d+"/l")) },
		"a FIFO":     func(d string) error { return unix.Mkfifo(d+"/p", 0o600) },
	} {
		dest := filepath.Join(t.TempDir(), "o")
		must(t, Materialise(context.Background(), st, tree, dest, MaterialiseOptions{}))
		must(t, change(dest))
		if same, err := Same(context.Background(), st, tree, dest); same || err != nil {
			t.Errorf("%s: %v, %v", name, same, err)
		}
	}
}

// A link to the blob is asked for, and is there unless the file system can clone.
func TestMaterialiseLinks(t *testing.T) {
	st := openStore(t)
	a := ingested(t, st, map[string]string{"f": large("f")}, "f")
	dest := filepath.Join(st.Dir(), "beside")
	must(t, Materialise(context.Background(), st, a, dest, MaterialiseOptions{ReadOnlyLinks: true}))
	var info unix.Stat_t
	must(t, unix.Lstat(dest, &info))
	if info.Nlink == 2 && info.Mode&0o777 != 0o444 || info.Nlink == 1 && info.Mode&0o200 == 0 {
		t.Errorf("%d links, mode %o", info.Nlink, info.Mode)
	}
	if same, err := Same(context.Background(), st, a, dest); !same || err != nil {
		t.Errorf("not the same: %v", err)
	}
}

func TestIdentify(t *testing.T) {
	st := openStore(t)
	for name, a := range map[string]store.Artifact{
		"small file":       ingested(t, st, map[string]string{"f": "x"}, "f"),
		"large file":       ingested(t, st, map[string]string{"f": large("x")}, "f"),
		"large executable": ingested(t, st, map[string]string{"f*": large("y")}, "f"),
		"tree":             ingested(t, st, map[string]string{"d/f": "x", "d/g": large("g")}, "d"),
	} {
		got, ok := Identify(st, a.Digest)
		if diff := cmp.Diff(a, got); !ok || diff != "" {
			t.Errorf("%s: %v %s", name, ok, diff)
		}
	}
	if a, ok := Identify(st, store.Digest{1}); ok {
		t.Errorf("what is not there is %v", a)
	}
}
