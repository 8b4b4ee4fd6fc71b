package containerd_test

import (
	"archive/tar"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"plumb/engine/runtime/containerd"
)

// What runtimetest's image has no tools to make.
func TestChangesOddities(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(upper, view string) error
		want string // of the entries, or of the error
	}{
		{"fifo", func(upper, _ string) error { return unix.Mkfifo(upper+"/f", 0o644) }, "6 f"},
		{"socket", func(upper, _ string) error { return socket(upper + "/s") }, ""},
		{"socket over a file", func(upper, view string) error {
			if err := os.WriteFile(view+"/s", nil, 0o644); err != nil {
				return err
			}
			return socket(upper + "/s")
		}, "0 .wh.s"},
		{"whiteout of nothing", func(upper, _ string) error { return unix.Mknod(upper+"/w", unix.S_IFCHR, 0) }, ""},
		{"whiteouts that are one file", func(upper, view string) error {
			if err := os.WriteFile(view+"/v", nil, 0o644); err != nil {
				return err
			}
			if err := unix.Mknod(upper+"/v", unix.S_IFCHR, 0); err != nil {
				return err
			}
			return os.Link(upper+"/v", upper+"/w")
		}, "0 .wh.v"},
		{"link of links", func(upper, _ string) error {
			if err := os.Symlink("nowhere", upper+"/b"); err != nil {
				return err
			}
			return os.Link(upper+"/b", upper+"/a")
		}, "2 a nowhere, 1 b a"},
		{"root directory", func(upper, _ string) error { return os.Chmod(upper, 0o700) }, "5 ./"},
		{"directory over a link", func(upper, view string) error {
			if err := os.Symlink("/etc", view+"/d"); err != nil {
				return err
			}
			if err := os.Mkdir(upper+"/d", 0o755); err != nil {
				return err
			}
			return copyFile("/etc/passwd", upper+"/d/passwd")
		}, "5 d/, 0 d/passwd"},
		{"owner", func(upper, _ string) error { return os.Mkdir(upper+"/d", 0o755) }, "5 d/"},
		{"owner out of range", func(upper, _ string) error {
			if err := os.Mkdir(upper+"/d", 0o755); err != nil {
				return err
			}
			return os.Chown(upper+"/d", 10, 0)
		}, `"d" belongs to 10, which is no id of a container`},
		{"device", func(upper, _ string) error { return unix.Mknod(upper+"/n", unix.S_IFCHR, int(unix.Mkdev(1, 3))) }, `"n" is a device`},
		{"name of a whiteout", func(upper, _ string) error { return os.WriteFile(upper+"/.wh.x", nil, 0o644) }, `a layer cannot have the name ".wh.x"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			upper, view := t.TempDir(), t.TempDir()
			if err := c.make(upper, view); err != nil {
				t.Fatal(err)
			}
			var got []string
			err := containerd.ChangesForTest(t.Context(), upper, view, 0, 10, func(h *tar.Header, _ io.Reader) error {
				got = append(got, strings.TrimSpace(fmt.Sprintf("%c %s %s", h.Typeflag, h.Name, h.Linkname)))
				return nil
			})
			if err != nil {
				got = []string{err.Error()}
			}
			if diff := cmp.Diff(c.want, strings.Join(got, ", ")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// socket leaves the file of one: its name may be too long for an address.
func socket(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path))})
	if err != nil {
		return err
	}
	l.SetUnlinkOnClose(false)
	return l.Close()
}
