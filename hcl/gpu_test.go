package hcl

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What a stage says of devices takes the place of all that the pipeline says.
func TestGPU(t *testing.T) {
	for _, tt := range []struct {
		name, pipeline, stage string
		want                  Resources
	}{
		{"nothing", "", "", Resources{}},
		{"a number", "", "gpu = 2", Resources{GPUs: 2}},
		{"a name", "", `gpu = "nvidia.com/gpu=0"`, Resources{Devices: []string{"nvidia.com/gpu=0"}}},
		{"names", "", `gpu = ["nvidia.com/gpu=GPU-0a1b", "example.org/nic=a:0"]`, Resources{Devices: []string{"nvidia.com/gpu=GPU-0a1b", "example.org/nic=a:0"}}},
		{"a computed number", "", "gpu = 1 + 1", Resources{GPUs: 2}},
		{"the pipeline's", "gpu = 1", "cpu = 1", Resources{CPU: 1, GPUs: 1}},
		{"a name over a number", "gpu = 1", `gpu = "a.b/gpu=0"`, Resources{Devices: []string{"a.b/gpu=0"}}},
		{"a number over a name", `gpu = "a.b/gpu=0"`, "gpu = 3", Resources{GPUs: 3}},
		{"none over some", "gpu = 1", "gpu = 0", Resources{}},
		{"an empty list over some", "gpu = 1", "gpu = []", Resources{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			src := "image \"x\" { ref = \"a:1\" }\npipeline \"p\" {\n image = image.x\n resources {\n" + tt.pipeline + "\n}\n}\nstage \"s\" {\n command = \"true\"\n resources {\n" + tt.stage + "\n}\n}\n"
			p, diags := Evaluate("", []File{{MainFile, []byte(src)}}, Options{})
			if len(diags) > 0 {
				t.Fatal(rendered(diags))
			}
			if diff := cmp.Diff(tt.want, p.Stages[0].Resources); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
