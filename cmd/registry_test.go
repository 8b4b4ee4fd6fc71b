package cmd

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"plumb/engine"
	"plumb/engine/event"
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

// entry is one of a crafted layer.
type entry struct {
	tar.Header
	text string
}

func tarOf(t *testing.T, entries []entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		e.Size = int64(len(e.text))
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func layerOf(t *testing.T, raw []byte) v1.Layer {
	t.Helper()
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil })
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// Layers that lie are refused, with the entry named, and nothing of the machine is
// touched.
func TestHostileLayers(t *testing.T) {
	s := newSite(t)
	outside := filepath.Join(s.root, "outside")
	if err := os.Mkdir(outside, 0o755); err != nil {
		t.Fatal(err)
	}
	reg := registrytest.Start(t, registrytest.Options{})
	var gz bytes.Buffer
	g := gzip.NewWriter(&gz)
	_, _ = g.Write(tarOf(t, []entry{{tar.Header{Name: "f", Typeflag: tar.TypeReg, Mode: 0o644}, strings.Repeat("some text ", 5000)}}))
	_ = g.Close()
	cut := static.NewLayer(gz.Bytes()[:gz.Len()/2], types.OCILayer)
	up := strings.Repeat("../", 40)
	tests := []struct {
		name  string
		layer v1.Layer
		want  string
	}{
		{"a name that climbs", layerOf(t, tarOf(t, []entry{{tar.Header{Name: up + outside[1:] + "/x", Typeflag: tar.TypeReg, Mode: 0o644}, "x"}})), "climbs out"},
		{"through an absolute link", layerOf(t, tarOf(t, []entry{
			{tar.Header{Name: "evil", Typeflag: tar.TypeSymlink, Linkname: outside}, ""},
			{tar.Header{Name: "evil/x", Typeflag: tar.TypeReg, Mode: 0o644}, "x"},
		})), "through a symlink"},
		{"through a link that climbs", layerOf(t, tarOf(t, []entry{
			{tar.Header{Name: "evil", Typeflag: tar.TypeSymlink, Linkname: up + outside[1:]}, ""},
			{tar.Header{Name: "evil/x", Typeflag: tar.TypeReg, Mode: 0o644}, "x"},
		})), "leads out of the image"},
		{"a hard link to outside", layerOf(t, tarOf(t, []entry{{tar.Header{Name: "x", Typeflag: tar.TypeLink, Linkname: up + "etc/passwd"}, ""}})), "outside of the image"},
		{"a hard link to nothing", layerOf(t, tarOf(t, []entry{{tar.Header{Name: "x", Typeflag: tar.TypeLink, Linkname: "/no/such"}, ""}})), "does not have"},
		{"a block device", layerOf(t, tarOf(t, []entry{{tar.Header{Name: "disk", Typeflag: tar.TypeBlock, Devmajor: 8, Mode: 0o666}, ""}})), "is a device"},
		{"a truncated gzip", cut, "cut off or damaged"},
		{"a content that is not the config's", wrongDiffID{layerOf(t, tarOf(t, []entry{{tar.Header{Name: "f", Typeflag: tar.TypeReg}, "x"}}))}, "config says"},
		{"a decompression bomb", static.NewLayer(bomb(t), types.OCILayer), "max_ratio"},
	}
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s.t = t
			img, err := mutate.AppendLayers(s.toolImage(""), test.layer)
			if err != nil {
				t.Fatal(err)
			}
			ref, _ := reg.Push(t, fmt.Sprintf("bad/sh:%d", i), img)
			dir := s.pipeline(fmt.Sprintf("p%d", i), imageBlock("sh", ref)+"stage \"s\" {\n  image = image.sh\n  command = \"true\"\n  outputs = {}\n}\n")
			r := s.want(3, dir, "run", "--force", "s")
			if !strings.Contains(r.err, test.want) {
				t.Errorf("it does not say %q:\n%s", test.want, r.err)
			}
			if strings.Contains(r.err, "trying again") {
				t.Errorf("it was tried again:\n%s", r.err)
			}
			if n := s.imagesKept(); n != 0 {
				t.Errorf("%d images are shown", n)
			}
			if left, err := os.ReadDir(outside); err != nil || len(left) > 0 {
				t.Errorf("outside of the image: %v, %v", left, err)
			}
		})
	}
	limited := filepath.Join(s.root, "config.hcl")
	s.t = t
	s.write(limited, "images { max_unpacked = \"1MiB\" }\n")
	s.env = append(s.env, "PLUMB_CONFIG="+limited)
	ref, _ := reg.Push(t, "good/sh:1", s.toolImage("one"))
	dir := s.pipeline("limited", imageBlock("sh", ref)+useVariant)
	if r := s.want(3, dir, "run"); !strings.Contains(r.err, "max_unpacked") {
		t.Errorf("the limit is not named:\n%s", r.err)
	}
}

// wrongDiffID is a layer that says of its content what is not so.
type wrongDiffID struct{ v1.Layer }

