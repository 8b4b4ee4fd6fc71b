package compare

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"plumb/engine/plan"
	"plumb/hcl"
)

// Settings compares what two pipelines say that is in no key: limits, retries, what is
// kept, conditions, exports, descriptions. A block of many stages is told once, with the
// stages that both pipelines have. What is in keys is told by Runs.
func Settings(a, b *hcl.Pipeline) []Change {
	old, new := settings(a), settings(b)
	var out []Change
	known := map[identity]int{}
	tell := func(s setting, r plan.Reason) {
		c := Change{Reason: r}
		c.Kind, c.Name = Config, s.name
		if s.stage != "" {
			c.Stages = []string{s.stage}
		}
		if at, ok := known[c.identity()]; ok {
			out[at].Stages = append(out[at].Stages, c.Stages...)
			return
		}
		known[c.identity()] = len(out)
		out = append(out, c)
	}
	was := map[string]setting{}
	for _, s := range old {
		was[s.id()] = s
	}
	in := map[string]bool{}
	for _, s := range new {
		in[s.id()] = true
		switch o, ok := was[s.id()]; {
		case ok && o.value != s.value:
			tell(s, plan.Reason{Old: o.value, New: s.value})
		case !ok && s.counts(a):
			tell(s, plan.Reason{New: s.value, Detail: "added"})
		}
	}
	for _, s := range old {
		if !in[s.id()] && s.counts(b) {
			tell(s, plan.Reason{Old: s.value, Detail: "removed"})
		}
	}
	return out
}

// setting is one attribute: of a stage, or else of the block that its name begins with.
type setting struct {
	name, stage, value string
}

func (s *setting) id() string { return s.name + "\x00" + s.stage }

// counts says that a setting which only one pipeline has is told: not that of a stage,
// an image or a source that the other one has not at all.
func (s *setting) counts(other *hcl.Pipeline) bool {
	kind, rest, _ := strings.Cut(s.name, ".")
	switch kind {
	case "stage":
		return slices.ContainsFunc(other.Stages, func(o hcl.Stage) bool { return o.Name == s.stage })
	case "image":
		return slices.ContainsFunc(other.Images, func(o hcl.Image) bool { return strings.HasPrefix(rest, o.Name+".") })
	case "source":
		return slices.ContainsFunc(other.Sources, func(o hcl.Source) bool { return strings.HasPrefix(rest, o.Name+".") })
	case "param": // that it came or went is told by Runs
		return slices.ContainsFunc(other.Params, func(o hcl.Param) bool { return strings.HasPrefix(rest, o.Name+".") })
	case "secret":
		return slices.ContainsFunc(other.Secrets, func(o hcl.Secret) bool { return strings.HasPrefix(rest, o.Name+".") })
	}
	return true
}

// lister collects settings that say something.
type lister struct {
	block, stage string
	all          []setting
}

func (l *lister) add(attribute, value string) {
	if value != "" {
		l.all = append(l.all, setting{l.block + attribute, l.stage, value})
	}
}

func settings(p *hcl.Pipeline) []setting {
	l := &lister{block: "pipeline."}
	l.add("name", p.Name)
	l.add("description", p.Description)
	l.add("requires", p.Requires)
	for i := range p.Params {
		v := &p.Params[i]
		l.block = "param." + v.Name + "."
		l.add("description", v.Description)
		l.add("type", v.Type)
		l.add("sensitive", flag(v.Sensitive))
	}
	for i := range p.Secrets {
		v := &p.Secrets[i]
		l.block = "secret." + v.Name + "."
		l.add("description", v.Description)
		l.add("env", v.Env)
		l.add("file", v.File)
		l.add("command", list(v.Command))
	}
	for i := range p.Sources {
		v := &p.Sources[i]
		l.block = "source." + v.Name + "."
		l.add("description", v.Description)
		l.add("url", v.URL)
		l.add("oci", v.OCI)
		l.add("floating", flag(v.Floating))
		if v.Discard {
			l.add("keep", "false")
		}
	}
	for i := range p.Images {
		l.image(&p.Images[i])
	}
	for i := range p.Stages {
		l.ofStage(&p.Stages[i])
	}
	l.stage = ""
	for _, e := range p.Exports {
		l.block = "export." + e.Path
		l.add("", "stage."+e.Stage+"."+e.Output)
	}
	return l.all
}

func (l *lister) image(v *hcl.Image) {
	l.block = "image." + v.Name + "."
	l.add("ref", v.Ref)
	l.add("floating", flag(v.Floating))
	l.add("archive", v.Archive)
	l.add("builtin", v.Builtin)
	l.add("platform", v.Platform)
	d := v.Debian
	if d == nil {
		return
	}
	l.block += "debian."
	l.add("suite", d.Suite)
	l.add("packages", list(d.Packages))
	l.add("variant", d.Variant)
	l.add("recommends", flag(d.Recommends))
	l.add("components", list(d.Components))
	l.add("mirrors", list(d.Mirrors))
	l.add("snapshot", d.Snapshot)
	l.add("keyring", d.Keyring)
	l.add("accept_expired", flag(d.AcceptExpired))
}

func (l *lister) ofStage(s *hcl.Stage) {
	l.block, l.stage = "stage."+s.Block+".", s.Name
	l.add("description", s.Description)
	if s.Cache != nil {
		l.add("cache", strconv.FormatBool(*s.Cache))
	}
	if s.When != nil {
		l.add("when", s.When.Source)
	}
	l.add("after", list(s.After))
	l.add("effect", flag(s.Effect))
	l.add("idempotent", flag(s.Idempotent))
	l.add("timeout", duration(s.Timeout))
	l.add("grace", duration(s.Grace))
	for _, o := range s.Outputs {
		if o.Unkept {
			l.add("outputs."+o.Name+".retain", "none")
		}
	}
	r := s.Resources
	l.add("resources.cpu", amount(r.CPU))
	l.add("resources.memory", bytes(r.Memory))
	l.add("resources.pids", amount(float64(r.Pids)))
	l.add("resources.gpus", amount(float64(r.GPUs)))
	l.add("resources.devices", list(r.Devices))
	t := s.Retry
	l.add("retry.exit", amount(float64(t.Exit)))
	if len(t.Codes) > 0 {
		l.add("retry.codes", strings.Trim(fmt.Sprint(t.Codes), "[]"))
	}
	l.add("retry.oom", amount(float64(t.OOM)))
	l.add("retry.timeout", amount(float64(t.Timeout)))
	l.add("retry.preempted", count(t.Preempted))
	l.add("retry.infra", count(t.Infra))
	l.add("retry.memory_factor", amount(t.MemoryFactor))
	l.add("retry.backoff", duration(t.Backoff))
}

func flag(v bool) string {
	if v {
		return "true"
	}
	return ""
}

func amount(v float64) string {
	if v == 0 {
		return ""
	}
	return number(v)
}

func count(v *int) string {
	if v == nil {
		return ""
	}
	return strconv.Itoa(*v)
}

func duration(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}

// bytes writes a size as it is written in files, where it is a whole number of a unit.
func bytes(n int64) string {
	units := []string{"", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for n != 0 && n%1024 == 0 && i < len(units)-1 {
		n, i = n/1024, i+1
	}
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10) + units[i]
}

func list(v []string) string {
	if len(v) == 0 {
		return ""
	}
	b, err := json.Marshal(v)
	if err != nil { // strings always encode
		panic("compare: " + err.Error())
	}
	return string(b)
}
