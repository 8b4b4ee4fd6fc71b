package containerd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	lc "github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"

	"plumb/engine/runtime"
)

// cgroups is what differs between the machine's two kinds of control groups.
// libcontainer makes, limits and removes them; what is left is to read what
// they counted and to clear away what a killed owner left. All cgroups of a
// runtime stand below one parent, so that leftovers are known by their place.
type cgroups interface {
	// path names the container's cgroup for libcontainer, "" when it has none.
	path(id string) string
	// usage is what the cgroup counted so far. Missing counters are -1.
	usage(id string) runtime.Usage
	// forget starts the peak of memory anew, where that can be done.
	forget(id string)
	// oomKills is how often the cgroup's memory limit killed.
	oomKills(id string) (int64, error)
	// pids are all processes of the container whose first one is given.
	pids(id string, first int) ([]int, error)
	// rejoin attaches this process to the cgroup it is in.
	rejoin() error
	// countsSwap says whether memory and swap together can be limited.
	countsSwap() bool
	// limitsCPU says whether CPU time can be.
	limitsCPU() bool
	// sweep kills what runs below the parent and removes it.
	sweep() error
}

func openCgroups(parent string, rootless bool) (cgroups, error) {
	if rootless {
		if c, err := openDelegated(cgroup2Mount, parent); err == nil {
			return c, nil
		}
		return cgroup0{}, nil
	}
	if lc.IsCgroup2UnifiedMode() {
		return openCgroup2(parent)
	}
	return openCgroup1(parent)
}

// ownCgroup is the file to write a process into to leave it where it is.
// The key is "" for version 2.
func ownCgroup(mount, key string) (string, error) {
	own, err := lc.ParseCgroupFile("/proc/self/cgroup")
	if err != nil {
		return "", fmt.Errorf("reading the own cgroup: %w", err)
	}
	return filepath.Join(mount, own[key], "cgroup.procs"), nil
}

// readCount reads a file with one number, -1 when there is none.
func readCount(path string) int64 {
	b, err := os.ReadFile(path)
	if err != nil {
		return -1
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// readField reads the number behind a word that begins a line.
func readField(path, word string) (int64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("reading a cgroup's counter: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == word {
			return strconv.ParseInt(f[1], 10, 64)
		}
	}
	return 0, fmt.Errorf("reading a cgroup's counter: %q has no %q", path, word)
}

// removeCgroups kills what runs in the cgroups below dir and removes them and
// dir. A cgroup cannot be removed while a process of it is still dying.
func removeCgroups(dir string) error {
	var dirs []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("sweeping cgroups: %w", err)
	}
	for i := len(dirs) - 1; i >= 0; i-- {
		if err := removeCgroup(dirs[i]); err != nil {
			return fmt.Errorf("sweeping cgroup %q: %w", dirs[i], err)
		}
	}
	return nil
}

func removeCgroup(dir string) error {
	deadline := time.Now().Add(5 * time.Second)
	for wait := time.Millisecond; ; wait *= 2 {
		err := unix.Rmdir(dir)
		if err == nil || err == unix.ENOENT {
			return nil
		}
		if err != unix.EBUSY || time.Now().After(deadline) {
			return err
		}
		pids, err := lc.GetPids(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, pid := range pids {
			if pid > 0 {
				_ = unix.Kill(pid, unix.SIGKILL) // gone already: the better
			}
		}
		time.Sleep(wait)
	}
}