func (wrongDiffID) DiffID() (v1.Hash, error) {
	return v1.NewHash("sha256:" + strings.Repeat("5", 64))
}

// bomb is a layer of a few megabytes that unpacks to gigabytes.
func bomb(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	const size = 1100 << 20
	w := tar.NewWriter(z)
	if err := w.WriteHeader(&tar.Header{Name: "zeros", Typeflag: tar.TypeReg, Mode: 0o644, Size: size}); err != nil {
		t.Fatal(err)
	}
	zeros := make([]byte, 1<<20)
	for range size >> 20 {
		if _, err := w.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// dataServer serves files that tests change.
type dataServer struct {
	*httptest.Server
	mu    sync.Mutex
	files map[string]string
	cut   int // so many answers break off in the middle
	asked int
}

func serveData(t *testing.T, files map[string]string) *dataServer {
	d := &dataServer{files: files}
	d.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		text, ok := d.files[r.URL.Path]
		cut := d.cut > 0
		d.cut--
		d.asked++
		d.mu.Unlock()
		if !ok {
			http.NotFound(w, r)
			return
		}
		if cut && r.Header.Get("Range") == "" {
			w.Header().Set("Content-Length", fmt.Sprint(len(text)))
			w.Header().Set("ETag", `"1"`)
			_, _ = io.WriteString(w, text[:len(text)/2])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("ETag", `"1"`)
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(text))
	}))
	t.Cleanup(d.Close)
	return d
}

func (d *dataServer) set(path, text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.files[path] = text
}

func TestDataByURL(t *testing.T) {
	s := newSite(t)
	data := serveData(t, map[string]string{"/wine.csv": "a,b\n1,2\n", "/big.bin": strings.Repeat("0123456789", 100000)})
	data.cut = 1
	dir := s.project("p", `
source "wine" { url = "`+data.URL+`/wine.csv?version=1" }
source "big" {
  url  = "`+data.URL+`/big.bin"
  path = "data/big.bin"
}
stage "s" {
  inputs  = [source.wine, source.big]
  command = "cat wine.csv > out; wc -c < data/big.bin >> out"
  outputs = { out = "out" }
}
export "out.txt" { from = stage.s.out }
`)
	s.want(0, dir, "run")
	if b, err := os.ReadFile(filepath.Join(dir, "out.txt")); strings.Join(strings.Fields(string(b)), " ") != "a,b 1,2 1000000" {
		t.Fatalf("%q, %v", b, err)
	}
	asked := data.asked
	s.want(0, dir, "run", "--expect-cached", "--locked")
	s.want(0, dir, "plan", "--locked")
	s.want(0, dir, "run", "--force", "s", "--offline")
	if data.asked != asked {
		t.Errorf("%d requests for what is in the store", data.asked-asked)
	}
	data.set("/wine.csv", "a,b\n1,3\n")
	s.want(0, dir, "run", "--force", "s") // upstream changed, the store has what was pinned
	if r := s.want(4, dir, "lock", "--check"); !strings.Contains(r.out, "source wine") || strings.Contains(r.out, "source big") {
		t.Error(r)
	}
	// Another store has nothing but the lock: a changed upstream is an error.
	other := &site{t: t, exe: s.exe, root: t.TempDir(), env: s.env}
	other.store = filepath.Join(other.root, "store")
	t.Cleanup(other.leave)
	if r := other.want(3, dir, "run"); !strings.Contains(r.err, "plumb lock --update wine") || !strings.Contains(r.err, "digest") {
		t.Error(r)
	}
	data.set("/wine.csv", "longer than before\n")
	if r := other.want(3, dir, "run"); !strings.Contains(r.err, "plumb lock --update wine") || !strings.Contains(r.err, "size") {
		t.Error(r)
	}
	if r := s.want(0, dir, "lock", "--update", "wine"); !strings.Contains(r.out, "moved") {
		t.Error(r)
	}
	r := s.want(0, dir, "run", "--json")
	if e := finished(t, r); e.Counts.Ran != 1 {
		t.Errorf("%+v", e.Counts)
	}
	s.write(filepath.Join(dir, "more.plumb.hcl"), "source \"none\" { url = \""+data.URL+"/none.csv\" }\nstage \"t\" {\n  inputs = [source.none]\n  command = \"true\"\n  outputs = {}\n}\n")
	if r := s.want(3, dir, "run"); !strings.Contains(r.err, "404") {
		t.Error(r)
	}
}

