package cmd

import (
	"archive/tar"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"plumb/engine"
	"plumb/engine/apt/apttest"
)

// Images of Debian packages, as users meet them: plumb runs as real processes, and
// what it makes is run in. The packages are of a mirror of the test.

// toolsDeb is the package of the shell and the tools that test images have.
func (s *site) toolsDeb(arch string) apttest.Deb {
	s.t.Helper()
	layers, err := s.toolImage("").Layers()
	if err != nil {
		s.t.Fatal(err)
	}
	in, err := layers[0].Uncompressed()
	if err != nil {
		s.t.Fatal(err)
	}
	defer in.Close()
	d := apttest.Deb{Name: "tools", Version: "1.0", Architecture: arch, Compression: "none"}
	for r := tar.NewReader(in); ; {
		h, err := r.Next()
		if err == io.EOF {
			return d
		}
		if err != nil {
			s.t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			s.t.Fatal(err)
		}
		d.Files = append(d.Files, apttest.File{Path: h.Name, Data: string(b), Mode: h.Mode, UID: h.Uid, GID: h.Gid, Link: h.Linkname})
	}
}

// hello is a small package that needs the tools.
func hello(version string) apttest.Deb {
	return apttest.Deb{
		Name: "hello", Version: version, Architecture: "all", Fields: map[string]string{"Depends": "tools (>= 1)"},
		Files: []apttest.File{{Path: "usr/share/"}, {Path: "usr/share/hello", Data: "hello " + version}},
	}
}

// mirror has the tools and other packages.
func (s *site) mirror(debs ...apttest.Deb) *apttest.Mirror {
	s.t.Helper()
	m := apttest.New(s.t, time.Now())
	m.Publish(apttest.Suite{Debs: append(debs, s.toolsDeb("amd64"))})
	return m
}

// useHello says what the image has in it.
const useHello = `
stage "s" {
  image   = image.d
  command = "cat /usr/share/hello > out"
  outputs = { out = "out" }
}
export "out.txt" { from = stage.s.out }
`

// minimal writes a project with an image of packages, named as in a list, of a mirror.
// more is the rest of its block.
func (s *site) minimal(name string, m *apttest.Mirror, packages, more string) string {
	s.t.Helper()
	dir := s.pipeline(name, "")
	keys, err := os.ReadFile(m.Keyring)
	if err != nil {
		s.t.Fatal(err)
	}
	s.write(filepath.Join(dir, "keys.asc"), string(keys))
	s.debian(dir, fmt.Sprintf("variant = \"minimal\"\n    packages = [%s]\n    mirror = %q\n    keyring = \"keys.asc\"\n    %s", packages, m.URL, more))
	return dir
}

// debian writes the pipeline of an image whose block goes on after the suite.
func (s *site) debian(dir, block string) {
	s.t.Helper()
	s.write(filepath.Join(dir, "plumb.hcl"), "image \"d\" {\n  debian {\n    suite = \"bookworm\"\n    "+block+"\n  }\n}\n"+useHello)
}

// wantOut requires what the stage put out.
func (s *site) wantOut(dir, want string) {
	s.t.Helper()
	if b, err := os.ReadFile(filepath.Join(dir, "out.txt")); string(b) != want || err != nil {
		s.t.Errorf("the stage put out %q, %v, want %q", b, err, want)
	}
}

// wantSays requires of what was printed, wherever its lines are broken.
func (r result) wantSays(t *testing.T, all ...string) {
	t.Helper()
	text := strings.Join(strings.Fields(r.out+r.err), " ")
	for _, want := range all {
		if !strings.Contains(text, want) {
			t.Errorf("it does not say %q: %v", want, r)
		}
	}
}

// wantUnmade requires that nothing of an image is to be seen: none is listed, the
// lock is as it was, and nothing unfinished lies in the store.
func (s *site) wantUnmade(dir, lock string) {
	s.t.Helper()
	if n := s.imagesKept(); n != 0 {
		s.t.Errorf("%d images are shown", n)
	}
	b, err := os.ReadFile(filepath.Join(dir, "plumb.lock.hcl"))
	if string(b) != lock || err != nil && !os.IsNotExist(err) {
		s.t.Errorf("the lock is %q, %v; it was %q", b, err, lock)
	}
	s.wantNothingUnfinished()
}

// wantNothingUnfinished looks where the store and the runtime write what is not whole;
// directories of stages are removed when there is time.
func (s *site) wantNothingUnfinished() {
	s.t.Helper()
	for _, pattern := range []string{"tmp/*", "containerd/*content*/ingest/*", "containerd/*/*content*/ingest/*", "downloads/lists/*-*"} {
		left, err := filepath.Glob(filepath.Join(s.store, pattern))
		left = slices.DeleteFunc(left, func(name string) bool { return strings.HasPrefix(filepath.Base(name), "stage-") })
		if err != nil || len(left) > 0 {
			s.t.Errorf("unfinished: %v, %v", left, err)
		}
	}
}

