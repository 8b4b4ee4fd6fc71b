package containerd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/pkg/protobuf/types"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"plumb/engine/runtime"
)

// container is one created container.
type container struct {
	r       *Runtime
	id      string
	img     *image
	bare    bool
	note    string // see Note
	log     *logPipe
	secret  string        // directory of its secrets, "" for none
	streams *streamSocket // of a daemon's, nil for none
	dev     string        // directory of its own /dev, "" for that of all
	copied  unix.Timespec // of a jail: when all of its image was there
	task    process
	before  runtime.Usage // what making it has used
	mu      sync.Mutex
	exit    *runtime.Exit
	since   time.Time // of the start
	gone    bool
}

// process is the first process of a container, wherever it was made.
type process interface {
	// ended is closed when no process of the container is left, or nothing will be
	// known of it any more.
	ended() <-chan struct{}
	// ending is how it ended. It may be asked then.
	ending() (ending, error)
	// signal sends a signal to it, or to all processes of the container.
	signal(ctx context.Context, signal syscall.Signal, all bool) error
	// cpu is the CPU time it has used, -1 where the cgroup is to be asked.
	cpu() time.Duration
}

// ending is how a process ended: code is 128+signal after a signal.
type ending struct {
	code     int
	signal   syscall.Signal // 0 when it exited by itself
	finished time.Time
}

// Create makes a container ready to start.
func (r *Runtime) Create(ctx context.Context, s runtime.Spec) (runtime.Container, error) {
	c, err := r.create(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("creating container %q: %w", s.ID, err)
	}
	return c, nil
}

func (r *Runtime) create(ctx context.Context, s runtime.Spec) (_ *container, err error) {
	if err := check(s); err != nil {
		return nil, err
	}
	if s.Devices != nil && (r.daemon != nil || r.jail != nil) {
		return nil, fmt.Errorf("giving it %s: devices are given to containers of the containerd inside plumb only", strings.Join(s.Devices.Names, ", "))
	}
	img, err := r.images.get(ctx, digest.Digest(s.Image))
	if err != nil {
		return nil, err
	}
	f, err := r.furnish(img, s)
	if err != nil {
		return nil, err
	}
	uid, gid := r.idsOutside(f)
	if err := errors.Join(claimMounts(s.Mounts, uid, gid), claimStreams(s.Streams, uid, gid)); err != nil {
		return nil, err
	}
	c := &container{r: r, id: s.ID, img: img, bare: s.Bare, note: f.note}
	if err := r.enter(c); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.discard(context.WithoutCancel(ctx)))
		}
	}()
	switch {
	case r.daemon != nil:
		err = r.daemon.make(inNamespace(ctx), c, s, f)
	case r.jail != nil:
		err = r.jail.make(c, s, f)
	default:
		err = c.make(inNamespace(ctx), s, f)
	}
	if err != nil {
		return nil, err
	}
	if r.jail == nil { // there it begins with nothing
		c.before = c.counted()
	}
	return c, nil
}

// idsOutside are those that the container's user has on the machine.
func (r *Runtime) idsOutside(f furnished) (uid, gid int) {
	return int(r.opts.BaseID) + f.user.Uid, int(r.opts.BaseID) + f.user.Gid
}

// furnish answers what the container stands on.
func (r *Runtime) furnish(img *image, s runtime.Spec) (furnished, error) {
	if !s.Bare {
		return r.images.furnishImage(img, s.Home)
	}
	if err := checkPlaces(img, append(r.systemMounts(s), userMounts(s)...), dirOf(s)); err != nil {
		return furnished{}, err
	}
	return r.images.bareImage(img)
}

// enter notes that the container lives. Its id must be free.
func (r *Runtime) enter(c *container) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return errors.New("the runtime is closed")
	}
	if r.live[c.id] != nil {
		return errors.New("a container of this id lives")
	}
	r.live[c.id] = c
	return nil
}

func (r *Runtime) leave(c *container) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.live, c.id)
}

// make asks containerd for the container and its task.
func (c *container) make(ctx context.Context, s runtime.Spec, f furnished) error {
	uid, gid := c.r.idsOutside(f)
	var err error
	if c.log, err = newLogPipe(s.Log, uid, gid); err != nil {
		return err
	}
	if err := c.keepSecrets(&s, uid, gid); err != nil {
		return err
	}
	if err := c.giveDevices(s, uid, gid); err != nil {
		return err
	}
	defer c.r.warm.hold()()
	rootfs, err := c.r.rootfs.overlay(c.id, f.layers, s.Bare)
	if err != nil {
		return err
	}
	whole := c.r.ociSpec(s, c.img, f)
	env := whole.Process.Env
	whole.Process.Env = nil // containerd keeps the specification on disk, and there are sensitive values in it
	spec, err := json.Marshal(whole)
	if err != nil {
		return fmt.Errorf("writing the specification: %w", err)
	}
	if _, err := c.r.server.client.ContainerService().Create(ctx, containers.Container{
		ID:      c.id,
		Image:   c.r.images.recordName(c.img.digest),
		Runtime: containers.RuntimeInfo{Name: "plumb.libcontainer"},
		Spec:    &types.Any{TypeUrl: "types.containerd.io/opencontainers/runtime-spec/1/Spec", Value: spec},
	}); err != nil {
		return err
	}
	files := c.files(s.Streams)
	files.env = env
	c.r.server.plugin.hand(c.id, files)
	_, err = c.r.server.client.TaskService().Create(ctx, &tasks.CreateTaskRequest{
		ContainerID: c.id,
		Rootfs:      mount.ToProto([]mount.Mount{rootfs}),
	})
	if err != nil {
		return errgrpc.ToNative(err)
	}
	t, err := c.r.server.plugin.find(c.id)
	if err != nil {
		return err
	}
	c.task = t
	return c.log.handedOver()
}

