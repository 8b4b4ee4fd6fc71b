package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"syscall"
	"time"

	"plumb/engine/event"
	"plumb/engine/image"
	"plumb/hcl"
	"plumb/store"
)

// Everything from outside is known by a digest before anything is planned. Where
// that comes from differs:
//
//	registry image, source by URL or OCI   the lock; what it lacks is looked up, when that is allowed
//	Debian packages                        the lock; pinning makes the image
//	archive                                the file itself, and the lock must agree when it has it
//	toolbox                                this binary
//
// A pinner goes through what a pipeline declares, once for a plan, a run or a lock.

// pinning is how far things may be resolved.
type pinning struct {
	write   bool // the lock may be completed, from the network
	locked  bool // the lock must have it all
	offline bool
	moves   func(name string) bool // whose pins are looked up anew; nil for none
	all     bool                   // archives go into the lock too
	check   bool                   // keep nothing of what is looked at
	ingest  bool                   // a run: what it reads is taken into the store
}

func (h pinning) moving(name string) bool { return h.moves != nil && h.moves(name) }

// pinned is an image block with its digest. source reads it, when it has to be
// made present.
type pinned struct {
	name     string
	digest   store.Digest
	platform string
	source   supplier
}

type pinner struct {
	e        *Engine
	dir      string
	place    Place
	platform string
	lock     *hcl.Lock
	lockFile []byte // as it was read, or written since; nil for none
	how      pinning
	out      *outside
	tell     func(event.Event)
	found    hcl.Lock // what was looked up, and is not written yet
	pruned   *hcl.Pipeline
}

// newPinner reads the lock. Names whose pins move anyway may be pinned twice in
// it, as a merge leaves them.
func (e *Engine) newPinner(req Request, how pinning, tell func(event.Event)) (*pinner, error) {
	lock, file, diags := hcl.ReadLockFile(req.Project.Dir, how.moves)
	if diags.HasErrors() {
		return nil, diags
	}
	if tell == nil {
		tell = func(event.Event) {}
	}
	out := e.outside(req.Reach, how.offline, tell)
	return &pinner{e: e, dir: req.Project.Dir, place: req.Place, platform: req.Platform, lock: lock, lockFile: file, how: how, out: out, tell: tell}, nil
}

// images pins those that are used.
func (p *pinner) images(ctx context.Context, pl *hcl.Pipeline, used map[string]bool) (map[string]pinned, error) {
	out := map[string]pinned{}
	for i := range pl.Images {
		im := &pl.Images[i]
		if !used[im.Name] {
			continue
		}
		pin, err := p.image(ctx, im, p.platformOf(im))
		if err != nil {
			return nil, err
		}
		if pin != nil {
			out[im.Name] = *pin
		}
	}
	return out, nil
}

// platformOf is the platform that an image block is for.
func (p *pinner) platformOf(im *hcl.Image) string {
	switch {
	case im.Platform != "":
		return im.Platform
	case p.platform != "":
		return p.platform
	}
	return machinePlatform()
}

func machinePlatform() string { return "linux/" + goruntime.GOARCH }

// changed says that there is something to write.
func (p *pinner) changed() bool {
	return len(p.found.Images)+len(p.found.Sources) > 0 || p.pruned != nil
}

// save writes what was found into the lock. It is read again for that, while others
// who write it wait: two runs that each pin something at once both keep their pins.
func (p *pinner) save(ctx context.Context) error {
	if !p.changed() {
		return nil
	}
	if err := p.merge(ctx); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &Error{Kind: Machine, Message: fmt.Sprintf("writing the lock of %q: %v", p.dir, err), Hint: "the pins could not be kept; nothing else was changed"}
	}
	p.found, p.pruned = hcl.Lock{}, nil
	return nil
}

