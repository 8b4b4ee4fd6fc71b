package view

import (
	"fmt"
	"io"
	"slices"
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
	artifacts map[lineageNode]*engine.LineageArtifact
	drawn     map[store.Key]bool
}

// lineageNode is what identifies an artifact of a document.
type lineageNode struct {
	digest store.Digest
	by     store.Key
}

func newLineageView(w io.Writer, s Style, doc *engine.LineageDoc, now time.Time) *lineageView {
	v := &lineageView{w: w, s: s, doc: doc, now: now, actions: map[store.Key]*engine.LineageAction{}, artifacts: map[lineageNode]*engine.LineageArtifact{}, drawn: map[store.Key]bool{}}
	for i := range doc.Actions {
		v.actions[doc.Actions[i].Key] = &doc.Actions[i]
	}
	for i := range doc.Artifacts {
		v.artifacts[lineageNode{doc.Artifacts[i].Digest, doc.Artifacts[i].MadeBy}] = &doc.Artifacts[i]
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

// content draws what is asked about with both of its sides, whichever actions made it.
func (v *lineageView) content(d store.Digest, name string) {
	asked := v.asked(d)
	var places []string
	var makers, readers []store.Key
	for _, a := range asked {
		for _, p := range a.Places {
			if text := v.place(p); !slices.Contains(places, text) {
				places = append(places, text)
			}
		}
		if v.actions[a.MadeBy] != nil {
			makers = append(makers, a.MadeBy)
		}
		if slices.ContainsFunc(asked, func(o *engine.LineageArtifact) bool { return slices.Contains(o.ReadBy, a.MadeBy) }) {
			continue // its maker handed on what it read, and is drawn with what read that
		}
		for _, k := range a.ReadBy {
			if !slices.Contains(readers, k) {
				readers = append(readers, k)
			}
		}
	}
	if name == "" || name == d.String() {
		name = string(asked[0].Kind)
	}
	fmt.Fprintf(v.w, "%s  %s%s\n", v.s.paint(bold, printable(name)), d, sized(asked[0]))
	for _, text := range places {
		fmt.Fprintf(v.w, "  %s\n", text)
	}
	if v.doc.Of.Up {
		v.heading("made by", len(makers), "no stage made it")
		v.drawn = map[store.Key]bool{}
		for i, key := range makers {
			v.up(key, "", i == len(makers)-1)
		}
	}
	if v.doc.Of.Down {
		v.heading("read by", len(readers), "no stage read it")
		v.drawn = map[store.Key]bool{}
		for i, key := range readers {
			v.down(key, "", i == len(readers)-1)
		}
	}
}

// asked gives what of some content is asked about; there is at least one.
func (v *lineageView) asked(d store.Digest) []*engine.LineageArtifact {
	var out []*engine.LineageArtifact
	for i := range v.doc.Artifacts {
		if a := &v.doc.Artifacts[i]; a.Asked && a.Digest == d {
			out = append(out, a)
		}
	}
	return out
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
		for _, reader := range v.artifacts[lineageNode{out.Digest, k}].ReadBy {
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
			for _, reader := range v.artifacts[lineageNode{out.Digest, k}].ReadBy {
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
		v.input(a, in, indent+below, i == len(a.Inputs)-1)
	}
}

// input draws what an action read: with the action that made it, or where it came from.
func (v *lineageView) input(a *engine.LineageAction, u engine.LineageUse, indent string, last bool) {
	entry, below := treeBranch(last)
	fmt.Fprintf(v.w, "%s%s%s", indent, entry, printable(u.Path))
	short := "  " + u.Digest.String()[:19]
	if v.actions[u.By] == nil {
		art := v.artifacts[lineageNode{u.Digest, u.By}]
		if u.Stage != "" {
			fmt.Fprintf(v.w, "%s%s  made by %s\n", v.s.paint(dim, short), sized(art), printable(u.Stage))
			return
		}
		fmt.Fprintf(v.w, "%s%s\n", v.s.paint(dim, short), v.origin(art, a, u.Path))
		return
	}
	if u.Also > 0 {
		short += "  (" + plural(u.Also, "other") + " made the same)"
	}
	fmt.Fprintln(v.w, v.s.paint(dim, short))
	v.up(u.By, indent+below, true)
}

// origin says where content came from that no stage made, and that action a read.
func (v *lineageView) origin(art *engine.LineageArtifact, a *engine.LineageAction, path string) string {
	text := sized(art)
	places := slices.DeleteFunc(slices.Clone(art.Places), func(p engine.LineagePlace) bool { return p.Role == store.PlaceExport })
	if len(places) == 0 {
		return text
	}
	p := places[0]
	for _, own := range places { // the same may be elsewhere, or in another project
		if own.Project == a.Project && (own.Path == path || slices.Contains(own.As, path)) {
			p = own
			break
		}
	}
	switch {
	case p.Role == store.PlaceOutside:
		return text + "  source " + p.Source + ", from " + p.From
	case p.Source != "":
		return text + "  source " + p.Source + moved(p.Path, path)
	}
	return text + moved(p.Path, path)
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
		art := v.artifacts[lineageNode{out.Digest, key}]
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
	run := "run " + string(a.Run)
	if a.Project == "" {
		run += ", which is not kept"
	}
	return text + v.s.paint(dim, fmt.Sprintf("  %s, %s, image %s", run, ago(v.now.Sub(a.Created)), a.Image.Short()))
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
