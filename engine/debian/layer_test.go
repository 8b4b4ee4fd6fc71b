package debian

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"plumb/engine/apt/apttest"
)

// released is the date of images of tests; their files are older, if they say none.
var released = time.Date(2023, 6, 10, 12, 0, 0, 0, time.UTC)

// pack writes a package where Package.File says.
func pack(t testing.TB, d apttest.Deb) Package {
	t.Helper()
	return packBytes(t, d, d.Bytes(t))
}

func packBytes(t testing.TB, d apttest.Deb, b []byte) Package {
	t.Helper()
	p := Package{Name: d.Name, Version: d.Version, Architecture: "amd64", Size: int64(len(b)), SHA256: apttest.Digest(b), File: filepath.Join(t.TempDir(), d.Name+".deb")}
	if d.Architecture != "" {
		p.Architecture = d.Architecture
	}
	if err := os.WriteFile(p.File, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// imageOf has all packages in one layer.
func imageOf(packs ...Package) Image {
	return Image{Architecture: "amd64", Platform: "linux/amd64", Date: released, Layers: []Layer{{Name: "all", Packages: packs}}}
}

func packAll(t testing.TB, debs []apttest.Deb) []Package {
	t.Helper()
	var all []Package
	for _, d := range debs {
		all = append(all, pack(t, d))
	}
	return all
}

// assemble makes all layers: the base, those of packages, the database.
func assemble(t testing.TB, image Image) ([][]byte, error) {
	t.Helper()
	a := Assemble(t.Context(), image, nil)
	defer a.Close()
	writers := []func(io.Writer) error{a.WriteBase}
	for range image.Layers {
		writers = append(writers, a.WriteLayer)
	}
	var layers [][]byte
	for _, write := range append(writers, a.WriteDatabase) {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			return nil, err
		}
		layers = append(layers, b.Bytes())
	}
	return layers, nil
}

// layersOf is assemble of what must go well.
func layersOf(t testing.TB, debs ...apttest.Deb) (base, all, database []byte) {
	t.Helper()
	layers, err := assemble(t, imageOf(packAll(t, debs)...))
	if err != nil {
		t.Fatal(err)
	}
	return layers[0], layers[1], layers[2]
}

// listing has a line for each entry: kind and mode, owner where it is not root, name,
// what it links to, what is in it.
func listing(t testing.TB, layer []byte) []string {
	t.Helper()
	var lines []string
	for _, e := range entriesOf(t, layer) {
		line := fmt.Sprintf("%s %04o %s", kinds[e.Typeflag], e.Mode, e.Name)
		if e.Uid != 0 || e.Gid != 0 {
			line += fmt.Sprintf(" %d:%d", e.Uid, e.Gid)
		}
		if e.Linkname != "" {
			line += " > " + e.Linkname
		}
		if e.text != "" {
			line += " = " + e.text
		}
		lines = append(lines, line)
	}
	return lines
}

var kinds = map[byte]string{tar.TypeReg: "f", tar.TypeDir: "d", tar.TypeSymlink: "l", tar.TypeLink: "h", tar.TypeFifo: "p"}

type tarEntry struct {
	*tar.Header
	text string
}

func entriesOf(t testing.TB, layer []byte) (all []tarEntry) {
	t.Helper()
	r := tar.NewReader(bytes.NewReader(layer))
	for {
		h, err := r.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, tarEntry{h, string(b)})
	}
}

