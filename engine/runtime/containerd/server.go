package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	"github.com/containerd/containerd/api/services/diff/v1"
	imagesapi "github.com/containerd/containerd/api/services/images/v1"
	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/client"
	ctrserver "github.com/containerd/containerd/v2/cmd/containerd/server"
	"github.com/containerd/containerd/v2/cmd/containerd/server/config"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/gc"
	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/containerd/v2/plugins/services"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"
	"github.com/sirupsen/logrus"
	bolt "go.etcd.io/bbolt/errors"
)

// clientPlugin is the type of the plug-in that gathers what the client needs.
const clientPlugin plugin.Type = "io.plumb.client.v1"

// server is a booted containerd and the client to it.
type server struct {
	*ctrserver.Server
	client   *client.Client
	services gathered
	plugin   *taskRuntime
}

// registryLock guards containerd's registry of plug-ins. The registry belongs
// to the process, not to a server: what is registered when a server is made is
// what that server has, so the plug-ins of one are put in and taken out again
// while nobody else looks.
var registryLock sync.Mutex

// startServer boots containerd without any socket. Root filesystems are mounted
// below base.
func startServer(ctx context.Context, opts Options, base string, logger *slog.Logger) (_ *server, err error) {
	s := &server{plugin: newTaskRuntime(opts.State, base)}
	cfg := &config.Config{
		Version:         4,
		Root:            opts.Root,
		State:           opts.State,
		RequiredPlugins: requiredPlugins(), // named, so that their errors are not lost
		Plugins: map[string]any{
			"io.containerd.metadata.v1.bolt":        map[string]any{"no_sync": true},
			"io.containerd.service.v1.diff-service": map[string]any{"default": []string{"walking"}},
		},
	}
	if err := ctrserver.CreateTopLevelDirectories(cfg); err != nil {
		return nil, fmt.Errorf("making containerd's directories: %w", err)
	}
	registryLock.Lock()
	defer registryLock.Unlock()
	restore := replacePlugins(s)
	defer restore()
	// A damaged database makes bolt panic rather than answer an error.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("booting containerd: %w: %v", errDamaged, p)
		}
	}()
	ctx = log.WithLogger(ctx, toSlog(logger))
	if s.Server, err = ctrserver.New(ctx, cfg); err != nil {
		return nil, fmt.Errorf("booting containerd: %w", err)
	}
	err = s.services.check(ctx, opts.Root)
	if err == nil {
		s.client, err = s.services.client()
	}
	if err != nil {
		s.Stop()
		return nil, fmt.Errorf("booting containerd: %w", err)
	}
	return s, nil
}

func requiredPlugins() []string {
	return []string{
		string(plugins.ContentPlugin) + ".content", string(plugins.SnapshotPlugin) + "." + snapshotter,
		string(plugins.MetadataPlugin) + ".bolt", string(clientPlugin) + ".client",
	}
}

