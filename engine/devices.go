package engine

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"plumb/engine/cdi"
	"plumb/engine/runtime"
	"plumb/engine/sched"
	"plumb/hcl"
)

// Devices that stages ask for are those of the machine's CDI files, read once for a
// run. They are resources: in no key, and packed by the scheduler, which gives each
// stage its own as it starts.

// deviceHint is what makes a CDI file for the devices that most people mean.
const deviceHint = "nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml describes NVIDIA's; other vendors have tools of their own"

// outfit is what the stages of a run need of the machine's devices.
type outfit struct {
	found *cdi.Devices
	pool  []sched.Device
	needs map[int]sched.Needs // by stage, of those that ask for any
	lacks map[int]error       // by stage, of those that cannot have theirs
}

// fitOut looks the devices up that stages ask for which will run, or may. It refuses
// the run when one lacks its own that will run for certain.
func (s *session) fitOut(at Place, dirs []string) error {
	o := outfit{needs: map[int]sched.Needs{}, lacks: map[int]error{}}
	var diags hcl.Diagnostics
	for i := range s.pipeline.Stages {
		st := &s.pipeline.Stages[i]
		if st.Resources.GPUs == 0 && len(st.Resources.Devices) == 0 || !s.selected[i] || s.outside[i] {
			continue
		}
		runs, certain := willRun(s.planner.Decision(i))
		if !runs && !certain {
			continue
		}
		if err := o.look(dirs); err != nil {
			return &Error{Kind: Machine, Message: err.Error()}
		}
		n, err := o.of(st.Resources)
		if err == nil && at != (Place{}) {
			err = fmt.Errorf("only the containerd inside plumb gives devices, not %s", at)
		}
		o.needs[i] = n
		if err == nil {
			continue
		}
		o.lacks[i] = lacking(st, err)
		if certain {
			diags = append(diags, hcl.Diagnostic{
				Severity: hcl.SeverityError, Summary: "Stage without its devices", Subject: st.Range,
				Detail: fmt.Sprintf("Stage %q asks for %s: %v.", st.Name, asked(st.Resources), err), Hint: deviceHint,
			})
		}
	}
	s.outfit = o
	if len(diags) > 0 {
		diags.Sort()
		return diags
	}
	return nil
}

func lacking(st *hcl.Stage, err error) error {
	return &Error{Kind: Machine, Message: fmt.Sprintf("stage %q asks for %s: %v", st.Name, asked(st.Resources), err), Hint: deviceHint}
}

func asked(r hcl.Resources) string {
	if len(r.Devices) > 0 {
		return "gpu " + strings.Join(r.Devices, ", ")
	}
	return fmt.Sprintf("gpu = %d", r.GPUs)
}

// look reads the CDI files, once.
func (o *outfit) look(dirs []string) (err error) {
	if o.found != nil {
		return nil
	}
	if dirs == nil {
		dirs = cdi.DefaultDirs()
	}
	if o.found, err = cdi.Open(dirs); err != nil {
		return err
	}
	for _, d := range o.found.GPUs() {
		o.pool = append(o.pool, sched.Device(d))
	}
	return nil
}

// of is what one stage needs. Its devices must be there and understood.
func (o *outfit) of(r hcl.Resources) (n sched.Needs, err error) {
	n.Any = int(r.GPUs)
	if n.Any > len(o.pool) {
		return n, o.found.Lacking(n.Any, len(o.pool))
	}
	names := slices.Clone(r.Devices)
	for _, name := range names {
		d, err := o.found.Find(name)
		if err != nil {
			return n, err
		}
		n.Devices = append(n.Devices, sched.Device(d))
	}
	if n.Any > 0 {
		for _, d := range o.pool {
			names = append(names, d.Name)
		}
	}
	_, err = o.found.Edits(names)
	return n, err
}

// given notes which devices a stage has.
func (r *run) given(i int, names []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held == nil {
		r.held = map[int][]string{}
	}
	r.held[i] = names
}

// devices are what the container of a stage gets, nil for none.
func (r *run) devices(i int) (*runtime.Devices, error) {
	r.mu.Lock()
	names := r.held[i]
	r.mu.Unlock()
	n := r.s.outfit.needs[i]
	if want := n.Any + len(n.Devices); want == 0 {
		return nil, nil
	} else if len(names) != want {
		return nil, errors.New("the stage was started before its devices were free")
	}
	return r.s.outfit.found.Edits(names)
}