func (p *pinner) merge(ctx context.Context) (err error) {
	dir, err := os.Open(p.dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }() // which lets the others go on
	if err := flock(ctx, dir); err != nil {
		return fmt.Errorf("waiting for others who write it: %w", err)
	}
	lock, diags := hcl.ReadLock(p.dir, p.how.moves)
	if diags.HasErrors() {
		return diags
	}
	for _, i := range p.found.Images {
		have := lock.Image(i.Name, i.Platform)
		if have != nil && have.Ref == i.Ref && sameRequest(have.Debian, i.Debian) && have.Manifest != i.Manifest && !p.how.moving(i.Name) {
			return fmt.Errorf("image %q was pinned to %s by somebody else at this moment; run again, which takes that pin", i.Name, have.Manifest)
		}
		lock.SetImage(i)
	}
	for _, s := range p.found.Sources {
		have := lock.Source(s.Name)
		if have != nil && have.URL == s.URL && have.OCI == s.OCI && sourceDigest(have) != sourceDigest(&s) && !p.how.moving(s.Name) {
			return fmt.Errorf("source %q was pinned to %s by somebody else at this moment; run again, which takes that pin", s.Name, sourceDigest(have))
		}
		lock.SetSource(s)
	}
	if p.pruned != nil {
		lock.Prune(declared(p.pruned))
	}
	p.lockFile = lock.Encode()
	return hcl.WriteLock(p.dir, lock)
}

// flock waits for its turn at a file.
func flock(ctx context.Context, f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return err
		}
		if !sleep(ctx, 10*time.Millisecond) {
			return ctx.Err()
		}
	}
}

// image pins one image for one platform; nil when it is not pinned and may not be.
func (p *pinner) image(ctx context.Context, im *hcl.Image, platform string) (*pinned, error) {
	have := p.lock.Image(im.Name, platform)
	if have != nil && !fits(have, im) {
		have = nil
	}
	switch {
	case im.Builtin != "":
		return p.toolbox(im, platform)
	case im.Archive != "":
		return p.archive(ctx, im, platform, have)
	case im.Debian != nil:
		return p.debian(ctx, im, platform, have)
	case have != nil && !p.how.moving(im.Name):
		return p.fromLock(ctx, im, have)
	}
	if err := p.mayLookUp("image", im.Name, from(im)+", "+platform); err != nil || !p.how.write {
		return nil, err
	}
	return p.lookUp(ctx, im, platform)
}

// mayLookUp says why something that the lock lacks may not be looked up now.
func (p *pinner) mayLookUp(kind, name, what string) error {
	switch {
	case p.how.locked:
		return &Error{
			Kind: Differs, Message: fmt.Sprintf("%s %q (%s) is not in %s as the pipeline has it", kind, name, what, hcl.LockFile),
			Hint: "plumb lock adds it; commit the lock then",
		}
	case p.how.write && p.how.offline:
		return &Error{
			Kind: Machine, Message: fmt.Sprintf("%s %q (%s) is not pinned yet, and --offline allows no look-up", kind, name, what),
			Hint: "run plumb lock where there is a network, or once without --offline",
		}
	}
	return nil
}

// from says where an image comes from, as the pipeline has it.
func from(im *hcl.Image) string {
	if im.Debian != nil {
		return fromDebian(im.Debian.Suite, im.Debian.Packages)
	}
	return im.Ref + im.Archive + im.Builtin
}

// fits says whether a pin is of what the pipeline asks for now.
func fits(have *hcl.LockedImage, im *hcl.Image) bool {
	return have.Ref == im.Ref && have.Archive == im.Archive && fitsDebian(have.Debian, im.Debian)
}

func (p *pinner) fromLock(ctx context.Context, im *hcl.Image, have *hcl.LockedImage) (*pinned, error) {
	d, err := store.ParseDigest(have.Manifest)
	if err != nil {
		return nil, imageError(im, err)
	}
	pin := &pinned{name: im.Name, digest: d, platform: have.Platform}
	l, err := image.Locked(im.Ref, have.Index, have.Manifest)
	if err != nil {
		return nil, imageError(im, err)
	}
	// No request is made: the manifest is known.
	src, err := p.out.images(p.e).Resolve(ctx, l, have.Platform)
	if err != nil {
		return nil, imageError(im, err)
	}
	pin.source = &foundImage{Image: src, name: im.Ref, limits: p.out.limits, remote: true}
	return pin, nil
}