// files are what the container begins with. Of a terminal's nothing is read before the
// container has it.
func (c *container) files(s runtime.Streams) taskFiles {
	f := taskFiles{streams: s.Files, extra: []*os.File{c.r.shim.exe, c.r.shim.filter}, pids: c.r.cgroups.pids}
	if f.streams[1] == nil {
		f.streams = [3]*os.File{nil, c.log.write, c.log.write}
	}
	if s.Console != nil {
		f.extra = append(f.extra, s.Console)
	}
	return f
}

// Note implements runtime.Noted.
func (c *container) Note() string { return c.note }

// Start lets the command go.
func (c *container) Start(ctx context.Context) error {
	c.r.cgroups.forget(c.id)
	c.mu.Lock()
	c.since = time.Now()
	c.mu.Unlock()
	var err error
	switch t, jailed := c.task.(*inmate); {
	case c.r.daemon != nil:
		err = c.r.daemon.start(inNamespace(ctx), c.id)
	case jailed:
		err = t.tell(order{})
	default:
		_, err = c.r.server.client.TaskService().Start(inNamespace(ctx), &tasks.StartRequest{ContainerID: c.id})
	}
	if err != nil {
		return fmt.Errorf("starting container %q: %w", c.id, errgrpc.ToNative(err))
	}
	return nil
}

// Wait returns when no process is left and all of the log is written.
func (c *container) Wait(ctx context.Context) (runtime.Exit, error) {
	for _, done := range []<-chan struct{}{c.task.ended(), c.log.done} {
		select {
		case <-done:
		case <-ctx.Done():
			return runtime.Exit{}, ctx.Err()
		}
		if _, err := c.task.ending(); err != nil { // then nobody knows when the log ends
			return runtime.Exit{}, fmt.Errorf("waiting for container %q: %w", c.id, err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.exit == nil {
		exit, err := c.readExit()
		if err != nil {
			return exit, fmt.Errorf("waiting for container %q: %w", c.id, err)
		}
		c.exit = &exit
	}
	return *c.exit, c.log.err()
}

// readExit asks the cgroup, which is there until Delete.
func (c *container) readExit() (runtime.Exit, error) {
	end, err := c.task.ending()
	kills, kerr := c.r.cgroups.oomKills(c.id)
	return runtime.Exit{
		Code:     end.code,
		Signal:   int(end.signal),
		OOM:      kills > 0,
		Started:  c.since,
		Finished: end.finished,
		Usage:    c.used(),
	}, errors.Join(err, kerr)
}

// used leaves out what making the container has used.
func (c *container) used() runtime.Usage {
	u := c.counted()
	return runtime.Usage{
		CPU:     since(u.CPU, c.before.CPU),
		Memory:  u.Memory,
		Read:    since(u.Read, c.before.Read),
		Written: since(u.Written, c.before.Written),
	}
}

// counted is what the cgroup says, and of CPU time, where there is none, what the
// kernel counts for a process and those that it has waited for.
func (c *container) counted() runtime.Usage {
	u := c.r.cgroups.usage(c.id)
	if t, ok := c.task.(*inmate); ok {
		return t.usage()
	}
	if u.CPU < 0 {
		u.CPU = c.task.cpu()
	}
	return u
}

func since[T int64 | time.Duration](now, before T) T {
	if now < 0 || before < 0 {
		return -1
	}
	return now - before
}

// Usage is what the container has used so far.
func (c *container) Usage(context.Context) (runtime.Usage, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.exit != nil {
		return c.exit.Usage, nil
	}
	return c.used(), nil
}

// Kill signals the first process, or all. Signals to what is gone already are
// no error.
func (c *container) Kill(ctx context.Context, signal int, all bool) error {
	if err := c.task.signal(ctx, syscall.Signal(signal), all); err != nil {
		return fmt.Errorf("signalling container %q: %w", c.id, err)
	}
	return nil
}

// Delete kills what is left and removes the container. It may be called again.
func (c *container) Delete(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return nil
	}
	if err := c.discard(ctx); err != nil {
		return fmt.Errorf("deleting container %q: %w", c.id, err)
	}
	c.gone = true
	return nil
}

// discard removes whatever there is of the container, all of it or a part.
func (c *container) discard(ctx context.Context) error {
	if err := c.release(inNamespace(ctx)); err != nil {
		return err
	}
	var errs []error
	if c.log != nil {
		errs = append(errs, c.log.close())
	}
	errs = append(errs, c.streams.close(), c.dropSecrets(), c.dropDevices(), c.r.trash.put(c.r.rootfs.scratchOf(c.id)))
	c.r.leave(c)
	return errors.Join(errs...)
}

// release ends the container and takes it from containerd.
func (c *container) release(ctx context.Context) error {
	if c.r.daemon != nil {
		return c.r.daemon.release(ctx, c)
	}
	if t, ok := c.task.(*inmate); ok {
		return t.release()
	}
	if c.r.jail != nil {
		return nil
	}
	if c.task != nil {
		if err := c.end(ctx); err != nil {
			return err
		}
	}
	c.r.server.plugin.take(c.id)
	return ignoreNotFound(c.r.server.client.ContainerService().Delete(ctx, c.id))
}

// end kills the first process, waits for it, and deletes the task.
func (c *container) end(ctx context.Context) error {
	if err := c.Kill(ctx, int(syscall.SIGKILL), false); err != nil {
		return err
	}
	select {
	case <-c.task.ended():
	case <-ctx.Done():
		return ctx.Err()
	}
	_, err := c.r.server.client.TaskService().Delete(ctx, &tasks.DeleteTaskRequest{ContainerID: c.id})
	return ignoreNotFound(errgrpc.ToNative(err))
}