func TestDebianImage(t *testing.T) {
	s := newSite(t)
	m := s.mirror(hello("1.0"))
	dir := s.minimal("p", m, `"hello"`, "")
	s.want(0, dir, "run")
	s.wantOut(dir, "hello 1.0")
	s.wantNothingUnfinished()
	locked := s.lock(dir)
	for _, want := range []string{`package "d" "linux/amd64" "hello"`, `package "d" "linux/amd64" "tools"`, `version = "1.0"`, `image "d" "linux/amd64"`} {
		if !strings.Contains(locked, want) {
			t.Errorf("the lock does not have %s:\n%s", want, locked)
		}
	}
	m.Forget()
	s.want(0, dir, "run", "--expect-cached")
	s.want(0, dir, "run", "--force", "s", "--locked")
	s.want(0, dir, "lock")
	if asked := m.Asked(""); len(asked) > 0 {
		t.Errorf("the mirror was asked for %v", asked)
	}
	s.want(0, dir, "lock", "--check")

	m.Publish(apttest.Suite{Debs: []apttest.Deb{hello("1.1"), s.toolsDeb("amd64")}})
	s.want(4, dir, "lock", "--check").wantSays(t, "image d", "hello", "1.0 → 1.1")
	s.want(0, dir, "run", "--expect-cached")
	if s.lock(dir) != locked {
		t.Errorf("the lock moved by itself:\n%s", s.lock(dir))
	}
	s.want(0, dir, "lock", "--update", "d").wantSays(t, "hello", "1.0 → 1.1")
	s.want(0, dir, "run")
	s.wantOut(dir, "hello 1.1")
	s.want(0, dir, "lock", "--check")
	s.want(0, dir, "image", "show", "d").wantSays(t, "hello", "tools", "1.1")
	if r := s.want(2, dir, "lock", "--update", "dd"); !strings.Contains(r.err, `did you mean "d"`) {
		t.Error(r)
	}
}

