package cmd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"plumb/engine"
	"plumb/engine/image/registrytest"
)

// Images from a real registry, as users meet them: plumb runs as real processes.

// toolImage is the image that tests run stages in; variant makes another one of it,
// whose /variant holds the text.
func (s *site) toolImage(variant string) v1.Image {
	s.t.Helper()
	p, err := layout.FromPath(s.image)
	if err != nil {
		s.t.Fatal(err)
	}
	index, err := p.ImageIndex()
	if err != nil {
		s.t.Fatal(err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		s.t.Fatal(err)
	}
	img, err := index.Image(m.Manifests[0].Digest)
	if err != nil {
		s.t.Fatal(err)
	}
	if variant == "" {
		return img
	}
	img, err = mutate.AppendLayers(img, registrytest.Layer(s.t, map[string]string{"variant": variant}))
	if err != nil {
		s.t.Fatal(err)
	}
	return img
}

// pipeline writes a project of its own files.
func (s *site) pipeline(name, text string) string {
	s.t.Helper()
	dir := filepath.Join(s.root, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		s.t.Fatal(err)
	}
	s.write(filepath.Join(dir, "plumb.hcl"), text)
	return dir
}

func (s *site) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) lock(dir string) string {
	s.t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "plumb.lock.hcl"))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b)
}

const useVariant = `
stage "s" {
  image   = image.sh
  command = "cat /variant > out"
  outputs = { out = "out" }
}
`

func imageBlock(name, ref string) string {
	return fmt.Sprintf("image %q { ref = %q }\n", name, ref)
}

// imagesKept counts what image ls shows.
func (s *site) imagesKept() int {
	s.t.Helper()
	var doc engine.ImagesDoc
	s.document(&doc, "", "image", "ls", "--json")
	return len(doc.Images)
}

func TestLockIsTheSameEverywhere(t *testing.T) {
	a := newSite(t)
	reg := registrytest.Start(t, registrytest.Options{})
	tool, other := a.toolImage("one"), a.toolImage("two")
	ref, _ := reg.Push(t, "tools/sh:1", registrytest.Index(t, map[string]v1.Image{"linux/amd64": tool, "linux/arm64": other}))
	b := &site{t: t, exe: a.exe, root: t.TempDir(), image: a.image}
	b.store = filepath.Join(b.root, "another", "store")
	b.env = []string{"HOME=" + b.root, "PATH=" + os.Getenv("PATH")}
	t.Cleanup(b.leave)
	var locks, digests []string
	for i, s := range []*site{a, b} {
		dir := s.pipeline([]string{"p", "q"}[i], imageBlock("sh", ref)+"image \"arc\" { archive = \"image\" }\n"+useVariant)
		if err := os.CopyFS(filepath.Join(dir, "image"), os.DirFS(s.image)); err != nil {
			t.Fatal(err)
		}
		s.want(0, dir, "lock", "--platform", "linux/arm64")
		locks = append(locks, s.lock(dir))
		var plan engine.PlanDoc
		s.document(&plan, dir, "plan", "--locked", "--json")
		digests = append(digests, plan.Stages[0].Image)
		s.want(0, dir, "run", "--locked")
	}
	if locks[0] != locks[1] || digests[0] != digests[1] || len(digests[0]) != 71 {
		t.Errorf("two locks:\n%s\n%s\ntwo images: %v", locks[0], locks[1], digests)
	}
	if n := strings.Count(locks[0], "image \""); n != 3 { // an archive is for one platform
		t.Errorf("%d pins of images:\n%s", n, locks[0])
	}
}

