package store

import "time"

// RunID names a run by its UTC start time, the second in digits and the microsecond
// in four letters, so that ids sort by time: 20261124-020751-k3f9.
type RunID string

// Class is the failure class of an attempt, "ok" for one that succeeded.
type Class string

// The classes of attempt.
const (
	ClassOK        Class = "ok"
	ClassExit      Class = "exit"
	ClassOOM       Class = "oom"
	ClassTimeout   Class = "timeout"
	ClassPreempted Class = "preempted"
	ClassInfra     Class = "infra"
	ClassOutput    Class = "output"   // a declared output was missing or not acceptable
	ClassCanceled  Class = "canceled" // the user stopped the run
	ClassVoid      Class = "void"     // an input moved under the stage; the result was not recorded
	ClassEffect    Class = "effect"   // not run: its effect may have happened already
)

// Output is one captured output of an action. Dropped says that its bytes are not
// kept, on purpose: what it was is known, and it is no damage that it is not there.
type Output struct {
	Name string `json:"name"`
	Path string `json:"path"`
	Artifact
	Dropped bool `json:"dropped,omitempty"`
}

// Attempt is one try at one action. Sizes are bytes, Log is the digest of the
// zstd-compressed log's blob (zero when nothing was printed).
type Attempt struct {
	Class        Class     `json:"class"`
	ExitCode     int       `json:"exit_code"`
	Signal       string    `json:"signal,omitempty"`
	Error        string    `json:"error,omitempty"` // what went wrong, in words, for all classes but ok
	Started      time.Time `json:"started"`
	Seconds      float64   `json:"seconds"`
	CPUSeconds   float64   `json:"cpu_seconds"`
	PeakMemory   int64     `json:"peak_memory"`
	ReadBytes    int64     `json:"read_bytes"`
	WrittenBytes int64     `json:"written_bytes"`
	MemoryLimit  int64     `json:"memory_limit,omitempty"`
	Resumed      bool      `json:"resumed,omitempty"` // it found a checkpoint of an earlier attempt
	Log          Digest    `json:"log,omitzero"`
	LogBytes     int64     `json:"log_bytes,omitempty"` // uncompressed
}

// Record is the durable result of one executed action. Action is the canonical
// encoding of which Key is the digest. Note holds what is recorded but not
// hashed, as JSON of the engine's.
type Record struct {
	Key      Key                `json:"key"`
	Action   []byte             `json:"action"`
	Note     []byte             `json:"note,omitempty"`
	Outputs  []Output           `json:"outputs"`
	Inputs   []Artifact         `json:"inputs,omitempty"` // what it read from the store; gc keeps it, a hit does not need it
	Metrics  map[string]float64 `json:"metrics,omitempty"`
	Run      RunID              `json:"run"`
	Stage    string             `json:"stage"`
	Created  time.Time          `json:"created"`
	Attempts []Attempt          `json:"attempts"`
}

// Failure is the last failed try at an action, kept so that the next plan can
// say "failed before". It is dropped when the action succeeds.
type Failure struct {
	Key      Key       `json:"key"`
	Action   []byte    `json:"action"`
	Note     []byte    `json:"note,omitempty"`
	Run      RunID     `json:"run"`
	Stage    string    `json:"stage"`
	When     time.Time `json:"when"`
	Attempts []Attempt `json:"attempts"`
}

// Tombstone says that a record was removed: when, by which rule, and by whom, which is
// gc where nothing is said.
type Tombstone struct {
	Key  Key       `json:"key"`
	When time.Time `json:"when"`
	Rule string    `json:"rule"`
	By   string    `json:"by,omitempty"`
}

// ByFsck is who removed what was damaged.
const ByFsck = "fsck"

// Miss says why Lookup found no usable record.
type Miss struct {
	Kind      MissKind
	Tombstone *Tombstone // for MissEvicted
	Detail    string     // for MissDamaged: which output's blob and what is wrong with it
}

// MissKind is the kind of a miss.
type MissKind string

// The kinds of miss of one key.
const (
	MissAbsent  MissKind = "absent"  // never recorded
	MissEvicted MissKind = "evicted" // removed by gc
	MissDamaged MissKind = "damaged" // recorded, but a blob is lost or has another size
)

