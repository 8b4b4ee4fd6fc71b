package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"plumb/engine/compare"
	"plumb/engine/inventory"
	"plumb/engine/runtime"
	"plumb/hcl"
	"plumb/store"
)

// imageChange says which packages differ between two images, and which files where the
// packages are the same. What cannot be looked into is said and is no error: that the
// image is another one is known.
func (x *explainer) imageChange(c *Change) {
	a, errA := store.ParseDigest(c.Old)
	b, errB := store.ParseDigest(c.New)
	if errA != nil || errB != nil {
		if c.Old+c.New == "" { // not pinned; else it is its platform
			c.Diff = x.lineDiff([]byte(x.unpinned[0]), []byte(x.unpinned[1]))
			c.Note = "plumb lock pins it, or the next run that may look it up"
		}
		return
	}
	if x.e.cfg.ReadOnly || x.e.cfg.NewRuntime == nil {
		c.Unseen, c.Note = true, "images are looked into by an agent: their packages are not compared"
		return
	}
	rt, kept, err := x.e.keeper(x.ctx, x.at)
	if err != nil {
		c.Note = "their packages are not compared: " + err.Error()
		return
	}
	for _, d := range []store.Digest{a, b} {
		has, err := kept.Has(x.ctx, d.String())
		if err == nil && !has && x.image != nil && x.image.digest == d {
			if !x.lies() {
				c.Note = fmt.Sprintf("image %s is not here yet: plumb image diff %s %s brings it, and says what differs", d, a.String()[:19], x.image.name)
				return
			}
			has, err = true, x.bring(rt)
		}
		if err != nil {
			c.Note = "their packages are not compared: " + err.Error()
			return
		}
		if !has {
			c.Note = fmt.Sprintf("image %s is not among those that are kept: their packages cannot be compared; plumb restore of a run that had it, and a run there, bring it back", d)
			return
		}
	}
	if c.Packages, c.Files, err = compareImages(x.ctx, kept, [2]string{a.String(), b.String()}, false); err != nil {
		c.Note = "their packages are not compared: " + err.Error()
		return
	}
	if n := len(c.Files); n > maxEntries {
		c.Files, c.Note = c.Files[:maxEntries], fmt.Sprintf("and %d paths more", n-maxEntries)
	}
	if len(c.Packages)+len(c.Files) == 0 {
		c.Note = "their packages and files are the same: they differ in how these lie in layers, or in the config"
	}
}

// lies says that the stage's image comes from the project or from plumb itself: the next
// run takes it from there without asking anybody.
func (x *explainer) lies() bool {
	switch found := x.image.source.(type) {
	case *foundImage:
		return !found.remote
	case *toolboxImage:
		return true
	}
	return false
}

// bring makes such an image present.
func (x *explainer) bring(rt runtime.Runtime) error {
	x.image.source.onProgress(func(int64, int64) {})
	if err := rt.Prepare(x.ctx, x.image.source); err != nil {
		return fmt.Errorf("preparing image %q: %w", x.image.name, err)
	}
	return nil
}

// sincePinned says in which attributes the block of an image is another than the one that
// the lock has a pin of: then and now, line by line.
func (s *session) sincePinned(name string) (lines [2]string) {
	i := slices.IndexFunc(s.pipeline.Images, func(im hcl.Image) bool { return im.Name == name })
	if i < 0 {
		return lines
	}
	now := s.pipeline.Images[i]
	have := s.pins.lock.Image(name, s.pins.platformOf(&now))
	if have == nil {
		return lines
	}
	then := now
	then.Ref, then.Archive, then.Debian = have.Ref, have.Archive, nil
	if d := have.Debian; d != nil {
		var asked hcl.Debian
		if now.Debian != nil {
			asked = *now.Debian
		}
		asked.Suite, asked.Variant, asked.Packages, asked.Recommends = d.Suite, d.Variant, d.Packages, d.Recommends
		then.Debian = &asked
	}
	var old, new strings.Builder
	for _, c := range compare.Settings(&hcl.Pipeline{Images: []hcl.Image{then}}, &hcl.Pipeline{Images: []hcl.Image{now}}) {
		attribute := strings.TrimPrefix(c.Name, "image."+name+".")
		attributeLines(&old, attribute, c.Old)
		attributeLines(&new, attribute, c.New)
	}
	return [2]string{old.String(), new.String()}
}

// attributeLines writes a value, a list with a line for each of its elements.
func attributeLines(b *strings.Builder, attribute, value string) {
	var list []string
	if json.Unmarshal([]byte(value), &list) != nil && value != "" {
		list = []string{value}
	}
	for _, v := range list {
		fmt.Fprintf(b, "%s: %s\n", attribute, v)
	}
}

// compareImages lists packages that differ between two images, and files: all of them,
// or only those of images whose packages are the same.
func compareImages(ctx context.Context, kept runtime.Images, manifests [2]string, all bool) (packages []inventory.PackageChange, files []inventory.FileChange, err error) {
	err = kept.View(ctx, manifests[0], func(rootA string) error {
		return kept.View(ctx, manifests[1], func(rootB string) error {
			inA, err := inventory.Packages(rootA)
			if err != nil {
				return err
			}
			inB, err := inventory.Packages(rootB)
			if err != nil {
				return err
			}
			packages = inventory.ComparePackages(inA, inB)
			if all || len(packages) == 0 {
				files, err = inventory.CompareFiles(ctx, rootA, rootB)
			}
			return err
		})
	})
	return packages, files, err
}
