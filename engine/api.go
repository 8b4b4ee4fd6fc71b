package engine

import (
	"context"
	"time"

	"plumb/engine/event"
	"plumb/engine/inventory"
	"plumb/engine/plan"
	"plumb/engine/runtime"
	"plumb/engine/table"
	"plumb/hcl"
	"plumb/store"
)

// API is what the commands can ask for. The Engine answers in this process; the
// agent's client passes the same calls to the process that owns the store.
type API interface {
	Plan(ctx context.Context, req Request) (*PlanDoc, error)
	Run(ctx context.Context, req RunRequest, emit func(event.Event)) error
	Why(ctx context.Context, req WhyRequest) (*WhyDoc, error)
	Diff(ctx context.Context, req DiffRequest) (*DiffDoc, error)
	Runs(ctx context.Context, req RunsRequest) (*RunsDoc, error)
	Show(ctx context.Context, req ShowRequest) (*ShowDoc, error)
	Compare(ctx context.Context, req CompareRequest) (*CompareDoc, error)
	Annotate(ctx context.Context, req AnnotateRequest) (*AnnotateDoc, error)
	Logs(ctx context.Context, req LogsRequest, emit func(LogLine)) error
	Shell(ctx context.Context, req ShellRequest, streams runtime.Streams, emit func(event.Event)) (*ShellDoc, error)
	Get(ctx context.Context, req GetRequest) (*GetDoc, error)
	Lineage(ctx context.Context, req LineageRequest) (*LineageDoc, error)
	Restore(ctx context.Context, req RestoreRequest, emit func(event.Event)) (*RestoreDoc, error)
	GC(ctx context.Context, req GCRequest) (*GCDoc, error)
	Fsck(ctx context.Context, req FsckRequest, emit func(event.Event)) (*FsckDoc, error)
	Lock(ctx context.Context, req LockRequest, emit func(event.Event)) (*LockDoc, error)
	Images(ctx context.Context, req ImagesRequest) (*ImagesDoc, error)
	ShowImage(ctx context.Context, req ImageRequest, emit func(event.Event)) (*ImageDoc, error)
	DiffImages(ctx context.Context, req ImageDiffRequest, emit func(event.Event)) (*ImageDiffDoc, error)
	ExportImage(ctx context.Context, req ImageExportRequest, emit func(event.Event)) (*ImageExportDoc, error)
	RemoveImages(ctx context.Context, req ImagesRequest) (*ImagesDoc, error)
}

// Schema is the version of the documents' form.
const Schema = 1

// Project says which pipeline, under which values.
type Project struct {
	Dir     string            `json:"dir"` // absolute
	Params  map[string]string `json:"params,omitempty"`
	Files   []hcl.File        `json:"files,omitempty"`
	Environ map[string]string `json:"environ,omitempty"` // PLUMB_PARAM_* alone
	Profile string            `json:"profile,omitempty"`
}

// Reach is how a client reaches what is outside: what its user configured, and
// those variables of its environment that say where credentials, proxies and
// certificates are. It changes where bytes come from, never which.
type Reach struct {
	Config  hcl.Config        `json:"config"`
	Environ map[string]string `json:"environ,omitempty"`
}

// Request names a part of a project's pipeline.
type Request struct {
	Project  Project  `json:"project"`
	Reach    Reach    `json:"reach"`
	Place    Place    `json:"place"`
	Platform string   `json:"platform,omitempty"` // of images that name none; "" for the machine's
	Targets  []string `json:"targets,omitempty"`  // stages; none for all
	From     string   `json:"from,omitempty"`     // this stage and what is behind it
	Until    []string `json:"until,omitempty"`    // these stages and what they need
	Force    []string `json:"force,omitempty"`
	Repeat   []string `json:"repeat_effects,omitempty"` // stages whose effects may happen again
	Keep     []string `json:"keep,omitempty"`           // stages whose outputs are kept whatever they say
	Locked   bool     `json:"locked,omitempty"`
	Offline  bool     `json:"offline,omitempty"`
}

