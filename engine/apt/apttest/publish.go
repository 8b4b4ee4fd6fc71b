package apttest

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// Suite is what a mirror has: packages that exist, and paragraphs of such as only
// stand in the list.
type Suite struct {
	Name     string // "bookworm" when it is empty
	Debs     []Deb
	Packages string // paragraphs without Filename, Size and SHA256, which are made up

	Lists    string                        // how lists are compressed: "xz", "none"; "gz" when it is empty
	Release  func(text string) string      // changes the release file before it is signed
	Key      *openpgp.Entity               // signs instead of the mirror's
	Unsigned bool                          // an InRelease without a signature
	Detached bool                          // Release and Release.gpg instead of InRelease
	Spoil    func(files map[string][]byte) // changes what is served, by path, after signing
}

// Publish makes the suite all that the mirror has. What it had before is gone, as
// packages are that a newer version has replaced.
func (m *Mirror) Publish(s Suite) {
	m.tb.Helper()
	if s.Name == "" {
		s.Name = "bookworm"
	}
	files := map[string][]byte{}
	lists := m.lists(s, files)
	release := m.release(s.Name)
	base := "/dists/" + s.Name + "/"
	for _, name := range slices.Sorted(maps.Keys(lists)) {
		release += fmt.Sprintf(" %s %d %s\n", Digest(lists[name]), len(lists[name]), name)
		if s.Lists == "none" {
			files[base+name] = lists[name]
			continue
		}
		b, packed := compress(m.tb, s.Lists, lists[name]), name+".gz"
		if s.Lists != "" {
			packed = name + "." + s.Lists
		}
		release += fmt.Sprintf(" %s %d %s\n", Digest(b), len(b), packed)
		files[base+packed] = b
	}
	if s.Release != nil {
		release = s.Release(release)
	}
	for name, b := range m.sign(s, release) {
		files[base+name] = b
	}
	if s.Spoil != nil {
		s.Spoil(files)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files = files
}

// release is the head of a release file.
func (m *Mirror) release(name string) string {
	date := func(t time.Time) string { return t.UTC().Format("Mon, 02 Jan 2006 15:04:05 UTC") }
	return fmt.Sprintf("Origin: Test\nSuite: stable\nCodename: %s\nDate: %s\nValid-Until: %s\nAcquire-By-Hash: yes\nSHA256:\n",
		name, date(m.now.Add(-2*time.Hour)), date(m.now.AddDate(0, 0, 7).Add(-2*time.Hour)))
}

// Expired is for Suite.Release: it makes a release that was valid until last year.
func Expired(text string) string {
	var lines []string
	for line := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(line, "Valid-Until:") {
			line = "Valid-Until: Wed, 01 Jan 2020 10:00:00 UTC"
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// lists makes the package list of each architecture, and files of the packages.
func (m *Mirror) lists(s Suite, files map[string][]byte) map[string][]byte {
	m.tb.Helper()
	archs := []string{"amd64"}
	for _, d := range s.Debs {
		if a := d.architecture(); a != "all" && !slices.Contains(archs, a) {
			archs = append(archs, a)
		}
	}
	lists := map[string][]byte{}
	add := func(arch, text string) {
		name := "main/binary-" + arch + "/Packages"
		lists[name] = append(lists[name], text...)
	}
	for i, one := range strings.Split(strings.TrimSpace(s.Packages), "\n\n") {
		if one == "" {
			continue
		}
		if !strings.Contains(one, "Architecture:") {
			one += "\nArchitecture: amd64"
		}
		add("amd64", fmt.Sprintf("%s\nFilename: pool/p%d.deb\nSize: 10\nSHA256: %064d\n\n", strings.TrimSpace(one), i, i))
	}
	for _, d := range s.Debs {
		b := d.Bytes(m.tb)
		files["/"+d.Path()] = b
		for _, arch := range archs {
			if a := d.architecture(); a == arch || a == "all" {
				add(arch, fmt.Sprintf("%sFilename: %s\nSize: %d\nSHA256: %s\n\n", d.paragraph(), d.Path(), len(b), Digest(b)))
			}
		}
	}
	return lists
}

// sign gives the release file in the form that is wanted.
func (m *Mirror) sign(s Suite, release string) map[string][]byte {
	m.tb.Helper()
	key := s.Key
	if key == nil {
		key = m.Key
	}
	config := &packet.Config{Time: func() time.Time { return m.now.Add(-time.Hour) }}
	var signed bytes.Buffer
	switch {
	case s.Unsigned:
		return map[string][]byte{"InRelease": []byte(release)}
	case s.Detached:
		check(m.tb, openpgp.ArmoredDetachSign(&signed, key, strings.NewReader(release), config))
		return map[string][]byte{"Release": []byte(release), "Release.gpg": signed.Bytes()}
	}
	w, err := clearsign.Encode(&signed, key.PrivateKey, config)
	check(m.tb, err)
	_, err = w.Write([]byte(release))
	check(m.tb, err)
	check(m.tb, w.Close())
	return map[string][]byte{"InRelease": signed.Bytes()}
}

// NewKey makes a key, a year before now.
func NewKey(tb testing.TB, name string, now time.Time) *openpgp.Entity {
	tb.Helper()
	key, err := openpgp.NewEntity(name, "test", name+"@example.org", &packet.Config{
		Time: func() time.Time { return now.AddDate(-1, 0, 0) }, Algorithm: packet.PubKeyAlgoEdDSA,
	})
	check(tb, err)
	return key
}

// WriteKeyring writes the public part of keys to a file.
func WriteKeyring(tb testing.TB, keys ...*openpgp.Entity) string {
	tb.Helper()
	var b bytes.Buffer
	w, err := armor.Encode(&b, openpgp.PublicKeyType, nil)
	check(tb, err)
	for _, key := range keys {
		check(tb, key.Serialize(w))
	}
	check(tb, w.Close())
	name := filepath.Join(tb.TempDir(), "keys.asc")
	check(tb, os.WriteFile(name, b.Bytes(), 0o644))
	return name
}
