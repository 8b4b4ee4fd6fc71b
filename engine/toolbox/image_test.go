package toolbox

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

type memory map[string][]byte

func (m memory) Get(key string) ([]byte, bool) { v, ok := m[key]; return v, ok }
func (m memory) Put(key string, value []byte)  { m[key] = value }

// program builds a small static program.
func program(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "main.go")
	if err := os.WriteFile(path, []byte("package main\n\nfunc main() {}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	exe := filepath.Join(dir, "exe")
	c := exec.Command("go", "build", "-o", exe, path)
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	return exe
}

func blob(t *testing.T, m *Image, digest string) []byte {
	t.Helper()
	r, err := m.Blob(t.Context(), digest)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	if got := "sha256:" + hex.EncodeToString(sum[:]); got != digest {
		t.Errorf("blob %s has digest %s", digest, got)
	}
	return data
}

func TestImage(t *testing.T) {
	exe := program(t)
	cache := memory{}
	m, err := Open(exe, cache)
	if err != nil {
		t.Fatal(err)
	}
	var manifest struct {
		Config struct{ Digest string }
		Layers []struct {
			Digest string
			Size   int64
		}
	}
	if err := json.Unmarshal(blob(t, m, m.Manifest()), &manifest); err != nil {
		t.Fatal(err)
	}
	var config struct {
		OS, Architecture string
		Config           struct{ Env []string }
		RootFS           struct {
			DiffIDs []string `json:"diff_ids"`
		}
	}
	if err := json.Unmarshal(blob(t, m, manifest.Config.Digest), &config); err != nil {
		t.Fatal(err)
	}
	if config.OS+"/"+config.Architecture != m.Platform || config.RootFS.DiffIDs[0] != manifest.Layers[0].Digest {
		t.Errorf("config %+v does not fit %s and %+v", config, m.Platform, manifest)
	}
	layer := blob(t, m, manifest.Layers[0].Digest)
	if int64(len(layer)) != manifest.Layers[0].Size {
		t.Errorf("the layer has %d bytes, the manifest says %d", len(layer), manifest.Layers[0].Size)
	}
	checkLayer(t, layer, exe)
	if m.Name() != "toolbox" {
		t.Errorf("name %q", m.Name())
	}
	if _, err := m.Blob(t.Context(), "sha256:no"); err == nil {
		t.Error("an unknown blob was opened")
	}
}

func checkLayer(t *testing.T, layer []byte, exe string) {
	t.Helper()
	seen := map[string]*tar.Header{}
	r := tar.NewReader(bytes.NewReader(layer))
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if !h.ModTime.Equal(time.Unix(0, 0)) || h.Uid != 0 {
			t.Errorf("%s has time %v and owner %d", h.Name, h.ModTime, h.Uid)
		}
		seen[h.Name] = h
		if h.Name == placed {
			data, err := io.ReadAll(r)
			want, err2 := os.ReadFile(exe)
			if err != nil || err2 != nil || !bytes.Equal(data, want) {
				t.Errorf("the binary in the layer is another one: %v, %v", err, err2)
			}
		}
	}
	for _, name := range Names() {
		if h := seen["bin/"+name]; h == nil || h.Linkname != "../"+placed {
			t.Errorf("bin/%s is %+v", name, h)
		}
	}
	for _, name := range []string{"tmp/", "etc/passwd", "etc/group", "root/", placed} {
		if seen[name] == nil {
			t.Errorf("no %s", name)
		}
	}
	if seen["tmp/"].Mode != 0o1777 {
		t.Errorf("tmp has mode %o", seen["tmp/"].Mode)
	}
}

func TestImageIsTheSameAnywhere(t *testing.T) {
	exe := program(t)
	data, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "other")
	if err := os.WriteFile(other, data, 0o700); err != nil {
		t.Fatal(err)
	}
	a, err := Open(exe, memory{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := Open(other, memory{})
	if err != nil {
		t.Fatal(err)
	}
	if a.Manifest() != b.Manifest() {
		t.Errorf("%s is not %s", a.Manifest(), b.Manifest())
	}
}

func TestImageCache(t *testing.T) {
	exe := program(t)
	cache := memory{}
	a, err := Open(exe, cache)
	if err != nil {
		t.Fatal(err)
	}
	if len(cache) != 1 {
		t.Fatalf("%d values in the cache", len(cache))
	}
	for key := range cache {
		cache[key] = []byte("sha256:" + strings.Repeat("0", 64))
	}
	b, err := Open(exe, cache)
	if err != nil {
		t.Fatal(err)
	}
	if a.layer == b.layer {
		t.Error("the cache was not asked")
	}
	// A wrong value is found out where the layer is read.
	r, err := b.Blob(t.Context(), b.layer)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.Copy(io.Discard, r); err == nil || !strings.Contains(err.Error(), "has changed") {
		t.Errorf("reading the layer: %v", err)
	}
	// What is no digest is made again.
	for key := range cache {
		cache[key] = []byte("broken")
	}
	if c, err := Open(exe, cache); err != nil || c.layer != a.layer {
		t.Errorf("layer %s, want %s: %v", c.layer, a.layer, err)
	}
	// A replaced binary is another image.
	if err := os.WriteFile(exe, mustRead(t, exe), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(exe, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("more"); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if d, err := Open(exe, cache); err != nil || d.layer == a.layer {
		t.Errorf("the replaced binary has the same layer: %v", err)
	}
	if _, err := a.Blob(t.Context(), a.layer); err == nil || !strings.Contains(err.Error(), "has changed") {
		t.Errorf("the layer of a replaced binary: %v", err)
	}
}

func mustRead(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestImageErrors(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ path, want string }{
		"missing": {"/nosuch", "no such file"},
		"text":    {text, "no ELF binary"},
		"dynamic": {"/bin/dash", "linked dynamically"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := os.Stat(c.path); err != nil && name == "dynamic" {
				t.Skip("no dynamic binary at hand")
			}
			if _, err := Open(c.path, memory{}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}
