package containerd_test

import (
	"os"
	"testing"

	"plumb/engine/runtime"
	"plumb/engine/runtime/runtimetest"
)

func TestJailRuntime(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("chroot(2) takes root")
	}
	runtimetest.Run(t, func(t *testing.T) runtime.Runtime {
		o := options(tempDir(t))
		o.Chroot = true
		return newRuntimeOf(t, o)
	}, runtimetest.Mounts, runtimetest.Limits, runtimetest.OtherIDs, runtimetest.Namespaces)
}
