package cmd

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"plumb/engine/image/registrytest"
)

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
