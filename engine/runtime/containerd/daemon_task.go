package containerd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/pkg/protobuf/types"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/typeurl/v2"
	"golang.org/x/sys/unix"

	"plumb/engine/runtime"
)

// shimName is the daemon's own runtime plug-in: a process for each container, over runc.
const shimName = "io.containerd.runc.v2"

// nameFor is what a container is called there: other stores have containers, too.
func (d *daemon) nameFor(id string) string { return d.store + "-" + id }

// make asks the daemon for the container and its task.
func (d *daemon) make(ctx context.Context, c *container, s runtime.Spec, f furnished) (err error) {
	defer d.r.warm.hold()()
	d.callAgain()
	if err := d.clear(ctx); err != nil {
		return err
	}
	rootfs, err := d.r.rootfs.overlay(c.id, f.layers, s.Bare)
	if err != nil {
		return err
	}
	uid, gid := d.r.idsOutside(f)
	if c.log, err = d.newLog(c.id, s.Log); err != nil {
		return err
	}
	handed, err := d.handSecrets(c.id, s.Secrets)
	if err != nil {
		return err
	}
	if c.streams, err = d.handStreams(c.id, s.Streams, uid, gid); err != nil {
		return errors.Join(err, handed.close())
	}
	spec, err := json.Marshal(d.ociSpec(s, c.img, f, handed, c.streams))
	if err == nil {
		err = d.createTask(ctx, c, spec, rootfs, &options.Options{IoUid: uint32(uid), IoGid: uint32(gid)})
	}
	if err = errors.Join(err, handed.close()); err != nil {
		return err
	}
	c.task = d.attend(c.id)
	return c.log.handedOver()
}

func (d *daemon) createTask(ctx context.Context, c *container, spec []byte, rootfs mount.Mount, opts *options.Options) error {
	ctx, cancel := context.WithTimeout(ctx, workTime)
	defer cancel()
	_, err := d.client.ContainerService().Create(ctx, containers.Container{
		ID:      d.nameFor(c.id),
		Labels:  map[string]string{storeLabel: d.store},
		Image:   d.r.images.recordName(c.img.digest),
		Runtime: containers.RuntimeInfo{Name: shimName},
		Spec:    &types.Any{TypeUrl: "types.containerd.io/opencontainers/runtime-spec/1/Spec", Value: spec},
	})
	if err != nil {
		return d.unusable("making a container", err)
	}
	packed, err := typeurl.MarshalAnyToProto(opts)
	if err != nil {
		return err
	}
	_, err = d.client.TaskService().Create(ctx, &tasks.CreateTaskRequest{
		ContainerID: d.nameFor(c.id),
		Rootfs:      mount.ToProto([]mount.Mount{rootfs}),
		Stdout:      c.log.path,
		Stderr:      c.log.path, // nothing comes that way, see early.ShimIn
		Options:     packed,
	})
	if err != nil {
		return d.unusable("making a container", errgrpc.ToNative(err))
	}
	return nil
}

func (d *daemon) start(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, workTime)
	defer cancel()
	_, err := d.client.TaskService().Start(ctx, &tasks.StartRequest{ContainerID: d.nameFor(id)})
	if err != nil {
		return d.unusable("starting a container", errgrpc.ToNative(err))
	}
	return nil
}

// newLog makes a pipe with a name: the shim opens it there. This process's end for
// writing keeps it from having an end before the shim has opened it.
func (d *daemon) newLog(id string, to io.Writer) (*logPipe, error) {
	return newNamedLog(filepath.Join(d.pipes, id), to)
}

// newNamedLog makes a pipe that can be opened by a name.
func newNamedLog(path string, to io.Writer) (*logPipe, error) {
	if to == nil {
		to = io.Discard
	}
	p := &logPipe{path: path, done: make(chan struct{})}
	if err := unix.Mkfifo(p.path, 0o600); err != nil {
		return nil, fmt.Errorf("making the log's pipe: %w", err)
	}
	var err error
	if p.read, err = os.OpenFile(p.path, os.O_RDONLY|unix.O_NONBLOCK, 0); err == nil {
		p.write, err = os.OpenFile(p.path, os.O_WRONLY|unix.O_NONBLOCK, 0)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("making the log's pipe: %w", err), os.Remove(p.path))
	}
	go p.copy(to)
	return p, nil
}

// foreign is a task of the daemon's.
type foreign struct {
	d     *daemon
	id    string
	sent  atomic.Int32 // the last signal
	done  chan struct{}
	end   ending // valid then
	fault error  // why nobody knows, valid then
}

var _ process = (*foreign)(nil)

// attend waits for the end of a task.
func (d *daemon) attend(id string) *foreign {
	t := &foreign{d: d, id: id, done: make(chan struct{})}
	go func() {
		defer close(t.done)
		resp, err := t.wait()
		if err != nil {
			t.fault = err
			return
		}
		t.end = ending{code: int(resp.ExitStatus), finished: resp.ExitedAt.AsTime()}
		if sent := t.sent.Load(); sent != 0 && t.end.code == 128+int(sent) {
			t.end.signal = syscall.Signal(sent)
		}
	}()
	return t
}