// RunRequest asks for a run.
type RunRequest struct {
	Request
	Jobs         int               `json:"jobs,omitempty"`
	Memory       int64             `json:"memory,omitempty"`
	KeepGoing    bool              `json:"keep_going,omitempty"`
	ExpectCached bool              `json:"expect_cached,omitempty"`
	Overwrite    bool              `json:"overwrite,omitempty"` // exports may replace what plumb did not write
	Detach       bool              `json:"detach,omitempty"`
	Full         bool              `json:"full,omitempty"` // tell every stage, however many there are
	Version      string            `json:"version,omitempty"`
	Origin       store.Origin      `json:"origin"` // what the client knows of it: user and CI job
	CPU          float64           `json:"cpu,omitempty"`
	Secrets      map[string]Secret `json:"secrets,omitempty"` // those that an error of kind Wanting asked for
	Report       map[string]string `json:"report,omitempty"`  // to whom a detached run is told when it ends: OPENLINEAGE_URL and the like
}

// PlanDoc is a plan.
type PlanDoc struct {
	Schema   int            `json:"schema"`
	Pipeline string         `json:"pipeline"`
	Stages   []PlannedStage `json:"stages"`
	Hits     int            `json:"hits"`
	Runs     int            `json:"runs"`
	Pending  int            `json:"pending"`
	Skips    int            `json:"skips"`
	Refused  int            `json:"refused"`
}

// PlannedStage is one stage of a plan.
type PlannedStage struct {
	Name     string        `json:"name"`
	Decision plan.Verdict  `json:"decision"`
	Key      store.Key     `json:"key"`
	Image    string        `json:"image"`
	Reasons  []plan.Reason `json:"reasons"`

	Effect     bool `json:"effect,omitempty"` // it writes outside
	Idempotent bool `json:"idempotent,omitempty"`
}

// WhyRequest asks what differs: now against the last run, or one or two recorded runs.
type WhyRequest struct {
	Request
	Stage string `json:"stage"`
	RunA  string `json:"run_a,omitempty"`
	RunB  string `json:"run_b,omitempty"`

	NoData bool `json:"no_data,omitempty"` // tables are not opened
	Lines  int  `json:"lines,omitempty"`   // see DiffRequest
}

// WhyDoc is the answer. Changes lead from what the stage was in OldRun to what it is now,
// or was in NewRun.
type WhyDoc struct {
	Schema   int           `json:"schema"`
	Stage    string        `json:"stage"`
	Decision plan.Verdict  `json:"decision"`
	Key      store.Key     `json:"key"`
	OldKey   store.Key     `json:"old_key"`
	OldRun   store.RunID   `json:"old_run"`
	NewRun   store.RunID   `json:"new_run"`
	Reasons  []plan.Reason `json:"reasons"`
	Changes  []Change      `json:"changes"`
	MadeBy   store.RunID   `json:"made_by,omitempty"`     // of a stage that is up to date: the run that made its result
	MadeFor  string        `json:"made_reason,omitempty"` // why it did, as that run recorded it, when there are no changes that say so
	Since    store.RunID   `json:"since,omitempty"`       // the run in which it became what it is, when that differs from OldRun
	Causes   []Difference  `json:"causes,omitempty"`      // what was changed in the stages before it, when it differs because of them
}

// Change is one difference laid open: for a file its lines, for a directory its
// entries, for all else the reason's old and new value.
type Change struct {
	plan.Reason
	Diff     []string                  `json:"diff,omitempty"`     // unified, of a text file or a command
	Entries  []Entry                   `json:"entries,omitempty"`  // of a directory
	Packages []inventory.PackageChange `json:"packages,omitempty"` // of an image
	Files    []inventory.FileChange    `json:"files,omitempty"`    // of an image with the same packages
	Table    *table.Diff               `json:"table,omitempty"`    // of a CSV, JSON Lines or Parquet file
	Note     string                    `json:"note,omitempty"`     // why there is nothing of these, or what it lacks
	From     string                    `json:"from,omitempty"`     // the stage that made an input, which differs itself: see Causes
	Unseen   bool                      `json:"unseen,omitempty"`   // an agent could say more: images are looked into by one
}

