package engine

import (
	"time"

	"plumb/store"
)

// DiffRequest names two runs. A may be "": then B is compared with the one before it,
// and B "" is the latest.
type DiffRequest struct {
	Request
	A      string `json:"a,omitempty"`
	B      string `json:"b,omitempty"`
	NoData bool   `json:"no_data,omitempty"` // tables are not opened
	Lines  int    `json:"lines,omitempty"`   // of each comparison of lines; 0 for all, up to a hundred thousand
}

// DiffDoc says what differs from run A to run B: first what somebody changed, then
// what came of it. Unknown is what cannot be told. Same says that all stages that both
// runs have did the same, from the same.
type DiffDoc struct {
	Schema       int          `json:"schema"`
	A            DiffRun      `json:"a"`
	B            DiffRun      `json:"b"`
	Same         bool         `json:"same"`
	Equal        int          `json:"equal"` // stages with equal keys and results
	Causes       []Difference `json:"causes"`
	Consequences []Difference `json:"consequences"`
	Unknown      []Difference `json:"unknown"`
	Notes        []string     `json:"notes"`
	Files        []FileChange `json:"files"`     // the pipeline's, line by line, where the runs have kept them
	Malformed    []string     `json:"malformed"` // files that are no tables, though their names say so; sorted
}

// DiffRun is one of the two runs, with what surrounded it. That is no cause.
type DiffRun struct {
	Run     store.RunID   `json:"run"`
	Status  string        `json:"status"`
	Started time.Time     `json:"started"`
	Seconds float64       `json:"seconds"`
	Stages  int           `json:"stages"`
	Version string        `json:"version"`
	Origin  *store.Origin `json:"origin,omitempty"`
}

// Difference is one cause or consequence. Stage is set when it is about one; Stages
// lists all.
type Difference struct {
	Change
	Stage    string   `json:"stage,omitempty"`
	Stages   []string `json:"stages"`
	OldFrom  string   `json:"old_from,omitempty"` // where a param's value came from
	NewFrom  string   `json:"new_from,omitempty"`
	Relative *float64 `json:"relative,omitempty"` // change of a metric or duration, as a part of the old value
	Equal    bool     `json:"equal,omitempty"`    // of an output
	OldName  string   `json:"old_name,omitempty"` // of an output that has another name now

	unwritten bool     // a text that is written as it was
	reads     []string // what it reads that differs, where that is known
}

// FileChange is a file of the pipeline that differs. Change is added, removed or
// changed.
type FileChange struct {
	Path   string   `json:"path"`
	Change string   `json:"change"`
	Diff   []string `json:"diff"`
	Note   string   `json:"note,omitempty"`

	role store.FileRole
}
