// Package compare tells what differs between two runs: first the causes, which
// somebody changed, and then the consequences. It reads nothing: its caller gives it
// what is recorded, and lays the causes open afterwards, line by line.
//
// # What is a cause
//
// Stages are matched by name, and equal keys mean that nothing differs. Of two
// different keys the fields of their actions are compared (plan.Diff), and each field
// that differs is either
//
//   - an input that a stage made which differs itself: that is a consequence;
//   - an input that a stage made whose key is the same: that is a consequence, too, see
//     below;
//   - what follows from another field: plan.Causes;
//   - or a cause.
//
// A key that differs so always has a cause: by induction along the graph, whose stages
// that read from no other can only differ by what somebody changed. Where an action is
// not kept any more nothing can be said about its stage, and that is said.
//
// Equal keys whose results differ are a cause of their own (Varied), at the stage that
// gave not the same for the same: nobody changed anything, and it is told whether another
// stage reads the result or not.
//
// # One cause is told once
//
// A param that five stages name is one cause with five stages; so is a file that they
// read, whatever the path at which each sees it, and a command that was written once
// for all instances of a block. Params are compared as the runs have them, so that one
// that no stage names is told as well.
package compare

import (
	"slices"

	"plumb/engine/plan"
	"plumb/store"
)

// The kinds of cause that are about a run and not about an action.
const (
	Profile plan.ReasonKind = "profile"        // another profile was applied
	Targets plan.ReasonKind = "targets"        // other stages were asked for
	Stages  plan.ReasonKind = "stage"          // a stage was added or removed
	Config  plan.ReasonKind = "config"         // something in the files that is in no key
	Varied  plan.ReasonKind = "varied"         // a stage gave something else for the same
	Unknown plan.ReasonKind = "missing_record" // what the stage was is not kept
)

// The kinds of consequence, besides upstream.
const (
	Status   plan.ReasonKind = "status"
	Metric   plan.ReasonKind = "metric"
	Output   plan.ReasonKind = "output"
	Duration plan.ReasonKind = "duration"
)

// Run is a run as far as it is recorded.
type Run struct {
	ID      store.RunID
	Profile string
	Targets []string
	Params  []store.RunParam
	Stages  []Stage // in the order of the pipeline

	// Maker finds which stage of the run made a content, where no note says so.
	Maker func(store.Digest) (stage, output string, ok bool)
}

// Stage is a stage of a run. What an equal key makes needless may be left out: Fields,
// Note and Seconds.
type Stage struct {
	Name    string
	Status  string
	Error   string
	Reason  string
	Key     store.Key
	Fields  []plan.Field // nil when the action is not kept
	Note    plan.Note
	Outputs []store.Output // as they were in the run; nil when there is no result, or it is not kept
	Metrics map[string]float64
	Seconds float64 // of the attempt that made the result, 0 for none
}

// Change is a cause, with the stages it is about, or a consequence for one stage.
type Change struct {
	plan.Reason
	Stages   []string
	OldFrom  string   // where a param's value came from
	NewFrom  string   // likewise
	Relative *float64 // change of a number, as a part of the old one
	Equal    bool     // of an output: it is what it was
	OldName  string   // of an output: what it was called, if not the same
	Path     string   // of an output that varied: where the stage wrote it
	Reads    []string // of a text that is written as it was: what gave something else to it
	written  string   // of causes that stand once in the files for many stages
}

// Written says that somebody wrote another text, which many stages may have.
func (c *Change) Written() bool { return c.written != "" }

// Result is what differs. Causes are in the order of what a person most likely
// changed on purpose, consequences in that of the stages.
type Result struct {
	Causes       []Change
	Consequences []Change
	Unknown      []Change // what cannot be told
	Equal        int      // stages whose keys are equal, and whose results are as far as they are known

	Follows map[string][]string // by stage, those because of which it differs
}

// Same says that nothing differs, and that nothing is unknown.
func (r *Result) Same() bool {
	return len(r.Causes)+len(r.Consequences)+len(r.Unknown) == 0
}

// Upstream are the stages that a stage differs because of, near and far.
func (r *Result) Upstream(stage string) map[string]bool {
	seen := map[string]bool{}
	next := r.Follows[stage]
	for len(next) > 0 {
		s := next[0]
		next = next[1:]
		if !seen[s] {
			seen[s] = true
			next = append(next[:len(next):len(next)], r.Follows[s]...)
		}
	}
	return seen
}

// Runs compares run a with run b.
func Runs(a, b *Run) *Result {
	c := &comparison{runs: [2]*Run{a, b}, known: map[identity]int{}, vary: map[string]bool{}, result: &Result{Causes: []Change{}, Consequences: []Change{}, Unknown: []Change{}, Follows: map[string][]string{}}}
	for i, r := range c.runs {
		c.at[i] = make(map[string]*Stage, len(r.Stages))
		for n := range r.Stages {
			c.at[i][r.Stages[n].Name] = &r.Stages[n]
		}
	}
	c.setting()
	c.params()
	c.presence()
	for n := range b.Stages {
		if old := c.at[0][b.Stages[n].Name]; old != nil {
			c.stage(old, &b.Stages[n])
		}
	}
	c.finish()
	return c.result
}

type comparison struct {
	runs   [2]*Run
	at     [2]map[string]*Stage
	causes []ranked
	known  map[identity]int // causes, by what makes them one
	vary   map[string]bool  // stages that gave something else for the same key
	result *Result
}

// ranked is a cause with its place among the others.
type ranked struct {
	rank int
	Change
}

// ranks orders kinds of cause; what is missing comes last.
var ranks = []plan.ReasonKind{
	Profile, Targets, plan.ReasonParam, plan.ReasonValue, plan.ReasonInput, plan.ReasonImage, plan.ReasonSeed, plan.ReasonCommand, plan.ReasonEnv, plan.ReasonSecret,
	plan.ReasonOutput, plan.ReasonCheckpoint, plan.ReasonNetwork, plan.ReasonIsolation, Stages, Config, plan.ReasonVersion, Varied,
}

func rank(k plan.ReasonKind) int {
	if i := slices.Index(ranks, k); i >= 0 {
		return i
	}
	return len(ranks)
}

// identity is what makes two causes one: the same was changed to the same, or what was
// written once.
type identity struct {
	kind                            plan.ReasonKind
	name, detail, old, new, written string
}

func (c *Change) identity() identity {
	id := identity{kind: c.Kind, name: c.Name, detail: c.Detail, written: c.written}
	if c.written == "" {
		id.old, id.new = c.Old, c.New
	}
	return id
}

// cause adds a cause, or a stage to one that is there already.
func (c *comparison) cause(n Change) {
	id := n.identity()
	at, ok := c.known[id]
	if !ok {
		c.known[id] = len(c.causes)
		c.causes = append(c.causes, ranked{rank(n.Kind), n})
		return
	}
	o := &c.causes[at]
	for _, s := range n.Stages {
		if len(o.Stages) == 0 || o.Stages[len(o.Stages)-1] != s { // stages come one after the other
			o.Stages = append(o.Stages, s)
		}
	}
}

func (c *comparison) consequence(kind plan.ReasonKind, stage string, r plan.Reason) *Change {
	r.Kind = kind
	c.result.Consequences = append(c.result.Consequences, Change{Reason: r, Stages: []string{stage}})
	return &c.result.Consequences[len(c.result.Consequences)-1]
}

func (c *comparison) finish() {
	slices.SortStableFunc(c.causes, func(a, b ranked) int { return a.rank - b.rank })
	for _, r := range c.causes {
		c.result.Causes = append(c.result.Causes, r.Change)
	}
}
