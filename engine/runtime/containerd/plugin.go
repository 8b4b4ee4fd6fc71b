package containerd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	ctrruntime "github.com/containerd/containerd/v2/core/runtime"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"plumb/engine/runtime/containerd/early"
)

// taskRuntime is the plug-in that stands where containerd's shim manager would:
// its tasks are containers of libcontainer, children of this process.
//
// containerd's request names files by path. The pipe for the log and the
// program to execute are open files of this process; they are handed over
// beside the request, under the task's id.
type taskRuntime struct {
	bundles string // root filesystems
	state   string // libcontainer's
	mu      sync.Mutex
	files   map[string]taskFiles
	tasks   map[string]*task
}

var _ ctrruntime.PlatformRuntime = (*taskRuntime)(nil)

// taskFiles are what a task is started with.
type taskFiles struct {
	streams [3]*os.File // no input is /dev/null
	extra   []*os.File  // descriptors 3 and up
	env     []string    // of the first process
	pids    func(id string, first int) ([]int, error)
}

func newTaskRuntime(state, bundles string) *taskRuntime {
	return &taskRuntime{
		bundles: bundles,
		state:   filepath.Join(state, "libcontainer"),
		files:   map[string]taskFiles{},
		tasks:   map[string]*task{},
	}
}

// hand gives the task id its files. They stay the caller's to close.
func (r *taskRuntime) hand(id string, f taskFiles) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.files[id] = f
}

func (r *taskRuntime) take(id string) (taskFiles, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f, ok := r.files[id]
	delete(r.files, id)
	return f, ok
}

// ID is the name the task service looks for.
func (r *taskRuntime) ID() string { return "io.containerd.runtime.v2.task" }

// Create mounts the root filesystem and brings the container up to the point
// where only the command is missing.
func (r *taskRuntime) Create(_ context.Context, id string, o ctrruntime.CreateOpts) (_ ctrruntime.Task, err error) {
	files, ok := r.take(id)
	if !ok {
		return nil, fmt.Errorf("task %q has no files: %w", id, errdefs.ErrFailedPrecondition)
	}
	t := &task{id: id, bundle: filepath.Join(r.bundles, id), pids: files.pids, done: make(chan struct{})}
	rootfs := filepath.Join(t.bundle, "rootfs")
	if err := os.MkdirAll(rootfs, 0o711); err != nil {
		return nil, fmt.Errorf("making the root filesystem: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.remove())
		}
	}()
	if err := mount.All(o.Rootfs, rootfs); err != nil {
		return nil, fmt.Errorf("mounting the root filesystem: %w", err)
	}
	var spec specs.Spec
	if err := json.Unmarshal(o.Spec.GetValue(), &spec); err != nil {
		return nil, fmt.Errorf("reading the specification: %w", err)
	}
	spec.Root.Path = rootfs
	if err := t.create(r.state, &spec, files); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tasks[id] = t
	return t, nil
}

// Get answers a task.
func (r *taskRuntime) Get(_ context.Context, id string) (ctrruntime.Task, error) { return r.find(id) }

func (r *taskRuntime) find(id string) (*task, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t, ok := r.tasks[id]; ok {
		return t, nil
	}
	return nil, fmt.Errorf("task %q: %w", id, errdefs.ErrNotFound)
}

// Tasks answers all of them, in no order.
func (r *taskRuntime) Tasks(context.Context, bool) ([]ctrruntime.Task, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := []ctrruntime.Task{}
	for _, t := range r.tasks {
		all = append(all, t)
	}
	return all, nil
}

// Delete removes a task whose processes are gone.
func (r *taskRuntime) Delete(_ context.Context, id string) (*ctrruntime.Exit, error) {
	t, err := r.find(id)
	if err != nil {
		return nil, err
	}
	select {
	case <-t.done:
	default:
		return nil, fmt.Errorf("task %q is running: %w", id, errdefs.ErrFailedPrecondition)
	}
	if err := errors.Join(t.container.Destroy(), t.remove()); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.tasks, id)
	return t.exit(), nil
}

// task is one container and its first process.
type task struct {
	id        string
	bundle    string
	container *libcontainer.Container
	process   *libcontainer.Process
	pid       int
	pids      func(id string, first int) ([]int, error) // of the container, see cgroups
	done      chan struct{}                             // closed when the process is gone
	status    syscall.WaitStatus                        // valid then
	used      time.Duration                             // of CPU time, valid then
	finished  time.Time                                 // valid then
}

