package engine

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"plumb/engine/event"
	"plumb/engine/fetch"
	"plumb/engine/image"
	"plumb/engine/plan"
	"plumb/engine/runtime"
	"plumb/hcl"
)

// outside is how one request reaches what is not on this machine.
type outside struct {
	registries *image.Registries
	client     *fetch.Client
	limits     runtime.Limits
	debian     hcl.DebianConfig
}

func (e *Engine) outside(r Reach, offline bool, tell func(event.Event)) *outside {
	getenv := func(name string) string { return r.Environ[name] }
	o := &outside{debian: r.Config.Debian, limits: runtime.Limits{Unpacked: r.Config.Images.MaxUnpacked, Ratio: r.Config.Images.MaxRatio}}
	o.registries = image.RegistriesFromEnv(getenv)
	o.registries.Offline = offline
	for _, h := range r.Config.Registries {
		o.registries.Hosts = append(o.registries.Hosts, image.Host{Name: h.Host, Mirrors: h.Mirrors, PlainHTTP: h.PlainHTTP, CA: h.CA})
	}
	transport := fetch.NewTransport()
	transport.Proxy = func(req *http.Request) (*url.URL, error) { return o.registries.Proxy(req.URL) }
	o.client = &fetch.Client{HTTP: &http.Client{Transport: transport}, Notify: func(n fetch.Retry) {
		tell(event.Event{Type: event.Warning, Message: fmt.Sprintf("%v; trying again in %s", n.Err, n.Wait.Round(100*time.Millisecond))})
	}}
	o.registries.Client = o.client
	return o
}

// images finds images.
func (o *outside) images(e *Engine) image.Resolver {
	return image.Resolver{Cache: imageCache{e}, Registries: o.registries, Temp: e.temp()}
}

// temp is where an archive is decompressed: beside the store, where there is room,
// unless that is only read.
func (e *Engine) temp() string {
	if e.cfg.ReadOnly {
		return ""
	}
	return filepath.Join(e.cfg.Dir, "tmp")
}

// supplier is where an image's bytes come from.
type supplier interface {
	runtime.ImageSource
	onProgress(func(done, total int64))
}

// foundImage is an image in a registry or in an archive.
type foundImage struct {
	*image.Image
	name   string
	limits runtime.Limits
	remote bool // in a registry
}

// Name is what people call it.
func (f *foundImage) Name() string { return f.name }

// Limits bounds what it may unpack to.
func (f *foundImage) Limits() runtime.Limits { return f.limits }

func (f *foundImage) onProgress(tell func(done, total int64)) { f.OnProgress = tell }

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

// present makes an image ready for containers.
func (e *Engine) present(ctx context.Context, rt runtime.Runtime, pin *pinned) error {
	if !runs(pin.platform) {
		return &Error{
			Kind: Machine, Message: fmt.Sprintf("image %q is for %s, and this machine runs %s", pin.name, pin.platform, machinePlatform()),
			Hint: "leave platform out, run it on such a machine, or register an emulator for its programs (binfmt_misc)",
		}
	}
	if made, ok := pin.source.(*debianImage); ok {
		if err := made.ensure(ctx, e, rt); err != nil {
			return err
		}
	}
	if err := rt.Prepare(ctx, pin.source); err != nil {
		return fmt.Errorf("image %q: %w", pin.name, err)
	}
	return nil
}

// emulators are the names that qemu's emulators are registered by.
var emulators = map[string]string{"arm64": "aarch64", "amd64": "x86_64", "386": "i386", "riscv64": "riscv64", "ppc64le": "ppc64le", "s390x": "s390x", "arm": "arm"}

// runs says whether this machine runs programs of a platform: its own, the 32-bit
// sibling of x86-64, and those that an emulator is registered for.
func runs(platform string) bool {
	system, arch, _ := strings.Cut(platform, "/")
	arch, _, _ = strings.Cut(arch, "/")
	if system != "linux" {
		return false
	}
	if arch == goruntime.GOARCH || goruntime.GOARCH == "amd64" && arch == "386" {
		return true
	}
	b, err := os.ReadFile("/proc/sys/fs/binfmt_misc/qemu-" + emulators[arch])
	return err == nil && strings.HasPrefix(string(b), "enabled")
}

// presentOffline says all that is missing at once, before anything runs without a
// network. Of a stage that may turn out to be unchanged only the data is asked for:
// it is needed to find that out.
func (s *session) presentOffline(ctx context.Context, e *Engine) error {
	if !s.pins.how.offline {
		return nil
	}
	needed := map[string]bool{}
	for i := range s.pipeline.Stages {
		if v := s.planner.Decision(i).Verdict; s.selected[i] && v == plan.Execute {
			needed[s.pipeline.Stages[i].Image] = true
		}
	}
	var missing []string
	for name, pin := range s.images {
		what, ok := e.fromOutside(pin.source)
		if !needed[name] || !ok {
			continue
		}
		rt, err := e.runtimeOf(ctx, s.pins.place)
		if err != nil {
			return err
		}
		kept, ok := rt.(runtime.Images)
		if !ok {
			continue
		}
		has, err := kept.Has(ctx, pin.digest.String())
		if err != nil {
			return err
		}
		if !has {
			missing = append(missing, fmt.Sprintf("image %q (%s)", name, what))
		}
	}
	for _, r := range s.wantedSources() {
		if !e.store.Has(r.artifact) {
			missing = append(missing, fmt.Sprintf("source %q (%s)", r.source.Name, r.source.URL+r.source.OCI))
		}
	}
	if len(missing) == 0 {
		return nil
	}
	slices.Sort(missing)
	return &Error{
		Kind: Machine, Message: "not in the store, and --offline allows no download: " + strings.Join(missing, ", "),
		Hint: "run once without --offline",
	}
}

// fromOutside says whether an image that is not there has to be brought from a
// network, and what that is.
func (e *Engine) fromOutside(s supplier) (what string, ok bool) {
	switch s := s.(type) {
	case *foundImage:
		return s.name, s.remote
	case *debianImage:
		lacks := slices.ContainsFunc(s.build.pin.Debian.Pins, func(p hcl.LockedPackage) bool { return !e.hasDeb(p) })
		return s.Name(), lacks
	}
	return "", false
}

// throttled passes on at most ten events of progress a second for each thing, and
// its last.
func throttled(emit func(event.Event)) func(event.Event) {
	var mu sync.Mutex
	last := map[string]time.Time{}
	return func(e event.Event) {
		mu.Lock()
		defer mu.Unlock()
		if e.Type == event.Progress {
			now := time.Now()
			if now.Sub(last[e.Message]) < 100*time.Millisecond && e.Done < e.Total {
				return
			}
			last[e.Message] = now
		}
		emit(e)
	}
}
