package hcl

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// debianLock has Debian images beside others, out of order.
func debianLock() *Lock {
	pin := func(name, layer string) LockedPackage {
		return LockedPackage{Name: name, Version: "1:2.36~rc1-9+deb12u14", Architecture: "amd64", Suite: "bookworm", Path: "pool/main/" + name + ".deb", Size: 123, SHA256: digestB, Layer: layer}
	}
	return &Lock{
		Images: []LockedImage{
			{Name: "sh", Platform: "linux/amd64", Ref: "busybox:1.36", Manifest: digestA},
			{Name: "py", Platform: "linux/amd64", Manifest: digestC, Debian: &LockedDebian{
				Suite: "bookworm", Variant: "standard", Packages: []string{"python3-sklearn", "bash=5.2-1"}, Recommends: true, Date: "2026-11-01T10:00:00Z", Recipe: "1",
				Layers: []string{"essential", "python3-sklearn"}, Pins: []LockedPackage{pin("libc6", "essential"), pin("bash", "essential")},
			}},
			{Name: "bare", Platform: "linux/arm64", Manifest: digestA, Debian: &LockedDebian{
				Suite: "bookworm", Variant: "standard", Date: "2026-11-01T10:00:00Z", Recipe: "1", Layers: []string{"essential"}, Pins: []LockedPackage{pin("dash", "essential")},
			}},
		},
		Sources: []LockedSource{{Name: "wine", URL: "https://data.example/wine.csv", Files: []LockedFile{{"", 11, digestB}}}},
	}
}

const debianLockText = lockHeader + `version = 2

image "bare" "linux/arm64" { debian = { suite = "bookworm", variant = "standard", date = "2026-11-01T10:00:00Z", recipe = "1", layers = "essential", manifest = "A" } }
image "py" "linux/amd64" { debian = { suite = "bookworm", variant = "standard", packages = "python3-sklearn bash=5.2-1", recommends = "yes", date = "2026-11-01T10:00:00Z", recipe = "1", layers = "essential python3-sklearn", manifest = "C" } }
image "sh" "linux/amd64" { registry = { ref = "busybox:1.36", manifest = "A" } }
package "bare" "linux/arm64" "dash" { deb = { version = "1:2.36~rc1-9+deb12u14", architecture = "amd64", suite = "bookworm", path = "pool/main/dash.deb", size = 123, sha256 = "B", layer = "essential" } }
package "py" "linux/amd64" "bash" { deb = { version = "1:2.36~rc1-9+deb12u14", architecture = "amd64", suite = "bookworm", path = "pool/main/bash.deb", size = 123, sha256 = "B", layer = "essential" } }
package "py" "linux/amd64" "libc6" { deb = { version = "1:2.36~rc1-9+deb12u14", architecture = "amd64", suite = "bookworm", path = "pool/main/libc6.deb", size = 123, sha256 = "B", layer = "essential" } }
source "wine" { url = { url = "https://data.example/wine.csv", size = 11, sha256 = "B" } }
`

// decodeBothWays reads a lock with the scanner and without it, which must make no
// difference.
func decodeBothWays(t *testing.T, text string, moving func(string) bool) (*Lock, Diagnostics) {
	t.Helper()
	fast, diags := decodeLockBy((*evaluation).parseLock, []byte(text), moving)
	slow, slowDiags := decodeLockBy((*evaluation).parseWhole, []byte(text), moving)
	if diff := cmp.Diff(slow, fast, unequal()); diff != "" {
		t.Errorf("the scanner reads another lock (-parser +scanner):\n%s", diff)
	}
	if diff := cmp.Diff(slowDiags, diags); diff != "" {
		t.Errorf("the scanner reports something else (-parser +scanner):\n%s", diff)
	}
	return fast, diags
}

// unequal lets go-cmp look into images instead of asking Equal.
func unequal() cmp.Option {
	return cmp.Transformer("fields", func(i LockedImage) any {
		type plain LockedImage
		return plain(i)
	})
}

func TestDebianLockRoundTrip(t *testing.T) {
	lock, want := debianLock(), digests(debianLockText)
	if diff := cmp.Diff(want, string(lock.Encode())); diff != "" {
		t.Errorf("encoded (-want +got):\n%s", diff)
	}
	if lock.Images[1].Debian.Pins[0].Name != "libc6" {
		t.Error("encoding sorted the lock itself")
	}
	back, diags := decodeBothWays(t, want, nil)
	if len(diags) > 0 {
		t.Fatal(rendered(diags))
	}
	lock.sort()
	if diff := cmp.Diff(lock, back, unequal()); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
}

