package containerd_test

import (
	"testing"

	"plumb/engine/runtime/containerd"
)

// The machine that passes the other tests must pass the probe.
func TestProbe(t *testing.T) {
	for _, f := range containerd.Probe(t.Context(), tempDir(t)+"/not/there/yet") {
		t.Logf("%-16s %v %s %s", f.Name, f.OK, f.Detail, f.Remedy)
		if !f.OK {
			t.Errorf("%s: %s", f.Name, f.Detail)
		}
		if !f.OK && f.Remedy == "" || f.OK && f.Remedy != "" && f.Name != "cgroups" {
			t.Errorf("%s: remedy %q", f.Name, f.Remedy)
		}
	}
}
