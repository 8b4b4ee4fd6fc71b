package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"
)

// rest is how long an agent has had nothing to do when its memory is read.
const rest = 3 * time.Second

// memory measures what stays resident, and what planning needs at its peak.
func (b *bench) memory(ctx context.Context) error {
	small, err := b.recorded(ctx, b.sizes[0])
	if err != nil {
		return err
	}
	largest := b.sizes[len(b.sizes)-1]
	large, err := b.recorded(ctx, largest)
	if err != nil {
		return err
	}
	return errors.Join(b.idleMemory(ctx, small), b.planMemory(ctx, large, largest), b.agentMemory(ctx, large, largest))
}

// idleMemory is that of an agent which has looked at one small project.
func (b *bench) idleMemory(ctx context.Context, dir string) error {
	b.say("memory of an idle agent")
	if err := b.freshRun(ctx, dir); err != nil {
		return err
	}
	s, err := b.plumb.status(ctx)
	if err != nil {
		return err
	}
	b.table.value(fmt.Sprintf("agent, idle after %d stages with nothing to do", b.sizes[0]), size, float64(s.Memory)).atMost(60e6)
	return nil
}

func (b *bench) freshRun(ctx context.Context, dir string) error {
	if err := b.plumb.stop(ctx); err != nil {
		return err
	}
	if _, err := b.plumb.run(ctx, dir); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(rest):
		return nil
	}
}

// planMemory is the peak of a plumb plan that does everything by itself. The
// system counts into it what this process had when it started the other, so a
// figure below some 20 MB would be this one's.
func (b *bench) planMemory(ctx context.Context, dir string, n int) error {
	b.say("memory of planning %d stages", n)
	if err := b.plumb.stop(ctx); err != nil {
		return err
	}
	cmd := b.plumb.command(ctx, dir, "plan", "--quiet")
	if _, err := timed(cmd, ""); err != nil {
		return err
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return errors.New("the system tells no usage of a process")
	}
	b.table.value(fmt.Sprintf("plumb plan of %d stages, without an agent, at its peak", n), size, float64(usage.Maxrss<<10)).atMost(200e6)
	return nil
}

// agentMemory is the same of an agent, and what it keeps of it.
func (b *bench) agentMemory(ctx context.Context, dir string, n int) error {
	if err := b.freshRun(ctx, dir); err != nil {
		return err
	}
	s, err := b.plumb.status(ctx)
	if err != nil {
		return err
	}
	most, err := peak(s.PID)
	if err != nil {
		return err
	}
	b.table.value(fmt.Sprintf("agent, nothing to do in %d stages, at its peak", n), size, float64(most)).atMost(200e6)
	b.table.value(fmt.Sprintf("agent, idle after %d stages", n), size, float64(s.Memory))
	return nil
}
