package containerd_test

import (
	"strings"
	"testing"

	"plumb/engine/runtime"
	"plumb/engine/runtime/containerd"
	"plumb/engine/runtime/containerd/early"
	"plumb/engine/runtime/runtimetest"
)

func TestJailRuntime(t *testing.T) {
	if early.Rootless() {
		o := options(tempDir(t))
		o.Chroot = true
		if _, err := containerd.New(t.Context(), o); err == nil || !strings.Contains(err.Error(), "isolation chroot takes root") {
			t.Errorf("for an ordinary user it gives %v", err)
		}
		return
	}
	runtimetest.Run(t, func(t *testing.T) runtime.Runtime {
		o := options(tempDir(t))
		o.Chroot = true
		return newRuntimeOf(t, o)
	}, runtimetest.Mounts, runtimetest.Limits, runtimetest.OtherIDs, runtimetest.Namespaces)
}