var _ ctrruntime.Task = (*task)(nil)

// create makes namespaces, cgroup and mounts. libcontainer starts this program
// again for it, which waits before the command is executed.
func (t *task) create(state string, spec *specs.Spec, files taskFiles) error {
	cfg, err := convert(t.id, spec)
	if err != nil {
		return fmt.Errorf("reading the specification: %w", err)
	}
	if spec.Hooks != nil {
		cfg.Labels = []string{"bundle=" + t.bundle} // else where this process happens to be
		if err := t.forHooks(spec); err != nil {
			return err
		}
	}
	if t.container, err = libcontainer.Create(state, t.id, cfg); err != nil {
		return err
	}
	t.process = processOf(spec.Process, files)
	if err := t.container.Start(t.process); err != nil {
		return errors.Join(err, t.container.Destroy())
	}
	if t.pid, err = t.process.Pid(); err != nil {
		return err
	}
	go t.reap()
	return nil
}

// convertLock guards a table of devices in libcontainer: converting writes the
// owners of this container into it.
var convertLock sync.Mutex

// convert translates the specification. The devices are those of the common
// /dev; of libcontainer's own only the rules are wanted.
func convert(id string, spec *specs.Spec) (*configs.Config, error) {
	convertLock.Lock()
	defer convertLock.Unlock()
	cfg, err := specconv.CreateLibcontainerConfig(&specconv.CreateOpts{
		CgroupName: id,
		Spec:       spec,
		// The session keyring of each container would count against a small
		// quota of its user; its system calls are refused by the filter anyway.
		NoNewKeyring: true,
		// Which goes on where there is no cgroup, or one that rules no devices.
		RootlessCgroups: early.Rootless(),
	})
	if err == nil {
		cfg.Devices = nil
	}
	return cfg, err
}

// rlimits are those that ociSpec names.
var rlimits = map[string]int{"RLIMIT_CORE": unix.RLIMIT_CORE, "RLIMIT_NOFILE": unix.RLIMIT_NOFILE, "RLIMIT_NPROC": unix.RLIMIT_NPROC}

func processOf(p *specs.Process, files taskFiles) *libcontainer.Process {
	lp := &libcontainer.Process{
		Args:       p.Args,
		Env:        files.env,
		UID:        int(p.User.UID),
		GID:        int(p.User.GID),
		Cwd:        p.Cwd,
		Stdout:     files.streams[1],
		Stderr:     files.streams[2],
		ExtraFiles: files.extra,
		LogLevel:   "3", // logrus: warnings
		Init:       true,
	}
	if files.streams[0] != nil { // else the interface would hold a nil
		lp.Stdin = files.streams[0]
	}
	for _, l := range p.Rlimits {
		lp.Rlimits = append(lp.Rlimits, configs.Rlimit{Type: rlimits[l.Type], Soft: l.Soft, Hard: l.Hard})
	}
	for _, g := range p.User.AdditionalGids {
		lp.AdditionalGroups = append(lp.AdditionalGroups, int(g))
	}
	return lp
}

// reap waits for the first process. All others of its PID namespace are gone
// when it is: the kernel sees to that before it answers.
func (t *task) reap() {
	state, _ := t.process.Wait() // its error only repeats the status
	if state != nil {
		if ws, ok := state.Sys().(syscall.WaitStatus); ok {
			t.status = ws
		}
		t.used = state.UserTime() + state.SystemTime()
	}
	t.finished = time.Now()
	close(t.done)
}

// cpu is the CPU time of the first process, at its end also that of all it has waited
// for; -1 when the kernel does not say.
func (t *task) cpu() time.Duration {
	select {
	case <-t.done:
		return t.used
	default:
	}
	var spent unix.Timespec
	if err := unix.ClockGettime(int32(^t.pid<<3|2), &spent); err != nil { // clock_getcpuclockid(3)
		return -1
	}
	return time.Duration(spent.Nano())
}

// remove takes the root filesystem away.
func (t *task) remove() error {
	if err := detach(filepath.Join(t.bundle, "rootfs")); err != nil {
		return err
	}
	return os.RemoveAll(t.bundle)
}

func (t *task) exit() *ctrruntime.Exit {
	return &ctrruntime.Exit{Pid: uint32(t.pid), Status: uint32(exitCode(t.status)), Timestamp: t.finished}
}

func exitCode(ws syscall.WaitStatus) int {
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}
