package hcl

import (
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// defaultGrace is the time between SIGTERM and SIGKILL when a stage says none.
const defaultGrace = 10 * time.Second

// defaults is what the pipeline block says for all stages.
type defaults struct {
	image      string
	imageRange Range
	env        map[string]EnvVar
	envUses    []string // params that env refers to
	imageUses  []string
	stage      Stage // resources, retry and timeout
}

func stageShape() shape {
	return shape{
		attributes: []string{
			"description", "image", "command", "inputs", "outputs", "metrics", "env", "params", "secrets", "seed", "network",
			"cache", "checkpoint", "effect", "idempotent", "timeout", "grace", "after", "when", "for_each", "matrix",
		},
		blocks: []string{"resources", "retry"},
	}
}

// evalDefaults reads the pipeline block.
func (ev *evaluation) evalDefaults() {
	b := ev.blocks.pipeline
	if b == nil {
		return
	}
	ev.conform(b.Body, "pipeline", shape{
		attributes: []string{"description", "requires", "image", "env", "timeout"}, blocks: []string{"resources", "retry"},
	})
	s := ev.newScope()
	ev.pipeline.Name, ev.pipeline.Range = b.Labels[0], rangeOf(b.DefRange())
	ev.pipeline.Description, _ = s.stringAttr(b.Body, "description", 0)
	ev.checkRequires(s, b.Body)
	ev.defaults.image, ev.defaults.imageRange = s.image(b.Body)
	ev.defaults.imageUses, s.uses = s.used(), map[string]bool{}
	ev.defaults.env = s.env(b.Body, allowParam|allowSource|keyed)
	ev.defaults.envUses = s.used()
	s.resources(ev.single(b.Body, "resources"), &ev.defaults.stage.Resources, allowParam)
	s.retry(ev.single(b.Body, "retry"), &ev.defaults.stage.Retry, allowParam)
	ev.defaults.stage.Timeout, _ = s.durationAttr(b.Body, "timeout", allowParam, false)
}

func (ev *evaluation) checkRequires(s *scope, body *hclsyntax.Body) {
	text, ok := s.stringAttr(body, "requires", 0)
	if !ok {
		return
	}
	ev.pipeline.Requires = text
	r := body.Attributes["requires"].Expr.Range()
	met, err := meets(ev.opts.Version, text)
	switch {
	case err != nil:
		ev.report(r, "Bad version constraint", fmt.Sprintf("The constraint cannot be read: %s.", err), "write for example \">= 0.3\" or \"~> 1.2\"")
	case !met:
		ev.report(r, "Plumb version not supported",
			fmt.Sprintf("This pipeline requires plumb %s; this is %s.", text, ev.opts.Version), "install a version that the constraint allows")
	}
}

// evalStages evaluates everything about stages that may refer to other stages,
// after shapeStages has told what there is to refer to.
func (ev *evaluation) evalStages() {
	ev.base.Variables["stage"] = ev.stageObject()
	for _, b := range ev.order {
		for _, in := range b.instances {
			ev.evalStage(in)
		}
	}
	for _, b := range ev.order {
		for _, in := range b.instances {
			ev.pipeline.Stages = append(ev.pipeline.Stages, in.stage)
		}
	}
}

// evalStage evaluates one instance. Inputs come before command and env, which
// may use their names.
func (ev *evaluation) evalStage(in *instance) {
	s, st, body := in.scope, &in.stage, in.block.src.Body
	st.Description, _ = s.stringAttr(body, "description", allowPlain)
	ev.stageImage(in)
	s.readInputs(in)
	s.nameContext(in)
	s.command(in)
	st.Env = s.mergeEnv(s.env(body, allowText))
	s.passed(in)
	s.secrets(in)
	s.flags(in)
	s.effect(in)
	s.timing(in)
	s.after(in)
	s.when(in)
	st.Params = s.used()
	if s.perKey {
		st.Each = in.each
	}
}

func (ev *evaluation) stageImage(in *instance) {
	st := &in.stage
	st.Image, st.ImageRange = in.scope.image(in.block.src.Body)
	if st.Image == "" && in.block.src.Body.Attributes["image"] == nil {
		st.Image, st.ImageRange = ev.defaults.image, ev.defaults.imageRange
		in.scope.use(ev.defaults.imageUses)
		if st.Image == "" && !ev.defaultImageSaid() {
			ev.report(in.block.src.DefRange(), "Stage without image",
				fmt.Sprintf("Stage %s does not say which image it runs in, and the pipeline block has no default.", quoted(in.block.name)),
				imageHint(ev.declared("image")))
		}
	}
}

func (ev *evaluation) defaultImageSaid() bool {
	return ev.blocks.pipeline != nil && ev.blocks.pipeline.Body.Attributes["image"] != nil
}

func imageHint(images []string) string {
	if len(images) == 0 {
		return "declare an image block and add image = image.⟨name⟩"
	}
	return "add image = image." + slices.Min(images)
}

// use adds params that an inherited value refers to.
func (s *scope) use(names []string) {
	for _, name := range names {
		s.uses[name] = true
	}
}

// image reads image = image.x.
func (s *scope) image(body *hclsyntax.Body) (string, Range) {
	v, r, ok := s.attr(body, "image", allowParam|allowImage|allowEach|keyed)
	if !ok {
		return "", rangeOf(r)
	}
	if v, ok = s.open(v, r, "image"); !ok || !v.IsKnown() {
		return "", rangeOf(r)
	}
	ref, ok := asReference(v)
	if !ok || ref.kind != "image" {
		s.ev.report(r, "Wrong type", "The image must be a reference to an image block.", s.imageRefHint(v))
		return "", rangeOf(r)
	}
	return ref.name, rangeOf(r)
}

func (s *scope) imageRefHint(v cty.Value) string {
	if v.Type() == cty.String && s.ev.isDeclared("image", v.AsString()) {
		return "write image = image." + v.AsString() + ", without quotes"
	}
	return "declare image \"python\" { ref = \"…\" } and write image = image.python"
}

// passed reads params = [param.x]: names, not values.
func (s *scope) passed(in *instance) {
	attr := in.block.src.Body.Attributes["params"]
	if attr == nil {
		return
	}
	if _, ok := s.check(attr.Expr, allowParam|keyed); !ok {
		return
	}
	tuple, ok := attr.Expr.(*hclsyntax.TupleConsExpr)
	if !ok {
		s.ev.report(attr.Expr.Range(), "Wrong type", "The params must be a list of params.", "write params = [param.x]")
		return
	}
	for _, e := range tuple.Exprs {
		t, ok := e.(*hclsyntax.ScopeTraversalExpr)
		if !ok || t.Traversal.RootName() != "param" || len(t.Traversal) != 2 {
			s.ev.report(e.Range(), "Wrong type", "The params must be a list of params, each written as param.name.", "write params = [param.x]")
			continue
		}
		name, _ := stepName(t.Traversal, 1)
		in.stage.Passed = append(in.stage.Passed, name)
	}
	slices.Sort(in.stage.Passed)
	in.stage.Passed = slices.Compact(in.stage.Passed)
}

// flags reads seed, network and cache.
func (s *scope) flags(in *instance) {
	st, body := &in.stage, in.block.src.Body
	if f, r, ok := s.numberAttr(body, "seed", allowParam|allowEach|keyed); ok {
		n, accuracy := f.Int64()
		if accuracy != big.Exact {
			s.ev.report(r, "Bad number", "The seed must be a whole number of at most 64 bits.", "")
		}
		st.Seed, st.SeedSource = &n, exprText(s.ev.sources, r)
	}
	st.Network, _ = s.boolAttr(body, "network", allowParam|allowEach|keyed)
	if cache, ok := s.boolAttr(body, "cache", allowPlain); ok {
		st.Cache = &cache
	}
}

// timing reads timeout, grace, resources and retry: the pipeline's defaults, over
// them the stage's, over them the profile's.
func (s *scope) timing(in *instance) {
	st, body, d := &in.stage, in.block.src.Body, s.ev.defaults.stage
	st.Timeout, st.Resources, st.Retry = d.Timeout, d.Resources, d.Retry
	if t, ok := s.durationAttr(body, "timeout", allowPlain, false); ok {
		st.Timeout = t
	}
	st.Grace = defaultGrace
	if g, ok := s.durationAttr(body, "grace", allowPlain, true); ok {
		st.Grace = g
	}
	s.resources(s.ev.single(body, "resources"), &st.Resources, allowPlain)
	s.retry(s.ev.single(body, "retry"), &st.Retry, allowPlain)
	if over := s.ev.overlay; over != nil {
		s.resources(over.resources, &st.Resources, 0)
		s.overlayStage(over.stages[in.block.name], st)
	}
}

// overlayStage applies what a profile says about one stage.
func (s *scope) overlayStage(b *hclsyntax.Block, st *Stage) {
	if b == nil {
		return
	}
	if t, ok := s.durationAttr(b.Body, "timeout", 0, false); ok {
		st.Timeout = t
	}
	s.resources(s.ev.single(b.Body, "resources"), &st.Resources, 0)
}

// after reads after = [stage.x].
func (s *scope) after(in *instance) {
	attr := in.block.src.Body.Attributes["after"]
	if attr == nil {
		return
	}
	found, _ := s.elements(attr.Expr, allowAfter, "after")
	for _, e := range found {
		ref, ok := asReference(e.value)
		if !ok || ref.kind != "stage" {
			if e.value.IsKnown() {
				s.ev.report(e.valueRange, "Wrong type", "The list after holds stages, each written as stage.name.", "")
			}
			continue
		}
		for _, other := range s.ev.members(ref) {
			if other == in {
				s.ev.report(e.valueRange, "Stage after itself", fmt.Sprintf("Stage %s cannot run after itself.", quoted(in.stage.Name)), "")
				continue
			}
			in.stage.After = append(in.stage.After, other.stage.Name)
		}
	}
	slices.Sort(in.stage.After)
	in.stage.After = slices.Compact(in.stage.After)
}

// members lists the instances a reference to a stage stands for.
func (ev *evaluation) members(ref *reference) []*instance {
	if ref.at != nil {
		return []*instance{ref.at}
	}
	return ev.stages[ref.name].instances
}
