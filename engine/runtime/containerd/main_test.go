package containerd_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"plumb/engine/runtime/containerd/early"
)

// The tests run inside private namespaces, so that nothing of a killed test is
// left on the machine. A daemon is the machine's: what starts it stays outside.
func TestMain(m *testing.M) {
	if os.Getenv(outsideVariable) == "serve" {
		os.Exit(serveOutside())
	}
	// Who fuzzes talks to its workers by files that are open, and needs no namespaces.
	if slices.ContainsFunc(os.Args, func(a string) bool {
		return strings.HasPrefix(a, "-test.fuzz") && !strings.HasPrefix(a, "-test.fuzzcache")
	}) {
		os.Exit(m.Run())
	}
	err := stayOutside()
	if err == nil {
		err = early.Enter()
	}
	if dir, layout, ok := strings.Cut(os.Getenv(victimVariable), ":"); ok && err == nil {
		err = victim(dir, layout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}
