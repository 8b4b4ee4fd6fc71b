package containerd_test

import (
	"testing"

	"plumb/engine/runtime/runtimetest"
)

// The user of this test has subordinate ids. What is left out makes devices, or
// takes for granted that there are some, or has nothing to do with users.
func TestRootless(t *testing.T) {
	t.Parallel()
	runtimetest.NewUser(t, "plumb-test-ids", true).Again(t, ".",
		"TestRootless|TestChangesOddities/device|TestUnpackAsUmociDoes|TestUnpackWhatToolsMake|TestUnpackRootFilesystem|TestUnpackWhatTarMakes|TestHolesCount|TestLeaks|TestCounters")
}

// The user of this test has the own id only, and no name.
func TestRootlessWithOneID(t *testing.T) {
	t.Parallel()
	runtimetest.NewUser(t, "", false).Again(t, "TestRuntime$|TestKilled|TestProbe|TestOneID", "")
}