func TestATagThatMovesChangesNothing(t *testing.T) {
	s := newSite(t)
	reg := registrytest.Start(t, registrytest.Options{})
	ref, first := reg.Push(t, "tools/sh:1", s.toolImage("one"))
	otherRef, otherFirst := reg.Push(t, "tools/other:1", s.toolImage("other"))
	dir := s.pipeline("p", imageBlock("sh", ref)+imageBlock("other", otherRef)+useVariant+"export \"out.txt\" { from = stage.s.out }\n")
	s.want(0, dir, "lock")
	s.want(0, dir, "run")
	locked := s.lock(dir)
	_, second := reg.Push(t, "tools/sh:1", s.toolImage("two"))
	_, otherSecond := reg.Push(t, "tools/other:1", s.toolImage("other again"))

	s.want(0, dir, "run", "--expect-cached")
	s.want(0, dir, "run", "--force", "s")
	s.want(0, dir, "lock")
	if s.lock(dir) != locked {
		t.Errorf("the lock moved by itself:\n%s", s.lock(dir))
	}
	r := s.want(4, dir, "lock", "--check")
	for _, want := range []string{"image sh", "image other", first + " → " + second, otherFirst + " → " + otherSecond, ref} {
		if !strings.Contains(r.out, want) {
			t.Errorf("lock --check does not say %q:\n%s", want, r.out)
		}
	}
	var check engine.LockDoc
	if err := json.Unmarshal([]byte(s.want(4, dir, "lock", "--check", "--json").out), &check); err != nil || !check.Differs || len(check.Pins) != 2 || check.Pins[1].Change != engine.PinMoved {
		t.Errorf("%+v, %v", check, err)
	}
	if s.lock(dir) != locked {
		t.Error("lock --check changed the lock")
	}
	s.want(0, dir, "lock", "--update", "sh")
	if want := strings.ReplaceAll(locked, first, second); s.lock(dir) != want {
		t.Errorf("lock --update sh gave\n%s\nwant\n%s", s.lock(dir), want)
	}
	s.want(0, dir, "run")
	if b, err := os.ReadFile(filepath.Join(dir, "out.txt")); string(b) != "two" || err != nil {
		t.Errorf("the stage saw %q, %v", b, err)
	}
	if r := s.want(0, dir, "why", "s", "--run", string(s.runs()[1].ID)); !strings.Contains(r.out, "image") {
		t.Errorf("why does not name the image:\n%s", r.out)
	}
	s.want(0, dir, "lock", "--update")
	s.want(0, dir, "lock", "--check")
	if r := s.want(2, dir, "lock", "--update", "othr"); !strings.Contains(r.err, `did you mean "other"?`) {
		t.Errorf("a misspelt name: %s", r.err)
	}
	s.want(2, dir, "lock", "sh")
	s.want(2, dir, "lock", "--update", "--check")
}

func TestLockedRefusesWhatIsNotPinned(t *testing.T) {
	s := newSite(t)
	reg := registrytest.Start(t, registrytest.Options{})
	ref, _ := reg.Push(t, "tools/sh:1", s.toolImage("one"))
	dir := s.pipeline("p", imageBlock("sh", ref)+useVariant)
	if r := s.want(4, dir, "run", "--locked"); !strings.Contains(r.err, "plumb lock adds it") {
		t.Error(r)
	}
	s.want(4, dir, "lock", "--check")
	s.want(0, dir, "run") // the first run pins
	s.want(0, dir, "run", "--locked")
	s.want(0, dir, "lock", "--check")
	again, _ := reg.Push(t, "tools/sh:2", s.toolImage("two"))
	s.write(filepath.Join(dir, "plumb.hcl"), imageBlock("sh", again)+useVariant)
	s.want(4, dir, "run", "--locked")
	if r := s.want(0, dir, "lock"); !strings.Contains(r.out, ref+" → "+again) {
		t.Error(r)
	}
	s.write(filepath.Join(dir, "plumb.hcl"), "")
	if r := s.want(0, dir, "lock"); !strings.Contains(r.out, "removed") || strings.Contains(s.lock(dir), "image \"") {
		t.Errorf("%v\n%s", r, s.lock(dir))
	}
}

func TestArchivesArePinnedToo(t *testing.T) {
	s := newSite(t)
	dir := s.project("p", "stage \"s\" {\n  command = \"echo x > out\"\n  outputs = { out = \"out\" }\n}\n")
	s.want(0, dir, "run")
	if _, err := os.Stat(filepath.Join(dir, "plumb.lock.hcl")); err == nil {
		t.Error("a run pinned an archive, which is part of the project")
	}
	s.want(0, dir, "lock")
	extra := filepath.Join(imageDir(t), "extra")
	if err := os.RemoveAll(filepath.Join(dir, "image")); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(dir, "image"), os.DirFS(extra)); err != nil {
		t.Fatal(err)
	}
	if r := s.want(4, dir, "run"); !strings.Contains(r.err, "plumb lock --update sh") {
		t.Error(r)
	}
	s.want(4, dir, "lock", "--check")
	s.want(0, dir, "lock", "--update", "sh")
	s.want(0, dir, "run")
}

