package engine

import (
	"context"
	"fmt"

	"plumb/engine/inventory"
	"plumb/engine/runtime"
	"plumb/store"
)

// imageChange says which packages differ between two images, and which files where the
// packages are the same. What cannot be looked into is said and is no error: that the
// image is another one is known.
func (x *explainer) imageChange(c *Change) {
	a, errA := store.ParseDigest(c.Old)
	b, errB := store.ParseDigest(c.New)
	if errA != nil || errB != nil {
		return // its platform, or it is not pinned yet
	}
	if x.e.cfg.ReadOnly || x.e.cfg.NewRuntime == nil {
		c.Unseen, c.Note = true, "images are looked into by an agent: their packages are not compared"
		return
	}
	_, kept, err := x.e.keeper(x.ctx, x.at)
	if err != nil {
		c.Note = "their packages are not compared: " + err.Error()
		return
	}
	for _, d := range []store.Digest{a, b} {
		has, err := kept.Has(x.ctx, d.String())
		if err != nil {
			c.Note = "their packages are not compared: " + err.Error()
			return
		}
		if !has {
			c.Note = fmt.Sprintf("image %s is not among those that are kept: their packages cannot be compared", d)
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