// Entry is a path of a directory that was added, removed or changed.
type Entry struct {
	Path   string      `json:"path"`
	Change string      `json:"change"` // added, removed, changed, mode
	Diff   []string    `json:"diff,omitempty"`
	Table  *table.Diff `json:"table,omitempty"`
	Note   string      `json:"note,omitempty"`

	old, new store.Digest
	kind     store.EntryKind
}

// RunsRequest asks for history, newest first. Params and Metrics are conditions like
// "lr<=0.1", and all must hold; Changed is a stage whose key is another than in the run
// before; Sort is "started", "seconds", "param.NAME" or a metric, and the largest comes
// first unless Reverse is set; Show are metrics, or params as "param.NAME", that some run
// has to have.
type RunsRequest struct {
	Dir     string    `json:"dir,omitempty"` // absolute; "" for all projects
	Limit   int       `json:"limit,omitempty"`
	Before  string    `json:"before,omitempty"` // id of a run; the older ones
	Since   time.Time `json:"since,omitzero"`
	Until   time.Time `json:"until,omitzero"`
	Status  string    `json:"status,omitempty"`
	Params  []string  `json:"params,omitempty"`
	Metrics []string  `json:"metrics,omitempty"`
	Changed string    `json:"changed,omitempty"`
	Tag     string    `json:"tag,omitempty"`
	Sort    string    `json:"sort,omitempty"`
	Reverse bool      `json:"reverse,omitempty"`
	Show    []string  `json:"show,omitempty"`

	// Many runs are asked for in two steps, so that nobody has to hold them all: first for
	// their ids, then for as many at a time as one likes of those.
	Bare bool          `json:"bare,omitempty"` // the ids alone
	IDs  []store.RunID `json:"ids,omitempty"`  // these, and nothing is picked
}

// RunsDoc is the history. More says that there are older ones. IDs are there when they
// were asked for.
type RunsDoc struct {
	Schema int           `json:"schema"`
	Runs   []RunRow      `json:"runs"`
	More   bool          `json:"more,omitempty"`
	IDs    []store.RunID `json:"ids,omitempty"`
}

// RunRow is a run in a list, with what was said of it, and its metrics by their full names.
type RunRow struct {
	store.Run
	store.Annotation
	Metrics map[string]float64 `json:"metrics,omitempty"`
}

// CompareRequest names runs; without names it asks for those that RunsRequest picks.
type CompareRequest struct {
	RunsRequest
	Names []string `json:"names,omitempty"`
	All   bool     `json:"all,omitempty"` // also what is the same in all of them
}

// CompareDoc is a table: a column for each run, and a row for each thing that differs,
// then for what does not.
type CompareDoc struct {
	Schema int          `json:"schema"`
	Runs   []RunRow     `json:"runs"`
	Rows   []CompareRow `json:"rows"`
	Same   int          `json:"same"` // rows that are the same in all runs, be they listed or not
}

// CompareRow is one thing. Cells are in the order of the runs.
type CompareRow struct {
	Kind    string `json:"kind"` // profile, param, metric
	Name    string `json:"name"`
	Differs bool   `json:"differs"`
	Cells   []Cell `json:"cells"`
}

// Cell is what one run has. Value is JSON; of a sensitive param it is "".
type Cell struct {
	Value   string   `json:"value,omitempty"`
	Number  *float64 `json:"number,omitempty"`
	Lacking bool     `json:"lacking,omitempty"`
}