func TestDebianLockReadsLinesInAnyOrder(t *testing.T) {
	lines := strings.Split(strings.TrimSpace(digests(debianLockText)), "\n")
	mixed := ""
	for i := range lines {
		mixed += lines[len(lines)-1-i] + "\n"
	}
	mixed += lines[6] + "\n" + strings.Replace(lines[7], "deb =", "deb  =", 1) + "\n" // said twice, as a merge may, and not in the form that is scanned
	l, diags := decodeBothWays(t, mixed, nil)
	if len(diags) > 0 {
		t.Fatal(rendered(diags))
	}
	if diff := cmp.Diff(digests(debianLockText), string(l.Encode())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestScannerKnowsWhatEncodeWrites(t *testing.T) {
	text := digests(debianLockText)
	lines, rest := scanPackages(text)
	if len(lines) != 3 {
		t.Errorf("%d lines are scanned", len(lines))
	}
	var kept strings.Builder
	for _, c := range rest {
		kept.WriteString(text[c.start.Byte:c.end])
	}
	if strings.Contains(kept.String(), "\npackage") || strings.Count(kept.String(), "\n") != strings.Count(text, "\n")-3 {
		t.Errorf("left for the parser:\n%s", kept.String())
	}
}

func TestScannerLeavesOtherLines(t *testing.T) {
	good := digests(`package "py" "linux/amd64" "bash" { deb = { version = "5", architecture = "amd64", suite = "sid", path = "pool/b.deb", size = 12, sha256 = "B", layer = "x" } }`)
	if _, ok := scanPackage(good); !ok {
		t.Fatal("the good line is left")
	}
	tests := []struct{ name, from, to string }{
		{"space before", `package`, ` package`},
		{"space behind", ` } }`, ` } } `},
		{"remark", ` } }`, ` } } # why`},
		{"two spaces", ` deb =`, `  deb =`},
		{"carriage return", ` } }`, " } }\r"},
		{"escape", `"py"`, `"p\u0079"`},
		{"template", `"py"`, `"${p}y"`},
		{"directive", `"py"`, `"%{p}y"`},
		{"other letters", `"py"`, `"pü"`},
		{"leading zero", `12,`, `012,`},
		{"no size", `12,`, `,`},
		{"large size", `12,`, `1234567890123456789,`},
		{"negative size", `12,`, `-12,`},
		{"size of another type", `12,`, `"12",`},
		{"bad digest", `"sha256:`, `"sha512:`},
		{"bad version", `"5"`, `"5 6"`},
		{"climbing path", `pool/b.deb`, `pool/../../b.deb`},
		{"absolute path", `pool/b.deb`, `/pool/b.deb`},
		{"bad name", `"bash"`, `"bash=5"`},
		{"no layer", `, layer = "x"`, ``},
		{"empty layer", `"x"`, `""`},
		{"other order", `version = "5", architecture = "amd64"`, `architecture = "amd64", version = "5"`},
		{"cut off", `} }`, `}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			line := strings.Replace(good, test.from, test.to, 1)
			if line == good {
				t.Fatal("nothing was changed")
			}
			if _, ok := scanPackage(line); ok {
				t.Errorf("scanned:\n%s", line)
			}
			decodeBothWays(t, digests(debianLockText)+line+"\n", nil)
		})
	}
}

func TestDebianLockMistakes(t *testing.T) {
	image := `image "py" "linux/amd64" { debian = { suite = "bookworm", variant = "standard", packages = "bash", date = "2026-11-01T10:00:00Z", recipe = "1", layers = "essential", manifest = "A" } }` + "\n"
	pkg := `package "py" "linux/amd64" "bash" { deb = { version = "5", architecture = "amd64", suite = "bookworm", path = "pool/bash.deb", size = 1, sha256 = "B", layer = "essential" } }` + "\n"
	change := func(text, from, to string) string {
		if !strings.Contains(text, from) {
			t.Fatalf("no %s in %s", from, text)
		}
		return strings.Replace(text, from, to, 1)
	}
	other := change(pkg, `"5"`, `"6"`)
	tests := []struct {
		name, text string
		want       []expectation
	}{
		{"good", image + pkg, nil},
		{"package alone", pkg, []expectation{{2, "Package without its image"}}},
		{"package of another platform", image + pkg + change(pkg, "amd64", "arm64"), []expectation{{4, "Package without its image"}}},
		{"package of an image from a registry", `image "py" "linux/amd64" { registry = { ref = "a:1", manifest = "A" } }` + "\n" + pkg, []expectation{{3, "Package without its image"}}},
		{"no packages", image, []expectation{{2, "Bad pin"}}},
		{"package twice", image + pkg + pkg, nil},
		{"two versions", image + pkg + other, []expectation{{4, "Pinned twice"}}},
		{"two versions of two packages", image + pkg + other + change(pkg, "bash", "dash") + change(other, "bash", "dash"), []expectation{{4, "Pinned twice"}}},
		{"two dates", image + change(image, "2026", "2027") + pkg, []expectation{{3, "Pinned twice"}}},
		{"unknown layer", image + change(pkg, `"essential"`, `"esential"`), []expectation{{3, "Bad pin"}}},
		{"layer twice", change(image, `"essential"`, `"a a"`) + pkg, []expectation{{2, "Bad pin"}, {3, "Package without its image"}}},
		{"bad suite", change(image, `"bookworm"`, `"Bookworm"`), []expectation{{2, "Bad pin"}}},
		{"bad variant", change(image, `"standard"`, `"large"`), []expectation{{2, "Bad pin"}}},
		{"bad packages", change(image, `"bash"`, `"bash  dash"`), []expectation{{2, "Bad pin"}}},
		{"bad date", change(image, `"2026-11-01T10:00:00Z"`, `"2026-11-01"`), []expectation{{2, "Bad pin"}}},
		{"bad recommends", change(image, `recipe`, `recommends = "no", recipe`), []expectation{{2, "Bad pin"}}},
		{"no recipe", change(image, `recipe = "1", `, ""), []expectation{{2, "Bad pin"}}},
		{"bad manifest", change(image, `"A"`, `"a"`), []expectation{{2, "Bad digest"}}},
		{"bad platform", change(image, "amd64", "amd 64"), []expectation{{2, "Bad platform"}}},
		{"bad version", image + pkg + change(pkg, `"5"`, `""`), []expectation{{4, "Bad pin"}}},
		{"bad architecture", image + pkg + change(pkg, `"amd64"`, `"AMD64"`), []expectation{{4, "Bad pin"}}},
		{"bad digest", image + pkg + change(pkg, `"B"`, `"b"`), []expectation{{4, "Bad digest"}}},
		{"bad size", image + pkg + change(pkg, `size = 1`, `size = 0.5`), []expectation{{4, "Bad pin"}}},
		{"climbing path", image + pkg + change(pkg, `pool/`, `../`), []expectation{{4, "Bad path"}}},
		{"bad name", image + pkg + change(pkg, `"bash"`, `"bash=5"`), []expectation{{4, "Bad package name"}}},
		{"bad platform of a package", image + pkg + change(pkg, `linux/amd64`, `linux`), []expectation{{4, "Bad platform"}}},
		{"no name", image + pkg + change(pkg, `"bash" `, ``), []expectation{{4, "Bad pin"}}},
		{"package in an image", image + pkg + "image \"a\" \"linux/amd64\" {\n" + pkg + "}\n", []expectation{{5, "Unknown block"}}},
		{"package in a comment", image + "/*\n" + pkg + "*/\n", []expectation{{2, "Bad pin"}}},
		{"package in a text", image + "x = <<E\n" + pkg + "E\n" + pkg, []expectation{{3, "Unknown attribute"}}},
		{"format said twice", image + pkg + "version = 2\n", []expectation{{4, "Attribute redefined"}}},
		{"syntax", image + pkg + "image\n", []expectation{{4, "Argument or block definition required"}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			l, diags := decodeBothWays(t, digests("version = 2\n"+test.text), nil)
			if (l == nil) != (len(test.want) > 0) {
				t.Errorf("the lock is %v", l)
			}
			if diff := cmp.Diff(test.want, found(diags)); diff != "" {
				t.Errorf("diagnostics (-want +got):\n%s%s", diff, rendered(diags))
			}
		})
	}
}

// TestMovingDebianLock reads what merges leave of an image that is to move anyway.
func TestMovingDebianLock(t *testing.T) {
	lines := strings.SplitAfter(digests(debianLockText), "\n")
	head, image, bash, libc := "version = 2\n", lines[4], lines[7], lines[8]
	registry := digests(`image "py" "linux/amd64" { registry = { ref = "a:1", manifest = "A" } }` + "\n")
	newer := strings.Replace(bash, "deb12u14", "deb12u15", 1)
	tests := []struct {
		name, text, want string
	}{
		{"two versions", image + bash + newer + libc, image + newer + libc},
		{"two versions, the later one not as it is written", image + newer + libc + strings.Replace(bash, "deb =", "deb=", 1), image + bash + libc},
		{"two images", image + strings.Replace(image, "2026", "2027", 1) + bash, strings.Replace(image, "2026", "2027", 1) + bash},
		{"no image of packages any more", image + registry + bash, registry},
		{"no packages left", registry + image, image},
		{"image gone", bash, ""},
		{"layers of another", strings.Replace(image, "essential ", "other ", 1) + bash, strings.Replace(image, "essential ", "other ", 1) + bash},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			l, diags := decodeBothWays(t, head+test.text, func(name string) bool { return name == "py" })
			if len(diags) > 0 {
				t.Fatal(rendered(diags))
			}
			want := lockHeader + head
			if test.want != "" {
				want += "\n" + test.want
			}
			if diff := cmp.Diff(want, string(l.Encode())); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestBranchesThatBothMoveADebianImageAreTold(t *testing.T) {
	move := func(version string) func(*Lock) {
		return func(l *Lock) {
			image := *l.Image("py", "linux/amd64")
			image.Debian = image.Debian.clone()
			for i := range image.Debian.Pins {
				image.Debian.Pins[i].Version = version
			}
			l.SetImage(image)
		}
	}
	_, diags := newGitProject(t, debianLock()).merge(move("8"), move("9"))
	if len(diags) != 1 || diags[0].Summary != "Pinned twice" || !strings.Contains(diags[0].Hint, "plumb lock --update py") {
		t.Errorf("diagnostics:\n%s", rendered(diags))
	}
}

// TestLockedImageEqual changes every field in turn.
func TestLockedImageEqual(t *testing.T) {
	filled := func() LockedImage {
		var i LockedImage
		n := 0
		fill(reflect.ValueOf(&i).Elem(), &n)
		return i
	}
	a := filled()
	if !a.Equal(filled()) || !(LockedImage{}).Equal(LockedImage{}) {
		t.Error("equal pins differ")
	}
	b := filled()
	if b.Debian.Packages, a.Debian.Packages = nil, []string{}; !a.Equal(b) {
		t.Error("no packages differ from none")
	}
	if b.Debian = nil; a.Equal(b) || b.Equal(a) {
		t.Error("a pin of packages equals one without")
	}
	var change func(path string, b *LockedImage, v reflect.Value)
	change = func(path string, b *LockedImage, v reflect.Value) {
		switch v.Kind() {
		case reflect.Struct:
			for i := range v.NumField() {
				change(path+"."+v.Type().Field(i).Name, b, v.Field(i))
			}
			return
		case reflect.Pointer:
			change(path, b, v.Elem())
			return
		case reflect.Slice:
			change(path, b, v.Index(v.Len()-1))
			return
		}
		old := reflect.New(v.Type()).Elem()
		old.Set(v)
		v.SetZero()
		if filled().Equal(*b) {
			t.Errorf("%s is not compared", path)
		}
		v.Set(old)
	}
	c := filled()
	change("image", &c, reflect.ValueOf(&c).Elem())
}

// manyPackages is a lock with an image of n packages.
func manyPackages(n int) []byte {
	d := &LockedDebian{Suite: "bookworm", Variant: "standard", Packages: []string{"python3-sklearn"}, Date: "2026-11-01T10:00:00Z", Recipe: "1", Layers: []string{"essential", "python3-sklearn"}}
	for i := range n {
		name := fmt.Sprintf("python3-package-number-%d", i)
		d.Pins = append(d.Pins, LockedPackage{
			Name: name, Version: "2.36-9+deb12u14", Architecture: "amd64", Suite: "bookworm", Path: "pool/main/p/" + name + "/" + name + "_2.36-9+deb12u14_amd64.deb",
			Size: int64(i) * 1001, SHA256: digestA, Layer: d.Layers[i%2],
		})
	}
	l := debianLock()
	l.SetImage(LockedImage{Name: "py", Platform: "linux/amd64", Manifest: digestC, Debian: d})
	return l.Encode()
}

func benchmarkDecodeLock(b *testing.B, parse lockParser) {
	data := manyPackages(600)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, diags := decodeLockBy(parse, data, nil); len(diags) > 0 {
			b.Fatal(string(rendered(diags)))
		}
	}
}

func BenchmarkDecodeLock600(b *testing.B) { benchmarkDecodeLock(b, (*evaluation).parseLock) }

func BenchmarkDecodeLock600Whole(b *testing.B) { benchmarkDecodeLock(b, (*evaluation).parseWhole) }

func TestManyPackages(t *testing.T) {
	data := manyPackages(600)
	l, diags := decodeBothWays(t, string(data), nil)
	if len(diags) > 0 || !bytes.Equal(data, l.Encode()) {
		t.Errorf("%d packages, another text, or %s", len(l.Image("py", "linux/amd64").Debian.Pins), rendered(diags))
	}
}
