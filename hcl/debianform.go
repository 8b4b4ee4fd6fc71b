package hcl

import (
	"net/url"
	"path"
	"strings"
	"time"
)

// architecture is one of Debian's, with the platform that it stands for.
type architecture struct{ debian, platform, other string }

// architectures are sorted by Debian's names; other is what one is called elsewhere.
var architectures = []architecture{
	{"amd64", "linux/amd64", "x86_64"},
	{"arm64", "linux/arm64", "aarch64"},
	{"armel", "linux/arm/v5", "armv5"},
	{"armhf", "linux/arm/v7", "armv7"},
	{"i386", "linux/386", "386"},
	{"ppc64el", "linux/ppc64le", "ppc64le"},
	{"riscv64", "linux/riscv64", "riscv"},
	{"s390x", "linux/s390x", "s390"},
}

// DebianArchitecture is Debian's name for a platform: "amd64" for "linux/amd64".
func DebianArchitecture(platform string) (string, bool) {
	for _, a := range architectures {
		if a.platform == platform {
			return a.debian, true
		}
	}
	return "", false
}

// platformOf is the platform that an architecture of Debian's stands for, "" for
// none.
func platformOf(debian string) string {
	for _, a := range architectures {
		if a.debian == debian {
			return a.platform
		}
	}
	return ""
}

func debianNames() []string {
	var names []string
	for _, a := range architectures {
		names = append(names, a.debian)
	}
	return names
}

func platforms() []string {
	var names []string
	for _, a := range architectures {
		names = append(names, a.platform)
	}
	return names
}

// architectureHint knows the names that others have for an architecture.
func architectureHint(given string) string {
	for _, a := range architectures {
		if given == a.platform || given == a.other {
			return "did you mean " + quoted(a.debian) + "?"
		}
	}
	return didYouMean(given, debianNames(), "%q")
}

// The forms of names in Debian. They hold for what is written in a pipeline and for
// the hundreds of lines of a lock, which is why they are no regular expressions.

// madeOf reports whether a text begins with a small letter or a digit and has no
// others but these and those of more.
func madeOf(s, more string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && (i == 0 || strings.IndexByte(more, c) < 0) {
			return false
		}
	}
	return s != ""
}

// isSuite knows "bookworm-security", and "buster/updates" as it was once called.
func isSuite(s string) bool { return madeOf(strings.TrimSuffix(s, "/updates"), ".-") }

func isComponent(s string) bool { return madeOf(s, ".+-/_") }

func isDebianVersion(s string) bool { return madeOf(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ.+~:-") }

// packageName takes what is asked for apart: a name, with ":ARCHITECTURE" where
// there is one, before "=VERSION".
func packageName(asked string) (name string, ok bool) {
	name, version, pinned := strings.Cut(asked, "=")
	bare, arch, foreign := strings.Cut(name, ":")
	ok = len(bare) > 1 && madeOf(bare, "+.-") && (!foreign || madeOf(arch, "-")) && (!pinned || isDebianVersion(version))
	return name, ok
}

// isMirror tells a URL below which files of packages can be named.
func isMirror(s string) bool {
	u, err := url.Parse(s)
	if err != nil || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.Opaque != "" || strings.ContainsAny(s, " #") {
		return false
	}
	if u.Scheme == "file" {
		return u.Host == "" && path.IsAbs(u.Path)
	}
	return (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

// mirrorLine takes "URL" or "URL SUITE COMPONENT…", and sets the words apart by one
// space.
func mirrorLine(text string) (line string, ok bool) {
	words := strings.Fields(text)
	if len(words) == 0 || !isMirror(words[0]) || len(words) > 1 && (len(words) == 2 || !isSuite(words[1])) {
		return "", false
	}
	for _, component := range words[min(2, len(words)):] {
		if !isComponent(component) {
			return "", false
		}
	}
	return strings.Join(words, " "), true
}

// isBelow tells a clean relative path that does not climb.
func isBelow(p string) bool {
	return path.Clean(p) == p && !path.IsAbs(p) && p != "." && p != ".." && !strings.HasPrefix(p, "../")
}

// wordsOf are the words of a text that are set apart by one space; none is said
// twice.
func wordsOf(text string, is func(string) bool) ([]string, bool) {
	words := strings.Split(text, " ")
	seen := make(map[string]bool, len(words))
	for _, w := range words {
		if !is(w) || seen[w] {
			return nil, false
		}
		seen[w] = true
	}
	return words, true
}

func isMoment(s string) bool {
	_, err := time.Parse(time.RFC3339, s)
	return err == nil
}
