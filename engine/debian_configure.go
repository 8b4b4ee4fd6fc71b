package engine

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"plumb/engine/debian"
	"plumb/engine/event"
	"plumb/engine/runtime"
)

// What configuring comes to follows from the packages alone. It is kept beside them,
// so that an image that was removed, or whose store is new, is made again without
// running their scripts.

// configuredLayer is the name of the topmost layer.
const configuredLayer = "configured"

// configured adds the layer that configuring makes.
func (w *imageMaker) configured(ctx context.Context) error {
	name := w.configuredFile()
	f, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return w.configure(ctx)
	}
	if err != nil {
		return err
	}
	err = w.add(ctx, configuredLayer, func(out io.Writer) error {
		z, err := zstd.NewReader(f)
		if err != nil {
			return err
		}
		defer z.Close()
		_, err = io.Copy(out, z)
		return err
	})
	if err = errors.Join(err, f.Close()); err == nil {
		now := w.e.cfg.Now()
		_ = os.Chtimes(name, now, now) // it is only collected earlier
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	// What cannot be read is made again.
	w.e.cfg.Logger.Warn("reading a kept layer", "file", name, "error", err)
	if err := os.Remove(name); err != nil {
		return err
	}
	return w.configure(ctx)
}

// configuredFile is where the layer is kept: by all that it follows from.
func (w *imageMaker) configuredFile() string {
	h := sha256.New()
	fmt.Fprintf(h, "recipe %q %q %d\n", debian.Recipe, w.want.Architecture, w.want.Date.Unix())
	for _, l := range w.want.Layers {
		fmt.Fprintf(h, "layer %q\n", l.Name)
		for _, p := range l.Packages {
			fmt.Fprintf(h, "package %q %s\n", p.Name, p.SHA256)
		}
	}
	return filepath.Join(w.e.configuredDir(), hex.EncodeToString(h.Sum(nil))+".tar.zst")
}

func (e *Engine) configuredDir() string {
	return filepath.Join(e.cfg.Dir, "downloads", configuredLayer)
}

// keepConfigured adds the layer, and keeps it.
func (w *imageMaker) keepConfigured(ctx context.Context, write func(io.Writer) error) (err error) {
	if err := os.MkdirAll(w.e.configuredDir(), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(w.e.configuredDir(), "new-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	err = w.add(ctx, configuredLayer, func(out io.Writer) error {
		z, err := zstd.NewWriter(f, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
		if err != nil {
			return err
		}
		return errors.Join(write(io.MultiWriter(out, z)), z.Close())
	})
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), w.configuredFile())
}

// configure runs dpkg in the image so far, and makes a layer of what that changes.
func (w *imageMaker) configure(ctx context.Context) (err error) {
	half, err := w.describe(ctx)
	if err != nil {
		return err
	}
	if err := w.build.Prepare(ctx, &addedImage{digest: half}); err != nil {
		return err
	}
	images, ok := w.rt.(runtime.Images)
	if !ok {
		return errNoBuilder
	}
	c, err := w.dpkg(ctx, half)
	if c != nil {
		defer func() {
			ctx := context.WithoutCancel(ctx)
			err = errors.Join(err, c.Delete(ctx), images.Remove(ctx, half))
		}()
	}
	if err != nil {
		return err
	}
	return w.keepConfigured(ctx, func(out io.Writer) error {
		layer := w.asm.NewConfigured(out)
		if err := w.build.Changes(ctx, c, layer.Add); err != nil {
			return err
		}
		return layer.Close()
	})
}

// configureTimeout is far above what any list of packages takes.
const configureTimeout = time.Hour

// dpkg runs it, and gives the container that it ended in.
func (w *imageMaker) dpkg(ctx context.Context, image string) (runtime.Container, error) {
	ctx, cancel := context.WithTimeout(ctx, configureTimeout)
	defer cancel()
	args, env := w.asm.Command()
	all := 0
	for _, l := range w.want.Layers {
		all += len(l.Packages)
	}
	output := &lastOutput{told: func(done int) {
		w.b.tell(event.Event{Type: event.Progress, Message: "image " + w.b.image.Name + ", configuring", Done: int64(done), Total: int64(all), Unit: "packages"})
	}}
	output.told(0)
	c, err := w.rt.Create(ctx, runtime.Spec{
		ID: "make-" + strings.TrimPrefix(image, "sha256:")[:12] + fmt.Sprintf("-%d", w.e.nextBuild.Add(1)), Image: image, Args: args, Env: env, Dir: "/", Log: output,
		Hostname: hostname, Bare: true,
	})
	if err != nil {
		return nil, err
	}
	if err := c.Start(ctx); err != nil {
		return c, err
	}
	exit, err := c.Wait(ctx)
	if err != nil {
		return c, err
	}
	if exit.Code != 0 {
		return c, debian.NewConfigureError(output.String(), exit.Code)
	}
	return c, nil
}

// lastOutput keeps the end of what dpkg prints, and counts the packages that it says
// it sets up.
type lastOutput struct {
	told func(done int)
	mu   sync.Mutex
	buf  bytes.Buffer
	line []byte // that is not ended yet
	done int
}

const keptOutput = 64 << 10

func (o *lastOutput) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf.Write(b)
	for line := range bytes.Lines(b) {
		o.line = append(o.line, line[:min(len(line), 64)]...)
		if !bytes.HasSuffix(line, []byte("\n")) {
			break
		}
		if bytes.HasPrefix(o.line, []byte("Setting up ")) {
			o.done++
			o.told(o.done)
		}
		o.line = o.line[:0]
	}
	if over := o.buf.Len() - keptOutput; over > keptOutput {
		o.buf.Next(over)
	}
	return len(b), nil
}

func (o *lastOutput) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}
