package engine

import (
	"slices"

	"plumb/store"
)

// node is content as one action made it, or as it was there without any. Equal bytes at
// two places are two nodes when they came about by different ways: a stage may hand on what
// it read, and what it made is not what it read.
type node struct {
	digest store.Digest
	by     store.Key
}

// done makes the artifacts of the document from what its actions read and made.
func (w *walk) done() *LineageDoc {
	w.cutLoops()
	nodes := map[node]int{}
	at := func(n node) *LineageArtifact {
		i, ok := nodes[n]
		if !ok {
			i = len(w.doc.Artifacts)
			nodes[n] = i
			w.doc.Artifacts = append(w.doc.Artifacts, LineageArtifact{Digest: n.digest, MadeBy: n.by, Kind: store.KindFile})
		}
		return &w.doc.Artifacts[i]
	}
	for _, n := range w.roots {
		at(n).Asked = true
	}
	if w.hashed != nil {
		for i := range w.doc.Artifacts {
			w.doc.Artifacts[i].Kind, w.doc.Artifacts[i].Size = w.hashed.Kind, w.hashed.Size
		}
	}
	for i := range w.doc.Actions {
		w.nodesOf(i, at)
	}
	for _, d := range w.contents {
		if !slices.ContainsFunc(w.doc.Artifacts, func(a LineageArtifact) bool { return a.Digest == d }) { // beyond a bound
			at(node{digest: d})
		}
	}
	for i := range w.doc.Artifacts {
		a := &w.doc.Artifacts[i]
		a.Asked = a.Asked || slices.Contains(w.contents, a.Digest)
		for _, run := range append(w.had, w.of) {
			w.place(a, run)
		}
		for _, in := range w.doc.Of.Inside {
			if in.Tree == a.Digest {
				a.Kind = store.KindTree
			}
		}
	}
	return w.doc
}

// nodesOf adds what action i made and read.
func (w *walk) nodesOf(i int, at func(node) *LineageArtifact) {
	a, rec := &w.doc.Actions[i], w.recs[i]
	run := w.runs[rec.Run]
	for _, o := range rec.Outputs {
		n := at(node{o.Digest, rec.Key})
		n.Kind, n.Size = o.Kind, o.Size
		w.place(n, run)
	}
	for _, u := range a.Inputs {
		n := at(node{u.Digest, u.By})
		n.Kind = w.kinds[u.Digest]
		for _, known := range rec.Inputs {
			if known.Digest == u.Digest {
				n.Size = known.Size
			}
		}
		if !slices.Contains(n.ReadBy, rec.Key) {
			n.ReadBy = append(n.ReadBy, rec.Key)
		}
		if u.Stage == "" {
			w.find(n, run)
		}
	}
}

// place notes where a run exported content to that it has from the node's action, and
// where it found what no action made.
func (w *walk) place(a *LineageArtifact, run *store.Run) {
	if run == nil {
		return
	}
	if a.MadeBy.IsZero() {
		w.find(a, run)
		return
	}
	for _, p := range run.Places {
		if p.Role != store.PlaceExport || p.Digest != a.Digest {
			continue
		}
		if st := w.table(run)[p.Stage]; st != nil && st.Key == a.MadeBy {
			a.put(run, p)
		}
	}
}

// find notes where a run found content.
func (w *walk) find(a *LineageArtifact, run *store.Run) {
	if run == nil {
		return
	}
	for _, p := range run.Places {
		if p.Digest == a.Digest && isFound(&p) {
			a.put(run, p)
		}
	}
}

// put notes a place. Many runs had the same at the same place: the first that is met
// tells it.
func (a *LineageArtifact) put(run *store.Run, p store.Place) {
	known := slices.ContainsFunc(a.Places, func(o LineagePlace) bool {
		return o.Project == run.Project && o.Path == p.Path && o.Role == p.Role && o.From == p.From
	})
	if known {
		return
	}
	a.Places = append(a.Places, LineagePlace{run.ID, run.Project, p})
	if p.Size > 0 {
		a.Size = p.Size
	}
}

// cutLoops sees to it that no action is before itself. One seems to be when its record was
// replaced: a later run did it again, and with the reader that knew it of old it is told as
// it is now. What was read from it of old is then not followed to it.
func (w *walk) cutLoops() {
	for {
		loop := w.loop()
		if loop == nil {
			return
		}
		worst := loop[0]
		late := func(u [2]int) int64 {
			a := &w.doc.Actions[u[0]]
			return w.doc.Actions[w.actions[a.Inputs[u[1]].By]].Created.Sub(a.Created).Nanoseconds()
		}
		for _, u := range loop[1:] {
			if late(u) > late(worst) {
				worst = u
			}
		}
		w.doc.Actions[worst[0]].Inputs[worst[1]].By = store.Key{} // its stage is still said
	}
}

// loop finds inputs, each by its action's number and its own, that lead from an action to
// itself; nil when there are none.
func (w *walk) loop() (found [][2]int) {
	const entered, left = 1, 2
	state := make([]byte, len(w.doc.Actions))
	var path [][2]int
	var visit func(i int) bool
	visit = func(i int) bool {
		state[i] = entered
		for n := range w.doc.Actions[i].Inputs {
			by, ok := w.actions[w.doc.Actions[i].Inputs[n].By]
			if !ok || state[by] == left {
				continue
			}
			path = append(path, [2]int{i, n})
			if state[by] == entered {
				from := slices.IndexFunc(path, func(u [2]int) bool { return u[0] == by })
				found = path[from:]
				return true
			}
			if visit(by) {
				return true
			}
			path = path[:len(path)-1]
		}
		state[i] = left
		return false
	}
	for i := range state {
		if state[i] == 0 && visit(i) {
			return found
		}
	}
	return nil
}
