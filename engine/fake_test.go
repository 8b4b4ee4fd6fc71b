package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"plumb/engine/event"
	"plumb/engine/runtime"
	"plumb/store"
)

// fakeRuntime runs commands of its own, written as lists, on the workspace as it
// is mounted: what the engine does around containers is tested without any. That
// containers do what they should is tested in runtime/containerd and by the scripts.
//
//	write FILE TEXT   copy FROM TO   fail CODE   oom-until BYTES FILE   sleep
//	killed-once MARK FILE   mkdir DIR   print LINE…   env NAME FILE   print-env NAME
//	print-secret NAME   copy-secret NAME FILE   name-secret NAME   (joined by ";")
//	append FILE TEXT   list DIR   effect   big FILE TEXT   random FILE
type fakeRuntime struct {
	mu      sync.Mutex
	created int
	started int
	deleted int
	marks   map[string]bool
	broken  int                // so many creates fail
	hold    chan struct{}      // when set, sleep ends when it is closed
	running chan string        // when set, told when a sleep begins
	look    func(runtime.Spec) // when set, called for each container

	watch func(s runtime.Spec, began bool) // when set, told when a command begins and ends

	slowly      time.Duration  // containers are deleted
	unstartable int            // so many starts fail
	effects     map[string]int // by the key that the stage sees
	meanwhile   int            // effects under way
	together    bool           // there were two at once
}

func (f *fakeRuntime) Prepare(context.Context, runtime.ImageSource) error { return nil }

func (f *fakeRuntime) Close() error { return nil }

func (f *fakeRuntime) Create(_ context.Context, s runtime.Spec) (runtime.Container, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.broken > 0 {
		f.broken--
		return nil, fmt.Errorf("the machine is on fire")
	}
	f.created++
	if f.look != nil {
		f.look(s)
	}
	return &fakeContainer{rt: f, spec: s, killed: make(chan struct{}), exit: make(chan runtime.Exit, 1)}, nil
}

type fakeContainer struct {
	rt     *fakeRuntime
	spec   runtime.Spec
	once   sync.Once
	killed chan struct{}
	exit   chan runtime.Exit
}

func (c *fakeContainer) Start(context.Context) error {
	c.rt.mu.Lock()
	c.rt.started++
	broken := c.rt.unstartable > 0
	if broken {
		c.rt.unstartable--
	}
	c.rt.mu.Unlock()
	if broken {
		return fmt.Errorf("nobody knows whether it runs")
	}
	go func() {
		var x runtime.Exit
		if c.rt.watch != nil {
			c.rt.watch(c.spec, true)
		}
		for _, words := range split(c.spec.Args) {
			if x = c.do(words); x.Code != 0 {
				break
			}
		}
		if c.rt.watch != nil {
			c.rt.watch(c.spec, false)
		}
		c.exit <- x
	}()
	return nil
}

func split(args []string) (commands [][]string) {
	var one []string
	for _, a := range args {
		if a == ";" {
			commands, one = append(commands, one), nil
			continue
		}
		one = append(one, a)
	}
	return append(commands, one)
}

// path finds a file of the workspace on the host, below the mount it stands in.
func (c *fakeContainer) path(name string) string {
	best, at := "", ""
	for _, m := range c.spec.Mounts {
		rel := strings.TrimPrefix(strings.TrimPrefix(m.Target, workspace), "/")
		if rel == "" || rel == name || strings.HasPrefix(name, rel+"/") {
			if best == "" || len(rel) >= len(at) {
				best, at = filepath.Join(m.Source, strings.TrimPrefix(strings.TrimPrefix(name, rel), "/")), rel
			}
		}
	}
	return best
}

