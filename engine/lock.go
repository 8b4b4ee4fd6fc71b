package engine

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"plumb/engine/event"
	"plumb/engine/inventory"
	"plumb/hcl"
)

// Lock pins what comes from outside: everything that the pipeline declares, whether
// a stage uses it or not. Pins that are there stay, unless they are to move; pins of
// what is not declared any more go. A check looks everything up anew, says what
// would move, and writes nothing.
func (e *Engine) Lock(ctx context.Context, req LockRequest, emit func(event.Event)) (*LockDoc, error) {
	doc, err := e.relock(ctx, req, throttled(emit))
	return doc, shown(req.Project.Dir, err)
}

func (e *Engine) relock(ctx context.Context, req LockRequest, tell func(event.Event)) (*LockDoc, error) {
	l, err := e.load(req.Project, false)
	if err != nil {
		return nil, err
	}
	pl := l.pipeline
	moves := func(name string) bool { return req.UpdateAll || req.Check || slices.Contains(req.Update, name) }
	if err := namesKnown(pl, req.Update); err != nil {
		return nil, err
	}
	p, err := e.newPinner(req.Request, pinning{write: true, offline: req.Offline, moves: moves, all: true, check: req.Check}, tell)
	if err != nil {
		return nil, err
	}
	before := snapshotOf(p.lock)
	if err := p.everything(ctx, pl, req.Platforms); err != nil {
		return nil, withInputs(req.Project.Dir, pl, err)
	}
	p.prune(pl)
	doc := &LockDoc{Schema: Schema, Path: filepath.Join(p.dir, hcl.LockFile), Pins: comparePins(before, p.lock)}
	for _, pin := range doc.Pins {
		doc.Differs = doc.Differs || pin.Change != PinUnchanged
	}
	if req.Check {
		return doc, nil
	}
	doc.Written = doc.Differs
	if err := p.save(ctx); err != nil {
		return nil, err
	}
	if doc.Attributes, err = hcl.EnsureMergeAttribute(p.dir); err != nil {
		return nil, &Error{Kind: Machine, Message: err.Error()}
	}
	return doc, nil
}

// everything pins all images, for all platforms that are asked for or pinned
// already, and all sources that are not in the project. What cannot be had is told
// together.
func (p *pinner) everything(ctx context.Context, pl *hcl.Pipeline, platforms []string) error {
	var errs []error
	for i := range pl.Images {
		im := &pl.Images[i]
		for _, platform := range p.platformsOf(im, platforms) {
			if _, err := p.image(ctx, im, platform); err != nil {
				errs = append(errs, err)
				break
			}
		}
	}
	for i := range pl.Sources {
		if !pl.Sources[i].Remote() {
			continue
		}
		if _, err := p.source(ctx, &pl.Sources[i]); err != nil {
			errs = append(errs, err)
		}
	}
	return together(errs)
}

