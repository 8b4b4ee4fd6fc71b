package cmd

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"plumb/engine/agent"
	"plumb/engine/runtime/runtimetest"
)

const slow = `
stage "slow" {
  command = "echo begun; sleep 60; echo x > out"
  outputs = { out = "out" }
}
`

// gone is a store that something happens to while an agent uses it: the run under way
// ends and says why, the agent leaves by itself, and touches nothing at that path.
func gone(t *testing.T, happens func(s *site)) *site {
	t.Helper()
	s := newSite(t)
	dir := s.project("p", slow)
	p := s.start(dir, "run")
	p.says("begun")
	old := s.pidFile()
	if old == 0 {
		t.Fatal("no agent is running")
	}
	happens(s)
	r := p.wait()
	if r.code != exitMachine || !strings.Contains(r.err, "was removed, moved or replaced while it was in use") || !strings.Contains(r.err, s.store) {
		t.Errorf("the run does not say what happened: %v", r)
	}
	eventually(t, "the old agent is gone", func() bool { return syscall.Kill(old, 0) != nil })
	return s
}

// wantUsable runs in the store that is at the path now.
func (s *site) wantUsable(want string) {
	s.t.Helper()
	dir := filepath.Join(s.root, "q")
	if _, err := os.Lstat(dir); err != nil {
		dir = s.project("q", small)
	}
	s.want(0, dir, "run")
	if got := s.want(0, dir, "run", "--json"); !strings.Contains(got.out, want) {
		s.t.Errorf("%q is not in %v", want, got)
	}
	s.want(0, "", "runs", "--all")
}

func TestStoreRemoved(t *testing.T) {
	s := gone(t, func(s *site) {
		if err := os.RemoveAll(s.store); err != nil {
			s.t.Fatal(err)
		}
	})
	if _, err := os.Lstat(s.store); !os.IsNotExist(err) {
		t.Errorf("the agent made something where the store was: %v, %v", err, s.listing())
	}
	s.wantUsable("cached")
}

func TestStoreMoved(t *testing.T) {
	var aside string
	s := gone(t, func(s *site) {
		aside = filepath.Join(s.root, "aside")
		if err := os.Rename(s.store, aside); err != nil {
			s.t.Fatal(err)
		}
	})
	s.wantUsable("cached")
	other := *s
	other.store = aside
	other.wantUsable("cached")
	if runs := other.runs(); len(runs) != 3 || runs[2].Status != "canceled" {
		t.Errorf("the moved store has the runs %+v", runs)
	}
	other.want(0, "", "agent", "stop")
}

// A new store at the same path has an agent of its own, which the old one leaves
// alone: its socket, its files.
func TestStoreReplaced(t *testing.T) {
	var now int
	s := gone(t, func(s *site) {
		if err := os.Rename(s.store, filepath.Join(s.root, "aside")); err != nil {
			s.t.Fatal(err)
		}
		s.want(0, s.project("q", small), "run")
		now = s.pidFile()
	})
	var st agent.Status
	s.document(&st, "", "agent", "status", "--json")
	if !st.Running || st.PID != now {
		t.Errorf("process %d was the new store's agent, and it is %+v", now, st)
	}
	s.wantUsable("cached")
	s.wantSoundBlobs()
}

// Without its lock a store could have two owners.
func TestLockRemoved(t *testing.T) {
	s := gone(t, func(s *site) {
		if err := os.Remove(filepath.Join(s.store, "lock")); err != nil {
			s.t.Fatal(err)
		}
	})
	s.wantUsable("cached")
	s.wantSoundBlobs()
}

// An ordinary user takes the permission to write from all directories of a store that an
// agent uses. The agent is root in a namespace of its own where there are namespaces, to
// which the user's modes are no obstacle; else the run says what is. Nothing is broken.
func TestStoreMadeReadOnly(t *testing.T) {
	t.Parallel()
	s := newUserSite(t, runtimetest.NewUser(t, "", false))
	dir := s.give(s.project("p", `
stage "a" {
  command = "echo begun; sleep 2; seq 1 20000 > out"
  outputs = { out = "out" }
}
`))
	p := s.start(dir, "run")
	p.says("begun")
	s.chmodDirs(0o500)
	r := p.wait()
	s.chmodDirs(0o700)
	if r.code != 0 && (r.code != exitStage && r.code != exitMachine || !strings.Contains(r.err, "permission denied") || !strings.Contains(r.err, s.store)) {
		t.Errorf("it does not say what is wrong: %v", r)
	}
	s.want(0, dir, "run")
	if got := s.want(0, dir, "get", "a.out", "-o", "-").out; strings.Count(got, "\n") != 20_000 {
		t.Errorf("got %d bytes", len(got))
	}
	s.wantSoundBlobs()
}

// chmodDirs gives the store's directories, down to those of the blobs, a mode.
func (s *site) chmodDirs(mode fs.FileMode) {
	s.t.Helper()
	for _, pattern := range []string{"", "tmp", "meta", "cache", "placed", "blobs", "blobs/sha256", "blobs/sha256/??"} {
		names, err := filepath.Glob(filepath.Join(s.store, pattern))
		if err != nil {
			s.t.Fatal(err)
		}
		for _, name := range names {
			if err := os.Chmod(name, mode); err != nil {
				s.t.Fatal(err)
			}
		}
	}
}
