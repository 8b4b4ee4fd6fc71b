package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"plumb/engine/apt"
	"plumb/engine/debian"
	"plumb/engine/event"
	"plumb/engine/fetch"
	"plumb/hcl"
	"plumb/store"
)

// A Debian image is pinned by its packages, and by the manifest that they come to.
// So to pin one is to make it (debian_build.go), and who has the lock makes the same
// again, or is told that it came out otherwise. What has not moved is not made anew.

// debian pins an image of Debian packages for one platform.
func (p *pinner) debian(ctx context.Context, im *hcl.Image, platform string, have *hcl.LockedImage) (*pinned, error) {
	if have != nil && !p.how.moving(im.Name) {
		return p.debianFromLock(im, have)
	}
	if err := p.mayLookUp("image", im.Name, from(im)+", "+platform); err != nil || !p.how.write {
		return nil, err
	}
	found, err := p.resolveDebian(ctx, im, platform)
	if err != nil {
		return nil, debianError(im, err)
	}
	if have != nil && samePackages(have.Debian, found.Debian) {
		return p.debianFromLock(im, have)
	}
	if p.how.check { // what it would come to is not known: it would have to be made
		p.lock.SetImage(*found)
		return nil, nil
	}
	if found.Manifest, err = p.e.buildDebian(ctx, p.debianBuild(im, *found)); err != nil {
		return nil, debianError(im, err)
	}
	p.set(*found)
	return p.debianFromLock(im, found)
}

func (p *pinner) debianFromLock(im *hcl.Image, have *hcl.LockedImage) (*pinned, error) {
	if have.Debian.Recipe != debian.Recipe {
		return nil, &Error{
			Kind:    Differs,
			Message: fmt.Sprintf("image %q was pinned by a plumb that makes images of packages by other rules (recipe %s; this one has %s)", im.Name, have.Debian.Recipe, debian.Recipe),
			Hint:    fmt.Sprintf("plumb lock --update %s makes it anew, or use the plumb that wrote the lock", im.Name),
		}
	}
	d, err := store.ParseDigest(have.Manifest)
	if err != nil {
		return nil, imageError(im, err)
	}
	return &pinned{name: im.Name, digest: d, platform: have.Platform, source: &debianImage{build: p.debianBuild(im, *have)}}, nil
}

func (p *pinner) debianBuild(im *hcl.Image, pin hcl.LockedImage) debianBuild {
	return debianBuild{image: im, pin: pin, out: p.out, place: p.place, dir: p.dir, offline: p.how.offline, tell: p.tell}
}

// samePackages says whether two pins make the same image. The date of the release
// alone makes no other.
func samePackages(a, b *hcl.LockedDebian) bool {
	return a.Recipe == b.Recipe && slices.Equal(a.Layers, b.Layers) && slices.Equal(a.Pins, b.Pins)
}

// sameRequest says whether two pins are of the same question.
func sameRequest(a, b *hcl.LockedDebian) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return a.Suite == b.Suite && a.Variant == b.Variant && a.Recommends == b.Recommends && slices.Equal(a.Packages, b.Packages)
}

// fitsDebian says whether a pin is of the packages that the pipeline asks for now.
// Where they come from does not matter: they are known by their digests.
func fitsDebian(have *hcl.LockedDebian, want *hcl.Debian) bool {
	if have == nil || want == nil {
		return have == nil && want == nil
	}
	return sameRequest(have, &hcl.LockedDebian{Suite: want.Suite, Variant: want.Variant, Recommends: want.Recommends, Packages: want.Packages})
}

// fromDebian is how people know such an image.
func fromDebian(suite string, packages []string) string {
	return "debian " + suite + ": " + strings.Join(packages, ", ")
}

// resolveDebian asks the mirrors which packages an image comes to today.
func (p *pinner) resolveDebian(ctx context.Context, im *hcl.Image, platform string) (*hcl.LockedImage, error) {
	arch, ok := hcl.DebianArchitecture(platform)
	if !ok {
		return nil, imageError(im, fmt.Errorf("there is no architecture of Debian for the platform %s", platform))
	}
	d := im.Debian
	sources, err := p.debianSources(d)
	if err != nil {
		return nil, err
	}
	r := apt.Resolver{
		Cache: filepath.Join(p.e.cfg.Dir, "downloads", "lists"), Client: p.out.packages(), Now: p.e.cfg.Now,
		Progress: p.debianProgress(im.Name, "package lists"),
	}
	res, err := r.Resolve(ctx, apt.Request{
		Packages: d.Packages, Architecture: arch, Essential: d.Variant == hcl.DebianStandard, Recommends: d.Recommends,
		Sources: sources, Keyrings: p.keyrings(d), AcceptExpired: d.AcceptExpired,
	})
	if err != nil {
		return nil, err
	}
	pin := &hcl.LockedDebian{
		Suite: d.Suite, Variant: d.Variant, Packages: d.Packages, Recommends: d.Recommends,
		Date: res.Date.UTC().Format(time.RFC3339), Recipe: debian.Recipe,
	}
	layers := layersOf(d.Packages, res.Packages)
	pin.Layers = layers.names
	for _, pkg := range res.Packages {
		pin.Pins = append(pin.Pins, hcl.LockedPackage{
			Name: pkg.Name, Version: pkg.Version, Architecture: pkg.Architecture, Suite: pkg.Source.Suite, Path: path.Clean(pkg.Path),
			Size: pkg.Size, SHA256: "sha256:" + pkg.SHA256, Layer: layers.of(pkg),
		})
	}
	return &hcl.LockedImage{Name: im.Name, Platform: platform, Debian: pin}, nil
}

