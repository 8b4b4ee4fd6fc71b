package cmd

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// arrows says which packages of the house each may import: data goes forward once,
// and imports point down. A package that is missing here may not exist.
var arrows = map[string][]string{
	"plumb":           {"cmd", "engine/runtime/containerd/runcinit", "engine/toolbox"},
	"cmd":             {"cmd/openlineage", "cmd/report", "cmd/view", "engine", "engine/agent", "engine/event", "engine/inventory", "engine/moment", "engine/origin", "engine/runtime", "engine/runtime/containerd", "engine/runtime/containerd/early", "hcl", "store"},
	"cmd/openlineage": {"engine", "store"},
	"cmd/report":      {"engine", "store"},
	"cmd/view":        {"engine", "engine/agent", "engine/compare", "engine/event", "engine/inventory", "engine/plan", "engine/table", "hcl", "store"},
	"engine":          {"engine/apt", "engine/cdi", "engine/compare", "engine/debian", "engine/event", "engine/graph", "engine/fetch", "engine/image", "engine/inventory", "engine/mask", "engine/origin", "engine/plan", "engine/runtime", "engine/sched", "engine/table", "engine/toolbox", "hcl", "store", "store/erase", "store/tree"},
	"hcl":             {"hcl/funcs"},
	"hcl/funcs":       {},
	"store":           {"store/erase"}, "store/tree": {"store"}, "store/erase": {}, "store/faultfs": {},
	"engine/agent": {"engine", "engine/event", "engine/runtime", "store"},
	"engine/event": {"store"}, "engine/graph": {}, "engine/fetch": {}, "engine/inventory": {}, "engine/mask": {}, "engine/moment": {}, "engine/origin": {"store"},
	"engine/apt": {"engine/fetch"}, "engine/apt/apttest": {}, "engine/cdi": {"engine/runtime"}, "engine/debian": {}, "engine/toolbox": {}, "engine/image": {"engine/fetch"}, "engine/image/registrytest": {},
	"engine/compare": {"engine/plan", "hcl", "store"},
	"engine/plan":    {"engine/graph", "hcl", "store"}, "engine/sched": {"engine/graph"}, "engine/table": {}, "engine/runtime": {},
	"engine/runtime/containerd":          {"engine/runtime", "engine/runtime/containerd/early", "engine/runtime/containerd/runcinit", "engine/runtime/containerd/seccomp", "store/erase"},
	"engine/runtime/containerd/early":    {},
	"engine/runtime/containerd/runcinit": {},
	"engine/runtime/containerd/seccomp":  {},
	"engine/runtime/runtimetest":         {"engine/runtime", "engine/image", "engine/runtime/containerd/early"},
}

// owners says who alone imports each heavy dependency.
var owners = map[string][]string{
	"github.com/urfave/cli":                   {"cmd"},
	"github.com/dgraph-io/badger":             {"store"},
	"github.com/hanwen/go-fuse":               {"store/faultfs"},
	"github.com/hashicorp/hcl":                {"hcl", "hcl/funcs"},
	"github.com/zclconf/go-cty":               {"hcl", "hcl/funcs"},
	"github.com/google/go-containerregistry":  {"engine/image", "engine/image/registrytest", "engine/runtime/runtimetest"},
	"github.com/docker/cli":                   {"engine/image"},
	"github.com/parquet-go/":                  {"cmd/report"},
	"pault.ag/go/debian":                      {"engine/apt", "engine/debian"},
	"github.com/duckdb/":                      {"engine/table"},
	"github.com/mikelolasagasti/xz":           {"engine/apt", "engine/debian"},
	"github.com/ProtonMail/go-crypto":         {"engine/apt", "engine/apt/apttest"},
	"github.com/CycloneDX/cyclonedx-go":       {"engine/inventory"},
	"github.com/spdx/tools-golang":            {"engine/inventory"},
	"github.com/containerd/":                  {"engine/runtime/containerd", "engine/runtime/containerd/seccomp", "engine/runtime/runtimetest"},
	"tags.cncf.io/container-device-interface": {"engine/cdi"},
	"github.com/opencontainers/runc":          {"engine/runtime/containerd", "engine/runtime/containerd/runcinit"},
}

func TestImportsPointDown(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "plumb/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	for _, line := range lines {
		words := strings.Fields(line)
		pkg := strings.TrimPrefix(words[0], "plumb/")
		allowed, ok := arrows[pkg]
		if !ok {
			t.Errorf("package %s has no place in the house: add it to arrows, or put it where it belongs", pkg)
			continue
		}
		for _, imp := range words[1:] {
			if own, ok := strings.CutPrefix(imp, "plumb/"); ok && !slices.Contains(allowed, own) {
				t.Errorf("%s imports %s, which does not lie below it", pkg, own)
			}
			for dep, who := range owners {
				if strings.HasPrefix(imp, dep) && !slices.Contains(who, pkg) {
					t.Errorf("%s imports %s, which %v alone own", pkg, imp, who)
				}
			}
		}
	}
	if len(lines) < len(arrows)-2 {
		t.Errorf("go list gave %d packages, and the house has %d", len(lines), len(arrows))
	}
}
