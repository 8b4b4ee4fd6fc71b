package cmd

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"

	"plumb/engine/apt"
	"plumb/engine/apt/apttest"
)

// machineMirrors are lines for the attribute mirror, and the keys that sign them: the
// machine's own sources of bookworm. Its dpkg and what that needs are real.
func machineMirrors(t *testing.T) (mirrors []string, keys openpgp.EntityList) {
	t.Helper()
	all, err := apt.MachineSources("/")
	if err != nil {
		t.Fatal(err)
	}
	files := apt.DefaultKeyrings()
	for _, s := range apt.ForSuite(all, "bookworm") {
		if s.Trusted {
			t.Skip("this machine trusts a source without a signature")
		}
		if s.Keyring != "" && !slices.Contains(files, s.Keyring) {
			files = append(files, s.Keyring)
		}
		mirrors = append(mirrors, strings.Join(append([]string{s.URL, s.Suite}, s.Components...), " "))
	}
	if len(mirrors) == 0 {
		t.Skip("this machine has no apt sources for bookworm")
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		read := openpgp.ReadKeyRing
		if bytes.Contains(b, []byte("-----BEGIN PGP")) {
			read = openpgp.ReadArmoredKeyRing
		}
		found, err := read(bytes.NewReader(b))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		keys = append(keys, found...)
	}
	return mirrors, keys
}

// A script of a package that fails ends the making of the image: the package is named,
// with what it printed, and nothing of the image is to be seen.
func TestDebianScriptsThatFail(t *testing.T) {
	mirrors, keys := machineMirrors(t)
	s := newSite(t)
	m := apttest.New(t, time.Now())
	script := func(text string) string { return "#!/bin/sh\n" + text + "\n" }
	m.Publish(apttest.Suite{Debs: []apttest.Deb{
		{Name: "bad-postinst", Version: "1", Scripts: map[string]string{"postinst": script("echo no luck with $1; exit 3")}},
		{Name: "bad-preinst", Version: "1", Scripts: map[string]string{"preinst": script("echo no room for $DPKG_MAINTSCRIPT_PACKAGE; exit 4"), "postinst": script("exit 0")}},
	}})
	dir := s.pipeline("p", "")
	b, err := os.ReadFile(apttest.WriteKeyring(t, append(keys, m.Key)...))
	if err != nil {
		t.Fatal(err)
	}
	s.write(filepath.Join(dir, "keys.asc"), string(b))
	quoted := ""
	for _, line := range append(mirrors, m.URL) {
		quoted += fmt.Sprintf("%q, ", line)
	}
	for _, test := range []struct {
		name string
		want []string
	}{
		{"bad-preinst", []string{`configuring package "bad-preinst" failed (exit status 1)`, "no room for bad-preinst", "the preinst script of bad-preinst ended with status 4"}},
		{"bad-postinst", []string{`configuring package "bad-postinst" failed (exit status 1)`, "no luck with configure", "exit status 3"}},
	} {
		s.debian(dir, fmt.Sprintf("packages = [%q]\n    mirror = [%s]\n    keyring = \"keys.asc\"", test.name, quoted))
		began := time.Now()
		r := s.want(3, dir, "lock")
		if strings.Contains(r.err, "reading suite") || strings.Contains(r.err, "downloading package") {
			t.Skip("the sources of this machine cannot be read")
		}
		r.wantSays(t, append(test.want, `image "d"`, "leave the package out")...)
		t.Logf("%s: %v", test.name, time.Since(began))
		s.wantUnmade(dir, "")
		if left := s.cgroups(); s.containers() {
			t.Errorf("left behind: %v", left)
		}
	}
}
