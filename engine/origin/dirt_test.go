package origin

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"plumb/store"
)

// Every state that a reader of the files can tell from the others has a digest of its own.
func TestEveryDirtHasItsDigest(t *testing.T) {
	root, run := repository(t)
	other, _ := repository(t)
	dir := filepath.Join(root, "project")
	at := func(name string) string { return filepath.Join(dir, name) }
	must := func(errs ...error) {
		t.Helper()
		for _, err := range errs {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	write(t, dir, "b", "b\n")
	write(t, dir, ".gitignore", "ignored\n")
	run("add", ".")
	run("commit", "-q", "-m", "second")
	seen := map[store.Digest]string{}
	for _, c := range []struct {
		name string
		do   func()
	}{
		{"another text", func() { write(t, dir, "a", "2\n") }},
		{"an executable", func() { must(os.Chmod(at("a"), 0o755)) }},
		{"a file that is gone", func() { must(os.Remove(at("a"))) }},
		{"a link", func() { must(os.Symlink("b", at("a"))) }},
		{"a link to another", func() { must(os.Remove(at("a")), os.Symlink("c", at("a"))) }},
		{"a directory", func() { must(os.Remove(at("a"))); write(t, dir, "a/b", "x") }},
		{"a renamed file", func() { must(os.Rename(at("b"), at("b2"))) }},
		{"a name with a line break and a quote", func() { write(t, dir, "x\"\ny", "x") }},
		{"an empty file among untracked", func() { write(t, dir, "new/a", "") }},
		{"two of them", func() { write(t, dir, "new/b", "") }},
		{"a repository in it", func() { must(os.CopyFS(at("nested"), os.DirFS(other))) }},
		{"another content in that one", func() { write(t, at("nested"), "project/a", "changed") }},
		{"a change in one that the commit has", func() {
			run("add", "-A")
			run("commit", "-q", "-m", "third")
			write(t, at("nested"), "project/a", "3")
		}},
		{"another one", func() { write(t, at("nested"), "project/a", "4") }},
	} {
		c.do()
		g := Git(t.Context(), dir, nil)
		if !g.Checked || !g.Dirty || g.Diff.IsZero() || g.Cut != "" {
			t.Fatalf("%s: %+v", c.name, g)
		}
		if other, ok := seen[g.Diff]; ok {
			t.Errorf("%s is %s", c.name, other)
		}
		seen[g.Diff] = c.name
		write(t, dir, "ignored", c.name) // is no part of it
		if again := Git(t.Context(), dir, nil); again.Diff != g.Diff {
			t.Errorf("%s: another digest at the second look", c.name)
		}
	}
}

// What is not looked at has no digest, and says why.
func TestDirtIsBounded(t *testing.T) {
	root, _ := repository(t)
	dir := filepath.Join(root, "project")
	lines := []string{"1 .M N... 100644 100644 100644 " + strings.Repeat("1", 40) + " " + strings.Repeat("1", 40) + " project/a", "? project/new/"}
	write(t, dir, "a", strings.Repeat("a", 2<<20))
	write(t, dir, "new/1", "")
	write(t, dir, "new/2", "")
	ended, end := context.WithCancel(t.Context())
	end()
	for name, c := range map[string]struct {
		ctx   context.Context
		bound bounds
		says  string
	}{
		"all":        {t.Context(), bounds{3, 2 << 20}, ""},
		"files":      {t.Context(), bounds{2, 2 << 20}, "more than 2 files differ"},
		"bytes":      {t.Context(), bounds{3, 1 << 20}, "more than 1 MiB differ"},
		"time":       {ended, bounds{3, 2 << 20}, "not all of it was looked at in 10s"},
		"every byte": {t.Context(), bounds{3, 2<<20 - 1}, "more than 1 MiB differ"},
	} {
		d, cut := c.bound.diffOf(c.ctx, look{dir: dir}, lines)
		if cut != c.says || d.IsZero() != (cut != "") {
			t.Errorf("%s: %v, %q", name, d, cut)
		}
	}
}

// A large file is read piece by piece, and one beyond the bound is not.
func TestLargeDirt(t *testing.T) {
	root, _ := repository(t)
	dir := filepath.Join(root, "project")
	look := func(size int64) *store.Git {
		t.Helper()
		if err := os.Truncate(filepath.Join(dir, "a"), size); err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		begin := time.Now()
		g := Git(t.Context(), dir, nil)
		runtime.ReadMemStats(&after)
		t.Logf("%d MiB: %v, %d KiB", size>>20, time.Since(begin), (after.TotalAlloc-before.TotalAlloc)>>10)
		if got := after.TotalAlloc - before.TotalAlloc; got > 8<<20 {
			t.Errorf("it takes %d bytes of memory", got)
		}
		return g
	}
	if g := look(150 << 20); g.Diff.IsZero() || g.Cut != "" {
		t.Errorf("150 MiB: %+v", g)
	}
	if g := look(4 << 30); !g.Dirty || !g.Diff.IsZero() || g.Cut != "more than 256 MiB differ" {
		t.Errorf("4 GiB: %+v", g)
	}
}

// What is remembered of files is not read again, and says the same.
func TestKnownContents(t *testing.T) {
	root, _ := repository(t)
	dir := filepath.Join(root, "project")
	write(t, dir, "large.bin", "untracked")
	read := Git(t.Context(), dir, nil)
	var asked []string
	known := Git(t.Context(), dir, func(_ context.Context, path string) (store.Digest, error) {
		asked = append(asked, filepath.Base(path))
		return store.Sum([]byte("untracked")), nil
	})
	if known.Diff != read.Diff || !slices.Equal(asked, []string{"large.bin"}) {
		t.Errorf("%v, and read %v; asked for %q", known, read, asked)
	}
	if unknown := Git(t.Context(), dir, func(context.Context, string) (store.Digest, error) { return store.Digest{}, errors.New("not known") }); unknown.Diff != read.Diff {
		t.Errorf("%v, and read %v", unknown, read)
	}
	if other := Git(t.Context(), dir, func(context.Context, string) (store.Digest, error) { return store.Sum([]byte("other")), nil }); other.Diff == read.Diff {
		t.Error("what is known makes no difference")
	}
}
