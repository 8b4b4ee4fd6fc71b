package containerd

import (
	"bytes"
	"context"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"

	"plumb/engine/runtime"
	"plumb/engine/runtime/containerd/early"
)

// HasCgroups says whether an ordinary user has any.
func HasCgroups() bool {
	c, err := openCgroups("plumb-test", true)
	return err == nil && c.path("x") != ""
}

// Loosened gives containers that are not isolated: nothing is left but a root file
// system, processes of their own, and a cgroup.
func Loosened(o Options) Options {
	o.loosen = func(s *specs.Spec) {
		s.Linux.Namespaces = []specs.LinuxNamespace{{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}}
		s.Linux.UIDMappings, s.Linux.GIDMappings = nil, nil
		s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = nil, nil
		s.Hostname = ""
		s.Process.Args = s.Process.Args[len(early.Shim(nil, false)):] // no seccomp filter
		s.Process.NoNewPrivileges, s.Process.Capabilities = false, nil
		s.Mounts = slices.DeleteFunc(s.Mounts, func(m specs.Mount) bool {
			return m.Destination == "/dev/mqueue" || m.Destination == "/sys" || m.Destination == "/sys/fs/cgroup"
		})
	}
	return o
}

// NameOf is how a store's places on the machine are named.
func NameOf(root string) string { return nameOf(root) }

// Alone is a jail that finds no namespace.
func Alone(o Options) Options {
	o.alone = true
	return o
}

// Root is where the runtime keeps what it keeps.
func (r *Runtime) Root() string { return r.opts.Root }

// ChangesForTest compares a scratch layer with an image.
func ChangesForTest(ctx context.Context, upper, view string, base, ids uint32, fn runtime.Change) error {
	d := &difference{ctx: ctx, upper: upper, view: view, fn: fn, base: base, ids: ids, first: map[uint64]string{}}
	return d.all()
}

// UnpackForTest unpacks a layer as images are, above others, at most 1 MiB of it.
func UnpackForTest(ctx context.Context, dir string, lower []string, raw []byte) error {
	limited := &limiter{r: bytes.NewReader(raw), packed: int64(len(raw)), max: 1 << 20, ratio: defaultRatio}
	return writeTree(ctx, newGate(dir, lower, limited), limited)
}
