package hcl

import (
	"fmt"
	"slices"
	"strings"

	"plumb/hcl/funcs"
)

// written is a path that a stage writes: an output, or the file of metrics.
type written struct {
	stage  int
	output string // "" for metrics
	path   string
	at     Range
}

// checkGraph finds what is wrong between stages. It runs on what could
// be evaluated, in time about linear in its size.
func (ev *evaluation) checkGraph() {
	all := ev.checkWritten()
	ev.checkReads(all)
	ev.checkKeeping()
	ev.checkExports()
	ev.checkSecretFiles()
	ev.checkCycles()
}

// describe names what is written, for a sentence.
func (ev *evaluation) describe(w written) string {
	name := quoted(ev.pipeline.Stages[w.stage].Name)
	if w.output == "" {
		return "the metrics of stage " + name
	}
	return fmt.Sprintf("the output %s of stage %s", w.output, name)
}

// checkWritten reports stages that write one path, or one path inside another.
// Metrics may be an output of their own stage, or lie inside of one.
func (ev *evaluation) checkWritten() *writtenIndex {
	x := &writtenIndex{}
	for i := range ev.pipeline.Stages {
		st := &ev.pipeline.Stages[i]
		for _, out := range st.Outputs {
			x.all = append(x.all, written{i, out.Name, out.Path, out.Range})
		}
		if st.Metrics != "" && !slices.ContainsFunc(st.Outputs, func(o Output) bool { return within(st.Metrics, o.Path) }) {
			x.all = append(x.all, written{i, "", st.Metrics, st.MetricsRange})
		}
	}
	x.index = newPathIndex(len(x.all))
	for i, w := range x.all {
		if at, ok := x.index.overlap(w.path); ok {
			ev.twiceWritten(w, x.all[at])
		}
		x.index.add(w.path, i)
	}
	return x
}

// writtenIndex finds who writes a path.
type writtenIndex struct {
	all   []written
	index *pathIndex
}

func (ev *evaluation) twiceWritten(w, other written) {
	summary, how := "Path written twice", "is also written by"
	if w.path != other.path {
		summary, how = "Output inside another", fmt.Sprintf("overlaps %s of", quoted(other.path))
	}
	hint := "give each output a path of its own"
	a, b := &ev.pipeline.Stages[w.stage], &ev.pipeline.Stages[other.stage]
	if a.Block == b.Block && a != b {
		hint = "the stages of one block need different paths: use ${each.key} in it"
		if ev.stages[a.Block].form == formMatrix {
			hint = fmt.Sprintf("the stages of one block need different paths: use ${matrix.%s} in it", ev.stages[a.Block].axes[0])
		}
	}
	ev.reportRange(w.at, summary, fmt.Sprintf("The path %s %s %s.", quoted(w.path), how, ev.describe(other)), hint)
}

// checkReads reports inputs that overlap what is written: in the same sandbox
// either way round, and files of the project that are what another stage makes.
func (ev *evaluation) checkReads(x *writtenIndex) {
	for i := range ev.pipeline.Stages {
		st := &ev.pipeline.Stages[i]
		for _, in := range st.Inputs {
			if in.Stage == st.Name {
				continue // reported as a cycle
			}
			if w, ok := x.clash(st, in); ok {
				ev.reportRange(w.at, "Output overlaps an input",
					fmt.Sprintf("%s would be written at %s, where the input %s stands, and inputs are read-only.", capitalised(ev.describe(w)), quoted(w.path), quoted(in.Target)),
					"write the output to another path, or move the input: { from = …, as = \"path\" }")
				continue
			}
			ev.checkForgotten(x, i, in)
		}
	}
}

