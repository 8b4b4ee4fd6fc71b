package containerd

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"plumb/engine/runtime"
)

// files makes files below a directory of the test.
func files(t *testing.T, all map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range all {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestCounters reads what kernels of both kinds write. The machine of the tests
// has only one of them.
func TestCounters(t *testing.T) {
	one := files(t, map[string]string{
		"cpuacct/p/full/cpuacct.usage":                           "12000000\n",
		"memory/p/full/memory.max_usage_in_bytes":                "4096\n",
		"memory/p/full/memory.oom_control":                       "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
		"blkio/p/full/blkio.throttle.io_service_bytes_recursive": "8:0 Read 100\n8:0 Write 20\n8:16 Read 1\n8:0 Total 120\nTotal 121\n",
	})
	two := files(t, map[string]string{
		"p/full/cpu.stat":      "usage_usec 12000\nuser_usec 10000\n",
		"p/full/memory.peak":   "4096\n",
		"p/full/memory.events": "low 0\noom 3\noom_kill 2\noom_group_kill 0\n",
		"p/full/io.stat":       "8:0 rbytes=100 wbytes=20 rios=1 wios=1 dbytes=0 dios=0\n8:16 rbytes=1 wbytes=0\n",
	})
	mounts := map[string]string{}
	for _, controller := range []string{"cpuacct", "memory", "blkio"} {
		mounts[controller] = filepath.Join(one, controller)
	}
	for name, c := range map[string]cgroups{
		"version 1": &cgroup1{parent: "p", mounts: mounts},
		"version 2": &cgroup2{parent: "p", root: two},
	} {
		t.Run(name, func(t *testing.T) {
			want := runtime.Usage{CPU: 12 * time.Millisecond, Memory: 4096, Read: 101, Written: 20}
			if diff := cmp.Diff(want, c.usage("full")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if n, err := c.oomKills("full"); n != 2 || err != nil {
				t.Errorf("%d kills, %v", n, err)
			}
			if diff := cmp.Diff(runtime.Usage{CPU: -1, Memory: -1, Read: -1, Written: -1}, c.usage("none")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if _, err := c.oomKills("none"); err == nil {
				t.Error("a missing counter is no error")
			}
		})
	}
}

func TestRemoveCgroups(t *testing.T) {
	dir := files(t, nil)
	if err := os.MkdirAll(filepath.Join(dir, "p/a/b"), 0o755); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time there is nothing
		if err := removeCgroups(filepath.Join(dir, "p")); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "p")); !os.IsNotExist(err) {
		t.Errorf("left: %v", err)
	}
}

func TestSearchable(t *testing.T) {
	dir, err := os.MkdirTemp("/tmp", "plumb-open-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if searchable(dir) {
		t.Error("a directory of mode 0700 is open")
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	if !searchable(dir) {
		t.Error("a directory of mode 0711 is closed")
	}
}
