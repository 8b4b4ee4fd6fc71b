// Package cdi finds the devices that a machine's CDI files describe, and says what a
// container gets with them.
//
// CDI is how vendors tell container runtimes what a device needs: a file in /etc/cdi
// or /var/run/cdi names devices ("nvidia.com/gpu=0"), and for each the nodes in /dev,
// the files to mount, the environment and the hooks. nvidia-ctk writes one, so do the
// tools of other vendors.
//
// One thing often has several names there, like its number, its serial number, and
// "all" with the others. What a device is, therefore, are the nodes of its own: devices
// that share one cannot be given to two stages at once.
package cdi

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"tags.cncf.io/container-device-interface/pkg/cdi"
	"tags.cncf.io/container-device-interface/pkg/parser"

	"plumb/engine/runtime"
)

// class is what a device is of that a stage asks for by number, of whatever vendor.
const class = "gpu"

// DefaultDirs are where the files are, the later ones going before.
func DefaultDirs() []string { return slices.Clone(cdi.DefaultSpecDirs) }

// IsName reports whether s is the full name of a device, VENDOR/CLASS=NAME.
func IsName(s string) bool { return parser.IsQualifiedName(s) }

// Device is one that can be given to a container.
type Device struct {
	Name string
	Uses []string // what nobody else can have meanwhile: its nodes, or itself if it has none
}

// Devices are those of a machine at one moment.
type Devices struct {
	dirs  []string
	cache *cdi.Cache
}

// Open reads the files of the directories. What is wrong with one shows when a device
// is asked for.
func Open(dirs []string) (*Devices, error) {
	cache, err := cdi.NewCache(cdi.WithSpecDirs(dirs...), cdi.WithAutoRefresh(false))
	if err != nil {
		return nil, fmt.Errorf("reading the CDI files in %s: %w", strings.Join(dirs, " and "), err)
	}
	return &Devices{dirs, cache}, nil
}

// Find gives a device by its name.
func (d *Devices) Find(name string) (Device, error) {
	found := d.cache.GetDevice(name)
	if found == nil {
		return Device{}, d.lacking(fmt.Sprintf("there is no device %q", name))
	}
	return Device{name, uses(name, found)}, nil
}

// GPUs are all that a stage can be given which asks for a number of them: one name for
// each, and none that stands for several.
func (d *Devices) GPUs() []Device {
	var all []Device
	for _, name := range d.cache.ListDevices() {
		if _, of, _, err := parser.ParseQualifiedName(name); err != nil || of != class {
			continue
		}
		all = append(all, Device{name, uses(name, d.cache.GetDevice(name))})
	}
	slices.SortFunc(all, byNumber)
	var single []Device
	for n, a := range all {
		if !slices.ContainsFunc(all[:n], func(b Device) bool { return slices.Equal(a.Uses, b.Uses) }) &&
			!slices.ContainsFunc(all, func(b Device) bool { return len(b.Uses) < len(a.Uses) && shares(a, b) }) {
			single = append(single, a)
		}
	}
	return single
}

// Lacking says that there are fewer devices than asked for, or none, and what to do.
func (d *Devices) Lacking(n, have int) error {
	if have == 0 {
		return d.lacking("there is none")
	}
	return fmt.Errorf("it asks for %d of class %q, and there are %d", n, class, have)
}

// lacking names what was looked at. A file that could not be read may be the reason.
func (d *Devices) lacking(what string) error {
	what += " in a CDI file in " + strings.Join(d.dirs, " or ")
	failed := d.cache.GetErrors()
	for _, file := range slices.Sorted(maps.Keys(failed)) {
		if err := errors.Join(failed[file]...); !errors.Is(err, os.ErrNotExist) {
			what += fmt.Sprintf("; %q cannot be read: %v", file, err)
		}
	}
	return errors.New(what)
}

