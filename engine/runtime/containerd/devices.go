package containerd

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"plumb/engine/runtime"
)

// A container that is given devices has a /dev of its own: that of all others, and the
// nodes. As root they are made anew, for the container's user, on a file system of
// plumb's; without root the machine's are bound, and are as open as they are there.

// devicesOf is where the /dev of a container is.
func (r *Runtime) devicesOf(s runtime.Spec) string {
	if s.Devices == nil {
		return r.devices
	}
	return filepath.Join(r.opts.State, "dev-"+s.ID)
}

// giveDevices makes a /dev for the container when it is given devices.
func (c *container) giveDevices(s runtime.Spec, uid, gid int) error {
	if s.Devices == nil {
		return nil
	}
	c.dev = c.r.devicesOf(s)
	if err := makeDevices(c.dev, c.r.opts.rootless); err != nil {
		return err
	}
	for _, n := range s.Devices.Nodes {
		if err := c.giveNode(n, uid, gid); err != nil {
			return fmt.Errorf("giving the device %q of %s: %w", n.Path, strings.Join(s.Devices.Names, ", "), err)
		}
	}
	return nil
}

func (c *container) giveNode(n runtime.Node, uid, gid int) error {
	rel, err := filepath.Rel("/dev", n.Path)
	if err != nil || !filepath.IsLocal(rel) || rel == "." {
		return errors.New("it is not below /dev")
	}
	st, err := deviceAt(n.Source)
	if err != nil {
		return err
	}
	at := filepath.Join(c.dev, rel)
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	if err := os.Remove(at); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if c.r.opts.rootless {
		if err := os.WriteFile(at, nil, 0o600); err != nil {
			return err
		}
		return unix.Mount(n.Source, at, "", unix.MS_BIND, "")
	}
	if err := unix.Mknod(at, st.Mode&unix.S_IFMT|0o600, int(st.Rdev)); err != nil {
		return err
	}
	return errors.Join(os.Chmod(at, os.FileMode(st.Mode&0o777)|0o600), os.Lchown(at, uid, gid))
}

// deviceAt makes sure that there is a device.
func deviceAt(path string) (st unix.Stat_t, err error) {
	if err := unix.Stat(path, &st); err != nil {
		return st, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if kind := st.Mode & unix.S_IFMT; kind != unix.S_IFCHR && kind != unix.S_IFBLK {
		return st, fmt.Errorf("%q is no device", path)
	}
	return st, nil
}

// dropDevices takes the container's /dev away, also when there is only a part of it.
func (c *container) dropDevices() error {
	if c.dev == "" {
		return nil
	}
	if err := detach(c.dev); err != nil {
		return err
	}
	if err := os.Remove(c.dev); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("removing the place of devices: %w", err)
	}
	return nil
}

// deviceRules let the container use what it is given, where a cgroup has a say in it.
func deviceRules(d *runtime.Devices) (all []specs.LinuxDeviceCgroup) {
	if d == nil {
		return nil
	}
	for _, n := range d.Nodes {
		st, err := deviceAt(n.Source)
		if err != nil {
			continue // giveDevices has told
		}
		kind := "c"
		if st.Mode&unix.S_IFMT == unix.S_IFBLK {
			kind = "b"
		}
		major, minor := int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
		all = append(all, specs.LinuxDeviceCgroup{Allow: true, Type: kind, Major: &major, Minor: &minor, Access: "rw"})
	}
	return all
}

// deviceMounts are the files that come with devices, like a driver's libraries.
func deviceMounts(d *runtime.Devices) (all []specs.Mount) {
	if d == nil {
		return nil
	}
	for _, m := range d.Mounts {
		kind, options := m.Type, append(slices.Clone(m.Options), "nosuid", "nodev")
		if kind == "" || kind == "bind" {
			kind = "bind"
			if !slices.Contains(options, "bind") && !slices.Contains(options, "rbind") {
				options = append(options, "rbind")
			}
		}
		source := m.Source
		if real, err := filepath.EvalSymlinks(source); err == nil {
			source = real
		}
		all = append(all, specs.Mount{Destination: m.Target, Type: kind, Source: source, Options: options})
	}
	return all
}

// deviceEnv is what devices set that the stage does not.
func deviceEnv(s runtime.Spec) []string {
	if s.Devices == nil {
		return s.Env
	}
	return environmentOf(s.Env, s.Devices.Env)
}

// deviceHooks are programs of the machine's that make the container's files fit its
// devices. libcontainer runs them in the container's namespaces, as its root, when all
// is mounted and the machine's files can still be seen.
func deviceHooks(d *runtime.Devices) *specs.Hooks {
	if d == nil || len(d.Hooks) == 0 {
		return nil
	}
	h := &specs.Hooks{}
	for _, k := range d.Hooks {
		h.CreateContainer = append(h.CreateContainer, specs.Hook{Path: k.Path, Args: k.Args, Env: k.Env, Timeout: k.Timeout})
	}
	return h
}

// forHooks leaves the specification where hooks look for it: in the bundle, which the
// state that they are given names.
func (t *task) forHooks(spec *specs.Spec) error {
	b, err := json.Marshal(spec)
	if err != nil {
		return fmt.Errorf("writing the specification for hooks: %w", err)
	}
	if err := os.WriteFile(filepath.Join(t.bundle, "config.json"), b, 0o644); err != nil {
		return fmt.Errorf("writing the specification for hooks: %w", err)
	}
	return nil
}
