package apt

import (
	"slices"
	"strconv"
	"strings"

	"pault.ag/go/debian/dependency"
	"pault.ag/go/debian/version"
)

// candidate is the one version of a package that apt would install: the highest.
type candidate struct {
	name      string
	version   version.Version
	arch      string
	source    *Source
	text      string // its paragraph
	essential bool
	important bool
	priority  int
	multiArch string

	parsed   bool
	needs    []dependency.Relation // Pre-Depends, then Depends
	likes    []dependency.Relation // Recommends
	excludes []dependency.Relation // Conflicts and Breaks
}

// index is all that the sources have for an architecture.
type index struct {
	arch     string
	packages map[string]*candidate
	provides map[string][]provision
	texts    []string
	provided bool           // provides is made
	places   map[string]int // what mentioned found
}

// provision is a package that stands for another name.
type provision struct {
	by      *candidate
	version *version.Version // nil when it says none: it satisfies no versioned dependency
}

func newIndex(arch string) *index {
	return &index{arch: arch, packages: map[string]*candidate{}, provides: map[string][]provision{}, places: map[string]int{}}
}

// field gives a field of a paragraph. Only the resolved packages are parsed in full:
// a list has sixty thousand.
func field(text, name string) string {
	for at := 0; ; {
		i := strings.Index(text[at:], name)
		if i < 0 {
			return ""
		}
		i += at
		at = i + len(name)
		if (i == 0 || text[i-1] == '\n') && at < len(text) && text[at] == ':' {
			value := text[at+1:]
			end := 0
			for {
				n := strings.IndexByte(value[end:], '\n')
				if n < 0 {
					return strings.TrimSpace(value)
				}
				end += n
				if end+1 >= len(value) || value[end+1] != ' ' && value[end+1] != '\t' {
					return strings.TrimSpace(value[:end])
				}
				end++
			}
		}
	}
}

var priorities = []string{"required", "important", "standard", "optional", "extra"}

// add reads a list. Of several versions of a package the highest stays; of equal
// ones the first, as in apt.
func (x *index) add(text string, s Source) {
	x.texts = append(x.texts, text)
	for len(text) > 0 {
		one := text
		if i := strings.Index(text, "\n\n"); i >= 0 {
			one, text = text[:i+1], strings.TrimLeft(text[i+2:], "\n")
		} else {
			text = ""
		}
		c := &candidate{name: field(one, "Package"), arch: field(one, "Architecture"), source: &s, text: one}
		v, err := version.Parse(field(one, "Version"))
		if err != nil || c.name == "" || c.arch != x.arch && c.arch != "all" {
			continue
		}
		c.version = v
		if have := x.packages[c.name]; have != nil && version.Compare(have.version, v) >= 0 {
			continue
		}
		x.packages[c.name] = c
	}
}

// finish reads of the chosen versions what they provide and how they are ranked.
func (x *index) finish() {
	if x.provided {
		return
	}
	x.provided = true
	names := make([]string, 0, len(x.packages))
	for name := range x.packages {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		c := x.packages[name]
		c.essential = field(c.text, "Essential") == "yes"
		c.important = field(c.text, "Important") == "yes" || field(c.text, "Protected") == "yes"
		c.multiArch = field(c.text, "Multi-Arch")
		if c.priority = slices.Index(priorities, field(c.text, "Priority")); c.priority < 0 {
			c.priority = len(priorities)
		}
		provided := field(c.text, "Provides")
		if provided == "" {
			continue
		}
		for one := range strings.SplitSeq(provided, ",") {
			what, rest, versioned := strings.Cut(strings.TrimSpace(one), "(")
			what, _, _ = strings.Cut(strings.TrimSpace(what), ":")
			p := provision{by: c}
			if versioned {
				v, err := version.Parse(strings.Trim(rest, "= )"))
				if err != nil {
					continue
				}
				p.version = &v
			}
			x.provides[what] = append(x.provides[what], p)
		}
	}
}

// parse reads what a package depends on.
func (c *candidate) parse() error {
	if c.parsed {
		return nil
	}
	c.parsed = true
	for _, f := range []struct {
		name string
		into *[]dependency.Relation
	}{{"Pre-Depends", &c.needs}, {"Depends", &c.needs}, {"Recommends", &c.likes}, {"Conflicts", &c.excludes}, {"Breaks", &c.excludes}} {
		text := field(c.text, f.name)
		if text == "" {
			continue
		}
		d, err := dependency.Parse(text)
		if err != nil {
			return requestError("the package %q has a %s field that cannot be read: %v", c.name, f.name, err)
		}
		*f.into = append(*f.into, d.Relations...)
	}
	return nil
}

// mentioned is where a name stands first in the lists: apt numbers packages in that
// order, and decides by it what nothing else decides.
func (x *index) mentioned(name string) int {
	at, ok := x.places[name]
	if !ok {
		at = x.find(name)
		x.places[name] = at
	}
	return at
}

func (x *index) find(name string) int {
	before := 0
	for _, text := range x.texts {
		for at := 0; ; {
			i := strings.Index(text[at:], name)
			if i < 0 {
				break
			}
			i += at
			at = i + len(name)
			if (i == 0 || !isName(text[i-1])) && (at == len(text) || !isName(text[at])) && inNames(text, i) {
				return before + i
			}
		}
		before += len(text)
	}
	return before
}

func isName(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= '0' && b <= '9' || b == '+' || b == '-' || b == '.'
}

// inNames says whether a place in a list is in a field that names packages.
func inNames(text string, at int) bool {
	line := text[strings.LastIndexByte(text[:at], '\n')+1 : at]
	name, _, _ := strings.Cut(line, ":")
	return slices.Contains([]string{"Package", "Depends", "Pre-Depends", "Recommends", "Suggests", "Conflicts", "Breaks", "Replaces", "Provides", "Enhances"}, name)
}

// pinned is the answer for one package.
func (c *candidate) pinned() (Package, error) {
	size, err := strconv.ParseInt(field(c.text, "Size"), 10, 64)
	p := Package{
		Name: c.name, Version: c.version.String(), Architecture: c.arch, Source: *c.source,
		Path: field(c.text, "Filename"), Size: size, SHA256: field(c.text, "SHA256"),
	}
	if err != nil || len(p.SHA256) != 64 || p.Path == "" || strings.Contains("/"+p.Path+"/", "/../") {
		return p, requestError("the list says of package %q neither where it is nor what it should be", c.name)
	}
	return p, nil
}
