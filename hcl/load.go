package hcl

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	hashi "github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"plumb/hcl/funcs"
)

// The names of pipeline files.
const (
	MainFile   = "plumb.hcl"
	fileSuffix = ".plumb.hcl"
)

// Options is what an evaluation depends on besides the files.
type Options struct {
	Params     map[string]string // --param name=value, the value as it was typed
	ParamFiles []File            // --params FILE, already read: JSON when the name ends in .json, else HCL attributes
	Environ    map[string]string // variables named PLUMB_PARAM_…; see ParamEnviron
	Profile    string            // --profile, "" for none
	Version    string            // plumb's own, for requires; "" or a development build meets all

	// Withheld names sensitive params that had values which nobody knows any more. What
	// depends on them is left out of the pipeline, which is good for looking at only.
	Withheld []string
}

// File is a file that was read. Name is relative to the project directory for a
// pipeline file, and as the user gave it for a file of params.
type File struct {
	Name string
	Data []byte
}

// ParamEnviron picks, from the form that os.Environ gives, what an evaluation
// may consult.
func ParamEnviron(environ []string) map[string]string {
	found := map[string]string{}
	for _, entry := range environ {
		name, value, ok := strings.Cut(entry, "=")
		if ok && strings.HasPrefix(name, envPrefix) {
			found[name] = value
		}
	}
	return found
}

// Load reads and evaluates the pipeline of one directory. The pipeline is nil
// when nothing could be evaluated; see Evaluate.
func Load(dir string, opts Options) (*Pipeline, Diagnostics) {
	files, diags := ReadFiles(dir)
	if diags.HasErrors() {
		return nil, diags
	}
	p, more := Evaluate(dir, files, opts)
	return p, append(diags, more...)
}

// ReadFiles reads plumb.hcl and every *.plumb.hcl of a directory, sorted by
// name. Without a plumb.hcl the directory is not a project.
func ReadFiles(dir string) ([]File, Diagnostics) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, unreadable(dir, err)
	}
	var files []File
	for _, entry := range entries {
		name := entry.Name()
		if name != MainFile && !strings.HasSuffix(name, fileSuffix) || strings.HasPrefix(name, ".") || entry.IsDir() {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, unreadable(name, err)
		}
		files = append(files, File{Name: name, Data: data})
	}
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	if !slices.ContainsFunc(files, func(f File) bool { return f.Name == MainFile }) {
		return nil, Diagnostics{{
			Severity: SeverityError, Summary: "No pipeline here",
			Detail: fmt.Sprintf("There is no %s in the directory %q.", MainFile, dir),
			Hint:   elsewhere(dir),
		}}
	}
	return files, nil
}

// elsewhere is the hint for a directory that is no project: somebody may stand in
// a directory of one.
func elsewhere(dir string) string {
	up := ".."
	for at := filepath.Dir(dir); at != dir; dir, at, up = at, filepath.Dir(at), up+"/.." {
		if info, err := os.Stat(filepath.Join(at, MainFile)); err == nil && info.Mode().IsRegular() {
			return fmt.Sprintf("there is one in %q: go there, or say -C %s", at, up)
		}
	}
	return "write one, or say where the project is with -C DIR"
}

func unreadable(name string, err error) Diagnostics {
	return Diagnostics{{
		Severity: SeverityError, Summary: "Unreadable file",
		Detail: fmt.Sprintf("%q cannot be read: %s.", name, reasonOf(err)),
	}}
}

// Evaluate turns files into a pipeline. It depends on its arguments alone, except
// that the functions file and fileset read below dir: what they saw is listed in
// Pipeline.Reads. All that is wrong is reported at once, sorted. When any of it is
// an error the pipeline is what could be evaluated, and good for nothing but Check:
// what is missing from the project can so be said together with what is wrong.
func Evaluate(dir string, files []File, opts Options) (*Pipeline, Diagnostics) {
	ev := &evaluation{opts: opts, sources: map[string][]byte{}, reads: newRecorder(dir)}
	defer ev.reads.close()
	bodies := ev.parse(files)
	if !ev.diags.HasErrors() {
		ev.run(bodies)
	}
	diags := ev.finish(bodies)
	p := ev.pipeline // a copy: a pointer into ev would keep all syntax trees alive
	return &p, diags
}

// evaluation is the state of one Evaluate. Its methods are spread over the files
// of this package by block; each reports what is wrong through report and goes
// on with what is left.
type evaluation struct {
	opts     Options
	sources  map[string][]byte // file name → text, for snippets
	reads    *recorder
	diags    Diagnostics
	pipeline Pipeline

	blocks   declarations
	params   map[string]*paramBlock
	paths    map[string]Source // evaluated sources by name
	stages   map[string]*stageBlock
	order    []*stageBlock // in declaration order
	defaults defaults
	profiles map[string]*profileBlock
	overlay  *profileBlock // the profile chosen, nil for none
	base     *hashi.EvalContext
}

// run evaluates block kinds in the order in which they can depend on each other:
// params first, then what may refer to them, then the shape of all stages
// (instances and outputs), and last what refers to other stages.
func (ev *evaluation) run(bodies []*hclsyntax.Body) {
	ev.base = &hashi.EvalContext{Functions: funcs.Table(funcs.All(ev.reads))}
	ev.declare(bodies)
	ev.evalProfiles()
	ev.evalParams()
	ev.evalSecrets()
	ev.evalSources()
	ev.evalImages()
	ev.evalDefaults()
	ev.shapeStages()
	ev.evalStages()
	ev.evalExports()
	ev.checkGraph()
	ev.pipeline.Reads = ev.reads.seen()
}

// parse reads the syntax of all files. The order of blocks is that of the files
// sorted by name, so that it does not depend on how they were listed.
func (ev *evaluation) parse(files []File) []*hclsyntax.Body {
	files = slices.SortedFunc(slices.Values(files), func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	var bodies []*hclsyntax.Body
	for _, f := range files {
		ev.sources[f.Name] = f.Data
		parts, diags := parseFile(f)
		for _, d := range untilOpenString(diags) {
			ev.reportSyntax(d)
		}
		bodies = append(bodies, parts...)
	}
	return bodies
}

// untilOpenString drops what the parser says after a quote that is not closed:
// from there on it takes text for code and code for text.
func untilOpenString(diags hashi.Diagnostics) hashi.Diagnostics {
	const open = "Invalid multi-line string"
	first := slices.IndexFunc(diags, func(d *hashi.Diagnostic) bool { return d.Summary == open })
	if first < 0 {
		return diags
	}
	for _, d := range diags {
		if d.Summary == open && d.Subject.Start.Byte < diags[first].Subject.Start.Byte {
			return hashi.Diagnostics{d}
		}
	}
	return diags[first : first+1]
}

// startPos is where a file begins.
var startPos = hashi.Pos{Line: 1, Column: 1}

func parseBody(f File) (*hclsyntax.Body, hashi.Diagnostics) {
	file, diags := hclsyntax.ParseConfig(f.Data, f.Name, startPos)
	if file == nil {
		return nil, diags
	}
	body, _ := file.Body.(*hclsyntax.Body)
	return body, diags
}
