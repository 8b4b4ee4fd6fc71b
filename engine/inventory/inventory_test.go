package inventory

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// tree makes files; a name that ends in a slash is a directory, text that begins
// with "->" a link.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		full := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		target, link := strings.CutPrefix(text, "->")
		switch {
		case link:
			err = os.Symlink(target, full)
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(full, 0o755)
		default:
			err = os.WriteFile(full, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

const status = `Package: libc6
Status: install ok installed
Architecture: amd64
Source: glibc
Version: 2.36-9
Depends: a,
 b
Description: the C library
 more of it

Package: gone
Status: deinstall ok config-files
Version: 1

Package: libstdc++6
Status: install ok unpacked
Architecture: amd64
Source: gcc-12 (12.2.0-14)
Version: 12.2.0-15
`

func TestPackages(t *testing.T) {
	root := tree(t, map[string]string{
		"var/lib/dpkg/status":                                                 status,
		"var/lib/dpkg/status.d/base":                                          "Package: base-files\nVersion: 12\nArchitecture: all\n",
		"var/lib/dpkg/status.d/base.md5sums":                                  "0 x\n",
		"usr/lib/python3/dist-packages/numpy-1.24.egg-info/PKG-INFO":          "Metadata-Version: 2.1\nName: numpy\nVersion: 1.24\n\nVersion: of the text\n",
		"usr/lib/python3/dist-packages/six.egg-info":                          "Name: six\nVersion: 1.16\n",
		"opt/conda/lib/python3.12/site-packages/torch-2.5.dist-info/METADATA": "Name: torch\nVersion: 2.5\n",
		"usr/lib/python3/dist-packages/broken.dist-info/METADATA":             "no metadata",
		"usr/lib/python3/dist-packages/empty.dist-info/":                      "",
		"usr/local/lib/python3.12/site-packages/leaves.dist-info/METADATA":    "->/etc/passwd",
		"usr/local/lib/python3.12/site-packages/loop.dist-info/METADATA":      "->METADATA",
		"usr/local/lib/python3.12/site-packages/up.dist-info":                 "->../../../../../../../../../etc",
	})
	got, err := Packages(root)
	if err != nil {
		t.Fatal(err)
	}
	want := []Package{
		{Type: "deb", Name: "base-files", Version: "12", Architecture: "all", Source: "base-files 12"},
		{Type: "deb", Name: "libc6", Version: "2.36-9", Architecture: "amd64", Source: "glibc 2.36-9"},
		{Type: "deb", Name: "libstdc++6", Version: "12.2.0-15", Architecture: "amd64", Source: "gcc-12 12.2.0-14"},
		{Type: "python", Name: "numpy", Version: "1.24", Location: "usr/lib/python3/dist-packages/numpy-1.24.egg-info"},
		{Type: "python", Name: "six", Version: "1.16", Location: "usr/lib/python3/dist-packages/six.egg-info"},
		{Type: "python", Name: "torch", Version: "2.5", Location: "opt/conda/lib/python3.12/site-packages/torch-2.5.dist-info"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestHostilePackages(t *testing.T) {
	fifo := tree(t, map[string]string{"var/lib/dpkg/": ""})
	if err := unix.Mkfifo(filepath.Join(fifo, "var/lib/dpkg/status"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, root := range map[string]string{
		"empty":           t.TempDir(),
		"a fifo":          fifo,
		"a link out":      tree(t, map[string]string{"var/lib/dpkg/status": "->/var/lib/dpkg/status"}),
		"a directory out": tree(t, map[string]string{"var/lib/dpkg": "->/var/lib/dpkg"}),
		"a loop":          tree(t, map[string]string{"var": "->var"}),
		"usr leads out":   tree(t, map[string]string{"usr": "->/usr"}),
	} {
		if got, err := Packages(root); len(got) > 0 || err != nil {
			t.Errorf("%s: %d packages, %v", name, len(got), err)
		}
	}
	long := tree(t, map[string]string{"var/lib/dpkg/status": "Package: a\nVersion: " + strings.Repeat("1", 2<<20) + "\n"})
	if _, err := Packages(long); err == nil {
		t.Error("a line of two megabytes is no error")
	}
}

// The machine's own packages, against dpkg itself.
func TestPackagesOfThisMachine(t *testing.T) {
	out, err := exec.Command("dpkg-query", "-W", "-f", "${db:Status-Status} ${Package} ${Version} ${Architecture}\n").Output()
	if err != nil {
		t.Skipf("no dpkg here: %v", err)
	}
	var want []string
	for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		if rest, ok := strings.CutPrefix(line, "installed "); ok {
			want = append(want, rest)
		}
	}
	all, err := Packages("/")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range all {
		if p.Type == "deb" {
			got = append(got, p.Name+" "+p.Version+" "+p.Architecture)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("dpkg-query (-) and plumb (+):\n%s", diff)
	}
}

func TestCompare(t *testing.T) {
	a := tree(t, map[string]string{"same": "1", "content": "1", "size": "1", "mode": "1", "gone/x": "1", "link": "->a", "kind": "1", "d/inner": "1", "attr": "1"})
	b := tree(t, map[string]string{"same": "1", "content": "2", "size": "22", "mode": "1", "new/y": "1", "link": "->b", "kind": "->x", "d/inner": "1", "d/more": "1", "attr": "1"})
	if err := os.Chmod(filepath.Join(b, "mode"), 0o4755); err != nil {
		t.Fatal(err)
	}
	want := []FileChange{
		{"changed", "attr", "attribute user.x"},
		{"changed", "content", "content"},
		{"added", "d/more", ""},
		{"removed", "gone", ""},
		{"changed", "kind", "file → link"},
		{"changed", "link", "link to a → b"},
		{"changed", "mode", "mode 0644 → 4755"},
		{"added", "new", ""},
		{"changed", "size", "1 → 2 bytes"},
	}
	if err := os.Chmod(filepath.Join(b, "mode"), 0o755|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setxattr(filepath.Join(b, "attr"), "user.x", []byte("1"), 0); err != nil {
		want = want[1:] // a file system without them
	}
	got, err := CompareFiles(t.Context(), a, b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got, err := CompareFiles(t.Context(), a, a); err != nil || len(got) > 0 {
		t.Errorf("with itself: %v, %v", got, err)
	}
}

func TestComparePackages(t *testing.T) {
	a := []Package{{Type: "deb", Name: "x", Version: "1"}, {Type: "deb", Name: "gone", Version: "1"}, {Type: "python", Name: "x", Version: "3"}}
	b := []Package{{Type: "deb", Name: "x", Version: "2"}, {Type: "deb", Name: "new", Version: "1"}, {Type: "python", Name: "x", Version: "3"}}
	want := []PackageChange{{"removed", "deb", "gone", "1", ""}, {"added", "deb", "new", "", "1"}, {"changed", "deb", "x", "1", "2"}}
	if diff := cmp.Diff(want, ComparePackages(a, b)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
