package apt

import (
	"fmt"
	"slices"
	"strings"

	"github.com/agext/levenshtein"
	"pault.ag/go/debian/dependency"
	"pault.ag/go/debian/version"
)

// The resolver does what apt 2's MarkInstall does on a system that has nothing:
// depth first, in the order of the fields, the first alternative that can be had,
// unless one is chosen already. Of several that provide a name: the package of that
// name itself, what is essential, what has the higher priority, what the lists
// mention later. A choice that leads nowhere is taken back, and the next tried.

type resolver struct {
	*index
	req     Request
	chosen  map[string]*candidate
	order   []*candidate // as chosen; what is taken back is cut off
	failure string       // why the last thing could not be had
	asked   []string     // the chain that is being followed
}

// wanted is one of the names that were asked for.
type wanted struct {
	text string // as it was asked for
	name string
	pin  string // version, "" for any
}

func (x *index) resolve(req Request) ([]Package, error) {
	x.finish()
	r := &resolver{index: x, req: req, chosen: map[string]*candidate{}}
	all, err := r.wanted()
	if err != nil {
		return nil, err
	}
	var roots []*candidate
	for _, w := range all {
		c, err := r.root(w)
		if err != nil {
			return nil, err
		}
		roots = append(roots, c)
	}
	for i, c := range roots {
		ok, err := r.install(c)
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, requestError("%s cannot be installed: %s", all[i].text, r.failure)
		}
	}
	return r.answer(all, roots)
}

// wanted parts the names from what is behind them. Essential packages come first,
// as they would be there already.
func (r *resolver) wanted() ([]wanted, error) {
	var all []wanted
	if r.req.Essential {
		for name, c := range r.packages {
			if c.essential {
				all = append(all, wanted{text: name, name: name})
			}
		}
		slices.SortFunc(all, func(a, b wanted) int { return strings.Compare(a.name, b.name) })
	}
	for _, text := range r.req.Packages {
		w := wanted{text: text}
		w.name, w.pin, _ = strings.Cut(text, "=")
		name, arch, qualified := strings.Cut(w.name, ":")
		if w.name = name; qualified && arch != r.arch && arch != "native" && arch != "any" && arch != "all" {
			return nil, requestError("%s is of another architecture than the image, which is %s", text, r.arch)
		}
		all = append(all, w)
	}
	return all, nil
}

// root finds the package that a name asks for.
func (r *resolver) root(w wanted) (*candidate, error) {
	c := r.packages[w.name]
	if c == nil {
		by := r.provides[w.name]
		switch {
		case len(by) == 1:
			return by[0].by, nil
		case len(by) > 1:
			var names []string
			for _, p := range by {
				names = append(names, p.by.name)
			}
			return nil, requestError("%q is provided by several packages; name one: %s", w.name, strings.Join(names, ", "))
		}
		text := fmt.Sprintf("there is no package %q in %s", w.name, r.where())
		if near := r.nearest(w.name); near != "" {
			text += fmt.Sprintf("; did you mean %q?", near)
		}
		return nil, requestError("%s", text)
	}
	if w.pin != "" && w.pin != c.version.String() {
		return nil, requestError("there is no version %s of package %q in %s, only %s", w.pin, w.name, r.where(), c.version.String())
	}
	return c, nil
}

func (r *resolver) where() string {
	var names []string
	for _, s := range r.req.Sources {
		if !slices.Contains(names, s.Suite) {
			names = append(names, s.Suite)
		}
	}
	return strings.Join(names, ", ")
}

// nearest finds the package that was most likely meant.
func (r *resolver) nearest(name string) string {
	best, at := "", 3
	for other := range r.packages {
		if abs(len(other)-len(name)) >= at {
			continue
		}
		if d := levenshtein.Distance(name, other, nil); d < at || d == at && other < best {
			best, at = other, d
		}
	}
	return best
}

func abs(n int) int { return max(n, -n) }

