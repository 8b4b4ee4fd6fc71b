package apt

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"plumb/engine/apt/apttest"
	"plumb/engine/fetch"
)

var now = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func newResolver(t *testing.T) Resolver {
	return Resolver{Cache: filepath.Join(t.TempDir(), "lists"), Now: func() time.Time { return now }, Client: &fetch.Client{
		Sleep: func(context.Context, time.Duration) error { return nil },
	}}
}

func request(m *apttest.Mirror, names ...string) Request {
	return Request{Packages: names, Architecture: "amd64", Sources: []Source{{URL: m.URL, Suite: "bookworm", Components: []string{"main"}}}, Keyrings: []string{m.Keyring}}
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
			m := apttest.New(t, now)
			m.Publish(apttest.Suite{Packages: test.list})
			req := request(m, test.ask...)
			if test.change != nil {
				test.change(&req)
			}
			res, err := newResolver(t).Resolve(t.Context(), req)
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
	m := apttest.New(t, now)
	m.Publish(apttest.Suite{Packages: small})
	req := request(m, "a", "c")
	req.Essential = true
	res, err := newResolver(t).Resolve(t.Context(), req)
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
			m := apttest.New(t, now)
			m.Publish(apttest.Suite{Packages: test.list})
			_, err := newResolver(t).Resolve(t.Context(), request(m, test.ask))
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
	replace := func(pairs ...string) func(string) string { return strings.NewReplacer(pairs...).Replace }
	other := apttest.NewKey(t, "other", now)
	for name, test := range map[string]struct {
		p    apttest.Suite
		want string // "" when it goes well
	}{
		"good":                 {apttest.Suite{}, ""},
		"good, detached":       {apttest.Suite{Detached: true}, ""},
		"a list in xz":         {apttest.Suite{Lists: "xz"}, ""},
		"a plain list":         {apttest.Suite{Lists: "none"}, ""},
		"unsigned":             {apttest.Suite{Unsigned: true}, "is not signed"},
		"unsigned, detached":   {apttest.Suite{Detached: true, Spoil: remove("Release.gpg")}, "is not signed"},
		"another key":          {apttest.Suite{Key: other}, "a key that is not in the keyring"},
		"another key, too":     {apttest.Suite{Key: other, Detached: true}, "a key that is not in the keyring"},
		"changed after":        {apttest.Suite{Detached: true, Spoil: flip("/Release")}, "signature"},
		"expired":              {apttest.Suite{Release: apttest.Expired}, "accept_expired = true"},
		"from the future":      {apttest.Suite{Release: replace("Date: Sun, 01 Nov 2026", "Date: Thu, 05 Nov 2026")}, "clock"},
		"another suite":        {apttest.Suite{Release: replace("bookworm", "sid", "stable", "unstable")}, `of the suite "unstable"`},
		"no date":              {apttest.Suite{Release: replace("Date: Sun, 01 Nov 2026 10:00:00 UTC\n", "")}, "date"},
		"a changed list":       {apttest.Suite{Spoil: flip("Packages.gz")}, "not the one that its release vouches for"},
		"a list of other size": {apttest.Suite{Spoil: func(f map[string][]byte) { f["/dists/bookworm/main/binary-amd64/Packages.gz"] = []byte("x") }}, "not the one that its release vouches for"},
		"no list":              {apttest.Suite{Spoil: remove("Packages.gz")}, "404"},
		"nothing":              {apttest.Suite{Spoil: remove("")}, "check the suite's name"},
	} {
		t.Run(name, func(t *testing.T) {
			m := apttest.New(t, now)
			test.p.Packages = small
			m.Publish(test.p)
			r := newResolver(t)
			_, err := r.Resolve(t.Context(), request(m, "b"))
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
	m := apttest.New(t, now)
	m.Publish(apttest.Suite{Packages: small, Release: apttest.Expired})
	req := request(m, "b")
	req.AcceptExpired = true
	if _, err := newResolver(t).Resolve(t.Context(), req); err != nil {
		t.Error(err)
	}
	m.Publish(apttest.Suite{Packages: small, Unsigned: true})
	req = request(m, "b")
	req.Sources[0].Trusted = true
	if _, err := newResolver(t).Resolve(t.Context(), req); err != nil {
		t.Error(err)
	}
}

// A keyring may hold the keys of several mirrors, in one block or in several.
func TestKeyringOfSeveral(t *testing.T) {
	a, b := apttest.New(t, now), apttest.New(t, now)
	a.Publish(apttest.Suite{Packages: small})
	b.Publish(apttest.Suite{Packages: "Package: more\nVersion: 1\nDepends: a\n"})
	var both []byte
	for _, name := range []string{a.Keyring, b.Keyring} {
		one, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		both = append(both, one...)
	}
	behind := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(behind, both, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, keyring := range map[string]string{"one behind the other": behind, "one block": apttest.WriteKeyring(t, a.Key, b.Key)} {
		req := request(a, "more")
		req.Sources = append(req.Sources, request(b).Sources...)
		req.Keyrings = []string{keyring}
		res, err := newResolver(t).Resolve(t.Context(), req)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff([]string{"a", "b", "c", "more"}, names(res.Packages)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// Two mirrors may have the same list, and two runs may want it at once.
func TestOneListAtOnce(t *testing.T) {
	m := apttest.New(t, now)
	m.Publish(apttest.Suite{Packages: small + strings.Repeat("\n", 1000)})
	m.Slow("Packages", 5*time.Millisecond)
	req := request(m, "a")
	for range 7 {
		req.Sources = append(req.Sources, req.Sources[0])
	}
	r := newResolver(t)
	for range 10 {
		if _, err := r.Resolve(t.Context(), req); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(r.Cache); err != nil {
			t.Fatal(err)
		}
	}
}

func TestListsAreKeptAndResumed(t *testing.T) {
	m := apttest.New(t, now)
	m.Publish(apttest.Suite{Packages: small})
	m.Cut("", 2) // the release, and the list
	r := newResolver(t)
	for range 2 {
		if _, err := r.Resolve(t.Context(), request(m, "a")); err != nil {
			t.Fatal(err)
		}
	}
	if lists := m.Asked("Packages.gz"); len(lists) > 2 {
		t.Errorf("asked for lists: %v", lists)
	}
	m.Down(true)
	if _, err := r.Resolve(t.Context(), request(m, "a")); err == nil || !strings.Contains(err.Error(), "502") {
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
