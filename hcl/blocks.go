package hcl

import (
	"fmt"
	"maps"
	"regexp"
	"slices"

	hashi "github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// declarations holds the top-level blocks by kind, in declaration order, without
// those whose name is bad or was taken.
type declarations struct {
	pipeline                                          *hclsyntax.Block
	params, secrets, sources, images, stages, exports []*hclsyntax.Block
	profile                                           []*hclsyntax.Block
	names                                             map[string]map[string]hashi.Range // kind → name → where it was declared
	sorted                                            map[string][]string               // kind → names, once they were asked for
}

// shape says what a block may contain.
type shape struct{ attributes, blocks []string }

// blockName is what the label of every block but export must look like.
var blockName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)

// kinds are the top-level blocks.
func kinds() []string {
	return []string{"pipeline", "param", "secret", "source", "image", "stage", "export", "profile"}
}

// declare collects the blocks of all files and checks their labels.
func (ev *evaluation) declare(bodies []*hclsyntax.Body) {
	ev.blocks.names = map[string]map[string]hashi.Range{}
	for _, body := range bodies {
		for _, attr := range body.Attributes {
			ev.report(attr.NameRange, "Attribute outside of a block",
				fmt.Sprintf("%s stands alone in the file. Every attribute belongs to a block.", quoted(attr.Name)),
				topAttributeHint(attr.Name))
		}
		for _, b := range body.Blocks {
			ev.declareBlock(b)
		}
	}
}

func topAttributeHint(name string) string {
	if slices.Contains(kinds(), name) {
		return fmt.Sprintf("write it as a block: %s \"name\" { … }", name)
	}
	return ""
}

func (ev *evaluation) declareBlock(b *hclsyntax.Block) {
	list := map[string]*[]*hclsyntax.Block{
		"param": &ev.blocks.params, "secret": &ev.blocks.secrets, "source": &ev.blocks.sources, "image": &ev.blocks.images,
		"stage": &ev.blocks.stages, "export": &ev.blocks.exports, "profile": &ev.blocks.profile,
	}[b.Type]
	if list == nil && b.Type != "pipeline" {
		ev.report(b.TypeRange, "Unknown block",
			fmt.Sprintf("There is no block %s. The blocks are %s.", quoted(b.Type), listed(kinds())),
			didYouMean(b.Type, kinds(), "%s"))
		return
	}
	if !ev.checkLabels(b) || !ev.claim(b) {
		return
	}
	if b.Type == "pipeline" {
		ev.blocks.pipeline = b
		return
	}
	*list = append(*list, b)
}

// checkLabels requires exactly one label, which is a name, or a path for export.
func (ev *evaluation) checkLabels(b *hclsyntax.Block) bool {
	if len(b.Labels) != 1 {
		ev.report(b.DefRange(), "Bad block header",
			fmt.Sprintf("A %s block has exactly one name.", b.Type), fmt.Sprintf("write %s \"name\" { … }", b.Type))
		return false
	}
	if b.Type != "export" && !blockName.MatchString(b.Labels[0]) {
		ev.report(b.LabelRanges[0], "Bad name",
			fmt.Sprintf("%s cannot be the name of a %s. A name starts with a letter or an underscore and goes on with letters, digits, underscores and dashes.", quoted(b.Labels[0]), b.Type), "")
		return false
	}
	return true
}

// claim enters the name of a block; a second block of that name is an error. Of
// pipeline there is one in all files.
func (ev *evaluation) claim(b *hclsyntax.Block) bool {
	if b.Type == "export" {
		return true // compared as paths, later
	}
	names := ev.blocks.names[b.Type]
	if names == nil {
		names = map[string]hashi.Range{}
		ev.blocks.names[b.Type] = names
	}
	key, what := b.Labels[0], fmt.Sprintf("%s %s", b.Type, quoted(b.Labels[0]))
	if b.Type == "pipeline" {
		key, what = "", "The pipeline block"
	}
	if first, taken := names[key]; taken {
		ev.report(b.DefRange(), "Duplicate name",
			fmt.Sprintf("%s is declared already, on line %d of %s.", what, first.Start.Line, first.Filename), "keep one of them, or rename one")
		return false
	}
	names[key] = b.DefRange()
	return true
}

// declared lists the names of one kind, sorted. All blocks are declared when it is
// first called.
func (ev *evaluation) declared(kind string) []string {
	if names, ok := ev.blocks.sorted[kind]; ok {
		return names
	}
	if ev.blocks.sorted == nil {
		ev.blocks.sorted = map[string][]string{}
	}
	names := slices.Sorted(maps.Keys(ev.blocks.names[kind]))
	ev.blocks.sorted[kind] = names
	return names
}

// maxProposals bounds the findings that are searched for a proposal: comparing
// ten thousand wrong names with as many declared ones takes most of a minute.
const maxProposals = 100

// propose is didYouMean for a declared name.
func (ev *evaluation) propose(kind, given, format string) string {
	if len(ev.diags) >= maxProposals {
		return ""
	}
	return didYouMean(given, ev.declared(kind), format)
}

func (ev *evaluation) isDeclared(kind, name string) bool {
	_, ok := ev.blocks.names[kind][name]
	return ok
}

// conform reports what does not belong into a block.
func (ev *evaluation) conform(body *hclsyntax.Body, what string, s shape) {
	for name, attr := range body.Attributes {
		if !slices.Contains(s.attributes, name) {
			hint := didYouMean(name, s.attributes, "%s")
			if slices.Contains(s.blocks, name) {
				hint = fmt.Sprintf("%s is a block: write %s { … } without the equals sign", name, name)
			}
			ev.report(attr.NameRange, "Unknown attribute",
				fmt.Sprintf("A %s has no attribute %s. It has %s.", what, quoted(name), listed(s.attributes)), hint)
		}
	}
	for _, b := range body.Blocks {
		if !slices.Contains(s.blocks, b.Type) {
			hint := didYouMean(b.Type, s.blocks, "%s")
			if slices.Contains(s.attributes, b.Type) {
				hint = fmt.Sprintf("%s is an attribute: write %s = …", b.Type, b.Type)
			}
			ev.report(b.TypeRange, "Unknown block", fmt.Sprintf("A %s has no block %s.", what, quoted(b.Type)), hint)
		}
	}
}

// single returns the one unlabelled nested block of a kind, nil when there is
// none.
func (ev *evaluation) single(body *hclsyntax.Body, kind string) *hclsyntax.Block {
	var found *hclsyntax.Block
	for _, b := range body.Blocks {
		switch {
		case b.Type != kind:
		case len(b.Labels) > 0:
			ev.report(b.DefRange(), "Bad block header", fmt.Sprintf("A %s block has no name here.", kind), "")
		case found != nil:
			ev.report(b.DefRange(), "Duplicate block", fmt.Sprintf("There is a %s block already, on line %d.", kind, found.TypeRange.Start.Line), "")
		default:
			found = b
		}
	}
	return found
}
