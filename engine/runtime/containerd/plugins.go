package containerd

// The parts of containerd that a pipeline runner needs. Not among them: CRI and
// NRI, sandboxes, streaming, transfer, the servers on sockets, and the scheduler
// of garbage collection, which would stop everything at moments of its own
// choosing (see collector).
import (
	_ "github.com/containerd/containerd/v2/plugins/content/local/plugin"
	_ "github.com/containerd/containerd/v2/plugins/diff/walking/plugin"
	_ "github.com/containerd/containerd/v2/plugins/events"
	_ "github.com/containerd/containerd/v2/plugins/leases"
	_ "github.com/containerd/containerd/v2/plugins/metadata"
	_ "github.com/containerd/containerd/v2/plugins/services/containers"
	_ "github.com/containerd/containerd/v2/plugins/services/content"
	_ "github.com/containerd/containerd/v2/plugins/services/diff"
	_ "github.com/containerd/containerd/v2/plugins/services/images"
	_ "github.com/containerd/containerd/v2/plugins/services/snapshots"
	_ "github.com/containerd/containerd/v2/plugins/services/tasks"
	_ "github.com/containerd/containerd/v2/plugins/services/warning"
	_ "github.com/containerd/containerd/v2/plugins/snapshots/overlay/plugin"

	// The device rules of a cgroup come as a hook of libcontainer's manager;
	// without it containers cannot be made.
	_ "github.com/opencontainers/cgroups/devices"
)