// damaged says whether err is about what the databases hold.
func damaged(err error) bool {
	for _, known := range []error{
		errDamaged, bolt.ErrInvalid, bolt.ErrInvalidMapping, bolt.ErrVersionMismatch, bolt.ErrChecksum,
		bolt.ErrBucketNotFound, bolt.ErrIncompatibleValue,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// errDamaged is bolt in panic.
var errDamaged = errors.New("a database is damaged")

// stop closes the databases.
func (s *server) stop() error {
	s.Stop()
	return s.client.Close()
}

// replacePlugins registers s's own plug-ins beside containerd's, and answers
// what takes them out again. Reset is the only way that the registry has.
func replacePlugins(s *server) (restore func()) {
	theirs := registry.Graph(func(*plugin.Registration) bool { return false })
	reset := func() {
		registry.Reset()
		for i := range theirs {
			registry.Register(&theirs[i])
		}
	}
	reset()
	registry.Register(&plugin.Registration{
		Type:   plugins.RuntimePluginV2,
		ID:     "task",
		InitFn: func(*plugin.InitContext) (any, error) { return s.plugin, nil },
	})
	registry.Register(&plugin.Registration{
		Type:     plugins.GCPlugin,
		ID:       "scheduler",
		Requires: []plugin.Type{plugins.MetadataPlugin},
		InitFn: func(ic *plugin.InitContext) (any, error) {
			c := &collector{}
			return c, single(ic, plugins.MetadataPlugin, &c.db)
		},
	})
	registry.Register(&plugin.Registration{
		Type:     clientPlugin,
		ID:       "client",
		Requires: []plugin.Type{plugins.LeasePlugin, plugins.ServicePlugin, plugins.SnapshotPlugin},
		InitFn: func(ic *plugin.InitContext) (any, error) {
			return &s.services, s.services.gather(ic)
		},
	})
	return reset
}

// collector stands where containerd's garbage collector decides when to stop the
// world: it does when it is told, which is when an image is removed.
type collector struct{ db *metadata.DB }

// ScheduleAndWait collects now.
func (c *collector) ScheduleAndWait(ctx context.Context) (gc.Stats, error) {
	return c.db.GarbageCollect(ctx)
}

// gathered are containerd's parts as far as they are used.
type gathered struct {
	overlay    snapshots.Snapshotter // without the database in front of it
	leases     leases.Manager
	content    content.Store
	images     imagesapi.ImagesClient
	snapshots  map[string]snapshots.Snapshotter
	containers containersapi.ContainersClient
	tasks      tasks.TasksClient
	diff       diff.DiffClient
}

func (g *gathered) gather(ic *plugin.InitContext) error {
	named, err := ic.GetByType(plugins.ServicePlugin)
	if err != nil {
		return err
	}
	overlay, err := ic.GetByID(plugins.SnapshotPlugin, snapshotter)
	if err != nil {
		return err
	}
	return errors.Join(
		assign(overlay, snapshotter, &g.overlay),
		single(ic, plugins.LeasePlugin, &g.leases),
		service(named, services.ContentService, &g.content),
		service(named, services.ImagesService, &g.images),
		service(named, services.SnapshotsService, &g.snapshots),
		service(named, services.ContainersService, &g.containers),
		service(named, services.TasksService, &g.tasks),
		service(named, services.DiffService, &g.diff),
	)
}

// check opens the snapshotter's own database, which waits for its first use.
func (g *gathered) check(ctx context.Context, root string) error {
	if _, err := g.overlay.Stat(ctx, "none"); ignoreNotFound(err) != nil {
		return err
	}
	// A killed owner may have left directories that the database does not know, under
	// numbers that it gives away again.
	c, ok := g.overlay.(snapshots.Cleaner)
	if !ok {
		return nil
	}
	err := c.Cleanup(ctx)
	if errdefs.IsNotFound(err) { // the database is empty
		return emptyDir(filepath.Join(root, string(plugins.SnapshotPlugin)+"."+snapshotter, "snapshots"))
	}
	return err
}

func single[T any](ic *plugin.InitContext, kind plugin.Type, into *T) error {
	instance, err := ic.GetSingle(kind)
	if err != nil {
		return err
	}
	return assign(instance, kind.String(), into)
}

func service[T any](named map[string]any, name string, into *T) error {
	return assign(named[name], name, into)
}

func assign[T any](instance any, name string, into *T) error {
	typed, ok := instance.(T)
	if !ok {
		return fmt.Errorf("containerd's %q is a %T", name, instance)
	}
	*into = typed
	return nil
}

func (g *gathered) client() (*client.Client, error) {
	return client.New("", client.WithDefaultNamespace(namespace), client.WithServices(
		client.WithLeasesService(g.leases),
		client.WithContentStore(g.content),
		client.WithImageClient(g.images),
		client.WithSnapshotters(g.snapshots),
		client.WithContainerClient(g.containers),
		client.WithTaskClient(g.tasks),
		client.WithDiffClient(g.diff),
	))
}

// toSlog makes containerd's logger write to logger. Both it and libcontainer also
// use the logger that belongs to the process: that one follows the latest server.
func toSlog(logger *slog.Logger) *log.Entry {
	l := logrus.New()
	for _, l := range []*logrus.Logger{l, logrus.StandardLogger()} {
		l.SetOutput(io.Discard)
		hooks := logrus.LevelHooks{}
		hooks.Add(slogHook{logger})
		l.ReplaceHooks(hooks)
	}
	return logrus.NewEntry(l)
}

type slogHook struct{ logger *slog.Logger }

func (slogHook) Levels() []logrus.Level { return logrus.AllLevels }

func (h slogHook) Fire(e *logrus.Entry) error {
	level := slog.LevelDebug
	if e.Level <= logrus.ErrorLevel {
		level = slog.LevelWarn
	}
	attrs := []slog.Attr{slog.String("message", e.Message)}
	for name, value := range e.Data {
		attrs = append(attrs, slog.Any(name, value))
	}
	h.logger.LogAttrs(context.Background(), level, "containerd", attrs...)
	return nil
}
