package hcl

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	hashi "github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// LockedDebian pins an image that is made of Debian packages: what was asked for,
// and which packages that came to.
type LockedDebian struct {
	Suite, Variant string
	Packages       []string // as asked for
	Recommends     bool
	Date           string          // RFC 3339, of the newest release file: no file of the image is younger
	Recipe         string          // version of the rules by which plumb makes an image of packages
	Layers         []string        // names of the layers, bottom first
	Pins           []LockedPackage // sorted by name
}

// LockedPackage pins one package of an image.
type LockedPackage struct {
	Name, Version, Architecture, Suite string
	Path                               string // of the .deb, below the mirror
	Size                               int64
	SHA256                             string // "sha256:…"
	Layer                              string // which of the image's layers it is in
}

// Equal compares two pins with all that they hold.
func (i LockedImage) Equal(o LockedImage) bool {
	a, b := i.Debian, o.Debian
	i.Debian, o.Debian = nil, nil
	return i == o && (a == b || a != nil && b != nil && a.equal(b))
}

func (d *LockedDebian) equal(o *LockedDebian) bool {
	return d.Suite == o.Suite && d.Variant == o.Variant && d.Recommends == o.Recommends && d.Date == o.Date && d.Recipe == o.Recipe &&
		slices.Equal(d.Packages, o.Packages) && slices.Equal(d.Layers, o.Layers) && slices.Equal(d.Pins, o.Pins)
}

// clone copies a pin as far as sorting the lock touches it.
func (d *LockedDebian) clone() *LockedDebian {
	c := *d
	c.Pins = slices.Clone(d.Pins)
	return &c
}

// recommended is what a lock says for true.
const recommended = "yes"

func (d *LockedDebian) fields() []pinField {
	recommends := ""
	if d.Recommends {
		recommends = recommended
	}
	return []pinField{
		{"suite", d.Suite}, {"variant", d.Variant}, {"packages", strings.Join(d.Packages, " ")}, {"recommends", recommends},
		{"date", d.Date}, {"recipe", d.Recipe}, {"layers", strings.Join(d.Layers, " ")},
	}
}

func debianOf(f pinFields) *LockedDebian {
	d := &LockedDebian{
		Suite: f.text["suite"], Variant: f.text["variant"], Recommends: f.text["recommends"] == recommended,
		Date: f.text["date"], Recipe: f.text["recipe"], Layers: strings.Split(f.text["layers"], " "),
	}
	if packages := f.text["packages"]; packages != "" {
		d.Packages = strings.Split(packages, " ")
	}
	return d
}

// encodePackages writes the lines of an image's packages, in the form that
// scanPackage reads.
func (i *LockedImage) encodePackages(b *bytes.Buffer) {
	if i.Debian == nil {
		return
	}
	for _, p := range i.Debian.Pins {
		lockLine(b, []string{"package", i.Name, i.Platform, p.Name}, "deb", []pinField{
			{"version", p.Version}, {"architecture", p.Architecture}, {"suite", p.Suite}, {"path", p.Path},
			{"size", p.Size}, {"sha256", p.SHA256}, {"layer", p.Layer},
		})
	}
}

// packageLine is a package with the image that it belongs to.
type packageLine struct {
	image, platform string
	pin             LockedPackage
	at              Range
}

// debianLine is where a Debian image is pinned.
type debianLine struct {
	image, platform string
	at              hashi.Range
}

