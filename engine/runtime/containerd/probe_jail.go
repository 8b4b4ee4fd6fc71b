package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ProbeJail is Probe for stages without containers (Options.Chroot).
func ProbeJail(ctx context.Context, root string) []Finding {
	root = existing(root)
	findings := inspect(ctx, []probe{
		{"root", "run plumb as root", probeRoot},
		{"chroot", "give the container the capability SYS_CHROOT, which docker run gives unless it is told not to", func() (string, error) {
			return "the root directory can be changed", mayChroot()
		}},
		{"devices", "give the container the capability MKNOD, which docker run gives unless it is told not to, and keep the store on a file system that was not mounted with nodev", func() (string, error) { return probeMknod(root) }},
		{"seccomp", "use a kernel with CONFIG_SECCOMP_FILTER", probeSeccomp},
		{"free space", "make room, or move the store with --store", func() (string, error) { return probeSpace(root) }},
	})
	j := &jail{}
	if err := j.look(); err != nil {
		return append(findings, findingOf("isolation", "", err))
	}
	f := Finding{Name: "isolation", OK: true, Detail: j.wants}
	f.Remedy = "where containers can be made leave --isolation chroot out"
	return append(findings, f, Finding{Name: "copies", OK: true, Detail: probeClone(root)})
}

func probeMknod(root string) (_ string, err error) {
	dir, err := os.MkdirTemp(root, ".plumb-probe-")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	null := filepath.Join(dir, "null")
	if err := makeDevice(null, unix.Mkdev(1, 3)); err != nil {
		return "", fmt.Errorf("making a device: %w", err)
	}
	if err := os.WriteFile(null, []byte("x"), 0); err != nil {
		return "", fmt.Errorf("using a device: %w", err)
	}
	return "stages get /dev/null and the like", nil
}

// probeClone says what a copy of an image costs.
func probeClone(root string) string {
	shared := func() error {
		dir, err := os.MkdirTemp(root, ".plumb-probe-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		if err := os.WriteFile(filepath.Join(dir, "a"), []byte(strings.Repeat("x", 1<<16)), 0o600); err != nil {
			return err
		}
		a, err := os.Open(filepath.Join(dir, "a"))
		if err != nil {
			return err
		}
		defer a.Close()
		b, err := os.Create(filepath.Join(dir, "b"))
		if err != nil {
			return err
		}
		defer b.Close()
		return unix.IoctlFileClone(int(b.Fd()), int(a.Fd()))
	}
	if shared() == nil {
		return "the disk shares blocks: a stage's copy of its image costs no bytes"
	}
	return "the disk shares no blocks: each stage copies its image (xfs and btrfs share them)"
}
