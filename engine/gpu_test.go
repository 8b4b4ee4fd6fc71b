package engine

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"plumb/engine/runtime"
)

// oneCard is a machine's CDI file with a single harmless device under two names.
const oneCard = `{"cdiVersion": "0.5.0", "kind": "example.org/gpu", "devices": [
  {"name": "0", "containerEdits": {"env": ["CARD=zero"], "deviceNodes": [{"path": "/dev/card0", "hostPath": "/dev/full"}]}},
  {"name": "serial", "containerEdits": {"env": ["CARD=serial"], "deviceNodes": [{"path": "/dev/card0", "hostPath": "/dev/full"}]}}]}`

// cards gives the machine a CDI file, "" for none.
func (r *rig) cards(text string) {
	r.t.Helper()
	dir := r.t.TempDir()
	r.cfg.CDI = []string{dir}
	if text != "" {
		if err := os.WriteFile(filepath.Join(dir, "card.json"), []byte(text), 0o644); err != nil {
			r.t.Fatal(err)
		}
	}
}

func gpuStage(name, gpu string) string {
	return "stage \"" + name + "\" {\n command = [\"write\", \"" + name + "\", \"x\"]\n outputs = {f = \"" + name + "\"}\n resources { gpu = " + gpu + " }\n}\n"
}

func TestStagesWithoutTheirDevices(t *testing.T) {
	for _, tt := range []struct {
		name, card, gpu string
		place           Place
		want            []string
	}{
		{name: "no CDI file", gpu: "1", want: []string{`Stage "a" asks for gpu = 1: there is none in a CDI file in`, "nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml"}},
		{name: "too few", card: oneCard, gpu: "2", want: []string{"it asks for 2 of class \"gpu\", and there are 1"}},
		{name: "another device", card: oneCard, gpu: `"nvidia.com/gpu=0"`, want: []string{`there is no device "nvidia.com/gpu=0" in a CDI file in`}},
		{name: "a device that is not there", card: strings.ReplaceAll(oneCard, "/dev/full", "/dev/no-such"), gpu: "1", want: []string{"/dev/no-such"}},
		{name: "a damaged file", card: "{", gpu: "1", want: []string{`card.json" cannot be read`}},
		{name: "another runtime", card: oneCard, gpu: "1", place: Place{Isolation: IsolationChroot}, want: []string{"only the containerd inside plumb gives devices"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, gpuStage("b", "0")+gpuStage("a", tt.gpu))
			r.cards(tt.card)
			_, events, err := r.ran(t.Context(), func(req *RunRequest) { req.Place = tt.place })
			if err == nil {
				t.Fatal("it ran")
			}
			text := AsError(err).Message
			for _, d := range AsError(err).Diagnostics {
				text += d.Detail + " " + d.Hint
			}
			for _, want := range tt.want {
				if !strings.Contains(text, want) {
					t.Errorf("%q does not say %q", text, want)
				}
			}
			if r.rt.created > 0 || len(events) > 0 {
				t.Errorf("%d containers were created, %d events came", r.rt.created, len(events))
			}
		})
	}
}

// Which devices a stage has is no part of what it is.
func TestDevicesAreInNoKey(t *testing.T) {
	r := newRig(t, gpuStage("a", "1"))
	r.cards(oneCard)
	status, _, err := r.ran(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wantStatus(t, status, map[string]string{"a": "ran"})
	for _, gpu := range []string{"1", "0", `"example.org/gpu=serial"`} {
		r.cards("") // what is up to date needs no devices
		r.project(gpuStage("a", gpu))
		if status, _, err = r.ran(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantStatus(t, status, map[string]string{"a": "cached"})
	}
}

// Stages that want the same card run one after the other, those that want none beside.
func TestDevicesArePacked(t *testing.T) {
	r := newRig(t, gpuStage("a", "1")+gpuStage("b", "1")+gpuStage("c", `["example.org/gpu=serial"]`)+gpuStage("d", "0"))
	r.cards(oneCard)
	var mu sync.Mutex
	live, given := 0, map[string]int{}
	r.rt.watch = func(s runtime.Spec, began bool) {
		if s.Devices == nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if !began {
			live--
			return
		}
		if live++; live > 1 {
			t.Errorf("%d containers have the card", live)
		}
		given[strings.Join(s.Devices.Names, " ")+" "+strings.Join(s.Devices.Env, " ")+" "+s.Devices.Nodes[0].Source]++
		mu.Unlock()
		time.Sleep(20 * time.Millisecond)
		mu.Lock()
	}
	status, _, err := r.ran(t.Context(), func(req *RunRequest) { req.Jobs = 4 })
	if err != nil {
		t.Fatal(err)
	}
	wantStatus(t, status, map[string]string{"a": "ran", "b": "ran", "c": "ran", "d": "ran"})
	want := map[string]int{"example.org/gpu=0 CARD=zero /dev/full": 2, "example.org/gpu=serial CARD=serial /dev/full": 1}
	if diff := cmp.Diff(want, given); diff != "" {
		t.Errorf("given (-want +got):\n%s", diff)
	}
}

// A stage that may turn out to be unchanged is not refused ahead; when it has to run
// without its devices it fails before it starts.
func TestDevicesOfAPendingStage(t *testing.T) {
	src := "stage \"up\" {\n command = [\"write\", \"up\", \"%\"]\n outputs = {f = \"up\"}\n}\n" +
		strings.Replace(gpuStage("a", "1"), "command", "inputs = [stage.up.f]\n command", 1)
	r := newRig(t, strings.Replace(src, "%", "one", 1))
	r.cards(oneCard)
	if _, _, err := r.ran(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.cards("")
	r.project(strings.Replace(src, "%", "two", 1))
	status, events, _ := r.ran(t.Context())
	wantStatus(t, status, map[string]string{"up": "ran", "a": "failed"})
	for _, st := range events[len(events)-1].Stages {
		if st.Name == "a" && (!strings.Contains(st.Error.Message, `stage "a" asks for gpu = 1: there is none in a CDI file in`) || st.Error.Hint != deviceHint) {
			t.Errorf("its failure is %+v", st.Error)
		}
	}
}
