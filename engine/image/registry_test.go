package image_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"

	"plumb/engine/fetch"
	"plumb/engine/image"
	"plumb/engine/image/registrytest"
)

// hasty asks as often as usual, without waiting.
func hasty(waits *[]time.Duration) *fetch.Client {
	return &fetch.Client{Sleep: func(_ context.Context, d time.Duration) error {
		if waits != nil {
			*waits = append(*waits, d)
		}
		return nil
	}}
}

func noise(n int) string {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b)
	return string(b)
}

// pull reads manifest, config and layers, as a runtime does.
func pull(ctx context.Context, r image.Resolver, ref, manifest string) error {
	l, err := image.Locked(ref, "", manifest)
	if err != nil {
		return err
	}
	img, err := r.Resolve(ctx, l, "linux/amd64")
	if err != nil {
		return err
	}
	raw, err := readAll(ctx, img, manifest)
	if err != nil {
		return err
	}
	m, err := v1.ParseManifest(bytes.NewReader(raw))
	if err != nil {
		return err
	}
	for _, d := range append(m.Layers, m.Config) {
		b, err := readAll(ctx, img, d.Digest.String())
		if err != nil {
			return err
		}
		if h, _, _ := v1.SHA256(bytes.NewReader(b)); h != d.Digest {
			return fmt.Errorf("the digest of %s does not match", d.Digest)
		}
	}
	return nil
}

func readAll(ctx context.Context, img *image.Image, digest string) ([]byte, error) {
	rc, err := img.Blob(ctx, digest)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	return io.ReadAll(rc)
}

func TestRealRegistry(t *testing.T) {
	amd := registrytest.Image(t, "linux/amd64", registrytest.Layer(t, map[string]string{"a": noise(100000)}), registrytest.Layer(t, map[string]string{"b": "b"}))
	arm := registrytest.Image(t, "linux/arm64", registrytest.Layer(t, map[string]string{"a": "arm"}))
	amdDigest, _ := amd.Digest()
	armDigest, _ := arm.Digest()
	tests := []struct {
		name    string
		options registrytest.Options
	}{
		{"plain", registrytest.Options{}},
		{"with TLS", registrytest.Options{TLS: true}},
		{"with a password", registrytest.Options{Password: true}},
		{"with both", registrytest.Options{TLS: true, Password: true}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			reg := registrytest.Start(t, test.options)
			ref, index := reg.Push(t, "team/py:1", registrytest.Index(t, map[string]v1.Image{"linux/amd64": amd, "linux/arm64": arm}))
			single, _ := reg.Push(t, "team/single:1", arm)
			r := image.Resolver{Registries: &image.Registries{Client: hasty(nil), Hosts: []image.Host{{Name: reg.Host, CA: reg.CA}}}}
			if test.options.Password {
				if _, _, err := r.ResolveTag(t.Context(), ref, "linux/amd64"); err == nil || !strings.Contains(image.Hint(err), "docker login "+reg.Host) {
					t.Errorf("without a password: %v", err)
				}
				r.Registries = &image.Registries{Client: hasty(nil), Hosts: r.Registries.Hosts, Credentials: image.Credentials{JSON: login(reg.Host)}}
			}
			for platform, want := range map[string]string{"linux/amd64": amdDigest.String(), "linux/arm64": armDigest.String()} {
				gotIndex, manifest, err := r.ResolveTag(t.Context(), ref, platform)
				if err != nil || gotIndex != index || manifest != want {
					t.Errorf("%s: index %s, manifest %s, %v", platform, gotIndex, manifest, err)
				}
			}
			gotIndex, manifest, err := r.ResolveTag(t.Context(), single, "linux/arm64")
			if err != nil || gotIndex != "" || manifest != armDigest.String() {
				t.Errorf("single: index %q, manifest %s, %v", gotIndex, manifest, err)
			}
			if err := pull(t.Context(), r, ref, amdDigest.String()); err != nil {
				t.Error(err)
			}
			for what, bad := range map[string]struct{ ref, platform, want string }{
				"no such platform":        {ref, "linux/riscv64", "only for [linux/a"},
				"single, other platform":  {single, "linux/amd64", `it is for platform "linux/arm64"`},
				"no such tag":             {strings.Replace(ref, ":1", ":2", 1)[:len(ref)-2] + ":nope", "linux/amd64", "(404)"},
				"no such name":            {reg.Host + "/none:1", "linux/amd64", "(404)"},
				"a digest that it has no": {reg.Host + "/team/py@sha256:" + strings.Repeat("0", 64), "linux/amd64", "(404)"},
			} {
				if _, _, err := r.ResolveTag(t.Context(), bad.ref, bad.platform); err == nil || !strings.Contains(err.Error(), bad.want) {
					t.Errorf("%s: %v", what, err)
				}
			}
		})
	}
}

