package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// daemon is a containerd of our own, with its files in one directory.
type daemon struct {
	cmd    *exec.Cmd
	dir    string
	socket string
	ref    string // of the image
	log    *bytes.Buffer
	done   chan error
}

// startDaemon starts containerd and gives it the image.
func (b *bench) startDaemon(ctx context.Context) (_ *daemon, err error) {
	d := &daemon{dir: b.path("containerd"), socket: b.path("containerd", "sock"), log: &bytes.Buffer{}, done: make(chan error, 1)}
	if err := os.MkdirAll(d.dir, 0o711); err != nil {
		return nil, fmt.Errorf("starting containerd: %w", err)
	}
	config := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\n  address = %q\n",
		filepath.Join(d.dir, "root"), filepath.Join(d.dir, "state"), d.socket)
	if err := os.WriteFile(filepath.Join(d.dir, "config.toml"), []byte(config), 0o644); err != nil {
		return nil, fmt.Errorf("starting containerd: %w", err)
	}
	d.cmd = exec.Command("containerd", "--config", filepath.Join(d.dir, "config.toml"))
	d.cmd.Stdout, d.cmd.Stderr = d.log, d.log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := d.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting containerd: %w", err)
	}
	go func() { d.done <- d.cmd.Wait() }()
	defer func() {
		if err != nil {
			err = errors.Join(err, d.stop())
		}
	}()
	if err := d.ready(ctx); err != nil {
		return nil, err
	}
	return d, d.load(ctx, b.image)
}

// ready waits until the daemon answers.
func (d *daemon) ready(ctx context.Context) error {
	var err error
	for range 100 {
		if _, err = output(d.ctr(ctx, "version")); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	return fmt.Errorf("waiting for containerd: %w", err)
}

func (d *daemon) load(ctx context.Context, i image) error {
	archive := filepath.Join(d.dir, "image.tar")
	if _, err := output(exec.CommandContext(ctx, "tar", "-C", i.layout, "-cf", archive, ".")); err != nil {
		return err
	}
	if _, err := output(d.ctr(ctx, "images", "import", "--digests", "--base-name", "peers", archive)); err != nil {
		return err
	}
	names, err := output(d.ctr(ctx, "images", "ls", "-q"))
	if err != nil {
		return err
	}
	refs := strings.Fields(names)
	if len(refs) == 0 {
		return errors.New("containerd imported no image")
	}
	d.ref = refs[0]
	return nil
}

func (d *daemon) ctr(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "ctr", append([]string{"--address", d.socket}, args...)...)
}

// run is one container. It has no user namespace: this ctr would copy the image for it.
func (d *daemon) run(ctx context.Context, round int) (time.Duration, error) {
	return timed(d.ctr(ctx, "run", "--rm", "--read-only", "--seccomp", "--memory-limit", fmt.Sprint(memory), d.ref, fmt.Sprintf("peers-%d", round), "/bin/true"), "")
}

// stop ends the daemon. What it still has mounted would keep its directory from
// being removed.
func (d *daemon) stop() error {
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("ending containerd: %w", err)
	}
	select {
	case <-d.done:
	case <-time.After(10 * time.Second):
		if err := d.cmd.Process.Kill(); err != nil {
			return fmt.Errorf("ending containerd: %w", err)
		}
		<-d.done
	}
	return unmountBelow(d.dir)
}

func unmountBelow(dir string) error {
	table, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return fmt.Errorf("looking for mounts: %w", err)
	}
	var errs []error
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if len(f) < 2 || !strings.HasPrefix(f[1], dir+"/") {
			continue
		}
		if err := syscall.Unmount(f[1], syscall.MNT_DETACH); err != nil {
			errs = append(errs, fmt.Errorf("unmounting %q: %w", f[1], err))
		}
	}
	return errors.Join(errs...)
}
