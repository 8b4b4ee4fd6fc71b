package containerd_test

import (
	"testing"

	"plumb/engine/runtime"
	"plumb/engine/runtime/runtimetest"
)

func TestPromises(t *testing.T) {
	runtimetest.Promises(t, func(t *testing.T) runtime.Runtime { return newRuntime(t) }, "../../../README.md", lacks(t)...)
}