// With the network gone, what is in the store runs; and what is not is named.
func TestWithoutANetwork(t *testing.T) {
	s := newSite(t)
	reg := registrytest.Start(t, registrytest.Options{})
	ref, _ := reg.Push(t, "tools/sh:1", s.toolImage("one"))
	data := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "a,b\n") }))
	defer data.Close()
	dir := s.pipeline("p", imageBlock("sh", ref)+"source \"d\" { url = \""+data.URL+"/d.csv\" }\n"+`
stage "s" {
  image   = image.sh
  inputs  = [source.d]
  command = "cat d.csv /variant > out"
  outputs = { out = "out" }
}
`)
	s.want(0, dir, "run")
	s.want(0, dir, "agent", "stop")
	net := func(code int, args ...string) result {
		t.Helper()
		cmd := exec.Command("unshare", append([]string{"--net", s.exe, "--store", s.store}, args...)...)
		cmd.Dir, cmd.Env = dir, s.env
		var out, errOut bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errOut
		err := cmd.Run()
		r := result{cmd.ProcessState.ExitCode(), out.String(), errOut.String()}
		if r.code != code {
			t.Fatalf("without a network, plumb %q, want exit %d: %v, %v", args, code, r, err)
		}
		return r
	}
	net(0, "run", "--expect-cached")
	net(0, "run", "--force", "s")
	net(0, "run", "--force", "s", "--offline", "--locked")
	net(0, "image", "rm", "sh")
	if r := net(3, "run", "--force", "s", "--offline"); !strings.Contains(r.err, `image "sh" (`+ref+`)`) || !strings.Contains(r.err, "--offline") {
		t.Errorf("%v", r)
	}
	if r := net(3, "run", "--force", "s"); !strings.Contains(r.err, "was not reached") {
		t.Errorf("%v", r)
	}
	net(0, "run", "--offline") // nothing has to run, so nothing is missing
	net(0, "agent", "stop")
	s.want(0, dir, "run", "--force", "s")
	empty := s.pipeline("q", imageBlock("sh", ref)+useVariant)
	if r := s.want(3, empty, "run", "--offline"); !strings.Contains(r.err, "not pinned yet") {
		t.Errorf("%v", r)
	}
}

// Whatever a registry does, the error says what to do, the status is 3, and nothing
// that came half is to be seen.
func TestRegistryFaults(t *testing.T) {
	s := newSite(t)
	reg := registrytest.Start(t, registrytest.Options{})
	locked := registrytest.Start(t, registrytest.Options{Password: true})
	img := s.toolImage("one")
	ref, _ := reg.Push(t, "tools/sh:1", img)
	closedRef, _ := locked.Push(t, "tools/sh:1", img)
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	h, err := layers[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	big := h.String()
	tests := []struct {
		name  string
		ref   string // "" for the proxy's
		fault func(*registrytest.Proxy)
		code  int
		want  string
	}{
		{"unknown host", "no-such-host.invalid/sh:1", nil, 3, "no such host"},
		{"nobody listens", "127.0.0.1:1/sh:1", nil, 3, "was not reached"},
		{"401", closedRef, nil, 3, "docker login"},
		{"404", strings.Replace(ref, "tools/sh", "tools/none", 1), nil, 3, "(404)"},
		{"no manifest for the platform", "", func(p *registrytest.Proxy) {
			p.Serve("manifests/1", string(types.OCIImageIndex), []byte(`{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"`+big+`","size":1,"platform":{"os":"linux","architecture":"riscv64"}}]}`))
		}, 3, "only for [linux/riscv64]"},
		{"unknown type", "", func(p *registrytest.Proxy) {
			p.Serve("manifests/1", "application/vnd.example", []byte(`{"schemaVersion":2,"mediaType":"application/vnd.example"}`))
		}, 3, "unknown type"},
		{"429, honoured", "", func(p *registrytest.Proxy) {
			p.Status("blobs", 1, 429, http.Header{"Retry-After": {"1"}})
		}, 0, ""},
		{"500s, retried", "", func(p *registrytest.Proxy) { p.Status("blobs", 2, 500, nil) }, 0, ""},
		{"cut in mid-layer, resumed", "", func(p *registrytest.Proxy) { p.Cut(big, 2, 1<<20) }, 0, ""},
		{"a digest that does not match", "", func(p *registrytest.Proxy) {
			p.Change(big, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
		}, 3, "digest"},
		{"a size that lies", "", func(p *registrytest.Proxy) {
			p.Change(big, func(b []byte) []byte { return b[:len(b)/2] })
		}, 3, "has the size"},
	}
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s.t = t
			ref := test.ref
			var p *registrytest.Proxy
			if ref == "" {
				p = registrytest.NewProxy(t, reg)
				test.fault(p)
				ref = strings.Replace(reg.Host+"/tools/sh:1", reg.Host, p.Host, 1)
			}
			dir := s.pipeline(fmt.Sprintf("p%d", i), imageBlock("sh", ref)+useVariant)
			r := s.want(test.code, dir, "run", "--force", "s")
			if test.code == 0 {
				s.want(0, dir, "image", "rm", "sh")
				if sent, size := p.Sent(big), mustSize(t, layers[0]); sent != size {
					t.Errorf("%d bytes of a layer of %d were sent", sent, size)
				}
				return
			}
			if !strings.Contains(r.err, test.want) {
				t.Errorf("it does not say %q:\n%s", test.want, r.err)
			}
			if n := s.imagesKept(); n != 0 {
				t.Errorf("%d images are shown", n)
			}
		})
	}
}

func mustSize(t *testing.T, l v1.Layer) int64 {
	t.Helper()
	n, err := l.Size()
	if err != nil {
		t.Fatal(err)
	}
	return n
}