func (c *fakeContainer) do(w []string) runtime.Exit {
	fail := func(err error) runtime.Exit {
		fmt.Fprintln(c.spec.Log, err)
		return runtime.Exit{Code: 1}
	}
	switch w[0] {
	case "write":
		if err := os.WriteFile(c.path(w[1]), []byte(w[2]), 0o644); err != nil {
			return fail(err)
		}
	case "copy":
		b, err := os.ReadFile(c.path(w[1]))
		if err == nil {
			err = os.WriteFile(c.path(w[2]), b, 0o644)
		}
		if err != nil {
			return fail(err)
		}
	case "mkdir":
		if err := os.MkdirAll(c.path(w[1]), 0o755); err != nil {
			return fail(err)
		}
	case "append":
		f, err := os.OpenFile(c.path(w[1]), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err == nil {
			_, err = f.WriteString(w[2])
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			return fail(err)
		}
	case "list":
		entries, err := os.ReadDir(c.path(w[1]))
		if err != nil {
			return fail(err)
		}
		for _, e := range entries {
			fmt.Fprintln(c.spec.Log, e.Name())
		}
	case "effect":
		c.effect()
	case "big": // too large to lie in the records' database
		return c.do([]string{"write", w[1], strings.Repeat(w[2], 100_000)})
	case "random":
		return c.do([]string{"write", w[1], rand.Text()})
	case "print":
		fmt.Fprintln(c.spec.Log, strings.Join(w[1:], " "))
	case "env":
		for _, kv := range c.spec.Env {
			if n, v, _ := strings.Cut(kv, "="); n == w[1] {
				return c.do([]string{"write", w[2], v})
			}
		}
		return fail(fmt.Errorf("no %s in the environment", w[1]))
	case "print-env":
		for _, kv := range c.spec.Env {
			if n, v, _ := strings.Cut(kv, "="); n == w[1] {
				fmt.Fprintln(c.spec.Log, v)
			}
		}
	case "print-secret": // in two writes
		v := c.spec.Secrets.Files[w[1]]
		fmt.Fprintf(c.spec.Log, "it is %s", v[:len(v)/2])
		fmt.Fprintf(c.spec.Log, "%s, and %x\n", v[len(v)/2:], v)
	case "copy-secret":
		return c.do([]string{"write", w[2], string(c.spec.Secrets.Files[w[1]])})
	case "name-secret":
		return c.do([]string{"write", string(c.spec.Secrets.Files[w[1]]), ""})
	case "fail":
		code, _ := strconv.Atoi(w[1])
		return runtime.Exit{Code: code}
	case "oom-until":
		if limit, _ := strconv.ParseInt(w[1], 10, 64); c.spec.Memory < limit {
			return runtime.Exit{Code: 137, Signal: int(syscall.SIGKILL), OOM: true}
		}
		return c.do([]string{"write", w[2], "fits"})
	case "killed-once":
		c.rt.mu.Lock()
		first := !c.rt.marks[w[1]]
		if c.rt.marks == nil {
			c.rt.marks = map[string]bool{}
		}
		c.rt.marks[w[1]] = true
		c.rt.mu.Unlock()
		if first {
			return runtime.Exit{Code: 143, Signal: int(syscall.SIGTERM)}
		}
		return c.do([]string{"write", w[2], "survived"})
	case "sleep":
		if c.rt.running != nil {
			c.rt.running <- c.spec.ID
		}
		select {
		case <-c.killed:
			return runtime.Exit{Code: 143, Signal: int(syscall.SIGTERM)}
		case <-c.rt.hold:
		}
	default:
		return fail(fmt.Errorf("no command %q", w))
	}
	return runtime.Exit{}
}

// effect happens outside, and takes a moment.
func (c *fakeContainer) effect() {
	var key string
	for _, kv := range c.spec.Env {
		if n, v, _ := strings.Cut(kv, "="); n == "PLUMB_KEY" {
			key = v
		}
	}
	c.rt.mu.Lock()
	if c.rt.effects == nil {
		c.rt.effects = map[string]int{}
	}
	c.rt.effects[key]++
	c.rt.meanwhile++
	c.rt.together = c.rt.together || c.rt.meanwhile > 1
	c.rt.mu.Unlock()
	time.Sleep(5 * time.Millisecond)
	c.rt.mu.Lock()
	c.rt.meanwhile--
	c.rt.mu.Unlock()
}

func (c *fakeContainer) Wait(context.Context) (runtime.Exit, error) { return <-c.exit, nil }

func (c *fakeContainer) Kill(context.Context, int, bool) error {
	c.once.Do(func() { close(c.killed) })
	return nil
}

func (c *fakeContainer) Usage(context.Context) (runtime.Usage, error) { return runtime.Usage{}, nil }

func (c *fakeContainer) Delete(context.Context) error {
	time.Sleep(c.rt.slowly)
	c.rt.mu.Lock()
	defer c.rt.mu.Unlock()
	c.rt.deleted++
	return nil
}

// rig is an engine on a fake runtime, with one project.
type rig struct {
	*Engine
	t   testing.TB
	rt  *fakeRuntime
	dir string
	now time.Time
	day time.Time // by the engine's clock, when a test sets it
}

const header = `image "x" { archive = "image" }
pipeline "p" { image = image.x }
`

func newRig(t testing.TB, src string) *rig {
	t.Helper()
	r := &rig{t: t, rt: &fakeRuntime{}, dir: t.TempDir(), now: time.Now()}
	r.layout(src)
	r.open(filepath.Join(t.TempDir(), "store"))
	return r
}

// layout writes the pipeline and its image.
func (r *rig) layout(src string) {
	r.t.Helper()
	r.project(src)
	r.write("image/index.json", `{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":2,"digest":"`+store.Sum([]byte("manifest")).String()+`","platform":{"os":"linux","architecture":"amd64"}}]}`)
	r.write("image/oci-layout", `{"imageLayoutVersion":"1.0.0"}`)
}

func (r *rig) open(dir string) {
	r.t.Helper()
	e, err := Open(Config{Dir: dir, Version: "test", Now: r.clock, NewRuntime: func(context.Context, Place) (runtime.Runtime, error) { return r.rt, nil }})
	if err != nil {
		r.t.Fatal(err)
	}
	r.Engine = e
	r.t.Cleanup(func() {
		if err := e.Close(); err != nil {
			r.t.Error(err)
		}
	})
}

// clock is the machine's until a test sets another one.
func (r *rig) clock() time.Time {
	if !r.day.IsZero() {
		return r.day
	}
	return time.Now()
}

func (r *rig) project(src string) { r.write("plumb.hcl", header+src) }

func (r *rig) write(name, text string) {
	r.t.Helper()
	p := filepath.Join(r.dir, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) request() RunRequest {
	return RunRequest{Request: Request{Project: Project{Dir: r.dir}}, Full: true}
}

// ran runs and gives each stage's status, all events, and the error.
func (r *rig) ran(ctx context.Context, change ...func(*RunRequest)) (map[string]string, []event.Event, error) {
	req := r.request()
	for _, f := range change {
		f(&req)
	}
	var events []event.Event
	err := r.Run(ctx, req, func(e event.Event) { events = append(events, e) })
	status := map[string]string{}
	if n := len(events); n > 0 && events[n-1].Type == event.RunFinished {
		for _, s := range events[n-1].Stages {
			status[s.Name] = s.Status
		}
	}
	return status, events, err
}

func (r *rig) content(output string) string {
	r.t.Helper()
	to := filepath.Join(r.t.TempDir(), "got")
	if _, err := r.Get(context.Background(), GetRequest{Project: Project{Dir: r.dir}, Name: output, Path: to}); err != nil {
		r.t.Fatal(err)
	}
	b, err := os.ReadFile(to)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(b)
}
