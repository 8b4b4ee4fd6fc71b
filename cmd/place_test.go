package cmd

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"plumb/cmd/view"
	"plumb/engine"
	"plumb/engine/runtime/runtimetest"
)

// place is somewhere that plumb has to run stages.
type place struct {
	name      string
	site      func(t *testing.T, name string) *site // name is for what the machine knows it by
	isolation string
	oneID     bool  // everything in an image is root's, and no image is made of packages
	wine      often // when the wine example is run there
}

// often is when something is done that takes minutes on a busy machine.
type often int

const (
	byDefault often = iota
	onRequest       // with PLUMB_TEST_EVERYWHERE=all
	never
)

// places are all of them.
var places = []place{
	{name: "root", isolation: engine.IsolationContainer, site: func(t *testing.T, _ string) *site { return makeSite(t) }},
	{name: "a user with subordinate ids", isolation: engine.IsolationContainer, site: func(t *testing.T, name string) *site {
		return newUserSite(t, runtimetest.NewUser(t, "plumb-test-"+name, true))
	}},
	{name: "a user with one id", isolation: engine.IsolationContainer, oneID: true, site: func(t *testing.T, _ string) *site {
		return newUserSite(t, runtimetest.NewUser(t, "", false))
	}},
	{name: "a container without privileges", isolation: engine.IsolationChroot, wine: onRequest, site: func(t *testing.T, _ string) *site {
		s := newJobSite(t, runtimetest.JobOptions{})
		s.env = append(s.env, "PLUMB_ISOLATION="+engine.IsolationChroot)
		return s
	}},
	{name: "a container with privileges", isolation: engine.IsolationContainer, wine: never, site: func(t *testing.T, _ string) *site {
		if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
			t.Skip("with cgroups of version 2 alone such a container has to move its processes out of the topmost one first")
		}
		return newJobSite(t, runtimetest.JobOptions{Privileged: true})
	}},
	{name: "the containerd of the machine", isolation: engine.IsolationContainer, site: func(t *testing.T, _ string) *site {
		d := newDaemon(t)
		s := makeSite(t)
		s.daemon = d
		s.env = append(s.env, "PLUMB_RUNTIME=containerd="+d.Socket())
		return s
	}},
}

// newJobSite is a site in the container of a job, where all of it has the names that it
// has outside.
func newJobSite(t *testing.T, opts runtimetest.JobOptions) *site {
	t.Helper()
	root, err := os.MkdirTemp("", "plumb-site-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(root); err != nil {
			t.Error(err)
		}
	})
	if root, err = filepath.EvalSymlinks(root); err != nil {
		t.Fatal(err)
	}
	exe, err := exec.LookPath("plumb")
	if err != nil {
		t.Fatal(err)
	}
	opts.Shared = append(opts.Shared, root)
	if len(opts.Fixed) == 0 {
		opts.Fixed = []string{filepath.Dir(exe)}
	}
	job := runtimetest.NewJob(t, opts)
	s := makeSite(t)
	s.root, s.store, s.job = root, filepath.Join(root, "store"), job
	s.env = []string{"HOME=/root"}
	return s
}

// killAgent kills it, by the number that it has where it is.
func (s *site) killAgent() {
	s.t.Helper()
	pid := s.agentPID()
	if s.job == nil {
		kill(s.t, pid, false)
		return
	}
	if out, err := s.job.Command("/", nil, "sh", "-c", fmt.Sprintf("kill -KILL %d", pid)).CombinedOutput(); err != nil {
		s.t.Fatalf("killing the agent: %v\n%s", err, out)
	}
}

// leftElsewhere looks where left does not: in the container that the site is in, and in
// what the machine's containerd has.
func (s *site) leftElsewhere() (found []string) {
	if s.job != nil {
		all, err := s.job.Processes()
		if err != nil {
			s.t.Error(err)
		}
		found = append(found, all...)
		made, err := filepath.Glob(s.job.Root() + "/run/plumb/*")
		if err != nil {
			s.t.Error(err)
		}
		found = append(found, made...)
	}
	if s.daemon != nil {
		out, err := exec.Command("ctr", "--address", s.daemon.Socket(), "--namespace", "plumb", "containers", "ls", "-q").CombinedOutput()
		if err != nil {
			s.t.Errorf("asking the daemon for its containers: %v\n%s", err, out)
		}
		found = append(found, strings.Fields(string(out))...)
		shims, err := s.daemon.Shims()
		if err != nil {
			s.t.Error(err)
		}
		for _, pid := range shims {
			found = append(found, fmt.Sprintf("shim %d", pid))
		}
		dirs, err := filepath.Glob(statePath(s.store) + "-*")
		if err != nil {
			s.t.Error(err)
		}
		found = append(found, dirs...)
	}
	return found
}

// TestJobIsToldWhatToDo calls plumb as one would anywhere, in the container of a job.
func TestJobIsToldWhatToDo(t *testing.T) {
	s := newJobSite(t, runtimetest.JobOptions{})
	t.Parallel()
	dir := s.project("p", "stage \"a\" {\n command = \"echo x > out\"\n outputs = { out = \"out\" }\n}\n")
	const hint = "in a container, such as a CI job's: plumb --isolation chroot run (PLUMB_ISOLATION=chroot says so for the whole job), or give the container what it lacks (for docker: --privileged)"
	s.want(3, dir, "run").wantSays(t, "entering private mount and PID namespaces", "hint: "+hint)
	var failed view.ErrorDoc
	if err := json.Unmarshal([]byte(s.want(3, dir, "--json", "run").out), &failed); err != nil || failed.Error.Kind != engine.Machine || failed.Error.Hint != hint {
		t.Errorf("the error: %+v, %v", failed.Error, err)
	}
	r := s.want(3, "", "doctor")
	r.wantSays(t, "root has no CAP_SYS_ADMIN here", hint)
	if n := strings.Count(r.out, "remedy:"); n != 1 {
		t.Errorf("doctor has %d remedies for one lack: %v", n, r)
	}
	// Looking at the pipeline takes no containers.
	s.want(0, dir, "validate")
	s.want(0, dir, "plan").wantSays(t, "a", "never run before")
	s.want(0, dir, "runs")
	s.want(0, dir, "--isolation", "chroot", "run")
	s.want(3, dir, "run").wantSays(t, "has no namespaces of its own", "hint: "+hint) // by the agent that is there
	s.want(0, dir, "--isolation", "chroot", "run", "--expect-cached")
	s.want(0, "", "--isolation", "chroot", "doctor").wantSays(t, "can run stages")
}

// TestProgramIsAMount has plumb mounted as a file, which libcontainer cannot do with.
func TestProgramIsAMount(t *testing.T) {
	exe, err := exec.LookPath("plumb")
	if err != nil {
		t.Fatal(err)
	}
	s := newJobSite(t, runtimetest.JobOptions{Privileged: true, Fixed: []string{exe}})
	t.Parallel()
	dir := s.project("p", "stage \"a\" {\n command = \"echo x > out\"\n outputs = { out = \"out\" }\n}\n")
	s.want(3, dir, "run").wantSays(t, "is a mount by itself", "hint: mount the directory that it is in, or copy it")
	s.want(3, "", "doctor").wantSays(t, "✘ program", "remedy: mount the directory that it is in")
}
