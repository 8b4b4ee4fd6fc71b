package cmd

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"plumb/engine/apt"
)

// TestLikeMmdebstrap holds an image that plumb makes of packages against the system
// that mmdebstrap makes of the same, which runs apt and dpkg for all of it: the same
// paths, kinds, modes, owners, sizes and link targets, but for what either leaves out.
func TestLikeMmdebstrap(t *testing.T) {
	if all, err := apt.MachineSources("/"); err != nil || len(apt.ForSuite(all, "bookworm")) == 0 {
		t.Skip("this machine has no apt sources for bookworm")
	}
	if _, err := exec.LookPath("mmdebstrap"); err != nil || os.Geteuid() != 0 {
		t.Skip("mmdebstrap is not installed, or this is not root")
	}
	const pkg = "python3-minimal"
	s := newSite(t)
	s.limit = 5 * time.Minute
	other := filepath.Join(s.root, "mmdebstrap.tar")
	made := exec.Command("mmdebstrap", "--variant=essential", "--include="+pkg, "bookworm", other)
	output, err := made.CombinedOutput()
	if err != nil {
		t.Fatalf("mmdebstrap: %v\n%s", err, output)
	}
	want, err := treeOfTar(other)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(s.root, "project")
	text := `image "deb" {
  debian {
    suite    = "bookworm"
    packages = ["` + pkg + `"]
  }
}
stage "list" {
  image   = image.deb
  command = "find / -xdev -printf '%y %m %U %G %s %p -> %l\\n' > list"
  outputs = { list = "list" }
}
`
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "plumb.hcl"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	s.want(0, dir, "run")
	s.want(0, dir, "get", "list.list", "-o", "got")
	got, err := treeOfList(filepath.Join(dir, "got"))
	if err != nil {
		t.Fatal(err)
	}
	if len(got) < 5000 {
		t.Errorf("the image has %d paths", len(got))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("mmdebstrap (-) and plumb (+):\n%s", diff)
	}
}

// apart are the paths that are not compared: what a container has of its own, what
// mmdebstrap takes over from this machine or is of apt's running, and what plumb leaves
// out because it differs from run to run.
var apart = regexp.MustCompile(`^/((proc|sys|dev|tmp|run|workspace|home|var/cache/apt|var/lib/apt|var/log)(/.*)?|etc/(hosts|hostname|resolv\.conf|fstab|apt/.*)|` +
	`var/cache/debconf/.*|var/lib/dpkg/(arch|available|lock.*|status.*|diversions.*|triggers/Lock)|var/lib/dpkg|etc/\.pwd\.lock)$`)

func treeOfTar(name string) (map[string]string, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	all := map[string]string{}
	sizes := map[string]int64{}
	r := tar.NewReader(bufio.NewReaderSize(f, 1<<20))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		path := strings.TrimSuffix(strings.TrimPrefix(h.Name, "."), "/")
		switch h.Typeflag {
		case tar.TypeDir:
			add(all, path, "d", h.Mode, h.Uid, h.Gid, 0, "")
		case tar.TypeSymlink:
			add(all, path, "l", 0o777, h.Uid, h.Gid, 0, h.Linkname)
		case tar.TypeLink:
			add(all, path, "f", h.Mode, h.Uid, h.Gid, sizes[strings.TrimPrefix(h.Linkname, ".")], "")
		case tar.TypeReg:
			sizes[path] = h.Size
			add(all, path, "f", h.Mode, h.Uid, h.Gid, h.Size, "")
		}
	}
}

func treeOfList(name string) (map[string]string, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	for line := range strings.Lines(string(b)) {
		head, target, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " -> ")
		words := strings.SplitN(head, " ", 6)
		if len(words) != 6 {
			return nil, fmt.Errorf("find printed %q", line)
		}
		var mode, size int64
		var uid, gid int
		if _, err := fmt.Sscanf(strings.Join(words[1:5], " "), "%o %d %d %d", &mode, &uid, &gid, &size); err != nil {
			return nil, fmt.Errorf("find printed %q: %w", line, err)
		}
		if words[0] != "f" {
			size = 0
		}
		add(all, strings.TrimSuffix(words[5], "/"), words[0], mode, uid, gid, size, target)
	}
	return all, nil
}

func add(all map[string]string, path, kind string, mode int64, uid, gid int, size int64, target string) {
	if path != "" && !apart.MatchString(path) {
		all[path] = fmt.Sprintf("%s %o %d:%d %d %s", kind, mode, uid, gid, size, target)
	}
}
