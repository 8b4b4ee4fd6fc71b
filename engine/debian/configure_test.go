package debian

import (
	"archive/tar"
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"plumb/engine/apt/apttest"
)

// assembled is an image whose packages were written.
func assembled(t *testing.T, debs ...apttest.Deb) *Assembly {
	t.Helper()
	a := Assemble(t.Context(), imageOf(packAll(t, debs)...), nil)
	t.Cleanup(a.Close)
	for _, write := range []func(io.Writer) error{a.WriteBase, a.WriteLayer, a.WriteDatabase} {
		if err := write(io.Discard); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

// First come the packages that all rely on, then each after what it pre-depends on.
func TestOrderOfPreinst(t *testing.T) {
	with := func(name, needs string) apttest.Deb {
		d := apttest.Deb{Name: name, Version: "1", Fields: map[string]string{}, Scripts: map[string]string{"preinst": "#!/bin/sh\n"}}
		if needs != "" {
			d.Fields["Pre-Depends"] = needs
		}
		return d
	}
	libc := with("libc6", "libgcc")
	libc.Fields["Multi-Arch"] = "same"
	a := assembled(t, with("a", "z (>= 1), none | c"), with("b", ""), with("c", "a"), with("z", ""), libc, with("base-files", ""), with("libgcc", ""), with("base-passwd", ""),
		apttest.Deb{Name: "no-script", Version: "1", Scripts: map[string]string{"postinst": ""}})
	args, env := a.Command()
	want := strings.Fields("base-passwd base-files libgcc libc6:amd64 z c a b")
	if diff := cmp.Diff(want, args[4:]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, want := range []string{"SOURCE_DATE_EPOCH=1686398400", "DEBIAN_FRONTEND=noninteractive", "PLUMB_DEB_ARCH=amd64"} {
		if !strings.Contains(strings.Join(env, "\n")+"\n", want+"\n") {
			t.Errorf("no %s in %q", want, env)
		}
	}
}

// change is what configuring did to a file.
func change(name, text string) tarEntry {
	return tarEntry{&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(text)), ModTime: time.Now()}, text}
}

const installed = "Package: a\nStatus: install ok installed\nVersion: 1\n\n"

func configured(t *testing.T, changes ...tarEntry) (layer []byte, _ error) {
	t.Helper()
	var b bytes.Buffer
	c := assembled(t, apttest.Deb{Name: "a", Version: "1"}).NewConfigured(&b)
	for _, ch := range changes {
		if err := c.Add(ch.Header, strings.NewReader(ch.text)); err != nil {
			t.Fatal(err)
		}
	}
	err := c.Close()
	return b.Bytes(), err
}

func TestWhatIsKeptOfConfiguring(t *testing.T) {
	ofTheRun := strings.Fields(`tmp/x run/lock/x dev/null proc/1 sys/x var/tmp/x var/log/dpkg.log var/log/apt/term.log var/cache/ldconfig/aux-cache
		var/cache/debconf/config.dat-old var/cache/apt/pkgcache.bin var/lib/dpkg/lock var/lib/dpkg/lock-frontend var/lib/dpkg/triggers/Lock var/lib/dpkg/updates/0001
		var/lib/dpkg/status-old var/lib/dpkg/diversions-old etc/passwd- etc/shadow- etc/.pwd.lock etc/machine-id usr/sbin/policy-rc.d root/.cache/x var/lib/systemd/random-seed`)
	kept := strings.Fields(`etc/ld.so.cache etc/passwd etc/alternatives/awk usr/share/x.pyc var/cache/debconf/config.dat var/lib/dpkg/alternatives/awk var/lib/dpkg/triggers/File
		usr/tmp/x home/x etc/machine-identity usr/sbin/policy-rc.de srv/var/log/x etc/.wh.gone`)
	changes := []tarEntry{change("var/lib/dpkg/status", installed), {&tar.Header{Typeflag: tar.TypeDir, Name: "var/log/", Mode: 0o755}, ""}}
	for _, name := range append(ofTheRun, kept...) {
		changes = append(changes, change(name, "x"))
	}
	layer, err := configured(t, changes...)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entriesOf(t, layer) {
		got = append(got, e.Name)
		if e.ModTime.After(released) {
			t.Errorf("%s is of %v", e.Name, e.ModTime)
		}
	}
	if diff := cmp.Diff(append([]string{"var/lib/dpkg/status", "var/log/"}, kept...), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestShadowIsDated(t *testing.T) {
	layer, err := configured(t, change("var/lib/dpkg/status", installed), change("etc/shadow", "root:*:20000:0:99999:7:::\nnobody:!:::::::\nx:y\n"))
	if err != nil {
		t.Fatal(err)
	}
	// 2023-06-10 is day 19518.
	if got := entriesOf(t, layer)[1].text; got != "root:*:19518:0:99999:7:::\nnobody:!:::::::\nx:y\n" {
		t.Errorf("%q", got)
	}
}

func TestStatusOfConfiguring(t *testing.T) {
	for name, test := range map[string]struct{ status, want string }{
		"all installed":      {installed + "Package: b\nStatus: install ok installed\n", ""},
		"half configured":    {installed + "Package: b\nStatus: install ok half-configured\nVersion: 1\n", `package "b": it is not configured, its status is "install ok half-configured"`},
		"waits for others":   {"Package: c\nStatus: install ok triggers-pending\n\n" + installed, `package "c"`},
		"as it was":          {"", "as it was"},
		"only to unpacked":   {"Package: a\nStatus: install ok unpacked\n", `package "a"`},
		"reinst is required": {"Package: a\nStatus: install reinstreq installed\n", `package "a"`},
	} {
		t.Run(name, func(t *testing.T) {
			var changes []tarEntry
			if test.status != "" {
				changes = append(changes, change("var/lib/dpkg/status", test.status))
			}
			_, err := configured(t, changes...)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

// dpkgFailed is what dpkg prints when a postinst fails.
const dpkgFailed = `Setting up good (1) ...
Setting up bad:amd64 (1.0) ...
it cannot be done
dpkg: error processing package bad:amd64 (--configure):
 installed bad:amd64 package post-installation script subprocess returned error exit status 3
dpkg: dependency problems prevent configuration of worse:
 worse depends on bad; however:
  Package bad:amd64 is not configured yet.

dpkg: error processing package worse (--configure):
 dependency problems - leaving unconfigured
Errors were encountered while processing:
 bad:amd64
 worse
`

func TestConfigureError(t *testing.T) {
	for name, test := range map[string]struct {
		output  string
		code    int
		blamed  string
		want    []string
		wantNot string
	}{
		"a postinst":       {dpkgFailed, 1, "bad", []string{`configuring package "bad" failed (exit status 1)`, "it cannot be done", "exit status 3"}, ""},
		"many after it":    {dpkgFailed + strings.Repeat("Setting up another (1) ...\n", 100) + "Errors were encountered while processing:\n bad:amd64\n worse\n", 1, "bad", []string{"it cannot be done", "exit status 3"}, "another"},
		"too many after":   {strings.Repeat("Setting up another (1) ...\n", 100) + "Errors were encountered while processing:\n bad:amd64\n worse\n", 1, "bad", []string{"bad:amd64", "worse"}, ""},
		"a preinst":        {"no room for me\nplumb: the preinst script of bad ended with status 4\n", 1, "bad", []string{"no room for me", "ended with status 4"}, ""},
		"nothing was said": {"", 137, "", []string{"configuring its packages failed (exit status 137)"}, ""},
		"a long output":    {strings.Repeat("line of no account\n", 100) + "the first that is told\n" + strings.Repeat("another line\n", 18) + "the last", 1, "", []string{"the first that is told", "the last"}, "no account"},
	} {
		t.Run(name, func(t *testing.T) {
			e := NewConfigureError(test.output, test.code)
			if e.Package != test.blamed || e.Code != test.code {
				t.Errorf("blamed is %q, status %d", e.Package, e.Code)
			}
			for _, want := range test.want {
				if !strings.Contains(e.Error(), want) {
					t.Errorf("no %q in %v", want, e)
				}
			}
			if test.wantNot != "" && strings.Contains(e.Error(), test.wantNot) {
				t.Errorf("%q is in %v", test.wantNot, e)
			}
		})
	}
}
