package containerd

import (
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"plumb/engine/runtime/containerd/early"
)

// What the layers of an image show, before anything is mounted.

// findIn looks a path up in layers, topmost first, as the overlay will: no link on the
// way is followed, and what a layer hides stays hidden.
func findIn(layers []string, name string) (os.FileInfo, string) {
	for _, layer := range layers {
		info, hides := lookUp(layer, name)
		if info != nil {
			return info, filepath.Join(layer, name)
		}
		if hides {
			break
		}
	}
	return nil, ""
}

// lookUp finds a path in one layer. hides says that the layers below have nothing to
// say about it: something other than a directory stands in its way, it was removed,
// or a directory above it begins anew here.
func lookUp(layer, name string) (info os.FileInfo, hides bool) {
	at := layer
	steps := strings.Split(name, "/")
	for n, step := range steps {
		at = filepath.Join(at, step)
		found, err := os.Lstat(at)
		last := n == len(steps)-1
		switch {
		case err != nil:
			return nil, hides
		case found.Mode()&os.ModeCharDevice != 0 && isWhiteout(at):
			return nil, true
		case last:
			return found, false
		case !found.IsDir():
			return nil, true
		}
		hides = hides || isOpaque(at)
	}
	return nil, hides
}

// overlayNotes are the mount options that make overlayfs keep its notes where this
// process may write: as attributes of "trusted" that takes root.
func overlayNotes() []string {
	if early.Rootless() {
		return []string{"userxattr"}
	}
	return nil
}

// overlayAttrs begins the names of these notes.
func overlayAttrs() string {
	if early.Rootless() || !mayTrust() {
		return "user.overlay."
	}
	return "trusted.overlay."
}

// mayTrust says whether this process may write such attributes. One that may not makes
// no overlays either, but its layers have the notes all the same.
var mayTrust = sync.OnceValue(func() bool { return capable(unix.CAP_SYS_ADMIN) })

// capable says whether this process has a capability of the first 32.
func capable(capability int) bool {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	return unix.Capget(&head, &caps[0]) == nil && caps[0].Effective&(1<<capability) != 0
}

func isOpaque(dir string) bool {
	var value [1]byte
	n, err := unix.Lgetxattr(dir, overlayAttrs()+"opaque", value[:])
	return err == nil && n == 1 && value[0] == 'y'
}

func isWhiteout(name string) bool {
	var st unix.Stat_t
	return unix.Lstat(name, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0
}