// addPackage takes a line that the parser has read.
func (r *lockReader) addPackage(b *hclsyntax.Block, attr *hclsyntax.Attribute, f pinFields) {
	switch {
	case !IsPlatform(b.Labels[1]):
		r.ev.report(b.LabelRanges[1], "Bad platform", "A package is pinned for an operating system and an architecture.", lockHint)
	case !isLockedName(b.Labels[2]):
		r.ev.report(b.LabelRanges[2], "Bad package name", fmt.Sprintf("%s is not the name of a Debian package.", quoted(b.Labels[2])), lockHint)
	case !isBelow(f.text["path"]):
		r.ev.report(attr.Expr.Range(), "Bad path", "The path of a package leads out of its mirror.", lockHint)
	default:
		r.packages = append(r.packages, packageLine{b.Labels[0], b.Labels[1], LockedPackage{
			Name: b.Labels[2], Version: f.text["version"], Architecture: f.text["architecture"], Suite: f.text["suite"],
			Path: f.text["path"], Size: f.size, SHA256: f.text["sha256"], Layer: f.text["layer"],
		}, rangeOf(b.DefRange())})
	}
}

// isLockedName tells the name of a package, with an architecture where there are
// two of that name.
func isLockedName(s string) bool {
	name, ok := packageName(s)
	return ok && name == s
}

// attachPackages gives the packages to their images: their lines may stand anywhere.
func (r *lockReader) attachPackages() {
	slices.SortFunc(r.packages, func(a, b packageLine) int {
		if c := cmp.Compare(a.image, b.image); c != 0 {
			return c
		}
		return cmp.Or(cmp.Compare(a.platform, b.platform), cmp.Compare(a.pin.Name, b.pin.Name), cmp.Compare(a.at.Start.Byte, b.at.Start.Byte))
	})
	for rest := r.packages; len(rest) > 0; {
		n := slices.IndexFunc(rest, func(p packageLine) bool { return p.image != rest[0].image || p.platform != rest[0].platform })
		if n < 0 {
			n = len(rest)
		}
		r.attachTo(r.lock.Image(rest[0].image, rest[0].platform), rest[:n])
		rest = rest[n:]
	}
	for _, line := range r.debian {
		image := r.lock.Image(line.image, line.platform)
		if image.Debian != nil && len(image.Debian.Pins) == 0 && !r.moves(line.image) {
			r.ev.report(line.at, "Bad pin", fmt.Sprintf("The lock has image %s for %s, and none of the packages that it is made of.", quoted(line.image), line.platform),
				"take the lines that begin with package from git, or run `plumb lock --update "+line.image+"`")
		}
	}
}

func (r *lockReader) moves(image string) bool { return r.moving != nil && r.moving(image) }

// attachTo gives an image its packages, sorted by name and by place in the file. Of
// those that are pinned twice the last one counts, where all are to move anyway;
// else the first that is wrong is told for all.
func (r *lockReader) attachTo(image *LockedImage, lines []packageLine) {
	told := r.moves(lines[0].image)
	tell := func(line packageLine, summary, detail, hint string) {
		if !told {
			r.ev.reportRange(line.at, summary, detail, hint)
		}
		told = true
	}
	if image == nil || image.Debian == nil {
		tell(lines[0], "Package without its image", fmt.Sprintf("The lock has packages of image %s for %s, and no pin of the image that says that it is made of them.",
			quoted(lines[0].image), lines[0].platform), lockHint)
		return
	}
	pins := make([]LockedPackage, 0, len(lines))
	for _, line := range lines {
		if n := len(pins); n > 0 && pins[n-1].Name == line.pin.Name {
			if pins[n-1] != line.pin {
				tell(line, "Pinned twice", fmt.Sprintf("The lock has two different pins of package %s of image %s; a merge of two branches that both moved it leaves it so.",
					quoted(line.pin.Name), quoted(line.image)), "run `plumb lock --update "+line.image+"`")
			}
			pins[n-1] = line.pin
			continue
		}
		if !contains(image.Debian.Layers, line.pin.Layer) {
			tell(line, "Bad pin", fmt.Sprintf("Package %s is in the layer %s; image %s has %s.",
				quoted(line.pin.Name), quoted(line.pin.Layer), quoted(line.image), listed(image.Debian.Layers)), lockHint)
		}
		pins = append(pins, line.pin)
	}
	image.Debian.Pins = pins
}