// What the image has is what the packages have: owners, modes, links, dpkg's database.
func TestDebianImageFromWithin(t *testing.T) {
	s := newSite(t)
	m := s.mirror(apttest.Deb{
		Name: "odd", Version: "2", Compression: "xz", Conffiles: []string{"/etc/odd.conf"}, Fields: map[string]string{"Depends": "tools"},
		Files: []apttest.File{
			{Path: "lib/"}, {Path: "lib/odd/"}, {Path: "lib/odd/f", Data: "f"}, {Path: "usr/bin/odd", Data: "#!/bin/sh\necho odd\n", Mode: 0o4755}, {Path: "srv/", Mode: 0o2770, UID: 7, GID: 8},
			{Path: "srv/hard", Hard: "lib/odd/f"}, {Path: "srv/link", Link: "../lib/odd/f"}, {Path: "etc/odd.conf", Data: "x"}, {Path: "etc/was", Data: "odd"}, {Path: "etc/file", Data: "f"},
		},
	}, apttest.Deb{
		Name: "over", Version: "1", Fields: map[string]string{"Replaces": "odd"}, Files: []apttest.File{{Path: "etc/was", Data: "over"}, {Path: "etc/file", Link: "was"}},
	})
	dir := s.minimal("p", m, `"odd", "over"`, "")
	text, err := os.ReadFile(filepath.Join(dir, "plumb.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	s.write(filepath.Join(dir, "plumb.hcl"), strings.Replace(string(text), "cat /usr/share/hello > out", "{ odd; cat /usr/lib/odd/f /srv/link /srv/hard /etc/was /etc/file; echo; stat /usr/bin/odd /srv/hard; cat /var/lib/dpkg/info/odd.list; grep Status /var/lib/dpkg/status; } > out", 1))
	s.want(0, dir, "run")
	s.wantOut(dir, "odd\nfffoverover\n4755 0 0 19 /usr/bin/odd\n644 0 0 1 /srv/hard\n/.\n/lib\n/lib/odd\n/lib/odd/f\n/usr/bin/odd\n/srv\n/srv/hard\n/srv/link\n/etc/odd.conf\n/etc/was\n/etc/file\nStatus: install ok unpacked\nStatus: install ok unpacked\nStatus: install ok unpacked\n")
}

// The same packages make the same image, whoever makes it, and for each platform.
func TestDebianImageIsTheSameEverywhere(t *testing.T) {
	a := newSite(t)
	m := apttest.New(t, time.Now())
	foreign := hello("1.0-1")
	foreign.Name, foreign.Architecture, foreign.Files = "foreign", "arm64", nil
	native := foreign
	native.Architecture = "amd64"
	m.Publish(apttest.Suite{Debs: []apttest.Deb{hello("1.0"), a.toolsDeb("amd64"), a.toolsDeb("arm64"), foreign, native}})
	b := &site{t: t, exe: a.exe, root: t.TempDir(), image: a.image}
	b.store = filepath.Join(b.root, "another", "store")
	b.env = []string{"HOME=" + b.root, "PATH=" + os.Getenv("PATH"), "GOMAXPROCS=1"}
	t.Cleanup(b.leave)
	var locks, digests []string
	for i, s := range []*site{a, b} {
		dir := s.minimal([]string{"p", "q"}[i], m, `"hello", "foreign"`, "")
		s.want(4, dir, "run", "--locked").wantSays(t, `image "d"`, "plumb lock")
		s.wantUnmade(dir, "")
		s.want(0, dir, "lock", "--platform", "linux/arm64")
		locks = append(locks, s.lock(dir))
		s.want(0, dir, "run", "--locked")
		s.wantOut(dir, "hello 1.0")
		var plan engine.PlanDoc
		s.document(&plan, dir, "plan", "--locked", "--json")
		digests = append(digests, plan.Stages[0].Image)
	}
	if diff := cmp.Diff(locks[0], locks[1]); diff != "" || digests[0] != digests[1] {
		t.Errorf("two locks:\n%s\ntwo images: %v", diff, digests)
	}
	for _, want := range []string{`image "d" "linux/amd64"`, `image "d" "linux/arm64"`, `package "d" "linux/arm64" "foreign"`, "foreign_1.0-1_arm64.deb", "foreign_1.0-1_amd64.deb"} {
		if !strings.Contains(locks[0], want) {
			t.Errorf("the lock does not have %s:\n%s", want, locks[0])
		}
	}
	if found := regexp.MustCompile(`manifest *= *"(sha256:[0-9a-f]{64})"`).FindAllString(locks[0], -1); len(found) != 2 || found[0] == found[1] {
		t.Errorf("manifests %q", found)
	}
}

func TestDebianImageOffline(t *testing.T) {
	s := newSite(t)
	m := s.mirror(hello("1.0"))
	dir := s.minimal("p", m, `"hello"`, "")
	s.want(3, dir, "run", "--offline").wantSays(t, "not pinned yet")
	s.want(0, dir, "run")
	locked := s.lock(dir)
	m.Forget()
	s.want(0, dir, "image", "rm", "d")
	s.want(0, dir, "run", "--force", "s", "--offline", "--locked")
	s.want(0, dir, "image", "rm", "d")
	if err := os.RemoveAll(filepath.Join(s.store, "downloads")); err != nil {
		t.Fatal(err)
	}
	s.want(3, dir, "run", "--force", "s", "--offline").wantSays(t, `image "d"`, "hello", "--offline")
	s.wantUnmade(dir, locked)
	if asked := m.Asked(""); len(asked) > 0 {
		t.Errorf("the mirror was asked for %v", asked)
	}
	s.want(0, dir, "run", "--force", "s")
	if s.lock(dir) != locked {
		t.Errorf("the lock moved:\n%s", s.lock(dir))
	}
}

// Several runs that want the same image at once make it once, and all go on.
func TestDebianImageAtOnce(t *testing.T) {
	s := newSite(t)
	m := s.mirror(hello("1.0"))
	m.Slow("/tools_", 200*time.Millisecond)
	var all []*process
	dirs := []string{s.minimal("p", m, `"hello"`, ""), s.minimal("q", m, `"hello"`, "")}
	for n := range 4 {
		all = append(all, s.start(dirs[n%2], "run"))
	}
	for _, p := range all {
		if r := p.wait(); r.code != 0 {
			t.Error(r)
		}
	}
	if asked := m.Asked("/tools_"); len(asked) != 1 {
		t.Errorf("the package was asked for as %v", asked)
	}
	if a, b := s.lock(dirs[0]), s.lock(dirs[1]); a != b {
		t.Errorf("two locks:\n%s\n%s", a, b)
	}
	if n := s.imagesKept(); n != 1 {
		t.Errorf("%d images are kept", n)
	}
	s.wantNothingUnfinished()
}

// Whatever is killed while an image is made, the next run makes it.
func TestDebianImageKilled(t *testing.T) {
	s := newSite(t)
	m := s.mirror(hello("1.0"))
	m.Slow("/hello_", 50*time.Millisecond)
	for i, after := range []time.Duration{40, 80, 120, 160, 200, 240} {
		s := s.beside(t, i)
		dir := s.minimal("p", m, `"hello"`, "")
		p := s.start(dir, "run")
		time.Sleep(after * time.Millisecond)
		p.signal(syscall.SIGKILL)
		if pid := s.pidFile(); pid != 0 {
			kill(t, pid, i%2 == 1)
		}
		p.wait()
		s.want(0, dir, "run")
		s.wantOut(dir, "hello 1.0")
		s.want(0, dir, "run", "--locked", "--expect-cached")
		if n := s.imagesKept(); n != 1 {
			t.Errorf("killed after %d ms: %d images are kept", after, n)
		}
	}
}

// What may not be written is said.
func TestDebianReadOnly(t *testing.T) {
	s := newSite(t)
	m := s.mirror(hello("1.0"))
	dir := s.minimal("p", m, `"hello"`, "")
	mount := func(args ...string) {
		t.Helper()
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	mount("mount", "--bind", dir, dir)
	mount("mount", "-o", "remount,bind,ro", dir)
	s.want(3, dir, "lock").wantSays(t, "plumb.lock.hcl", "read-only file system")
	s.want(0, "", "agent", "stop") // it sees the mount
	mount("umount", dir)
	if _, err := os.Stat(filepath.Join(dir, "plumb.lock.hcl")); err == nil {
		t.Error("there is a lock")
	}
	s.want(0, dir, "run")
}
