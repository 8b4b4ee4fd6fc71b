package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/containerd/containerd/v2/core/runtime"
	"github.com/containerd/containerd/v2/pkg/protobuf/types"
	"github.com/containerd/errdefs"
)

// What containerd asks of a task. A stage has one process and is not paused; its
// streams, a terminal too, are open files that containerd never sees. The rest says so.

// Start lets the command go.
func (t *task) Start(context.Context) error { return t.container.Exec() }

// Wait answers when no process of the task is left.
func (t *task) Wait(ctx context.Context) (*runtime.Exit, error) {
	select {
	case <-t.done:
		return t.exit(), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Kill signals the first process; the kernel ends all others with it.
func (t *task) Kill(_ context.Context, signal uint32, _ bool) error {
	select {
	case <-t.done:
		return fmt.Errorf("task %q: %w", t.id, errdefs.ErrNotFound)
	default:
		return t.container.Signal(syscall.Signal(signal))
	}
}

var _ process = (*task)(nil)

func (t *task) ended() <-chan struct{} { return t.done }

func (t *task) ending() (ending, error) {
	e := ending{code: exitCode(t.status), finished: t.finished}
	if t.status.Signaled() {
		e.signal = t.status.Signal()
	}
	return e, nil
}

// signal takes the first process for all where the kernel does the rest.
func (t *task) signal(_ context.Context, signal syscall.Signal, all bool) error {
	pids := []int{t.pid}
	if all && signal != syscall.SIGKILL {
		var err error
		if pids, err = t.pids(t.id, t.pid); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	select {
	case <-t.done:
		return nil
	default:
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, signal); err != nil && err != syscall.ESRCH {
			return err
		}
	}
	return nil
}

// State takes a created task for a running one: nobody asks.
func (t *task) State(context.Context) (runtime.State, error) {
	select {
	case <-t.done:
		e := t.exit()
		return runtime.State{Status: runtime.StoppedStatus, Pid: e.Pid, ExitStatus: e.Status, ExitedAt: e.Timestamp}, nil
	default:
		return runtime.State{Status: runtime.RunningStatus, Pid: uint32(t.pid)}, nil
	}
}

// ID is the task's.
func (t *task) ID() string { return t.id }

// PID is the first process as this process sees it.
func (t *task) PID(context.Context) (uint32, error) { return uint32(t.pid), nil }

// Namespace is containerd's.
func (t *task) Namespace() string { return namespace }

// Pids are the first process alone: see cgroups.pids for all.
func (t *task) Pids(context.Context) ([]runtime.ProcessInfo, error) {
	return []runtime.ProcessInfo{{Pid: uint32(t.pid)}}, nil
}

// CloseIO has nothing to close: who has the other end of standard input closes it.
func (t *task) CloseIO(context.Context) error { return nil }

// Pause is not supported.
func (t *task) Pause(context.Context) error { return errdefs.ErrNotImplemented }

// Resume is not supported.
func (t *task) Resume(context.Context) error { return errdefs.ErrNotImplemented }

// ResizePty is not supported.
func (t *task) ResizePty(context.Context, runtime.ConsoleSize) error {
	return errdefs.ErrNotImplemented
}

// Exec is not supported.
func (t *task) Exec(context.Context, string, runtime.ExecOpts) (runtime.ExecProcess, error) {
	return nil, errdefs.ErrNotImplemented
}

// Checkpoint is not supported.
func (t *task) Checkpoint(context.Context, string, *types.Any) error {
	return errdefs.ErrNotImplemented
}

// Update is not supported.
func (t *task) Update(context.Context, *types.Any, map[string]string) error {
	return errdefs.ErrNotImplemented
}

// Process finds none: there is no Exec.
func (t *task) Process(context.Context, string) (runtime.ExecProcess, error) {
	return nil, errdefs.ErrNotFound
}

// Stats are not containerd's to give: see cgroups.usage.
func (t *task) Stats(context.Context) (*types.Any, error) { return nil, errdefs.ErrNotImplemented }
