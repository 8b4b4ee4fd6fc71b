package hcl

import (
	"fmt"
	"net/url"
	"path"
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

// origins are the attributes of which a source has exactly one that says where
// its data is. With url or oci, path says where stages find it.
var origins = []string{"url", "oci", "path"}

func (ev *evaluation) evalSource(b *hclsyntax.Block) (Source, bool) {
	ev.conform(b.Body, "source", shape{attributes: []string{"path", "url", "oci", "floating", "description", "keep"}})
	s := ev.newScope()
	source := Source{Name: b.Labels[0], Range: rangeOf(b.DefRange())}
	source.Description, _ = s.stringAttr(b.Body, "description", 0)
	source.Floating, _ = s.boolAttr(b.Body, "floating", allowParam)
	if keep, ok := s.boolAttr(b.Body, "keep", allowParam); ok {
		source.Discard = !keep
	}
	body := ev.overlaidOrigin(b, source.Name)
	switch {
	case body.Attributes["url"] != nil && body.Attributes["oci"] != nil:
		ev.report(body.Attributes["oci"].NameRange, "Source with two origins",
			fmt.Sprintf("Source %s says both url and oci; its data can come from one of them only.", quoted(source.Name)), "")
		return source, false
	case body.Attributes["url"] != nil:
		return s.remoteSource(source, body, body.Attributes["url"])
	case body.Attributes["oci"] != nil:
		return s.remoteSource(source, body, body.Attributes["oci"])
	case body.Attributes["path"] == nil:
		ev.report(b.DefRange(), "Missing path", fmt.Sprintf("Source %s does not say where its data is.", quoted(source.Name)),
			"add path = \"data/…\", or url = \"https://…\", or oci = \"registry/name:1.0\"")
		return source, false
	}
	attr := body.Attributes["path"]
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

// overlaidOrigin is the body that says where a source's data is: that of the
// chosen profile when it does, else the block's own. A profile that names an
// origin replaces the block's as a whole: scaled-down data may lie elsewhere.
func (ev *evaluation) overlaidOrigin(b *hclsyntax.Block, name string) *hclsyntax.Body {
	if ev.overlay == nil || ev.overlay.sources[name] == nil {
		return b.Body
	}
	over := ev.overlay.sources[name].Body
	for _, origin := range origins {
		if over.Attributes[origin] != nil {
			return over
		}
	}
	return b.Body
}

// remoteSource evaluates a source whose data is not in the project.
func (s *scope) remoteSource(source Source, body *hclsyntax.Body, attr *hclsyntax.Attribute) (Source, bool) {
	raw, ok := s.stringAttr(body, attr.Name, allowParam)
	if !ok {
		s.ev.needValue(attr)
		return source, false
	}
	r := attr.Expr.Range()
	source.PathRange = rangeOf(r)
	place := ""
	if attr.Name == "url" {
		source.URL = raw
		place, ok = s.ev.checkURL(raw, r)
	} else {
		source.OCI = raw
		place, ok = s.ev.checkArtifact(source, r)
	}
	if !ok {
		return source, false
	}
	if at := body.Attributes["path"]; at != nil {
		if place, ok = s.stringAttr(body, "path", allowParam); !ok {
			s.ev.needValue(at)
			return source, false
		}
		r = at.Expr.Range()
		if isGlob(place) {
			s.ev.report(r, "Pattern for one place", fmt.Sprintf("Source %s comes from elsewhere; its path says where stages find it, and cannot be a pattern.", quoted(source.Name)), "")
			return source, false
		}
	}
	return source, s.ev.setPath(&source.Path, place, r)
}

// checkURL gives the file name at the end of a URL.
func (ev *evaluation) checkURL(raw string, r hashi.Range) (name string, ok bool) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		ev.report(r, "Bad URL", "This is no address of a file on the web.", "write it as \"https://host/path/file.csv\"")
		return "", false
	}
	if u.User != nil {
		ev.report(r, "Password in a URL", "The URL holds a user or a password, which would end up in the lock file and in records.", "leave it out of the URL")
		return "", false
	}
	if name = path.Base(u.Path); name == "/" || name == "." || isGlob(name) {
		ev.report(r, "URL without a file name", "The URL does not end in a name under which stages could find the data.", "add path = \"data/NAME\"")
		return "", false
	}
	return name, true
}

