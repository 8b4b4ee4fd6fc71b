package plan

import (
	"encoding/json"
	"fmt"
)

// Note is what is recorded with an action and not hashed: how its values were
// written. It lets an explanation name the cause alone: when a param changed and
// the command did only because the param stands in it, the command is no news.
type Note struct {
	Command string            `json:"command,omitempty"` // source text of the command
	Env     map[string]string `json:"env,omitempty"`     // source text by name
	Stage   string            `json:"stage,omitempty"`
}

// Encode gives the note's stored form.
func (n Note) Encode() []byte {
	b, err := json.Marshal(n)
	if err != nil { // strings and a map of strings always encode
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

// Causes leaves out differences that follow from another one in the list: a
// command or environment entry whose source text is the same on both sides
// changed because a param, a seed or a metric in it did. It never leaves nothing.
func Causes(reasons []Reason, old, new Note) []Reason {
	written := func(r Reason) bool {
		switch r.Kind {
		case ReasonCommand:
			return old.Command == "" || old.Command != new.Command
		case ReasonEnv:
			return r.Detail != "" || old.Env[r.Name] == "" || old.Env[r.Name] != new.Env[r.Name]
		}
		return true
	}
	var causes []Reason
	for _, r := range reasons {
		if written(r) {
			causes = append(causes, r)
		}
	}
	if len(causes) == 0 {
		return reasons
	}
	return causes
}
