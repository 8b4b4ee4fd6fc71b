package hcl

import (
	"fmt"
	"strings"
	"unicode"
)

// wrapColumn is where the text of a diagnostic is folded.
const wrapColumn = 78

// paint is the set of escape sequences a diagnostic is printed with; all empty
// without colour.
type paint struct{ red, yellow, bold, dim, reset string }

func palette(color bool) paint {
	if !color {
		return paint{}
	}
	return paint{red: "\x1b[31m", yellow: "\x1b[33m", bold: "\x1b[1m", dim: "\x1b[2m", reset: "\x1b[0m"}
}

// Format renders one diagnostic for people: the summary, where it is, the source
// lines with the range underlined, the detail and the hint. It ends with a line
// break.
func Format(d Diagnostic, color bool) string {
	p := palette(color)
	mark := p.red
	if d.Severity == SeverityWarning {
		mark = p.yellow
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s%s%s:%s %s%s%s\n", mark, p.bold, d.Severity, p.reset, p.bold, d.Summary, p.reset)
	formatPlace(&b, d)
	formatSnippet(&b, d, p, mark)
	for _, line := range fold(d.Detail, wrapColumn) {
		fmt.Fprintf(&b, "  %s\n", line)
	}
	if d.Hint != "" {
		for i, line := range fold(d.Hint, wrapColumn-6) {
			label := "hint: "
			if i > 0 {
				label = "      "
			}
			fmt.Fprintf(&b, "  %s%s%s%s\n", p.bold, label, p.reset, line)
		}
	}
	return b.String()
}

func formatPlace(b *strings.Builder, d Diagnostic) {
	if d.Subject.File == "" {
		return
	}
	fmt.Fprintf(b, " on %s", d.Subject.File)
	if d.Subject.Start.Line > 0 {
		fmt.Fprintf(b, " line %d", d.Subject.Start.Line)
	}
	if d.Context != "" {
		fmt.Fprintf(b, ", in %s", d.Context)
	}
	b.WriteString(":\n")
}

// formatSnippet prints the lines of the snippet with their numbers, and under
// each the part that the range covers.
func formatSnippet(b *strings.Builder, d Diagnostic, p paint, mark string) {
	if d.Snippet == "" {
		return
	}
	lines := strings.Split(d.Snippet, "\n")
	width := len(fmt.Sprint(d.Subject.Start.Line + len(lines) - 1))
	for i, line := range lines {
		n := d.Subject.Start.Line + i
		text := strings.Map(printable, strings.ReplaceAll(line, "\t", " "))
		fmt.Fprintf(b, "  %s%*d |%s %s\n", p.dim, width, n, p.reset, text)
		from, to := underline(d.Subject, n, text)
		fmt.Fprintf(b, "  %s%*s |%s %s%s%s%s\n", p.dim, width, "", p.reset,
			strings.Repeat(" ", from), mark, strings.Repeat("^", to-from), p.reset)
	}
}

// printable keeps control characters of a source file from reaching a terminal.
func printable(r rune) rune {
	if unicode.IsControl(r) {
		return unicode.ReplacementChar
	}
	return r
}

// underline gives the columns, from 0, that the range covers on line n; at
// least one.
func underline(r Range, n int, text string) (from, to int) {
	length := len([]rune(text))
	to = length
	if n == r.Start.Line {
		from = min(max(r.Start.Column-1, 0), length)
	} else {
		from = length - len([]rune(strings.TrimLeft(text, " ")))
	}
	if n == r.End.Line {
		to = min(r.End.Column-1, length)
	}
	return from, max(to, from+1)
}

// fold breaks text at spaces; line breaks in it are kept.
func fold(text string, width int) []string {
	var lines []string
	for _, paragraph := range strings.Split(text, "\n") {
		line := ""
		for _, word := range strings.Fields(paragraph) {
			if line != "" && len(line)+1+len(word) > width {
				lines = append(lines, line)
				line = ""
			}
			if line != "" {
				line += " "
			}
			line += word
		}
		if line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}
