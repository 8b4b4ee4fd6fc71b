package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"plumb/engine/event"
	"plumb/engine/image"
	"plumb/engine/inventory"
	"plumb/engine/runtime"
	"plumb/hcl"
)

// keeper gives what the runtime knows of its images.
func (e *Engine) keeper(ctx context.Context, at Place) (runtime.Runtime, runtime.Images, error) {
	rt, err := e.runtimeOf(ctx, at)
	if err != nil {
		return nil, nil, err
	}
	kept, ok := rt.(runtime.Images)
	if !ok {
		return nil, nil, &Error{Kind: Machine, Message: "this runtime does not tell what images it has"}
	}
	return rt, kept, nil
}

// Images lists the images that are present, with the blocks of the project, where
// there is one, that are pinned to them.
func (e *Engine) Images(ctx context.Context, req ImagesRequest) (*ImagesDoc, error) {
	_, kept, err := e.keeper(ctx, req.Place)
	if err != nil {
		return nil, err
	}
	all, err := kept.Images(ctx)
	if err != nil {
		return nil, err
	}
	blocks := e.blocksOf(req.Request)
	doc := &ImagesDoc{Schema: Schema, Images: []ImageRow{}}
	for _, img := range all {
		doc.Images = append(doc.Images, rowOf(img, blocks))
	}
	slices.SortFunc(doc.Images, func(a, b ImageRow) int { return b.Created.Compare(a.Created) })
	return doc, nil
}

func rowOf(img runtime.StoredImage, blocks map[string][]string) ImageRow {
	row := ImageRow{
		Digest: img.Manifest, Blocks: blocks[img.Manifest], Names: img.Names, Platform: img.Platform, Packed: img.Packed, Unpacked: img.Unpacked,
		Created: img.Created.UTC(),
	}
	if row.Blocks == nil {
		row.Blocks = []string{}
	}
	if row.Names == nil {
		row.Names = []string{}
	}
	return row
}

// blocksOf finds which image blocks of a project stand for which manifest, as far
// as that is known without asking anybody. A directory without a pipeline has none.
func (e *Engine) blocksOf(req Request) map[string][]string {
	out := map[string][]string{}
	l, err := e.load(req.Project, false)
	if err != nil {
		return out
	}
	p, err := e.newPinner(req, pinning{offline: true}, nil)
	if err != nil {
		return out
	}
	for i := range l.pipeline.Images {
		im := &l.pipeline.Images[i]
		pin, err := p.image(context.Background(), im, p.platformOf(im))
		if err == nil && pin != nil {
			out[pin.digest.String()] = append(out[pin.digest.String()], im.Name)
		}
	}
	return out
}

// named finds the image that a person means: an image block of the project, a name
// that an image was prepared under, or the beginning of a digest. One of a block is
// made present.
func (e *Engine) named(ctx context.Context, req Request, name string, tell func(event.Event)) (*runtime.StoredImage, error) {
	rt, kept, err := e.keeper(ctx, req.Place)
	if err != nil {
		return nil, err
	}
	var blocks []string
	var l *loaded
	if req.Project.Dir != "" {
		l, _ = e.load(req.Project, false) // a directory without a pipeline has no blocks
	}
	if l != nil {
		for i := range l.pipeline.Images {
			im := &l.pipeline.Images[i]
			blocks = append(blocks, im.Name)
			if im.Name != name {
				continue
			}
			pin, err := e.presentBlock(ctx, rt, req, im, tell)
			if err != nil {
				return nil, err
			}
			return stored(ctx, kept, pin.digest.String())
		}
	}
	all, err := kept.Images(ctx)
	if err != nil {
		return nil, err
	}
	var fits []runtime.StoredImage
	hex := strings.TrimPrefix(name, "sha256:")
	for _, img := range all {
		if slices.Contains(img.Names, name) || len(hex) >= 4 && strings.HasPrefix(strings.TrimPrefix(img.Manifest, "sha256:"), hex) {
			fits = append(fits, img)
		}
	}
	switch len(fits) {
	case 1:
		return &fits[0], nil
	case 0:
		hint := "plumb image ls lists those that are kept"
		if near := hcl.Nearest(name, blocks); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		return nil, invalid(hint, "there is no image %q: no image block of the project, no name, and no digest that begins so", name)
	}
	var digests []string
	for _, f := range fits {
		digests = append(digests, f.Manifest[:19])
	}
	return nil, invalid("name one by its digest: "+strings.Join(digests, ", "), "%q stands for %d images", name, len(fits))
}

func stored(ctx context.Context, kept runtime.Images, manifest string) (*runtime.StoredImage, error) {
	all, err := kept.Images(ctx)
	if err != nil {
		return nil, err
	}
	for i := range all {
		if all[i].Manifest == manifest {
			return &all[i], nil
		}
	}
	return nil, &Error{Kind: Machine, Message: fmt.Sprintf("image %s was removed meanwhile", manifest), Hint: "try again"}
}

func (e *Engine) presentBlock(ctx context.Context, rt runtime.Runtime, req Request, im *hcl.Image, tell func(event.Event)) (*pinned, error) {
	p, err := e.newPinner(req, pinning{write: !req.Locked, locked: req.Locked, offline: req.Offline}, tell)
	if err != nil {
		return nil, err
	}
	pin, err := p.image(ctx, im, p.platformOf(im))
	if err = errors.Join(err, p.save(ctx)); err != nil {
		return nil, err
	}
	pin.source.onProgress(func(done, total int64) {
		p.tell(event.Event{Type: event.Progress, Message: "image " + im.Name, Done: done, Total: total})
	})
	if err := rt.Prepare(ctx, pin.source); err != nil {
		return nil, fmt.Errorf("preparing image %q: %w", im.Name, err)
	}
	return pin, nil
}