func (p *pinner) debianProgress(image, what string) func(done, total int64) {
	return func(done, total int64) {
		p.tell(event.Event{Type: event.Progress, Message: "image " + image + ", " + what, Done: done, Total: total})
	}
}

// debianSources are the mirrors: those of the image, else of the user's
// configuration, else of this machine.
func (p *pinner) debianSources(d *hcl.Debian) ([]apt.Source, error) {
	named := len(d.Mirrors) > 0
	mirrors := d.Mirrors
	if !named {
		mirrors = p.out.debian.Mirrors
	}
	var all []apt.Source
	for _, m := range mirrors {
		s, err := apt.ParseMirror(m, d.Suite, d.Components)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	if named {
		return all, nil
	}
	where := "plumb's configuration has none"
	if len(mirrors) == 0 {
		where = "neither plumb's configuration nor this machine's apt sources have one"
		var err error
		if all, err = apt.MachineSources("/"); err != nil {
			return nil, fmt.Errorf("reading this machine's apt sources: %w", err)
		}
	}
	all = apt.ForSuite(all, d.Suite)
	for i := range all {
		if len(d.Components) > 0 {
			all[i].Components = d.Components
		}
	}
	if len(all) == 0 {
		return nil, &Error{
			Kind: Machine, Message: fmt.Sprintf("there is no mirror for the suite %q: the image names none, and %s", d.Suite, where),
			Hint: "set mirror = \"https://…/debian\" in the image, or mirrors in the debian block of plumb's configuration",
		}
	}
	return all, nil
}

// keyrings are the files with the keys that may sign a mirror that names none itself.
func (p *pinner) keyrings(d *hcl.Debian) []string {
	switch {
	case d.Keyring != "":
		return []string{filepath.Join(p.dir, filepath.FromSlash(d.Keyring))}
	case p.out.debian.Keyring != "":
		return []string{p.out.debian.Keyring}
	}
	return apt.DefaultKeyrings()
}

// Layers are what images share on disk, from the bottom up: the essential packages,
// then for each package that was asked for what it adds, the one that needs least
// first. So images that ask for some of the same share up to where they part.
const (
	essentialLayer = "essential"
	restLayer      = "rest"
	maxLayers      = 40 // the kernel takes a page of names
)

type layering struct {
	names []string       // bottom first
	rank  map[string]int // of what was asked for
	used  []string       // layer by rank
}

func layersOf(asked []string, all []apt.Package) layering {
	needs := map[string]int64{}
	for _, p := range all {
		for _, name := range p.For {
			if !p.Essential {
				needs[name] += p.Size
			}
		}
	}
	order := slices.Clone(asked)
	slices.SortFunc(order, func(a, b string) int { return cmp.Or(cmp.Compare(needs[a], needs[b]), strings.Compare(a, b)) })
	l := layering{rank: map[string]int{}}
	for i, name := range order {
		l.rank[name] = i
		layer, _, _ := strings.Cut(name, "=")
		layer, _, _ = strings.Cut(layer, ":")
		if i >= maxLayers || layer == essentialLayer {
			layer = restLayer
		}
		l.used = append(l.used, layer)
	}
	there := map[string]bool{}
	for _, p := range all {
		there[l.of(p)] = true
	}
	for _, name := range slices.Concat([]string{essentialLayer}, l.used, []string{restLayer}) {
		if there[name] && !slices.Contains(l.names, name) {
			l.names = append(l.names, name)
		}
	}
	return l
}

// of is the layer that a package goes to.
func (l layering) of(p apt.Package) string {
	if p.Essential {
		return essentialLayer
	}
	best := -1
	for _, name := range p.For {
		if r, ok := l.rank[name]; ok && (best < 0 || r < best) {
			best = r
		}
	}
	if best < 0 {
		return restLayer
	}
	return l.used[best]
}

// debianError says of an error what it means for the image.
func debianError(im *hcl.Image, err error) error {
	var known *Error
	var diags hcl.Diagnostics
	var configure *debian.ConfigureError
	var ofPackage *debian.PackageError
	if errors.As(err, &ofPackage) && !errors.Is(err, debian.ErrDamaged) {
		err = ofPackage // at which step that showed says nothing
	}
	switch {
	case errors.As(err, &known), errors.As(err, &diags), errors.Is(err, context.Canceled):
		return err
	case apt.IsRequest(err), err == ofPackage && ofPackage != nil:
		detail := err.Error()
		if !strings.ContainsAny(detail[len(detail)-1:], ".?") {
			detail += "."
		}
		return hcl.Diagnostics{{
			Severity: hcl.SeverityError, Summary: "Image cannot be made", Context: fmt.Sprintf("image %q", im.Name),
			Detail: detail, Subject: im.LocatorRange,
		}}
	case errors.As(err, &configure):
		return &Error{Kind: Machine, Message: fmt.Sprintf("image %q: %v", im.Name, err), Hint: "leave the package out, or pin another version of it; nothing was kept"}
	}
	hint := ""
	if fetch.Status(err) == 0 && !fetch.IsMismatch(err) {
		hint = "nothing was changed; what was downloaded is kept for the next try"
	}
	return &Error{Kind: Machine, Message: fmt.Sprintf("image %q: %v", im.Name, err), Hint: hint}
}
