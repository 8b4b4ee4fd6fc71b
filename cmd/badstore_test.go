package cmd

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const small = `
stage "a" {
  command = "seq 1 20000 > out"
  outputs = { out = "out" }
}
`

// mounted is a site whose store lies on a file system of its own, of so many bytes.
func mounted(t *testing.T, size string) (s *site, at string) {
	t.Helper()
	at = t.TempDir()
	if err := syscall.Mount("tmpfs", at, "tmpfs", 0, "size="+size); err != nil {
		t.Fatalf("mounting a file system of %s: %v", size, err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(at, 0); err != nil {
			t.Errorf("unmounting: %v", err)
		}
	})
	s = newSite(t)
	s.store = filepath.Join(at, "store")
	return s, at
}

// TestReadOnlyMount has a store that nobody can write to: it can be read, and what
// has to write says why it cannot.
func TestReadOnlyMount(t *testing.T) {
	s, at := mounted(t, "256m")
	dir := s.project("p", small)
	s.want(0, dir, "run")
	content := s.want(0, dir, "get", "a.out", "-o", "-").out
	s.want(0, "", "agent", "stop")
	if err := syscall.Mount("", at, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	r := s.want(exitMachine, dir, "run")
	if !strings.Contains(r.err, "read-only file system") || !strings.Contains(r.err, s.store) {
		t.Errorf("it does not say what is wrong: %v", r)
	}
	if got := s.want(0, dir, "get", "a.out", "-o", "-").out; got != content {
		t.Errorf("got %d bytes, want %d", len(got), len(content))
	}
	for _, verb := range []string{"runs", "show", "plan", "logs"} {
		s.want(0, dir, verb)
	}
	if err := syscall.Mount("", at, "", syscall.MS_REMOUNT, ""); err != nil {
		t.Fatal(err)
	}
	s.want(0, dir, "run", "--expect-cached")
}

// TestNewerFormat has a store of a plumb that is not written yet.
func TestNewerFormat(t *testing.T) {
	s := newSite(t)
	dir := s.project("p", small)
	s.want(0, dir, "run")
	s.want(0, "", "agent", "stop")
	if err := os.WriteFile(filepath.Join(s.store, "format"), []byte("99\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.store, "writer"), []byte("9.1.2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	before := s.listing()
	for _, args := range [][]string{{"run"}, {"runs"}, {"plan"}, {"get", "a.out"}, {"gc"}} {
		r := s.want(exitMachine, dir, args...)
		if !strings.Contains(r.err, "written by a newer plumb (9.1.2): its format is 99, this plumb ("+Version()+") knows 1") {
			t.Errorf("plumb %q does not name both versions: %v", args, r)
		}
	}
	if diff := cmp.Diff(before, s.listing()); diff != "" {
		t.Errorf("something was written (-before +after):\n%s", diff)
	}
}

// TestNewerFormatUnderANewerAgent has a store that an agent of a newer plumb uses, which
// this one asks to leave, as it does with other builds: it is refused all the same, and
// the newer plumb goes on where it was.
func TestNewerFormatUnderANewerAgent(t *testing.T) {
	s := newSite(t)
	other := s.otherBuild()
	dir := s.project("p", small)
	s.want(0, dir, "run")
	old := s.pidFile()
	format := filepath.Join(s.store, "format")
	for path, content := range map[string]string{format: "99\n", filepath.Join(s.store, "writer"): "9.1.2\n"} {
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r := s.startExe(other, dir, "run").wait()
	if r.code != exitMachine || !strings.Contains(r.err, "written by a newer plumb (9.1.2): its format is 99") {
		t.Errorf("the older plumb: %v", r)
	}
	eventually(t, "the newer agent is gone", func() bool { return syscall.Kill(old, 0) != nil })
	if b, err := os.ReadFile(format); err != nil || string(b) != "99\n" {
		t.Errorf("the format is %q now, %v", b, err)
	}
	if err := os.WriteFile(format, []byte("1\n"), 0o644); err != nil { // what the newer plumb would read
		t.Fatal(err)
	}
	s.want(0, dir, "run", "--expect-cached")
}

// listing is every file of the store with its time and content.
func (s *site) listing() map[string]string {
	s.t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(s.store, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		var b []byte
		if fi.Mode().IsRegular() {
			b, err = os.ReadFile(path)
		}
		all[path] = fi.ModTime().String() + " " + fi.Mode().String() + " " + string(b)
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return all
}

// TestNoStore names places where no store can be.
func TestNoStore(t *testing.T) {
	s := newSite(t)
	dir := s.project("p", small)
	file := filepath.Join(s.root, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, store, want string }{
		{"a file", file, "not a directory"},
		{"below a file", filepath.Join(file, "store"), "not a directory"},
		{"where nothing can be made", "/sys/plumb-store", "/sys/plumb-store"},
	} {
		t.Run(c.name, func(t *testing.T) {
			part := s.in(t)
			part.store = c.store
			for _, verb := range []string{"run", "gc"} {
				if r := part.want(exitMachine, dir, verb); !strings.Contains(r.err, c.want) || !strings.Contains(r.err, c.store) {
					t.Errorf("plumb %s says neither %q nor %q: %v", verb, c.want, c.store, r)
				}
			}
		})
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "precious" {
		t.Errorf("the file holds %q now, %v", b, err)
	}
}

// TestDiskFull lets the store's file system fill up, by a stage and by others. The
// run fails and says why, records nothing wrong, and goes on when there is room.
func TestDiskFull(t *testing.T) {
	s, at := mounted(t, "200m")
	dir := s.project("p", `
param "round" {
  type    = string
  default = ""
}
stage "a" {
  command = ": ${param.round}; seq 1 20000 > out"
  outputs = { out = "out" }
}
stage "b" {
  inputs  = [stage.a.out]
  command = ": ${param.round}; dd of=big bs=1048576 count=4; sha256sum out > sum"
  outputs = { big = "big", sum = "sum" }
}
`)
	want := outputs(t, s.want(0, dir, "run", "--json"))
	greedy := s.project("greedy", "stage \"a\" {\n command = \"dd of=out bs=1048576 count=400\"\n outputs = { out = \"out\" }\n}\n")
	if r := s.plumb(greedy, "run"); r.code != exitStage && r.code != exitMachine || !strings.Contains(r.err, "no space left on device") {
		t.Errorf("a stage that fills the disk: %v", r)
	}
	for round, free := range []int64{0, 1 << 20, 9 << 20, 17 << 20, 25 << 20} {
		param := "round=" + string(rune('a'+round))
		s.fill(at, free)
		r := s.plumb(dir, "run", "--param", param)
		t.Logf("%d KiB free: %v", free>>10, r)
		if r.code != 0 && r.code != exitStage && r.code != exitMachine || r.code != 0 && !strings.Contains(r.err, "no space left on device") {
			t.Errorf("%d KiB free: it does not say what is wrong: %v%s", free>>10, r, s.agentLog())
		}
		if err := os.Remove(filepath.Join(at, "filler")); err != nil {
			t.Fatal(err)
		}
		again := s.want(0, dir, "run", "--json", "--param", param)
		if diff := cmp.Diff(want, outputs(t, again)); diff != "" {
			t.Errorf("%d KiB free: outputs differ (-want +got):\n%s", free>>10, diff)
		}
		s.wantWhole()
	}
	s.wantSoundBlobs()
}

// fill leaves so many bytes free. An agent may write meanwhile: with none to be left, the
// file system is full when it says so.
func (s *site) fill(at string, free int64) {
	s.t.Helper()
	var fsys syscall.Statfs_t
	if err := syscall.Statfs(at, &fsys); err != nil {
		s.t.Fatal(err)
	}
	size := int64(fsys.Bavail)*fsys.Bsize - free
	f, err := os.Create(filepath.Join(at, "filler"))
	if err != nil {
		s.t.Fatal(err)
	}
	zeros := bytes.Repeat([]byte{0}, 1<<20)
	for n := int64(0); n < size && err == nil; n += int64(len(zeros)) {
		_, err = f.Write(zeros[:min(int64(len(zeros)), size-n)])
	}
	if free == 0 && errors.Is(err, syscall.ENOSPC) {
		err = nil
	}
	if err := errors.Join(err, f.Close()); err != nil {
		s.t.Fatal(err)
	}
}