func capitalised(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// clash finds an output of the stage itself that overlaps the input.
func (x *writtenIndex) clash(st *Stage, in Input) (written, bool) {
	for _, out := range st.Outputs {
		if inputOverlaps(in, out.Path) {
			return written{x.owner(out.Path), out.Name, out.Path, out.Range}, true
		}
	}
	if st.Metrics != "" && inputOverlaps(in, st.Metrics) {
		return written{x.owner(st.Metrics), "", st.Metrics, st.MetricsRange}, true
	}
	return written{}, false
}

func (x *writtenIndex) owner(p string) int {
	at, _ := x.index.container(p)
	return x.all[at].stage
}

func inputOverlaps(in Input, p string) bool {
	if in.Glob {
		return patternOverlaps(in.Target, p)
	}
	return overlaps(in.Target, p)
}

// patternOverlaps reports whether a pattern may match p, something above it, or
// something below it.
func patternOverlaps(pattern, p string) bool {
	if within(globBase(pattern), p) {
		return true
	}
	for a := p; a != ""; a = parent(a) {
		if funcs.Match(pattern, a) {
			return true
		}
	}
	return false
}

// checkForgotten reports a path of the project that is an output of some stage:
// outputs are not in the project, so a reference was meant.
func (ev *evaluation) checkForgotten(x *writtenIndex, reader int, in Input) {
	if in.Kind == InputOutput || in.Glob {
		return
	}
	at, ok := x.index.container(in.Path)
	if !ok || x.all[at].stage == reader {
		return
	}
	w := x.all[at]
	hint := ""
	if w.output != "" {
		hint = fmt.Sprintf("refer to it: %s.%s", ev.refTo(w.stage), w.output)
	}
	ev.reportRange(in.Range, "Output overlaps an input",
		fmt.Sprintf("%s is a path of the project here, and %s is written there. Outputs are kept in the store, not in the project.", quoted(in.Path), ev.describe(w)), hint)
}

// refTo is how a stage is referred to.
func (ev *evaluation) refTo(i int) string {
	name := ev.pipeline.Stages[i].Name
	if block, key, ok := strings.Cut(name, "["); ok {
		return fmt.Sprintf("stage.%s[%s]", block, quoted(strings.TrimSuffix(key, "]")))
	}
	return "stage." + name
}

// checkExports reports exports that overlap each other, what the pipeline reads
// of the project, or the pipeline's own files.
func (ev *evaluation) checkExports() {
	index := newPathIndex(len(ev.pipeline.Exports))
	for i, e := range ev.pipeline.Exports {
		if at, ok := index.overlap(e.Path); ok {
			first := ev.pipeline.Exports[at]
			ev.reportRange(e.Range, "Two exports to one path",
				fmt.Sprintf("%s overlaps the export %s on line %d of %s.", quoted(e.Path), quoted(first.Path), first.Range.Start.Line, first.Range.File), "")
		}
		if strings.HasSuffix(e.Path, fileSuffix) || e.Path == MainFile || e.Path == LockFile {
			ev.reportRange(e.Range, "Export over the pipeline", fmt.Sprintf("%s is a file of the pipeline itself.", quoted(e.Path)), "export to another path")
		}
		index.add(e.Path, i)
	}
	if len(ev.pipeline.Exports) > 0 {
		ev.checkExportsRead(index)
	}
}

func (ev *evaluation) checkExportsRead(index *pathIndex) {
	seen := map[int]bool{}
	clash := func(p string, glob bool, what string) {
		for i, e := range ev.pipeline.Exports {
			if glob && !seen[i] && patternOverlaps(p, e.Path) {
				seen[i] = true
				ev.exportOverInput(e, what)
			}
		}
		if i, ok := index.overlap(p); ok && !glob && !seen[i] {
			seen[i] = true
			ev.exportOverInput(ev.pipeline.Exports[i], what)
		}
	}
	patterns := map[string]bool{}
	for _, s := range ev.pipeline.Sources {
		if s.Remote() {
			continue
		}
		patterns[s.Path] = s.Glob
		clash(s.Path, s.Glob, fmt.Sprintf("source %s reads %s", quoted(s.Name), quoted(s.Path)))
	}
	for i := range ev.pipeline.Stages {
		for _, in := range ev.pipeline.Stages[i].Inputs {
			if _, done := patterns[in.Path]; in.Kind != InputPath || done {
				continue
			}
			patterns[in.Path] = in.Glob
			clash(in.Path, in.Glob, fmt.Sprintf("stage %s reads %s", quoted(ev.pipeline.Stages[i].Name), quoted(in.Path)))
		}
	}
}

func (ev *evaluation) exportOverInput(e Export, what string) {
	ev.reportRange(e.Range, "Export over an input",
		fmt.Sprintf("The export %s overlaps what the pipeline reads: %s. Each run would change its own inputs.", quoted(e.Path), what),
		"export to another path")
}
