// Package containerd runs stages in containers, with containerd inside this
// process.
//
// There is no daemon, no socket, no shim and no runc process. The containerd
// server is booted with only the plug-ins that are needed (plugins.go,
// server.go); its client is in memory. Images, their content, snapshots and
// leases are containerd's. Containers and tasks go through containerd's
// services, and where the stock shim would stand is plumb's own runtime
// plug-in over libcontainer (plugin.go). A container's first process is this
// program again (package runcinit), which becomes the command by way of a small
// piece of C that loads a seccomp filter (package early).
//
//	Prepare   content ─▶ snapshot of each layer ─▶ idmapped mount of each layer
//	Create    overlay of those below a scratch directory ─▶ libcontainer, up to the exec
//	Start     let it go
//
// # What all containers have in common
//
// They differ in what [runtime.Spec] says, and share one id mapping, so
// everything that is costly about isolation is made once, not once for each:
// the layers' idmapped mounts (image files belong to root inside without being
// changed outside), a read-only /dev, the seccomp filter, and a layer over each
// image with what it lacks (a passwd entry for its user, /etc/hosts, a home, see
// furnish.go).
//
// # Without root
//
// In a user namespace (package early makes one for an ordinary user) the same code
// runs with these differences. Ids inside a container are those of this process: 0 is
// the user, so outputs are the user's, and layers are unpacked with these ids and need
// no mapped mounts. Overlays keep their notes in the attributes of users. Devices are
// bound from the machine's /dev, since none can be made. Limits and their counters
// need a cgroup that was delegated to the user (cgroup2.go); without one there are
// none (cgroup0.go). With a single id everything in an image is root's.
//
// # Other places
//
// Containers can be those of the machine's own containerd (Options.Socket, daemon.go),
// and where none can be made stages run in a directory that chroot(2) enters
// (Options.Chroot, jail.go). Images, unpacking, completing and the filter are the same.
//
// # What was measured
//
// On two shared cores, kernel 6.18, cgroup v1; see the benchmarks for today's
// figures. The attach of a process to a cgroup waits up to 14 ms for an RCU
// grace period unless another attach was just made: while containers are being
// made a goroutine re-attaches this process to its own cgroup, which changes
// nothing and keeps that path warm (warm.go). A snapshot for each container
// costs two database transactions that nobody asks about afterwards: the
// scratch directory is made by hand.
//
// # What a crash leaves
//
// Inside private namespaces (package early) the kernel removes processes and
// mounts with this process; cgroups and directories stay and are swept by the
// next New on the same root. containerd's databases are written without
// waiting for the disk. That is safe against the death of the process; after a
// power cut they, and the unpacked layers, are not trusted but made again
// (store.go).
//
// One process may hold several runtimes on different roots, and may open the
// same root again after Close. Two owners of one root at once are kept apart by
// a lock.
package containerd

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"sync"

	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"plumb/engine/runtime"
	"plumb/engine/runtime/containerd/early"      // what links this package can
	_ "plumb/engine/runtime/containerd/runcinit" // be a container's first process
)

// namespace is containerd's word for the set of objects that belong together.
const namespace = "plumb"

// snapshotter keeps the unpacked layers.
const snapshotter = "overlayfs"

// Defaults of Options.
const (
	DefaultBaseID = 0x20000000 // beyond what useradd hands out as subordinate ids
	DefaultIDs    = 65536
	DefaultPids   = 4096
)

// Options says where a runtime lives and what it gives to containers.
type Options struct {
	Root   string       // content, snapshots, databases, scratch layers; kept
	State  string       // mount points and sockets of live containers; swept by New
	Socket string       // of the daemon that makes the containers, "" for this process
	Chroot bool         // no containers: see jail.go
	Logger *slog.Logger // nil discards
	BaseID uint32       // first host id that containers are mapped to, 0 for DefaultBaseID
	IDs    uint32       // how many, 0 for DefaultIDs
	Pids   int64        // limit of a container that names none, 0 for DefaultPids

	rootless bool // in a user namespace, which has these ids:
	own      early.Subordinate
	loosen   func(*specs.Spec) // set by the benchmark of what isolation costs
	alone    bool              // set by tests: no namespace is tried without containers
}

// Runtime is containerd in this process.
type Runtime struct {
	opts    Options
	log     *slog.Logger
	lock    *os.File
	server  *server
	daemon  *daemon // nil for containerd in this process
	jail    *jail   // nil where there are containers
	images  images
	rootfs  rootfs
	shim    *shim
	cgroups cgroups
	warm    *warmer
	trash   *trash
	base    string // where root filesystems are mounted
	devices string // the /dev of all containers
	mu      sync.Mutex
	live    map[string]*container
	closed  bool

	// How many files a process may open, and processes a user may have: not all roots
	// may raise it.
	files, processes uint64
}

var _ runtime.Runtime = (*Runtime)(nil)

