package hcl

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var (
	digestA = "sha256:" + strings.Repeat("a1", 32)
	digestB = "sha256:" + strings.Repeat("b2", 32)
	digestC = "sha256:" + strings.Repeat("c3", 32)
)

// someLock has every kind of pin, out of order.
func someLock() *Lock {
	return &Lock{
		Images: []LockedImage{
			{Name: "sh", Platform: "linux/amd64", Ref: "busybox:1.36", Manifest: digestA},
			{Name: "py", Platform: "linux/arm64", Ref: "python:3.12", Index: digestB, Manifest: digestC},
			{Name: "py", Platform: "linux/amd64", Ref: "python:3.12", Index: digestB, Manifest: digestA},
			{Name: "arc", Platform: "linux/amd64", Archive: "images/a ${x}.tar", Manifest: digestC},
		},
		Sources: []LockedSource{
			{Name: "wine", URL: "https://data.example/wine.csv", Files: []LockedFile{{"", 11, digestB}}},
			{Name: "model", OCI: "registry.example/m:1", Manifest: digestA, Files: []LockedFile{{"b.bin", 2, digestB}, {"a/x", 1, digestA}}},
		},
	}
}

const someLockText = lockHeader + `version = 2

image "arc" "linux/amd64" { archive = { path = "images/a $${x}.tar", manifest = "C" } }
image "py" "linux/amd64" { registry = { ref = "python:3.12", index = "B", manifest = "A" } }
image "py" "linux/arm64" { registry = { ref = "python:3.12", index = "B", manifest = "C" } }
image "sh" "linux/amd64" { registry = { ref = "busybox:1.36", manifest = "A" } }
source "model" { oci = { ref = "registry.example/m:1", manifest = "A" } }
file "model" "a/x" { blob = { size = 1, sha256 = "A" } }
file "model" "b.bin" { blob = { size = 2, sha256 = "B" } }
source "wine" { url = { url = "https://data.example/wine.csv", size = 11, sha256 = "B" } }
`

// digests writes the digests out.
func digests(text string) string {
	return strings.NewReplacer(`"A"`, `"`+digestA+`"`, `"B"`, `"`+digestB+`"`, `"C"`, `"`+digestC+`"`).Replace(text)
}

func TestLockRoundTrip(t *testing.T) {
	want := digests(someLockText)
	if diff := cmp.Diff(want, string(someLock().Encode())); diff != "" {
		t.Errorf("encoded (-want +got):\n%s", diff)
	}
	dir := t.TempDir()
	if empty, diags := ReadLock(dir, nil); len(diags) > 0 || len(empty.Images) > 0 {
		t.Errorf("a missing lock file is %v: %s", empty, rendered(diags))
	}
	if err := WriteLock(dir, someLock()); err != nil {
		t.Fatal(err)
	}
	back, diags := ReadLock(dir, nil)
	if len(diags) > 0 {
		t.Fatalf("diagnostics:\n%s", rendered(diags))
	}
	if diff := cmp.Diff(want, string(back.Encode())); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
}

