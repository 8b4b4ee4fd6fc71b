package containerd

import (
	"bytes"
	"context"
	"slices"

	"github.com/containerd/containerd/v2/pkg/archive"
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

// Root is where the runtime keeps what it keeps.
func (r *Runtime) Root() string { return r.opts.Root }

// ChangesForTest compares a scratch layer with an image.
func ChangesForTest(ctx context.Context, upper, view string, base, ids uint32, fn runtime.Change) error {
	d := &difference{ctx: ctx, upper: upper, view: view, fn: fn, base: base, ids: ids, first: map[uint64]string{}}
	return d.all()
}

// ApplyForTest unpacks a layer into a directory, as the bottom of an image.
func ApplyForTest(ctx context.Context, dir string, raw []byte) error {
	g := newGate(dir, nil, nil)
	if _, err := archive.Apply(ctx, dir, bytes.NewReader(raw), archive.WithFilter(g.check)); err != nil {
		return err
	}
	return g.finish()
}
