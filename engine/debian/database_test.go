package debian

import (
	"archive/tar"
	"crypto/md5" //nolint:gosec // what dpkg's database has
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plumb/engine/apt/apttest"
)

// database gives the files of the last layer, by name.
func database(t *testing.T, debs ...apttest.Deb) map[string]string {
	t.Helper()
	_, _, layer := layersOf(t, debs...)
	all := map[string]string{}
	for _, e := range entriesOf(t, layer) {
		if e.Typeflag != tar.TypeDir {
			if _, twice := all[e.Name]; twice {
				t.Errorf("%s is there twice", e.Name)
			}
			all[e.Name] = strings.TrimPrefix(e.Linkname+"|"+e.text, "|")
		}
	}
	return all
}

const maintained = "Maintainer: Test <test@example.org>\n"

func TestDatabase(t *testing.T) {
	got := database(t,
		apttest.Deb{
			Name: "b", Version: "1", Fields: map[string]string{"Multi-Arch": "same", "Depends": "a"},
			Files:   []apttest.File{{Path: "etc/"}, {Path: "etc/b", Data: "b"}, {Path: "lib/"}, {Path: "lib/b"}},
			Scripts: map[string]string{"postinst": "#!/bin/sh\n", "preinst": "#!/bin/sh\n"}, Conffiles: []string{"/etc/b", "remove-on-upgrade /etc/old", "/etc/none"},
			Triggers: []string{"# of no account", "interest-noawait /usr/lib", "interest ldconfig", "activate-noawait other"},
		},
		apttest.Deb{Name: "a", Version: "2", Architecture: "all", Triggers: []string{"interest-await ldconfig", "interest /usr/lib # and why", "", "interest-noawait /etc"}},
	)
	want := map[string]string{
		"var/lib/dpkg/available": "", "var/lib/dpkg/info/format": "1\n", "var/lib/dpkg/triggers/Unincorp": "",
		"var/lib/dpkg/status": "Package: a\nStatus: install ok unpacked\nVersion: 2\nArchitecture: all\n" + maintained + "Description: a package of a test\n\n" +
			"Package: b\nStatus: install ok unpacked\nVersion: 1\nArchitecture: amd64\n" + maintained + "Depends: a\nMulti-Arch: same\nDescription: a package of a test\n" +
			fmt.Sprintf("Conffiles:\n /etc/b %x\n\n", md5.Sum([]byte("b"))), //nolint:gosec // see above
		"var/lib/dpkg/triggers/File": "/etc a/noawait\n/usr/lib a\n/usr/lib b:amd64/noawait\n", "var/lib/dpkg/triggers/ldconfig": "a\nb:amd64\n",
		"var/lib/dpkg/info/a.list": "/.\n", "var/lib/dpkg/info/a.triggers": "interest-await ldconfig\ninterest /usr/lib # and why\n\ninterest-noawait /etc\n",
		"var/lib/dpkg/info/b:amd64.list":      "/.\n/etc\n/etc/b\n/lib\n/lib/b\n",
		"var/lib/dpkg/info/b:amd64.conffiles": "/etc/b\nremove-on-upgrade /etc/old\n/etc/none\n", "var/lib/dpkg/info/b:amd64.postinst": "#!/bin/sh\n", "var/lib/dpkg/info/b:amd64.preinst": "#!/bin/sh\n",
		"var/lib/dpkg/info/b:amd64.triggers": "# of no account\ninterest-noawait /usr/lib\ninterest ldconfig\nactivate-noawait other\n",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestModesOfTheDatabase(t *testing.T) {
	_, _, layer := layersOf(t, apttest.Deb{Name: "a", Version: "1", Files: []apttest.File{{Path: "var/lib/dpkg/", Mode: 0o700}, {Path: "var/lib/dpkg/info/"}}, Scripts: map[string]string{"postinst": "x"}})
	got := strings.Join(listing(t, layer), "\n")
	for _, want := range []string{"f 0755 var/lib/dpkg/info/a.postinst = x", "f 0644 var/lib/dpkg/info/a.list", "d 0755 var/lib/dpkg/triggers/", "d 0755 var/lib/dpkg/updates/"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "var/lib/dpkg/ ") || strings.Contains(got, "dpkg/info/\n") {
		t.Errorf("directories of the package are there again:\n%s", got)
	}
}

// What an image calls sh, where its packages do not say.
func TestShell(t *testing.T) {
	program := func(path string) apttest.Deb {
		return apttest.Deb{Name: filepath.Base(path), Version: "1", Files: []apttest.File{{Path: path, Data: "x", Mode: 0o755}}}
	}
	for _, test := range []struct {
		name string
		debs []apttest.Deb
		want string
	}{
		{"busybox", []apttest.Deb{program("bin/busybox")}, "busybox"},
		{"dash before bash and busybox", []apttest.Deb{program("bin/busybox"), program("usr/bin/bash"), program("bin/dash")}, "dash"},
		{"a package has it", []apttest.Deb{program("bin/dash"), {Name: "z", Version: "1", Files: []apttest.File{{Path: "bin/sh", Link: "dash"}}}}, ""},
		{"there is none", []apttest.Deb{program("usr/bin/python3")}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := strings.TrimSuffix(database(t, test.debs...)["usr/bin/sh"], "|"); got != test.want {
				t.Errorf("sh is %q, want %q", got, test.want)
			}
		})
	}
}

func TestBadControlFiles(t *testing.T) {
	for line, want := range map[string]string{
		"interest":            `the line "interest"`,
		"interest a/b":        `the line "interest a/b"`,
		"interest ..":         `the line "interest .."`,
		"interest File":       `the line "interest File"`,
		"interest x y":        `the line "interest x y"`,
		"watch x":             `the line "watch x"`,
		"interest-forever x ": `the line "interest-forever x "`,
	} {
		_, err := assemble(t, imageOf(pack(t, apttest.Deb{Name: "a", Version: "1", Triggers: []string{line}})))
		if name, ok := IsPackage(err); !ok || name != "a" || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v", line, err)
		}
	}
	// As dpkg has it: this is no file of the package's own making.
	if got := database(t, apttest.Deb{Name: "a", Version: "1", Scripts: map[string]string{"list": "/etc/passwd\n"}})["var/lib/dpkg/info/a.list"]; got != "/.\n" {
		t.Errorf("its list is %q", got)
	}
}

