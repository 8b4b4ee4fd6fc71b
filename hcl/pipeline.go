package hcl

import "time"

// Pos is a place in a source file. Line and Column count from 1 (columns in
// grapheme clusters), Byte from 0.
type Pos struct {
	Line, Column, Byte int
}

// Range is a stretch of one source file; File is relative to the project
// directory. End is exclusive.
type Range struct {
	File       string
	Start, End Pos
}

// Pipeline is all blocks declared in the files of one directory, evaluated
// under one set of param values and at most one profile. It is plain data: it
// can be compared, encoded and kept.
type Pipeline struct {
	Name        string
	Description string
	Requires    string // version constraint on plumb, "" for none
	Range       Range  // of the pipeline block, zero when there is none
	Profile     string // the profile that was applied, "" for none
	Profiles    []string
	Params      []Param
	Secrets     []Secret
	Sources     []Source
	Images      []Image
	Stages      []Stage // instances, in declaration order
	Exports     []Export
	Reads       []Read // what file and fileset saw, sorted; see ReadsUnchanged
}

// Read is one look of an expression at the project: the content of a file, or,
// when Pattern is set, the paths below Path that match it.
type Read struct {
	Path    string
	Pattern string
	Digest  [32]byte
}

// Param is a typed value with where it came from. Value is canonical JSON.
type Param struct {
	Name        string
	Description string
	Type        string // "string", "number", "bool", "list(string)", …
	Value       string
	Origin      string // "default", "profile ci", "file params.json", "environment PLUMB_PARAM_x", "command line"
	Sensitive   bool   // Value is never shown or kept; see plan.Action
	Range       Range
}

// Secret is a value that the client of a run knows and that is kept nowhere.
// Exactly one of Env, File and Command says where it comes from.
type Secret struct {
	Name        string
	Description string
	Env         string   // a variable of the client's environment
	File        string   // absolute, relative to the project, or below the home directory: "~/…"
	Command     []string // run by the client in the project's directory, without a shell
	Range       Range
}

// Source is data from outside the pipeline. Exactly one of URL and OCI is set, or
// neither: then Path is a file, a directory or a glob of the project,
// slash-separated and clean. With URL or OCI, Path is where stages find it.
type Source struct {
	Name        string
	Description string
	Path        string
	Glob        bool
	URL         string // http or https; one file
	OCI         string // reference to an OCI artifact: one file, or a directory of several
	Floating    bool   // a tag that moves was allowed explicitly
	Discard     bool   // keep = false: only the digest is recorded
	Range       Range
	PathRange   Range // of path, url or oci: whichever says where the data is
}

// Remote says that the data is not in the project but pinned in the lock.
func (s *Source) Remote() bool { return s.URL != "" || s.OCI != "" }

// Image is where stages run. Exactly one of Ref, Archive, Builtin and Debian is set.
type Image struct {
	Name         string
	Ref          string  // registry reference
	Floating     bool    // a tag that moves was allowed explicitly
	Archive      string  // OCI layout directory, OCI or docker-save archive, or a root filesystem as a tar file, relative to the project
	Builtin      string  // "toolbox"
	Debian       *Debian // what packages it is made of, nil for other images
	Platform     string  // "linux/amd64"; "" for the machine's own
	Range        Range
	LocatorRange Range // of ref, archive, builtin or the packages of debian
}

// Debian says of which packages an image is made.
type Debian struct {
	Suite         string   // "bookworm"
	Packages      []string // as asked for: "python3-sklearn", "python3=3.11.2-1+b1", "busybox-static:amd64"; in declared order, no duplicates
	Variant       string   // DebianStandard or DebianMinimal
	Recommends    bool
	Components    []string // empty: main, or what the machine's sources have
	Mirrors       []string // "URL" or "URL SUITE COMPONENT…"; empty: the user's configuration, else the machine's apt sources
	Snapshot      string   // a mirror that keeps old packages, asked for those that have left the mirror; ""
	Keyring       string   // file of the project, slash-separated, that signs the mirror; ""
	AcceptExpired bool     // a release file that has expired is taken
	Range         Range    // of the debian block's header
}

// The variants of an image that is made of Debian packages.
const (
	DebianStandard = "standard" // with all that Debian calls essential
	DebianMinimal  = "minimal"  // the packages asked for and what they depend on
)

