package engine

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"plumb/engine/compare"
	"plumb/engine/plan"
	"plumb/store"
)

// project is a random project: so many layers of stages, each of which reads from some
// of the layer before, from files, and names params.
type randomProject struct {
	params map[string]int
	files  map[string]string
	stages []randomStage
}

type randomStage struct {
	name, text   string
	env, seed    int
	params       []string
	files        []string
	from         []string
	timeout      int
	output       string
	alsoNetwork  bool
	hideUpstream bool // its output does not depend on what it reads
}

func newRandomProject(r *rand.Rand) *randomProject {
	p := &randomProject{params: map[string]int{}, files: map[string]string{}}
	for i := range 4 {
		p.params[fmt.Sprintf("p%d", i)] = r.IntN(3)
		p.files[fmt.Sprintf("f%d.txt", i)] = fmt.Sprint(r.IntN(3))
	}
	for i := range 5 {
		s := randomStage{name: fmt.Sprintf("s%d", i), text: fmt.Sprint(r.IntN(3)), env: r.IntN(2), seed: r.IntN(2), output: fmt.Sprintf("o%d.txt", i), hideUpstream: r.IntN(3) == 0}
		for j := range 4 {
			if r.IntN(3) == 0 {
				s.params = append(s.params, fmt.Sprintf("p%d", j))
			}
			if r.IntN(4) == 0 {
				s.files = append(s.files, fmt.Sprintf("f%d.txt", j))
			}
		}
		for j := range i {
			if r.IntN(2) == 0 {
				s.from = append(s.from, fmt.Sprintf("s%d", j))
			}
		}
		p.stages = append(p.stages, s)
	}
	return p
}

// change makes one random change, which may be one that counts for nothing.
func (p *randomProject) change(r *rand.Rand) {
	s := &p.stages[r.IntN(len(p.stages))]
	switch r.IntN(9) {
	case 0:
		p.params[fmt.Sprintf("p%d", r.IntN(4))] = r.IntN(3)
	case 1, 2:
		p.files[fmt.Sprintf("f%d.txt", r.IntN(4))] = fmt.Sprint(r.IntN(3))
	case 3:
		s.text = fmt.Sprint(r.IntN(3))
	case 4:
		s.env = r.IntN(2)
	case 5:
		s.seed = r.IntN(2)
	case 6:
		s.timeout = r.IntN(3)
	case 7:
		s.output = fmt.Sprintf("%s%d.txt", s.name, r.IntN(2))
	case 8:
		s.alsoNetwork = !s.alsoNetwork
	}
}

func (p *randomProject) write(r *rig) {
	var b strings.Builder
	for _, n := range []string{"p0", "p1", "p2", "p3"} {
		fmt.Fprintf(&b, "param %q { default = %d }\n", n, p.params[n])
	}
	for _, s := range p.stages {
		var inputs []string
		for _, f := range s.files {
			inputs = append(inputs, fmt.Sprintf("%q", f))
		}
		text := s.text
		for _, f := range s.from {
			inputs = append(inputs, "stage."+f+".out")
		}
		for _, n := range s.params {
			text += " ${param." + n + "}"
		}
		fmt.Fprintf(&b, "stage %q {\n  inputs = [%s]\n  command = [\"write\", %q, \"%s\"", s.name, strings.Join(inputs, ", "), s.output, text)
		if len(s.from) > 0 && !s.hideUpstream {
			fmt.Fprintf(&b, ", \";\", \"copy\", \"${input.up}\", %q", s.output)
		}
		fmt.Fprintf(&b, "]\n  outputs = { out = %q }\n  env = { E = \"%d\" }\n  seed = %d\n", s.output, s.env, s.seed)
		if s.timeout > 0 {
			fmt.Fprintf(&b, "  timeout = \"%dm\"\n", s.timeout)
		}
		if s.alsoNetwork {
			b.WriteString("  network = true\n  cache = true\n")
		}
		b.WriteString("}\n")
	}
	text := b.String()
	for _, s := range p.stages { // the object form names the input that is copied
		if len(s.from) > 0 && !s.hideUpstream {
			old := fmt.Sprintf("stage %q {\n  inputs = [", s.name)
			i := strings.Index(text, old) + len(old)
			j := i + strings.IndexByte(text[i:], ']')
			var named []string
			for n, in := range strings.Split(text[i:j], ", ") {
				name := fmt.Sprintf("i%d", n)
				if in == "stage."+s.from[0]+".out" {
					name = "up"
				}
				named = append(named, name+" = "+in)
			}
			text = text[:i-1] + "{ " + strings.Join(named, ", ") + " }" + text[j+1:]
		}
	}
	r.project(text)
	for name, content := range p.files {
		r.write(name, content)
	}
}

// TestDiffIsEmptyIfAndOnlyIfKeysAreEqual compares random pairs of runs of a project that
// is changed at random. It holds three things: what differs is told if and only if a
// key, a param or a setting differs; each stage whose key differs is told, by a cause or
// as a consequence of one; and no cause names a stage whose key is equal.
func TestDiffIsEmptyIfAndOnlyIfKeysAreEqual(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	r := newRig(t, "")
	p := newRandomProject(random)
	var texts []string
	const runs = 40
	for range runs {
		for range random.IntN(4) {
			p.change(random)
		}
		p.write(r)
		r.mustRun()
		texts = append(texts, fmt.Sprintf("%v", p))
	}
	ids := must(r.Runs(t.Context(), RunsRequest{Dir: r.dir})).Runs
	slices.Reverse(ids)
	for range 150 {
		i, j := random.IntN(runs), random.IntN(runs)
		doc := r.diffLatest(func(q *DiffRequest) { q.A, q.B = string(ids[i].ID), string(ids[j].ID) })
		a, b := must(r.store.Run(ids[i].ID)), must(r.store.Run(ids[j].ID))
		differ := differing(a, b)
		if keys := len(differ) > 0; keys && doc.Same || texts[i] == texts[j] && !doc.Same {
			t.Fatalf("same is %t; %d keys differ, project equal %t\n%s\n%s\n%s", doc.Same, len(differ), texts[i] == texts[j], texts[i], texts[j], brief(doc.Causes))
		}
		if len(differ) == 0 && slices.ContainsFunc(doc.Causes, func(d Difference) bool { return d.Kind != compare.Config && d.Kind != plan.ReasonParam }) {
			t.Fatalf("no key differs, and told is %s", brief(doc.Causes))
		}
		told := map[string]bool{}
		for _, d := range slices.Concat(doc.Causes, doc.Consequences) {
			for _, s := range d.Stages {
				told[s] = true
				if !differ[s] && d.Kind != compare.Config {
					t.Fatalf("stage %s has equal keys, and told is %v\n%s\n%s", s, d, texts[i], texts[j])
				}
			}
		}
		for s := range differ {
			if !told[s] {
				t.Fatalf("the key of stage %s differs, and it is not told\n%s", s, brief(doc.Causes))
			}
		}
		if len(differ) > 0 && len(doc.Causes) == 0 {
			t.Fatalf("keys differ without a cause:\n%s\n%s\n%v", texts[i], texts[j], doc.Consequences)
		}
		if len(doc.Unknown)+len(doc.Notes) > 0 {
			t.Fatalf("unknown %v, notes %q", doc.Unknown, doc.Notes)
		}
	}
}

func differing(a, b *store.Run) map[string]bool {
	keys := map[string]store.Key{}
	for _, s := range a.Stages {
		keys[s.Name] = s.Key
	}
	out := map[string]bool{}
	for _, s := range b.Stages {
		if keys[s.Name] != s.Key {
			out[s.Name] = true
		}
	}
	return out
}
