package cmd

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"plumb/engine/event"
	"plumb/engine/image/registrytest"
)

func TestLockMistakes(t *testing.T) {
	s := newSite(t)
	reg := registrytest.Start(t, registrytest.Options{})
	ref, digest := reg.Push(t, "tools/sh:1", s.toolImage("one"))
	dir := s.pipeline("p", imageBlock("sh", ref)+useVariant)
	s.want(0, dir, "run")
	good := s.lock(dir)
	edited := "sha256:" + strings.Repeat("0", 64)
	for name, test := range map[string]struct {
		text string
		code int
		want string
	}{
		"another digest":     {strings.ReplaceAll(good, digest, edited), 3, "(404)"},
		"merge conflict":     {"<<<<<<< HEAD\n" + good + "=======\n" + good + ">>>>>>> b\n", 2, "Merge conflict"},
		"newer format":       {strings.Replace(good, "version = 2", "version = 9", 1), 2, "Newer lock file"},
		"two pins":           {good + strings.ReplaceAll(good[strings.Index(good, "image "):], digest, edited), 2, "plumb lock --update sh"},
		"a digest too short": {strings.ReplaceAll(good, digest, digest[:60]), 2, "Bad digest"},
	} {
		s.write(filepath.Join(dir, "plumb.lock.hcl"), test.text)
		if r := s.want(test.code, dir, "run"); !strings.Contains(r.err, test.want) {
			t.Errorf("%s: it does not say %q:\n%s", name, test.want, r.err)
		}
		if name == "two pins" {
			s.want(0, dir, "lock", "--update", "sh")
			if s.lock(dir) != good {
				t.Errorf("settled as\n%s", s.lock(dir))
			}
		}
	}
	// A digest that the registry has, and that the pinned index does not.
	_, other := reg.Push(t, "tools/multi:2", s.toolImage("two"))
	multi, _ := reg.Push(t, "tools/multi:1", registrytest.Index(t, map[string]v1.Image{"linux/amd64": s.toolImage("three")}))
	edit := s.pipeline("edited", imageBlock("sh", multi)+useVariant)
	s.want(0, edit, "lock")
	manifest := regexp.MustCompile(`manifest = "(sha256:[0-9a-f]+)"`).FindStringSubmatch(s.lock(edit))[1]
	s.write(filepath.Join(edit, "plumb.lock.hcl"), strings.Replace(s.lock(edit), manifest, other, 1))
	if r := s.want(3, edit, "run"); !strings.Contains(r.err, "in which there is no manifest") || !strings.Contains(r.err, "the lock was edited") || strings.Contains(r.err, "trying again") {
		t.Error(r)
	}

	// A lock that cannot be written. A running agent would not see the mount.
	s.want(0, dir, "agent", "stop")
	if err := os.Remove(filepath.Join(dir, "plumb.lock.hcl")); err != nil {
		t.Fatal(err)
	}
	mount := func(args ...string) {
		t.Helper()
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	mount("mount", "--bind", dir, dir)
	defer mount("umount", dir)
	mount("mount", "-o", "remount,bind,ro", dir)
	if r := s.want(3, dir, "lock"); !strings.Contains(r.err, "read-only file system") {
		t.Error(r)
	}
}

// A disk that fills up while an image comes: it is said, nothing half is to be seen,
// and when there is room again the image comes.
func TestPullOntoAFullDisk(t *testing.T) {
	s := newSite(t)
	reg := registrytest.Start(t, registrytest.Options{})
	big := make([]byte, 48<<20)
	if _, err := rand.Read(big); err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(s.toolImage("one"), registrytest.Layer(t, map[string]string{"big": string(big)}))
	if err != nil {
		t.Fatal(err)
	}
	ref, _ := reg.Push(t, "tools/sh:1", img)
	dir := s.pipeline("p", imageBlock("sh", ref)+useVariant)
	disk := filepath.Join(s.root, "disk")
	if err := os.Mkdir(disk, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", disk).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", disk).CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
	small := &site{t: t, exe: s.exe, root: s.root, env: s.env, store: filepath.Join(disk, "store")}
	t.Cleanup(small.leave)
	if r := small.want(3, dir, "run"); !strings.Contains(r.err, "no space left on device") {
		t.Error(r)
	}
	if n := small.imagesKept(); n != 0 {
		t.Errorf("%d images are shown", n)
	}
	if out, err := exec.Command("mount", "-o", "remount,size=400m", disk).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	small.want(0, dir, "run")
}

func TestRegistryConfiguration(t *testing.T) {
	s := newSite(t)
	reg := registrytest.Start(t, registrytest.Options{TLS: true, Password: true})
	ref, _ := reg.Push(t, "tools/sh:1", s.toolImage("one"))
	dir := s.pipeline("p", imageBlock("sh", ref)+useVariant)
	if r := s.want(3, dir, "run"); !strings.Contains(r.err, "ca = ") {
		t.Errorf("it does not say how to trust it:\n%s", r.err)
	}
	config := filepath.Join(s.root, ".config", "plumb")
	if err := os.MkdirAll(config, 0o755); err != nil {
		t.Fatal(err)
	}
	s.write(filepath.Join(config, "config.hcl"), fmt.Sprintf("registry %q { ca = %q }\n", reg.Host, reg.CA))
	if r := s.want(3, dir, "run"); !strings.Contains(r.err, "docker login "+reg.Host) {
		t.Errorf("it does not say how to log in:\n%s", r.err)
	}
	// The agent is there already: credentials travel with the request.
	s.env = append(s.env, fmt.Sprintf(`DOCKER_AUTH_CONFIG={"auths":{%q:{"username":%q,"password":%q}}}`, reg.Host, registrytest.User, registrytest.Password))
	s.want(0, dir, "run")
	s.write(filepath.Join(config, "config.hcl"), "registry \"x\" { mirors = [] }\n")
	if r := s.want(2, dir, "plan"); !strings.Contains(r.err, "mirrors") {
		t.Error(r)
	}
	// The password is nowhere on disk.
	out, err := exec.Command("grep", "-rlF", registrytest.Password, s.store).CombinedOutput()
	if err == nil {
		t.Errorf("the password is in %s", out)
	}
}

func TestForeignPlatform(t *testing.T) {
	s := newSite(t)
	reg := registrytest.Start(t, registrytest.Options{})
	ref, _ := reg.Push(t, "tools/sh:1", registrytest.Index(t, map[string]v1.Image{"linux/amd64": s.toolImage("one"), "linux/s390x": s.toolImage("two")}))
	dir := s.pipeline("p", imageBlock("sh", ref)+useVariant)
	s.want(2, dir, "run", "--platform", "s390x")
	if r := s.want(3, dir, "run", "--platform", "linux/s390x"); !strings.Contains(r.err, "this machine runs linux/") {
		t.Error(r)
	}
	if r := s.want(3, dir, "run", "--platform", "linux/riscv64"); !strings.Contains(r.err, "only for [") {
		t.Error(r)
	}
	s.want(0, dir, "run")
	if n := strings.Count(s.lock(dir), "image \"sh\""); n != 2 {
		t.Errorf("%d platforms are pinned:\n%s", n, s.lock(dir))
	}
}

func TestProgressOfAPull(t *testing.T) {
	s := newSite(t)
	reg := registrytest.Start(t, registrytest.Options{})
	ref, _ := reg.Push(t, "tools/sh:1", s.toolImage("one"))
	dir := s.pipeline("p", imageBlock("sh", ref)+useVariant)
	r := s.want(0, dir, "run", "--json")
	var last event.Event
	for _, line := range strings.Split(strings.TrimSpace(r.out), "\n") {
		var e event.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if e.Type == event.Progress {
			last = e
		}
	}
	if last.Message != "image sh" || last.Done != last.Total || last.Total < 1<<20 {
		t.Errorf("the last that was told: %+v", last)
	}
}

// Two runs at once that each pin an image both keep their pin.
func TestTwoRunsPinAtOnce(t *testing.T) {
	s := newSite(t)
	reg := registrytest.Start(t, registrytest.Options{})
	text := ""
	for n := range 4 {
		ref, _ := reg.Push(t, fmt.Sprintf("tools/sh%d:1", n), s.toolImage(fmt.Sprint(n)))
		text += imageBlock(fmt.Sprintf("sh%d", n), ref) + fmt.Sprintf("stage \"s%d\" {\n  image = image.sh%d\n  command = \"cat /variant > out%d\"\n  outputs = { out = \"out%d\" }\n}\n", n, n, n, n)
	}
	dir := s.pipeline("p", text)
	var all []*process
	for n := range 4 {
		all = append(all, s.start(dir, "run", fmt.Sprintf("s%d", n)))
	}
	for _, p := range all {
		if r := p.wait(); r.code != 0 {
			t.Error(r)
		}
	}
	if n := strings.Count(s.lock(dir), "image \""); n != 4 {
		t.Errorf("%d pins are left:\n%s", n, s.lock(dir))
	}
	s.want(0, dir, "run", "--locked", "--expect-cached")
}