// install chooses a package with all that it needs, or nothing.
func (r *resolver) install(c *candidate) (bool, error) {
	if r.chosen[c.name] == c {
		return true, nil
	}
	if err := c.parse(); err != nil {
		return false, err
	}
	if other, text := r.conflict(c); other != nil {
		r.failure = fmt.Sprintf("%s and %s exclude each other (%s)%s", c.name, other.name, text, r.chain())
		return false, nil
	}
	before := len(r.order)
	r.chosen[c.name] = c
	r.order = append(r.order, c)
	r.asked = append(r.asked, c.name)
	defer func() { r.asked = r.asked[:len(r.asked)-1] }()
	for _, group := range c.needs {
		ok, err := r.satisfy(group)
		if err != nil {
			return false, err
		}
		if !ok {
			r.takeBack(before)
			return false, nil
		}
	}
	if !r.req.Recommends {
		return true, nil
	}
	for _, group := range c.likes {
		kept := r.failure
		if _, err := r.satisfy(group); err != nil {
			return false, err
		}
		r.failure = kept // what is only recommended may be missing
	}
	return true, nil
}

func (r *resolver) takeBack(to int) {
	for _, c := range r.order[to:] {
		delete(r.chosen, c.name)
	}
	r.order = r.order[:to]
}

// satisfy chooses one of the alternatives, unless one is chosen already.
func (r *resolver) satisfy(group dependency.Relation) (bool, error) {
	for _, p := range group.Possibilities {
		if r.satisfied(p) {
			return true, nil
		}
	}
	if !slices.ContainsFunc(group.Possibilities, r.applies) {
		return true, nil // it is of other architectures
	}
	var tried []string
	for _, p := range group.Possibilities {
		if !r.applies(p) {
			continue
		}
		for _, c := range r.solutions(p) {
			if slices.Contains(tried, c.name) {
				continue
			}
			tried = append(tried, c.name)
			ok, err := r.install(c)
			if ok || err != nil {
				return ok, err
			}
		}
	}
	if len(tried) == 0 {
		r.failure = r.unsatisfied(group)
	}
	return false, nil
}

// applies says whether an alternative is for this architecture: [amd64 !arm64].
func (r *resolver) applies(p dependency.Possibility) bool {
	if p.Substvar || p.Architectures == nil || len(p.Architectures.Architectures) == 0 {
		return !p.Substvar
	}
	arch, err := dependency.ParseArch(r.arch)
	return err == nil && p.Architectures.Matches(arch)
}

// admits says whether a package may stand for what a dependency names: with :any it
// has to allow that; another architecture is not to be had.
func (r *resolver) admits(p dependency.Possibility, c *candidate) bool {
	if p.Arch == nil {
		return true
	}
	switch a := p.Arch.String(); a {
	case "any", "any-any", "any-any-any":
		return c.multiArch == "allowed" || c.name == p.Name
	case "native":
		return true
	default:
		return a == r.arch || c.arch == a
	}
}

func (r *resolver) satisfied(p dependency.Possibility) bool {
	if !r.applies(p) {
		return false
	}
	if c := r.chosen[p.Name]; c != nil && r.admits(p, c) && fits(p.Version, c.version) {
		return true
	}
	for _, by := range r.provides[p.Name] {
		if r.chosen[by.by.name] == by.by && provided(p.Version, by.version) {
			return true
		}
	}
	return false
}

func fits(want *dependency.VersionRelation, have version.Version) bool {
	return want == nil || want.SatisfiedBy(have)
}

func provided(want *dependency.VersionRelation, have *version.Version) bool {
	return want == nil || have != nil && want.SatisfiedBy(*have)
}

// solutions are the packages that satisfy an alternative, the best first.
func (r *resolver) solutions(p dependency.Possibility) []*candidate {
	all := r.unordered(p)
	slices.SortStableFunc(all, func(a, b *candidate) int { return r.rank(p, a, b) })
	return all
}

func (r *resolver) unordered(p dependency.Possibility) []*candidate {
	var all []*candidate
	if c := r.packages[p.Name]; c != nil && r.admits(p, c) && fits(p.Version, c.version) {
		all = append(all, c)
	}
	for _, by := range r.provides[p.Name] {
		if provided(p.Version, by.version) && !slices.Contains(all, by.by) && by.by.name != p.Name {
			all = append(all, by.by)
		}
	}
	return all
}

