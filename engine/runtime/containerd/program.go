package containerd

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// programRemedy is for a program that probeProgram refuses.
const programRemedy = "mount the directory that it is in, or copy it: cp plumb /usr/local/bin"

// probeProgram requires that this program is seen in its directory by whoever mounts
// that directory alone, as libcontainer does (exeseal.CloneSelfExe) to have the program
// in a form that no container can write to. A file that is mounted by itself, as by
// docker run -v ./plumb:/usr/bin/plumb, is not: what is found is the empty file below it,
// and executing that says "exec format error".
func probeProgram() (string, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, "/proc/self/exe", 0, unix.STATX_TYPE, &st); err != nil {
		return "", fmt.Errorf("looking at the own program: %w", err)
	}
	path, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return "", fmt.Errorf("looking at the own program: %w", err)
	}
	if st.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT != 0 && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0 {
		return "", fmt.Errorf("plumb's own program %q is a mount by itself: no container can be made with it", path)
	}
	return path, nil
}

// checkProgram is the same before containers are made.
func checkProgram() error {
	if _, err := probeProgram(); err != nil {
		return &Unusable{What: err.Error(), Remedy: programRemedy}
	}
	return nil
}
