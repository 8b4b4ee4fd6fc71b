package cmd

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"plumb/store/faultfs"
)

// onDisk mounts a new file system of a kind from an image file.
func onDisk(t *testing.T, kind string) (at string) {
	t.Helper()
	if _, err := exec.LookPath("mkfs." + kind); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("no %s can be made: %v", kind, err)
	}
	image := filepath.Join(t.TempDir(), "image")
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(1 << 30); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	quiet := map[string]string{"ext4": "-q", "xfs": "-q", "btrfs": "-q"}[kind]
	if out, err := exec.Command("mkfs."+kind, quiet, image).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.%s: %v: %s", kind, err, out)
	}
	at = t.TempDir()
	if out, err := exec.Command("mount", "-t", kind, "-o", "loop", image, at).CombinedOutput(); err != nil {
		if strings.Contains(string(out), "unknown filesystem type") {
			t.Skipf("the kernel has no %s: %s", kind, out)
		}
		t.Fatalf("mounting %s: %v: %s", kind, err, out)
	}
	t.Cleanup(func() { unmount(t, at) })
	return at
}

func unmount(t *testing.T, at string) {
	t.Helper()
	if err := unix.Unmount(at, 0); err != nil {
		t.Errorf("unmounting %q: %v", at, err)
	}
}

// onOverlay mounts an overlay whose layers lie on tmpfs, as in a container.
func onOverlay(t *testing.T) (at string) {
	t.Helper()
	base := t.TempDir()
	if err := unix.Mount("tmpfs", base, "tmpfs", 0, "size=512m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unmount(t, base) })
	for _, dir := range []string{"lower", "upper", "work", "at"} {
		if err := os.Mkdir(filepath.Join(base, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	at = filepath.Join(base, "at")
	options := "lowerdir=" + base + "/lower,upperdir=" + base + "/upper,workdir=" + base + "/work"
	if err := unix.Mount("overlay", at, "overlay", 0, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unmount(t, at) })
	return at
}

// TestFileSystems has a store on each file system that people have, and real stages:
// a file, a tree that another stage reads, a hit, and what is got of them.
func TestFileSystems(t *testing.T) {
	for _, tt := range []struct {
		name    string
		at      func(t *testing.T) string
		reflink bool
		chroot  bool
	}{
		{"tmpfs", func(t *testing.T) string { _, at := mounted(t, "512m"); return at }, false, false},
		{"overlay", onOverlay, false, true},
		{"ext4", func(t *testing.T) string { return onDisk(t, "ext4") }, false, false},
		{"xfs", func(t *testing.T) string { return onDisk(t, "xfs") }, true, false},
		{"btrfs", func(t *testing.T) string { return onDisk(t, "btrfs") }, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			at := tt.at(t)
			s := makeSite(t)
			s.store = filepath.Join(at, "store")
			dir := s.project("p", `
stage "file" {
  inputs  = ["data.bin"]
  command = "seq 1 400000 > out"
  outputs = { out = "out" }
}
stage "tree" {
  inputs  = [stage.file.out]
  command = "mkdir -p dir/sub; cp out dir/large; seq 1 20 > dir/sub/small; chmod +x dir/sub/small"
  outputs = { dir = "dir/" }
}
stage "sum" {
  inputs  = [stage.tree.dir]
  command = "cat dir/large dir/sub/small | sha256sum > sum"
  outputs = { sum = "sum" }
}
`)
			data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
			if err := os.WriteFile(filepath.Join(dir, "data.bin"), data, 0o644); err != nil {
				t.Fatal(err)
			}
			if tt.chroot { // the kernel makes no containers of what lies there
				r := s.want(exitMachine, dir, "run")
				if !strings.Contains(r.err, "lies on an overlay") || !strings.Contains(r.err, "hint: put the store on a volume") {
					t.Errorf("it does not say what is wrong: %v", r)
				}
				s.env = append(s.env, "PLUMB_ISOLATION=chroot")
			}
			s.want(0, dir, "run")
			s.want(0, "", "agent", "stop")
			s.want(0, dir, "run", "--expect-cached")
			got := filepath.Join(at, "got")
			s.want(0, dir, "get", "file.out", "-o", got)
			s.want(0, dir, "get", "tree.dir", "-o", got+"-tree")
			b, err := os.ReadFile(got)
			if err != nil || bytes.Count(b, []byte("\n")) != 400_000 {
				t.Fatalf("got %d bytes, %v", len(b), err)
			}
			same, err := os.ReadFile(got + "-tree/large")
			if err != nil || !bytes.Equal(b, same) {
				t.Errorf("the tree has %d other bytes, %v", len(same), err)
			}
			if shares := sharesBlocks(t, got); shares != tt.reflink {
				t.Errorf("what was got shares its blocks with the store: %v", shares)
			}
			restored := filepath.Join(at, "restored")
			s.want(0, dir, "restore", "--at", "now", restored)
			if b, err := os.ReadFile(filepath.Join(restored, "data.bin")); err != nil || !bytes.Equal(b, data) {
				t.Errorf("restored were %d bytes, %v", len(b), err)
			}
			if shares := sharesBlocks(t, filepath.Join(restored, "data.bin")); shares != tt.reflink {
				t.Errorf("what was restored shares its blocks with the store: %v", shares)
			}
			s.want(0, dir, "gc")
			s.want(0, "", "agent", "stop")
			s.wantSoundBlobs()
		})
	}
}

// sharesBlocks asks for the extents of a file, whether all are shared.
func sharesBlocks(t *testing.T, path string) bool {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // only read
	const (
		fiemap     = 0xc020660b // FS_IOC_FIEMAP
		extents    = 64
		headSize   = 32
		extentSize = 56
		shared     = 0x2000 // FIEMAP_EXTENT_SHARED
	)
	buf := make([]byte, headSize+extents*extentSize)
	binary.NativeEndian.PutUint64(buf[8:], ^uint64(0)) // the whole file
	binary.NativeEndian.PutUint32(buf[16:], 1)         // FIEMAP_FLAG_SYNC
	binary.NativeEndian.PutUint32(buf[24:], extents)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), fiemap, uintptr(unsafe.Pointer(&buf[0]))); errno != 0 {
		return false // tmpfs and overlay have no extents
	}
	n := binary.NativeEndian.Uint32(buf[20:])
	for i := range n {
		if flags := binary.NativeEndian.Uint32(buf[headSize+i*extentSize+40:]); flags&shared == 0 {
			return false
		}
	}
	return n > 0
}

// TestFileSystemWithoutLocks has one that cannot hold a store, and says so.
func TestFileSystemWithoutLocks(t *testing.T) {
	if _, err := os.Stat("/dev/fuse"); err != nil && os.Getenv("CI") != "true" {
		t.Skipf("no file system can be mounted: %v", err)
	}
	at := t.TempDir()
	f, err := faultfs.Mount(at, faultfs.WithoutLocks)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Unmount(); err != nil {
			t.Error(err)
		}
	})
	s := newSite(t)
	dir := s.project("p", small)
	bad := *s
	bad.store = filepath.Join(at, "store")
	for _, verb := range []string{"run", "gc"} {
		r := bad.want(exitMachine, dir, verb)
		for _, want := range []string{bad.store, "fuse.faultfs", "it gives the same lock twice", "hint: ", "--store", "PLUMB_HOME"} {
			if !strings.Contains(r.err, want) {
				t.Errorf("plumb %s does not say %q: %v", verb, want, r)
			}
		}
	}
	s.want(0, dir, "run")
}