func login(host string) string {
	return fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, base64.StdEncoding.EncodeToString([]byte(registrytest.User+":"+registrytest.Password)))
}

func TestUnknownAuthority(t *testing.T) {
	reg := registrytest.Start(t, registrytest.Options{TLS: true})
	ref, _ := reg.Push(t, "a:1", registrytest.Image(t, "linux/amd64"))
	for name, registries := range map[string]*image.Registries{
		"no certificate":  {Client: hasty(nil)},
		"a bad file":      {Client: hasty(nil), Hosts: []image.Host{{Name: reg.Host, CA: os.Args[0]}}},
		"no file, either": {Client: hasty(nil), Hosts: []image.Host{{Name: reg.Host, CA: "/no/such.pem"}}},
	} {
		_, _, err := image.Resolver{Registries: registries}.ResolveTag(t.Context(), ref, "linux/amd64")
		if err == nil {
			t.Errorf("%s: it was trusted", name)
		}
		t.Log(err)
	}
}

func TestCredentialsAreFoundWhereToolsKeepThem(t *testing.T) {
	reg := registrytest.Start(t, registrytest.Options{Password: true})
	ref, _ := reg.Push(t, "a:1", registrytest.Image(t, "linux/amd64"))
	write := func(name, text string, mode os.FileMode) string {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return name
	}
	home := t.TempDir()
	helper := fmt.Sprintf("#!/bin/sh\nread host\necho '{\"ServerURL\":\"x\",\"Username\":%q,\"Secret\":%q}'\n", registrytest.User, registrytest.Password)
	write(filepath.Join(home, "bin", "docker-credential-plumbtest"), helper, 0o755)
	write(filepath.Join(home, "helped", "config.json"), fmt.Sprintf(`{"credHelpers":{%q:"plumbtest"}}`, reg.Host), 0o644)
	write(filepath.Join(home, "docker", "config.json"), login(reg.Host), 0o644)
	write(filepath.Join(home, "user", ".docker", "config.json"), login(reg.Host), 0o644)
	write(filepath.Join(home, "run", "containers", "auth.json"), login(reg.Host), 0o644)
	write(filepath.Join(home, "podman", ".config", "containers", "auth.json"), login(reg.Host), 0o644)
	t.Setenv("PATH", filepath.Join(home, "bin")+":"+os.Getenv("PATH"))
	for name, env := range map[string]map[string]string{
		"DOCKER_AUTH_CONFIG":  {"DOCKER_AUTH_CONFIG": login(reg.Host)},
		"DOCKER_CONFIG":       {"DOCKER_CONFIG": filepath.Join(home, "docker")},
		"docker's directory":  {"HOME": filepath.Join(home, "user")},
		"a credential helper": {"DOCKER_CONFIG": filepath.Join(home, "helped")},
		"REGISTRY_AUTH_FILE":  {"REGISTRY_AUTH_FILE": filepath.Join(home, "run", "containers", "auth.json")},
		"podman, logged in":   {"XDG_RUNTIME_DIR": filepath.Join(home, "run")},
		"podman, kept":        {"HOME": filepath.Join(home, "podman")},
	} {
		registries := image.RegistriesFromEnv(func(n string) string { return env[n] })
		registries.Client = hasty(nil)
		if _, _, err := (image.Resolver{Registries: registries}).ResolveTag(t.Context(), ref, "linux/amd64"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	registries := &image.Registries{Client: hasty(nil), Credentials: image.Credentials{JSON: `{"auths": s3cret`}}
	_, _, err := image.Resolver{Registries: registries}.ResolveTag(t.Context(), ref, "linux/amd64")
	if err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("broken credentials: %v", err)
	}
}

func TestMirrors(t *testing.T) {
	reg, mirror := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{})
	img := registrytest.Image(t, "linux/amd64", registrytest.Layer(t, map[string]string{"a": "a"}))
	ref, digest := reg.Push(t, "team/a:1", img)
	mirror.Push(t, "hub/team/a:1", img)
	only, onlyDigest := reg.Push(t, "team/only:1", img)
	if digest != onlyDigest {
		t.Fatal("not the same image")
	}
	proxy := registrytest.NewProxy(t, reg)
	via := func(ref string) string { return strings.Replace(ref, reg.Host, proxy.Host, 1) }
	r := image.Resolver{Registries: &image.Registries{Client: hasty(nil), Hosts: []image.Host{{Name: proxy.Host, Mirrors: []string{mirror.Host + "/hub"}}}}}
	if _, m, err := r.ResolveTag(t.Context(), via(ref), "linux/amd64"); err != nil || m != digest {
		t.Errorf("%s, %v", m, err)
	}
	if err := pull(t.Context(), r, via(ref), digest); err != nil || len(proxy.Asked()) > 0 {
		t.Errorf("%v; the registry itself was asked for %v", err, proxy.Asked())
	}
	if err := pull(t.Context(), r, via(only), digest); err != nil || len(proxy.Asked()) == 0 {
		t.Errorf("what the mirror lacks: %v; the registry itself was asked for %v", err, proxy.Asked())
	}
	proxy.Status("manifests", -1, 404, nil)
	if _, _, err := r.ResolveTag(t.Context(), via(only), "linux/amd64"); err == nil || !strings.Contains(err.Error(), mirror.Host) || !strings.Contains(err.Error(), proxy.Host) {
		t.Errorf("nobody has it: %v", err)
	}
}