func (t *foreign) wait() (*tasks.WaitResponse, error) {
	ctx, stop := t.d.guard(inNamespace(context.Background()))
	resp, err := t.d.client.TaskService().Wait(ctx, &tasks.WaitRequest{ContainerID: t.d.nameFor(t.id)})
	if err = stop(errgrpc.ToNative(err)); errdefs.IsNotFound(err) {
		return nil, fmt.Errorf("somebody else has removed it from the containerd at %q", t.d.socket)
	}
	return resp, err
}

func (t *foreign) ended() <-chan struct{} { return t.done }

func (t *foreign) ending() (ending, error) {
	select {
	case <-t.done:
		return t.end, t.fault
	default:
		return ending{}, errors.New("it has not ended")
	}
}

// cpu is for the cgroup to say, which there always is.
func (t *foreign) cpu() time.Duration { return -1 }

func (t *foreign) signal(ctx context.Context, signal syscall.Signal, all bool) error {
	select {
	case <-t.done:
		return nil
	default:
	}
	ctx, cancel := context.WithTimeout(inNamespace(ctx), answerTime)
	defer cancel()
	t.sent.Store(int32(signal))
	// SIGKILL for the first process ends them all, by the kernel.
	_, err := t.d.client.TaskService().Kill(ctx, &tasks.KillRequest{
		ContainerID: t.d.nameFor(t.id), Signal: uint32(signal), All: all && signal != syscall.SIGKILL,
	})
	return ignoreNotFound(errgrpc.ToNative(err))
}

// release takes the container and its task from the daemon, whatever there is of them.
// What cannot be removed now is when the daemon is back.
func (d *daemon) release(ctx context.Context, c *container) error {
	name := d.nameFor(c.id)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*answerTime)
	defer cancel()
	if err := d.remove(ctx, name); err != nil {
		d.mu.Lock()
		d.left[name] = true
		d.mu.Unlock()
		if c.log != nil {
			// It may be written to for as long as the daemon is away.
			err = errors.Join(err, c.log.abandon())
			c.log = nil
		}
		d.r.leave(c)
		return fmt.Errorf("the containerd at %q: %w", d.socket, err)
	}
	return nil
}

// clear removes what could not be before.
func (d *daemon) clear(ctx context.Context) error {
	d.mu.Lock()
	var names []string
	for name := range d.left {
		names = append(names, name)
	}
	d.mu.Unlock()
	for _, name := range names {
		ctx, cancel := context.WithTimeout(ctx, answerTime)
		err := d.remove(ctx, name)
		cancel()
		if err != nil {
			return fmt.Errorf("removing container %q, which could not be before: %w", name, err)
		}
		d.mu.Lock()
		delete(d.left, name)
		d.mu.Unlock()
		if err := d.r.trash.put(d.r.rootfs.scratchOf(name[len(d.store)+1:])); err != nil {
			return err
		}
	}
	return nil
}

// sweep removes all containers of this store. Nothing of it is running.
func (d *daemon) sweep(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(inNamespace(ctx), workTime)
	defer cancel()
	all, err := d.client.ContainerService().List(ctx, fmt.Sprintf("labels.%q==%q", storeLabel, d.store))
	if err != nil {
		return d.unusable("listing containers", err)
	}
	var errs []error
	for _, c := range all {
		errs = append(errs, d.remove(ctx, c.ID))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("sweeping the containers of this store: %w", err)
	}
	return nil
}

// remove kills, waits and deletes.
func (d *daemon) remove(ctx context.Context, name string) error {
	began := time.Now()
	for pause := 2 * time.Millisecond; ; pause = min(2*pause, 200*time.Millisecond) {
		err := d.removeNow(ctx, name)
		if err == nil {
			return nil
		}
		if permanent(err) || ctx.Err() != nil {
			return err
		}
		if errdefs.IsUnavailable(err) {
			if time.Since(began) > backTime {
				return err
			}
			d.callAgain()
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

// permanent is an error that another try makes no better.
func permanent(err error) bool {
	return errdefs.IsPermissionDenied(err) || errdefs.IsInvalidArgument(err)
}

// removeNow deletes the task, or kills it first, which takes a moment.
func (d *daemon) removeNow(ctx context.Context, name string) error {
	_, err := d.client.TaskService().Delete(ctx, &tasks.DeleteTaskRequest{ContainerID: name})
	if err = ignoreNotFound(errgrpc.ToNative(err)); err != nil {
		_, kerr := d.client.TaskService().Kill(ctx, &tasks.KillRequest{ContainerID: name, Signal: uint32(syscall.SIGKILL)})
		return errors.Join(err, ignoreNotFound(errgrpc.ToNative(kerr)))
	}
	return ignoreNotFound(d.client.ContainerService().Delete(ctx, name))
}
