package cmd

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"plumb/engine"
)

// onlyChroot says that no containers can be made of what lies in a store on an
// overlay, as the root of a container is one: the kernel stacks no overlay on another,
// nor maps the ids of one. What needs neither works there.
func onlyChroot(dir string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("looking at the file system of the store: %w", &os.PathError{Op: "statfs", Path: filepath.Clean(dir), Err: err})
	}
	if st.Type != unix.OVERLAYFS_SUPER_MAGIC {
		return nil
	}
	return &engine.Error{
		Kind:    engine.Machine,
		Message: fmt.Sprintf("the store %q lies on an overlay, of which no containers can be made", dir),
		Hint:    "put the store on a volume or another disk (--store DIR, PLUMB_HOME), or run stages by --isolation chroot",
	}
}
