package containerd_test

import (
	"testing"

	"plumb/engine/runtime"
	"plumb/engine/runtime/runtimetest"
)

func TestDevices(t *testing.T) {
	runtimetest.Devices(t, func(t *testing.T) runtime.Runtime { return newRuntime(t) }, lacks(t)...)
}
