package cmd

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plumb/engine/runtime/runtimetest"
)

// Stages run by a containerd of the machine's packages come to the same as elsewhere,
// with the same keys, and leave as little behind.

// newDaemon starts one for a test.
func newDaemon(t *testing.T) *runtimetest.Daemon {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("containers of a daemon are root's")
	}
	if err := runtimetest.HasDaemon(); err != nil {
		t.Skip(err)
	}
	dir, err := os.MkdirTemp("", "ctr-") // a short name for its sockets
	if err != nil {
		t.Fatal(err)
	}
	d := &runtimetest.Daemon{Dir: dir}
	t.Cleanup(func() {
		if err := d.Stop(); err != nil {
			t.Error(err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	return d
}

// wantNoContainers looks for what the daemon has of any store.
func wantNoContainers(t *testing.T, d *runtimetest.Daemon) {
	t.Helper()
	out, err := exec.Command("ctr", "--address", d.Socket(), "--namespace", "plumb", "containers", "ls", "-q").CombinedOutput()
	if err != nil || len(strings.TrimSpace(string(out))) > 0 {
		t.Errorf("the daemon has containers: %s %v", out, err)
	}
	if shims, err := d.Shims(); err != nil || len(shims) > 0 {
		t.Errorf("the daemon has shims: %v, %v", shims, err)
	}
}

// cgroupOf names the control group of the store's containers there.
func (s *site) cgroupOf(d *runtimetest.Daemon) string {
	sum := sha256.Sum256([]byte(filepath.Join(s.store, "daemon-"+shortOf(d.Socket()))))
	return "plumb-" + hex.EncodeToString(sum[:6])
}

// wantNoCgroups is for when no agent is there.
func (s *site) wantNoCgroups(d *runtimetest.Daemon) {
	s.t.Helper()
	for _, pattern := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/"} {
		if found, err := filepath.Glob(pattern + s.cgroupOf(d)); err != nil || len(found) > 0 {
			s.t.Errorf("control groups are left: %v, %v", found, err)
		}
	}
}

// by is a command line with the daemon as the runtime.
func by(d *runtimetest.Daemon, args ...string) []string {
	return append([]string{"--runtime", "containerd=" + d.Socket()}, args...)
}

func TestDaemon(t *testing.T) {
	d := newDaemon(t)
	s := newSite(t) // whose agent ends first
	dir := s.hello()
	if r := s.want(0, dir, by(d, "run")...); !strings.Contains(r.err, "succeeded: 3 ran") {
		t.Errorf("the run by the daemon: %v", r)
	}
	other := makeSite(t)
	there := other.hello()
	other.want(0, there, "run")
	if diff := cmp.Diff(other.made(there), s.made(dir)); diff != "" {
		t.Errorf("what plumb's own containerd made (-) and what the daemon's did (+):\n%s", diff)
	}
	if r := s.want(0, dir, "run"); !strings.Contains(r.err, "nothing to do: 3 stages unchanged") {
		t.Errorf("the same by plumb's own: %v", r)
	}
	s.otherUser(d)
	if r := s.want(0, "", by(d, "doctor")...); !strings.Contains(r.out, "This machine can run stages") || !strings.Contains(r.out, d.Socket()) {
		t.Errorf("plumb doctor: %v", r)
	}
	wantNoContainers(t, d)
}

// otherUser has an image of an archive with a user of its own, and secrets.
func (s *site) otherUser(d *runtimetest.Daemon) {
	s.t.Helper()
	s.image = filepath.Join(s.t.TempDir(), "worker")
	if err := (runtimetest.Image{User: "worker"}).Write(s.image); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.root, "secret"), []byte("hunter2"), 0o600); err != nil {
		s.t.Fatal(err)
	}
	dir := s.project("worker", `
secret "db" { file = "../secret" }
stage "a" {
  secrets = [secret.db]
  command = "id > who; wc -c < /run/secrets/db >> who; stat /run/secrets/db"
  outputs = { who = "who" }
}
`)
	s.want(0, dir, by(d, "run")...)
	if r := s.want(0, dir, "get", "a.who", "-o", "-"); !strings.HasPrefix(r.out, "uid=1000(worker) gid=1000") {
		s.t.Errorf("it ran as %s", r.out)
	}
	if r := s.want(0, dir, by(d, "image", "ls")...); !strings.Contains(r.out, "image") {
		s.t.Errorf("images: %v", r)
	}
}