// lookUp asks a registry what a reference stands for today, and pins it.
func (p *pinner) lookUp(ctx context.Context, im *hcl.Image, platform string) (*pinned, error) {
	index, manifest, err := p.out.images(p.e).ResolveTag(ctx, im.Ref, platform)
	if err != nil {
		return nil, &Error{Kind: Machine, Message: fmt.Sprintf("image %q: %v", im.Name, err), Hint: image.Hint(err)}
	}
	have := hcl.LockedImage{Name: im.Name, Platform: platform, Ref: im.Ref, Index: index, Manifest: manifest}
	p.set(have)
	return p.fromLock(ctx, im, &have)
}

func (p *pinner) set(have hcl.LockedImage) {
	p.lock.SetImage(have)
	p.found.SetImage(have)
}

// archive reads the digest from the file. The lock need not have it: the file is
// part of the project. When it has, the two must agree.
func (p *pinner) archive(ctx context.Context, im *hcl.Image, platform string, have *hcl.LockedImage) (*pinned, error) {
	l := image.Locator{Archive: filepath.Join(p.dir, filepath.FromSlash(im.Archive))}
	src, err := p.out.images(p.e).Resolve(ctx, l, platform)
	if err != nil {
		return nil, imageError(im, errors.New(strings.ReplaceAll(err.Error(), p.dir+"/", "")))
	}
	d, err := store.ParseDigest(src.Manifest())
	if err != nil {
		return nil, imageError(im, err)
	}
	switch {
	case have != nil && have.Manifest != src.Manifest() && !p.how.moving(im.Name):
		return nil, &Error{
			Kind:    Differs,
			Message: fmt.Sprintf("image %q: %q holds %s, and %s has it pinned to %s", im.Name, im.Archive, src.Manifest(), hcl.LockFile, have.Manifest),
			Hint:    fmt.Sprintf("bring the old file back, or plumb lock --update %s takes the new one", im.Name),
		}
	case p.how.all && (have == nil || have.Manifest != src.Manifest()):
		p.set(hcl.LockedImage{Name: im.Name, Platform: platform, Archive: im.Archive, Manifest: src.Manifest()})
	}
	return &pinned{name: im.Name, digest: d, platform: platform, source: &foundImage{Image: src, name: im.Archive, limits: p.out.limits}}, nil
}

// prune drops the pins of what is not declared any more.
func (p *pinner) prune(pl *hcl.Pipeline) {
	p.lock.Prune(declared(pl))
	p.pruned = pl
}

// declared names what a lock has pins of.
func declared(pl *hcl.Pipeline) (images, sources map[string]bool) {
	images, sources = map[string]bool{}, map[string]bool{}
	for i := range pl.Images {
		images[pl.Images[i].Name] = pl.Images[i].Builtin == ""
	}
	for i := range pl.Sources {
		sources[pl.Sources[i].Name] = pl.Sources[i].Remote()
	}
	return images, sources
}

// imageError places an error at the image's block.
func imageError(im *hcl.Image, err error) error {
	hint := ""
	if im.Archive != "" {
		hint = "an archive is an OCI layout directory, an OCI archive, what docker save writes, or a root filesystem as a tar file"
	}
	return hcl.Diagnostics{{
		Severity: hcl.SeverityError, Summary: "Image cannot be used", Context: fmt.Sprintf("image %q", im.Name),
		Detail: strings.TrimSuffix(err.Error(), ".") + ".", Subject: im.LocatorRange, Hint: hint,
	}}
}

// usedImages names the images of the selected stages.
func usedImages(p *hcl.Pipeline, selected []bool) map[string]bool {
	used := map[string]bool{}
	for i := range p.Stages {
		if selected[i] {
			used[p.Stages[i].Image] = true
		}
	}
	return used
}

// usedSources names the sources of the selected stages that are not in the project.
func usedSources(p *hcl.Pipeline, selected []bool) map[string]bool {
	remote := map[string]bool{}
	for i := range p.Sources {
		if p.Sources[i].Remote() {
			remote[p.Sources[i].Name] = true
		}
	}
	used := map[string]bool{}
	if len(remote) == 0 {
		return used
	}
	for i := range p.Stages {
		for _, in := range p.Stages[i].Inputs {
			if selected[i] && in.Kind == hcl.InputSource && remote[in.Source] {
				used[in.Source] = true
			}
		}
	}
	return used
}
