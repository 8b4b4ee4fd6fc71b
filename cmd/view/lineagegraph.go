package view

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"plumb/engine"
)

// lineageGraph writes a lineage document in a language of graphs: boxes are actions, the
// others artifacts. Names are numbers in the order of the document, so that two writings of
// one document are the same.
type lineageGraph struct {
	node func(id, label, shape string)
	edge func(from, to string)
}

func (g *lineageGraph) draw(doc *engine.LineageDoc) {
	ids := map[lineageNode]string{}
	for i := range doc.Artifacts {
		a := &doc.Artifacts[i]
		id := "a" + strconv.Itoa(i)
		ids[lineageNode{a.Digest, a.MadeBy}] = id
		g.node(id, contentLabel(doc, a), "content")
	}
	for i := range doc.Actions {
		a := &doc.Actions[i]
		id := "s" + strconv.Itoa(i)
		label := a.Stage + "\n" + string(a.Run)
		for _, p := range a.Params {
			label += "\n" + p.Name + "=" + p.Value
		}
		g.node(id, label, "action")
		for _, in := range a.Inputs {
			g.edge(ids[lineageNode{in.Digest, in.By}], id)
		}
		for _, out := range a.Outputs {
			g.edge(id, ids[lineageNode{out.Digest, a.Key}])
		}
	}
}

// contentLabel is the path under which content is known, and its digest.
func contentLabel(doc *engine.LineageDoc, a *engine.LineageArtifact) string {
	name := ""
	for _, p := range a.Places {
		name = p.Path
		if p.From != "" {
			name = p.From
		}
	}
	for i := range doc.Actions {
		of := &doc.Actions[i]
		for _, u := range of.Outputs {
			if u.Digest == a.Digest && of.Key == a.MadeBy && name == "" {
				name = u.Path
			}
		}
		for _, u := range of.Inputs {
			if u.Digest == a.Digest && u.By == a.MadeBy && name == "" {
				name = u.Path
			}
		}
	}
	return name + "\n" + a.Digest.Short()
}

// LineageDOT writes the graph for Graphviz.
func LineageDOT(w io.Writer, doc *engine.LineageDoc) {
	fmt.Fprintln(w, "digraph lineage {\n  rankdir=LR;")
	shapes := map[string]string{"content": "ellipse", "action": "box"}
	g := &lineageGraph{
		node: func(id, label, shape string) {
			fmt.Fprintf(w, "  %s [shape=%s, label=\"%s\"];\n", id, shapes[shape], dotEscape(label))
		},
		edge: func(from, to string) { fmt.Fprintf(w, "  %s -> %s;\n", from, to) },
	}
	g.draw(doc)
	fmt.Fprintln(w, "}")
}

func dotEscape(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(cleanLabel(s))
}

// LineageMermaid writes the graph for Mermaid.
func LineageMermaid(w io.Writer, doc *engine.LineageDoc) {
	fmt.Fprintln(w, "flowchart LR")
	g := &lineageGraph{
		node: func(id, label, shape string) {
			open, shut := "([", "])"
			if shape == "action" {
				open, shut = "[", "]"
			}
			fmt.Fprintf(w, "  %s%s\"%s\"%s\n", id, open, mermaidEscape(label), shut)
		},
		edge: func(from, to string) { fmt.Fprintf(w, "  %s --> %s\n", from, to) },
	}
	g.draw(doc)
}

// mermaidEscape writes as entities what ends a label or begins markup.
func mermaidEscape(s string) string {
	return strings.NewReplacer("#", "#35;", `"`, "#quot;", "<", "#lt;", ">", "#gt;", "`", "#96;", "\n", "<br/>").Replace(cleanLabel(s))
}

// cleanLabel takes out what would steer a terminal, line by line.
func cleanLabel(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = printable(lines[i])
	}
	return strings.Join(lines, "\n")
}
