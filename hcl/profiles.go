package hcl

import (
	"fmt"
	"slices"

	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// profileBlock is a named overlay: what it says about params, sources, all stages
// and single ones.
type profileBlock struct {
	name      string
	params    map[string]given
	sources   map[string]*hclsyntax.Block
	stages    map[string]*hclsyntax.Block
	resources *hclsyntax.Block
}

// evalProfiles reads all profiles, so that a mistake in one that is not chosen is
// found too, and chooses the one that was asked for.
func (ev *evaluation) evalProfiles() {
	ev.profiles = map[string]*profileBlock{}
	for _, b := range ev.blocks.profile {
		ev.profiles[b.Labels[0]] = ev.readProfile(b)
		ev.pipeline.Profiles = append(ev.pipeline.Profiles, b.Labels[0])
	}
	slices.Sort(ev.pipeline.Profiles)
	if ev.opts.Profile == "" {
		return
	}
	ev.overlay = ev.profiles[ev.opts.Profile]
	if ev.overlay == nil {
		ev.reportRange(Range{}, "Unknown profile",
			fmt.Sprintf("There is no profile %s. Declared: %s.", quoted(ev.opts.Profile), listed(ev.pipeline.Profiles)),
			didYouMean(ev.opts.Profile, ev.pipeline.Profiles, "--profile %s"))
		return
	}
	ev.pipeline.Profile = ev.opts.Profile
}

func (ev *evaluation) readProfile(b *hclsyntax.Block) *profileBlock {
	p := &profileBlock{name: b.Labels[0], params: map[string]given{}}
	ev.conform(b.Body, "profile", shape{
		attributes: []string{"params", "description"}, blocks: []string{"source", "stage", "resources"},
	})
	ev.newScope().stringAttr(b.Body, "description", 0)
	p.resources = ev.single(b.Body, "resources")
	p.sources = ev.overlaid(b, "source", shape{attributes: origins})
	p.stages = ev.overlaid(b, "stage", shape{attributes: []string{"timeout"}, blocks: []string{"resources"}})
	ev.profileParams(p, b.Body)
	ev.tryProfile(p)
	return p
}

// tryProfile evaluates what a profile says about resources and timeouts even
// when it is not the one chosen. Repeated findings are dropped at the end.
func (ev *evaluation) tryProfile(p *profileBlock) {
	s := ev.newScope()
	var st Stage
	s.resources(p.resources, &st.Resources, 0)
	for _, b := range p.stages {
		s.overlayStage(b, &st)
	}
}

// overlaid collects the labelled blocks of a profile by the block they change.
func (ev *evaluation) overlaid(profile *hclsyntax.Block, kind string, s shape) map[string]*hclsyntax.Block {
	found := map[string]*hclsyntax.Block{}
	for _, b := range profile.Body.Blocks {
		if b.Type != kind || !ev.checkLabels(b) {
			continue
		}
		name := b.Labels[0]
		if !ev.isDeclared(kind, name) {
			ev.report(b.LabelRanges[0], "Unknown "+kind,
				fmt.Sprintf("The profile changes %s %s, which is not declared. Declared: %s.", kind, quoted(name), listed(ev.declared(kind))),
				ev.propose(kind, name, "%q"))
			continue
		}
		if found[name] != nil {
			ev.report(b.DefRange(), "Duplicate block", fmt.Sprintf("The profile changes %s %s already.", kind, quoted(name)), "")
			continue
		}
		ev.conform(b.Body, kind+" of a profile", s)
		found[name] = b
	}
	return found
}

// profileParams reads params = { name = value }.
func (ev *evaluation) profileParams(p *profileBlock, body *hclsyntax.Body) {
	attr := body.Attributes["params"]
	if attr == nil {
		return
	}
	s := ev.newScope()
	entries, ok := s.entries(attr.Expr, 0, "params")
	if !ok {
		return
	}
	origin := "profile " + p.name
	for _, e := range entries {
		if ev.knownParam(e.key, origin, rangeOf(e.keyRange)) {
			p.params[e.key] = given{value: e.value, origin: origin, at: rangeOf(e.valueRange), span: e.valueRange}
		}
	}
}
