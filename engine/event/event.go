// Package event is the vocabulary of what happens in a run.
//
// What is shown, stored or alerted on starts as an event: the terminal, --json
// and a page in a browser are all readers of the same stream, in the order in
// which things happened. An event is one JSON object, told apart by "event":
//
//	run_started    the run has an id; how many stages it has
//	stage_state    a stage changed its state (see sched for the states)
//	stage_log      a line that a running stage printed
//	stage_usage    what a running stage uses, about once a second
//	resumed        an attempt goes on from the checkpoint of another
//	attempt        an attempt ended
//	progress       long work besides stages: pull, unpack, hash; with done and total bytes
//	warning        something to know that stops nothing
//	exported       a file or directory was put into the project
//	run_finished   the summary, always the last
//	shell_opened   what a person who looks around in a sandbox finds there; the stage's command as the hint
package event

import (
	"time"

	"plumb/store"
)

// Schema is the version of the event stream's form.
const Schema = 1

// Type tells events apart.
type Type string

// The types of event.
const (
	RunStarted  Type = "run_started"
	StageState  Type = "stage_state"
	StageLog    Type = "stage_log"
	StageUsage  Type = "stage_usage"
	Resumed     Type = "resumed"
	AttemptDone Type = "attempt"
	Progress    Type = "progress"
	Warning     Type = "warning"
	Exported    Type = "exported"
	RunFinished Type = "run_finished"
	ShellOpened Type = "shell_opened"
)

// Event is one fact of a run. Which fields are set depends on Type.
type Event struct {
	Type     Type           `json:"event"`
	Schema   int            `json:"schema"`
	Time     time.Time      `json:"time,omitzero"`
	Run      store.RunID    `json:"run,omitempty"`
	Stage    string         `json:"stage,omitempty"`
	State    string         `json:"state,omitempty"`
	Reason   string         `json:"reason,omitempty"` // first reason, in words
	Key      store.Key      `json:"key,omitzero"`
	Line     string         `json:"line,omitempty"`
	Message  string         `json:"message,omitempty"`
	Hint     string         `json:"hint,omitempty"`
	Path     string         `json:"path,omitempty"`
	Changed  bool           `json:"changed,omitempty"` // exported: the file was written, not found equal
	Done     int64          `json:"done,omitempty"`
	Total    int64          `json:"total,omitempty"`
	Unit     string         `json:"unit,omitempty"` // progress: of what Done and Total are counts, "" for bytes
	Memory   int64          `json:"memory,omitempty"`
	Attempt  *store.Attempt `json:"attempt,omitempty"`
	Number   int            `json:"number,omitempty"` // of an attempt, from 1
	Count    int            `json:"count,omitempty"`  // run_started: stages
	Status   string         `json:"status,omitempty"`
	Seconds  float64        `json:"seconds,omitempty"`
	Stages   []Stage        `json:"stages,omitempty"` // run_finished
	Exports  []Export       `json:"exports,omitempty"`
	Counts   *store.Counts  `json:"counts,omitempty"`
	Pipeline string         `json:"pipeline,omitempty"`
}

// Stage is the summary of one stage in run_finished.
type Stage struct {
	Name     string             `json:"name"`
	Status   string             `json:"status"`
	Key      store.Key          `json:"key"`
	Reason   string             `json:"reason"`
	Seconds  float64            `json:"seconds"`
	Attempts int                `json:"attempts"`
	Image    string             `json:"image"`
	Outputs  map[string]Output  `json:"outputs"`
	Metrics  map[string]float64 `json:"metrics"`
	Previous map[string]float64 `json:"previous_metrics,omitempty"` // the same metrics in the run before
	Error    *Failure           `json:"error,omitempty"`
}

// Output is one output in a summary.
type Output struct {
	Digest store.Digest `json:"digest"`
	Size   int64        `json:"size"`
	Kind   store.Kind   `json:"kind"`
	Path   string       `json:"path"`

	Dropped bool `json:"dropped,omitempty"` // its bytes are not kept
}

// Failure says why a stage failed, what it last printed, and where it is declared.
type Failure struct {
	Class    store.Class `json:"class"`
	ExitCode int         `json:"exit_code,omitempty"`
	Message  string      `json:"message"`
	Hint     string      `json:"hint,omitempty"`
	Tail     []string    `json:"tail,omitempty"`
	File     string      `json:"file,omitempty"`
	Line     int         `json:"line,omitempty"`
	Final    bool        `json:"-"` // another attempt would end alike
}

// Export is one exported path of a run.
type Export struct {
	Path    string `json:"path"`
	Stage   string `json:"stage"`
	Output  string `json:"output"`
	Changed bool   `json:"changed"`
}