func TestBase(t *testing.T) {
	base, _, _ := layersOf(t, apttest.Deb{Name: "a", Version: "1"})
	want := strings.Fields(`dev/ etc/ home/ proc/ root/ run/ sys/ tmp/ usr/ usr/bin/ usr/lib/ usr/sbin/ var/ var/lib/ var/tmp/
		bin>usr/bin lib>usr/lib sbin>usr/sbin usr/lib32/ lib32>usr/lib32 usr/lib64/ lib64>usr/lib64 usr/libx32/ libx32>usr/libx32`)
	var got []string
	for _, e := range entriesOf(t, base) {
		if name := strings.TrimSuffix(e.Name+">"+e.Linkname, ">"); e.ModTime.Unix() == 0 {
			got = append(got, name)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, want := range []string{"d 0700 root/", "d 1777 tmp/", "d 0755 usr/bin/", "l 0777 bin > usr/bin"} {
		if list := strings.Join(listing(t, base), "\n"); !strings.Contains(list+"\n", want+"\n") {
			t.Errorf("no %q in\n%s", want, list)
		}
	}
}

func TestLayer(t *testing.T) {
	file := func(path, data string) apttest.File { return apttest.File{Path: path, Data: data} }
	replaces := func(what string) map[string]string { return map[string]string{"Replaces": what} }
	for _, test := range []struct {
		name string
		debs []apttest.Deb
		want []string
	}{
		{"files, links, modes and owners", []apttest.Deb{{Name: "a", Version: "1", Files: []apttest.File{
			{Path: "usr/"}, {Path: "usr/bin/"}, {Path: "usr/bin/su", Data: "su", Mode: 0o4755}, {Path: "usr/bin/wall", Mode: 0o2755, GID: 5}, {Path: "usr/bin/x", Link: "su"},
			{Path: "var/spool/", Mode: 0o1733, UID: 8}, {Path: "var/pipe", Type: tar.TypeFifo, Mode: 0o600}, {Path: "usr/bin/y", Hard: "usr/bin/su"},
		}}}, []string{"f 4755 usr/bin/su = su", "f 2755 usr/bin/wall 0:5", "l 0777 usr/bin/x > su", "d 1733 var/spool/ 8:0", "p 0600 var/pipe", "h 0644 usr/bin/y > usr/bin/su"}},
		{"a directory once, with the mode of the first", []apttest.Deb{
			{Name: "b", Version: "1", Files: []apttest.File{{Path: "srv/", Mode: 0o700}, file("srv/b", "b")}},
			{Name: "a", Version: "1", Files: []apttest.File{{Path: "srv/", Mode: 0o711}, {Path: "usr/"}}},
		}, []string{"d 0711 srv/", "f 0644 srv/b = b"}},
		{"a directory that only had something in it gets its mode", []apttest.Deb{
			{Name: "a", Version: "1", Files: []apttest.File{file("srv/a", "a")}},
			{Name: "b", Version: "1", Files: []apttest.File{{Path: "srv/", Mode: 0o700}}},
		}, []string{"f 0644 srv/a = a", "d 0700 srv/"}},
		{"a merged /usr", []apttest.Deb{{Name: "a", Version: "1", Files: []apttest.File{
			{Path: "lib/"}, {Path: "lib/x/"}, file("lib/x/f", "f"), file("bin/tool", "t"), {Path: "bin/hard", Hard: "bin/tool"}, {Path: "lib64", Link: "usr/lib64"}, file("lib64/ld.so", "l"),
		}}}, []string{"d 0755 usr/lib/x/", "f 0644 usr/lib/x/f = f", "f 0644 usr/bin/tool = t", "h 0644 usr/bin/hard > usr/bin/tool", "f 0644 usr/lib64/ld.so = l"}},
		{"through a link of a package", []apttest.Deb{
			{Name: "a", Version: "1", Files: []apttest.File{{Path: "usr/share/real/"}, {Path: "usr/share/one", Link: "two"}, {Path: "usr/share/two", Link: "/usr/share/../share/real"}}},
			{Name: "b", Version: "1", Files: []apttest.File{{Path: "usr/share/one/"}, file("usr/share/one/deep/f", "f")}},
		}, []string{"d 0755 usr/share/real/", "l 0777 usr/share/one > two", "l 0777 usr/share/two > /usr/share/../share/real", "f 0644 usr/share/real/deep/f = f"}},
		{"a link that climbs above the root", []apttest.Deb{{Name: "a", Version: "1", Files: []apttest.File{
			{Path: "srv/up", Link: "../../../../opt"}, file("srv/up/f", "f"),
		}}}, []string{"l 0777 srv/up > ../../../../opt", "f 0644 opt/f = f"}},
		{"a directory is never replaced by a link", []apttest.Deb{
			{Name: "a", Version: "1", Files: []apttest.File{{Path: "usr/share/doc/b/"}, file("usr/share/doc/b/f", "f")}},
			{Name: "b", Version: "1", Files: []apttest.File{{Path: "usr/share/doc/b", Link: "a"}, {Path: "usr/bin", Link: "elsewhere"}}},
		}, []string{"d 0755 usr/share/doc/b/", "f 0644 usr/share/doc/b/f = f"}},
		{"the later replaces files of the earlier", []apttest.Deb{
			{Name: "a", Version: "1", Files: []apttest.File{file("etc/x", "a")}},
			{Name: "b", Version: "1", Fields: replaces("c, a"), Files: []apttest.File{file("etc/x", "b")}},
		}, []string{"f 0644 etc/x = a", "f 0644 etc/x = b"}},
		{"the earlier replaces files of the later", []apttest.Deb{
			{Name: "a", Version: "1", Fields: replaces("b (<< 2)"), Files: []apttest.File{file("etc/x", "a")}},
			{Name: "b", Version: "1", Files: []apttest.File{file("etc/x", "b")}},
		}, []string{"f 0644 etc/x = a"}},
		{"times are clamped", []apttest.Deb{{Name: "a", Version: "1", Files: []apttest.File{{Path: "etc/old", Time: time.Unix(-5, 0)}, {Path: "etc/new", Time: released.AddDate(1, 0, 0)}}}},
			[]string{"f 0644 etc/old", "f 0644 etc/new"}},
		{"in a name's order, decorated names", []apttest.Deb{
			{Name: "b", Version: "1", Files: []apttest.File{file("/etc//b", "b")}}, {Name: "a", Version: "1", Files: []apttest.File{file("./etc/./a", "a")}},
		}, []string{"f 0644 etc/a = a", "f 0644 etc/b = b"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, layer, _ := layersOf(t, test.debs...)
			if diff := cmp.Diff(test.want, listing(t, layer)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			for _, e := range entriesOf(t, layer) {
				if e.ModTime.After(released) || e.ModTime.Before(time.Unix(0, 0)) {
					t.Errorf("%s is of %v", e.Name, e.ModTime)
				}
			}
		})
	}
}

func TestCapabilitiesAreKept(t *testing.T) {
	_, layer, _ := layersOf(t, apttest.Deb{Name: "a", Version: "1", Files: []apttest.File{{Path: "usr/bin/ping", Capability: "\x01\x00\x00\x02"}}})
	want := map[string]string{"SCHILY.xattr.security.capability": "\x01\x00\x00\x02"}
	if diff := cmp.Diff(want, entriesOf(t, layer)[0].PAXRecords); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWhatIsRefused(t *testing.T) {
	one := func(files ...apttest.File) []apttest.Deb {
		return []apttest.Deb{{Name: "a", Version: "1", Files: files}}
	}
	file := apttest.File{Path: "etc/x", Data: "x"}
	for name, test := range map[string]struct {
		debs []apttest.Deb
		want []string
	}{
		"a device":             {one(apttest.File{Path: "dev/null", Type: tar.TypeChar}), []string{`package "a"`, `"dev/null"`, "neither a file nor a directory nor a link"}},
		"a block device":       {one(apttest.File{Path: "dev/sda", Type: tar.TypeBlock}), []string{`"dev/sda"`}},
		"a deletion":           {one(apttest.File{Path: "etc/.wh.passwd"}), []string{`package "a"`, `"./etc/.wh.passwd"`, "deletion"}},
		"all of a directory":   {one(apttest.File{Path: "etc/.wh..wh..opq"}), []string{"deletion"}},
		"below a deletion":     {one(apttest.File{Path: "etc/.wh.x/y"}), []string{"deletion"}},
		"a name that climbs":   {one(apttest.File{Path: "../../etc/passwd"}), []string{`package "a"`, "leads out of the image"}},
		"one that climbs deep": {one(apttest.File{Path: "etc/../../x"}), []string{"leads out of the image"}},
		"a hard link outside":  {one(apttest.File{Path: "etc/x", Hard: "../x"}), []string{"leads out of the image"}},
		"a hard link nowhere":  {one(apttest.File{Path: "etc/x", Hard: "etc/none"}), []string{`"/etc/x"`, `"/etc/none"`, "not there"}},
		"a line in a name":     {one(apttest.File{Path: "etc/a\nb"}), []string{`"./etc/a\nb"`, "line"}},
		"through a file":       {one(file, apttest.File{Path: "etc/x/y"}), []string{`"/etc/x"`, "no directory"}},
		"a circle of links":    {one(apttest.File{Path: "srv/a", Link: "b"}, apttest.File{Path: "srv/b", Link: "a"}, apttest.File{Path: "srv/a/f"}), []string{`"/srv/a"`, "more than 40 links"}},
		"a file on a directory": {[]apttest.Deb{{Name: "a", Version: "1", Files: []apttest.File{{Path: "etc/x/"}}}, {Name: "b", Version: "1", Files: []apttest.File{file}}},
			[]string{`package "b"`, `"/etc/x"`, `a directory in package "a"`}},
		"a directory on a file": {[]apttest.Deb{{Name: "a", Version: "1", Files: []apttest.File{file}}, {Name: "b", Version: "1", Files: []apttest.File{{Path: "etc/x/"}}}},
			[]string{`package "b"`, `"/etc/x"`, `package "a"`}},
		"a file on a directory of the image": {one(apttest.File{Path: "usr/bin", Data: "x"}), []string{"a directory in the image"}},
		"a file of two packages": {[]apttest.Deb{{Name: "a", Version: "1", Files: []apttest.File{file}}, {Name: "b", Version: "1", Files: []apttest.File{file}}},
			[]string{`package "b"`, `"/etc/x"`, `in package "a", too`, "replaces"}},
		"Replaces of another version": {[]apttest.Deb{{Name: "a", Version: "2", Files: []apttest.File{file}}, {Name: "b", Version: "1", Fields: map[string]string{"Replaces": "a (<< 2)"}, Files: []apttest.File{file}}},
			[]string{`package "b"`, `package "a"`}},
		"Replaces that nobody can read": {[]apttest.Deb{{Name: "a", Version: "1", Fields: map[string]string{"Replaces": "b (>="}}}, []string{`package "a"`, "Replaces"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := assemble(t, imageOf(packAll(t, test.debs)...))
			if err == nil {
				t.Fatal("it was taken")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("it does not say %q: %v", want, err)
				}
			}
			if blamed, ok := IsPackage(err); !ok || blamed != test.debs[len(test.debs)-1].Name {
				t.Errorf("blamed is %q (%v)", blamed, ok)
			}
		})
	}
}

// many are packages of all kinds, in three layers.
func many(t testing.TB) Image {
	t.Helper()
	image := imageOf()
	image.Layers = nil
	forms := []string{"gz", "xz", "zst", "none"}
	for l := range 3 {
		layer := Layer{Name: fmt.Sprint(l)}
		for i := range 8 {
			name := fmt.Sprintf("p%d-%d", l, i)
			d := apttest.Deb{Name: name, Version: "1", Compression: forms[i%4], Scripts: map[string]string{"postinst": "#!/bin/sh\n"}}
			for f := range 20 {
				d.Files = append(d.Files, apttest.File{Path: fmt.Sprintf("usr/share/%s/%d", name, f), Data: strings.Repeat(name, 3000*(f%5))})
			}
			layer.Packages = append(layer.Packages, pack(t, d))
		}
		image.Layers = append(image.Layers, layer)
	}
	return image
}

func TestLayersAreTheSameEverywhere(t *testing.T) {
	image := many(t)
	before := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(before)
	var first [][]byte
	for _, procs := range []int{1, 2, 8} {
		runtime.GOMAXPROCS(procs)
		layers, err := assemble(t, image)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = layers
		}
		for i := range layers {
			if !bytes.Equal(first[i], layers[i]) {
				t.Errorf("layer %d differs with %d processors", i, procs)
			}
		}
		image.Layers[0].Packages[0], image.Layers[0].Packages[5] = image.Layers[0].Packages[5], image.Layers[0].Packages[0]
	}
}

func TestProgress(t *testing.T) {
	image := many(t)
	var last, total int64
	a := Assemble(t.Context(), image, func(d, of int64) { last, total = d, of })
	defer a.Close()
	if err := a.WriteBase(io.Discard); err != nil {
		t.Fatal(err)
	}
	for range image.Layers {
		if err := a.WriteLayer(io.Discard); err != nil {
			t.Fatal(err)
		}
	}
	if last != total || total == 0 {
		t.Errorf("%d of %d bytes were told", last, total)
	}
}

// A writer that fails, as of a full disk, is told as it is.
func TestWriterThatFails(t *testing.T) {
	full := errors.New("the disk is full")
	a := Assemble(t.Context(), imageOf(pack(t, apttest.Deb{Name: "a", Version: "1", Files: []apttest.File{{Path: "etc/big", Data: strings.Repeat("x", 2<<20)}}})), nil)
	defer a.Close()
	err := a.WriteBase(io.Discard)
	if err == nil {
		err = a.WriteLayer(failing{full})
	}
	if !errors.Is(err, full) {
		t.Errorf("error %v", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }
