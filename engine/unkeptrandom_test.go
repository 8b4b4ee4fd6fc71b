package engine

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"plumb/engine/runtime"
	"plumb/store"
)

var unkeptRounds = flag.Int("unkept.rounds", 15, "how many random pipelines TestRandomPipelinesThatKeepLittle runs")

// keepsLittle is a random pipeline in which most outputs are not kept. An odd stage gives
// its version, an even one always the same: what is behind that is cached.
type keepsLittle struct {
	edges    [][]int
	versions []int
	kept     []bool
}

func randomlyKept(random *rand.Rand) *keepsLittle {
	p := &keepsLittle{}
	for i := range 3 + random.IntN(6) {
		var from []int
		for j := range i {
			if random.IntN(3) == 0 {
				from = append(from, j)
			}
		}
		p.edges, p.versions, p.kept = append(p.edges, from), append(p.versions, 0), append(p.kept, random.IntN(4) == 0)
	}
	return p
}

func (p *keepsLittle) content(i int) string {
	if i%2 == 0 {
		return fmt.Sprint("s", i)
	}
	return fmt.Sprint("s", i, " ", p.versions[i])
}

func (p *keepsLittle) source() string {
	var b strings.Builder
	for i, from := range p.edges {
		inputs, command := []string{`"in.txt"`}, ""
		for _, j := range from {
			inputs = append(inputs, fmt.Sprintf("stage.s%d.o", j))
			command += fmt.Sprintf(`"copy", "o%d", "x", ";", `, j) // fails where it is not there
		}
		retain := ""
		if !p.kept[i] {
			retain = `, retain = "none"`
		}
		fmt.Fprintf(&b, "stage \"s%d\" {\n  inputs  = [%s]\n  command = [%s\"write\", \"o%d\", %q, \";\", \"print\", \"%d\"]\n  outputs = { o = { path = \"o%d\"%s } }\n}\n",
			i, strings.Join(inputs, ", "), command, i, p.content(i), p.versions[i], i, retain)
	}
	return b.String()
}

// TestRandomPipelinesThatKeepLittle runs them, changed a little from run to run, with
// stages that take by chance longer or shorter, so that they are decided about in many
// orders and at once. Each stage finds what it reads, and each output is what it must be.
func TestRandomPipelinesThatKeepLittle(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 2))
	r := newRig(t, "")
	r.rt.watch = func(runtime.Spec, bool) { time.Sleep(rand.N(2 * time.Millisecond)) }
	cached := 0
	for round := range *unkeptRounds {
		p := randomlyKept(random)
		r.write("in.txt", fmt.Sprint(round))
		for range 5 {
			r.project(p.source())
			status, events, err := r.ran(t.Context())
			if err != nil {
				t.Fatalf("%v\n%v\n%s", err, status, p.source())
			}
			for _, s := range events[len(events)-1].Stages {
				var i int
				if _, err := fmt.Sscanf(s.Name, "s%d", &i); err != nil {
					t.Fatal(err)
				}
				if got := s.Outputs["o"].Digest; got != store.Sum([]byte(p.content(i))) {
					t.Errorf("stage %s (%s) gave %v, want %q\n%s", s.Name, s.Status, got, p.content(i), p.source())
				}
				if s.Status == "cached" {
					cached++
				}
			}
			p.versions[random.IntN(len(p.versions))]++
		}
	}
	if cached == 0 {
		t.Error("no stage was cached")
	}
}
