// Package openlineage tells of runs in the form of OpenLineage, which catalogues of data
// read: for each stage an event when it began and one when it ended, and the same for the
// run that it was part of.
//
//	events.go  a lineage document ─▶ events
//	send.go    events ─▶ lines of a file, or a server
//
// What plumb knows by digest has a name there, and a version, which is the digest: an
// output is "PIPELINE/STAGE.OUTPUT" in the job's namespace, a file of a project is its
// path in the namespace "file", data from elsewhere is named by its URL. Content that a
// stage made and another project reads from a path has the name of the output, and the
// path as another name for it.
//
// A run has the same id whoever tells of it, and when: it is made of plumb's. So an event
// that is sent twice is one.
package openlineage

import (
	"crypto/sha1" //nolint:gosec // what makes a UUID of version 5
	"encoding/hex"
	"time"
)

const spec = "https://openlineage.io/spec/"

// Event is a run event.
type Event struct {
	EventTime time.Time `json:"eventTime"`
	EventType string    `json:"eventType"` // START, COMPLETE, FAIL, ABORT
	Producer  string    `json:"producer"`
	SchemaURL string    `json:"schemaURL"`
	Run       Run       `json:"run"`
	Job       Job       `json:"job"`
	Inputs    []Dataset `json:"inputs"`
	Outputs   []Dataset `json:"outputs"`
}

// Run is one execution of a job.
type Run struct {
	ID     string         `json:"runId"`
	Facets map[string]any `json:"facets,omitempty"`
}

// Job is a stage of a pipeline, or a pipeline.
type Job struct {
	Namespace string         `json:"namespace"`
	Name      string         `json:"name"`
	Facets    map[string]any `json:"facets,omitempty"`
}

// Dataset is content under its name. Of InputFacets and OutputFacets there is the one that
// fits.
type Dataset struct {
	Namespace    string         `json:"namespace"`
	Name         string         `json:"name"`
	Facets       map[string]any `json:"facets,omitempty"`
	InputFacets  map[string]any `json:"inputFacets,omitempty"`
	OutputFacets map[string]any `json:"outputFacets,omitempty"`
}

// facet says of all facets who made them and what they look like.
type facet struct {
	Producer  string `json:"_producer"`
	SchemaURL string `json:"_schemaURL"`
}

type parentFacet struct {
	facet
	Run struct {
		ID string `json:"runId"`
	} `json:"run"`
	Job struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	} `json:"job"`
}

type engineFacet struct {
	facet
	Version string `json:"version"`
	Name    string `json:"name"`
}

type errorFacet struct {
	facet
	Message  string `json:"message"`
	Language string `json:"programmingLanguage"`
}

type jobTypeFacet struct {
	facet
	Processing  string `json:"processingType"`
	Integration string `json:"integration"`
	Type        string `json:"jobType"`
}

type codeFacet struct {
	facet
	Language string `json:"language"`
	Code     string `json:"sourceCode"`
}

type versionFacet struct {
	facet
	Version string `json:"datasetVersion"`
}

type symlinksFacet struct {
	facet
	Identifiers []identifier `json:"identifiers"`
}

type identifier struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Type      string `json:"type"`
}

type statisticsFacet struct {
	facet
	Size int64 `json:"size"`
}

// stageFacet is plumb's own: what else there is to know of a stage.
type stageFacet struct {
	facet
	Key      string            `json:"key,omitempty"`
	Status   string            `json:"status"`           // ran, cached, failed, canceled
	MadeBy   string            `json:"madeBy,omitempty"` // plumb's id of the run that made what was cached
	PlumbRun string            `json:"plumbRun"`
	Image    string            `json:"image,omitempty"`
	Platform string            `json:"platform,omitempty"`
	Params   map[string]string `json:"params,omitempty"`
	Seed     *int64            `json:"seed,omitempty"`
}

// idOf makes the id of a run out of plumb's, and of a stage's run with its name: a UUID of
// version 5, in a namespace that is plumb's alone.
func idOf(parts ...string) string {
	space := [16]byte{0x1d, 0x8c, 0x5e, 0x0b, 0x2f, 0x4a, 0x4d, 0x6e, 0x9b, 0x71, 0x70, 0x6c, 0x75, 0x6d, 0x62, 0x01}
	h := sha1.New() //nolint:gosec // as above
	h.Write(space[:])
	for i, p := range parts {
		if i > 0 {
			h.Write([]byte{0})
		}
		h.Write([]byte(p))
	}
	u := h.Sum(nil)[:16]
	u[6] = u[6]&0x0f | 0x50
	u[8] = u[8]&0x3f | 0x80
	s := hex.EncodeToString(u)
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}
