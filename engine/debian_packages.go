package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"plumb/engine/apt"
	"plumb/engine/debian"
	"plumb/engine/fetch"
	"plumb/hcl"
)

// The package cache holds .deb files by their digests. A pinned package is asked for
// at the mirrors of its suite, then at the others, then at the snapshot, which keeps
// what has left the mirrors.

// debsAtOnce is how many packages are downloaded at a time.
const debsAtOnce = 6

func (e *Engine) debsDir() string { return filepath.Join(e.cfg.Dir, "downloads", "debs") }

// debianPackages brings the packages of an image into the cache, and says what is to
// be made of them.
func (e *Engine) debianPackages(ctx context.Context, b debianBuild) (debian.Image, error) {
	pin := b.pin.Debian
	arch, _ := hcl.DebianArchitecture(b.pin.Platform)
	image := debian.Image{Architecture: arch, Platform: b.pin.Platform}
	var err error
	if image.Date, err = time.Parse(time.RFC3339, pin.Date); err != nil {
		return image, err
	}
	for _, name := range pin.Layers {
		image.Layers = append(image.Layers, debian.Layer{Name: name})
	}
	for _, p := range pin.Pins {
		i := slices.Index(pin.Layers, p.Layer)
		if i < 0 {
			return image, fmt.Errorf("package %q is pinned to the layer %q, which the image does not have", p.Name, p.Layer)
		}
		hex := strings.TrimPrefix(p.SHA256, "sha256:")
		image.Layers[i].Packages = append(image.Layers[i].Packages, debian.Package{
			Name: p.Name, Version: p.Version, Architecture: p.Architecture, Size: p.Size, SHA256: hex, File: filepath.Join(e.debsDir(), hex+".deb"),
		})
	}
	return image, e.downloadDebs(ctx, b)
}

