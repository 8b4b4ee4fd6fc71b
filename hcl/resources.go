package hcl

import (
	"fmt"
	"regexp"
	"slices"

	hashi "github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// maxRetries bounds the counts of a retry block; more is a loop by mistake.
const maxRetries = 1000

// resources reads a resources block over what was said before it.
func (s *scope) resources(b *hclsyntax.Block, to *Resources, a allowance) {
	if b == nil {
		return
	}
	s.ev.conform(b.Body, "resources", shape{attributes: []string{"cpu", "memory", "pids", "gpu"}})
	if n, ok := s.floatAttr(b.Body, "cpu", a, 0, false); ok {
		to.CPU = n
	}
	if n, ok := s.sizeAttr(b.Body, "memory", a); ok {
		to.Memory = n
	}
	if n, ok := s.wholeAttr(b.Body, "pids", a, 1); ok {
		to.Pids = n
	}
	s.gpu(b.Body, to, a)
}

// gpu reads gpu = 2, a number of any, or gpu = "vendor.com/class=name", or a list of such
// names.
func (s *scope) gpu(body *hclsyntax.Body, to *Resources, a allowance) {
	attr := body.Attributes["gpu"]
	if attr == nil {
		return
	}
	if _, list := attr.Expr.(*hclsyntax.TupleConsExpr); list {
		found, ok := s.elements(attr.Expr, a, "gpu")
		if !ok {
			return
		}
		to.GPUs, to.Devices = 0, nil
		for _, x := range found {
			s.device(x.value, x.valueRange, to)
		}
		return
	}
	v, r, ok := s.attr(body, "gpu", a)
	if !ok || !v.IsKnown() {
		return
	}
	if plain, _ := v.Unmark(); plain.Type() == cty.String {
		to.GPUs, to.Devices = 0, nil
		s.device(v, r, to)
		return
	}
	if n, ok := s.wholeAttr(body, "gpu", a, 0); ok {
		to.GPUs, to.Devices = n, nil
	}
}

// device reads the name of one device.
func (s *scope) device(v cty.Value, r hashi.Range, to *Resources) {
	name, ok := s.str(v, r, "gpu")
	switch {
	case !ok:
	case !deviceName.MatchString(name):
		s.ev.report(r, "Bad device name", fmt.Sprintf("A device is named as in CDI files, vendor/class=name; %s is not.", quoted(name)), "write for example \"nvidia.com/gpu=0\", or a number: gpu = 1")
	case slices.Contains(to.Devices, name):
		s.ev.report(r, "Device named twice", fmt.Sprintf("The device %s is in the list already.", quoted(name)), "")
	default:
		to.Devices = append(to.Devices, name)
	}
}

// deviceName is what CDI calls a fully qualified name.
var deviceName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._-]*[A-Za-z0-9]/[A-Za-z]([A-Za-z0-9._-]*[A-Za-z0-9])?=[A-Za-z0-9]([A-Za-z0-9._:-]*[A-Za-z0-9])?$`)

// retry reads a retry block over what was said before it.
func (s *scope) retry(b *hclsyntax.Block, to *Retry, a allowance) {
	if b == nil {
		return
	}
	s.ev.conform(b.Body, "retry", shape{attributes: []string{
		"exit", "codes", "oom", "timeout", "preempted", "infra", "memory_factor", "backoff",
	}})
	s.count(b.Body, "exit", a, &to.Exit)
	s.count(b.Body, "oom", a, &to.OOM)
	s.count(b.Body, "timeout", a, &to.Timeout)
	s.optionalCount(b.Body, "preempted", a, &to.Preempted)
	s.optionalCount(b.Body, "infra", a, &to.Infra)
	if f, ok := s.floatAttr(b.Body, "memory_factor", a, 1, true); ok {
		to.MemoryFactor = f
	}
	if d, ok := s.durationAttr(b.Body, "backoff", a, true); ok {
		to.Backoff = d
	}
	s.codes(b.Body, to, a)
}

func (s *scope) count(body *hclsyntax.Body, name string, a allowance, to *int) {
	n, ok := s.wholeAttr(body, name, a, 0)
	if !ok {
		return
	}
	if n > maxRetries {
		s.ev.report(body.Attributes[name].Expr.Range(), "Bad number", fmt.Sprintf("The %s must be at most %d.", name, maxRetries), "")
		return
	}
	*to = int(n)
}

func (s *scope) optionalCount(body *hclsyntax.Body, name string, a allowance, to **int) {
	n := -1
	s.count(body, name, a, &n)
	if n >= 0 {
		*to = &n
	}
}

// codes reads the list of exit codes that exit retries.
func (s *scope) codes(body *hclsyntax.Body, to *Retry, a allowance) {
	attr := body.Attributes["codes"]
	if attr == nil {
		return
	}
	found, ok := s.elements(attr.Expr, a, "codes")
	if !ok {
		return
	}
	to.Codes = nil
	for _, x := range found {
		text, ok := s.str(x.value, x.valueRange, "exit code")
		if !ok {
			continue
		}
		code, err := parseExitCode(text)
		if err != nil {
			s.ev.report(x.valueRange, "Bad number", fmt.Sprintf("An exit code is a whole number from 1 to 255; here, %s.", err), "")
			continue
		}
		to.Codes = append(to.Codes, code)
	}
}
