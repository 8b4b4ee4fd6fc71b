package engine

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	"plumb/hcl"
	"plumb/store"
)

// paramsFile holds the params that the run was given.
const paramsFile = "restored.params.json"

// params is the file of what the run was given besides the pipeline, nil for nothing, and
// the names of what cannot be in it.
func (r *restoring) params() (file []byte, secret []string, err error) {
	given := map[string]json.RawMessage{}
	for _, p := range r.run.Params {
		switch {
		case p.Origin == "default" || strings.HasPrefix(p.Origin, "profile "):
		case p.Value == "":
			secret = append(secret, p.Name)
		default:
			given[p.Name] = json.RawMessage(p.Value)
		}
	}
	if len(given) == 0 {
		return nil, secret, nil
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(given); err != nil {
		return nil, nil, fmt.Errorf("writing the params of run %s: %w", r.run.ID, err)
	}
	return b.Bytes(), secret, nil
}

// giveParams decides on the path of the file of params. A run that was given what a restore
// wrote has that file already; else it gets a name that means nothing to the run, as what
// is at the path would be lost, and what a pattern finds would make another run.
func (r *restoring) giveParams(given []byte) string {
	own := Restored{Path: paramsFile, Artifact: store.Artifact{Kind: store.KindFile, Digest: store.Sum(given), Size: int64(len(given))}}
	if slices.ContainsFunc(r.doc.Files, func(f Restored) bool {
		return f.Path == own.Path && f.Kind == own.Kind && f.Digest == own.Digest && !f.empty
	}) {
		return paramsFile
	}
	r.args = given
	read := r.reads()
	for n := range 100 {
		for _, hidden := range []string{"", "."} {
			r.at = hidden + paramsName(n)
			if !r.knows(r.at) && !read(r.at) {
				return r.at
			}
		}
	}
	// A pattern finds every name. The run made again is another, and nothing is lost.
	for n := 0; ; n++ {
		if r.at = paramsName(n); !r.knows(r.at) {
			return r.at
		}
	}
}

func paramsName(n int) string {
	if n == 0 {
		return paramsFile
	}
	return strings.Replace(paramsFile, ".json", fmt.Sprintf(".%d.json", n+1), 1)
}

// knows reports whether the run has something at or below a path of the project, also
// what is not restored.
func (r *restoring) knows(name string) bool {
	has := func(p string) bool {
		p = path.Clean(p)
		return p == name || strings.HasPrefix(p, name+"/")
	}
	return slices.ContainsFunc(r.run.Places, func(p store.Place) bool { return p.Role != store.PlaceOutside && has(p.Path) }) ||
		slices.ContainsFunc(r.run.Files, func(f store.RunFile) bool { return has(f.Path) })
}

// reads gives what tells whether the run would find a file at the top of the project by a
// pattern. Names with a dot in front are found by patterns that begin with one only.
func (r *restoring) reads() func(name string) bool {
	p, err := (&explainer{e: r.e, ctx: r.ctx, dir: r.req.Dir}).evaluated(r.run, r.run.Params)
	if err != nil { // sensitive params, or a file that is lost, which complete tells
		return func(string) bool { return false }
	}
	patterns := r.patterns(p)
	for _, read := range p.Reads {
		if read.Pattern != "" && path.Clean(read.Path) == "." {
			patterns = append(patterns, read.Pattern)
		}
	}
	return func(name string) bool {
		return slices.ContainsFunc(patterns, func(pattern string) bool { return hcl.Match(pattern, name) })
	}
}
