package runtimetest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"plumb/engine/runtime"
)

// Devices is the suite of runtimes that give containers devices of the machine. They
// are harmless ones here, under other names.
func Devices(t *testing.T, newRuntime New, lacks ...Lack) {
	b := &bench{rt: newRuntime(t), lacks: lacks}
	dir, err := os.MkdirTemp("", "plumb-devices-") // others than root have to get there
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	hook := filepath.Join(dir, "hook")
	script := "#!/bin/sh\nbundle=$(sed -n 's/.*\"bundle\":\"\\([^\"]*\\)\".*/\\1/p')\ntest -r $bundle/config.json && echo \"$1 $OF_HOOK\" > $bundle/rootfs/hooked\n"
	for path, text := range map[string]string{hook: script, filepath.Join(dir, "lib"): "of the driver\n"} {
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	given := func(d runtime.Devices) func(*runtime.Spec) {
		return func(s *runtime.Spec) { s.Devices = &d }
	}
	node := func(path, source string) runtime.Devices {
		return runtime.Devices{Names: []string{"v/gpu=0"}, Nodes: []runtime.Node{{Path: path, Source: source}}}
	}
	b.tell(t, []told{
		{name: "none", script: "ls /dev | grep -c plumb || true", want: "0\n"},
		{name: "a node", change: given(node("/dev/plumb0", "/dev/full")), script: "ls /dev | grep plumb; probe-fill /dev/plumb0; echo x > /dev/null", want: `
			plumb0
			ENOSPC
		`},
		{name: "a node in a directory", change: given(node("/dev/plumb/0", "/dev/full")), script: "probe-fill /dev/plumb/0; touch /dev/plumb/1 || true", want: `
			ENOSPC
			touch: open /dev/plumb/1: read-only file system
		`},
		{name: "a node that others do not have", change: given(node("/dev/plumb0", unusual(t))), script: "probe-writable /dev | grep plumb", want: "/dev/plumb0\n"},
		{name: "a user's node", needs: []Lack{ManyIDs, OtherIDs}, image: Image{User: "worker"}, change: given(node("/dev/plumb0", "/dev/full")), script: "stat /dev/plumb0 | cut -d' ' -f1,2,3", want: "666 1000 1000\n"},
		{name: "environment", change: func(s *runtime.Spec) {
			s.Devices = &runtime.Devices{Env: []string{"OF=devices", "A=devices"}}
			s.Env = append(s.Env, "A=stage")
		}, script: "echo $OF $A", want: "devices stage\n"},
		{name: "a mount", change: given(runtime.Devices{Mounts: []runtime.DeviceMount{{Source: dir + "/lib", Target: "/usr/lib/plumb/lib", Options: []string{"ro"}}}}),
			script: "cat /usr/lib/plumb/lib; sh -c 'echo x > /usr/lib/plumb/lib' || true", want: "of the driver\nopen /usr/lib/plumb/lib: read-only file system\n"},
		{name: "a hook", change: given(runtime.Devices{Hooks: []runtime.Hook{{Path: hook, Args: []string{"hook", "argument"}, Env: []string{"OF_HOOK=environment", "PATH=/usr/bin:/bin"}}}}), script: "cat /hooked", want: "argument environment\n"},
	})
	for _, c := range []struct {
		name   string
		change func(*runtime.Spec)
		want   string
	}{
		{"a node that is not there", given(node("/dev/plumb0", "/dev/no-such")), `"/dev/plumb0" of v/gpu=0: stat /dev/no-such: no such file`},
		{"a node that is a file", given(node("/dev/plumb0", "/etc/passwd")), `"/etc/passwd" is no device`},
		{"a node elsewhere", given(node("/etc/plumb0", "/dev/full")), "not below /dev"},
		{"a node that climbs", given(node("/dev/../etc/plumb0", "/dev/full")), "not below /dev"},
		{"a hook that fails", given(runtime.Devices{Hooks: []runtime.Hook{{Path: "/bin/false"}}}), "hook"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := b.spec(t, ToolImage(), "true")
			c.change(&s)
			got, err := b.rt.Create(t.Context(), s)
			if err == nil {
				t.Fatal("it was created", got.Delete(t.Context()))
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %q, want something of %q", err, c.want)
			}
		})
	}
}

// unusual is a device that containers do not have, and that does nothing by being opened.
func unusual(t *testing.T) string {
	for _, path := range []string{"/dev/fuse", "/dev/net/tun", "/dev/loop-control"} {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			continue
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Log("this machine has no such device")
	return "/dev/full"
}
