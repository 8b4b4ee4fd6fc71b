package cmd

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plumb/engine"
	"plumb/engine/runtime/runtimetest"
)

// What an ordinary user does comes to the same as what root does, with the same keys,
// is the user's, and leaves as little behind.

// newUserSite is a site of an ordinary user's, in the user's home.
func newUserSite(t *testing.T, u runtimetest.User) *site {
	t.Helper()
	s := makeSite(t)
	s.exe = u.Place(t, s.exe)
	s.root, s.store = u.Home, filepath.Join(u.Home, "store")
	cmd := u.Command(s.exe)
	s.env, s.as = cmd.Env, cmd.SysProcAttr.Credential
	return s
}

// give makes a directory the user's.
func (s *site) give(dir string) string {
	s.t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || s.as == nil {
			return err
		}
		return os.Lchown(path, int(s.as.Uid), int(s.as.Gid))
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return dir
}

// hello copies the example.
func (s *site) hello() string {
	s.t.Helper()
	dir := filepath.Join(s.root, "hello")
	if err := os.CopyFS(dir, os.DirFS("../examples/hello")); err != nil {
		s.t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "report.txt")); err != nil {
		s.t.Fatal(err)
	}
	return s.give(dir)
}

// made is what a run came to: keys, and digests of outputs.
func (s *site) made(dir string) map[string]string {
	s.t.Helper()
	var doc engine.ShowDoc
	s.document(&doc, dir, "show", "--json")
	out := map[string]string{}
	for _, st := range doc.Stages {
		out[st.Name] = st.Key.String()
		for name, o := range st.Outputs {
			out[st.Name+"."+name] = o.Digest.String()
		}
	}
	return out
}

// ownersBelow counts the files below dir by whose they are.
func ownersBelow(t *testing.T, dir string) map[uint32]int {
	t.Helper()
	all := map[uint32]int{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		all[info.Sys().(*syscall.Stat_t).Uid]++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestRootless(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make users")
	}
	t.Parallel()
	root := makeSite(t)
	dir := root.hello()
	root.want(0, dir, "run")
	want := root.made(dir)
	for name, ranges := range map[string]bool{"plumb-test-cmd": true, "": false} {
		t.Run(map[bool]string{true: "subordinate ids", false: "one id"}[ranges], func(t *testing.T) {
			u := runtimetest.NewUser(t, name, ranges)
			s := newUserSite(t, u)
			dir := s.hello()
			if r := s.want(0, dir, "run"); !strings.Contains(r.err, "succeeded: 3 ran") {
				t.Errorf("the first run: %v", r)
			}
			if r := s.want(0, dir, "run"); !strings.Contains(r.err, "nothing to do: 3 stages unchanged") {
				t.Errorf("the second run: %v", r)
			}
			if diff := cmp.Diff(want, s.made(dir)); diff != "" {
				t.Errorf("what root made (-) and what the user made (+):\n%s", diff)
			}
			for _, mine := range []string{dir, filepath.Join(s.store, "blobs")} {
				if all := ownersBelow(t, mine); len(all) != 1 || all[u.UID] == 0 {
					t.Errorf("files in %q belong to %v, the user is %d", mine, all, u.UID)
				}
			}
			if all := ownersBelow(t, s.store); all[0] != 0 {
				t.Errorf("files in the store belong to %v", all)
			}
			if r := s.want(0, "", "doctor"); !strings.Contains(r.out, "This machine can run stages") || !strings.Contains(r.out, "subordinate ids") {
				t.Errorf("plumb doctor: %v", r)
			}
			s.killedAsUser()
			if ranges {
				s.outputsOfAnother(u)
			}
		})
	}
}

// outputsOfAnother has a stage whose user is another inside, as its files are outside
// until they are captured.
func (s *site) outputsOfAnother(u runtimetest.User) {
	s.t.Helper()
	s.image = filepath.Join(s.t.TempDir(), "worker")
	if err := (runtimetest.Image{User: "worker"}).Write(s.image); err != nil {
		s.t.Fatal(err)
	}
	dir := s.give(s.project("worker", `
stage "a" {
  command = "id > who; mkdir -p tree/sub; seq 1 100000 > tree/sub/large; ln -s sub/large tree/link"
  outputs = { who = "who", tree = "tree/" }
}
stage "b" {
  inputs  = [stage.a.tree]
  command = "wc -l tree/link > lines"
  outputs = { lines = "lines" }
}
`))
	s.want(0, dir, "run")
	if r := s.want(0, dir, "get", "a.who", "-o", "-"); !strings.HasPrefix(r.out, "uid=1000(worker)") {
		s.t.Errorf("it ran as %s", r.out)
	}
	s.want(0, dir, "get", "a.tree", "-o", filepath.Join(dir, "tree"))
	for _, mine := range []string{dir, filepath.Join(s.store, "blobs"), filepath.Join(s.store, "placed")} {
		if all := ownersBelow(s.t, mine); len(all) != 1 || all[u.UID] == 0 {
			s.t.Errorf("files in %q belong to %v, the user is %d", mine, all, u.UID)
		}
	}
}

// killedAsUser kills the agent, by either of its two processes, while a stage runs.
func (s *site) killedAsUser() {
	s.t.Helper()
	dir := s.give(s.project("endless", endless))
	for _, inside := range []bool{false, true} {
		p := s.start(dir, "run")
		p.says("begun")
		p.signal(syscall.SIGSTOP) // or it would start another agent
		kill(s.t, s.agentPID(), inside)
		p.signal(syscall.SIGKILL)
		p.wait()
		eventually(s.t, "the containers of a killed agent are gone", func() bool { return len(s.left()) == 0 })
	}
}

// TestUserIsToldWhatIsMissing has an image of a user in a place where there is one id,
// and one of packages.
func TestUserIsToldWhatIsMissing(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make users")
	}
	t.Parallel()
	s := newUserSite(t, runtimetest.NewUser(t, "", false))
	s.image = filepath.Join(t.TempDir(), "worker")
	if err := (runtimetest.Image{User: "worker"}).Write(s.image); err != nil {
		t.Fatal(err)
	}
	dir := s.give(s.project("p", "stage \"a\" {\n command = \"id > out\"\n outputs = { out = \"out\" }\n}\nstage \"b\" {\n command = \"id > other\"\n outputs = { out = \"other\" }\n}\n"))
	if r := s.want(0, dir, "run"); strings.Count(r.err, `the image's user is "worker"`) != 1 || !strings.Contains(r.err, "plumb doctor says how") {
		t.Errorf("the warning: %v", r)
	}
	if r := s.want(0, dir, "get", "a.out", "-o", "-"); !strings.HasPrefix(r.out, "uid=0(root)") {
		t.Errorf("it ran as %s", r.out)
	}
}
