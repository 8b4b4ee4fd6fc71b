package containerd_test

import (
	"fmt"
	"os"
	"testing"

	"plumb/engine/runtime/containerd/early"
)

// The tests run inside private namespaces, so that nothing of a killed test is
// left on the machine.
func TestMain(m *testing.M) {
	if err := early.Enter(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}
