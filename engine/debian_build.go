package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"

	"plumb/engine/debian"
	"plumb/engine/event"
	"plumb/engine/runtime"
	"plumb/hcl"
)

// Making a Debian image:
//
//	mirrors ─▶ .deb files ─▶ base, layers of packages, dpkg's database ─▶ image so far
//	                                                                      │ dpkg --configure -a in it
//	                       image ◀─ one more layer ◀─ what that changed ◀─┘
//
// A minimal image is the image so far. Layers are written straight into the runtime's
// store; where there is no runtime, which a minimal image does not need for being
// pinned, they are only hashed.

// debianBuild is one image to be made, as it is pinned; the manifest may be missing,
// which says that it is to be found out.
type debianBuild struct {
	image   *hcl.Image
	pin     hcl.LockedImage
	out     *outside
	place   Place
	dir     string // the project
	offline bool
	tell    func(event.Event)
}

// debianImage is a supplier that has to be made before it can be read.
type debianImage struct {
	build debianBuild
	mu    sync.Mutex
	made  bool
	err   error // why it cannot be made: stages that want it are not to try again
}

// Manifest is the digest that the lock has.
func (d *debianImage) Manifest() string { return d.build.pin.Manifest }

// Name is what people call it.
func (d *debianImage) Name() string { return d.build.name() }

func (b debianBuild) name() string { return fromDebian(b.pin.Debian.Suite, b.pin.Debian.Packages) }

// Blob is not asked for: making the image has put all of it into the runtime.
func (d *debianImage) Blob(_ context.Context, digest string) (io.ReadCloser, error) {
	return nil, fmt.Errorf("image %q has no blob %q beside what the runtime has", d.build.image.Name, digest)
}

func (d *debianImage) onProgress(func(done, total int64)) {} // it tells more than that, by its tell

// ensure makes the image, unless the runtime has it.
func (d *debianImage) ensure(ctx context.Context, e *Engine, rt runtime.Runtime) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.made || d.err != nil {
		return d.err
	}
	kept, ok := rt.(runtime.Images)
	if !ok {
		return errNoBuilder
	}
	// Of several runs that want it, one makes it.
	release, err := e.builds.turn(ctx, d.Manifest())
	if err != nil {
		return err
	}
	defer release()
	has, err := kept.Has(ctx, d.Manifest())
	if err == nil && !has {
		if _, err = e.buildDebian(ctx, d.build); err != nil {
			err = debianError(d.build.image, err)
		}
	}
	if d.made = err == nil; err != nil && ctx.Err() == nil {
		d.err = err
	}
	return err
}

var errNoBuilder = &Error{
	Kind: Machine, Message: "this runtime cannot make images of Debian packages",
	Hint: "use the embedded runtime, or an image of a registry or an archive",
}

// turns lets one at a time do a thing of a name.
type turns struct {
	mu    sync.Mutex
	taken map[string]chan struct{}
}

func (t *turns) turn(ctx context.Context, name string) (release func(), _ error) {
	for {
		t.mu.Lock()
		busy, ok := t.taken[name]
		if !ok {
			done := make(chan struct{})
			if t.taken == nil {
				t.taken = map[string]chan struct{}{}
			}
			t.taken[name] = done
			t.mu.Unlock()
			return func() {
				t.mu.Lock()
				defer t.mu.Unlock()
				delete(t.taken, name)
				close(done)
			}, nil
		}
		t.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// buildDebian makes an image and gives the digest of its manifest, which must be the
// pinned one when there is one. What the package cache has damaged is downloaded again.
func (e *Engine) buildDebian(ctx context.Context, b debianBuild) (string, error) {
	digest, err := e.makeDebian(ctx, b)
	if !errors.Is(err, debian.ErrDamaged) {
		return digest, err
	}
	b.tell(event.Event{Type: event.Warning, Message: fmt.Sprintf("image %s: %v; it is downloaded again", b.image.Name, err)})
	if err := e.dropDamaged(b); err != nil {
		return "", err
	}
	return e.makeDebian(ctx, b)
}

func (e *Engine) makeDebian(ctx context.Context, b debianBuild) (_ string, err error) {
	want, err := e.debianPackages(ctx, b)
	if err != nil {
		return "", err
	}
	w := &imageMaker{e: e, b: b, want: want}
	if err := w.begin(ctx); err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, w.close(ctx)) }()
	if err := w.unpack(ctx); err != nil {
		return "", err
	}
	if b.pin.Debian.Variant == hcl.DebianStandard {
		if err := w.configured(ctx); err != nil {
			return "", err
		}
	}
	return w.finish(ctx)
}

// imageMaker is one image being made.
type imageMaker struct {
	e     *Engine
	b     debianBuild
	want  debian.Image
	rt    runtime.Runtime // nil when layers are only hashed
	build runtime.Build
	asm   *debian.Assembly
	blobs []debian.Blob
}