func TestDataFromARegistry(t *testing.T) {
	s := newSite(t)
	reg := registrytest.Start(t, registrytest.Options{})
	ref, digest := reg.Push(t, "data/set:1", registrytest.Artifact(t, map[string]string{"a/x.csv": "1,2\n", "b.txt": "b\n"}))
	one, _ := reg.Push(t, "data/one:1", registrytest.Artifact(t, map[string]string{"weights.bin": "w\n"}))
	dir := s.project("p", `
source "set" { oci = "`+ref+`" }
source "one" {
  oci  = "`+one+`"
  path = "weights.bin"
}
stage "s" {
  inputs  = [source.set, source.one]
  command = "cat set/a/x.csv set/b.txt weights.bin > out"
  outputs = { out = "out" }
}
export "out.txt" { from = stage.s.out }
`)
	s.want(0, dir, "run")
	if b, err := os.ReadFile(filepath.Join(dir, "out.txt")); string(b) != "1,2\nb\nw\n" {
		t.Fatalf("%q, %v", b, err)
	}
	if !strings.Contains(s.lock(dir), digest) {
		t.Errorf("the lock does not have %s:\n%s", digest, s.lock(dir))
	}
	s.want(0, dir, "run", "--expect-cached", "--locked")
	reg.Push(t, "data/set:1", registrytest.Artifact(t, map[string]string{"a/x.csv": "9\n", "b.txt": "b\n"}))
	s.want(0, dir, "run", "--expect-cached")
	if r := s.want(4, dir, "lock", "--check"); !strings.Contains(r.out, "source set") {
		t.Error(r)
	}
}

func TestImageVerbs(t *testing.T) {
	s := newSite(t)
	reg := registrytest.Start(t, registrytest.Options{})
	withPackages := func(version, more string) v1.Image {
		img, err := mutate.AppendLayers(s.toolImage(""), layerOf(t, tarOf(t, []entry{
			{tar.Header{Name: "var/lib/dpkg/status", Typeflag: tar.TypeReg, Mode: 0o644}, "Package: libx\nStatus: install ok installed\nVersion: " + version + "\nArchitecture: amd64\n"},
			{tar.Header{Name: "etc/" + more, Typeflag: tar.TypeReg, Mode: 0o644}, more},
		})))
		if err != nil {
			t.Fatal(err)
		}
		return img
	}
	a, aDigest := reg.Push(t, "x/a:1", withPackages("1.0", "old"))
	b, bDigest := reg.Push(t, "x/b:1", withPackages("1.1", "new"))
	dir := s.pipeline("p", imageBlock("a", a)+imageBlock("b", b))
	s.want(0, dir, "lock")
	if r := s.want(0, dir, "image", "show", "a"); !strings.Contains(r.out, aDigest) || !regexp.MustCompile(`libx +1\.0 +deb`).MatchString(r.out) {
		t.Error(r)
	}
	for form, want := range map[string]string{"cyclonedx": "pkg:deb/debian/libx@1.0?arch=amd64", "spdx": "SPDX-2.3"} {
		if r := s.want(0, dir, "image", "show", "a", "--format", form); !strings.Contains(r.out, want) || !json.Valid([]byte(r.out)) {
			t.Errorf("%s: %v", form, r)
		}
	}
	s.want(2, dir, "image", "show", "a", "--format", "xml")
	r := s.want(0, dir, "image", "diff", "a", "b")
	for _, want := range []string{"~ libx  1.0 → 1.1", "- etc/old", "+ etc/new", "~ var/lib/dpkg/status"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("image diff does not say %q:\n%s", want, r.out)
		}
	}
	var diff engine.ImageDiffDoc
	s.document(&diff, dir, "image", "diff", aDigest[:20], b, "--json")
	if len(diff.Packages) != 1 || diff.A != aDigest || diff.B != bDigest {
		t.Errorf("%+v", diff)
	}
	if r := s.want(0, dir, "image", "diff", "a", "a"); !strings.Contains(r.out, "same image") {
		t.Error(r)
	}
	var ls engine.ImagesDoc
	s.document(&ls, dir, "image", "ls", "--json")
	if len(ls.Images) != 2 || ls.Images[0].Blocks[0] != "b" || ls.Images[1].Names[0] != a || ls.Images[0].Unpacked < 1<<20 {
		t.Errorf("%+v", ls)
	}
	s.want(0, dir, "image", "export", "a", "-o", "a.tar")
	s.want(2, dir, "image", "export", "a", "-o", "a.tar")
	s.want(0, dir, "image", "export", "a", "-o", "a.tar", "--overwrite")
	again := s.pipeline("q", "image \"sh\" { archive = \"a.tar\" }\nstage \"s\" {\n  image = image.sh\n  command = \"cat /etc/old > out\"\n  outputs = { out = \"out\" }\n}\n")
	if err := os.Rename(filepath.Join(dir, "a.tar"), filepath.Join(again, "a.tar")); err != nil {
		t.Fatal(err)
	}
	e := finished(t, s.want(0, again, "run", "--json"))
	if e.Stages[0].Image != aDigest {
		t.Errorf("the exported image is %s, and was %s", e.Stages[0].Image, aDigest)
	}
	if r := s.want(2, dir, "image", "show", "aa"); !strings.Contains(r.err, `did you mean "a"`) {
		t.Error(r)
	}
	s.want(2, dir, "image", "rm", "none")
	s.want(2, dir, "image", "rm")
	s.want(2, dir, "image", "frob")
	s.want(0, dir, "image", "rm", "a", bDigest)
	if n := s.imagesKept(); n != 0 {
		t.Errorf("%d images are left", n)
	}
	s.want(2, dir, "image", "rm", "a")
}

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
