package store

// Place says what was at a path when a run began or, for an export, ended: with the run's
// files, all that it takes to run again. Content that is not Dropped lives as long as the
// run.
type Place struct {
	Path string    `json:"path"` // of the project; of data from elsewhere, where stages find it
	Role PlaceRole `json:"role"`
	Artifact
	Source  string `json:"source,omitempty"`  // the name of a source block
	From    string `json:"from,omitempty"`    // the URL, or reference, of data from elsewhere
	Stage   string `json:"stage,omitempty"`   // that an export comes from
	Output  string `json:"output,omitempty"`  // of that stage
	Dropped bool   `json:"dropped,omitempty"` // keep = false: only its digest is recorded

	As []string `json:"as,omitempty"` // where stages have it instead, sorted
}

// PlaceRole is what a place is to a run.
type PlaceRole string

// The roles of places.
const (
	PlaceInput   PlaceRole = "input"   // a stage reads it from the project
	PlaceOutside PlaceRole = "outside" // a stage reads it, and it came from elsewhere
	PlaceImage   PlaceRole = "image"   // an image is made of it
	PlaceExport  PlaceRole = "export"  // the run wrote it
)

// InProject reports whether a path is one of what a project holds, as runs record them: it
// stays in the project, and is written in one way only. The project itself is a tree.
func InProject(path string, k Kind) bool {
	return validPath(path) || path == "." && k == KindTree
}

// outOf gives the first place that no project can have; nil for none. Where data from
// elsewhere is found is no place of the project.
func outOf(places []Place) *Place {
	for i := range places {
		if p := &places[i]; p.Role != PlaceOutside && !InProject(p.Path, p.Kind) {
			return p
		}
	}
	return nil
}

func encodePlaces(places []Place) []byte {
	w := &writer{b: make([]byte, 0, 96*len(places))}
	w.uint(uint64(len(places)))
	for i := range places {
		p := &places[i]
		w.string(p.Path)
		w.string(string(p.Role))
		w.artifact(p.Artifact)
		w.string(p.Source)
		w.string(p.From)
		w.string(p.Stage)
		w.string(p.Output)
		w.bool(p.Dropped)
		w.uint(uint64(len(p.As)))
		for _, as := range p.As {
			w.string(as)
		}
	}
	return w.b
}

func decodePlaces(b []byte) ([]Place, error) {
	r := &reader{b: b}
	places := make([]Place, r.count(12))
	for i := range places {
		places[i] = Place{
			Path: r.string(), Role: PlaceRole(r.string()), Artifact: r.artifact(),
			Source: r.string(), From: r.string(), Stage: r.string(), Output: r.string(), Dropped: r.bool(),
		}
		for range r.count(1) {
			places[i].As = append(places[i].As, r.string())
		}
	}
	if !r.done() {
		return nil, errFrame
	}
	return places, nil
}

// placeRefs lists what places need of the store.
func placeRefs(places []Place) []Artifact {
	var refs []Artifact
	for i := range places {
		if !places[i].Dropped {
			refs = append(refs, places[i].Artifact)
		}
	}
	return refs
}
