package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"plumb/engine/runtime"
	"plumb/engine/runtime/containerd/early"
	"plumb/engine/runtime/containerd/seccomp"
)

// Where no container can be made a stage gets a jail: a directory with a copy of its
// image, entered by chroot(2). That is a CI job's place as a rule: root in a container
// that may make no namespaces, no mounts and no cgroups. Images are the same, by the same
// code, and so is all that a stage finds in its files; what stands around it is less:
//
//	container                            jail
//	overlay over idmapped layers         copy of all files, sharing blocks where the disk can
//	bind mounts of inputs                copies of them
//	bind mount of the workspace          renamed into its place, and back at the end; a lasting one also after a kill
//	PID namespace                        a process that ends all that descends from it (jailer.go)
//	network namespace, loopback only     only Unix sockets, by the seccomp filter
//	cgroup                               nothing: no limits, no count of memory
//	/proc, /sys, masked                  none
//	secrets in memory                    files on the disk, gone when the stage has ended
//	user namespace                       none: root is root of where plumb runs, with the few
//	                                     capabilities of a container, and no new privileges
//
// A namespace that can be had all the same is used; what is wanting is said once in each
// run (Note), is in the documentation, and the word for it is in every key.
//
// What is copied costs as much time as cp -a takes, which was measured beside it: 0.1 s for
// the toolbox, 20 s for 950 MB in 36,000 files on a slow ext4. Hard links were rejected:
// root writes through them. Overlays need a mount.
type jail struct {
	r     *Runtime
	flags uintptr  // namespaces that there are
	unix  *os.File // the filter that allows Unix sockets alone, nil where there is a network namespace
	quick *os.File // the filter of images that are being made: nothing waits for the disk
	wants string   // what is missing, in words
	noted string   // what containers have to tell
	flat  string   // root file systems of images
}

// openJail makes the parts of a runtime without containers.
func (r *Runtime) openJail(ctx context.Context) (err error) {
	if err := mayChroot(); err != nil {
		return err
	}
	r.cgroups, r.base = cgroup0{}, filepath.Join(r.opts.State, "containers")
	if err := errors.Join(trustIDs(r.opts.Root, r.log), trustStore(r.opts.Root)); err != nil {
		return err
	}
	if err := endInside(filepath.Join(r.opts.Root, "scratch")); err != nil {
		return err
	}
	if err := putBack(filepath.Join(r.opts.Root, "scratch")); err != nil {
		return err
	}
	r.trash = newTrash(filepath.Join(r.opts.Root, "trash"), r.log)
	j := &jail{r: r, flat: filepath.Join(r.opts.Root, "flat")}
	for _, stale := range []string{"scratch", "furnish", filepath.Join("flat", "new")} {
		if err := r.trash.put(filepath.Join(r.opts.Root, stale)); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Join(j.flat, "new"), 0o711); err != nil {
		return fmt.Errorf("making directory %q: %w", j.flat, err)
	}
	r.warm = newWarmer(r.cgroups)
	if r.shim, err = newShim(); err != nil {
		return err
	}
	if err := errors.Join(j.look(), j.filters()); err != nil {
		return err
	}
	if err := r.readLimits(); err != nil {
		return err
	}
	if r.server, err = r.boot(ctx); err != nil {
		return err
	}
	r.rootfs = newRootfs(r.opts)
	r.rootfs.jail = j
	r.images = newImages(r.server.client, &r.rootfs, r.opts)
	r.jail = j
	return nil
}

// mayChroot asks for the capability: to try it would change the root of this process.
func mayChroot() error {
	if early.Rootless() { // where no device can be made
		return errors.New("isolation chroot takes root; what an ordinary user runs goes into containers: leave it out")
	}
	if !capable(unix.CAP_SYS_CHROOT) {
		return errors.New("changing the root directory (chroot) is not allowed here; give the container the capability SYS_CHROOT, which docker run gives unless it is told not to")
	}
	return nil
}

// onThread runs f on a thread of its own, which is not used afterwards.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		goruntime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		done <- f()
	}()
	return <-done
}

func (j *jail) alone() bool { return j.r != nil && j.r.opts.alone }

// look finds out which namespaces there are.
func (j *jail) look() error {
	var wants []string
	for _, ns := range []struct {
		flag  uintptr
		wants string
	}{
		{unix.CLONE_NEWPID, "stages see each other's processes and those around plumb"},
		{unix.CLONE_NEWNET, "there is no loopback interface"},
		{unix.CLONE_NEWIPC, "System V and POSIX message queues are shared"},
		{unix.CLONE_NEWUTS, "the host name is not plumb's"},
		{unix.CLONE_NEWNS, "there is no /proc, /dev/pts and /dev/shm of their own"},
	} {
		if j.alone() || onThread(func() error { return unix.Unshare(int(ns.flag)) }) != nil {
			wants = append(wants, ns.wants)
			continue
		}
		j.flags |= ns.flag
	}
	if j.flags&unix.CLONE_NEWPID == 0 { // /proc would show other processes
		j.flags &^= unix.CLONE_NEWNS
	}
	wants = append(wants, "inputs are copies that a stage may write to", "secrets are on the disk while a stage has them", "limits of memory, CPU time and processes are not held")
	j.wants = strings.Join(wants, "; ")
	j.noted = "isolation chroot keeps files, network and privileges apart and ends what a stage starts, and no more: " + j.wants
	return nil
}

