package cmd

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"plumb/engine"
	"plumb/engine/agent"
	"plumb/engine/event"
	"plumb/engine/runtime/runtimetest"
	"plumb/store"
)

// What scripts cannot say is said here: processes that are killed, that run side
// by side, or that find the machine in a bad way. A site is a store with projects;
// plumb runs on it as real processes, the agent too, and when the test is over
// nothing of it may be left on the machine.
type site struct {
	t     *testing.T
	exe   string
	store string
	image string
	root  string // projects live here
	env   []string
	limit time.Duration // of a plumb, 0 for twice the patience
	as    *syscall.Credential

	// Where it is when it is not on the machine itself: see place_test.go.
	job    *runtimetest.Job
	daemon *runtimetest.Daemon
}

// patience is how long a test waits for what must come, on a machine that does
// other things besides.
const patience = 30 * time.Second

// newSite makes one. Its test runs beside others: most of it is waiting.
func newSite(t *testing.T) *site {
	t.Helper()
	if os.Getenv("PLUMB_UPDATE") != "" {
		t.Skip("no golden file comes of it")
	}
	t.Parallel()
	return makeSite(t)
}

// makeSite makes one of several that a test has.
func makeSite(t *testing.T) *site {
	t.Helper()
	exe, err := exec.LookPath("plumb")
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	s := &site{t: t, exe: exe, root: root, store: filepath.Join(root, "store"), image: filepath.Join(imageDir(t), "plain")}
	s.env = []string{"HOME=" + root, "PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir()}
	t.Cleanup(s.leave)
	return s
}

// leave ends the agent and looks for what is left.
func (s *site) leave() {
	if r := s.plumb("", "agent", "stop"); r.code != 0 {
		s.t.Errorf("plumb agent stop: %v", r)
	}
	s.wantNothingLeft()
}

// project makes one, with the image at hand as image.sh.
func (s *site) project(name, pipeline string) string {
	s.t.Helper()
	dir := filepath.Join(s.root, name)
	if err := os.CopyFS(filepath.Join(dir, "image"), os.DirFS(s.image)); err != nil {
		s.t.Fatal(err)
	}
	s.writePipeline(dir, pipeline)
	return dir
}

// writePipeline gives a project its pipeline.
func (s *site) writePipeline(dir, pipeline string) {
	s.t.Helper()
	text := "image \"sh\" { archive = \"image\" }\npipeline \"" + filepath.Base(dir) + "\" { image = image.sh }\n" + pipeline
	if err := os.WriteFile(filepath.Join(dir, "plumb.hcl"), []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// again makes the project anew in a directory that is empty now.
func (s *site) again(dir, pipeline string) {
	s.t.Helper()
	if err := os.CopyFS(filepath.Join(dir, "image"), os.DirFS(s.image)); err != nil {
		s.t.Fatal(err)
	}
	s.writePipeline(dir, pipeline)
}

// process is a plumb under way.
type process struct {
	t        *testing.T
	limit    time.Duration
	cmd      *exec.Cmd
	out, err lineBuffer
	ended    chan struct{}
}

// result is how one ended. A process that a signal killed has the code -1.
type result struct {
	code     int
	out, err string
}

func (r result) String() string { return fmt.Sprintf("exit %d\n%s\n%s", r.code, r.out, r.err) }

// start runs plumb in dir, with a process group of its own, and does not wait.
func (s *site) start(dir string, args ...string) *process {
	s.t.Helper()
	return s.startExe(s.exe, dir, args...)
}

func (s *site) startExe(exe, dir string, args ...string) *process {
	s.t.Helper()
	if dir == "" {
		dir = s.root
	}
	p := &process{t: s.t, limit: s.limit, ended: make(chan struct{})}
	args = append([]string{"--store", s.store}, args...)
	if s.job != nil {
		p.cmd = s.job.Command(dir, s.env, append([]string{exe}, args...)...)
	} else {
		p.cmd = exec.Command(exe, args...)
		p.cmd.Dir, p.cmd.Env = dir, s.env
	}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: s.as}
	if err := p.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		var ee *exec.ExitError
		if err := p.cmd.Wait(); err != nil && !errors.As(err, &ee) {
			fmt.Fprintln(&p.err, err)
		}
	}()
	return p
}

func (p *process) wait() result {
	p.t.Helper()
	limit := p.limit
	if limit == 0 {
		limit = 2 * patience
	}
	select {
	case <-p.ended:
	case <-time.After(limit):
		p.signal(syscall.SIGKILL)
		<-p.ended
		p.t.Fatalf("plumb %q does not end:\n%s\n%s", p.cmd.Args[1:], p.out.String(), p.err.String())
	}
	return result{p.cmd.ProcessState.ExitCode(), p.out.String(), p.err.String()}
}

// signal sends to a process that may have ended already.
func (p *process) signal(sig syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatal(err)
	}
}

func (s *site) plumb(dir string, args ...string) result {
	s.t.Helper()
	return s.start(dir, args...).wait()
}