// Stage is one instance of a stage block. Name is "train", "train[a]" for
// for_each, "train[depth=3,lr=0.1]" for matrix.
type Stage struct {
	Name         string
	Block        string // the label of the block
	Description  string
	Image        string // name of an Image
	Command      Command
	Inputs       []Input
	Outputs      []Output
	Metrics      string // relative path of a JSON file, "" for none
	MetricsRange Range
	Env          []EnvVar // sorted by name, pipeline defaults merged in
	Params       []string // names of all params that key-relevant attributes refer to, sorted
	Passed       []string // those listed in params = […]: given as PLUMB_PARAM_⟨name⟩
	Secrets      []string // those listed in secrets = […]: files in /run/secrets, sorted
	Seed         *int64
	SeedSource   string // the expression's source text, "" without a seed
	Each         *Each  // of an instance of a map whose key depends on it
	Network      bool
	Cache        *bool         // nil when not said
	Checkpoint   string        // relative path of the directory that the attempts of one key share, "" for none
	Effect       bool          // it writes outside: at most one success for a key
	Idempotent   bool          // of an effect: to repeat it does no harm
	Timeout      time.Duration // 0 for none
	Grace        time.Duration // between SIGTERM and SIGKILL
	Resources    Resources
	Retry        Retry
	After        []string // names of stage instances
	When         *Expr    // nil: always
	Range        Range    // of the block's header
	ImageRange   Range

	CheckpointRange Range
}

// Command is what a stage executes. Shell is set for the string form: Args has
// then one element, to be run by /bin/sh -eu -c.
type Command struct {
	Shell  bool
	Args   []Text
	Source string // the expression's source text, always set: explanations compare it
	Reads  []Read // what file and fileset gave to it
	Range  Range
}

// Text is a string that may depend on metrics of other stages. When Expr is
// nil Value is final.
type Text struct {
	Value string
	Expr  *Expr
}

// Expr is an expression that can be evaluated only when other stages have run.
// It is kept as source text with the values it was declared under, so that it
// is plain data; Eval parses it again.
type Expr struct {
	Source  string            // the expression's source text
	Range   Range             // where it stands
	Vars    map[string]string // root name → JSON with type, what else it may refer to
	Metrics []MetricRef       // what it waits for, sorted

	Sensitive bool // there are values of sensitive params in Vars
}

// MetricRef names a number another stage reports.
type MetricRef struct {
	Stage, Metric string
}

// InputKind says where an input comes from.
type InputKind string

// The kinds of input.
const (
	InputPath   InputKind = "path"   // a file or directory of the project
	InputSource InputKind = "source" // a source block
	InputOutput InputKind = "output" // an output of another stage
)

// Input is one thing a stage reads.
type Input struct {
	Name   string // for the object form, else ""
	Kind   InputKind
	Path   string // project-relative path or glob of a path or source; the producer's output path for an output
	Glob   bool
	Target string // where it stands in the workspace; equals Path unless moved by as
	Source string // source name
	Stage  string // producing stage instance
	Output string // output name of the producer
	Range  Range
}

// Output is one thing a stage writes. Dir is set when the path was declared
// with a trailing slash, Unkept by retain = "none": its bytes go when no stage needs
// them any more.
type Output struct {
	Name   string
	Path   string
	Dir    bool
	Unkept bool
	Range  Range
}

// EnvVar is one environment entry of a stage.
type EnvVar struct {
	Name      string
	Value     Text
	Sensitive bool   // the value contains a sensitive param
	Source    string // the expression's source text, always set

	SensitiveParams []string // those that the value comes from, sorted
	Reads           []Read   // what file and fileset gave to it
}

// Each is what each.value of an instance stands for, so that explanations can tell it from
// what else changes a text. A list needs none: there the value is the instance's name, as
// are those of a matrix.
type Each struct {
	Source string // the source text of the value, or of the whole of for_each, abridged
	Value  string // as JSON, abridged
	Reads  []Read // what file and fileset gave to for_each
}

// Resources is what a stage may use; zero means not said. Memory is bytes.
type Resources struct {
	CPU    float64
	Memory int64
	Pids   int64

	// Devices by their CDI names, or so many GPUs of any; never both.
	GPUs    int64
	Devices []string
}

// Retry says how often a failed attempt is repeated, by failure class.
type Retry struct {
	Exit         int
	Codes        []int // exit codes that Exit applies to; empty for all
	OOM          int
	Timeout      int
	Preempted    *int // nil: the default
	Infra        *int
	MemoryFactor float64 // each OOM retry multiplies the limit; 0 means 1
	Backoff      time.Duration
}

// Export is an output that a successful run puts at a path of the project.
type Export struct {
	Path   string
	Stage  string
	Output string
	Range  Range
}