// filters makes those that a container has no need of.
func (j *jail) filters() (err error) {
	unixOnly := seccomp.OnlySockets(unix.AF_UNIX)
	quick := []seccomp.Change{seccomp.Unsynced()}
	if j.flags&unix.CLONE_NEWNET == 0 {
		quick = append(quick, unixOnly)
		if j.unix, err = sealedFilter(unixOnly); err != nil {
			return err
		}
	}
	j.quick, err = sealedFilter(quick...)
	return err
}

func (j *jail) close() error {
	if j == nil {
		return nil
	}
	var errs []error
	for _, f := range []*os.File{j.unix, j.quick} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// flatOf answers the image's root file system, and makes it the first time.
func (j *jail) flatOf(name string, layers []string) (string, error) {
	dir := filepath.Join(j.flat, name)
	if _, err := os.Lstat(dir); err == nil {
		return dir, nil
	}
	making := filepath.Join(j.flat, "new", name)
	if err := os.RemoveAll(making); err != nil {
		return "", fmt.Errorf("putting the layers together: %w", err)
	}
	if err := flatten(layers, making); err != nil {
		return "", fmt.Errorf("putting the layers together: %w", err)
	}
	if err := os.Rename(making, dir); err != nil {
		return "", fmt.Errorf("putting the layers together: %w", err)
	}
	return dir, nil
}

func (j *jail) forgetFlat(name string) error { return j.r.trash.put(filepath.Join(j.flat, name)) }

// make makes the root file system and the process that waits to run the command in it.
func (j *jail) make(c *container, s runtime.Spec, f furnished) (err error) {
	uid, gid := f.user.Uid, f.user.Gid
	if c.note == "" && !s.Bare {
		c.note = j.noted
	}
	root := j.r.rootfs.upperOf(c.id)
	if err := os.MkdirAll(root, 0o755); err != nil {
		return fmt.Errorf("making the root directory: %w", err)
	}
	named, err := j.openLog(c, s, uid, gid)
	if err != nil {
		return err
	}
	for _, layer := range slices.Backward(f.layers) {
		if err := copyTree(layer, root); err != nil {
			return fmt.Errorf("copying the image: %w", err)
		}
	}
	c.copied = settled()
	t := &inmate{j: j, c: c, root: root, over: make(chan struct{})}
	c.task = t
	if err := j.devices(root, named); err != nil {
		return fmt.Errorf("making devices: %w", err)
	}
	if err := t.furnish(s, uid, gid); err != nil {
		return err
	}
	if err := t.begin(s, f); err != nil {
		return err
	}
	return c.log.handedOver()
}

// openLog makes the log's pipe, with a name where its name in /dev will be needed.
func (j *jail) openLog(c *container, s runtime.Spec, uid, gid int) (named string, err error) {
	if j.flags&unix.CLONE_NEWNS != 0 || s.Streams != (runtime.Streams{}) {
		c.log, err = newLogPipe(s.Log, uid, gid)
		return "", err
	}
	named = filepath.Join(j.r.rootfs.scratchOf(c.id), "log")
	if c.log, err = newNamedLog(named, s.Log); err == nil {
		err = os.Chown(named, uid, gid)
	}
	if err != nil {
		return "", fmt.Errorf("making the log's pipe: %w", err)
	}
	return named, nil
}

// settled answers a time that lies behind everything done so far, and before all that is
// done after it: the kernel's clock for files has a step.
func settled() unix.Timespec {
	var now unix.Timespec
	time.Sleep(10 * time.Millisecond)
	if unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &now) != nil {
		return unix.Timespec{}
	}
	time.Sleep(10 * time.Millisecond)
	return now
}

// devices fills /dev as far as devices can be made here. What the image has there is not
// to be seen. Where there is no /proc the names of the standard streams lead nowhere:
// those for output are the pipe of the log then.
func (j *jail) devices(root, log string) error {
	dev := filepath.Join(root, "dev")
	entries, err := os.ReadDir(dev)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dev, e.Name())); err != nil {
			return err
		}
	}
	err = fillDevices(dev, false)
	if errors.Is(err, unix.EPERM) { // no device can be made
		for _, e := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
			if err := os.RemoveAll(filepath.Join(dev, e)); err != nil {
				return err
			}
		}
		return fmt.Errorf("%w; give the container the capability MKNOD, which docker run gives unless it is told not to", err)
	}
	if err == nil {
		err = os.Chmod(filepath.Join(dev, "shm"), 0o1777)
	}
	if log == "" {
		return err
	}
	for _, name := range []string{"stdout", "stderr"} {
		at := filepath.Join(dev, name)
		err = errors.Join(err, os.Remove(at), os.Link(log, at))
	}
	return err
}