// want runs plumb and requires its exit status.
func (s *site) want(code int, dir string, args ...string) result {
	s.t.Helper()
	r := s.plumb(dir, args...)
	if r.code != code {
		s.t.Fatalf("plumb %q, want exit %d: %v%s", args, code, r, s.agentLog())
	}
	return r
}

func (s *site) agentLog() string {
	b, err := os.ReadFile(filepath.Join(s.store, "agent.log"))
	if err != nil {
		return ""
	}
	return "\nagent.log: " + string(b)
}

// lineBuffer is what a process printed so far.
type lineBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lineBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lineBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// eventually waits for what becomes true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %v still not: %s", patience, what)
		}
	}
}

// says waits until the process printed text, on either of its outputs.
func (p *process) says(text string) {
	p.t.Helper()
	eventually(p.t, fmt.Sprintf("plumb %q prints %q", p.cmd.Args[1:], text), func() bool {
		return strings.Contains(p.out.String()+p.err.String(), text)
	})
}

// finished is the last event of a run with --json.
func finished(t *testing.T, r result) event.Event {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(r.out), "\n")
	var e event.Event
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &e); err != nil || e.Type != event.RunFinished {
		t.Fatalf("the last line is no run_finished: %v\n%v", err, r)
	}
	return e
}

// runs lists the history of all projects, newest first.
func (s *site) runs() []store.Run {
	s.t.Helper()
	var doc engine.RunsDoc
	s.document(&doc, "", "runs", "--all", "--json")
	out := make([]store.Run, len(doc.Runs))
	for i := range doc.Runs {
		out[i] = doc.Runs[i].Run
	}
	return out
}

func (s *site) document(into any, dir string, args ...string) {
	s.t.Helper()
	r := s.want(0, dir, args...)
	if err := json.Unmarshal([]byte(r.out), into); err != nil {
		s.t.Fatalf("plumb %q: %v\n%s", args, err, r.out)
	}
}

// agentPID is the process that owns the store, as the machine sees it.
func (s *site) agentPID() int {
	s.t.Helper()
	var st agent.Status
	s.document(&st, "", "agent", "status", "--json")
	if !st.Running {
		s.t.Fatal("no agent is running")
	}
	return st.PID
}

// pidFile is the agent's process, 0 when there is none: quicker than asking.
func (s *site) pidFile() int {
	b, err := os.ReadFile(filepath.Join(s.store, "agent.pid"))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0
	}
	return pid
}

// wantNothingLeft looks on the whole machine for what belongs to the store:
// control groups, mounts in any namespace, processes, mount points.
func (s *site) wantNothingLeft() {
	s.t.Helper()
	found := s.left()
	// An agent that will not have its store says so, and then ends.
	for until := time.Now().Add(patience / 6); len(found) > 0 && time.Now().Before(until) && s.refused(found); found = s.left() {
		time.Sleep(10 * time.Millisecond)
	}
	for _, what := range found {
		s.t.Errorf("left behind: %s", what)
	}
}

// refused reports whether what is found are processes alone, none of which uses the store.
func (s *site) refused(found []string) bool {
	return s.pidFile() == 0 && !slices.ContainsFunc(found, func(what string) bool { return !strings.HasPrefix(what, "/proc/") })
}

func (s *site) left() (found []string) {
	found = append(found, s.cgroups()...)
	found = append(found, s.leftElsewhere()...)
	procs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		s.t.Fatal(err)
	}
	for _, proc := range procs {
		found = append(found, s.ofProcess(proc)...)
	}
	if _, err := os.Lstat(statePath(s.store)); err == nil {
		found = append(found, statePath(s.store))
	}
	return found
}

// cgroups are those of the store's containers, under every controller.
func (s *site) cgroups() (found []string) {
	for _, pattern := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/", "/sys/fs/cgroup/*/*/", "/sys/fs/cgroup/*/*/*/"} {
		dirs, err := filepath.Glob(pattern + s.cgroup())
		if err != nil {
			s.t.Fatal(err)
		}
		found = append(found, dirs...)
	}
	return found
}

// cgroup is how the runtime names the control group of all of a store's containers.
func (s *site) cgroup() string {
	sum := sha256.Sum256([]byte(filepath.Join(s.store, "containerd")))
	return "plumb-" + hex.EncodeToString(sum[:6])
}

func (s *site) ofProcess(proc string) (found []string) {
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(proc, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ESRCH) && !errors.Is(err, syscall.EINVAL) {
			s.t.Error(err)
		}
		return string(b)
	}
	if proc == "/proc/"+strconv.Itoa(os.Getpid()) {
		return nil
	}
	if cmdline := read("cmdline"); strings.Contains(cmdline, s.store) {
		found = append(found, proc+" "+strings.ReplaceAll(cmdline, "\x00", " "))
	}
	if strings.Contains(read("cgroup"), s.cgroup()) {
		found = append(found, proc+" in a container: "+read("comm"))
	}
	in := bufio.NewScanner(strings.NewReader(read("mountinfo")))
	for in.Scan() {
		if strings.Contains(in.Text(), s.store+"/") || strings.Contains(in.Text(), statePath(s.store)) {
			found = append(found, proc+" sees the mount "+in.Text())
		}
	}
	return found
}