func TestFaults(t *testing.T) {
	reg := registrytest.Start(t, registrytest.Options{})
	big := noise(300000)
	img := registrytest.Image(t, "linux/amd64", registrytest.Layer(t, map[string]string{"a": big}))
	ref, digest := reg.Push(t, "a:1", img)
	layers, _ := img.Layers()
	h, _ := layers[0].Digest()
	layer := h.String()
	size, _ := layers[0].Size()
	selfIndex := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":3}]}`, types.OCIImageIndex, types.OCIImageIndex, digest)
	tests := []struct {
		name  string
		fault func(p *registrytest.Proxy)
		waits []time.Duration
		fails string // "" when it goes well in the end
	}{
		{"nothing", func(*registrytest.Proxy) {}, nil, ""},
		{"500s, then fine", func(p *registrytest.Proxy) { p.Status("/a/", 3, 500, nil) }, nil, ""},
		{"500s", func(p *registrytest.Proxy) { p.Status("/a/", -1, 500, nil) }, nil, "does not work"},
		{"busy, then fine", func(p *registrytest.Proxy) { p.Status("/a/", 1, 429, http.Header{"Retry-After": {"9"}}) }, []time.Duration{9 * time.Second}, ""},
		{"busy at the door", func(p *registrytest.Proxy) { p.Status("/v2/", 1, 429, http.Header{"Retry-After": {"8"}}) }, []time.Duration{8 * time.Second}, ""},
		{"busy for hours", func(p *registrytest.Proxy) { p.Status("/a/", -1, 429, http.Header{"Retry-After": {"7200"}}) }, nil, "only so many requests"},
		{"401", func(p *registrytest.Proxy) { p.Status("/a/", -1, 401, nil) }, nil, "does not let us read it (401)"},
		{"403", func(p *registrytest.Proxy) { p.Status("/a/", -1, 403, nil) }, nil, "does not let us read it (403)"},
		{"404", func(p *registrytest.Proxy) { p.Status("/a/", -1, 404, nil) }, nil, "does not have it (404)"},
		{"cut in the middle of a layer", func(p *registrytest.Proxy) { p.Cut(layer, 3, 90000) }, nil, ""},
		{"cut again and again at the start", func(p *registrytest.Proxy) { p.Cut(layer, -1, 0) }, nil, "cut off"},
		{"a changed manifest", func(p *registrytest.Proxy) {
			p.Change("manifests", func(b []byte) []byte { return append(b, ' ') })
		}, nil, "has the digest"},
		{"a changed layer", func(p *registrytest.Proxy) {
			p.Change(layer, func(b []byte) []byte { b[99] ^= 1; return b })
		}, nil, "does not match"},
		{"a layer that is shorter than the manifest says", func(p *registrytest.Proxy) {
			p.Change(layer, func(b []byte) []byte { return b[:len(b)-5] })
		}, nil, "has the size"},
		{"a layer that is longer", func(p *registrytest.Proxy) {
			p.Change(layer, func(b []byte) []byte { return append(b, "more"...) })
		}, nil, "has the size"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := registrytest.NewProxy(t, reg)
			test.fault(p)
			var waits []time.Duration
			r := image.Resolver{Registries: &image.Registries{Client: hasty(&waits)}}
			err := pull(t.Context(), r, strings.Replace(ref, reg.Host, p.Host, 1), digest)
			if test.fails == "" && err != nil || test.fails != "" && (err == nil || !strings.Contains(err.Error(), test.fails)) {
				t.Errorf("error %v, want %q", err, test.fails)
			}
			if test.waits != nil {
				if diff := cmp.Diff(test.waits, waits); diff != "" {
					t.Errorf("waits (-want +got):\n%s", diff)
				}
			}
			if sent := p.Sent(layer); test.fails == "" && sent != size {
				t.Errorf("%d bytes of a layer of %d were sent", sent, size)
			}
		})
	}
	for _, test := range []struct{ name, contentType, body, want string }{
		{"an index that refers to itself", string(types.OCIImageIndex), "", "nested more than"},
		{"an index of what is no image", string(types.OCIImageIndex), `{"schemaVersion":2,"manifests":[]}`, "it has nothing for platform"},
		{"an unknown type", "application/vnd.example.thing", `{"schemaVersion":2,"mediaType":"application/vnd.example.thing"}`, "unknown type"},
		{"schema 1", string(types.DockerManifestSchema1Signed), `{"schemaVersion":1}`, "schema 1"},
		{"no JSON", string(types.OCIManifestSchema1), `<html>`, "no JSON"},
		{"an artifact", string(types.OCIManifestSchema1), `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.example","digest":"sha256:` + strings.Repeat("0", 64) + `","size":2},"layers":[]}`, "no image but an artifact"},
		{"far too large", string(types.OCIManifestSchema1), strings.Repeat(" ", 17<<20), "larger than 16 MiB"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := registrytest.NewProxy(t, reg)
			if test.body == "" {
				p.Serve("manifests/1", test.contentType, []byte(selfIndex))
				p.Change("manifests/sha256", func([]byte) []byte { return []byte(selfIndex) })
				test.want = "has the digest" // a digest cannot stand for an index that names it
			} else {
				p.Serve("manifests/1", test.contentType, []byte(test.body))
			}
			r := image.Resolver{Registries: &image.Registries{Client: hasty(nil)}}
			_, _, err := r.ResolveTag(t.Context(), strings.Replace(ref, reg.Host, p.Host, 1), "linux/amd64")
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

func TestUnknownHost(t *testing.T) {
	r := image.Resolver{Registries: &image.Registries{Client: hasty(nil)}}
	_, _, err := r.ResolveTag(t.Context(), "no-such-host.invalid/a:1", "linux/amd64")
	if err == nil || !strings.Contains(err.Error(), "no such host") || image.Hint(err) == "" {
		t.Errorf("%v", err)
	}
}

func TestLockedNeedsNoNetwork(t *testing.T) {
	r := image.Resolver{Registries: &image.Registries{Offline: true}}
	l, err := image.Locked("registry.example/a:1", "", "sha256:"+strings.Repeat("1", 64))
	if err != nil {
		t.Fatal(err)
	}
	img, err := r.Resolve(t.Context(), l, "linux/amd64")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := img.Blob(t.Context(), img.Manifest()); err == nil || !strings.Contains(err.Error(), "--offline") {
		t.Errorf("reading it: %v", err)
	}
}

func TestArtifacts(t *testing.T) {
	reg := registrytest.Start(t, registrytest.Options{})
	r := image.Resolver{Registries: &image.Registries{Client: hasty(nil)}}
	several, digest := reg.Push(t, "data:1", registrytest.Artifact(t, map[string]string{"a/x.csv": "1,2\n", "b.bin": "bb"}))
	a, err := r.ResolveArtifact(t.Context(), several)
	if err != nil || a.Manifest != digest || len(a.Files) != 2 || a.Files[0].Path != "a/x.csv" || a.Files[0].Size != 4 {
		t.Fatalf("%+v, %v", a, err)
	}
	rc, err := r.OpenArtifact(t.Context(), image.ArtifactLocator{Ref: several, Digest: a.Files[0].Digest, Size: 4})
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	if b, err := io.ReadAll(rc); string(b) != "1,2\n" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	one, _ := reg.Push(t, "one:1", registrytest.Artifact(t, map[string]string{"named": "x"}))
	if a, err := r.ResolveArtifact(t.Context(), one); err != nil || len(a.Files) != 1 || a.Files[0].Path != "" {
		t.Errorf("%+v, %v", a, err)
	}
	for name, files := range map[string]map[string]string{"climbs": {"../x": "1", "y": "2"}, "absolute": {"/x": "1", "y": "2"}, "without a name": {"": "1", "y": "2"}, "empty": {}} {
		ref, _ := reg.Push(t, "bad:"+strings.ReplaceAll(name, " ", "-"), registrytest.Artifact(t, files))
		if _, err := r.ResolveArtifact(t.Context(), ref); err == nil {
			t.Errorf("%s: no error", name)
		} else {
			t.Log(err)
		}
	}
}

func TestPushedBySkopeo(t *testing.T) {
	registrytest.Need(t, "skopeo")
	reg := registrytest.Start(t, registrytest.Options{})
	ref, digest := reg.Push(t, "a:1", registrytest.Image(t, "linux/amd64", registrytest.Layer(t, map[string]string{"bin/a": "a"})))
	r := image.Resolver{Registries: &image.Registries{Client: hasty(nil)}}
	for _, form := range []string{"oci", "v2s2"} {
		to := reg.Host + "/copied:" + form
		out, err := exec.Command("skopeo", "copy", "--src-tls-verify=false", "--dest-tls-verify=false", "--format", form, "docker://"+ref, "docker://"+to).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		_, m, err := r.ResolveTag(t.Context(), to, "linux/amd64")
		if err != nil {
			t.Fatal(err)
		}
		if err := pull(t.Context(), r, to, m); err != nil {
			t.Error(err)
		}
	}
	// What plumb writes, skopeo reads.
	l, err := image.Locked(ref, "", digest)
	if err != nil {
		t.Fatal(err)
	}
	img, err := r.Resolve(t.Context(), l, "linux/amd64")
	if err != nil {
		t.Fatal(err)
	}
	var archive [2]bytes.Buffer
	for i := range archive {
		if err := image.WriteArchive(t.Context(), &archive[i], digest, "a:1", img.Blob); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(archive[0].Bytes(), archive[1].Bytes()) {
		t.Error("the same image was written in two ways")
	}
	name := filepath.Join(t.TempDir(), "a.tar")
	if err := os.WriteFile(name, archive[0].Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{"oci-archive:" + name, "docker-archive:" + name} {
		if out, err := exec.Command("skopeo", "inspect", "--raw", from).CombinedOutput(); err != nil || !json.Valid(out) {
			t.Errorf("%s: %v\n%s", from, err, out)
		}
	}
	again, err := r.Resolve(t.Context(), image.Locator{Archive: name}, "linux/amd64")
	if err != nil || again.Manifest() != digest {
		t.Errorf("read back: %v", err)
	}
}

// rootTar is a tar file of a small root filesystem.
func rootTar(t *testing.T) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []*tar.Header{{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755}, {Name: "./bin/", Typeflag: tar.TypeDir, Mode: 0o755}, {Name: "./bin/x", Typeflag: tar.TypeReg, Mode: 0o755, Size: 3}} {
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := w.Write([]byte("abc")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestRootFilesystemAndCompressedArchives(t *testing.T) {
	plain := rootTar(t)
	var gz, zs bytes.Buffer
	g := gzip.NewWriter(&gz)
	_, _ = g.Write(plain)
	_ = g.Close()
	z, _ := zstd.NewWriter(&zs)
	_, _ = z.Write(plain)
	_ = z.Close()
	var manifests []string
	for name, content := range map[string][]byte{"plain": plain, "gzip": gz.Bytes(), "zstd": zs.Bytes()} {
		file := filepath.Join(t.TempDir(), "root.tar")
		if err := os.WriteFile(file, content, 0o644); err != nil {
			t.Fatal(err)
		}
		r := image.Resolver{Cache: &memory{kept: map[string][]byte{}}}
		for range 2 { // the second time from the cache
			img, err := r.Resolve(t.Context(), image.Locator{Archive: file}, "linux/amd64")
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if n := whole(t, img); n != 3 { // manifest, config and the layer
				t.Errorf("%s: %d blobs", name, n)
			}
			manifests = append(manifests, img.Manifest())
		}
	}
	for _, m := range manifests {
		if m != manifests[0] {
			t.Errorf("the same files are %v", manifests)
			break
		}
	}
}

func TestArchivesThatLie(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, b []byte) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, b, 0o644); err != nil {
			t.Fatal(err)
		}
		return p
	}
	var bomb bytes.Buffer
	z, err := zstd.NewWriter(&bomb)
	if err != nil {
		t.Fatal(err)
	}
	zeros := make([]byte, 1<<20)
	for range 1100 {
		if _, err := z.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	var gz bytes.Buffer
	g := gzip.NewWriter(&gz)
	_, _ = g.Write(rootTar(t))
	_ = g.Close()
	outside := layoutDir(t, func(p layout.Path) error { return p.AppendImage(made(t, "linux/amd64", "x")) })
	if err := os.Rename(filepath.Join(outside, "index.json"), file("elsewhere.json", nil)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "elsewhere.json"), filepath.Join(outside, "index.json")); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ archive, want string }{
		"cut off":               {file("cut.tar", rootTar(t)[:1538]), "it is cut off"},
		"compressed and cut":    {file("cut.tgz", gz.Bytes()[:gz.Len()-20]), "cut off or damaged"},
		"a bomb":                {file("bomb.tzst", bomb.Bytes()), "decompresses to more than"},
		"a link out of it":      {outside, "escapes"},
		"something else":        {file("text", []byte("hello, this is a text\n")), "no readable tar"},
		"an empty file":         {file("empty", nil), "it is no image"},
		"compressed with bzip2": {file("x.bz2", []byte("BZh91AY&SY")), "bzip2"},
	} {
		_, err := image.Resolver{}.Resolve(t.Context(), image.Locator{Archive: test.archive}, "linux/amd64")
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