// ShowImage says what is inside an image.
func (e *Engine) ShowImage(ctx context.Context, req ImageRequest, emit func(event.Event)) (*ImageDoc, error) {
	img, err := e.named(ctx, req.Request, req.Name, throttled(emit))
	if err != nil {
		return nil, shown(req.Project.Dir, err)
	}
	doc := &ImageDoc{Schema: Schema, ImageRow: rowOf(*img, e.blocksOf(req.Request)), Layers: img.Layers}
	doc.Packages, err = e.packagesOf(ctx, req.Place, img.Manifest)
	return doc, err
}

func (e *Engine) packagesOf(ctx context.Context, at Place, manifest string) (found []inventory.Package, err error) {
	_, kept, err := e.keeper(ctx, at)
	if err != nil {
		return nil, err
	}
	err = kept.View(ctx, manifest, func(root string) error {
		var err error
		found, err = inventory.Packages(root)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing the packages of image %q: %w", manifest, err)
	}
	return found, nil
}

// DiffImages says in which packages and files two images differ.
func (e *Engine) DiffImages(ctx context.Context, req ImageDiffRequest, emit func(event.Event)) (*ImageDiffDoc, error) {
	doc, err := e.diffImages(ctx, req, throttled(emit))
	return doc, shown(req.Project.Dir, err)
}

func (e *Engine) diffImages(ctx context.Context, req ImageDiffRequest, tell func(event.Event)) (*ImageDiffDoc, error) {
	a, err := e.named(ctx, req.Request, req.A, tell)
	if err != nil {
		return nil, err
	}
	b, err := e.named(ctx, req.Request, req.B, tell)
	if err != nil {
		return nil, err
	}
	_, kept, err := e.keeper(ctx, req.Place)
	if err != nil {
		return nil, err
	}
	doc := &ImageDiffDoc{Schema: Schema, A: a.Manifest, B: b.Manifest, Packages: []inventory.PackageChange{}, Files: []inventory.FileChange{}}
	if a.Manifest == b.Manifest {
		return doc, nil
	}
	doc.Packages, doc.Files, err = compareImages(ctx, kept, [2]string{a.Manifest, b.Manifest}, true)
	if err != nil {
		return nil, fmt.Errorf("comparing the images %q and %q: %w", req.A, req.B, err)
	}
	return doc, nil
}

// RemoveImages removes images. Results that were made in them stay: they are known
// by digest, and the image comes again when a stage has to run in it.
func (e *Engine) RemoveImages(ctx context.Context, req ImagesRequest) (*ImagesDoc, error) {
	_, kept, err := e.keeper(ctx, req.Place)
	if err != nil {
		return nil, err
	}
	blocks := e.blocksOf(req.Request)
	doc := &ImagesDoc{Schema: Schema, Images: []ImageRow{}}
	var gone []*runtime.StoredImage
	for _, name := range req.Names { // all are found before one goes
		img, err := e.keptNamed(ctx, kept, blocks, req.Request, name)
		if err != nil {
			return nil, err
		}
		gone = append(gone, img)
	}
	for _, img := range gone {
		if err := kept.Remove(ctx, img.Manifest); err != nil {
			return doc, err
		}
		doc.Images = append(doc.Images, rowOf(*img, blocks))
	}
	return doc, nil
}

// keptNamed is named for what is present: nothing is brought in to be removed.
func (e *Engine) keptNamed(ctx context.Context, kept runtime.Images, blocks map[string][]string, req Request, name string) (*runtime.StoredImage, error) {
	for manifest, names := range blocks {
		if !slices.Contains(names, name) {
			continue
		}
		has, err := kept.Has(ctx, manifest)
		if err != nil {
			return nil, err
		}
		if !has {
			return nil, invalid("plumb image ls lists those that are", "the image of block %q is not kept", name)
		}
		return stored(ctx, kept, manifest)
	}
	req.Project.Dir = "" // names of blocks were looked at
	return e.named(ctx, req, name, func(event.Event) {})
}

// ExportImage writes an image into a file, at once or not at all.
func (e *Engine) ExportImage(ctx context.Context, req ImageExportRequest, emit func(event.Event)) (*ImageExportDoc, error) {
	doc, err := e.exportImage(ctx, req, throttled(emit))
	return doc, shown(req.Project.Dir, err)
}

func (e *Engine) exportImage(ctx context.Context, req ImageExportRequest, tell func(event.Event)) (_ *ImageExportDoc, err error) {
	if _, err := os.Lstat(req.Path); err == nil && !req.Overwrite {
		return nil, invalid("name another path with -o, or use --overwrite", "%q is there already", req.Path)
	}
	img, err := e.named(ctx, req.Request, req.Name, tell)
	if err != nil {
		return nil, err
	}
	_, kept, err := e.keeper(ctx, req.Place)
	if err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(filepath.Dir(req.Path), "."+filepath.Base(req.Path)+".*")
	if err != nil {
		return nil, fmt.Errorf("exporting image %q: %w", req.Name, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("exporting image %q: %w", req.Name, err), os.Remove(f.Name()))
		}
	}()
	m := &meter{total: img.Packed, tell: func(done, total int64) {
		tell(event.Event{Type: event.Progress, Message: "exporting " + req.Name, Done: done, Total: total})
	}}
	ref := ""
	if len(img.Names) > 0 && strings.Contains(img.Names[0], ":") {
		ref = img.Names[0]
	}
	err = image.WriteArchive(ctx, io.MultiWriter(f, m), img.Manifest, ref, kept.OpenBlob)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), req.Path)
	}
	if err != nil {
		return nil, err
	}
	return &ImageExportDoc{Schema: Schema, Digest: img.Manifest, Path: req.Path, Size: m.done}, nil
}
