package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/mount"
	"golang.org/x/sys/unix"

	"plumb/engine/runtime/containerd/seccomp"
)

// With Options.Socket the containers are those of a daemon: a containerd that the
// machine has anyway, with its own shim and runc. Everything else is the same code.
// The daemon's client stands where the one in memory would, so images are imported,
// unpacked, completed, made of packages and compared as they are elsewhere, straight in
// the daemon's snapshots (shifted.go). The daemon only gets what is to run:
//
//	Create  overlay of its snapshots below our scratch directory, specification ─▶ its shim ─▶ runc, up to the exec
//	Start   let it go
//
// # The same isolation
//
// A container is told from one of the containerd inside by nothing: the conformance
// suite is the same, and so is the word in the keys. The specification is the same but
// for what cannot be handed to somebody else's runc (daemon_spec.go): open files. So
// plumb's program, which loads the filter and puts output and error into one pipe, is
// bound over a file in /proc that no container can read anyway, and can be executed
// there and not read; the filter comes as its argument. Secrets are mounted by a hook,
// which is this program again: in memory only and in the mount namespace of that one
// container (daemon_secrets.go). Loopback comes up by runc.
//
// One thing the daemon does not tell: whether a process exited with status 143 or was
// ended by signal 15. It is taken for a signal where we sent that one (daemon_task.go).
//
// # Who owns what
//
// The daemon, and its namespace "plumb", may serve several stores. Layers and blobs are
// shared by their digests; the records of images, and containers, carry the store's name,
// so a store removes only its own. A killed owner leaves containers that run on: they
// are ended by the next New on that root, and a file in State says which daemon to ask
// (see Left). A daemon that goes away takes its word with it: Wait answers with an error
// at once, or after a while when it only hangs, and what is left is ended when it is back.
//
// # What was measured
//
// BenchmarkDaemonCycle beside BenchmarkCycle, on two shared cores (load 3), kernel 6.18,
// cgroup v1: a whole container 91–94 ms by containerd 1.6.20 with runc 1.1.5, of which
// starting the shim and runc three times is most, against 29–38 by the containerd inside;
// what is left of one created ahead, 15–16 ms against 6. containerd 2.4 with the same
// runc took 108–130. Forty stages one after the other, of plumb run: 72–130 ms each,
// against 42–59. The hook for secrets adds what starting this program takes, 10 ms.
//
// Rejected: the client's way to have other owners in snapshots, which changes them one
// by one after unpacking and keeps both; the labels for mapped snapshots, which 1.6 does
// not know; a mount of the program at a name of its own, which a stage's ls would show;
// two pipes for the log, which lose the order; secrets in a file below /run, which a kill
// leaves there.

// Label of containers, with the name of the store that they are of.
const storeLabel = "plumb/store"

// How long a daemon may take for a call. It does the work of one, on a disk that may be
// busy: these are for one that hangs.
const (
	answerTime = 10 * time.Second // to something that is no work
	workTime   = time.Minute
	backTime   = 3 * time.Second // for one that is gone to come back, as in an upgrade
)

// leastVersion is the oldest containerd that is served: Debian 12 has it. Its runc, 1.1,
// is the first to know mounts that are read-only all the way down.
var leastVersion = [2]int{1, 6}

// Unusable says why there can be no containers here, and what to do.
type Unusable struct{ What, Remedy string }

func (u *Unusable) Error() string { return u.What }

func notRoot() error {
	return &Unusable{
		"containers of the machine's containerd can be made by root only: an ordinary user sees neither its socket nor the files of its snapshots",
		"run plumb as root, or without --runtime: then containers are those of the containerd inside plumb, which needs no root",
	}
}

// daemon is the containerd of the machine.
type daemon struct {
	r       *Runtime
	socket  string
	client  *client.Client
	version string
	store   string // what containers are labelled with
	program string // plumb's, where a container may execute it
	cover   string // the file of /proc that it is bound over
	cover2  string // and another, for a socket
	filter  []byte // for system calls
	pipes   string // directory of the logs'
	devices string // the /dev of all containers, "" where there can be none

	mu    sync.Mutex
	heard time.Time // when it last answered
	left  map[string]bool
}

