package view

import (
	"fmt"
	"strconv"
	"strings"

	tables "plumb/engine/table"
)

// line is one line about a difference: its sign is "+", "-", "~" or "", which stands for
// the colour, too.
type line struct {
	sign, text string
}

// tableLines tells a comparison of two tables: how large they are, then columns, then
// rows, then how values are distributed in the columns where that shifted, at most so
// many of them. Where each row that differs is shown that says nothing more.
func tableLines(d *tables.Diff, most int) []line {
	out := []line{{"", sizes(d)}}
	say := func(sign, format string, args ...any) { out = append(out, line{sign, fmt.Sprintf(format, args...)}) }
	c := d.Columns
	for _, v := range c.Added {
		say("+", "column %s  %s", visibleValue(v.Name), v.Type)
	}
	for _, v := range c.Removed {
		say("-", "column %s  %s", visibleValue(v.Name), v.Type)
	}
	for _, v := range c.Renamed {
		old, new := cellPair(v.Old, v.New)
		say("~", "column %s is called %s", old, new)
	}
	for _, v := range c.Retyped {
		say("~", "column %s  %s → %s", v.Name, v.Old, v.New)
	}
	for _, v := range c.Moved {
		if v.Old == v.New {
			say("~", "column %s has other columns before it at place %d", v.Name, v.New)
			continue
		}
		say("~", "column %s moved from place %d to %d", v.Name, v.Old, v.New)
	}
	out = append(out, rowLines(&d.Rows)...)
	if allShown(&d.Rows) {
		return out
	}
	shifted := 0
	for i := range d.Shifts {
		s := &d.Shifts[i]
		if s.Size == "none" || s.Measure == "" {
			continue
		}
		if shifted++; shifted <= most {
			say("", "%s  %s shift (%s %s)%s", s.Name, s.Size, s.Measure, number(s.Shift), means(s))
		}
	}
	if shifted > most {
		say("", "and %s more shifted", plural(shifted-most, "column"))
	}
	return out
}

// sizes says how large both are, in bytes where units would hide that they differ.
func sizes(d *tables.Diff) string {
	rows, bytes := plural64(d.B.Rows, "row"), size(d.B.Bytes)
	if d.A.Rows != d.B.Rows {
		rows = fmt.Sprintf("%d → %s", d.A.Rows, rows)
	}
	switch old := size(d.A.Bytes); {
	case d.A.Bytes == d.B.Bytes:
	case old == bytes:
		bytes = fmt.Sprintf("%d → %d B", d.A.Bytes, d.B.Bytes)
	default:
		bytes = old + " → " + bytes
	}
	return rows + ", " + bytes
}

func plural64(n int64, word string) string { return plural(int(n), word) }

func means(s *tables.ColumnShift) string {
	if s.A.Mean == nil || s.B.Mean == nil {
		return ""
	}
	both := apart(*s.A.Mean, *s.B.Mean)
	return fmt.Sprintf(", mean %s → %s", both[0], both[1])
}

// rowCounts is "" when no row differs.
func rowCounts(r *tables.Rows) string {
	var parts []string
	for _, p := range []struct {
		n    int64
		what string
	}{{r.Changed, "changed"}, {r.Added, "added"}, {r.Removed, "removed"}, {r.Moved, "moved"}} {
		if p.n > 0 {
			parts = append(parts, strconv.FormatInt(p.n, 10)+" "+p.what)
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return "rows: " + strings.Join(parts, ", ")
}

func rowLines(r *tables.Rows) []line {
	counts := rowCounts(r)
	if counts == "" {
		return nil
	}
	out := []line{{"", counts}}
	say := func(sign, format string, args ...any) { out = append(out, line{sign, fmt.Sprintf(format, args...)}) }
	for _, c := range r.FirstChanged {
		where := fmt.Sprintf("row %d", c.NumberB)
		if c.Key != "" {
			where += fmt.Sprintf(" (%s %s)", r.Key, visibleValue(c.Key))
		}
		var cells []string
		for _, v := range c.Cells {
			old, new := cellPair(tableCell(v.Old), tableCell(v.New))
			cells = append(cells, fmt.Sprintf("%s %s → %s", v.Column, old, new))
		}
		say("~", "%s  %s", where, strings.Join(cells, ", "))
	}
	for _, v := range r.FirstAdded {
		say("+", "row %d  %s", v.Number, cellsOf(v.Cells))
	}
	for _, v := range r.FirstRemoved {
		say("-", "row %d  %s", v.Number, cellsOf(v.Cells))
	}
	if !allShown(r) {
		say("", "and %d more", r.Changed+r.Added+r.Removed-shownRows(r))
	}
	return out
}

func shownRows(r *tables.Rows) int64 {
	return int64(len(r.FirstChanged) + len(r.FirstAdded) + len(r.FirstRemoved))
}

func allShown(r *tables.Rows) bool { return r.Changed+r.Added+r.Removed <= shownRows(r) }

func cellsOf(all []tables.Value) string {
	var texts []string
	for _, v := range all {
		texts = append(texts, visibleValue(tableCell(v.Text)))
	}
	return strings.Join(texts, ", ")
}

func tableCell(v *string) string {
	switch {
	case v == nil:
		return "(none)"
	case *v == "":
		return `""`
	}
	return *v
}