// Nothing of a stopped or killed agent is left in the daemon after the next command.
func TestDaemonAgentEnds(t *testing.T) {
	d := newDaemon(t)
	s := newSite(t) // whose agent ends first
	dir := s.project("endless", endless)
	t.Run("stopped", func(t *testing.T) {
		p := s.start(dir, by(d, "run")...)
		p.says("begun")
		s.want(0, "", "agent", "stop")
		p.wait()
		wantNoContainers(t, d)
		s.wantNoCgroups(d)
	})
	for _, inside := range []bool{false, true} {
		t.Run("killed", func(t *testing.T) {
			p := s.start(dir, by(d, "run")...)
			p.says("begun")
			p.signal(syscall.SIGSTOP) // or it would start another agent
			kill(t, s.agentPID(), inside)
			p.signal(syscall.SIGKILL)
			p.wait()
			if shims, err := d.Shims(); err != nil || len(shims) == 0 {
				t.Errorf("a killed agent left nothing: this test tests nothing (%v)", err)
			}
			s.want(0, "", "agent", "stop") // which starts one, that it may clear up
			wantNoContainers(t, d)
			s.wantNoCgroups(d)
			s.wantNothingLeft()
		})
	}
}

// A daemon that goes away under a stage fails it, with its name, and a run after its
// return is as if nothing had been.
func TestDaemonGoesAway(t *testing.T) {
	d := newDaemon(t)
	s := newSite(t) // whose agent ends first
	dir := s.project("p", "stage \"a\" {\n command = \"echo begun; sleep 600\"\n outputs = { out = \"out\" }\n retry { infra = 0 }\n}\n")
	p := s.start(dir, by(d, "run")...)
	p.says("begun")
	if err := d.Kill(); err != nil {
		t.Fatal(err)
	}
	if r := p.wait(); r.code == 0 || !strings.Contains(r.err, "went away") || !strings.Contains(r.err, d.Socket()) {
		t.Errorf("the run: %v", r)
	}
	if r := s.want(3, "", by(d, "doctor")...); !strings.Contains(r.out, "nobody answers at the socket") {
		t.Errorf("plumb doctor: %v", r)
	}
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	quick := s.project("quick", "stage \"a\" {\n command = \"echo x > out\"\n outputs = { out = \"out\" }\n}\n")
	s.want(0, quick, by(d, "run")...)
	eventually(t, "what the daemon had is gone", func() bool {
		shims, err := d.Shims()
		return err == nil && len(shims) == 0
	})
}

// What cannot be used is said, with what to do.
func TestDaemonRefused(t *testing.T) {
	s := newSite(t)
	dir := s.project("p", "stage \"a\" {\n command = \"echo x > out\"\n outputs = { out = \"out\" }\n}\n")
	plain := filepath.Join(s.root, "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for socket, want := range map[string][]string{
		filepath.Join(s.root, "none.sock"): {"there is no socket", "systemctl start containerd"},
		plain:                              {"is no socket", "/run/containerd/containerd.sock"},
	} {
		r := s.want(3, dir, "--runtime", "containerd="+socket, "run")
		if slices.ContainsFunc(want, func(w string) bool { return !strings.Contains(r.err, w) }) {
			t.Errorf("%s: %v", socket, r)
		}
	}
}

// An ordinary user is told that it takes root.
func TestDaemonOfAnotherUser(t *testing.T) {
	d := newDaemon(t)
	t.Parallel()
	s := newUserSite(t, runtimetest.NewUser(t, "", false))
	dir := s.give(s.project("p", "stage \"a\" {\n command = \"echo x > out\"\n outputs = { out = \"out\" }\n}\n"))
	if r := s.want(3, dir, by(d, "run")...); !strings.Contains(r.err, "by root only") || !strings.Contains(r.err, "without --runtime") {
		t.Errorf("the run: %v", r)
	}
	if r := s.want(3, "", by(d, "doctor")...); !strings.Contains(r.out, "run plumb as root") {
		t.Errorf("plumb doctor: %v", r)
	}
}

// An image of packages is made where its stages run, and comes to what it is pinned to.
func TestDaemonMakesDebianImages(t *testing.T) {
	d := newDaemon(t)
	s := newSite(t)
	m := s.mirror(hello("1.0"))
	dir := s.minimal("p", m, `"hello"`, "")
	s.want(0, dir, "lock") // by plumb's own
	s.want(0, dir, by(d, "run", "--locked")...)
	s.wantOut(dir, "hello 1.0")
	m.Forget()
	s.want(0, dir, "run", "--expect-cached")
	s.want(0, dir, by(d, "run", "--force", "s", "--locked")...)
	if asked := m.Asked(""); len(asked) > 0 {
		t.Errorf("the mirror was asked for %v", asked)
	}
	if r := s.want(0, dir, by(d, "image", "show", "d")...); !strings.Contains(r.out, "hello") {
		t.Errorf("the image: %v", r)
	}
}