// openDaemon is open with a daemon.
func (r *Runtime) openDaemon(ctx context.Context) (err error) {
	d, err := dialDaemon(ctx, r.opts.Socket)
	if err != nil {
		return err
	}
	d.r, d.store, d.pipes, d.left = r, nameOf(r.opts.Root), filepath.Join(r.opts.State, "logs"), map[string]bool{}
	r.daemon = d
	r.server = &server{client: d.client}
	if err := d.sweep(ctx); err != nil {
		return err
	}
	if r.cgroups, err = openCgroups("plumb-"+d.store, false); err != nil {
		return err
	}
	if err := r.sweep(); err != nil {
		return err
	}
	if err := noteSocket(r.opts.State, d.socket); err != nil {
		return err
	}
	r.trash = newTrash(filepath.Join(r.opts.Root, "trash"), r.log)
	for _, stale := range []string{"scratch", "furnish"} {
		if err := r.trash.put(filepath.Join(r.opts.Root, stale)); err != nil {
			return err
		}
	}
	r.warm = newWarmer(r.cgroups)
	if err := errors.Join(r.readLimits(), d.prepare()); err != nil {
		return err
	}
	disk, err := d.snapshots(ctx)
	if err != nil {
		return err
	}
	r.rootfs = newRootfs(r.opts)
	r.images = newImages(d.client, &r.rootfs, r.opts)
	r.images.prefix, r.images.disk = "plumb/"+d.store+"/", disk
	return nil
}

// prepare makes what all containers begin with.
func (d *daemon) prepare() (err error) {
	if d.filter, err = seccomp.Filter(capabilities()); err != nil {
		return err
	}
	covers, err := coversOf()
	if d.cover, d.cover2 = covers[0], covers[1]; err != nil {
		return err
	}
	if err := os.MkdirAll(d.pipes, 0o711); err != nil {
		return fmt.Errorf("making a place for logs: %w", err)
	}
	if err := d.makeDevices(); err != nil {
		return err
	}
	d.program = filepath.Join(d.r.opts.Root, "program")
	if err := copyProgram(d.program); err != nil {
		return fmt.Errorf("placing plumb's program where containers may execute it: %w", err)
	}
	return nil
}

// makeDevices makes the /dev of all containers on the disk: one in memory would have to
// be mounted by the daemon. Where the disk is mounted so that devices are none, runc
// makes a /dev in each container, which takes it a dozen mounts.
func (d *daemon) makeDevices() error {
	dir := filepath.Join(d.r.opts.Root, "dev")
	var st unix.Statfs_t
	if err := unix.Statfs(d.r.opts.Root, &st); err != nil {
		return &os.PathError{Op: "statfs", Path: d.r.opts.Root, Err: err}
	}
	if st.Flags&unix.ST_NODEV != 0 {
		return nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("making devices: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making devices: %w", err)
	}
	d.devices = dir
	return fillDevices(dir, false)
}

// coversOf finds two files in /proc that containers see and cannot read, and that a runc
// lets one bind over.
func coversOf() (all [2]string, err error) {
	n := 0
	for _, name := range []string{"/proc/slabinfo", "/proc/swaps", "/proc/diskstats"} {
		if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() && n < len(all) {
			all[n] = name
			n++
		}
	}
	if n < len(all) {
		return all, errors.New("finding places for plumb's program and for streams: this kernel lacks two of /proc/slabinfo, /proc/swaps and /proc/diskstats")
	}
	return all, nil
}

// copyProgram makes a file that can be executed and not read. A copy stays what it is
// when plumb is installed anew.
func copyProgram(to string) (err error) {
	from, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer from.Close()
	out, err := os.CreateTemp(filepath.Dir(to), "new-")
	if err != nil {
		return err
	}
	_, err = io.Copy(out, from)
	if err = errors.Join(err, out.Chmod(0o111), out.Close()); err == nil {
		err = os.Rename(out.Name(), to)
	}
	if err != nil {
		return errors.Join(err, os.Remove(out.Name()))
	}
	return nil
}

// snapshots makes sure that the daemon has them, that this process sees their files,
// and answers a directory on their disk.
func (d *daemon) snapshots(ctx context.Context) (disk string, err error) {
	ctx, cancel := context.WithTimeout(inNamespace(ctx), workTime)
	defer cancel()
	s, key := d.client.SnapshotService(snapshotter), "plumb-"+d.store+"-probe"
	if err := ignoreNotFound(s.Remove(ctx, key)); err != nil {
		return "", d.unusable("asking it for snapshots", err)
	}
	mounts, err := s.Prepare(ctx, key, "")
	if err != nil {
		return "", d.unusable("asking it for snapshots", err)
	}
	defer func() { err = errors.Join(err, ignoreNotFound(s.Remove(context.WithoutCancel(ctx), key))) }()
	return d.seen(mounts)
}

// seen answers the disk that a snapshot is on, or why it is of no use.
func (d *daemon) seen(mounts []mount.Mount) (disk string, err error) {
	upper, _, err := directories(mounts)
	if err != nil {
		return "", d.unusable("asking it for snapshots", err)
	}
	disk = filepath.Dir(filepath.Dir(upper)) // …/snapshots/NUMBER/fs
	if _, err := os.Stat(upper); err != nil {
		return "", &Unusable{
			fmt.Sprintf("the containerd at %q keeps its snapshots in %q, which is not to be seen from here: %v", d.socket, disk, err),
			"name the socket of a containerd that is on this machine and in no container",
		}
	}
	if err := probeIDMap(disk); err != nil {
		return "", &Unusable{
			fmt.Sprintf("the containerd at %q keeps its snapshots on a file system without mapped mounts: %v", d.socket, err),
			"let its root be on one that has them, such as ext4, xfs or btrfs",
		}
	}
	return disk, nil
}

// unusable puts what a daemon answered into words.
func (d *daemon) unusable(doing string, err error) error {
	text := err.Error()
	switch {
	case strings.Contains(text, "snapshotter not loaded"):
		return &Unusable{fmt.Sprintf("the containerd at %q has no snapshotter %q", d.socket, snapshotter), "take it out of disabled_plugins in its configuration; ctr plugins ls says why it is not loaded"}
	case strings.Contains(text, "containerd-shim-runc-v2") && (strings.Contains(text, "not installed") || strings.Contains(text, "not found")):
		return &Unusable{fmt.Sprintf("the containerd at %q does not find its containerd-shim-runc-v2: %v", d.socket, err), "install it; it comes with containerd, and has to be in the PATH of the daemon"}
	case strings.Contains(text, `"runc": executable file not found`):
		return &Unusable{fmt.Sprintf("the containerd at %q does not find runc", d.socket), "install it, such as by apt-get install runc; it has to be in the PATH of the daemon"}
	}
	if strings.Contains(text, "error reading from server") || strings.Contains(text, "connection refused") {
		return fmt.Errorf("%s: %w", doing, &away{d.socket, err})
	}
	return fmt.Errorf("%s, the containerd at %q: %w", doing, d.socket, err)
}

// close ends what is left and hangs up.
func (d *daemon) close() error {
	err := d.sweep(context.Background())
	return errors.Join(err, d.client.Close())
}

// socketFile in State names the daemon that may have containers of this store.
const socketFile = "socket"

func noteSocket(state, socket string) error {
	if err := os.WriteFile(filepath.Join(state, socketFile), []byte(socket), 0o600); err != nil {
		return fmt.Errorf("noting which daemon is used: %w", err)
	}
	return nil
}

// Left answers the socket of the daemon that a killed owner of state may have left
// containers with, "" for none.
func Left(state string) string {
	b, err := os.ReadFile(filepath.Join(state, socketFile))
	if err != nil {
		return ""
	}
	return string(b)
}
