package containerd

import (
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"

	"plumb/engine/runtime"
	"plumb/engine/runtime/containerd/early"
)

// ociSpec is the specification of the containerd inside, but for what is handed over
// there as open files or as mounts of this process.
func (d *daemon) ociSpec(s runtime.Spec, img *image, f furnished, secrets *handout, streams *streamSocket) *specs.Spec {
	spec := d.r.ociSpec(s, img, f)
	socket := ""
	if streams != nil {
		socket = d.cover2
		spec.Mounts = append(spec.Mounts, specs.Mount{Destination: socket, Type: "bind", Source: streams.path, Options: readOnlyBind()})
	}
	spec.Process.Args = early.ShimIn(d.cover, d.filter, socket, s.Args)
	for i, m := range spec.Mounts {
		switch {
		case m.Destination == "/dev" && d.devices != "":
			spec.Mounts[i].Source = d.devices
		case m.Destination == "/dev":
			// runc binds the devices of the machine into it, and makes it read-only at the end.
			spec.Mounts[i] = specs.Mount{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "noexec", "mode=0755", "size=64k", "ro"}}
		}
	}
	spec.Mounts = append(spec.Mounts, specs.Mount{Destination: d.cover, Type: "bind", Source: d.program, Options: readOnlyBind()})
	if secrets != nil {
		// A place for the hook to mount them on.
		spec.Mounts = append(spec.Mounts, specs.Mount{
			Destination: s.Secrets.Dir, Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "noexec", "mode=0500", "size=4k"},
		})
		uid, gid := d.r.idsOutside(f)
		patience := int(answerTime.Seconds())
		spec.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{
			Path:    d.program,
			Args:    []string{hookName, secrets.path, s.Secrets.Dir, strconv.Itoa(uid), strconv.Itoa(gid)},
			Timeout: &patience,
		}}}
	}
	return spec
}