func TestLockReadsLinesInAnyOrder(t *testing.T) {
	lines := strings.Split(strings.TrimSpace(digests(someLockText)), "\n")
	mixed := "# a remark\n"
	for i := range lines {
		mixed += lines[len(lines)-1-i] + "\n" // files come before their sources, and the version last
	}
	mixed += lines[4] + "\n" // said twice, as a merge may
	l, diags := decodeLock([]byte(mixed), nil)
	if len(diags) > 0 {
		t.Fatalf("diagnostics:\n%s", rendered(diags))
	}
	if diff := cmp.Diff(digests(someLockText), string(l.Encode())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLockChanges(t *testing.T) {
	l := someLock()
	l.SetImage(LockedImage{Name: "py", Platform: "linux/amd64", Ref: "python:3.13", Manifest: digestB})
	l.SetSource(LockedSource{Name: "new", URL: "https://data.example/n", Files: []LockedFile{{"", 1, digestA}}})
	l.Prune(map[string]bool{"py": true}, map[string]bool{"new": true})
	want := lockHeader + digests(`version = 2

image "py" "linux/amd64" { registry = { ref = "python:3.13", manifest = "B" } }
image "py" "linux/arm64" { registry = { ref = "python:3.12", index = "B", manifest = "C" } }
source "new" { url = { url = "https://data.example/n", size = 1, sha256 = "A" } }
`)
	if diff := cmp.Diff(want, string(l.Encode())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWriteLockLeavesEqualFileAlone(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, LockFile)
	write := func(l *Lock) os.FileInfo {
		t.Helper()
		if err := WriteLock(dir, l); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	before := write(&Lock{})
	if !os.SameFile(before, write(&Lock{})) {
		t.Error("an equal file was replaced")
	}
	if err := os.Chmod(name, 0o664); err != nil {
		t.Fatal(err)
	}
	if mode := write(someLock()).Mode().Perm(); mode != 0o664 {
		t.Errorf("the mode became %o", mode)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("left in the directory: %v, %v", entries, err)
	}
}

func TestLockMistakes(t *testing.T) {
	image := func(name, way string) string { return `image "` + name + `" "linux/amd64" { ` + way + " }\n" }
	good := `registry = { ref = "a:1", manifest = "A" }`
	other := `registry = { ref = "a:1", manifest = "B" }`
	tests := []struct {
		name, text string
		want       []expectation
	}{
		{"merge conflict", "version = 2\n<<<<<<< HEAD\n=======\n>>>>>>> x\n", []expectation{{2, "Merge conflict"}}},
		{"newer format", "version = 3\nfuture = 1\n", []expectation{{1, "Newer lock file"}}},
		{"older format", "version = 1\nimage \"a\" {}\n", []expectation{{1, "Older lock file"}}},
		{"no format", "", []expectation{{0, "Missing version"}}},
		{"bad digest", "version = 2\n" + image("a", `registry = { ref = "a:1", manifest = "md5:1" }`), []expectation{{2, "Bad digest"}}},
		{"no manifest", "version = 2\n" + image("a", `registry = { ref = "a:1" }`), []expectation{{2, "Bad pin"}}},
		{"two pins", "version = 2\n" + image("a", good) + image("a", other), []expectation{{3, "Pinned twice"}}},
		{"no platform", "version = 2\nimage \"a\" { " + good + " }\n", []expectation{{2, "Bad pin"}}},
		{"bad platform", "version = 2\nimage \"a\" \"amd64\" { " + good + " }\n", []expectation{{2, "Bad platform"}}},
		{"nothing said", "version = 2\n" + image("a", ""), []expectation{{2, "Bad pin"}}},
		{"unknown way", "version = 2\n" + image("a", `registri = {}`), []expectation{{2, "Unknown attribute"}}},
		{"unknown field", "version = 2\n" + image("a", `registry = { ref = "a:1", manifest = "A", x = "1" }`), []expectation{{2, "Bad pin"}}},
		{"not a list", "version = 2\n" + image("a", `registry = 3`), []expectation{{2, "Bad pin"}}},
		{"negative size", "version = 2\nsource \"a\" { url = { url = \"https://x/y\", size = -1, sha256 = \"A\" } }\n", []expectation{{2, "Bad pin"}}},
		{"file alone", "version = 2\nfile \"a\" \"x\" { blob = { size = 1, sha256 = \"A\" } }\n", []expectation{{2, "File without its source"}}},
		{"climbing file", "version = 2\nsource \"a\" { oci = { ref = \"r/a:1\", manifest = \"A\" } }\nfile \"a\" \"../x\" { blob = { size = 1, sha256 = \"A\" } }\n", []expectation{{3, "Bad path"}}},
		{"cut off", "version = 2\nimage \"a\" \"linux/amd64\" { registry = { ref = \"a", []expectation{{2, "Unterminated template string"}}},
		{"syntax", "version = \n", []expectation{{1, "Invalid expression"}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			l, diags := decodeLock([]byte(digests(test.text)), nil)
			if l != nil {
				t.Error("a lock came out")
			}
			if diff := cmp.Diff(test.want, found(diags)); diff != "" {
				t.Errorf("diagnostics (-want +got):\n%s%s", diff, rendered(diags))
			}
		})
	}
}

func TestLockPinnedTwiceIsSettledByMoving(t *testing.T) {
	text := digests("version = 2\nimage \"a\" \"linux/amd64\" { registry = { ref = \"a:1\", manifest = \"A\" } }\nimage \"a\" \"linux/amd64\" { registry = { ref = \"a:1\", manifest = \"B\" } }\n")
	l, diags := decodeLock([]byte(text), func(name string) bool { return name == "a" })
	if len(diags) > 0 || len(l.Images) != 1 {
		t.Errorf("%d images; %s", len(l.Images), rendered(diags))
	}
}

func FuzzLock(f *testing.F) {
	f.Add(digests(someLockText))
	f.Add(digests(debianLockText))
	f.Fuzz(func(t *testing.T, text string) {
		l, diags := decodeBothWays(t, text, nil)
		if diags.HasErrors() != (l == nil) {
			t.Fatalf("a lock: %v; errors: %v", l != nil, diags.HasErrors())
		}
		if l == nil {
			return
		}
		again, diags := decodeLock(l.Encode(), nil)
		if again == nil {
			t.Fatalf("what was written is refused: %s\n%s", rendered(diags), l.Encode())
		}
		if diff := cmp.Diff(string(l.Encode()), string(again.Encode())); diff != "" {
			t.Fatal(diff)
		}
		decodeBothWays(t, string(l.Encode()), nil)
		decodeBothWays(t, text, func(string) bool { return true })
	})
}

// gitProject is a git work tree with a lock that git merges as plumb tells it to.
type gitProject struct {
	t   *testing.T
	dir string
}

func newGitProject(t *testing.T, base *Lock) *gitProject {
	g := &gitProject{t, t.TempDir()}
	g.git("init", "-q", "-b", "main")
	if added, err := EnsureMergeAttribute(g.dir); err != nil || !added {
		t.Fatalf("the attribute was not added: %v", err)
	}
	g.commit(base)
	return g
}

func (g *gitProject) git(args ...string) string {
	g.t.Helper()
	out, err := g.try(args...)
	if err != nil {
		g.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return out
}

func (g *gitProject) try(args ...string) (string, error) {
	cmd := exec.Command("git", append([]string{"-C", g.dir, "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (g *gitProject) commit(l *Lock) {
	g.t.Helper()
	if err := WriteLock(g.dir, l); err != nil {
		g.t.Fatal(err)
	}
	g.git("add", "-A")
	g.git("commit", "-q", "-m", "lock")
}

// merge commits each change on a branch of its own and merges the two.
func (g *gitProject) merge(a, b func(*Lock)) (*Lock, Diagnostics) {
	g.t.Helper()
	for i, change := range []func(*Lock){a, b} {
		g.git("checkout", "-q", "-b", []string{"a", "b"}[i], "main")
		l, diags := ReadLock(g.dir, nil)
		if diags.HasErrors() {
			g.t.Fatal(rendered(diags))
		}
		change(l)
		g.commit(l)
	}
	g.git("merge", "-q", "-m", "both", "a")
	return ReadLock(g.dir, nil)
}

func TestBranchesThatEachAddAPinMerge(t *testing.T) {
	image := func(name string) func(*Lock) {
		return func(l *Lock) {
			for _, platform := range []string{"linux/amd64", "linux/arm64"} {
				l.SetImage(LockedImage{Name: name, Platform: platform, Ref: "same:1", Index: digestB, Manifest: digestA})
			}
		}
	}
	source := func(name string) func(*Lock) {
		return func(l *Lock) {
			l.SetSource(LockedSource{Name: name, OCI: "same:1", Manifest: digestA, Files: []LockedFile{{"a", 1, digestA}, {"b", 2, digestB}}})
		}
	}
	tests := []struct {
		name string
		base *Lock
		a, b func(*Lock)
	}{
		{"side by side, at the end", someLock(), image("x"), image("y")},
		{"side by side, the later one first", someLock(), image("y"), image("x")},
		{"at both ends", someLock(), image("a"), image("z")},
		{"into an empty lock", &Lock{}, image("x"), image("y")},
		{"an image and a source", someLock(), image("zz"), source("a")},
		{"two sources with equal files", someLock(), source("p"), source("q")},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g := newGitProject(t, test.base)
			merged, diags := g.merge(test.a, test.b)
			if diags.HasErrors() {
				t.Fatal(rendered(diags))
			}
			want := test.base
			test.a(want)
			test.b(want)
			if diff := cmp.Diff(string(want.Encode()), string(merged.Encode())); diff != "" {
				t.Errorf("merged (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBranchesThatBothMoveAPinAreTold(t *testing.T) {
	move := func(to string) func(*Lock) {
		return func(l *Lock) {
			l.SetImage(LockedImage{Name: "sh", Platform: "linux/amd64", Ref: "busybox:1.36", Manifest: to})
		}
	}
	_, diags := newGitProject(t, someLock()).merge(move(digestB), move(digestC))
	if len(diags) != 1 || diags[0].Summary != "Pinned twice" || !strings.Contains(diags[0].Hint, "plumb lock --update sh") {
		t.Errorf("diagnostics:\n%s", rendered(diags))
	}
}

func TestMergeAttribute(t *testing.T) {
	outside := t.TempDir()
	if added, err := EnsureMergeAttribute(outside); added || err != nil {
		t.Errorf("outside of git: %v, %v", added, err)
	}
	dir := filepath.Join(t.TempDir(), "sub")
	for _, d := range []string{dir, filepath.Join(dir, "..", ".git")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	name := filepath.Join(dir, ".gitattributes")
	if err := os.WriteFile(name, []byte("*.bin binary"), 0o644); err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, false} {
		if added, err := EnsureMergeAttribute(dir); added != want || err != nil {
			t.Errorf("call %d: %v, %v", i, added, err)
		}
	}
	if b, err := os.ReadFile(name); string(b) != "*.bin binary\nplumb.lock.hcl merge=union\n" {
		t.Errorf("%q, %v", b, err)
	}
}
