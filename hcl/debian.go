package hcl

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	hashi "github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// evalDebian evaluates the block that says of which packages an image is made.
func (ev *evaluation) evalDebian(image *Image, b *hclsyntax.Block) {
	ev.conform(b.Body, "debian block", shape{attributes: []string{
		"suite", "packages", "variant", "recommends", "components", "mirror", "snapshot", "keyring", "accept_expired", "architecture",
	}})
	s := ev.newScope()
	d := &Debian{Variant: s.debianVariant(b.Body), Range: rangeOf(b.DefRange())}
	image.Debian, image.LocatorRange = d, d.Range
	if attr := b.Body.Attributes["packages"]; attr != nil {
		image.LocatorRange = rangeOf(attr.Expr.Range())
	}
	d.Suite = s.debianSuite(b, image.Name)
	d.Packages = s.debianPackages(b, d.Variant)
	d.Recommends, _ = s.boolAttr(b.Body, "recommends", allowParam)
	d.AcceptExpired, _ = s.boolAttr(b.Body, "accept_expired", allowParam)
	s.debianOrigin(d, b.Body)
	s.debianPlatform(image, b.Body)
}

func (s *scope) debianSuite(b *hclsyntax.Block, image string) string {
	attr := b.Body.Attributes["suite"]
	if attr == nil {
		s.ev.report(b.DefRange(), "Missing suite", fmt.Sprintf("Image %s does not say of which release of Debian it is.", quoted(image)), "add suite = \"bookworm\"")
		return ""
	}
	suite, ok := s.stringAttr(b.Body, "suite", allowParam)
	if !ok {
		s.ev.needValue(attr)
		return ""
	}
	if !isSuite(suite) {
		hint := "write for example \"bookworm\" or \"bookworm-backports\""
		if isSuite(strings.ToLower(suite)) {
			hint = fmt.Sprintf("did you mean %s?", quoted(strings.ToLower(suite)))
		}
		s.ev.report(attr.Expr.Range(), "Bad suite", fmt.Sprintf("%s is not the name of a suite of Debian.", quoted(suite)), hint)
	}
	return suite
}

// variants are the ways in which an image is made of packages.
var variants = []string{DebianMinimal, DebianStandard}

func (s *scope) debianVariant(body *hclsyntax.Body) string {
	variant, ok := s.stringAttr(body, "variant", allowParam)
	if !ok {
		return DebianStandard
	}
	if !slices.Contains(variants, variant) {
		s.ev.report(body.Attributes["variant"].Expr.Range(), "Unknown variant",
			fmt.Sprintf("There is no variant %s: %q has what Debian calls essential, %q nothing but the packages and what they depend on.", quoted(variant), DebianStandard, DebianMinimal),
			cmpOr(didYouMean(variant, variants, "%q"), "write \"standard\" or \"minimal\""))
		return DebianStandard
	}
	return variant
}

// debianPackages are the packages asked for. A standard image can do without.
func (s *scope) debianPackages(b *hclsyntax.Block, variant string) []string {
	attr := b.Body.Attributes["packages"]
	if attr == nil {
		s.ev.report(b.DefRange(), "Missing packages", "The debian block does not say which packages the image has.", "add packages = [\"python3\"]; an empty list makes an image of the essential ones")
		return nil
	}
	s.ev.needValue(attr)
	all, ok := s.elements(attr.Expr, allowParam, "packages")
	if ok && len(all) == 0 && variant == DebianMinimal {
		s.ev.report(attr.Expr.Range(), "Image without packages", "A minimal image has no packages but those that are listed and what they depend on; none is listed.", "list some, or leave out variant = \"minimal\"")
	}
	var packages []string
	seen := map[string]bool{}
	for _, x := range all {
		text, ok := s.str(x.value, x.valueRange, "name of a package")
		if !ok {
			continue
		}
		name, ok := packageName(text)
		switch {
		case !ok:
			s.ev.report(x.valueRange, "Bad package name", fmt.Sprintf("%s is not the name of a Debian package.", quoted(text)), packageHint(text))
		case seen[name]:
			s.ev.report(x.valueRange, "Duplicate package", fmt.Sprintf("The package %s is listed already.", quoted(name)), "keep one of the two")
		default:
			seen[name] = true
			packages = append(packages, text)
		}
	}
	return packages
}

func packageHint(text string) string {
	if lower := strings.ToLower(text); lower != text {
		if _, ok := packageName(lower); ok {
			return fmt.Sprintf("did you mean %s?", quoted(lower))
		}
	}
	if len(strings.Fields(text)) > 1 {
		return "write each package in quotes of its own"
	}
	return "write for example \"python3-sklearn\", \"python3=3.11.2-1+b1\" or \"busybox-static:amd64\""
}

