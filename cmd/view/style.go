// Package view turns events, plans, records and diagnostics into what is read: a
// live terminal, plain lines, or JSON. It decides nothing and reads nothing but
// its arguments.
package view

import (
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/width"
)

// Style says how text may be dressed.
type Style struct {
	Live  bool // lines may be redrawn
	Color bool
	Width int // columns, 0 when unknown
}

const (
	red    = "31"
	green  = "32"
	yellow = "33"
	blue   = "34"
	dim    = "2"
	bold   = "1"
)

// paint colours s, or leaves it.
func (s Style) paint(code, text string) string {
	if !s.Color || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// columns is how many cells of a terminal a text takes: two for a character of a
// script that is written in squares, none for what joins the character before it.
func columns(text string) int {
	n := 0
	for _, r := range text {
		n += cells(r)
	}
	return n
}

func cells(r rune) int {
	switch {
	case r < 0x300: // nothing below is combining or wide
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// clip cuts a line to the terminal's width, of which used columns are taken, so
// that redrawing knows how many rows it takes. text must have no escape codes.
func (s Style) clip(text string, used int) string {
	if s.Width == 0 {
		return text
	}
	return cut(text, s.Width-used)
}

// cut shortens a text to so many columns, the last one a sign that it was longer.
func cut(text string, room int) string {
	if columns(text) <= room {
		return text
	}
	if room < 1 {
		return ""
	}
	n := 0
	for i, r := range text {
		if n += cells(r); n > room-1 {
			return text[:i] + "…"
		}
	}
	return text
}

// pad fills a text up to so many columns.
func pad(text string, to int) string {
	return text + strings.Repeat(" ", max(0, to-columns(text)))
}

// escapes are the sequences that colour text or move the cursor: with the escape
// character alone taken away their rest would stay as litter.
var escapes = regexp.MustCompile("\x1b\\[[0-?]*[ -/]*[@-~]|\x1b\\][^\x07\x1b]*(?:\x07|\x1b\\\\)|\x1b[ -/]*[0-Z\\\\^-~]")

// printable takes out what a stage may print and what would steer the reader's
// terminal. Of a line that was written over itself, as progress bars are, what was
// written last stays.
func printable(s string) string {
	if strings.IndexFunc(s, isControl) < 0 {
		return s
	}
	s = strings.TrimRight(escapes.ReplaceAllString(s, ""), "\r")
	s = s[strings.LastIndexByte(s, '\r')+1:]
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case isControl(r):
			return -1
		}
		return r
	}, s)
}

// isControl also holds for the characters that turn the direction of writing: a
// line could pretend to be another with them.
func isControl(r rune) bool {
	return r < ' ' || r >= 0x7f && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}

// JSON writes one document on one line.
func JSON(w io.Writer, doc any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	if err := e.Encode(doc); err != nil {
		return fmt.Errorf("writing the document: %w", err)
	}
	return nil
}

// seconds says a duration as briefly as is useful.
func seconds(s float64) string {
	switch {
	case s < 0.0005:
		return "0 s"
	case s < 0.9995:
		return fmt.Sprintf("%.0f ms", s*1000)
	case s < 99.95:
		return fmt.Sprintf("%.1f s", s)
	}
	return time.Duration(s * float64(time.Second)).Round(time.Second).String()
}

// size says bytes in binary units.
func size(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v := float64(n)
	u := -1
	for v >= 1024 && u < len(units)-1 {
		v /= 1024
		u++
	}
	return fmt.Sprintf("%.1f %ciB", v, units[u])
}

// plural counts things.
func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

// Plural counts things of a kind.
func Plural(n int, word string) string { return plural(n, word) }

// table aligns columns of plain text; the last one is not padded.
func table(rows [][]string) []string {
	var widths []int
	for _, r := range rows {
		for i, c := range r {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], columns(c))
		}
	}
	var out []string
	for _, r := range rows {
		var b strings.Builder
		for i, c := range r {
			if i < len(r)-1 {
				c = pad(c, widths[i]+2)
			}
			b.WriteString(c)
		}
		out = append(out, strings.TrimRight(b.String(), " "))
	}
	return out
}
