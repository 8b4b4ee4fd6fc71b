package cmd

import (
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"plumb/engine/apt"
	"plumb/engine/apt/apttest"
)

// Whatever a mirror has or lacks, the error says what to do, and nothing that came
// half is to be seen.
func TestDebianMirrorsThatFail(t *testing.T) {
	s := newSite(t)
	other := apttest.NewKey(t, "other", time.Now())
	deb := func(name, field, value string) apttest.Deb {
		return apttest.Deb{Name: name, Version: "1", Fields: map[string]string{field: value}}
	}
	damaged := func(name string, files map[string][]byte, b []byte) {
		for path := range files {
			if strings.Contains(path, name) {
				files[path] = b
			}
		}
	}
	tests := []struct {
		name  string
		suite apttest.Suite
		ask   string // hello, if it is empty
		fault func(m *apttest.Mirror)
		code  int
		want  []string
	}{
		{name: "unsigned", suite: apttest.Suite{Unsigned: true}, code: 3, want: []string{`image "d"`, "is not signed"}},
		{name: "signed by another key", suite: apttest.Suite{Key: other}, code: 3, want: []string{"a key that is not in the keyring", "set keyring"}},
		{name: "expired", suite: apttest.Suite{Release: apttest.Expired}, code: 3, want: []string{"expired on 2020-01-01", "accept_expired = true"}},
		{name: "another suite", suite: apttest.Suite{Release: strings.NewReplacer("bookworm", "sid", "stable", "unstable").Replace}, code: 3, want: []string{`of the suite "unstable"`}},
		{name: "no such suite", suite: apttest.Suite{Name: "trixie"}, code: 3, want: []string{"check the suite's name"}},
		{name: "a changed list", fault: func(m *apttest.Mirror) { m.Damage("Packages.gz") }, code: 3, want: []string{"not the one that its release vouches for", "try again"}},
		{name: "a list of another size", fault: func(m *apttest.Mirror) { m.Replace("Packages.gz", []byte("short")) }, code: 3, want: []string{"not the one that its release vouches for"}},
		{name: "a changed package", fault: func(m *apttest.Mirror) { m.Damage("/hello_") }, code: 3, want: []string{`package "hello" 1.0 is not the pinned one`, "digest", "try another mirror"}},
		{name: "a package of another size", fault: func(m *apttest.Mirror) { m.Replace("/hello_", []byte("short")) }, code: 3, want: []string{`package "hello" 1.0 is not the pinned one`, "size"}},
		{name: "a package that the list has, and no more", fault: func(m *apttest.Mirror) { m.Lose("/hello_") }, code: 3, want: []string{`package "hello" 1.0`, "404"}},
		{name: "a list that does not say what a package is", suite: apttest.Suite{Spoil: func(files map[string][]byte) { damaged("/hello_", files, []byte("!<arch>\n")) }}, code: 3, want: []string{`package "hello"`, "size"}},
		{name: "no such package", ask: `"helo"`, code: 2, want: []string{`there is no package "helo" in bookworm`, `did you mean "hello"?`, "plumb.hcl line 5"}},
		{name: "no such version", ask: `"hello=2.0"`, code: 2, want: []string{"there is no version 2.0", "only 1.0"}},
		{name: "another architecture", ask: `"hello:arm64"`, code: 2, want: []string{"another architecture"}},
		{name: "a dependency that is nowhere", suite: apttest.Suite{Debs: []apttest.Deb{deb("xx", "Depends", "yy"), deb("yy", "Depends", "tools (>= 9)")}}, ask: `"xx"`, code: 2,
			want: []string{"yy depends on tools (>= 9), and only tools 1.0 is there", "xx → yy"}},
		{name: "a conflict", suite: apttest.Suite{Debs: []apttest.Deb{deb("xx", "Conflicts", "hello")}}, ask: `"hello", "xx"`, code: 2, want: []string{"xx and hello exclude each other"}},
		{name: "breaks", suite: apttest.Suite{Debs: []apttest.Deb{deb("xx", "Breaks", "hello (<< 2)")}}, ask: `"hello", "xx"`, code: 2, want: []string{"xx and hello exclude each other", "hello (<< 2)"}},
		{name: "a file of two packages", suite: apttest.Suite{Debs: []apttest.Deb{{Name: "xx", Version: "1", Files: hello("").Files}}}, ask: `"hello", "xx"`, code: 2,
			want: []string{`package "xx"`, `"/usr/share/hello"`, `package "hello"`}},
		{name: "a device", suite: apttest.Suite{Debs: []apttest.Deb{{Name: "xx", Version: "1", Files: []apttest.File{{Path: "dev/x", Type: '3'}}}}}, ask: `"xx"`, code: 2, want: []string{`package "xx"`, `"dev/x"`}},
		{name: "a name that climbs", suite: apttest.Suite{Debs: []apttest.Deb{{Name: "xx", Version: "1", Files: []apttest.File{{Path: "../../x"}}}}}, ask: `"xx"`, code: 2, want: []string{`package "xx"`, "leads out of the image"}},
		{name: "cut in mid-file, resumed", fault: func(m *apttest.Mirror) { m.Cut("", 4) }},
		{name: "slow", fault: func(m *apttest.Mirror) { m.Slow(".deb", 300*time.Millisecond) }},
		{name: "down", fault: func(m *apttest.Mirror) { m.Down(true) }, code: 3, want: []string{"answered 502"}},
	}
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := s.beside(t, i)
			m := apttest.New(t, time.Now())
			test.suite.Debs = append(test.suite.Debs, hello("1.0"), s.toolsDeb("amd64"))
			m.Publish(test.suite)
			if test.fault != nil {
				test.fault(m)
			}
			if test.ask == "" {
				test.ask = `"hello"`
			}
			dir := s.minimal("p", m, test.ask, "")
			s.want(test.code, dir, "run").wantSays(t, test.want...)
			if test.code == 0 {
				s.wantOut(dir, "hello 1.0")
				return
			}
			s.wantUnmade(dir, "")
			if test.name == "expired" {
				dir = s.minimal("p", m, test.ask, "accept_expired = true")
				s.want(0, dir, "run")
				return
			}
			if test.fault != nil {
				m.Heal()
				s.want(0, dir, "run")
				s.wantOut(dir, "hello 1.0")
			}
		})
	}
}

