package containerd_test

import (
	"testing"

	"plumb/engine/runtime"
	"plumb/engine/runtime/containerd/early"
	"plumb/engine/runtime/runtimetest"
)

func TestPromises(t *testing.T) {
	manual := "../../../README.md"
	if early.Rootless() {
		manual = "" // the user runs a copy of this program, beside which there is none
	}
	runtimetest.Promises(t, func(t *testing.T) runtime.Runtime { return newRuntime(t) }, manual, lacks(t)...)
}
