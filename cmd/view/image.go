package view

import (
	"fmt"
	"io"
	"strings"
	"time"

	"plumb/engine"
	"plumb/engine/inventory"
)

// shortDigest is what people need of a digest to tell it from others.
func shortDigest(d string) string {
	if len(d) > 19 {
		return d[:19]
	}
	return d
}

// Lock prints the pins that changed, and how many there are.
func Lock(w io.Writer, s Style, doc *engine.LockDoc, check, quiet bool) {
	colors := map[engine.PinChange]string{engine.PinAdded: green, engine.PinMoved: yellow, engine.PinRemoved: red, engine.PinUnchanged: dim}
	changed := 0
	for _, p := range doc.Pins {
		if p.Change == engine.PinUnchanged {
			continue
		}
		changed++
		if quiet && !check {
			continue
		}
		place := p.Name
		if p.Platform != "" {
			place += " (" + p.Platform + ")"
		}
		fmt.Fprintf(w, "%s  %s %s\n", s.paint(colors[p.Change], pad(string(p.Change), 7)), p.Kind, printable(place))
		from := p.From
		if p.OldFrom != "" {
			from = p.OldFrom + " → " + p.From
		}
		if strings.HasSuffix(p.Detail, "package") || strings.HasSuffix(p.Detail, "packages") {
			from += "  (" + p.Detail + ")"
		}
		fmt.Fprintf(w, "         %s\n", printable(from))
		switch p.Change {
		case engine.PinMoved:
			fmt.Fprintf(w, "         %s → %s\n", p.Old, p.New)
		case engine.PinRemoved:
			fmt.Fprintf(w, "         %s\n", p.Old)
		default:
			fmt.Fprintf(w, "         %s\n", p.New)
		}
		packages(w, s, "         ", p.Packages)
	}
	if quiet {
		return
	}
	switch {
	case check && changed > 0:
		fmt.Fprintf(w, "%s would change; plumb lock adds what is missing, plumb lock --update NAME moves a pin.\n", plural(changed, "pin"))
	case changed > 0:
		fmt.Fprintf(w, "%s in plumb.lock.hcl, %d changed. Commit it.\n", plural(len(doc.Pins), "pin"), changed)
	default:
		fmt.Fprintf(w, "%s in plumb.lock.hcl, nothing changed.\n", plural(len(doc.Pins), "pin"))
	}
	if doc.Attributes {
		fmt.Fprintln(w, "wrote .gitattributes: git merges the lock line by line now.")
	}
}

// Images prints a line an image.
func Images(w io.Writer, s Style, doc *engine.ImagesDoc, now time.Time) {
	if len(doc.Images) == 0 {
		fmt.Fprintln(w, "No images yet.")
		return
	}
	rows := [][]string{{"DIGEST", "BLOCK", "PLATFORM", "SIZE", "ADDED", "NAME"}}
	for _, i := range doc.Images {
		rows = append(rows, []string{shortDigest(i.Digest), strings.Join(i.Blocks, " "), i.Platform, size(i.Unpacked), ago(now.Sub(i.Created)), printable(strings.Join(i.Names, " "))})
	}
	for n, line := range table(rows) {
		if n == 0 {
			line = s.paint(dim, line)
		}
		fmt.Fprintln(w, line)
	}
}

// Image prints what is inside an image.
func Image(w io.Writer, s Style, doc *engine.ImageDoc, now time.Time) {
	for _, row := range [][2]string{
		{"digest", doc.Digest}, {"block", strings.Join(doc.Blocks, " ")}, {"name", strings.Join(doc.Names, " ")}, {"platform", doc.Platform},
		{"size", fmt.Sprintf("%s, %s packed, in %s", size(doc.Unpacked), size(doc.Packed), plural(len(doc.Layers), "layer"))}, {"added", ago(now.Sub(doc.Created))},
	} {
		if row[1] != "" {
			fmt.Fprintf(w, "%s  %s\n", s.paint(dim, pad(row[0], 8)), printable(row[1]))
		}
	}
	if len(doc.Packages) == 0 {
		fmt.Fprintln(w, "\nNo package manager's records are in it.")
		return
	}
	rows := [][]string{{"PACKAGE", "VERSION", "TYPE"}}
	for _, p := range doc.Packages {
		rows = append(rows, []string{printable(p.Name), printable(p.Version), p.Type})
	}
	fmt.Fprintln(w)
	for n, line := range table(rows) {
		if n == 0 {
			line = s.paint(dim, line)
		}
		fmt.Fprintln(w, line)
	}
}

// ImageDiff prints the packages and then the files that differ.
func ImageDiff(w io.Writer, s Style, doc *engine.ImageDiffDoc) {
	if doc.A == doc.B {
		fmt.Fprintln(w, "The two are the same image.")
		return
	}
	if len(doc.Packages) > 0 {
		fmt.Fprintf(w, "%s:\n", plural(len(doc.Packages), "package"))
		packages(w, s, "  ", doc.Packages)
	}
	if len(doc.Files) > 0 {
		fmt.Fprintf(w, "%s:\n", plural(len(doc.Files), "path"))
	}
	for _, f := range doc.Files {
		line := printable(f.Path)
		if f.Detail != "" {
			line += "  " + s.paint(dim, printable(f.Detail))
		}
		fmt.Fprintf(w, "  %s %s\n", s.paint(changeColor[f.Change], changeSign[f.Change]), line)
	}
	if len(doc.Packages)+len(doc.Files) == 0 {
		fmt.Fprintln(w, "Their files are the same; they differ in how these lie in layers, or in the config.")
	}
}

var (
	changeSign  = map[string]string{"added": "+", "removed": "-", "changed": "~"}
	changeColor = map[string]string{"added": green, "removed": red, "changed": yellow}
)

func packages(w io.Writer, s Style, indent string, all []inventory.PackageChange) {
	for _, p := range all {
		versions := p.Old + " → " + p.New
		if p.Old == "" || p.New == "" {
			versions = p.Old + p.New
		}
		fmt.Fprintf(w, "%s%s %s  %s\n", indent, s.paint(changeColor[p.Change], changeSign[p.Change]), printable(p.Name), printable(versions))
	}
}

// Removed prints which images went.
func Removed(w io.Writer, _ Style, doc *engine.ImagesDoc, quiet bool) {
	for _, i := range doc.Images {
		if !quiet {
			fmt.Fprintf(w, "removed %s  %s\n", shortDigest(i.Digest), printable(strings.Join(i.Names, " ")))
		}
	}
}

// Exported prints where an image was written.
func Exported(w io.Writer, _ Style, doc *engine.ImageExportDoc, quiet bool) {
	if !quiet {
		fmt.Fprintf(w, "%s  %s  %s\n", printable(doc.Path), size(doc.Size), doc.Digest)
	}
}