// beside is a site with a store of its own, for a part of a test.
func (s *site) beside(t *testing.T, n int) *site {
	t.Helper()
	b := &site{t: t, exe: s.exe, root: filepath.Join(s.root, fmt.Sprint(n)), image: s.image, env: s.env}
	b.store = filepath.Join(b.root, "store")
	if err := os.Mkdir(b.root, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.leave)
	return b
}

func TestDebianDownloadIsResumed(t *testing.T) {
	s := newSite(t)
	m := s.mirror(hello("1.0"))
	m.Cut("/tools_", 1)
	dir := s.minimal("p", m, `"hello"`, "")
	s.want(0, dir, "run")
	asked := m.Asked("/tools_")
	if len(asked) != 2 || asked[0].Range != "" || !strings.HasPrefix(asked[1].Range, "bytes=") {
		t.Errorf("asked: %v", asked)
	}
}

// A pinned package is had from a mirror that keeps old ones, or is told to be gone.
func TestDebianPackageThatLeft(t *testing.T) {
	s := newSite(t)
	m := s.mirror(hello("1.0"))
	old := s.mirror(hello("1.0"))
	dir := s.minimal("p", m, `"hello"`, "")
	s.want(0, dir, "lock")
	locked := s.lock(dir)
	m.Publish(apttest.Suite{Debs: []apttest.Deb{hello("1.1"), s.toolsDeb("amd64")}})
	elsewhere := s.beside(t, 1) // somebody else's machine
	s.want(0, dir, "run")       // this one has the package
	s.wantOut(dir, "hello 1.0")
	elsewhere.want(3, dir, "run", "--force", "s").wantSays(t, `image "d"`, `package "hello" 1.0`, "has left the mirror", "plumb lock --update d", "snapshot = ")
	elsewhere.wantUnmade(dir, locked)
	dir = s.minimal("p", m, `"hello"`, fmt.Sprintf("snapshot = %q", old.URL))
	elsewhere.want(0, dir, "run", "--force", "s", "--locked")
	elsewhere.wantOut(dir, "hello 1.0")
	if asked := old.Asked("/tools_"); len(asked) > 0 {
		t.Errorf("the snapshot was asked for what the mirror has: %v", asked)
	}
	if s.lock(dir) != locked {
		t.Errorf("the lock moved:\n%s", s.lock(dir))
	}
}

// A package that was damaged in the cache is told, and the next run heals it.
func TestDebianDamagedCache(t *testing.T) {
	s := newSite(t)
	m := s.mirror(hello("1.0"))
	dir := s.minimal("p", m, `"hello"`, "")
	s.want(0, dir, "run")
	locked := s.lock(dir)
	s.want(0, dir, "image", "rm", "d")
	debs, err := filepath.Glob(filepath.Join(s.store, "downloads", "debs", "*.deb"))
	if err != nil || len(debs) != 2 {
		t.Fatalf("%v, %v", debs, err)
	}
	for _, name := range debs {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)/2] ^= 1
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	failed := 0
	for ; failed < len(debs); failed++ {
		r := s.plumb(dir, "run", "--force", "s", "--locked")
		if r.code == 0 {
			break
		}
		r.wantSays(t, "package ", "damaged")
		if r.code != 3 {
			t.Error(r)
		}
		s.wantUnmade(dir, locked)
	}
	s.want(0, dir, "run", "--force", "s", "--locked")
	s.wantOut(dir, "hello 1.0")
	t.Logf("healed after %d runs that failed", failed)
}