// downloadDebs downloads what the cache lacks.
func (e *Engine) downloadDebs(ctx context.Context, b debianBuild) error {
	var missing []hcl.LockedPackage
	var total int64
	for _, p := range b.pin.Debian.Pins {
		if e.hasDeb(p) {
			continue
		}
		missing = append(missing, p)
		total += p.Size
	}
	if len(missing) == 0 {
		return nil
	}
	if b.offline {
		return &Error{
			Kind: Machine, Message: fmt.Sprintf("image %q needs %d packages that are not in the store (%s first), and --offline allows no download", b.image.Name, len(missing), missing[0].Name),
			Hint: "run once without --offline",
		}
	}
	if err := os.MkdirAll(e.debsDir(), 0o700); err != nil {
		return err
	}
	from, err := b.mirrors(e)
	if err != nil {
		return err
	}
	sum := &added{total: total, tell: b.progress("packages")}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(debsAtOnce)
	client := b.out.packages()
	for _, p := range missing {
		g.Go(func() error { return e.downloadDeb(gctx, client, from, b, p, sum.of(p.Name)) })
	}
	err = g.Wait()
	if errors.Is(err, syscall.ENOSPC) { // what is left of downloads is only in the way
		for _, p := range missing {
			err = errors.Join(err, ignoreMissing(os.Remove(e.debFile(p)+".part")))
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// hasDeb says whether the cache has a package; its content is checked when it is
// unpacked. That it is used keeps it from gc.
func (e *Engine) hasDeb(p hcl.LockedPackage) bool {
	name := e.debFile(p)
	info, err := os.Stat(name)
	if err != nil || info.Size() != p.Size {
		return false
	}
	now := e.cfg.Now()
	if now.Sub(info.ModTime()) > time.Hour {
		_ = os.Chtimes(name, now, now) // it is only collected earlier
	}
	return true
}

func (e *Engine) debFile(p hcl.LockedPackage) string {
	return filepath.Join(e.debsDir(), strings.TrimPrefix(p.SHA256, "sha256:")+".deb")
}

// mirrors are where packages may be had; the snapshot comes last.
func (b debianBuild) mirrors(e *Engine) ([]apt.Source, error) {
	p := &pinner{e: e, dir: b.dir, out: b.out}
	all, err := p.debianSources(b.image.Debian)
	for _, url := range []string{b.image.Debian.Snapshot, b.out.debian.Snapshot} {
		if url != "" {
			all = append(all, apt.Source{URL: strings.TrimRight(url, "/")})
		}
	}
	if len(all) > 0 {
		return all, nil // a snapshot is enough for what is pinned
	}
	return nil, err
}

func (e *Engine) downloadDeb(ctx context.Context, client *fetch.Client, from []apt.Source, b debianBuild, p hcl.LockedPackage, tell func(done, total int64)) error {
	name := e.debFile(p)
	if err := ignoreMissing(os.Remove(name)); err != nil { // of another size, or damaged
		return err
	}
	var asked []string
	for _, s := range ownFirst(from, p.Suite) {
		url := s.URL + "/" + p.Path
		if slices.Contains(asked, url) {
			continue
		}
		asked = append(asked, url)
		err := client.Download(ctx, fetch.Object{URL: url, Size: p.Size}, strings.TrimPrefix(p.SHA256, "sha256:"), name, tell)
		switch {
		case err == nil:
			return nil
		case fetch.Status(err) == http.StatusNotFound || fetch.Status(err) == http.StatusGone:
			continue
		case fetch.IsMismatch(err):
			return &Error{
				Kind: Machine, Message: fmt.Sprintf("image %q: package %q %s is not the pinned one: %v", b.image.Name, p.Name, p.Version, err),
				Hint: "the mirror serves other bytes than its lists vouch for: try another mirror",
			}
		}
		return fmt.Errorf("downloading package %q: %w", p.Name, err)
	}
	return &Error{
		Kind: Machine, Message: fmt.Sprintf("image %q: package %q %s is pinned, and has left the mirror (%s answered 404)", b.image.Name, p.Name, p.Version, fetch.Display(asked[0])),
		Hint: fmt.Sprintf("plumb lock --update %s pins what the mirror has now; or set snapshot = \"https://…/archive/debian/DATE\" to a mirror that keeps old packages", b.image.Name),
	}
}

// ownFirst puts the mirrors of a suite before the others.
func ownFirst(all []apt.Source, suite string) []apt.Source {
	rank := func(s apt.Source) int {
		if s.Suite == suite {
			return 0
		}
		return 1
	}
	sorted := slices.Clone(all)
	slices.SortStableFunc(sorted, func(a, b apt.Source) int { return rank(a) - rank(b) })
	return sorted
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// added adds up how far several downloads are.
type added struct {
	mu    sync.Mutex
	done  map[string]int64
	sum   int64
	total int64
	tell  func(done, total int64)
}

func (a *added) of(name string) func(done, total int64) {
	return func(done, _ int64) {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.done == nil {
			a.done = map[string]int64{}
		}
		a.sum += done - a.done[name]
		a.done[name] = done
		a.tell(min(a.sum, a.total), a.total)
	}
}

// dropDamaged removes from the cache the packages of an image that are not what they
// were downloaded as.
func (e *Engine) dropDamaged(b debianBuild) error {
	for _, p := range b.pin.Debian.Pins {
		err := debian.Package{SHA256: strings.TrimPrefix(p.SHA256, "sha256:"), File: e.debFile(p)}.Check()
		if errors.Is(err, debian.ErrDamaged) {
			err = ignoreMissing(os.Remove(e.debFile(p)))
		}
		if ignoreMissing(err) != nil {
			return err
		}
	}
	return nil
}

// dropDebs removes from the cache what no image was made of for longer than keep.
func (e *Engine) dropDebs(keep time.Duration) error {
	for _, dir := range []string{e.debsDir(), e.configuredDir(), filepath.Join(e.cfg.Dir, "downloads", "lists")} {
		entries, err := os.ReadDir(dir)
		if ignoreMissing(err) != nil {
			return err
		}
		for _, entry := range entries {
			info, err := entry.Info()
			if err != nil || e.cfg.Now().Sub(info.ModTime()) <= keep {
				continue
			}
			if err := ignoreMissing(os.Remove(filepath.Join(dir, entry.Name()))); err != nil {
				return err
			}
		}
	}
	return nil
}

// packages reads mirrors of packages, which may be directories of this machine. Only
// what a mirror is named by is: nobody is led to files by an answer from outside.
func (o *outside) packages() *fetch.Client {
	c := *o.client
	c.HTTP = &http.Client{Transport: &mirrorTransport{web: o.client.HTTP.Transport, files: http.NewFileTransport(http.Dir("/"))}}
	return &c
}

type mirrorTransport struct{ web, files http.RoundTripper }

func (t *mirrorTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme == "file" && req.Response == nil && req.URL.Host == "" {
		return t.files.RoundTrip(req)
	}
	return t.web.RoundTrip(req)
}
