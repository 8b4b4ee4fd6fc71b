package cmd

import (
	"archive/tar"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"plumb/engine"
	"plumb/engine/image/registrytest"
)

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