// AnnotateRequest says something of a run.
type AnnotateRequest struct {
	Dir    string   `json:"dir"`
	Run    string   `json:"run"`
	Tags   []string `json:"tags,omitempty"`
	Untag  []string `json:"untag,omitempty"`
	Move   bool     `json:"move,omitempty"` // take tags from the runs that have them
	Note   *string  `json:"note,omitempty"` // "" for none
	Pinned *bool    `json:"pinned,omitempty"`
}

// AnnotateDoc is what is said of the run now.
type AnnotateDoc struct {
	Schema int         `json:"schema"`
	Run    store.RunID `json:"run"`
	store.Annotation
}

// ShowRequest names a run: an id, its beginning, or "" for the latest.
type ShowRequest struct {
	Dir   string `json:"dir,omitempty"`
	Run   string `json:"run,omitempty"`
	Stage string `json:"stage,omitempty"` // that one alone
}

// ShowDoc is one run in full.
type ShowDoc struct {
	Schema int `json:"schema"`
	store.Run
	store.Annotation
	Files  []store.RunFile `json:"files"`  // what the run was read from, with the digests of what is kept
	Places []ShownPlace    `json:"places"` // what it read and exported, which restore brings back
	Stages []ShownStage    `json:"stages"`
}

// ShownStage is one stage of a run. Attempts of a cached stage are those of the
// run that made its result, MadeBy.
type ShownStage struct {
	Name     string                  `json:"name"`
	Status   string                  `json:"status"`
	Key      store.Key               `json:"key"`
	Reason   string                  `json:"reason"`
	Seconds  float64                 `json:"seconds"`
	Image    string                  `json:"image"`
	MadeBy   store.RunID             `json:"made_by,omitempty"`
	Attempts []store.Attempt         `json:"attempts"`
	Outputs  map[string]event.Output `json:"outputs"`
	Metrics  map[string]float64      `json:"metrics"`
	Error    string                  `json:"error,omitempty"`
	Fields   []ShownField            `json:"fields"` // of its action, all that is in the key; none when it is not kept
	Inputs   []ShownInput            `json:"inputs"` // those of the fields
}

// LogsRequest asks for what stages printed.
type LogsRequest struct {
	Dir    string `json:"dir,omitempty"`
	Run    string `json:"run,omitempty"`
	Stage  string `json:"stage,omitempty"` // "" for all
	Follow bool   `json:"follow,omitempty"`
}

// LogLine is one line of a log.
type LogLine struct {
	Stage   string `json:"stage"`
	Attempt int    `json:"attempt,omitempty"`
	Line    string `json:"line"`
}

// GetRequest asks for an artifact: STAGE.OUTPUT of the project's newest results,
// or a digest. Path is absolute; "" only says what would be got.
type GetRequest struct {
	Project Project `json:"project"`
	Name    string  `json:"name"`
	Path    string  `json:"path,omitempty"`
	Force   bool    `json:"force,omitempty"`
}

// GetDoc says what was got.
type GetDoc struct {
	Schema int          `json:"schema"`
	Name   string       `json:"name"`
	Digest store.Digest `json:"digest"`
	Kind   store.Kind   `json:"kind"`
	Size   int64        `json:"size"`
	Path   string       `json:"path"`
}

// GCRequest says what gc keeps.
type GCRequest struct {
	KeepRuns  int           `json:"keep_runs"`
	KeepAge   time.Duration `json:"keep_age"`
	KeepSize  int64         `json:"keep_size,omitempty"`  // of content, 0 for any
	KeepCount int           `json:"keep_count,omitempty"` // of results, 0 for any
	DryRun    bool          `json:"dry_run"`
}

// FsckRequest says whether what is found is mended.
type FsckRequest struct {
	Repair bool `json:"repair"`
}

// FsckDoc says what fsck found.
type FsckDoc struct {
	Schema int `json:"schema"`
	store.FsckReport
}

// GCDoc says what gc dropped.
type GCDoc struct {
	Schema int `json:"schema"`
	store.GCReport
	Checkpoints int `json:"checkpoints"`
}
