package hcl

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"

	hashi "github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"plumb/hcl/funcs"
)

// snippetLines is how many source lines a diagnostic shows at most.
const snippetLines = 4

// rangeOf converts a range of the parser's.
func rangeOf(r hashi.Range) Range {
	return Range{File: r.Filename, Start: Pos(r.Start), End: Pos(r.End)}
}

// report adds an error at a place. Hint may be empty.
func (ev *evaluation) report(r hashi.Range, summary, detail, hint string) {
	ev.reportRange(rangeOf(r), summary, detail, hint)
}

func (ev *evaluation) reportRange(r Range, summary, detail, hint string) {
	ev.diags = append(ev.diags, Diagnostic{
		Severity: SeverityError, Summary: summary, Detail: detail, Hint: hint, Subject: r,
	})
}

func (ev *evaluation) reportPath(r hashi.Range, p *pathProblem) {
	ev.report(r, p.summary, p.detail, p.hint)
}

// finish adds to each diagnostic its source lines and the block it is in, and
// sorts them.
func (ev *evaluation) finish(bodies []*hclsyntax.Body) Diagnostics {
	blocks := map[string]hclsyntax.Blocks{}
	for _, body := range bodies {
		blocks[body.SrcRange.Filename] = body.Blocks
	}
	for i := range ev.diags {
		d := &ev.diags[i]
		if src, ok := ev.sources[d.Subject.File]; ok {
			d.Snippet = snippet(src, d.Subject)
		}
		d.Context = contextOf(blocks[d.Subject.File], d.Subject.Start.Byte)
	}
	ev.diags.Sort()
	ev.diags = ev.diags.Dedupe()
	return ev.diags
}

// snippet returns the lines that a range covers, the first few when it is long.
func snippet(src []byte, r Range) string {
	if r.Start.Line == 0 || r.Start.Byte > len(src) {
		return ""
	}
	from := bytes.LastIndexByte(src[:r.Start.Byte], '\n') + 1
	n := min(max(r.End.Line-r.Start.Line, 0)+1, snippetLines)
	if n > 1 && r.End.Column == 1 && n == r.End.Line-r.Start.Line+1 {
		n-- // the range ends with the line break
	}
	lines := bytes.SplitN(src[from:], []byte("\n"), n+1)
	text := bytes.Join(lines[:min(n, len(lines))], []byte("\n"))
	text = userInfo.ReplaceAllFunc(text, func(b []byte) []byte {
		return []byte("://" + strings.Repeat("*", len(b)-len("://@")) + "@")
	})
	return strings.ToValidUTF8(strings.ReplaceAll(string(text), "\r", ""), "�")
}

// userInfo is what stands for a user and a password in a URL: it is not shown.
var userInfo = regexp.MustCompile(`://[^/\s"@]+@`)

// contextOf names the top-level block around a byte.
func contextOf(blocks hclsyntax.Blocks, at int) string {
	i, found := slices.BinarySearchFunc(blocks, at, func(b *hclsyntax.Block, at int) int {
		return b.TypeRange.Start.Byte - at
	})
	if !found {
		i--
	}
	if i < 0 || blocks[i].CloseBraceRange.End.Byte < at {
		return ""
	}
	return strings.Join(append([]string{blocks[i].Type}, quotedAll(blocks[i].Labels)...), " ")
}

// reportSyntax passes on what the parser found, with a hint where a shell
// expansion was meant.
func (ev *evaluation) reportSyntax(d *hashi.Diagnostic) {
	subject := Range{}
	if d.Subject != nil {
		subject = rangeOf(*d.Subject)
	}
	summary, hint := d.Summary, ""
	if m := shellExpansion.FindString(ev.lineOf(subject)); m != "" { // of a hidden line there is none
		summary = "Shell expansion in braces"
		hint = fmt.Sprintf("an expansion that the shell is to do is written with two dollar signs: $%s", m)
	}
	ev.diags = append(ev.diags, Diagnostic{
		Severity: SeverityError, Summary: summary, Detail: d.Detail, Hint: hint, Subject: subject,
	})
}

