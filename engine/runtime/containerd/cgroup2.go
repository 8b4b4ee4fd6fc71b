package containerd

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	lc "github.com/opencontainers/cgroups"

	"plumb/engine/runtime"
)

// cgroup2 is a machine with the one unified hierarchy.
type cgroup2 struct {
	root    string
	parent  string
	own     string
	unruled bool // by CPU time: an ordinary user is seldom given that controller
}

// cgroup2Mount is where everyone mounts it, libcontainer too.
const cgroup2Mount = "/sys/fs/cgroup"

func openCgroup2(parent string) (*cgroup2, error) {
	own, err := ownCgroup(cgroup2Mount, "")
	if err != nil {
		return nil, err
	}
	return &cgroup2{root: cgroup2Mount, parent: parent, own: own}, nil
}

func (c *cgroup2) path(id string) string { return "/" + c.parent + "/" + id }

func (c *cgroup2) dir(id string) string { return filepath.Join(c.root, c.parent, id) }

func (c *cgroup2) usage(id string) runtime.Usage {
	u := runtime.Usage{CPU: -1, Memory: readCount(filepath.Join(c.dir(id), "memory.peak"))}
	if usec, err := readField(filepath.Join(c.dir(id), "cpu.stat"), "usage_usec"); err == nil {
		u.CPU = time.Duration(usec) * time.Microsecond
	}
	u.Read, u.Written = readIOStat(filepath.Join(c.dir(id), "io.stat"))
	return u
}

// readIOStat sums lines of "device rbytes=N wbytes=N …".
func readIOStat(path string) (read, written int64) {
	b, err := os.ReadFile(path)
	if err != nil {
		return -1, -1
	}
	for word := range strings.FieldsSeq(string(b)) {
		name, value, _ := strings.Cut(word, "=")
		if name != "rbytes" && name != "wbytes" {
			continue
		}
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return -1, -1
		}
		if name == "rbytes" {
			read += n
		} else {
			written += n
		}
	}
	return read, written
}

// memory.peak of version 2 cannot be started anew for all readers.
func (c *cgroup2) forget(string) {}

func (c *cgroup2) oomKills(id string) (int64, error) {
	return readField(filepath.Join(c.dir(id), "memory.events"), "oom_kill")
}

func (c *cgroup2) pids(id string, _ int) ([]int, error) { return lc.GetAllPids(c.dir(id)) }

func (c *cgroup2) rejoin() error { return os.WriteFile(c.own, []byte("0"), 0) }

func (c *cgroup2) limitsCPU() bool { return !c.unruled }

// Every cgroup but the root has memory.swap.max when the kernel counts swap.
func (c *cgroup2) countsSwap() bool {
	found, err := filepath.Glob(filepath.Join(c.root, "*", "memory.swap.max"))
	return err == nil && len(found) > 0
}

func (c *cgroup2) sweep() error {
	if err := removeCgroups(filepath.Join(c.root, c.parent)); err != nil {
		return fmt.Errorf("sweeping cgroups: %w", err)
	}
	return nil
}