// checkArtifact gives the last part of the name of an OCI artifact.
func (ev *evaluation) checkArtifact(source Source, r hashi.Range) (name string, ok bool) {
	if !ev.checkRef(Image{Name: source.Name, Ref: source.OCI, Floating: source.Floating}, r) {
		return "", false
	}
	name, _, _ = strings.Cut(source.OCI, "@")
	name = path.Base(name)
	name, _, _ = strings.Cut(name, ":")
	return name, true
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
	ev.conform(b.Body, "image", shape{
		attributes: []string{"ref", "archive", "builtin", "floating", "platform", "description"}, blocks: []string{"debian"},
	})
	s := ev.newScope()
	image := Image{Name: b.Labels[0], Range: rangeOf(b.DefRange())}
	s.stringAttr(b.Body, "description", 0)
	image.Floating, _ = s.boolAttr(b.Body, "floating", allowParam)
	image.Platform = s.platform(b.Body)
	attr, packages := ev.onlyOrigin(b, image.Name)
	if packages != nil {
		ev.evalDebian(&image, packages)
		ev.refuseFloating(b.Body, image.Name)
	}
	if attr == nil {
		return image
	}
	image.LocatorRange = rangeOf(attr.Expr.Range())
	text, ok := s.stringAttr(b.Body, attr.Name, allowParam)
	switch {
	case attr.Name == "ref":
		if image.Ref = text; text != "" || isEmptyLiteral(attr.Expr) {
			ev.checkRef(image, attr.Expr.Range())
		}
	case ok && attr.Name == "archive":
		ev.setPath(&image.Archive, text, attr.Expr.Range())
	case ok:
		if image.Builtin = text; text != Toolbox {
			ev.report(attr.Expr.Range(), "Unknown builtin", fmt.Sprintf("There is no image %s in plumb.", quoted(text)), "write builtin = \"toolbox\"")
		}
	}
	return image
}

// Toolbox is the image that is inside plumb.
const Toolbox = "toolbox"

// imageOrigins are the attributes of which an image has exactly one, when it has
// no debian block.
var imageOrigins = []string{"ref", "archive", "builtin"}

// onlyOrigin is the attribute or the debian block that says where an image comes
// from; both are nil when there is none, or more than one, which is reported.
func (ev *evaluation) onlyOrigin(b *hclsyntax.Block, name string) (*hclsyntax.Attribute, *hclsyntax.Block) {
	var found *hclsyntax.Attribute
	twice := func(r hashi.Range, second string) {
		ev.report(r, "Image with two origins",
			fmt.Sprintf("Image %s says both %s and %s; it can come from one of them only.", quoted(name), found.Name, second), "")
	}
	for _, origin := range imageOrigins {
		attr := b.Body.Attributes[origin]
		if attr != nil && found != nil {
			twice(attr.NameRange, origin)
			return nil, nil
		}
		if attr != nil {
			found = attr
		}
	}
	before := len(ev.diags)
	packages := ev.single(b.Body, "debian")
	switch {
	case packages != nil && found != nil:
		twice(packages.TypeRange, "debian")
		return nil, nil
	case packages == nil && found == nil && len(ev.diags) == before && b.Body.Attributes["debian"] == nil:
		ev.report(b.DefRange(), "Image without origin", fmt.Sprintf("Image %s says neither ref nor archive nor builtin nor debian.", quoted(name)),
			"add ref = \"name:tag\" for a registry, archive = \"path\" for a file, builtin = \"toolbox\" for a shell and the usual commands, or debian { … } for packages of Debian")
	}
	return found, packages
}

// refuseFloating reports what is said of a tag where there is none.
func (ev *evaluation) refuseFloating(body *hclsyntax.Body, name string) {
	if attr := body.Attributes["floating"]; attr != nil {
		ev.report(attr.NameRange, "Floating packages",
			fmt.Sprintf("Image %s is made of packages, and those are always as the lock has them; only a tag in a registry floats.", quoted(name)),
			"leave it out; `plumb lock --update "+name+"` takes newer packages")
	}
}

func isEmptyLiteral(e hclsyntax.Expression) bool {
	text, ok := literal(e)
	return ok && text == ""
}

var platformForm = regexp.MustCompile(`^[a-z0-9]+/[a-z0-9_]+(/[a-z0-9]+)?$`)

// IsPlatform tells an operating system and an architecture: "linux/arm64".
func IsPlatform(text string) bool { return platformForm.MatchString(text) }

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
func (ev *evaluation) checkRef(image Image, r hashi.Range) bool {
	if !refForm.MatchString(image.Ref) {
		ev.report(r, "Bad image reference", fmt.Sprintf("%s is not a reference to an image in a registry.", quoted(image.Ref)),
			"write for example \"python:3.12.4-slim\" or \"ghcr.io/org/name:1.2\"")
		return false
	}
	name, _, pinned := strings.Cut(image.Ref, "@")
	if pinned || image.Floating {
		return true
	}
	_, tag, _ := strings.Cut(name[strings.LastIndexByte(name, '/')+1:], ":")
	if tag == "" || tag == "latest" {
		ev.report(r, "Floating image",
			fmt.Sprintf("%s has no fixed tag, so what it stands for changes by itself.", quoted(image.Ref)),
			"name a version, such as \""+strings.TrimSuffix(name, ":latest")+":1.2.3\", or say floating = true")
		return false
	}
	return true
}
