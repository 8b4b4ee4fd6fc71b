package tree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"plumb/store"
)

func openStore(t testing.TB) *store.Store {
	t.Helper()
	s, err := store.Open(filepath.Join(t.TempDir(), "store"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// What is placed is not writable, and has to be deleted.
		err := filepath.WalkDir(filepath.Join(s.Dir(), "placed"), func(p string, d fs.DirEntry, err error) error {
			if err != nil || !d.IsDir() {
				return err
			}
			return os.Chmod(p, 0o700)
		})
		if err = errors.Join(err, s.Close()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// large makes content that lies in a file of its own.
func large(seed string) string { return strings.Repeat(seed+"\n", 1+store.SmallBlob/len(seed)) }

// lay makes files: "dir/" is a directory, "-> x" as content a symlink, a name that
// ends in * is executable.
func lay(t testing.TB, root string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		mode := fs.FileMode(0o644)
		if trimmed := strings.TrimSuffix(name, "*"); trimmed != name {
			name, mode = trimmed, 0o755
		}
		at := filepath.Join(root, name)
		must(t, os.MkdirAll(filepath.Dir(at), 0o755))
		switch target, link := strings.CutPrefix(content, "-> "); {
		case strings.HasSuffix(name, "/"):
			must(t, os.MkdirAll(at, 0o755))
		case link:
			must(t, os.Symlink(target, at))
		default:
			must(t, os.WriteFile(at, []byte(content), mode))
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// settleClock waits until what was written is not racy: a change time cannot be
// set back.
func settleClock() { time.Sleep(2*racy + 5*time.Millisecond) }

func file(path, content string, exec bool) Entry {
	return Entry{Path: path, Kind: KindFile, Exec: exec, Size: int64(len(content)), Digest: store.Sum([]byte(content))}
}

func TestManifestRoundTrip(t *testing.T) {
	entries := []Entry{
		file("a\nb", "x", false), {Path: "d", Kind: KindDir}, file("d/\xff\xfe", "y", true), {Path: "d/e", Kind: KindDir},
		{Path: "d/l", Kind: KindLink, Link: "../a\nb"}, file("d.x", "", false), file("z", strings.Repeat("z", 300), false),
	}
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Path, b.Path) })
	for name, want := range map[string][]Entry{"all kinds": entries, "empty": {}} {
		got, err := Decode(Encode(want))
		must(t, err)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for name, entries := range map[string][]Entry{
		"not sorted":           {file("b", "", false), file("a", "", false)},
		"twice":                {file("a", "", false), file("a", "x", false)},
		"no directory":         {file("a/b", "", false)},
		"file as directory":    {file("a", "", false), file("a/b", "", false)},
		"empty path":           {file("", "", false)},
		"absolute":             {file("/a", "", false)},
		"parent":               {{Path: "..", Kind: KindDir}},
		"dot":                  {{Path: ".", Kind: KindDir}},
		"trailing slash":       {{Path: "a/", Kind: KindDir}},
		"NUL":                  {file("a\x00", "", false)},
		"link to nothing":      {{Path: "a", Kind: KindLink}},
		"unknown kind":         {{Path: "a", Kind: 'q'}},
		"negative size":        {{Path: "a", Kind: KindFile, Size: -1}},
		"parent inside a path": {{Path: "a", Kind: KindDir}, {Path: "a/..", Kind: KindDir}},
	} {
		if got, err := Decode(Encode(entries)); err == nil {
			t.Errorf("%s: decoded to %+v", name, got)
		}
	}
	whole := Encode([]Entry{file("a", "x", false)})
	for n := range whole {
		if got, err := Decode(whole[:n]); err == nil && len(got) > 0 {
			t.Errorf("the first %d bytes are taken for a manifest", n)
		}
	}
	if _, err := Decode(append(whole, 0)); err == nil {
		t.Error("trailing bytes are accepted")
	}
}

func FuzzManifest(f *testing.F) {
	f.Add(Encode([]Entry{file("a", "x", true), {Path: "d", Kind: KindDir}, {Path: "d/l", Kind: KindLink, Link: "x"}}))
	f.Add(Encode(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, err := Decode(b)
		if err != nil {
			return
		}
		if again := Encode(entries); !bytes.Equal(b, again) {
			t.Errorf("two manifests of one tree: %q and %q", b, again)
		}
	})
}

func TestScan(t *testing.T) {
	above := t.TempDir()
	root := filepath.Join(above, "project")
	lay(t, above, map[string]string{"x": "outside"})
	lay(t, root, map[string]string{
		"f": "content", "x*": "script", "empty": "", "big": large("big"), "d/a": "a", "d/s/b": large("b"), "d/none/": "", "d/l": "-> s/b", "d/up": "-> ../f",
		"linked": "-> f", "linkeddir": "-> d", "out": "-> /etc/hostname", "escape": "-> ../x", "dangling": "-> nothing", "bad/l": "-> ../../x", "bad2/l": "-> /etc",
		"d/\xff\n": "odd",
	})
	dir := []Entry{
		file("a", "a", false), {Path: "l", Kind: KindLink, Link: "s/b"}, {Path: "none", Kind: KindDir}, {Path: "s", Kind: KindDir},
		file("s/b", large("b"), false), {Path: "up", Kind: KindLink, Link: "../f"}, file("\xff\n", "odd", false),
	}
	tree := store.Artifact{Kind: store.KindTree, Digest: store.Sum(Encode(dir)), Size: int64(1 + len(large("b")) + 3), Files: 3}
	plain := func(content string) store.Artifact {
		e := file("", content, false)
		return e.Artifact()
	}
	script := plain("script")
	script.Exec = true
	for _, tt := range []struct {
		name, rel string
		want      store.Artifact
		err       string
	}{
		{"file", "f", plain("content"), ""},
		{"executable", "x", script, ""},
		{"empty file", "empty", plain(""), ""},
		{"large file", "big", plain(large("big")), ""},
		{"directory", "d", tree, ""},
		{"directory with slash", "d/", tree, ""},
		{"file in a directory", "d/s/b", plain(large("b")), ""},
		{"symlink", "linked", plain("content"), ""},
		{"symlink to a directory", "linkeddir", tree, ""},
		{"through a symlink", "linkeddir/s/b", plain(large("b")), ""},
		{"missing", "nope", store.Artifact{}, "no such file"},
		{"below a file", "f/x", store.Artifact{}, "not a directory"},
		{"absolute symlink", "out", store.Artifact{}, "leaves the project"},
		{"climbing symlink", "escape", store.Artifact{}, "leaves the project"},
		{"dangling symlink", "dangling", store.Artifact{}, "no such file"},
		{"absolute path", "/etc", store.Artifact{}, "leaves the project"},
		{"climbing path", "../x", store.Artifact{}, "leaves the project"},
		{"climbing symlink inside", "bad", store.Artifact{}, `"l": it is a symlink that leaves the project, to "../../x"`},
		{"absolute symlink inside", "bad2", store.Artifact{}, "leaves the project"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, ingest := range []bool{false, true} {
				st := openStore(t)
				sc, err := NewScanner(st, root)
				must(t, err)
				scan := sc.Scan
				if ingest {
					scan = sc.Ingest
				}
				for range 2 {
					got, err := scan(context.Background(), tt.rel)
					if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
						t.Fatalf("ingest %v: error %v, want %q", ingest, err, tt.err)
					}
					if diff := cmp.Diff(tt.want, got); diff != "" {
						t.Fatalf("ingest %v: %s", ingest, diff)
					}
				}
				if tt.err == "" && (st.Check(tt.want) == nil) != ingest {
					t.Errorf("ingest %v: in the store: %v", ingest, st.Check(tt.want))
				}
			}
		})
	}
	if _, err := (&Scanner{root: root}).Scan(context.Background(), "nope"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing is not told apart: %v", err)
	}
}

func TestScanKnowsWhatChanged(t *testing.T) {
	root := t.TempDir()
	st := openStore(t)
	lay(t, root, map[string]string{"f": "before", "d/f": "before"})
	settleClock()
	sc, err := NewScanner(st, root)
	must(t, err)
	scan := func(sc *Scanner, rel string) store.Digest {
		t.Helper()
		a, err := sc.Ingest(context.Background(), rel)
		must(t, err)
		return a.Digest
	}
	first, tree := scan(sc, "f"), scan(sc, "d")
	if len(sc.cache.files) != 2 {
		t.Fatalf("remembered: %v", sc.cache.files)
	}
	must(t, sc.Save())
	again, err := NewScanner(st, root)
	must(t, err)
	if diff := cmp.Diff(len(sc.cache.files), len(again.cache.files)); diff != "" {
		t.Errorf("after loading: %s", diff)
	}
	if scan(again, "f") != first || scan(again, "d") != tree {
		t.Error("another digest after loading")
	}
	// Same size, and the same time of modification: the change time tells.
	for _, name := range []string{"f", "d/f"} {
		fi, err := os.Stat(filepath.Join(root, name))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(root, name), []byte("behind"), 0o644))
		must(t, os.Chtimes(filepath.Join(root, name), fi.ModTime(), fi.ModTime()))
	}
	if got := scan(again, "f"); got != store.Sum([]byte("behind")) {
		t.Error("the change of a file was not seen")
	}
	if scan(again, "d") == tree {
		t.Error("the change of a file in a directory was not seen")
	}
	must(t, os.Chmod(filepath.Join(root, "f"), 0o755))
	if a, err := again.Scan(context.Background(), "f"); err != nil || !a.Exec {
		t.Errorf("the executable bit was not seen: %v, %v", a, err)
	}
}

