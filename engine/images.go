package engine

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	goruntime "runtime"
	"strings"

	"plumb/engine/image"
	"plumb/hcl"
	"plumb/store"
)

// pinned is an image block with its digest. Source is nil when only a plan is
// wanted and nothing needs to be read.
type pinned struct {
	digest   store.Digest
	platform string
	source   *image.Image
}

// pinning is how far images may be resolved.
type pinning struct {
	write   bool // the lock may be completed, from the network
	locked  bool // the lock must have it all
	offline bool
}

// pin finds the digest of every image the selected stages use. An image in a
// registry comes from the lock; what the lock lacks is resolved and added when
// that is allowed, else left out of the result.
func (e *Engine) pin(ctx context.Context, dir string, p *hcl.Pipeline, used map[string]bool, how pinning) (map[string]pinned, error) {
	lock, diags := hcl.ReadLock(dir)
	if diags.HasErrors() {
		return nil, diags
	}
	out := map[string]pinned{}
	changed := false
	for i := range p.Images {
		im := &p.Images[i]
		if !used[im.Name] {
			continue
		}
		pin, added, err := e.pinOne(ctx, dir, im, lock, how)
		if err != nil {
			return nil, err
		}
		changed = changed || added
		if pin != nil {
			out[im.Name] = *pin
		}
	}
	if changed {
		if err := hcl.WriteLock(dir, lock); err != nil {
			return nil, fmt.Errorf("writing the lock of %q: %w", dir, err)
		}
	}
	return out, nil
}

func (e *Engine) pinOne(ctx context.Context, dir string, im *hcl.Image, lock *hcl.Lock, how pinning) (*pinned, bool, error) {
	platform := im.Platform
	if platform == "" {
		platform = "linux/" + goruntime.GOARCH
	}
	find := image.Resolver{Cache: imageCache{e}}
	l := image.Locator{Archive: filepath.Join(dir, filepath.FromSlash(im.Archive))}
	added := false
	if im.Archive == "" {
		manifest, fresh, err := e.manifest(ctx, im, lock, find, platform, how)
		if err != nil || manifest == "" {
			return nil, false, err
		}
		added = fresh
		if l, err = image.Locked(im.Ref, manifest); err != nil {
			return nil, false, imageError(im, err)
		}
	}
	src, err := find.Resolve(ctx, l, platform)
	if err != nil {
		return nil, false, imageError(im, errors.New(strings.ReplaceAll(err.Error(), dir+"/", "")))
	}
	d, err := store.ParseDigest(src.Manifest())
	if err != nil {
		return nil, false, imageError(im, err)
	}
	return &pinned{d, platform, src}, added, nil
}

// manifest finds what a reference is pinned to; "" when it is not pinned and may
// not be now.
func (e *Engine) manifest(ctx context.Context, im *hcl.Image, lock *hcl.Lock, find image.Resolver, platform string, how pinning) (manifest string, added bool, err error) {
	if m, ok := lock.Manifest(im.Name, im.Ref, platform); ok {
		return m, false, nil
	}
	switch {
	case how.locked:
		return "", false, &Error{Kind: Differs, Message: fmt.Sprintf("image %q (%s, %s) is not in plumb.lock.hcl", im.Name, im.Ref, platform), Hint: "plumb run without --locked adds it; commit the lock then"}
	case !how.write:
		return "", false, nil
	case how.offline:
		return "", false, &Error{Kind: Machine, Message: fmt.Sprintf("image %q (%s) is not pinned yet, and --offline allows no look-up", im.Name, im.Ref), Hint: "run once without --offline"}
	}
	index, m, err := find.ResolveTag(ctx, im.Ref, platform)
	if err != nil {
		return "", false, &Error{Kind: Machine, Message: err.Error()}
	}
	lock.Add(im.Name, im.Ref, index, platform, m)
	return m, true, nil
}

// imageCache remembers facts about archives in the store. A reading engine
// forgets: it may not write.
type imageCache struct{ e *Engine }

func (c imageCache) Get(key string) ([]byte, bool) { return c.e.store.GetCache("image/" + key) }

func (c imageCache) Put(key string, value []byte) {
	if c.e.cfg.ReadOnly {
		return
	}
	if err := c.e.store.PutCache("image/"+key, value); err != nil {
		c.e.cfg.Logger.Info("remembering an image", "error", err)
	}
}

// imageError places an error at the image's block.
func imageError(im *hcl.Image, err error) error {
	return hcl.Diagnostics{{
		Severity: hcl.SeverityError, Summary: "Image cannot be used", Context: fmt.Sprintf("image %q", im.Name),
		Detail: strings.TrimSuffix(err.Error(), ".") + ".", Subject: im.LocatorRange,
		Hint: "an archive is an OCI layout directory, an OCI archive or what docker save writes",
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
