package cdi

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plumb/engine/runtime"
)

// nvidia is shaped like what nvidia-ctk writes for two cards: each has a number and a
// serial number, and all of them a name together.
const nvidia = `
cdiVersion: 0.6.0
kind: nvidia.com/gpu
devices:
- name: "10"
  containerEdits:
    deviceNodes: [{path: /dev/nvidia10}, {path: /dev/dri/card1, hostPath: /dev/dri/card7}]
- name: "9"
  containerEdits:
    deviceNodes: [{path: /dev/nvidia9}]
- name: GPU-0a1b
  containerEdits:
    deviceNodes: [{path: /dev/nvidia9}]
- name: all
  containerEdits:
    deviceNodes: [{path: /dev/nvidia9}, {path: /dev/nvidia10}, {path: /dev/dri/card1, hostPath: /dev/dri/card7}]
containerEdits:
  env: [NVIDIA_VISIBLE_DEVICES=void]
  deviceNodes: [{path: /dev/nvidiactl}]
  mounts: [{hostPath: /usr/lib/libcuda.so.1, containerPath: /usr/lib/libcuda.so.1, options: [ro, nosuid, nodev, bind]}]
  hooks: [{hookName: createContainer, path: /usr/bin/nvidia-cdi-hook, args: [nvidia-cdi-hook, update-ldcache]}]
`

const other = `{"cdiVersion": "0.5.0", "kind": "example.org/gpu", "devices": [
  {"name": "a", "containerEdits": {"env": ["A=1"]}}, {"name": "b", "containerEdits": {"env": ["B=1"]}}]}`

const nic = `{"cdiVersion": "0.5.0", "kind": "example.org/nic", "devices": [{"name": "a", "containerEdits": {"deviceNodes": [{"path": "/etc/nic"}]}}]}`

const hooked = `{"cdiVersion": "0.5.0", "kind": "example.org/fpga", "devices": [{"name": "a", "containerEdits": {"hooks": [{"hookName": "poststop", "path": "/bin/true"}]}}]}`

// machine has these files.
func machine(t *testing.T, files map[string]string) (*Devices, string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	d, err := Open([]string{dir, filepath.Join(dir, "none")})
	if err != nil {
		t.Fatal(err)
	}
	return d, dir
}

func TestGPUs(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  []Device
	}{
		{"no file", nil, nil},
		{"each once, by number", map[string]string{"n.yaml": nvidia}, []Device{
			{"nvidia.com/gpu=9", []string{"/dev/nvidia9"}}, {"nvidia.com/gpu=10", []string{"/dev/dri/card7", "/dev/nvidia10"}}}},
		{"of several vendors, and other devices", map[string]string{"n.yaml": nvidia, "o.json": other, "nic.json": nic}, []Device{
			{"example.org/gpu=a", []string{"example.org/gpu=a"}}, {"example.org/gpu=b", []string{"example.org/gpu=b"}},
			{"nvidia.com/gpu=9", []string{"/dev/nvidia9"}}, {"nvidia.com/gpu=10", []string{"/dev/dri/card7", "/dev/nvidia10"}}}},
		{"a damaged file beside", map[string]string{"o.json": other, "x.json": "{"}, []Device{
			{"example.org/gpu=a", []string{"example.org/gpu=a"}}, {"example.org/gpu=b", []string{"example.org/gpu=b"}}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, _ := machine(t, tt.files)
			if diff := cmp.Diff(tt.want, d.GPUs()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestFind(t *testing.T) {
	d, dir := machine(t, map[string]string{"n.yaml": nvidia, "x.json": "{"})
	got, err := d.Find("nvidia.com/gpu=all")
	if diff := cmp.Diff(Device{"nvidia.com/gpu=all", []string{"/dev/dri/card7", "/dev/nvidia10", "/dev/nvidia9"}}, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	_, err = d.Find("nvidia.com/gpu=7")
	for _, want := range []string{`"nvidia.com/gpu=7"`, dir, filepath.Join(dir, "none"), "x.json"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %s", err, want)
		}
	}
}

func TestEdits(t *testing.T) {
	d, _ := machine(t, map[string]string{"n.yaml": nvidia, "nic.json": nic, "h.json": hooked})
	// The nodes of this machine are other than these: the library looks at them.
	if _, err := d.Edits([]string{"nvidia.com/gpu=9"}); err == nil || !strings.Contains(err.Error(), "/dev/nvidia") {
		t.Errorf("a node that is not there: %v", err)
	}
	for name, want := range map[string]string{"example.org/fpga=a": "poststop hook", "example.org/nic=none": "example.org/nic=none"} {
		if _, err := d.Edits([]string{name}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	there := strings.NewReplacer("/dev/nvidia9}", "/dev/plumb9, hostPath: /dev/full}", "/dev/nvidiactl", "/dev/zero").Replace(nvidia)
	d, _ = machine(t, map[string]string{"n.yaml": there, "nic.json": strings.Replace(nic, `"/etc/nic"`, `"/etc/nic", "hostPath": "/dev/null"`, 1)})
	if _, err := d.Edits([]string{"example.org/nic=a"}); err == nil || !strings.Contains(err.Error(), `"/etc/nic", which is not in /dev`) {
		t.Errorf("a node elsewhere: %v", err)
	}
	got, err := d.Edits([]string{"nvidia.com/gpu=9"})
	if err != nil {
		t.Fatal(err)
	}
	want := &runtime.Devices{
		Names:  []string{"nvidia.com/gpu=9"},
		Nodes:  []runtime.Node{{Path: "/dev/plumb9", Source: "/dev/full"}, {Path: "/dev/zero", Source: "/dev/zero"}},
		Mounts: []runtime.DeviceMount{{Source: "/usr/lib/libcuda.so.1", Target: "/usr/lib/libcuda.so.1", Options: []string{"ro", "nosuid", "nodev", "bind"}}},
		Env:    []string{"NVIDIA_VISIBLE_DEVICES=void"},
		Hooks:  []runtime.Hook{{Path: "/usr/bin/nvidia-cdi-hook", Args: []string{"nvidia-cdi-hook", "update-ldcache"}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