// A file that was just written is not remembered: it may be written again within
// one tick of the clock.
func TestRacyFilesAreNotRemembered(t *testing.T) {
	root := t.TempDir()
	lay(t, root, map[string]string{"f": "x"})
	sc, err := NewScanner(openStore(t), root)
	must(t, err)
	for i := range 50 {
		content := fmt.Sprint(i % 10)
		must(t, os.WriteFile(filepath.Join(root, "f"), []byte(content), 0o644))
		a, err := sc.Scan(context.Background(), "f")
		must(t, err)
		if a.Digest != store.Sum([]byte(content)) {
			t.Fatalf("the digest of an earlier content")
		}
	}
	if len(sc.cache.files) != 0 {
		t.Errorf("remembered: %v", sc.cache.files)
	}
}

// What is remembered but lost from the store is put again.
func TestIngestMendsLoss(t *testing.T) {
	root := t.TempDir()
	st := openStore(t)
	lay(t, root, map[string]string{"f": large("f"), "d/f": large("g"), "d/s": "small"})
	settleClock()
	sc, err := NewScanner(st, root)
	must(t, err)
	for range 2 {
		for _, rel := range []string{"f", "d"} {
			a, err := sc.Ingest(context.Background(), rel)
			must(t, err)
			must(t, st.Check(a))
		}
		must(t, os.RemoveAll(filepath.Join(st.Dir(), "blobs", "sha256")))
		must(t, os.Mkdir(filepath.Join(st.Dir(), "blobs", "sha256"), 0o755))
	}
}

func TestSaveWritesOnlyNews(t *testing.T) {
	root := t.TempDir()
	st := openStore(t)
	lay(t, root, map[string]string{"f": "x"})
	settleClock()
	sc, err := NewScanner(st, root)
	must(t, err)
	must(t, sc.Save())
	if _, ok := st.GetCache(sc.name); ok {
		t.Error("nothing was learned and something saved")
	}
	_, err = sc.Scan(context.Background(), "f")
	must(t, errors.Join(err, sc.Save(), st.PutCache(sc.name, []byte("gone")), sc.Save()))
	if b, _ := st.GetCache(sc.name); string(b) != "gone" {
		t.Error("saved again without news")
	}
}

func FuzzStats(f *testing.F) {
	c := statCache{files: map[string]remembered{"a": {stamp{1, 2, 3, 4, 5}, store.Digest{6}, 7}, "b\n": {}}, today: 7}
	f.Add(c.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		files := decodeStats(b)
		for path, r := range files {
			r.day = 0 // an old one would be left out
			files[path] = r
		}
		c := statCache{files: files}
		if diff := cmp.Diff(len(files), len(decodeStats(c.encode()))); diff != "" {
			t.Error(diff)
		}
	})
}
