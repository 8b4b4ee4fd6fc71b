package view

import (
	"fmt"
	"io"
	"strings"
	"time"

	"plumb/engine"
	"plumb/store"
)

// lineageView draws a lineage document as trees: up, each action has what it read below it;
// down, each artifact has the actions that read it. What was drawn before is only named.
type lineageView struct {
	w         io.Writer
	s         Style
	doc       *engine.LineageDoc
	now       time.Time
	actions   map[store.Key]*engine.LineageAction
	artifacts map[store.Digest]*engine.LineageArtifact
	drawn     map[store.Key]bool
}

func newLineageView(w io.Writer, s Style, doc *engine.LineageDoc, now time.Time) *lineageView {
	v := &lineageView{w: w, s: s, doc: doc, now: now, actions: map[store.Key]*engine.LineageAction{}, artifacts: map[store.Digest]*engine.LineageArtifact{}, drawn: map[store.Key]bool{}}
	for i := range doc.Actions {
		v.actions[doc.Actions[i].Key] = &doc.Actions[i]
	}
	for i := range doc.Artifacts {
		v.artifacts[doc.Artifacts[i].Digest] = &doc.Artifacts[i]
	}
	return v
}

// Lineage prints what something was made of and what came of it.
func Lineage(w io.Writer, s Style, doc *engine.LineageDoc, now time.Time) {
	v := newLineageView(w, s, doc, now)
	switch doc.Of.Kind {
	case "artifact":
		v.content(doc.Of.Digest, doc.Of.Name)
		for _, in := range doc.Of.Inside {
			fmt.Fprintf(w, "\nit is %s in ", in.Path)
			v.content(in.Tree, "")
		}
	case "run":
		v.run()
	default:
		v.begins()
	}
	if doc.Searched != nil && !doc.Searched.Whole {
		fmt.Fprintln(w, s.paint(dim, fmt.Sprintf("Of the directories that are kept %d were searched for it, and there are more.", doc.Searched.Directories)))
	}
	if doc.More {
		fmt.Fprintln(w, s.paint(dim, "There is more; --limit says how much is told."))
	}
}

// content draws an artifact with both of its sides.
func (v *lineageView) content(d store.Digest, name string) {
	a := v.artifacts[d]
	if name == "" || name == d.String() {
		name = string(a.Kind)
	}
	fmt.Fprintf(v.w, "%s  %s%s\n", v.s.paint(bold, printable(name)), d, sized(a))
	for _, p := range a.Places {
		fmt.Fprintf(v.w, "  %s\n", v.place(p))
	}
	if v.doc.Of.Up {
		v.heading("made by", len(a.MadeBy), "no stage made it")
		v.drawn = map[store.Key]bool{}
		for i, key := range a.MadeBy {
			v.up(key, "", i == len(a.MadeBy)-1)
		}
	}
	if v.doc.Of.Down {
		v.heading("read by", len(a.ReadBy), "no stage read it")
		v.drawn = map[store.Key]bool{}
		for i, key := range a.ReadBy {
			v.down(key, "", i == len(a.ReadBy)-1)
		}
	}
}

func (v *lineageView) heading(text string, n int, none string) {
	if n == 0 {
		text = none
	}
	fmt.Fprintln(v.w, v.s.paint(dim, text))
}

// run draws the stages of a run that nothing of the run reads, with what they were made
// of, then what others made of the run's outputs.
func (v *lineageView) run() {
	r := v.doc.Run
	fmt.Fprintf(v.w, "run %s  %s  %s\n", v.s.paint(bold, string(r.ID)), v.s.paint(statusColor[r.Status], r.Status), ago(v.now.Sub(r.Started)))
	own := map[store.Key]bool{}
	for _, k := range v.doc.Of.Keys {
		own[k] = true
	}
	for _, st := range v.doc.Stages {
		if v.actions[st.Key] == nil {
			fmt.Fprintf(v.w, "%s  %s%s\n", st.Name, v.s.paint(statusColor[st.Status], st.Status), forgotten(st))
		}
	}
	if v.doc.Of.Up {
		var last []store.Key
		for _, k := range v.doc.Of.Keys {
			if v.actions[k] != nil && !v.readBy(k, own) {
				last = append(last, k)
			}
		}
		for i, k := range last {
			v.up(k, "", i == len(last)-1)
		}
	}
	if v.doc.Of.Down {
		v.later(own)
	}
}

// forgotten says why nothing more is told of a stage.
func forgotten(st engine.LineageStage) string {
	if st.Status == "ran" || st.Status == "cached" {
		return ", and its result is not kept"
	}
	return ""
}

// readBy reports whether what an action made is read by one of those.
func (v *lineageView) readBy(k store.Key, those map[store.Key]bool) bool {
	for _, out := range v.actions[k].Outputs {
		for _, reader := range v.artifacts[out.Digest].ReadBy {
			if those[reader] {
				return true
			}
		}
	}
	return false
}

// later draws what was made of a run's outputs elsewhere.
func (v *lineageView) later(own map[store.Key]bool) {
	v.drawn = map[store.Key]bool{}
	var readers []store.Key
	for _, k := range v.doc.Of.Keys {
		if v.actions[k] == nil {
			continue
		}
		for _, out := range v.actions[k].Outputs {
			for _, reader := range v.artifacts[out.Digest].ReadBy {
				if !own[reader] && !v.drawn[reader] {
					v.drawn[reader] = true
					readers = append(readers, reader)
				}
			}
		}
	}
	if len(readers) == 0 {
		return
	}
	v.drawn = map[store.Key]bool{}
	fmt.Fprintln(v.w, v.s.paint(dim, "read by other runs"))
	for i, k := range readers {
		v.down(k, "", i == len(readers)-1)
	}
}

