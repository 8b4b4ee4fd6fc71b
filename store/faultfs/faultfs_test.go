package faultfs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// childDir, when set, makes the test binary a process that works there.
const childDir = "FAULTFS_TEST_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := deeds[os.Getenv("FAULTFS_TEST_DEED")](dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// deeds are what children do.
var deeds = map[string]func(dir string) error{
	"unsynced": func(dir string) error { return os.WriteFile(dir+"/a", []byte("content"), 0o600) },
	"synced file": func(dir string) error {
		return write(dir+"/a", "content", true)
	},
	"synced file and directory": func(dir string) error {
		return errors.Join(write(dir+"/a", "content", true), syncPath(dir))
	},
	"synced, then changed": func(dir string) error {
		return errors.Join(write(dir+"/a", "content", true), syncPath(dir), write(dir+"/a", "CONTE", false), os.Remove(dir+"/a"))
	},
	"renamed over": func(dir string) error {
		return errors.Join(write(dir+"/a", "old", true), syncPath(dir), write(dir+"/b", "new", true), os.Rename(dir+"/b", dir+"/a"))
	},
	"renamed over and synced": func(dir string) error {
		return errors.Join(write(dir+"/a", "old", true), syncPath(dir), write(dir+"/b", "new", true), os.Rename(dir+"/b", dir+"/a"), syncPath(dir))
	},
	"exchanged": func(dir string) error { return exchanged(dir, false) },
	"exchanged and synced": func(dir string) error {
		return exchanged(dir, true)
	},
	"in a new directory": func(dir string) error {
		return errors.Join(os.Mkdir(dir+"/d", 0o700), write(dir+"/d/a", "content", true), syncPath(dir+"/d"))
	},
	"another file synced later": func(dir string) error {
		return errors.Join(write(dir+"/a", "content", false), write(dir+"/b", "other", true))
	},
	"mapped": func(dir string) error { return mapped(dir, false) },
	"mapped and synced": func(dir string) error {
		return mapped(dir, true)
	},
	"link": func(dir string) error {
		return errors.Join(write(dir+"/a", "content", true), os.Link(dir+"/a", dir+"/b"), os.Symlink("a", dir+"/c"), syncPath(dir))
	},
	"a failed sync": func(dir string) error {
		err := write(dir+"/a", "content", true)
		if !errors.Is(err, syscall.EIO) {
			return fmt.Errorf("the sync that should fail: %w", err)
		}
		return errors.Join(syncPath(dir+"/a"), syncPath(dir))
	},
	"a failed write of a mapping": func(dir string) error {
		if err := mapped(dir, true); !errors.Is(err, syscall.EIO) {
			return fmt.Errorf("the sync that should fail: %w", err)
		}
		return errors.Join(syncPath(dir+"/a"), syncPath(dir))
	},
	"everything fails": func(dir string) error {
		for what, err := range map[string]error{
			"create": os.WriteFile(dir+"/x", nil, 0o600), "mkdir": os.Mkdir(dir+"/y", 0o700), "symlink": os.Symlink("a", dir+"/z"),
			"chmod": os.Chmod(dir, 0o700), "sync": syncPath(dir),
		} {
			if !errors.Is(err, syscall.ENOSPC) {
				return fmt.Errorf("%s: %w", what, err)
			}
		}
		return nil
	},
	"marks": func(dir string) error {
		return errors.Join(Mark(dir, "one"), write(dir+"/a", "content", true), Mark(dir, "two"))
	},
	"half synced": func(dir string) error {
		return errors.Join(write(dir+"/a", "content", true), syncPath(dir), write(dir+"/b", "other", false))
	},
	"locks": func(dir string) error {
		for range 2 {
			f, err := os.Create(dir + "/lock")
			if err == nil {
				err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
			}
			if err != nil {
				return err
			}
		}
		return nil
	},
}

