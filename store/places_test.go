package store

import (
	"slices"
	"strings"
	"testing"
)

// A run that names what no project holds is found by fsck, and loses the list that does
// when that is repaired.
func TestFsckFindsPathsOutOfTheProject(t *testing.T) {
	for _, tt := range []struct {
		name string
		run  Run
		ok   bool
	}{
		{"a place", Run{Places: []Place{{Path: "data/raw.csv", Role: PlaceInput}}}, true},
		{"the project", Run{Places: []Place{{Path: ".", Role: PlaceInput, Artifact: Artifact{Kind: KindTree}}}}, true},
		{"data from elsewhere", Run{Places: []Place{{Path: "", Role: PlaceOutside, Source: "s"}}}, true},
		{"params of elsewhere", Run{Files: []RunFile{{Path: "../p.json", Role: RoleParams}}}, true},
		{"a place beside", Run{Places: []Place{{Path: "a", Role: PlaceInput}, {Path: "../evil.csv", Role: PlaceInput}}}, false},
		{"an export beside", Run{Places: []Place{{Path: "a/../../evil.csv", Role: PlaceExport}}}, false},
		{"an absolute place", Run{Places: []Place{{Path: "/evil.csv", Role: PlaceImage}}}, false},
		{"a place that is not clean", Run{Places: []Place{{Path: "./a", Role: PlaceInput}}}, false},
		{"a file beside", Run{Files: []RunFile{{Path: "../plumb.hcl", Role: RolePipeline}}}, false},
		{"a listed file beside", Run{Files: []RunFile{{Path: "../x", Role: RoleListed}}}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := openStore(t, t.TempDir(), Options{})
			run := tt.run
			run.ID, run.Project, run.Status = "20261124-020751-k3f9", "/p", "succeeded"
			run.Places = slices.Clone(run.Places)
			for i := range run.Places { // what a path is matters, not what is there
				if run.Places[i].Kind == "" {
					run.Places[i].Kind = KindFile
				}
				run.Places[i].Dropped, run.Places[i].Digest = true, named("x")
			}
			if err := s.PutRun(&run); err != nil {
				t.Fatal(err)
			}
			rep := checked(t, s, false)
			if tt.ok {
				if !rep.OK {
					t.Errorf("found %+v", rep.Findings)
				}
				return
			}
			if !slices.Equal(kinds(rep), []FindingKind{FoundDamagedRecord}) || !strings.Contains(rep.Findings[0].Detail, "is no path of a project") {
				t.Fatalf("found %+v", rep.Findings)
			}
			if rep := checked(t, s, true); !rep.OK {
				t.Errorf("not repaired: %+v", rep.Findings)
			}
			got, err := s.Run(run.ID)
			if err != nil || got.Places != nil || got.Files != nil {
				t.Errorf("%+v, %v", got, err)
			}
			if rep := checked(t, s, false); len(rep.Findings) > 0 {
				t.Errorf("found again %+v", rep.Findings)
			}
		})
	}
}