// begins draws actions that are asked about by their image or key.
func (v *lineageView) begins() {
	if v.doc.Of.Kind == "image" {
		fmt.Fprintf(v.w, "%s  %s\n", v.s.paint(bold, printable(v.doc.Of.Name)), v.doc.Of.Digest)
		v.heading("ran in it", len(v.doc.Of.Keys), "nothing ran in it")
	}
	draw := v.down
	if v.doc.Of.Up && !v.doc.Of.Down || v.doc.Of.Kind != "image" {
		draw = v.up
	}
	for i, k := range v.doc.Of.Keys {
		draw(k, "", i == len(v.doc.Of.Keys)-1)
	}
}

// The lines of a tree: before an entry, and before what is below it.
func treeBranch(last bool) (entry, below string) {
	if last {
		return "└─ ", "   "
	}
	return "├─ ", "│  "
}

// up draws an action, and below it what it read.
func (v *lineageView) up(key store.Key, indent string, last bool) {
	a := v.actions[key]
	if a == nil {
		return
	}
	entry, below := treeBranch(last)
	fmt.Fprintf(v.w, "%s%s%s", indent, entry, v.action(a))
	if v.drawn[key] {
		fmt.Fprintln(v.w, v.s.paint(dim, "  (above)"))
		return
	}
	v.drawn[key] = true
	fmt.Fprintln(v.w)
	for i, in := range a.Inputs {
		v.input(in, indent+below, i == len(a.Inputs)-1)
	}
}

// input draws what an action read: with the action that made it, or where it came from.
func (v *lineageView) input(u engine.LineageUse, indent string, last bool) {
	entry, below := treeBranch(last)
	art := v.artifacts[u.Digest]
	fmt.Fprintf(v.w, "%s%s%s", indent, entry, printable(u.Path))
	if u.By.IsZero() {
		fmt.Fprintf(v.w, "  %s%s\n", v.s.paint(dim, u.Digest.String()[:19]), v.origin(art, u.Path))
		return
	}
	also := ""
	if art.Also > 0 {
		also = fmt.Sprintf("  (%d other made the same)", art.Also)
	}
	fmt.Fprintln(v.w, v.s.paint(dim, "  "+u.Digest.String()[:19]+also))
	v.up(u.By, indent+below, true)
}

// origin says where content came from that no stage made.
func (v *lineageView) origin(a *engine.LineageArtifact, path string) string {
	text := sized(a)
	for _, p := range a.Places {
		switch {
		case p.Role == store.PlaceOutside:
			return text + "  source " + p.Source + ", from " + p.From
		case p.Role == store.PlaceInput && p.Source != "":
			return text + "  source " + p.Source + moved(p.Path, path)
		case p.Role == store.PlaceInput:
			return text + moved(p.Path, path)
		}
	}
	return text
}

func moved(from, to string) string {
	if from == to {
		return ""
	}
	return "  from " + from
}

func (v *lineageView) place(p engine.LineagePlace) string {
	switch p.Role {
	case store.PlaceExport:
		return fmt.Sprintf("exported to %s by run %s", p.Path, p.Run)
	case store.PlaceOutside:
		return fmt.Sprintf("source %s, from %s", p.Source, p.From)
	}
	if p.Source != "" {
		return fmt.Sprintf("source %s at %s, read by run %s", p.Source, p.Path, p.Run)
	}
	return fmt.Sprintf("at %s, read by run %s", p.Path, p.Run)
}

// down draws an action, and below it what it made, with who read that.
func (v *lineageView) down(key store.Key, indent string, last bool) {
	a := v.actions[key]
	if a == nil {
		return
	}
	entry, below := treeBranch(last)
	fmt.Fprintf(v.w, "%s%s%s", indent, entry, v.action(a))
	if v.drawn[key] {
		fmt.Fprintln(v.w, v.s.paint(dim, "  (above)"))
		return
	}
	v.drawn[key] = true
	fmt.Fprintln(v.w)
	for i, out := range a.Outputs {
		entry, deeper := treeBranch(i == len(a.Outputs)-1)
		art := v.artifacts[out.Digest]
		fmt.Fprintf(v.w, "%s%s%s  %s%s\n", indent+below, entry, printable(out.Path), v.s.paint(dim, out.Digest.String()[:19]), exported(art))
		for n, reader := range art.ReadBy {
			v.down(reader, indent+below+deeper, n == len(art.ReadBy)-1)
		}
	}
}

func exported(a *engine.LineageArtifact) string {
	for _, p := range a.Places {
		if p.Role == store.PlaceExport {
			return "  exported to " + p.Path
		}
	}
	return ""
}

// action says in a line what was done, when, and with what.
func (v *lineageView) action(a *engine.LineageAction) string {
	var with []string
	for _, p := range a.Params {
		with = append(with, p.Name+"="+printable(p.Value))
	}
	if a.Seed != nil {
		with = append(with, fmt.Sprint("seed ", *a.Seed))
	}
	text := v.s.paint(bold, a.Stage)
	if a.Failed {
		text += "  " + v.s.paint(red, "failed")
	}
	if len(with) > 0 {
		text += "  " + strings.Join(with, ", ")
	}
	about := fmt.Sprintf("  run %s, %s, image %s", a.Run, ago(v.now.Sub(a.Created)), a.Image.Short())
	if a.Project == "" {
		about += ", which is not kept"
	}
	return text + v.s.paint(dim, about)
}

func sized(a *engine.LineageArtifact) string {
	kind := ""
	if a.Kind == store.KindTree {
		kind = "  directory"
	}
	if a.Size > 0 {
		kind += "  " + size(a.Size)
	}
	return kind
}
