package hcl

import (
	"fmt"
	"regexp"
	"strings"

	hashi "github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// evalSources evaluates the sources, with the paths of the chosen profile, and
// makes them known to expressions.
func (ev *evaluation) evalSources() {
	ev.paths = map[string]Source{}
	values := map[string]cty.Value{}
	for _, b := range ev.blocks.sources {
		source, ok := ev.evalSource(b)
		values[source.Name] = cty.DynamicVal
		if ok {
			ev.paths[source.Name] = source
			ev.pipeline.Sources = append(ev.pipeline.Sources, source)
			values[source.Name] = cty.ObjectVal(map[string]cty.Value{
				wholeKey: capsule(reference{kind: "source", name: source.Name}),
				"path":   cty.StringVal(source.Path),
			})
		}
	}
	ev.base.Variables["source"] = cty.ObjectVal(values)
}

func (ev *evaluation) evalSource(b *hclsyntax.Block) (Source, bool) {
	ev.conform(b.Body, "source", shape{attributes: []string{"path", "description", "keep"}})
	s := ev.newScope()
	source := Source{Name: b.Labels[0], Range: rangeOf(b.DefRange())}
	source.Description, _ = s.stringAttr(b.Body, "description", 0)
	if keep, ok := s.boolAttr(b.Body, "keep", allowParam); ok {
		source.Discard = !keep
	}
	body := b.Body
	if ev.overlay != nil && ev.overlay.sources[source.Name] != nil {
		if over := ev.overlay.sources[source.Name].Body; over.Attributes["path"] != nil {
			body = over
		}
	}
	attr := body.Attributes["path"]
	if attr == nil {
		ev.report(b.DefRange(), "Missing path", fmt.Sprintf("Source %s does not say where its data is.", quoted(source.Name)),
			"add path = \"data/…\"")
		return source, false
	}
	raw, ok := s.stringAttr(body, "path", allowParam)
	if !ok {
		ev.needValue(attr)
		return source, false
	}
	source.PathRange = rangeOf(attr.Expr.Range())
	ok = ev.setPath(&source.Path, raw, attr.Expr.Range())
	source.Glob = isGlob(source.Path)
	return source, ok
}

// needValue reports a required attribute that is null; one that is wrong was
// reported already, and the two are told apart by what is written.
func (ev *evaluation) needValue(attr *hclsyntax.Attribute) {
	if lit, ok := attr.Expr.(*hclsyntax.LiteralValueExpr); ok && lit.Val.IsNull() {
		ev.report(attr.Expr.Range(), "Wrong type", fmt.Sprintf("The %s cannot be null.", attr.Name), "")
	}
}

// setPath checks and cleans a path of the project.
func (ev *evaluation) setPath(to *string, raw string, r hashi.Range) bool {
	clean, _, problem := cleanPath(raw)
	if problem != nil {
		ev.reportPath(r, problem)
		return false
	}
	*to = clean
	return true
}

// evalImages evaluates the images and makes them known to expressions.
func (ev *evaluation) evalImages() {
	values := map[string]cty.Value{}
	for _, b := range ev.blocks.images {
		image := ev.evalImage(b)
		ev.pipeline.Images = append(ev.pipeline.Images, image)
		values[image.Name] = capsule(reference{kind: "image", name: image.Name})
	}
	ev.base.Variables["image"] = cty.ObjectVal(values)
}

func (ev *evaluation) evalImage(b *hclsyntax.Block) Image {
	ev.conform(b.Body, "image", shape{attributes: []string{"ref", "archive", "floating", "platform", "description"}})
	s := ev.newScope()
	image := Image{Name: b.Labels[0], Range: rangeOf(b.DefRange())}
	s.stringAttr(b.Body, "description", 0)
	image.Floating, _ = s.boolAttr(b.Body, "floating", allowParam)
	image.Platform = s.platform(b.Body)
	ref, archive := b.Body.Attributes["ref"], b.Body.Attributes["archive"]
	switch {
	case ref == nil && archive == nil:
		ev.report(b.DefRange(), "Image without origin", fmt.Sprintf("Image %s says neither ref nor archive.", quoted(image.Name)),
			"add ref = \"name:tag\" for a registry, or archive = \"path\" for a file")
	case ref != nil && archive != nil:
		ev.report(archive.NameRange, "Image with two origins",
			fmt.Sprintf("Image %s says both ref and archive; it can come from one of them only.", quoted(image.Name)), "")
	case ref != nil:
		image.LocatorRange = rangeOf(ref.Expr.Range())
		if image.Ref, _ = s.stringAttr(b.Body, "ref", allowParam); image.Ref != "" || isEmptyLiteral(ref.Expr) {
			ev.checkRef(image, ref.Expr.Range())
		}
	default:
		image.LocatorRange = rangeOf(archive.Expr.Range())
		if raw, ok := s.stringAttr(b.Body, "archive", allowParam); ok {
			ev.setPath(&image.Archive, raw, archive.Expr.Range())
		}
	}
	return image
}

func isEmptyLiteral(e hclsyntax.Expression) bool {
	text, ok := literal(e)
	return ok && text == ""
}

var platformForm = regexp.MustCompile(`^[a-z0-9]+/[a-z0-9_]+(/[a-z0-9]+)?$`)

func (s *scope) platform(body *hclsyntax.Body) string {
	text, ok := s.stringAttr(body, "platform", allowParam)
	if ok && !platformForm.MatchString(text) {
		s.ev.report(body.Attributes["platform"].Expr.Range(), "Bad platform",
			fmt.Sprintf("%s is not an operating system and an architecture.", quoted(text)), "write for example \"linux/amd64\"")
	}
	return text
}

// refForm matches a reference to an image in a registry: host and port, path, tag
// and digest.
var refForm = regexp.MustCompile(`^(?:[A-Za-z0-9.-]+(?::[0-9]+)?/)?[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[a-f0-9]{64})?$`)

// checkRef requires a well-formed reference that names fixed content, unless the
// image is said to float. A digest always does; a tag is taken to, but latest.
func (ev *evaluation) checkRef(image Image, r hashi.Range) {
	if !refForm.MatchString(image.Ref) {
		ev.report(r, "Bad image reference", fmt.Sprintf("%s is not a reference to an image in a registry.", quoted(image.Ref)),
			"write for example \"python:3.12.4-slim\" or \"ghcr.io/org/name:1.2\"")
		return
	}
	name, _, pinned := strings.Cut(image.Ref, "@")
	if pinned || image.Floating {
		return
	}
	_, tag, _ := strings.Cut(name[strings.LastIndexByte(name, '/')+1:], ":")
	if tag == "" || tag == "latest" {
		ev.report(r, "Floating image",
			fmt.Sprintf("%s has no fixed tag, so what it stands for changes by itself.", quoted(image.Ref)),
			"name a version, such as \""+strings.TrimSuffix(name, ":latest")+":1.2.3\", or say floating = true")
	}
}
