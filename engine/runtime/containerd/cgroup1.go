package containerd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	lc "github.com/opencontainers/cgroups"

	"plumb/engine/runtime"
)

// cgroup1 is a machine with a hierarchy for each controller.
type cgroup1 struct {
	parent string
	mounts map[string]string // controller → mount point
	all    []string          // mount points of all hierarchies
	own    string
}

// cgroup2HybridMount is where machines of this kind have version 2 beside it.
const cgroup2HybridMount = "/sys/fs/cgroup/unified"

func openCgroup1(parent string) (*cgroup1, error) {
	mounts, err := lc.GetCgroupMounts(true)
	if err != nil {
		return nil, fmt.Errorf("finding cgroups: %w", err)
	}
	c := &cgroup1{parent: parent, mounts: map[string]string{}}
	for _, m := range mounts {
		c.all = append(c.all, m.Mountpoint)
		for _, controller := range m.Subsystems {
			c.mounts[controller] = m.Mountpoint
		}
	}
	if lc.IsCgroup2HybridMode() {
		c.all = append(c.all, cgroup2HybridMount) // libcontainer makes one there too
	}
	for _, needed := range []string{"cpuacct", "devices", "freezer", "memory", "pids"} {
		if c.mounts[needed] == "" {
			return nil, fmt.Errorf("finding cgroups: the controller %q is not mounted", needed)
		}
	}
	c.own, err = ownCgroup(c.mounts["pids"], "pids")
	return c, err
}

func (c *cgroup1) path(id string) string { return "/" + c.parent + "/" + id }

func (c *cgroup1) file(controller, id, name string) string {
	return filepath.Join(c.mounts[controller], c.parent, id, name)
}

func (c *cgroup1) usage(id string) runtime.Usage {
	u := runtime.Usage{
		CPU:    time.Duration(readCount(c.file("cpuacct", id, "cpuacct.usage"))),
		Memory: readCount(c.file("memory", id, "memory.max_usage_in_bytes")),
		Read:   -1, Written: -1,
	}
	if c.mounts["blkio"] != "" {
		u.Read, u.Written = readBlkio(c.file("blkio", id, "blkio.throttle.io_service_bytes_recursive"))
	}
	return u
}

// readBlkio sums lines of "device operation bytes".
func readBlkio(path string) (read, written int64) {
	b, err := os.ReadFile(path)
	if err != nil {
		return -1, -1
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) != 3 {
			continue
		}
		n, err := strconv.ParseInt(f[2], 10, 64)
		if err != nil {
			return -1, -1
		}
		switch f[1] {
		case "Read":
			read += n
		case "Write":
			written += n
		}
	}
	return read, written
}

// An old kernel that refuses keeps a peak that contains the making of the
// container: no reason to fail.
func (c *cgroup1) forget(id string) {
	_ = os.WriteFile(c.file("memory", id, "memory.max_usage_in_bytes"), []byte("0"), 0)
}

func (c *cgroup1) oomKills(id string) (int64, error) {
	return readField(c.file("memory", id, "memory.oom_control"), "oom_kill")
}

func (c *cgroup1) pids(id string, _ int) ([]int, error) {
	return lc.GetAllPids(filepath.Join(c.mounts["devices"], c.parent, id))
}

func (c *cgroup1) rejoin() error { return os.WriteFile(c.own, []byte("0"), 0) }

func (c *cgroup1) limitsCPU() bool { return true }

func (c *cgroup1) countsSwap() bool {
	_, err := os.Stat(filepath.Join(c.mounts["memory"], "memory.memsw.limit_in_bytes"))
	return err == nil
}

func (c *cgroup1) sweep() error {
	var errs []error
	for _, mount := range c.all {
		errs = append(errs, removeCgroups(filepath.Join(mount, c.parent)))
	}
	return errors.Join(errs...)
}