// StageResult is one stage's part of a run.
type StageResult struct {
	Name     string             `json:"name"`
	Status   string             `json:"status"` // ran, cached, failed, skipped, canceled; pending while the run is under way
	Key      Key                `json:"key,omitzero"`
	Reason   string             `json:"reason,omitempty"`
	Seconds  float64            `json:"seconds,omitempty"`
	Image    string             `json:"image,omitempty"`
	Attempts []Attempt          `json:"attempts,omitempty"` // of this run; a cached stage has none
	Error    string             `json:"error,omitempty"`
	Metrics  map[string]float64 `json:"metrics,omitempty"`
	MadeBy   RunID              `json:"made_by,omitempty"` // of a cached stage: the run that made the result
	Outputs  []Output           `json:"outputs,omitempty"` // as they were then: a record may be replaced, or dropped before the run
}

// Run is one execution of a plan. Stages, Files and Places are kept apart, by content, so
// that many runs with nothing to do share one table; see Store.PutRun.
type Run struct {
	ID         RunID         `json:"id"`
	Project    string        `json:"project"` // absolute directory
	Pipeline   string        `json:"pipeline"`
	Profile    string        `json:"profile,omitempty"`
	Targets    []string      `json:"targets,omitempty"`
	Params     []RunParam    `json:"params,omitempty"`
	Status     string        `json:"status"` // running, succeeded, failed, canceled
	Started    time.Time     `json:"started"`
	Seconds    float64       `json:"seconds"`
	Version    string        `json:"version"`              // plumb's
	Isolation  string        `json:"isolation"`            // how stages were kept apart: container, chroot; "" in records older than the field
	Containerd string        `json:"containerd,omitempty"` // socket, when stages ran in the machine's own
	Counts     Counts        `json:"counts"`
	Origin     *Origin       `json:"origin,omitempty"`  // nil while it is not known, and in records older than the field
	Seq        uint64        `json:"seq,omitempty"`     // its place in the chain of runs, from 1; 0 while it runs, and before there was one
	Previous   Digest        `json:"previous,omitzero"` // of the record before it in the chain
	Stages     []StageResult `json:"-"`
	Files      []RunFile     `json:"-"`
	Places     []Place       `json:"-"` // nil in records of before there were any
}

// RunFile is a file that said what a run was to do, as it was read. Its content is a
// blob that lives as long as the run, unless it is Withheld or only Listed.
type RunFile struct {
	Path     string   `json:"path"` // relative to the project; of params as the user gave it
	Role     FileRole `json:"role"`
	Digest   Digest   `json:"digest,omitzero"`
	Size     int64    `json:"size"`
	Withheld bool     `json:"withheld,omitempty"` // it gave the value of a sensitive param: not even its digest is kept
	Lost     bool     `json:"lost,omitempty"`     // fsck found no content, and was told to repair
}

// FileRole is what a file was read for.
type FileRole string

// The roles of files.
const (
	RolePipeline FileRole = "pipeline" // plumb.hcl and its like
	RoleParams   FileRole = "params"   // given by --params, the later ones winning
	RoleLock     FileRole = "lock"     // plumb.lock.hcl, as it was when the run had pinned
	RoleRead     FileRole = "read"     // by the function file
	RoleListed   FileRole = "listed"   // by the function fileset, which sees names alone
)

// Kept reports whether the store has the content.
func (f *RunFile) Kept() bool { return !f.Digest.IsZero() }

// Artifact is the file's content.
func (f *RunFile) Artifact() Artifact {
	return Artifact{Kind: KindFile, Digest: f.Digest, Size: f.Size}
}

// RunParam is a resolved param of a run. Value is JSON, "" when sensitive.
type RunParam struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Origin string `json:"origin"`
}

// Counts sums up a run's stages by status.
type Counts struct {
	Ran      int `json:"ran"`
	Cached   int `json:"cached"`
	Failed   int `json:"failed"`
	Skipped  int `json:"skipped"`
	Canceled int `json:"canceled"`
}
