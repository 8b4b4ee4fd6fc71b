package hcl

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
)

// Severity says whether a diagnostic stops the pipeline from being used.
type Severity string

// The severities.
const (
	SeverityError   Severity = "error"
	SeverityWarning Severity = "warning"
)

// Diagnostic is one thing that is wrong with what the user wrote. Summary has
// two to six words, Detail is sentences that say what to do. It carries its own
// source lines, so that it can be printed where the files are not at hand.
type Diagnostic struct {
	Severity Severity
	Summary  string
	Detail   string
	Hint     string // one line: the shortest way out, "" for none
	Context  string // the block it is in, such as `stage "train"`; "" outside of blocks
	Subject  Range  // zero for what comes from the command line
	Snippet  string // the source lines that Subject covers, without the last line break
}

// Diagnostics is everything that was found in one load. As an error it reads
// as its first error and the number of the others.
type Diagnostics []Diagnostic

// HasErrors reports whether any of them is an error.
func (ds Diagnostics) HasErrors() bool {
	return slices.ContainsFunc(ds, func(d Diagnostic) bool { return d.Severity == SeverityError })
}

// Sort orders by file, place, severity and summary.
func (ds Diagnostics) Sort() {
	slices.SortStableFunc(ds, func(a, b Diagnostic) int {
		return cmp.Or(
			cmp.Compare(a.Subject.File, b.Subject.File),
			cmp.Compare(a.Subject.Start.Byte, b.Subject.Start.Byte),
			cmp.Compare(a.Severity, b.Severity),
			cmp.Compare(a.Summary, b.Summary),
			cmp.Compare(a.Detail, b.Detail),
		)
	})
}

// Dedupe drops those equal to the one before them; sort first.
func (ds Diagnostics) Dedupe() Diagnostics {
	return slices.Compact(ds)
}

// Error makes Diagnostics an error.
func (ds Diagnostics) Error() string {
	if len(ds) == 0 {
		return "no diagnostics"
	}
	first := ds[0]
	if i := slices.IndexFunc(ds, func(d Diagnostic) bool { return d.Severity == SeverityError }); i >= 0 {
		first = ds[i]
	}
	text := first.Summary + ": " + first.Detail
	if first.Subject.File != "" {
		text = fmt.Sprintf("%s:%d: %s", first.Subject.File, first.Subject.Start.Line, text)
	}
	if more := len(ds) - 1; more > 0 {
		text += fmt.Sprintf(" (and %d more)", more)
	}
	return text
}

// wirePos and wireDiagnostic are the JSON form of a diagnostic.
type wirePos struct {
	Line   int `json:"line"`
	Column int `json:"column"`
	Byte   int `json:"byte"`
}

type wireDiagnostic struct {
	Severity Severity `json:"severity"`
	Summary  string   `json:"summary"`
	Detail   string   `json:"detail"`
	Hint     string   `json:"hint,omitempty"`
	Context  string   `json:"context,omitempty"`
	File     string   `json:"file,omitempty"`
	Start    *wirePos `json:"start,omitempty"`
	End      *wirePos `json:"end,omitempty"`
	Snippet  string   `json:"snippet,omitempty"`
}

// MarshalJSON writes the form that --json prints.
func (d Diagnostic) MarshalJSON() ([]byte, error) {
	w := wireDiagnostic{
		Severity: d.Severity, Summary: d.Summary, Detail: d.Detail, Hint: d.Hint,
		Context: d.Context, File: d.Subject.File, Snippet: d.Snippet,
	}
	if d.Subject != (Range{}) {
		start, end := wirePos(d.Subject.Start), wirePos(d.Subject.End)
		w.Start, w.End = &start, &end
	}
	return json.Marshal(w)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (d *Diagnostic) UnmarshalJSON(data []byte) error {
	var w wireDiagnostic
	if err := json.Unmarshal(data, &w); err != nil {
		return err
	}
	*d = Diagnostic{
		Severity: w.Severity, Summary: w.Summary, Detail: w.Detail, Hint: w.Hint,
		Context: w.Context, Subject: Range{File: w.File}, Snippet: w.Snippet,
	}
	if w.Start != nil {
		d.Subject.Start = Pos(*w.Start)
	}
	if w.End != nil {
		d.Subject.End = Pos(*w.End)
	}
	return nil
}