// byNumber sorts names, and numbers at their ends by what they are.
func byNumber(a, b Device) int {
	kindA, a0, _ := strings.Cut(a.Name, "=")
	kindB, b0, _ := strings.Cut(b.Name, "=")
	if c := strings.Compare(kindA, kindB); c != 0 {
		return c
	}
	na, errA := strconv.Atoi(a0)
	nb, errB := strconv.Atoi(b0)
	switch {
	case errA == nil && errB == nil:
		return na - nb
	case errA == nil:
		return -1
	case errB == nil:
		return 1
	}
	return strings.Compare(a0, b0)
}

func shares(a, b Device) bool {
	return slices.ContainsFunc(a.Uses, func(u string) bool { return slices.Contains(b.Uses, u) })
}

// uses are the nodes that a device itself brings; those that its file gives to all of
// its devices are there for everybody.
func uses(name string, d *cdi.Device) []string {
	var all []string
	for _, n := range d.ContainerEdits.DeviceNodes {
		all = append(all, hostPath(n.HostPath, n.Path))
	}
	if len(all) == 0 {
		return []string{name}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func hostPath(host, inside string) string {
	if host == "" {
		return inside
	}
	return filepath.Clean(host)
}

// Edits is what a container gets with the devices of these names.
func (d *Devices) Edits(names []string) (*runtime.Devices, error) {
	// All that the library does to a specification is read back from an empty one.
	spec := &specs.Spec{Process: &specs.Process{}, Linux: &specs.Linux{}}
	if missing, err := d.cache.InjectDevices(spec, names...); err != nil {
		return nil, fmt.Errorf("reading the CDI description of %s: %w (%d of them unknown)", strings.Join(names, ", "), err, len(missing))
	}
	out := &runtime.Devices{Names: names, Env: spec.Process.Env}
	hosts := d.hosts(names)
	for _, n := range spec.Linux.Devices {
		rel, err := filepath.Rel("/dev", n.Path)
		if err != nil || !filepath.IsLocal(rel) {
			return nil, fmt.Errorf("the CDI description of %s has a device node %q, which is not in /dev", strings.Join(names, ", "), n.Path)
		}
		out.Nodes = append(out.Nodes, runtime.Node{Path: n.Path, Source: hostPath(hosts[n.Path], n.Path)})
	}
	slices.SortFunc(out.Nodes, func(a, b runtime.Node) int { return strings.Compare(a.Path, b.Path) })
	for _, m := range spec.Mounts {
		out.Mounts = append(out.Mounts, runtime.DeviceMount{Source: m.Source, Target: m.Destination, Type: m.Type, Options: m.Options})
	}
	if spec.Hooks != nil {
		for when, all := range map[string][]specs.Hook{
			//lint:ignore SA1019 CDI files may still have it
			"prestart":      spec.Hooks.Prestart,
			"createRuntime": spec.Hooks.CreateRuntime, "createContainer": spec.Hooks.CreateContainer, "startContainer": spec.Hooks.StartContainer,
			"poststart": spec.Hooks.Poststart, "poststop": spec.Hooks.Poststop,
		} {
			for _, h := range all {
				if when != "createContainer" {
					return nil, fmt.Errorf("the CDI description of %s has a %s hook, and only createContainer hooks are run", strings.Join(names, ", "), when)
				}
				out.Hooks = append(out.Hooks, runtime.Hook{Path: h.Path, Args: h.Args, Env: h.Env, Timeout: h.Timeout})
			}
		}
	}
	return out, nil
}

// hosts are the nodes of the machine, by where they are inside: a specification does
// not say them.
func (d *Devices) hosts(names []string) map[string]string {
	all := map[string]string{}
	for _, name := range names {
		dev := d.cache.GetDevice(name)
		if dev == nil {
			continue // InjectDevices has told
		}
		for _, n := range append(slices.Clone(dev.GetSpec().ContainerEdits.DeviceNodes), dev.ContainerEdits.DeviceNodes...) {
			all[n.Path] = n.HostPath
		}
	}
	return all
}