// dpkg itself is the judge of the database, where this machine has it.
func TestDatabaseAsDpkgReadsIt(t *testing.T) {
	if _, err := exec.LookPath("dpkg-query"); err != nil {
		t.Skip("there is no dpkg-query")
	}
	_, _, layer := layersOf(t,
		apttest.Deb{Name: "a", Version: "1:2-3", Fields: map[string]string{"Multi-Arch": "same"}, Files: []apttest.File{{Path: "etc/"}, {Path: "etc/a", Data: "a"}}, Conffiles: []string{"/etc/a"}},
		apttest.Deb{Name: "b", Version: "1", Architecture: "all", Fields: map[string]string{"Depends": "a"}, Files: []apttest.File{{Path: "usr/share/b"}}, Triggers: []string{"interest /etc"}},
	)
	root := t.TempDir()
	for _, e := range entriesOf(t, layer) {
		full := filepath.Join(root, e.Name)
		var err error
		if e.Typeflag == tar.TypeDir {
			err = os.MkdirAll(full, 0o755)
		} else {
			err = os.WriteFile(full, []byte(e.text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	query := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("dpkg-query", append([]string{"--admindir", filepath.Join(root, adminDir)}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("dpkg-query %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"-W", "-f", "${Package} ${Version} ${db:Status-Abbrev}\n"}, "a 1:2-3 iU \nb 1 iU \n"},
		{[]string{"-L", "a:amd64"}, "/.\n/etc\n/etc/a\n"},
		{[]string{"-S", "/usr/share/b"}, "b: /usr/share/b\n"},
		{[]string{"-W", "-f", "${Conffiles}\n", "a"}, fmt.Sprintf(" /etc/a %x\n", md5.Sum([]byte("a")))}, //nolint:gosec // see above
	} {
		if got := query(test.args...); got != test.want {
			t.Errorf("%v: %q, want %q", test.args, got, test.want)
		}
	}
}
