package containerd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ProbeDaemon is Probe for containers of the daemon at socket.
func ProbeDaemon(ctx context.Context, socket, root string) []Finding {
	root = existing(root)
	all := []probe{
		{"root", "run plumb as root, or with sudo", probeRoot},
		{"kernel", "use a kernel of version 5.19 or newer", probeKernel},
		{"cgroups", "mount cgroups: with systemd they are, in a container ask for them", probeCgroups},
		{"user namespaces", "allow them: sysctl user.max_user_namespaces=10000", probeUserNamespace},
		{"seccomp", "use a kernel with CONFIG_SECCOMP_FILTER", probeSeccomp},
		{"free space", "make room, or move the store with --store", func() (string, error) { return probeSpace(root) }},
	}
	findings := inspect(ctx, all)
	d, err := dialDaemon(ctx, socket)
	if err != nil {
		return append(findings, findingOf("containerd", "", err))
	}
	findings = append(findings, findingOf("containerd", fmt.Sprintf("%s at %s", d.version, socket), nil))
	d.store = "doctor"
	disk, err := d.snapshots(ctx)
	findings = append(findings, findingOf("snapshots", snapshotter+" in "+disk, err))
	detail, err := probeRunc(ctx, daemonPath(socket))
	findings = append(findings, findingOf("runtime", detail, err))
	if err := d.client.Close(); err != nil {
		findings = append(findings, findingOf("hanging up", "", err))
	}
	return findings
}

// findingOf tells of one thing that may be unusable.
func findingOf(name, detail string, err error) Finding {
	f := Finding{Name: name, OK: err == nil, Detail: detail}
	if err == nil {
		return f
	}
	f.Detail, f.Remedy = err.Error(), "look into the log of the containerd"
	var unusable *Unusable
	if errors.As(err, &unusable) {
		f.Detail, f.Remedy = unusable.What, unusable.Remedy
	}
	return f
}

// daemonPath is where the daemon looks for programs, as far as that is to be seen; else
// where this process does.
func daemonPath(socket string) string {
	if pid := peerOf(socket); pid > 0 {
		if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid)); err == nil {
			for v := range strings.SplitSeq(string(b), "\x00") {
				if path, ok := strings.CutPrefix(v, "PATH="); ok {
					return path
				}
			}
		}
	}
	return os.Getenv("PATH")
}

// peerOf is the process that listens, 0 when it is not to be seen.
func peerOf(socket string) (pid int32) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return 0
	}
	defer conn.Close()
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0
	}
	if err := raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = cred.Pid
		}
	}); err != nil {
		return 0
	}
	return pid
}

// probeRunc looks for the two programs that make containers.
func probeRunc(ctx context.Context, path string) (string, error) {
	if _, err := lookIn(path, "containerd-shim-runc-v2"); err != nil {
		return "", &Unusable{err.Error(), "install it; it comes with containerd, and has to be in the PATH of the daemon"}
	}
	runc, err := lookIn(path, "runc")
	if err != nil {
		return "", &Unusable{err.Error(), "install it, such as by apt-get install runc; it has to be in the PATH of the daemon"}
	}
	out, err := exec.CommandContext(ctx, runc, "--version").Output()
	if err != nil {
		return "", &Unusable{fmt.Sprintf("%s --version: %v", runc, err), "install another runc"}
	}
	first, _, _ := strings.Cut(string(out), "\n")
	version := first[strings.LastIndex(first, " ")+1:]
	if major, minor, ok := numbersOf(version); ok && (major < 1 || major == 1 && minor < 1) {
		return "", &Unusable{fmt.Sprintf("%s is of version %s, and 1.1 is the oldest that knows mounts that are read-only all the way down", runc, version), "install a newer one"}
	}
	return runc + " " + version, nil
}

// lookIn finds a program in a PATH that is not this process's.
func lookIn(path, program string) (string, error) {
	for _, dir := range filepath.SplitList(path) {
		file := filepath.Join(dir, program)
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return file, nil
		}
	}
	return "", fmt.Errorf("%s is not in the PATH of the daemon", program)
}