// platformsOf are those for which an image is pinned.
func (p *pinner) platformsOf(im *hcl.Image, more []string) []string {
	all := []string{p.platformOf(im)}
	if im.Platform == "" && (im.Ref != "" || im.Debian != nil) { // what is on disk is for the platform that it is for
		all = append(all, more...)
		for _, have := range p.lock.Images {
			if have.Name == im.Name {
				all = append(all, have.Platform)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// together makes one error of several of the same kind; diagnostics come first.
func together(errs []error) error {
	if len(errs) < 2 {
		return errors.Join(errs...)
	}
	var diags hcl.Diagnostics
	var lines []string
	kind, hint := Machine, ""
	for _, err := range errs {
		var d hcl.Diagnostics
		if errors.As(err, &d) {
			diags = append(diags, d...)
			continue
		}
		e := AsError(err)
		if e.Kind == Interrupted {
			return err
		}
		kind, hint = e.Kind, e.Hint
		lines = append(lines, e.Message)
	}
	if len(diags) > 0 {
		return diags
	}
	return &Error{Kind: kind, Message: strings.Join(lines, "\n"), Hint: hint}
}

func namesKnown(pl *hcl.Pipeline, names []string) error {
	var known []string
	for _, im := range pl.Images {
		known = append(known, im.Name)
	}
	for _, s := range pl.Sources {
		if s.Remote() {
			known = append(known, s.Name)
		}
	}
	for _, n := range names {
		if slices.Contains(known, n) {
			continue
		}
		hint := "the pipeline declares none"
		if near := hcl.Nearest(n, known); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		} else if len(known) > 0 {
			hint = "there are: " + strings.Join(known, ", ")
		}
		return invalid(hint, "there is no image %q, and no source of that name from outside the project", n)
	}
	return nil
}

// snapshotOf copies a lock.
func snapshotOf(l *hcl.Lock) *hcl.Lock {
	return &hcl.Lock{Images: slices.Clone(l.Images), Sources: slices.Clone(l.Sources)}
}

// comparePins lists all pins of two locks, in the order of the lock, and what
// happened to each.
func comparePins(before, after *hcl.Lock) []Pin {
	pins := []Pin{}
	for _, now := range after.Images {
		pin := Pin{Kind: "image", Name: now.Name, Platform: now.Platform, Change: PinAdded, From: lockedFrom(now), New: now.Manifest, Detail: detailOf(now)}
		if old := before.Image(now.Name, now.Platform); old != nil {
			pin.Old, pin.Change = old.Manifest, changeOf(old.Equal(now))
			pin.Packages = comparePackages(old.Debian, now.Debian)
			if from := lockedFrom(*old); from != pin.From {
				pin.OldFrom = from
			}
		}
		pins = append(pins, pin)
	}
	for _, old := range before.Images {
		if after.Image(old.Name, old.Platform) == nil {
			pins = append(pins, Pin{Kind: "image", Name: old.Name, Platform: old.Platform, Change: PinRemoved, From: lockedFrom(old), Old: old.Manifest})
		}
	}
	for _, now := range after.Sources {
		pin := Pin{Kind: "source", Name: now.Name, Change: PinAdded, From: now.URL + now.OCI, New: sourceDigest(&now)}
		if old := before.Source(now.Name); old != nil {
			pin.Old = sourceDigest(old)
			if from := old.URL + old.OCI; from != pin.From {
				pin.OldFrom = from
			}
			pin.Change = changeOf(pin.Old == pin.New && pin.OldFrom == "")
		}
		pins = append(pins, pin)
	}
	for _, old := range before.Sources {
		if after.Source(old.Name) == nil {
			pins = append(pins, Pin{Kind: "source", Name: old.Name, Change: PinRemoved, From: old.URL + old.OCI, Old: sourceDigest(&old)})
		}
	}
	return pins
}

func detailOf(im hcl.LockedImage) string {
	switch {
	case im.Index != "":
		return "index " + im.Index
	case im.Debian != nil:
		if len(im.Debian.Pins) == 1 {
			return "1 package"
		}
		return fmt.Sprintf("%d packages", len(im.Debian.Pins))
	}
	return ""
}

// lockedFrom says where a pinned image comes from.
func lockedFrom(im hcl.LockedImage) string {
	if im.Debian != nil {
		return fromDebian(im.Debian.Suite, im.Debian.Packages)
	}
	return im.Ref + im.Archive
}

// comparePackages lists what differs between two pins of an image; all, when it was
// not pinned.
func comparePackages(old, now *hcl.LockedDebian) []inventory.PackageChange {
	list := func(d *hcl.LockedDebian) (all []inventory.Package) {
		if d == nil {
			return nil
		}
		for _, p := range d.Pins {
			all = append(all, inventory.Package{Type: "deb", Name: p.Name, Version: p.Version, Architecture: p.Architecture})
		}
		return all
	}
	if now == nil {
		return nil
	}
	return inventory.ComparePackages(list(old), list(now))
}

func changeOf(same bool) PinChange {
	if same {
		return PinUnchanged
	}
	return PinMoved
}

func sourceDigest(s *hcl.LockedSource) string {
	if s.OCI != "" || len(s.Files) == 0 {
		return s.Manifest
	}
	return s.Files[0].Digest
}
