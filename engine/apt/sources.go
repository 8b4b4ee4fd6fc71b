package apt

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// DefaultKeyrings are the keys that a Debian machine trusts.
func DefaultKeyrings() []string {
	var all []string
	for _, pattern := range []string{
		"/usr/share/keyrings/debian-archive-*.gpg", "/usr/share/keyrings/debian-archive-*.pgp", "/usr/share/keyrings/debian-archive-*.asc",
		"/etc/apt/trusted.gpg.d/*.gpg", "/etc/apt/trusted.gpg.d/*.asc",
	} {
		found, err := filepath.Glob(pattern)
		if err == nil { // the patterns are good
			all = append(all, found...)
		}
	}
	return all
}

// ParseMirror reads "URL" or "URL SUITE COMPONENT…", as a line of sources.list has
// them. What is not said is the suite and the components given.
func ParseMirror(text, suite string, components []string) (Source, error) {
	words := strings.Fields(text)
	if len(words) == 0 {
		return Source{}, requestError("a mirror is empty; write its URL")
	}
	u, err := url.Parse(words[0])
	if err != nil || u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "file" {
		return Source{}, requestError("the mirror %q is no URL", words[0])
	}
	s := Source{URL: strings.TrimRight(words[0], "/"), Suite: suite, Components: components}
	if len(words) > 1 {
		s.Suite = words[1]
	}
	if len(words) > 2 {
		s.Components = words[2:]
	}
	if len(s.Components) == 0 {
		s.Components = []string{"main"}
	}
	return s, nil
}

// ForSuite takes the sources that an image of a suite uses: the suite itself, its
// updates and its security fixes. Backports and proposed updates are chosen by
// naming them as mirrors.
func ForSuite(all []Source, suite string) []Source {
	var out []Source
	for _, s := range all {
		if slices.Contains([]string{suite, suite + "-updates", suite + "-security", suite + "/updates"}, s.Suite) {
			out = append(out, s)
		}
	}
	return out
}

// MachineSources reads the apt sources below root, in apt's order.
func MachineSources(root string) ([]Source, error) {
	dir := filepath.Join(root, "etc/apt")
	names := []string{filepath.Join(dir, "sources.list")}
	entries, err := os.ReadDir(filepath.Join(dir, "sources.list.d"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries { // sorted
		names = append(names, filepath.Join(dir, "sources.list.d", e.Name()))
	}
	var all []Source
	for _, name := range names {
		b, err := os.ReadFile(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, err
		case strings.HasSuffix(name, ".sources"):
			all = append(all, deb822(string(b))...)
		case strings.HasSuffix(name, ".list"):
			all = append(all, oneLine(string(b))...)
		}
	}
	return all, nil
}

// oneLine reads the old form: deb [option=value …] URL SUITE COMPONENT…
func oneLine(text string) []Source {
	var all []Source
	for line := range strings.SplitSeq(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "deb")
		if !ok || rest == "" || rest[0] != ' ' && rest[0] != '\t' {
			continue
		}
		rest = strings.TrimSpace(rest)
		options := ""
		if strings.HasPrefix(rest, "[") {
			if options, rest, ok = strings.Cut(rest[1:], "]"); !ok {
				continue
			}
		}
		words := strings.Fields(rest)
		if len(words) < 3 || !usable(words[0]) {
			continue
		}
		s := Source{URL: strings.TrimRight(words[0], "/"), Suite: words[1], Components: words[2:]}
		for _, o := range strings.Fields(options) {
			name, value, _ := strings.Cut(o, "=")
			s.option(name, value)
		}
		all = append(all, s)
	}
	return all
}

func (s *Source) option(name, value string) {
	switch strings.ToLower(name) {
	case "signed-by":
		if strings.HasPrefix(value, "/") { // else a fingerprint, or a key itself: the usual keyrings have it, or it is said
			s.Keyring, _, _ = strings.Cut(value, ",")
		}
	case "trusted":
		s.Trusted = strings.EqualFold(value, "yes")
	}
}

// usable says whether a source can be read from here: cdrom: and the like cannot.
func usable(u string) bool {
	return strings.HasPrefix(u, "http://") || strings.HasPrefix(u, "https://") || strings.HasPrefix(u, "file:/")
}

// deb822 reads the new form, paragraphs of fields.
func deb822(text string) []Source {
	var all []Source
	for _, p := range paragraphsOf(text) {
		if !slices.Contains(strings.Fields(p["types"]), "deb") || strings.EqualFold(p["enabled"], "no") {
			continue
		}
		for _, u := range strings.Fields(p["uris"]) {
			for _, suite := range strings.Fields(p["suites"]) {
				if !usable(u) || strings.HasSuffix(suite, "/") {
					continue
				}
				s := Source{URL: strings.TrimRight(u, "/"), Suite: suite, Components: strings.Fields(p["components"])}
				s.option("signed-by", strings.Join(strings.Fields(p["signed-by"]), ","))
				s.option("trusted", p["trusted"])
				all = append(all, s)
			}
		}
	}
	return all
}

// paragraphsOf reads "Name: value" lines, continued by lines that begin with a
// blank, in paragraphs parted by empty lines. Names are in lower case.
func paragraphsOf(text string) []map[string]string {
	var all []map[string]string
	one, last := map[string]string{}, ""
	end := func() {
		if len(one) > 0 {
			all = append(all, one)
		}
		one, last = map[string]string{}, ""
	}
	in := bufio.NewScanner(strings.NewReader(text))
	in.Buffer(nil, 16<<20)
	for in.Scan() {
		line := in.Text()
		switch {
		case strings.TrimSpace(line) == "":
			end()
		case line[0] == '#':
		case line[0] == ' ' || line[0] == '\t':
			if last != "" {
				one[last] += "\n" + strings.TrimSpace(line)
			}
		default:
			name, value, ok := strings.Cut(line, ":")
			if ok {
				last = strings.ToLower(name)
				one[last] = strings.TrimSpace(value)
			}
		}
	}
	end()
	return all
}

// String is the source as people know it.
func (s Source) String() string { return fmt.Sprintf("%s %s", s.URL, s.Suite) }
