package debian

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plumb/engine/apt/apttest"
)

var forms = []string{"gz", "xz", "zst", "none"}

// plain is a package with something of everything.
func plain(compression string) apttest.Deb {
	return apttest.Deb{
		Name: "a", Version: "1:2.0-1", Compression: compression, Fields: map[string]string{"Depends": "b,\n c"},
		Files:   []apttest.File{{Path: "etc/"}, {Path: "etc/x", Data: strings.Repeat("some text ", 500)}},
		Scripts: map[string]string{"postinst": "#!/bin/sh\n"}, Conffiles: []string{"/etc/x"},
	}
}

func TestCompressions(t *testing.T) {
	var first []byte
	for _, form := range forms {
		_, layer, _ := layersOf(t, plain(form))
		if first == nil {
			first = layer
		}
		if !bytes.Equal(first, layer) || len(layer) < 5000 {
			t.Errorf("%s gives other bytes", form)
		}
	}
}

func TestOpenDeb(t *testing.T) {
	d, err := openDeb(pack(t, plain("xz")))
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	got := map[string]int64{}
	for _, c := range d.control {
		got[c.name] = c.mode
	}
	if diff := cmp.Diff(map[string]int64{"control": 0o644, "postinst": 0o755, "conffiles": 0o644}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if v := fieldOf(d.file("control"), "depends"); v != "b,\n c" {
		t.Errorf("Depends: %q", v)
	}
}

// A package that is cut off anywhere is an error that names it: also where a
// decompressor or a tar reader would take the end for one.
func TestCutDebs(t *testing.T) {
	for _, form := range forms {
		whole := plain(form).Bytes(t)
		for cut := 0; cut < len(whole); cut += max(1, len(whole)/150) {
			_, err := assemble(t, imageOf(packBytes(t, plain(form), whole[:cut])))
			if name, ok := IsPackage(err); !ok || name != "a" {
				t.Errorf("%s, cut at %d of %d: error %v", form, cut, len(whole), err)
			}
		}
	}
}

func TestBadDebs(t *testing.T) {
	good := apttest.Archive
	debian := apttest.Member{Name: "debian-binary", Data: []byte("2.0\n")}
	tarOf := func(h tar.Header, text string) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		h.Size = int64(len(text))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	control := apttest.Member{Name: "control.tar", Data: tarOf(tar.Header{Name: "./control", Mode: 0o644}, "Package: a\nVersion: 1:2.0-1\n")}
	data := apttest.Member{Name: "data.tar", Data: tarOf(tar.Header{Name: "./etc/x", Mode: 0o644}, "x")}
	cut := gzipOf(t, plain("gz"))
	cut = cut[:len(cut)-6]
	behind := apttest.Member{Name: "data.tar.gz", Data: append(gzipOf(t, plain("gz")), "and more"...)}
	for name, test := range map[string]struct {
		b    []byte
		want string
	}{
		"nothing":              {nil, "does not begin as an ar archive"},
		"garbage":              {bytes.Repeat([]byte("garbage "), 100), "does not begin as an ar archive"},
		"garbage in between":   {append(good(debian), bytes.Repeat([]byte("garbage "), 100)...), "no member where one should be, at byte 72"},
		"no members":           {good(), "lacks its control file or its data"},
		"no data":              {good(debian, control), "lacks its control file or its data"},
		"no control":           {good(debian, data), "lacks its control file or its data"},
		"unknown compression":  {good(debian, control, apttest.Member{Name: "data.tar.lz4"}), `"data.tar.lz4" is compressed in a way that is not known here`},
		"another compression":  {good(debian, control, apttest.Member{Name: "data.tar.xz", Data: data.Data}), "xz"},
		"more behind the data": {good(debian, control, behind), "reading its data"},
		"a checksum cut off":   {good(debian, control, apttest.Member{Name: "data.tar.gz", Data: cut}), "unexpected EOF"},
		"another package":      {apttest.Deb{Name: "b", Version: "1:2.0-1"}.Bytes(t), "the file holds b 1:2.0-1, not a 1:2.0-1"},
		"another version":      {apttest.Deb{Name: "a", Version: "3"}.Bytes(t), "the file holds a 3, not a 1:2.0-1"},
		"a path for a name":    {good(debian, apttest.Member{Name: "control.tar", Data: tarOf(tar.Header{Name: "./../status"}, "x")}, data), `of the name "./../status"`},
		"too many control files": {good(debian, apttest.Member{Name: "control.tar.gz", Data: gzipped(t, tarOf(tar.Header{Name: "./templates"}, strings.Repeat("x", maxControl+1)))}, data),
			"more than 64 MiB"},
		"a broken xz":  {spoiled(plain("xz").Bytes(t)), "reading its data"},
		"a broken zst": {spoiled(plain("zst").Bytes(t)), "reading its data"},
		"a broken gz":  {spoiled(plain("gz").Bytes(t)), "reading its data"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := assemble(t, imageOf(packBytes(t, plain(""), test.b)))
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), `package "a": `) || errors.Is(err, ErrDamaged) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

// spoiled has other bytes at the end, in the checksums of the data.
func spoiled(b []byte) []byte {
	for i := range 10 {
		b[len(b)-2-i] ^= 0x55
	}
	return b
}

// gzipOf is the data member of a package.
func gzipOf(t *testing.T, d apttest.Deb) []byte {
	t.Helper()
	p := pack(t, d)
	f, err := os.Open(p.File)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, err := membersOf(f)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, all[2].data.Size())
	if _, err := all[2].data.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestKeptFileThatChanged(t *testing.T) {
	p := pack(t, plain(""))
	b, err := os.ReadFile(p.File)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(p.File, b, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = assemble(t, imageOf(p))
	if name, ok := IsPackage(err); !ok || name != "a" || !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), p.SHA256) {
		t.Errorf("error %v", err)
	}
	p.File = filepath.Join(t.TempDir(), "none")
	if _, err := assemble(t, imageOf(p)); !errors.Is(err, os.ErrNotExist) || errors.Is(err, ErrDamaged) {
		t.Errorf("a file that is gone: %v", err)
	}
}

func FuzzOpenDeb(f *testing.F) {
	for _, form := range forms {
		f.Add(plain(form).Bytes(f))
	}
	f.Add(apttest.Archive(apttest.Member{Name: "data.tar"}))
	f.Add([]byte(arMagic + strings.Repeat(" ", 48) + "-1        `\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p := packBytes(t, plain(""), b)
		file, err := os.Open(p.File)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		all, err := membersOf(file)
		total := 0
		for _, m := range all {
			total += arHeader + int(m.data.Size())
		}
		if err == nil && total+len(arMagic) > len(b) {
			t.Errorf("%d bytes of members in %d", total, len(b))
		}
		d, err := openDeb(p)
		if err != nil {
			return
		}
		if d.file("control") == "" || d.data == nil {
			t.Error("opened without its parts")
		}
		if err := d.close(); err != nil {
			t.Error(err)
		}
	})
}

func FuzzControlFiles(f *testing.F) {
	for _, d := range []apttest.Deb{plain("none"), {Name: "b", Version: "1", Compression: "none", Triggers: []string{"interest x"}}} {
		p := pack(f, d)
		file, err := os.Open(p.File)
		if err != nil {
			f.Fatal(err)
		}
		defer file.Close()
		all, err := membersOf(file)
		if err != nil {
			f.Fatal(err)
		}
		b := make([]byte, all[1].data.Size())
		if _, err := all[1].data.ReadAt(b, 0); err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := controlFiles(member{"control.tar", sectionOf(b)})
		if err != nil {
			return
		}
		size := 0
		for _, c := range all {
			size += len(c.data)
			if strings.ContainsAny(c.name, "/\n ") || strings.HasPrefix(c.name, ".") || c.name == "" {
				t.Errorf("the name %q was taken", c.name)
			}
		}
		if size > maxControl {
			t.Errorf("%d bytes", size)
		}
	})
}

func FuzzParagraph(f *testing.F) {
	f.Add("Package: a\nVersion: 1\nDescription: x\n y\n .\n z", "description")
	f.Add("package:a\nStatus: install ok installed", "Package")
	f.Add("\n\n: \n :", "")
	f.Fuzz(func(t *testing.T, text, name string) {
		value := fieldOf(text, name)
		if value != strings.TrimSpace(value) || !strings.Contains(text, value) {
			t.Errorf("%q of %q", value, text)
		}
		u := &unpacked{paragraph: text, conffiles: map[string]string{"/etc/x": "d41d"}}
		stanza := u.stanza()
		if !strings.HasSuffix(stanza, "Conffiles:\n /etc/x d41d\n\n") {
			t.Errorf("%q", stanza)
		}
		// What was there is still there, in its order.
		rest := strings.Split(stanza, "\n")
		for line := range strings.SplitSeq(text, "\n") {
			for len(rest) > 0 && rest[0] != line {
				rest = rest[1:]
			}
			if len(rest) == 0 {
				t.Fatalf("%q is not in %q", line, stanza)
			}
			rest = rest[1:]
		}
	})
}

func sectionOf(b []byte) *io.SectionReader {
	return io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b)))
}

func gzipped(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(b)
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