// New boots containerd on opts.Root and sweeps what an earlier owner left. The
// error names what the machine lacks; see also Probe.
func New(ctx context.Context, opts Options) (_ *Runtime, err error) {
	if opts.Socket != "" && (os.Geteuid() != 0 || early.Rootless()) {
		return nil, notRoot()
	}
	if os.Geteuid() != 0 {
		return nil, errors.New("starting the container runtime: it needs root, or a user namespace (early.Enter makes one)")
	}
	if opts, err = opts.complete(); err != nil {
		return nil, err
	}
	r := &Runtime{opts: opts, log: opts.Logger, live: map[string]*container{}}
	defer func() {
		if err != nil {
			err = fmt.Errorf("starting the container runtime in %q: %w", opts.Root, errors.Join(err, r.release()))
		}
	}()
	if r.lock, err = lockRoot(opts.Root); err != nil {
		return nil, err
	}
	switch {
	case opts.Socket != "":
		err = r.openDaemon(ctx)
	case opts.Chroot:
		err = r.openJail(ctx)
	default:
		err = r.open(ctx)
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

// open makes the parts, the ones that need sweeping first.
func (r *Runtime) open(ctx context.Context) (err error) {
	if err := checkProgram(); err != nil {
		return err
	}
	if r.cgroups, err = openCgroups("plumb-"+nameOf(r.opts.Root), r.opts.rootless); err != nil {
		return err
	}
	if r.base, err = mountBase(r.opts, nameOf(r.opts.Root)); err != nil {
		return err
	}
	if err := r.sweep(); err != nil {
		return err
	}
	if err := errors.Join(trustIDs(r.opts.Root, r.log), trustStore(r.opts.Root)); err != nil {
		return err
	}
	r.trash = newTrash(filepath.Join(r.opts.Root, "trash"), r.log)
	for _, stale := range []string{"scratch", "furnish"} {
		if err := r.trash.put(filepath.Join(r.opts.Root, stale)); err != nil {
			return err
		}
	}
	r.warm = newWarmer(r.cgroups)
	if r.shim, err = newShim(); err != nil {
		return err
	}
	if err := r.readLimits(); err != nil {
		return err
	}
	r.devices = filepath.Join(r.opts.State, "dev")
	if err := makeDevices(r.devices, r.opts.rootless); err != nil {
		return err
	}
	if r.server, err = r.boot(ctx); err != nil {
		return err
	}
	r.rootfs = newRootfs(r.opts)
	r.images = newImages(r.server.client, &r.rootfs, r.opts)
	return nil
}

func (r *Runtime) readLimits() error {
	for what, to := range map[int]*uint64{unix.RLIMIT_NOFILE: &r.files, unix.RLIMIT_NPROC: &r.processes} {
		var limit unix.Rlimit
		if err := unix.Getrlimit(what, &limit); err != nil {
			return fmt.Errorf("reading the limits of open files and processes: %w", err)
		}
		*to = limit.Max
	}
	return nil
}

// boot starts the server. Databases that cannot be opened are discarded, once:
// all they hold can be made again from images.
func (r *Runtime) boot(ctx context.Context) (*server, error) {
	s, err := startServer(ctx, r.opts, r.base, r.log)
	if !damaged(err) {
		return s, err
	}
	r.log.Warn("containerd's databases do not open, starting with empty ones", "root", r.opts.Root, "error", err)
	if err := discardStore(r.opts.Root); err != nil {
		return nil, err
	}
	return startServer(ctx, r.opts, r.base, r.log)
}

func (o Options) complete() (Options, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.BaseID == 0 {
		o.BaseID = DefaultBaseID
	}
	if o.IDs == 0 {
		o.IDs = DefaultIDs
	}
	if o.Pids == 0 {
		o.Pids = DefaultPids
	}
	if o.rootless = early.Rootless(); o.rootless {
		var err error
		if o.own, err = early.Mapped(); err != nil {
			return o, fmt.Errorf("starting the container runtime: %w", err)
		}
		o.BaseID, o.IDs = 0, min(o.IDs, early.Total(o.own.UIDs), early.Total(o.own.GIDs))
	}
	if o.Chroot && !o.rootless { // ids are what they are
		o.BaseID, o.IDs = 0, math.MaxUint32
	}
	for _, dir := range []*string{&o.Root, &o.State} {
		if *dir == "" {
			return o, errors.New("starting the container runtime: root and state must be named")
		}
		clean, err := canonical(*dir)
		if err != nil {
			return o, fmt.Errorf("starting the container runtime: %w", err)
		}
		*dir = clean
	}
	return o, nil
}

// canonical makes dir and answers its path without symbolic links. Mapped ids
// must be able to walk through it.
func canonical(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return "", fmt.Errorf("making directory %q: %w", dir, err)
	}
	path, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", fmt.Errorf("resolving %q: %w", dir, err)
	}
	return filepath.Abs(path)
}

// nameOf tells stores apart in places that all of a machine's stores share.
func nameOf(root string) string {
	sum := sha256.Sum256([]byte(root))
	return hex.EncodeToString(sum[:6])
}

// Close ends what still runs and releases everything. The images stay.
func (r *Runtime) Close() error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	var left []*container
	for _, c := range r.live {
		left = append(left, c)
	}
	r.mu.Unlock()
	var errs []error
	for _, c := range left {
		errs = append(errs, c.Delete(context.Background()))
	}
	errs = append(errs, r.release())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("closing the container runtime in %q: %w", r.opts.Root, err)
	}
	return nil
}

// release undoes open, in the reverse order, also when it came only half way.
func (r *Runtime) release() error {
	var errs []error
	if r.warm != nil {
		r.warm.close()
	}
	swept := true
	if r.daemon != nil {
		err := errors.Join(r.rootfs.close(), r.daemon.close())
		errs, swept = append(errs, err), err == nil
	} else if r.server != nil {
		errs = append(errs, r.rootfs.close(), r.server.stop(), settleStore(r.opts.Root))
	}
	if r.shim != nil {
		errs = append(errs, r.shim.close(), r.jail.close())
	}
	if r.trash != nil {
		r.trash.close()
	}
	if r.cgroups != nil && swept {
		errs = append(errs, r.sweep(), os.RemoveAll(r.base))
	}
	if r.lock != nil {
		errs = append(errs, r.lock.Close())
	}
	return errors.Join(errs...)
}

// inNamespace is ctx for calls to containerd: in memory nothing adds a default.
func inNamespace(ctx context.Context) context.Context {
	return namespaces.WithNamespace(ctx, namespace)
}