// debianOrigin says where the packages come from and who signs them.
func (s *scope) debianOrigin(d *Debian, body *hclsyntax.Body) {
	if attr := body.Attributes["components"]; attr != nil {
		all, _ := s.elements(attr.Expr, allowParam, "components")
		for _, x := range all {
			text, ok := s.str(x.value, x.valueRange, "component")
			if ok && !isComponent(text) {
				s.ev.report(x.valueRange, "Bad component", fmt.Sprintf("%s is not the name of a component of a suite.", quoted(text)), "write for example \"main\" or \"non-free-firmware\"")
			} else if ok {
				d.Components = append(d.Components, text)
			}
		}
	}
	if attr := body.Attributes["mirror"]; attr != nil {
		all, _ := s.oneOrMore(attr.Expr, allowParam, "mirror")
		d.Mirrors = s.mirrors(all)
	}
	d.Snapshot = s.snapshot(body, allowParam)
	if keyring, ok := s.stringAttr(body, "keyring", allowParam); ok {
		s.ev.setPath(&d.Keyring, keyring, body.Attributes["keyring"].Expr.Range())
	}
}

// oneOrMore evaluates a list, or a text that stands for a list of one.
func (s *scope) oneOrMore(e hclsyntax.Expression, a allowance, what string) ([]entry, bool) {
	if _, ok := e.(*hclsyntax.TupleConsExpr); ok {
		return s.elements(e, a, what)
	}
	v, ok := s.eval(e, a)
	if !ok {
		return nil, false
	}
	if !v.IsNull() && v.Type() == cty.String {
		return []entry{{value: v, expr: e, valueRange: e.Range()}}, true
	}
	return s.computedElements(e, a, what)
}

// mirrors checks lines such as "URL" or "URL SUITE COMPONENT…".
func (s *scope) mirrors(all []entry) []string {
	var mirrors []string
	for _, x := range all {
		text, ok := s.str(x.value, x.valueRange, "mirror")
		if !ok {
			continue
		}
		line, ok := mirrorLine(text)
		if !ok {
			s.ev.badMirror(x.valueRange, "mirror", text)
			continue
		}
		mirrors = append(mirrors, line)
	}
	return mirrors
}

func (s *scope) snapshot(body *hclsyntax.Body, a allowance) string {
	text, ok := s.stringAttr(body, "snapshot", a)
	if ok && !isMirror(text) {
		s.ev.badMirror(body.Attributes["snapshot"].Expr.Range(), "snapshot", text)
		return ""
	}
	return text
}

// badMirror reports what is no address of packages, or says more than an address.
func (ev *evaluation) badMirror(r hashi.Range, what, text string) {
	address, _, _ := strings.Cut(text, " ")
	if u, err := url.Parse(address); strings.Contains(address, "@") && (err != nil || u.User != nil) {
		ev.report(r, "Password in a URL", "The URL holds a user or a password, which would end up in records.", "leave it out of the URL")
		return
	}
	if what == "snapshot" {
		ev.report(r, "Bad snapshot", "This is no address of a mirror that keeps old packages.", "write it as \"https://host/archive/debian/20260101T000000Z\"")
		return
	}
	hint := "write it as \"http://host/debian\", or with a suite and components as \"http://host/debian-security bookworm-security main\""
	if address == "deb" || address == "deb-src" {
		hint = "leave out " + address + " and what is in brackets: \"http://host/debian bookworm main\""
	}
	ev.report(r, "Bad mirror", "This is no address of a mirror of Debian.", hint)
}

// debianPlatform makes the platform of an image agree with Debian's name for it.
func (s *scope) debianPlatform(image *Image, body *hclsyntax.Body) {
	said, ok := s.stringAttr(body, "architecture", allowParam)
	_, known := DebianArchitecture(image.Platform)
	if !ok {
		if image.Platform != "" && IsPlatform(image.Platform) && !known {
			s.ev.reportRange(image.LocatorRange, "Platform without Debian", fmt.Sprintf("There is no Debian for the platform %s of image %s.", quoted(image.Platform), quoted(image.Name)), "there is for "+listed(platforms()))
		}
		return
	}
	r := body.Attributes["architecture"].Expr.Range()
	platform := platformOf(said)
	switch {
	case platform == "":
		s.ev.report(r, "Unknown architecture", fmt.Sprintf("There is no architecture %s of Debian. There are %s.", quoted(said), listed(debianNames())), architectureHint(said))
	case image.Platform != "" && image.Platform != platform:
		s.ev.report(r, "Image for two platforms", fmt.Sprintf("Image %s says platform %s and architecture %s, which is %s.", quoted(image.Name), quoted(image.Platform), quoted(said), quoted(platform)), "leave out one of them")
	default:
		image.Platform = platform
	}
}