// rank orders two packages that satisfy the same alternative.
func (r *resolver) rank(p dependency.Possibility, a, b *candidate) int {
	for _, better := range []func(*candidate) bool{
		func(c *candidate) bool { return c.name == p.Name },
		func(c *candidate) bool { return c.essential },
		func(c *candidate) bool { return c.important },
	} {
		if better(a) != better(b) {
			if better(a) {
				return -1
			}
			return 1
		}
	}
	if a.priority != b.priority {
		return a.priority - b.priority
	}
	return r.mentioned(b.name) - r.mentioned(a.name)
}

// conflict finds a chosen package that excludes c, or that c excludes.
func (r *resolver) conflict(c *candidate) (*candidate, string) {
	for _, group := range c.excludes {
		for _, p := range group.Possibilities {
			if other := r.excluded(p, c); other != nil && r.applies(p) {
				return other, c.name + " says so of " + p.String()
			}
		}
	}
	for _, other := range r.order {
		for _, group := range other.excludes {
			for _, p := range group.Possibilities {
				if r.applies(p) && excludes(p, c) && other != c {
					return other, other.name + " says so of " + p.String()
				}
			}
		}
	}
	return nil, ""
}

func (r *resolver) excluded(p dependency.Possibility, c *candidate) *candidate {
	if other := r.chosen[p.Name]; other != nil && other != c && fits(p.Version, other.version) {
		return other
	}
	for _, by := range r.provides[p.Name] {
		if by.by != c && r.chosen[by.by.name] == by.by && provided(p.Version, by.version) {
			return by.by
		}
	}
	return nil
}

// excludes says whether a conflict is with a package.
func excludes(p dependency.Possibility, c *candidate) bool {
	if p.Name == c.name {
		return fits(p.Version, c.version)
	}
	text := field(c.text, "Provides")
	if text == "" {
		return false
	}
	for one := range strings.SplitSeq(text, ",") {
		what, rest, versioned := strings.Cut(strings.TrimSpace(one), "(")
		if strings.TrimSpace(what) != p.Name {
			continue
		}
		if p.Version == nil {
			return true
		}
		v, err := version.Parse(strings.Trim(rest, "= )"))
		return versioned && err == nil && p.Version.SatisfiedBy(v)
	}
	return false
}

// unsatisfied says what is missing, and what is there instead.
func (r *resolver) unsatisfied(group dependency.Relation) string {
	var there []string
	for _, p := range group.Possibilities {
		if c := r.packages[p.Name]; c != nil {
			there = append(there, fmt.Sprintf("only %s %s is there", c.name, c.version.String()))
		} else {
			there = append(there, fmt.Sprintf("there is no %s", p.Name))
		}
	}
	return fmt.Sprintf("%s depends on %s, and %s%s", r.asked[len(r.asked)-1], group.String(), strings.Join(there, ", "), r.chain())
}

// chain says how the resolver came to where it is.
func (r *resolver) chain() string {
	if len(r.asked) < 2 {
		return ""
	}
	return " (needed through " + strings.Join(r.asked, " → ") + ")"
}

// answer says of each package which of the names need it.
func (r *resolver) answer(all []wanted, roots []*candidate) ([]Package, error) {
	needed := map[string][]string{}
	essential := map[string]bool{}
	for i, w := range all {
		for name := range r.closure(roots[i]) {
			if i < len(all)-len(r.req.Packages) {
				essential[name] = true
			} else if !slices.Contains(needed[name], w.text) {
				needed[name] = append(needed[name], w.text)
			}
		}
	}
	out := make([]Package, 0, len(r.order))
	for _, c := range r.order {
		p, err := c.pinned()
		if err != nil {
			return nil, err
		}
		p.Essential, p.For = essential[c.name], needed[c.name]
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b Package) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// closure is what a package needs of what was chosen.
func (r *resolver) closure(root *candidate) map[string]bool {
	seen := map[string]bool{root.name: true}
	for queue := []*candidate{root}; len(queue) > 0; {
		c := queue[0]
		queue = queue[1:]
		groups := c.needs
		if r.req.Recommends {
			groups = slices.Concat(c.needs, c.likes)
		}
		for _, group := range groups {
			for _, p := range group.Possibilities {
				for _, s := range r.unordered(p) {
					if r.chosen[s.name] == s && !seen[s.name] && r.applies(p) {
						seen[s.name] = true
						queue = append(queue, s)
					}
				}
			}
		}
	}
	return seen
}