func TestDebianInterrupted(t *testing.T) {
	s := newSite(t)
	m := s.mirror(hello("1.0"))
	m.Slow("/tools_", time.Minute)
	dir := s.minimal("p", m, `"hello"`, "")
	p := s.start(dir, "run")
	eventually(t, "the package is asked for", func() bool { return len(m.Asked("/tools_")) > 0 })
	p.signal(syscall.SIGINT)
	began := time.Now()
	if r := p.wait(); r.code == 0 || time.Since(began) > 10*time.Second {
		t.Errorf("after %v: %v", time.Since(began), r)
	}
	s.wantUnmade(dir, "")
	m.Heal()
	s.want(0, dir, "run")
}

func TestDebianOfDirectory(t *testing.T) {
	s := newSite(t)
	m := s.mirror(hello("1.0"))
	files := filepath.Join(s.root, "a mirror")
	m.WriteTo(files)
	m.Down(true)
	dir := s.minimal("p", m, `"hello"`, "")
	text, err := os.ReadFile(filepath.Join(dir, "plumb.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	s.write(filepath.Join(dir, "plumb.hcl"), strings.ReplaceAll(string(text), m.URL, "file://"+strings.ReplaceAll(files, " ", "%20")))
	s.want(0, dir, "run")
	s.wantOut(dir, "hello 1.0")
	if err := os.RemoveAll(files); err != nil {
		t.Fatal(err)
	}
	s.want(0, dir, "run", "--expect-cached")
	s.want(3, dir, "lock", "--update").wantSays(t, "check the suite's name")
}

func TestDebianWithoutMirror(t *testing.T) {
	const suite = "hamm" // of 1998
	if all, err := apt.MachineSources("/"); err != nil || len(apt.ForSuite(all, suite)) > 0 {
		t.Skipf("this machine has apt sources for %s (%v)", suite, err)
	}
	s := newSite(t)
	dir := s.pipeline("p", "image \"d\" {\n  debian {\n    suite = \""+suite+"\"\n    packages = [\"hello\"]\n  }\n}\n"+useHello)
	s.want(3, dir, "run").wantSays(t, `no mirror for the suite "hamm"`, "mirror = ", "configuration")
	s.wantUnmade(dir, "")
	// What the configuration says is as good as what the image says.
	m := apttest.New(t, time.Now())
	m.Publish(apttest.Suite{Name: suite, Debs: []apttest.Deb{hello("1.0"), s.toolsDeb("amd64")}})
	config := filepath.Join(s.root, "config.hcl")
	s.write(config, fmt.Sprintf("debian {\n  mirrors = [%q]\n  keyring = %q\n}\n", m.URL, m.Keyring))
	s.env = append(s.env, "PLUMB_CONFIG="+config)
	s.write(filepath.Join(dir, "plumb.hcl"), "image \"d\" {\n  debian {\n    suite = \""+suite+"\"\n    variant = \"minimal\"\n    packages = [\"hello\"]\n  }\n}\n"+useHello)
	s.want(0, dir, "run")
	s.wantOut(dir, "hello 1.0")
}

// A disk that fills up, while packages come or while they are unpacked: it is said,
// nothing half is to be seen, and when there is room the same command succeeds.
func TestDebianOntoAFullDisk(t *testing.T) {
	s := newSite(t)
	random := make([]byte, 44<<20)
	if _, err := rand.Read(random); err != nil {
		t.Fatal(err)
	}
	big := apttest.Deb{Name: "big", Version: "1", Compression: "none", Files: []apttest.File{{Path: "usr/share/random", Data: string(random)}}}
	zeros := apttest.Deb{Name: "zeros", Version: "1", Files: []apttest.File{{Path: "usr/share/zeros", Data: strings.Repeat("\x00", 100<<20)}}}
	m := s.mirror(hello("1.0"), big, zeros)
	for i, test := range []struct{ name, packages string }{{"downloading", `"hello", "big"`}, {"unpacking", `"hello", "zeros"`}} {
		t.Run(test.name, func(t *testing.T) {
			s.t = t
			disk := tmpfs(t, filepath.Join(s.root, fmt.Sprint("disk", i)), "40m")
			small := &site{t: t, exe: s.exe, root: s.root, env: s.env, image: s.image, store: filepath.Join(disk, "store")}
			t.Cleanup(small.leave)
			dir := small.minimal(fmt.Sprint("p", i), m, test.packages, "")
			small.want(3, dir, "run").wantSays(t, `image "d"`, "no space left on device")
			if out, err := exec.Command("mount", "-o", "remount,size=500m", disk).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			small.wantUnmade(dir, "")
			small.want(0, dir, "run")
			small.wantOut(dir, "hello 1.0")
		})
	}
}

func tmpfs(t *testing.T, dir, size string) string {
	t.Helper()
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size="+size, "tmpfs", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
	return dir
}
