package apt

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/google/go-cmp/cmp"

	"plumb/engine/fetch"
)

// mirror is a small Debian mirror with one suite, signed by a key made for it.
type mirror struct {
	t       *testing.T
	key     *openpgp.Entity
	keyring string
	url     string

	mu    sync.Mutex
	files map[string][]byte
	cuts  int // so many answers break off in the middle
	down  bool
	asked []string
}

var now = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func newMirror(t *testing.T) *mirror {
	t.Helper()
	m := &mirror{t: t, key: newKey(t, "mirror"), files: map[string][]byte{}}
	m.keyring = writeKeyring(t, m.key)
	s := httptest.NewServer(m)
	t.Cleanup(s.Close)
	m.url = s.URL
	return m
}

func newKey(t *testing.T, name string) *openpgp.Entity {
	t.Helper()
	key, err := openpgp.NewEntity(name, "test", name+"@example.org", &packet.Config{Time: func() time.Time { return now.AddDate(-1, 0, 0) }, Algorithm: packet.PubKeyAlgoEdDSA})
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func writeKeyring(t *testing.T, key *openpgp.Entity) string {
	t.Helper()
	var b bytes.Buffer
	w, err := armor.Encode(&b, openpgp.PublicKeyType, nil)
	if err == nil {
		err = key.Serialize(w)
	}
	if err == nil {
		err = w.Close()
	}
	name := filepath.Join(t.TempDir(), "keys.asc")
	if err == nil {
		err = os.WriteFile(name, b.Bytes(), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func (m *mirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	b, ok := m.files[r.URL.Path]
	cut := m.cuts > 0 && ok && len(b) > 100
	if cut {
		m.cuts--
	}
	down := m.down
	m.asked = append(m.asked, r.URL.Path)
	m.mu.Unlock()
	switch {
	case down:
		w.WriteHeader(http.StatusBadGateway)
	case !ok:
		http.NotFound(w, r)
	case cut && r.Header.Get("Range") == "":
		w.Header().Set("Content-Length", fmt.Sprint(len(b)))
		_, _ = w.Write(b[:len(b)/2])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	default:
		http.ServeContent(w, r, "", now, bytes.NewReader(b))
	}
}

// published says how the suite is signed and described.
type published struct {
	packages string // the list, without Filename, Size and SHA256
	header   string // of the release, "" for a good one
	key      *openpgp.Entity
	unsigned bool
	detached bool
	spoil    func(files map[string][]byte) // after signing
}

const goodHeader = "Origin: Test\nSuite: stable\nCodename: bookworm\nDate: Sun, 01 Nov 2026 10:00:00 UTC\nValid-Until: Sun, 08 Nov 2026 10:00:00 UTC\nAcquire-By-Hash: yes\n"

func (m *mirror) publish(p published) {
	m.t.Helper()
	list := ""
	for i, one := range strings.Split(strings.TrimSpace(p.packages), "\n\n") {
		if !strings.Contains(one, "Architecture:") {
			one += "\nArchitecture: amd64"
		}
		list += fmt.Sprintf("%s\nFilename: pool/p%d.deb\nSize: 10\nSHA256: %064d\n\n", strings.TrimSpace(one), i, i)
	}
	var gz bytes.Buffer
	z := gzip.NewWriter(&gz)
	_, _ = z.Write([]byte(list))
	_ = z.Close()
	header := p.header
	if header == "" {
		header = goodHeader
	}
	release := header + "SHA256:\n"
	m.files = map[string][]byte{}
	base := "/dists/bookworm/"
	for name, b := range map[string][]byte{"main/binary-amd64/Packages": []byte(list), "main/binary-amd64/Packages.gz": gz.Bytes()} {
		release += fmt.Sprintf(" %x %d %s\n", sha256.Sum256(b), len(b), name)
		if strings.HasSuffix(name, ".gz") {
			m.files[base+name] = b
		}
	}
	key := p.key
	if key == nil {
		key = m.key
	}
	config := &packet.Config{Time: func() time.Time { return now.Add(-time.Hour) }}
	var signed bytes.Buffer
	switch {
	case p.unsigned:
		m.files[base+"InRelease"] = []byte(release)
	case p.detached:
		if err := openpgp.ArmoredDetachSign(&signed, key, strings.NewReader(release), config); err != nil {
			m.t.Fatal(err)
		}
		m.files[base+"Release"], m.files[base+"Release.gpg"] = []byte(release), signed.Bytes()
	default:
		w, err := clearsign.Encode(&signed, key.PrivateKey, config)
		if err == nil {
			_, err = w.Write([]byte(release))
		}
		if err == nil {
			err = w.Close()
		}
		if err != nil {
			m.t.Fatal(err)
		}
		m.files[base+"InRelease"] = signed.Bytes()
	}
	if p.spoil != nil {
		p.spoil(m.files)
	}
}

func (m *mirror) resolver() Resolver {
	return Resolver{Cache: filepath.Join(m.t.TempDir(), "lists"), Now: func() time.Time { return now }, Client: &fetch.Client{
		Sleep: func(context.Context, time.Duration) error { return nil },
	}}
}

func (m *mirror) request(names ...string) Request {
	return Request{Packages: names, Architecture: "amd64", Sources: []Source{{URL: m.url, Suite: "bookworm", Components: []string{"main"}}}, Keyrings: []string{m.keyring}}
}

const small = `
Package: a
Version: 1.0
Depends: b (>= 2), c | d
Recommends: r, nothing-of-the-kind

Package: b
Version: 2.5-1

Package: c
Version: 1

Package: d
Version: 1

Package: r
Version: 1

Package: base
Version: 12
Essential: yes
Pre-Depends: libbase

Package: libbase
Version: 1
Priority: required
`

func names(all []Package) []string {
	var out []string
	for _, p := range all {
		out = append(out, p.Name)
	}
	return out
}

func TestResolve(t *testing.T) {
	tests := []struct {
		name   string
		list   string
		change func(*Request)
		ask    []string
		want   string
	}{
		{"dependencies", small, nil, []string{"a"}, "a b c"},
		{"recommends", small, func(r *Request) { r.Recommends = true }, []string{"a"}, "a b c r"},
		{"essential", small, func(r *Request) { r.Essential = true }, []string{"b"}, "b base libbase"},
		{"an alternative that is chosen already", small, nil, []string{"d", "a"}, "a b d"},
		{"a version", small, nil, []string{"b=2.5-1"}, "b"},
		{"an architecture", small, nil, []string{"b:amd64"}, "b"},
		{"the first alternative cannot be had", "Package: a\nVersion: 1\nDepends: b (>= 3) | c\n\nPackage: b\nVersion: 2\n\nPackage: c\nVersion: 1\n", nil, []string{"a"}, "a c"},
		{"the first alternative leads nowhere", "Package: a\nVersion: 1\nDepends: b | c\n\nPackage: b\nVersion: 2\nDepends: gone\n\nPackage: c\nVersion: 1\n", nil, []string{"a"}, "a c"},
		{"a virtual package", "Package: a\nVersion: 1\nDepends: mta\n\nPackage: x\nVersion: 1\nPriority: extra\nProvides: mta\n\nPackage: y\nVersion: 1\nPriority: optional\nProvides: mta\n", nil, []string{"a"}, "a y"},
		{"a real one goes before", "Package: a\nVersion: 1\nDepends: mta\n\nPackage: x\nVersion: 1\nPriority: required\nProvides: mta\n\nPackage: mta\nVersion: 1\nPriority: extra\n", nil, []string{"a"}, "a mta"},
		{"a versioned virtual package", "Package: a\nVersion: 1\nDepends: api (>= 2)\n\nPackage: x\nVersion: 1\nProvides: api\n\nPackage: y\nVersion: 1\nProvides: api (= 2.1)\n", nil, []string{"a"}, "a y"},
		{"a name that one package provides", "Package: x\nVersion: 1\nProvides: api\n", nil, []string{"api"}, "x"},
		{"the highest version", "Package: a\nVersion: 1:0.9\n\nPackage: a\nVersion: 2.0\nDepends: gone\n", nil, []string{"a"}, "a"},
		{"a circle", "Package: a\nVersion: 1\nDepends: b\n\nPackage: b\nVersion: 1\nDepends: a\n", nil, []string{"a"}, "a b"},
		{"a conflict that another alternative avoids", "Package: a\nVersion: 1\nDepends: x, b | c\n\nPackage: x\nVersion: 1\nConflicts: b\n\nPackage: b\nVersion: 1\n\nPackage: c\nVersion: 1\n", nil, []string{"a"}, "a c x"},
		{"breaks an older version only", "Package: a\nVersion: 1\nBreaks: b (<< 2)\nDepends: b\n\nPackage: b\nVersion: 2\n", nil, []string{"a"}, "a b"},
		{"for other architectures", "Package: a\nVersion: 1\nDepends: b [arm64], c [!arm64], py:any\n\nPackage: c\nVersion: 1\n\nPackage: py\nVersion: 3\nMulti-Arch: allowed\n", nil, []string{"a"}, "a c py"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := newMirror(t)
			m.publish(published{packages: test.list})
			req := m.request(test.ask...)
			if test.change != nil {
				test.change(&req)
			}
			res, err := m.resolver().Resolve(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Fields(test.want), names(res.Packages)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestResolveSaysForWhom(t *testing.T) {
	m := newMirror(t)
	m.publish(published{packages: small})
	req := m.request("a", "c")
	req.Essential = true
	res, err := m.resolver().Resolve(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, p := range res.Packages {
		got[p.Name] = fmt.Sprint(p.Essential, p.For, p.Path != "", p.Size)
	}
	want := map[string]string{"a": "false [a] true 10", "b": "false [a] true 10", "c": "false [a c] true 10", "base": "true [] true 10", "libbase": "true [] true 10"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !res.Date.Equal(time.Date(2026, 11, 1, 10, 0, 0, 0, time.UTC)) {
		t.Errorf("date %v", res.Date)
	}
}

func TestWhatCannotBeResolved(t *testing.T) {
	for name, test := range map[string]struct{ list, ask, want string }{
		"no such package":   {small, "libbas", `there is no package "libbas" in bookworm; did you mean "libbase"?`},
		"no such version":   {small, "b=9", "only 2.5-1"},
		"other arch":        {small, "b:arm64", "another architecture"},
		"several provide":   {"Package: x\nVersion: 1\nProvides: api\n\nPackage: y\nVersion: 1\nProvides: api\n", "api", "name one: x, y"},
		"not satisfiable":   {"Package: a\nVersion: 1\nDepends: m\n\nPackage: m\nVersion: 1\nDepends: b (>= 2)\n\nPackage: b\nVersion: 1.0\n", "a", "m depends on b (>= 2), and only b 1.0 is there (needed through a → m)"},
		"conflict":          {"Package: a\nVersion: 1\nDepends: x, y\n\nPackage: x\nVersion: 1\n\nPackage: y\nVersion: 1\nConflicts: x\n", "a", "y and x exclude each other"},
		"conflict by name":  {"Package: a\nVersion: 1\nDepends: x, y\n\nPackage: x\nVersion: 1\nProvides: mta\n\nPackage: y\nVersion: 1\nConflicts: mta\n", "a", "y and x exclude each other"},
		"breaks":            {"Package: a\nVersion: 1\nDepends: x, y\n\nPackage: x\nVersion: 1\nBreaks: y (<< 2)\n\nPackage: y\nVersion: 1\n", "a", "x says so of y (<< 2)"},
		"unreadable fields": {"Package: a\nVersion: 1\nDepends: b (>=\n", "a", "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMirror(t)
			m.publish(published{packages: test.list})
			_, err := m.resolver().Resolve(t.Context(), m.request(test.ask))
			if err == nil || !strings.Contains(err.Error(), test.want) || !IsRequest(err) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

func TestMirrorsThatLie(t *testing.T) {
	flip := func(part string) func(map[string][]byte) {
		return func(files map[string][]byte) {
			for name, b := range files {
				if strings.HasSuffix(name, part) {
					b[len(b)/2] ^= 1
				}
			}
		}
	}
	remove := func(part string) func(map[string][]byte) {
		return func(files map[string][]byte) {
			for name := range files {
				if strings.HasSuffix(name, part) {
					delete(files, name)
				}
			}
		}
	}
	other := newKey(t, "other")
	for name, test := range map[string]struct {
		p    published
		want string // "" when it goes well
	}{
		"good":                 {published{}, ""},
		"good, detached":       {published{detached: true}, ""},
		"unsigned":             {published{unsigned: true}, "is not signed"},
		"unsigned, detached":   {published{detached: true, spoil: remove("Release.gpg")}, "is not signed"},
		"another key":          {published{key: other}, "a key that is not in the keyring"},
		"another key, too":     {published{key: other, detached: true}, "a key that is not in the keyring"},
		"changed after":        {published{detached: true, spoil: flip("/Release")}, "signature"},
		"expired":              {published{header: strings.Replace(goodHeader, "08 Nov 2026", "31 Oct 2026", 1)}, "accept_expired = true"},
		"from the future":      {published{header: strings.Replace(goodHeader, "Date: Sun, 01 Nov 2026", "Date: Thu, 05 Nov 2026", 1)}, "clock"},
		"another suite":        {published{header: strings.NewReplacer("bookworm", "sid", "stable", "unstable").Replace(goodHeader)}, `of the suite "unstable"`},
		"no date":              {published{header: strings.Replace(goodHeader, "Date: Sun, 01 Nov 2026 10:00:00 UTC\n", "", 1)}, "date"},
		"a changed list":       {published{spoil: flip("Packages.gz")}, "not the one that its release vouches for"},
		"a list of other size": {published{spoil: func(f map[string][]byte) { f["/dists/bookworm/main/binary-amd64/Packages.gz"] = []byte("x") }}, "not the one that its release vouches for"},
		"no list":              {published{spoil: remove("Packages.gz")}, "404"},
		"nothing":              {published{spoil: remove("")}, "check the suite's name"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMirror(t)
			test.p.packages = small
			m.publish(test.p)
			r := m.resolver()
			_, err := r.Resolve(t.Context(), m.request("b"))
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want) || IsRequest(err)) {
				t.Errorf("error %v, want %q", err, test.want)
			}
			if left, _ := filepath.Glob(filepath.Join(r.Cache, "*-*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestExpiredAndTrusted(t *testing.T) {
	m := newMirror(t)
	m.publish(published{packages: small, header: strings.Replace(goodHeader, "08 Nov 2026", "31 Oct 2026", 1)})
	req := m.request("b")
	req.AcceptExpired = true
	if _, err := m.resolver().Resolve(t.Context(), req); err != nil {
		t.Error(err)
	}
	m.publish(published{packages: small, unsigned: true})
	req = m.request("b")
	req.Sources[0].Trusted = true
	if _, err := m.resolver().Resolve(t.Context(), req); err != nil {
		t.Error(err)
	}
}

func TestListsAreKeptAndResumed(t *testing.T) {
	m := newMirror(t)
	m.publish(published{packages: small})
	m.cuts = 2 // the release, and the list
	r := m.resolver()
	for range 2 {
		if _, err := r.Resolve(t.Context(), m.request("a")); err != nil {
			t.Fatal(err)
		}
	}
	lists := slices.DeleteFunc(slices.Clone(m.asked), func(p string) bool { return !strings.Contains(p, "Packages") || strings.Contains(p, "by-hash") })
	if len(lists) > 2 {
		t.Errorf("asked for lists: %v", lists)
	}
	m.down = true
	if _, err := r.Resolve(t.Context(), m.request("a")); err == nil || !strings.Contains(err.Error(), "502") {
		t.Errorf("a mirror that is down: %v", err)
	}
}

func TestMachineSources(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"sources.list":               "# comment\ndeb http://a.example/debian bookworm main contrib # more\ndeb-src http://a.example/debian bookworm main\ndeb [arch=amd64 signed-by=/k.gpg trusted=yes] http://b.example/debian/ bookworm-security main\ndeb cdrom:[x]/ bookworm main\n",
		"sources.list.d/x.sources":   "Types: deb deb-src\nURIs: http://c.example/debian\nSuites: bookworm-updates bookworm-backports\nComponents: main\nSigned-By: /c.gpg\n\nTypes: deb\nEnabled: no\nURIs: http://d.example\nSuites: bookworm\nComponents: main\n",
		"sources.list.d/x.list.save": "deb http://e.example bookworm main\n",
	} {
		full := filepath.Join(root, "etc/apt", name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	all, err := MachineSources(root)
	if err != nil {
		t.Fatal(err)
	}
	want := []Source{
		{URL: "http://a.example/debian", Suite: "bookworm", Components: []string{"main", "contrib"}},
		{URL: "http://b.example/debian", Suite: "bookworm-security", Components: []string{"main"}, Keyring: "/k.gpg", Trusted: true},
		{URL: "http://c.example/debian", Suite: "bookworm-updates", Components: []string{"main"}, Keyring: "/c.gpg"},
	}
	if diff := cmp.Diff(want, ForSuite(all, "bookworm")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if none, err := MachineSources(t.TempDir()); err != nil || len(none) > 0 {
		t.Errorf("without any: %v, %v", none, err)
	}
}

func TestParseMirror(t *testing.T) {
	for text, want := range map[string]Source{
		"https://m.example/debian/":                {URL: "https://m.example/debian", Suite: "bookworm", Components: []string{"main"}},
		"http://m.example/s bookworm-security":     {URL: "http://m.example/s", Suite: "bookworm-security", Components: []string{"main"}},
		"http://m.example/debian sid main contrib": {URL: "http://m.example/debian", Suite: "sid", Components: []string{"main", "contrib"}},
		"file:///srv/mirror bookworm main":         {URL: "file:///srv/mirror", Suite: "bookworm", Components: []string{"main"}},
	} {
		got, err := ParseMirror(text, "bookworm", nil)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", text, err, diff)
		}
	}
	for _, bad := range []string{"", "m.example/debian", "ftp://m.example"} {
		if _, err := ParseMirror(bad, "bookworm", nil); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func FuzzField(f *testing.F) {
	f.Add("Package: a\nDepends: b,\n c\n d\nVersion: 1\n", "Depends")
	f.Fuzz(func(t *testing.T, text, name string) {
		if name == "" {
			return
		}
		got := field(text, name)
		if !strings.Contains(text, got) {
			t.Fatalf("%q is not in %q", got, text)
		}
		x := newIndex("amd64")
		x.add(text, Source{})
		x.finish()
	})
}
