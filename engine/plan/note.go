package plan

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path"
	"strings"

	"plumb/hcl"
)

// Note is what is recorded with an action and not hashed: how its values were
// written and where they came from. It lets an explanation name the cause alone: when
// a param changed and the command did only because the param stands in it, the command
// is no news; and neither is an input that another stage made.
type Note struct {
	Command string             `json:"command,omitempty"` // source text of the command
	Env     map[string]string  `json:"env,omitempty"`     // source text by name
	Stage   string             `json:"stage,omitempty"`
	Image   string             `json:"image,omitempty"`   // the block's name
	Inputs  map[string]Whence  `json:"inputs,omitempty"`  // by path, those that are not the project's at the same path
	Metrics map[string]float64 `json:"metrics,omitempty"` // that texts refer to, as STAGE.METRIC
	Seed    string             `json:"seed,omitempty"`    // source text of the seed
	Each    *Each              `json:"each,omitempty"`    // what each.value stands for
	Reads   map[string]Reads   `json:"reads,omitempty"`   // by text: textCommand, textEach, textEnv and a name
}

// Each is what each.value stands for, and how that was written.
type Each struct {
	Source string `json:"source"`
	Value  string `json:"value"`
}

// Reads has the beginnings of the digests of what file() and fileset() gave to a text, by
// the file's path, or the directory's with the pattern.
type Reads map[string]string

// The names of texts, besides those of a stage's environment.
const (
	textCommand = "command"
	textEach    = "each"
	textEnv     = "env."
)

// Whence says where an input comes from: an output of a stage, or another path of the
// project.
type Whence struct {
	Stage   string `json:"stage,omitempty"`
	Output  string `json:"output,omitempty"`
	Project string `json:"project,omitempty"`
}

// Produced says that a stage made it.
func (w Whence) Produced() bool { return w.Stage != "" }

// String names the place as the pipeline's language does.
func (w Whence) String() string {
	if w.Produced() {
		return "stage." + w.Stage + "." + w.Output
	}
	return w.Project
}

// Whence says where the input at a path comes from: the project's same path where
// nothing else is noted.
func (n Note) Whence(input string) Whence {
	if w, ok := n.Inputs[input]; ok {
		return w
	}
	for dir := path.Dir(input); dir != "." && dir != "/"; dir = path.Dir(dir) {
		if w, ok := n.Inputs[dir]; ok && !w.Produced() { // files of a glob, moved as a whole
			return Whence{Project: path.Join(w.Project, strings.TrimPrefix(input, dir+"/"))}
		}
	}
	return Whence{Project: input}
}

// Encode gives the note's stored form.
func (n Note) Encode() []byte {
	b, err := json.Marshal(n)
	if err != nil { // strings, maps of strings and finite numbers always encode
		panic("plan: " + err.Error())
	}
	return b
}

// DecodeNote reads a stored note; none gives an empty one.
func DecodeNote(b []byte) (Note, error) {
	var n Note
	if len(b) == 0 {
		return n, nil
	}
	if err := json.Unmarshal(b, &n); err != nil {
		return n, fmt.Errorf("reading a note: %w", err)
	}
	return n, nil
}

// Note is what is recorded beside the action of stage i.
func (p *Planner) Note(i int) Note {
	s := p.Stage(i)
	n := noteOf(s)
	for _, m := range s.MetricRefs() {
		rec := p.states[p.shape.index[m.Stage]].record
		if rec == nil {
			continue
		}
		if v, ok := rec.Metrics[m.Metric]; ok {
			if n.Metrics == nil {
				n.Metrics = map[string]float64{}
			}
			n.Metrics[m.Stage+"."+m.Metric] = v
		}
	}
	return n
}

func noteOf(s *hcl.Stage) Note {
	n := Note{Command: s.Command.Source, Stage: s.Name, Image: s.Image}
	if len(s.Env)+len(s.Passed) > 0 {
		n.Env = make(map[string]string, len(s.Env)+len(s.Passed))
	}
	n.readBy(textCommand, s.Command.Reads)
	for i := range s.Env {
		n.Env[s.Env[i].Name] = s.Env[i].Source
		n.readBy(textEnv+s.Env[i].Name, s.Env[i].Reads)
	}
	n.Seed = s.SeedSource
	if s.Each != nil {
		n.Each = &Each{s.Each.Source, s.Each.Value}
		n.readBy(textEach, s.Each.Reads)
	}
	for _, name := range s.Passed {
		n.Env[passedName(name)] = "param." + name
	}
	for i := range s.Inputs {
		in := &s.Inputs[i]
		w := Whence{Stage: in.Stage, Output: in.Output}
		switch {
		case in.Kind == hcl.InputOutput:
		case in.Target == in.Path:
			continue
		case in.Glob:
			w = Whence{Project: strings.TrimSuffix(globBase(in.Path), "/")}
		default:
			w = Whence{Project: in.Path}
		}
		if n.Inputs == nil {
			n.Inputs = map[string]Whence{}
		}
		n.Inputs[in.Target] = w
	}
	return n
}

// readBy notes what a text read.
func (n *Note) readBy(text string, reads []hcl.Read) {
	if len(reads) == 0 {
		return
	}
	if n.Reads == nil {
		n.Reads = map[string]Reads{}
	}
	n.Reads[text] = make(Reads, len(reads))
	for _, r := range reads {
		const digits = 8 // bytes that tell a file from what it was
		n.Reads[text][path.Join(r.Path, r.Pattern)] = hex.EncodeToString(r.Digest[:digits])
	}
}
