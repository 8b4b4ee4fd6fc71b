package containerd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"plumb/engine/runtime"
)

// cgroup0 is where no cgroup may be made: an ordinary user whom none was delegated
// to. There are no limits and nothing is counted.
type cgroup0 struct{}

func (cgroup0) path(string) string { return "" }

func (cgroup0) usage(string) runtime.Usage {
	return runtime.Usage{CPU: -1, Memory: -1, Read: -1, Written: -1}
}

func (cgroup0) forget(string) {}

func (cgroup0) oomKills(string) (int64, error) { return 0, nil }

// pids are those in the PID namespace of the first process: the filter of system
// calls lets a container make no other.
func (cgroup0) pids(_ string, first int) ([]int, error) {
	namespace, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", first))
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var all []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		switch in, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid)); {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission): // it ended meanwhile, or is no container's
		case err != nil:
			return nil, err
		case in == namespace:
			all = append(all, pid)
		}
	}
	return all, nil
}

// rejoin has nothing to keep warm.
func (cgroup0) rejoin() error { return errors.ErrUnsupported }

func (cgroup0) countsSwap() bool { return false }

func (cgroup0) limitsCPU() bool { return false }

func (cgroup0) sweep() error { return nil }