// shellExpansion matches the expansions of a shell that are no expressions, such
// as ${HOME:-/root}, ${#list}, ${list[@]} and ${name%.csv}.
var shellExpansion = regexp.MustCompile(`\$\{(?:[#!][^}\s]*|[A-Za-z_0-9@*]+(?::[-=?+]|[-=?+]|%%?|##?|//?|\[[@*]\])[^}]*)\}`)

func (ev *evaluation) lineOf(r Range) string {
	r.End = r.Start
	return snippet(ev.sources[r.File], r)
}

// reportEval passes on what went wrong while an expression was evaluated.
func (ev *evaluation) reportEval(d *hashi.Diagnostic) {
	if d.Severity != hashi.DiagError {
		return
	}
	summary, detail, hint := d.Summary, d.Detail, ""
	if call, ok := d.Extra.(hclsyntax.FunctionCallUnknownDiagExtra); ok {
		summary = "Unknown function"
		detail = fmt.Sprintf("There is no function %s.", quoted(call.CalledFunctionName()))
		hint = unknownFunctionHint(call.CalledFunctionName(), ev.functionNames())
	}
	if call, ok := d.Extra.(hclsyntax.FunctionCallDiagExtra); ok && errors.Is(call.FunctionCallError(), funcs.ErrSensitive) {
		summary, hint = "Sensitive value exposed", "name files by what is not sensitive"
		detail = fmt.Sprintf("Which files %s() reads is recorded, and the argument comes from a sensitive param.", call.CalledFunctionName())
	}
	if summary == "Invalid template interpolation value" && d.Expression != nil && refersToBlock(d.Expression) {
		summary, detail, hint = referenceInText(exprText(ev.sources, d.Expression.Range()))
	}
	subject := Range{}
	if d.Subject != nil {
		subject = rangeOf(*d.Subject)
	}
	ev.diags = append(ev.diags, Diagnostic{
		Severity: SeverityError, Summary: summary, Detail: detail, Hint: hint, Subject: subject,
	})
}

func (ev *evaluation) functionNames() []string {
	var names []string
	for name := range ev.base.Functions {
		names = append(names, name)
	}
	return names
}

func unknownFunctionHint(name string, known []string) string {
	switch name {
	case "env", "getenv":
		return "the environment is not an input; declare a param and set it with PLUMB_PARAM_⟨name⟩"
	case "timestamp", "now", "uuid", "random":
		return "values that change by themselves would run every stage again; declare a param instead"
	}
	return didYouMean(name, known, "%s()")
}

// refersToBlock reports whether an expression is a bare reference to a source,
// an image or a stage.
func refersToBlock(e hashi.Expression) bool {
	for _, t := range e.Variables() {
		switch t.RootName() {
		case "source", "image", "stage":
			return true
		}
	}
	return false
}

// referenceInText is the text of the diagnostic for a reference that was put
// into a string.
func referenceInText(ref string) (summary, detail, hint string) {
	return "Reference in a string",
		fmt.Sprintf("%s stands for data, not for text. Name it as an input, and use the path it has in the workspace.", ref),
		fmt.Sprintf("write inputs = { data = %s } and ${input.data} here", ref)
}

func exprText(sources map[string][]byte, r hashi.Range) string {
	src := sources[r.Filename]
	if r.End.Byte > len(src) || r.Start.Byte > r.End.Byte {
		return ""
	}
	return string(src[r.Start.Byte:r.End.Byte])
}

func quoted(s string) string { return strconv.Quote(s) }

func quotedAll(names []string) []string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = quoted(name)
	}
	return out
}

// reasonOf drops the operation and the path from a file error: they are named
// already.
func reasonOf(err error) string {
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		return pathError.Err.Error()
	}
	return err.Error()
}
