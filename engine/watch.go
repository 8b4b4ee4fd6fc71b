package engine

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"syscall"
	"time"

	"plumb/engine/event"
	"plumb/engine/runtime"
	"plumb/hcl"
	"plumb/store"
)

// watch starts the container and waits for its end. It ends it itself when time
// is up or the run is canceled: SIGTERM, the grace, SIGKILL.
func (r *run) watch(ctx context.Context, s *hcl.Stage, a *attempt) (exit runtime.Exit, timedOut bool, err error) {
	if err := a.container.Start(ctx); err != nil {
		return exit, false, fmt.Errorf("starting the container: %w", err)
	}
	type result struct {
		exit runtime.Exit
		err  error
	}
	ended := make(chan result, 1)
	go func() {
		x, err := a.container.Wait(context.WithoutCancel(ctx))
		ended <- result{x, err}
	}()
	var deadline, kill <-chan time.Time
	if s.Timeout > 0 {
		deadline = time.After(s.Timeout)
	}
	usage := time.NewTicker(time.Second)
	defer usage.Stop()
	end := func(sig syscall.Signal, all bool) {
		if kerr := a.container.Kill(context.WithoutCancel(ctx), int(sig), all); kerr != nil {
			r.e.cfg.Logger.Info("signalling a stage", "stage", s.Name, "signal", sig, "error", kerr)
		}
	}
	done := ctx.Done()
	for {
		select {
		case res := <-ended:
			return res.exit, timedOut, res.err
		case <-deadline:
			timedOut, deadline = true, nil
			end(syscall.SIGTERM, true)
			kill = time.After(s.Grace)
		case <-done:
			done = nil
			end(syscall.SIGTERM, true)
			kill = time.After(s.Grace)
		case <-kill:
			end(syscall.SIGKILL, true)
		case <-usage.C:
			if u, err := a.container.Usage(ctx); err == nil {
				r.emit(event.Event{Type: event.StageUsage, Stage: s.Name, Memory: u.Memory})
			}
		}
	}
}

// classify says of which class an attempt was; nil for one that succeeded so far.
func (r *run) classify(ctx context.Context, s *hcl.Stage, at *store.Attempt, exit runtime.Exit, timedOut bool, err error) *event.Failure {
	at.ExitCode = exit.Code
	if exit.Signal != 0 {
		at.Signal = signalName(exit.Signal)
	}
	f := &event.Failure{ExitCode: exit.Code}
	switch {
	case errors.Is(context.Cause(ctx), ErrPreempted):
		f.Class, f.Message = store.ClassPreempted, ErrPreempted.Error()
	case ctx.Err() != nil:
		f.Class, f.Message = store.ClassCanceled, "the run was canceled"
	case err != nil:
		f.Class, f.Message = store.ClassInfra, err.Error()
	case exit.OOM:
		f.Class, f.Message = store.ClassOOM, fmt.Sprintf("out of memory: the limit was %s", sizeText(at.MemoryLimit))
		f.Hint = "raise resources { memory = … }, or let retry { oom = 2, memory_factor = 1.5 } do it"
	case timedOut:
		f.Class, f.Message = store.ClassTimeout, fmt.Sprintf("not done after its timeout of %s", s.Timeout)
		f.Hint = "raise timeout, or let retry { timeout = 1 } try again"
	case exit.Signal == int(syscall.SIGTERM) || exit.Signal == int(syscall.SIGKILL) || exit.Signal == int(syscall.SIGINT) || exit.Signal == int(syscall.SIGHUP):
		f.Class, f.Message = store.ClassPreempted, "ended from outside by "+at.Signal
	case exit.Signal != 0:
		f.Class, f.Message = store.ClassExit, "its command was ended by "+at.Signal
	case exit.Code != 0:
		f.Class, f.Message = store.ClassExit, fmt.Sprintf("its command ended with exit status %d", exit.Code)
		if exit.Code == 127 {
			f.Hint = "127 means that a program was not found; is it in the image?"
		}
	default:
		at.Class = store.ClassOK
		return nil
	}
	if f.Class == store.ClassExit || f.Class == store.ClassInfra {
		r.blameDisk(f)
	}
	return f
}

func sizeText(n int64) string {
	if n <= 0 {
		return "the machine's memory"
	}
	return strconv.FormatInt(n>>20, 10) + " MiB"
}