func write(path, content string, sync bool) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	if sync && err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func exchanged(dir string, sync bool) error {
	err := errors.Join(write(dir+"/a", "old", true), write(dir+"/b", "new", true), syncPath(dir),
		unix.Renameat2(unix.AT_FDCWD, dir+"/a", unix.AT_FDCWD, dir+"/b", unix.RENAME_EXCHANGE))
	if sync {
		err = errors.Join(err, syncPath(dir))
	}
	return err
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func mapped(dir string, sync bool) error {
	f, err := os.OpenFile(dir+"/a", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(2*pageSize), f.Sync(), syncPath(dir)); err != nil {
		return err
	}
	b, err := unix.Mmap(int(f.Fd()), 0, 2*pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	copy(b[pageSize:], "mapped")
	if sync {
		err = unix.Msync(b, unix.MS_SYNC)
	}
	return errors.Join(err, unix.Munmap(b), f.Close())
}

// mount gives a file system of a test's own.
func mount(t *testing.T, options ...Option) (*FS, string) {
	t.Helper()
	if _, err := os.Stat("/dev/fuse"); err != nil && os.Getenv("CI") != "true" {
		t.Skipf("no file system can be mounted: %v", err)
	}
	dir := t.TempDir()
	f, err := Mount(dir, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Unmount(); err != nil {
			t.Error(err)
		}
	})
	return f, dir
}

// child has another process do a deed.
func child(t *testing.T, dir, deed string) error {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir, "FAULTFS_TEST_DEED="+deed)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// left writes a tree out and lists it.
func left(t *testing.T, tree *Tree) map[string]string {
	t.Helper()
	dir := t.TempDir()
	if err := tree.WriteTo(dir); err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	names, err := filepath.Glob(dir + "/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range names {
		b, err := os.ReadFile(p)
		if err != nil && !errors.Is(err, syscall.EISDIR) {
			t.Fatal(err)
		}
		all[filepath.Base(p)] = strings.Trim(string(b), "\x00")
	}
	return all
}

func TestSurvivor(t *testing.T) {
	for _, tt := range []struct {
		deed                   string
		fault                  Fault
		strict, ordered, whole map[string]string
	}{
		{"unsynced", Fault{}, nil, nil, map[string]string{"a": "content"}},
		{"synced file", Fault{}, nil, map[string]string{"a": "content"}, map[string]string{"a": "content"}},
		{"synced file and directory", Fault{}, map[string]string{"a": "content"}, map[string]string{"a": "content"}, map[string]string{"a": "content"}},
		{"synced, then changed", Fault{}, map[string]string{"a": "content"}, map[string]string{"a": "content"}, nil},
		{"renamed over", Fault{}, map[string]string{"a": "old"}, map[string]string{"a": "old", "b": "new"}, map[string]string{"a": "new"}},
		{"renamed over and synced", Fault{}, map[string]string{"a": "new"}, map[string]string{"a": "new"}, map[string]string{"a": "new"}},
		{"exchanged", Fault{}, map[string]string{"a": "old", "b": "new"}, map[string]string{"a": "old", "b": "new"}, map[string]string{"a": "new", "b": "old"}},
		{"exchanged and synced", Fault{}, map[string]string{"a": "new", "b": "old"}, map[string]string{"a": "new", "b": "old"}, map[string]string{"a": "new", "b": "old"}},
		{"in a new directory", Fault{}, nil, map[string]string{"d": ""}, map[string]string{"d": ""}},
		{"another file synced later", Fault{}, nil, map[string]string{"a": "", "b": "other"}, map[string]string{"a": "content", "b": "other"}},
		{"mapped", Fault{}, map[string]string{"a": ""}, map[string]string{"a": ""}, map[string]string{"a": "mapped"}},
		{"mapped and synced", Fault{}, map[string]string{"a": "mapped"}, map[string]string{"a": "mapped"}, map[string]string{"a": "mapped"}},
		{"link", Fault{}, map[string]string{"a": "content", "b": "content", "c": "content"}, map[string]string{"a": "content", "b": "content", "c": "content"}, map[string]string{"a": "content", "b": "content", "c": "content"}},
		{"a failed sync", Fault{At: 3, Errno: syscall.EIO}, map[string]string{"a": ""}, map[string]string{"a": ""}, map[string]string{"a": "content"}},
		{"a failed write of a mapping", Fault{At: 5, Errno: syscall.EIO}, map[string]string{"a": ""}, map[string]string{"a": ""}, map[string]string{"a": ""}},
		{"everything fails", Fault{At: 1, Forever: true, Errno: syscall.ENOSPC}, nil, nil, nil},
	} {
		t.Run(tt.deed, func(t *testing.T) {
			fs, dir := mount(t)
			fs.Inject(tt.fault)
			if err := child(t, dir, tt.deed); err != nil {
				t.Fatalf("%v; failed by the file system: %q", err, fs.Hit())
			}
			j := fs.Journal()
			for n, want := range map[string]map[string]string{"strict": tt.strict, "ordered": tt.ordered, "whole": tt.whole} {
				var tree *Tree
				switch n {
				case "strict":
					tree = j.Survivor(len(j), Strict, 0)
				case "ordered":
					tree = j.Survivor(len(j), Ordered, 0)
				default:
					tree = j.Whole(len(j))
				}
				if want == nil {
					want = map[string]string{}
				}
				if diff := cmp.Diff(want, left(t, tree)); diff != "" {
					t.Errorf("%s (-want +got):\n%s", n, diff)
				}
			}
			if (tt.fault.At > 0) != (len(fs.Hit()) > 0) {
				t.Errorf("the fault %+v met %q", tt.fault, fs.Hit())
			}
		})
	}
}

// A lock that everybody gets is what the file system is asked for, and is not there
// otherwise.
func TestWithoutLocks(t *testing.T) {
	_, broken := mount(t, WithoutLocks)
	if err := child(t, broken, "locks"); err != nil {
		t.Errorf("a second lock was refused: %v", err)
	}
	_, sound := mount(t)
	if err := child(t, sound, "locks"); err == nil {
		t.Error("a second lock was given")
	}
}

// Marks stand in the journal where they were made.
func TestMarks(t *testing.T) {
	fs, dir := mount(t)
	if err := child(t, dir, "marks"); err != nil {
		t.Fatal(err)
	}
	j := fs.Journal()
	if diff := cmp.Diff([]string{"one", "two"}, j.Marks(len(j))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var at []int
	for n := range j {
		if j[n].Kind == Words {
			at = append(at, n)
		}
	}
	for n, want := range map[int]map[string]string{at[0]: {}, at[1]: {"a": "content"}} {
		if diff := cmp.Diff(want, left(t, j.Whole(n))); diff != "" {
			t.Errorf("before the mark %q (-want +got):\n%s", j[n].Words, diff)
		}
	}
}

// With a seed what was not synced survives in part, and what was does always.
func TestSeeds(t *testing.T) {
	fs, dir := mount(t)
	if err := child(t, dir, "half synced"); err != nil {
		t.Fatal(err)
	}
	j := fs.Journal()
	seen := map[string]int{}
	for seed := range uint64(40) {
		got := left(t, j.Survivor(len(j), Strict, seed+1))
		if got["a"] != "content" {
			t.Fatalf("seed %d: what was synced is %q", seed+1, got["a"])
		}
		b, ok := got["b"]
		seen[fmt.Sprintf("%v %q", ok, b)]++
	}
	for _, want := range []string{`false ""`, `true ""`, `true "other"`} {
		if seen[want] == 0 {
			t.Errorf("none of 40 seeds left %s: %v", want, seen)
		}
	}
}