func (w *imageMaker) begin(ctx context.Context) error {
	rt, err := w.e.runtimeOf(ctx, w.b.place)
	switch builder, ok := rt.(runtime.Builder); {
	case err != nil && (w.b.pin.Debian.Variant == hcl.DebianStandard || w.b.pin.Manifest != ""):
		return err
	case err != nil: // it is only pinned
	case !ok:
		return errNoBuilder
	default:
		w.rt = rt
		if w.build, err = builder.Build(ctx); err != nil {
			return err
		}
	}
	w.asm = debian.Assemble(ctx, w.want, w.b.progress("unpacking"))
	return nil
}

func (b debianBuild) progress(what string) func(done, total int64) {
	return func(done, total int64) {
		b.tell(event.Event{Type: event.Progress, Message: "image " + b.image.Name + ", " + what, Done: done, Total: total})
	}
}

func (w *imageMaker) close(ctx context.Context) error {
	w.asm.Close()
	if w.build == nil {
		return nil
	}
	return w.build.Close(context.WithoutCancel(ctx))
}

// add stores one layer, or only hashes it.
func (w *imageMaker) add(ctx context.Context, name string, write func(io.Writer) error) error {
	below, known := make([]string, len(w.blobs)), sha256.New()
	for i, b := range w.blobs {
		below[i] = b.Digest
		fmt.Fprintln(known, b.Digest)
	}
	if w.build == nil {
		blob, err := w.keep(ctx, write)
		blob.Name = name
		w.blobs = append(w.blobs, blob)
		return err
	}
	// The same packages over the same layers make the same layer.
	fmt.Fprintln(known, debian.Recipe, w.want.Platform, w.want.Date.Unix(), name)
	for _, l := range w.want.Layers {
		if l.Name == name || name == "dpkg" || name == configuredLayer {
			fmt.Fprintln(known, l.Packages)
		}
	}
	key := "debian layer " + hex.EncodeToString(known.Sum(nil))
	expect, _ := w.e.store.GetCache(key)
	d, size, err := w.build.AddLayer(ctx, below, string(expect), write)
	if err != nil {
		return err
	}
	w.blobs = append(w.blobs, debian.Blob{Name: name, Digest: d, Size: size})
	if d != string(expect) {
		return w.e.store.PutCache(key, []byte(d))
	}
	return nil
}

func (w *imageMaker) keep(ctx context.Context, write func(io.Writer) error) (b debian.Blob, err error) {
	if w.build != nil {
		b.Digest, b.Size, err = w.build.Add(ctx, write)
		return b, err
	}
	h := sha256.New()
	counted := &meter{tell: func(int64, int64) {}}
	if err := write(io.MultiWriter(h, counted)); err != nil {
		return b, err
	}
	return debian.Blob{Digest: "sha256:" + hex.EncodeToString(h.Sum(nil)), Size: counted.done}, nil
}

// unpack makes the layers of the packages.
func (w *imageMaker) unpack(ctx context.Context) error {
	if err := w.add(ctx, "base", w.asm.WriteBase); err != nil {
		return err
	}
	for _, l := range w.want.Layers {
		if err := w.add(ctx, l.Name, w.asm.WriteLayer); err != nil {
			return err
		}
	}
	return w.add(ctx, "dpkg", w.asm.WriteDatabase)
}

// describe makes manifest and config of the layers so far, and stores them.
func (w *imageMaker) describe(ctx context.Context) (string, error) {
	manifest, config, err := w.want.Describe(w.blobs)
	if err != nil {
		return "", err
	}
	digest := ""
	for _, data := range [][]byte{config, manifest} {
		b, err := w.keep(ctx, func(out io.Writer) error {
			_, err := out.Write(data)
			return err
		})
		if err != nil {
			return "", err
		}
		digest = b.Digest
	}
	return digest, nil
}

// finish makes the image present.
func (w *imageMaker) finish(ctx context.Context) (string, error) {
	digest, err := w.describe(ctx)
	if err != nil {
		return "", err
	}
	if want := w.b.pin.Manifest; want != "" && want != digest {
		return "", &Error{
			Kind:    Differs,
			Message: fmt.Sprintf("image %q came out as %s, and %s has it pinned to %s", w.b.image.Name, digest, hcl.LockFile, want),
			Hint: fmt.Sprintf("the packages are the pinned ones; a script of one of them may write something that is not the same on each machine. "+
				"plumb lock --update %s takes what came out here", w.b.image.Name),
		}
	}
	if w.build == nil {
		return digest, nil
	}
	return digest, w.build.Prepare(ctx, &addedImage{digest: digest, name: w.b.name()})
}

// addedImage is an image all of which was added to a build.
type addedImage struct{ digest, name string }

func (a *addedImage) Manifest() string { return a.digest }
func (a *addedImage) Name() string     { return a.name }
func (a *addedImage) Blob(_ context.Context, digest string) (io.ReadCloser, error) {
	return nil, fmt.Errorf("blob %q was not added", digest)
}
