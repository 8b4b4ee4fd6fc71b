package openlineage

import (
	"net/url"
	"path"
	"strings"
	"time"

	"plumb/engine"
	"plumb/store"
)

// Options says who tells. Namespace is that of jobs and outputs.
type Options struct {
	Namespace string
	Version   string // plumb's
	Own       bool   // tell of the run's own stages alone: the others were told of when they ran
}

// Events tells of all actions of a lineage document, each under the run that made it. Of a
// run that was asked about it tells all stages, also those that were cached or failed, and
// the run itself.
func Events(doc *engine.LineageDoc, o Options) []Event {
	t := &teller{doc: doc, o: o, actions: map[store.Key]*engine.LineageAction{}, artifacts: map[node]*engine.LineageArtifact{}}
	for i := range doc.Actions {
		t.actions[doc.Actions[i].Key] = &doc.Actions[i]
	}
	for i := range doc.Artifacts {
		t.artifacts[node{doc.Artifacts[i].Digest, doc.Artifacts[i].MadeBy}] = &doc.Artifacts[i]
	}
	told := map[store.Key]bool{}
	var events []Event
	if doc.Run != nil {
		events = append(events, t.runEvent("START", doc.Run.Started))
		for i := range doc.Stages {
			st := &doc.Stages[i]
			told[st.Key] = true
			events = append(events, t.stage(st)...)
		}
		end := doc.Run.Started.Add(lasting(doc.Run.Seconds))
		events = append(events, t.runEvent(ends[doc.Run.Status], end))
	}
	for i := range doc.Actions {
		if a := &doc.Actions[i]; !told[a.Key] && !o.Own {
			events = append(events, t.action(a)...)
		}
	}
	return events
}

// ends are the events that a run or stage ends with; "" for one that has none.
var ends = map[string]string{"succeeded": "COMPLETE", "ran": "COMPLETE", "cached": "COMPLETE", "failed": "FAIL", "canceled": "ABORT", "running": "RUNNING"}

func lasting(seconds float64) time.Duration { return time.Duration(seconds * float64(time.Second)) }

type teller struct {
	doc       *engine.LineageDoc
	o         Options
	actions   map[store.Key]*engine.LineageAction
	artifacts map[node]*engine.LineageArtifact
}

// node is what identifies an artifact of the document.
type node struct {
	digest store.Digest
	by     store.Key
}

func (t *teller) facet(schema string) facet {
	return facet{Producer: t.producer(), SchemaURL: spec + schema}
}

// producer names plumb and its version.
func (t *teller) producer() string { return "urn:plumb:" + url.PathEscape(t.o.Version) }

func (t *teller) event(kind string, when time.Time, run Run, job Job) Event {
	return Event{
		EventTime: when.UTC(), EventType: kind, Producer: t.producer(), SchemaURL: spec + "2-0-2/OpenLineage.json#/$defs/RunEvent",
		Run: run, Job: job, Inputs: []Dataset{}, Outputs: []Dataset{},
	}
}

// runEvent tells of the run as a whole, whose job is the pipeline.
func (t *teller) runEvent(kind string, when time.Time) Event {
	r := t.doc.Run
	run := Run{ID: idOf(string(r.ID)), Facets: map[string]any{"processing_engine": engineFacet{t.facet("facets/1-1-1/ProcessingEngineRunFacet.json#/$defs/ProcessingEngineRunFacet"), r.Version, "plumb"}}}
	job := Job{Namespace: t.o.Namespace, Name: r.Pipeline, Facets: map[string]any{"jobType": t.jobType("PIPELINE")}}
	return t.event(kind, when, run, job)
}

func (t *teller) jobType(kind string) jobTypeFacet {
	return jobTypeFacet{t.facet("facets/2-0-4/JobTypeJobFacet.json#/$defs/JobTypeJobFacet"), "BATCH", "PLUMB", kind}
}

// stage tells of a stage of the run that is asked about.
func (t *teller) stage(st *engine.LineageStage) []Event {
	end := ends[st.Status]
	if end == "" {
		return nil // skipped: it did not begin
	}
	r := t.doc.Run
	a := t.actions[st.Key]
	own := stageFacet{Status: st.Status, MadeBy: string(st.MadeBy), PlumbRun: string(r.ID), Image: st.Image}
	began := st.Started
	if began.IsZero() { // cached, or it never came so far
		began = r.Started
	}
	run := t.run(r.ID, r.Pipeline, st.Name, own, a)
	if st.Error != "" {
		run.Facets["errorMessage"] = errorFacet{t.facet("facets/1-0-1/ErrorMessageRunFacet.json#/$defs/ErrorMessageRunFacet"), st.Error, "shell"}
	}
	return t.data(t.pair(end, began, began.Add(lasting(st.Seconds)), run, t.job(r.Pipeline, st.Name, a)), r.Pipeline, a)
}

// action tells of an action under the run that made it.
func (t *teller) action(a *engine.LineageAction) []Event {
	status, end := "ran", "COMPLETE"
	if a.Failed {
		status, end = "failed", "FAIL"
	}
	run := t.run(a.Run, a.Pipeline, a.Stage, stageFacet{Status: status, PlumbRun: string(a.Run)}, a)
	return t.data(t.pair(end, a.Created.Add(-lasting(a.Seconds)), a.Created, run, t.job(a.Pipeline, a.Stage, a)), a.Pipeline, a)
}

// pair is the two events of a stage.
func (t *teller) pair(end string, began, ended time.Time, run Run, job Job) []Event {
	return []Event{t.event("START", began, run, job), t.event(end, ended, run, job)}
}

// data adds what an action read and made to the event that ends a stage of a pipeline. What
// it made is named after the stage as which it is told of, be its action one of another
// stage or pipeline.
func (t *teller) data(events []Event, pipeline string, a *engine.LineageAction) []Event {
	if a == nil {
		return events
	}
	last := &events[len(events)-1]
	for _, in := range a.Inputs {
		last.Inputs = append(last.Inputs, t.input(pipeline, in))
	}
	for _, out := range a.Outputs {
		last.Outputs = append(last.Outputs, t.output(last.Job.Name, a, out))
	}
	return events
}

func (t *teller) run(id store.RunID, pipeline, stage string, own stageFacet, a *engine.LineageAction) Run {
	own.facet = t.facet("2-0-2/OpenLineage.json#/$defs/RunFacet")
	if a != nil {
		own.Key, own.Image, own.Platform, own.Seed = a.Key.String(), a.Image.String(), a.Platform, a.Seed
		for _, p := range a.Params {
			if own.Params == nil {
				own.Params = map[string]string{}
			}
			own.Params[p.Name] = p.Value
		}
	}
	parent := parentFacet{facet: t.facet("facets/1-2-0/ParentRunFacet.json#/$defs/ParentRunFacet")}
	parent.Run.ID, parent.Job.Namespace, parent.Job.Name = idOf(string(id)), t.o.Namespace, pipeline
	return Run{ID: idOf(string(id), stage), Facets: map[string]any{"parent": parent, "plumb_stage": own}}
}

func (t *teller) job(pipeline, stage string, a *engine.LineageAction) Job {
	j := Job{Namespace: t.o.Namespace, Name: named(pipeline, stage), Facets: map[string]any{"jobType": t.jobType("STAGE")}}
	if a == nil || len(a.Command) == 0 {
		return j
	}
	code := codeFacet{t.facet("facets/1-0-1/SourceCodeJobFacet.json#/$defs/SourceCodeJobFacet"), "command", strings.Join(a.Command, " ")}
	if len(a.Command) == 4 && a.Command[0] == "/bin/sh" {
		code.Language, code.Code = "shell", a.Command[3]
	}
	j.Facets["sourceCode"] = code
	return j
}

// named is the name of a stage among those of all pipelines.
func named(pipeline, stage string) string {
	if pipeline == "" {
		return stage
	}
	return pipeline + "/" + stage
}

func (t *teller) input(pipeline string, u engine.LineageUse) Dataset {
	d, others := t.dataset(pipeline, u)
	d.Facets = t.facets(u.Digest, others)
	if a := t.artifacts[node{u.Digest, u.By}]; a != nil && a.Size > 0 {
		d.InputFacets = map[string]any{"inputStatistics": statisticsFacet{t.facet("facets/1-0-0/InputStatisticsInputDatasetFacet.json#/$defs/InputStatisticsInputDatasetFacet"), a.Size}}
	}
	return d
}

func (t *teller) output(stage string, a *engine.LineageAction, u engine.LineageUse) Dataset {
	d := t.made(stage, u.Name)
	var others []identifier
	if art := t.artifacts[node{u.Digest, a.Key}]; art != nil {
		for _, p := range art.Places {
			if p.Role == store.PlaceExport && p.Output == u.Name {
				others = append(others, fileAt(p))
			}
		}
		d.OutputFacets = map[string]any{"outputStatistics": statisticsFacet{t.facet("facets/1-0-2/OutputStatisticsOutputDatasetFacet.json#/$defs/OutputStatisticsOutputDatasetFacet"), art.Size}}
	}
	d.Facets = t.facets(u.Digest, others)
	return d
}

func (t *teller) made(stage, output string) Dataset {
	return Dataset{Namespace: t.o.Namespace, Name: stage + "." + output}
}

func (t *teller) facets(d store.Digest, others []identifier) map[string]any {
	f := map[string]any{"version": versionFacet{t.facet("facets/1-0-1/DatasetVersionDatasetFacet.json#/$defs/DatasetVersionDatasetFacet"), d.String()}}
	if len(others) > 0 {
		f["symlinks"] = symlinksFacet{t.facet("facets/1-0-1/SymlinksDatasetFacet.json#/$defs/SymlinksDatasetFacet"), others}
	}
	return f
}

// dataset names what an action read: as an output of a stage of its pipeline, else by what
// made it, else by where it was.
func (t *teller) dataset(pipeline string, u engine.LineageUse) (d Dataset, others []identifier) {
	if a := t.artifacts[node{u.Digest, u.By}]; a != nil {
		for _, p := range a.Places {
			switch {
			case p.Role == store.PlaceInput:
				others = append(others, fileAt(p))
			case p.Role == store.PlaceOutside:
				others = append(others, from(p.From))
			}
		}
	}
	if u.Stage != "" && pipeline != "" {
		return t.made(named(pipeline, t.stageOf(u)), u.Name), nil
	}
	if maker := t.actions[u.By]; maker != nil {
		for _, out := range maker.Outputs {
			if out.Digest == u.Digest {
				return t.made(named(maker.Pipeline, maker.Stage), out.Name), others
			}
		}
	}
	if len(others) > 0 {
		return Dataset{Namespace: others[0].Namespace, Name: others[0].Name}, others[1:]
	}
	return Dataset{Namespace: t.o.Namespace, Name: u.Digest.String()}, nil
}

// stageOf names the stage that made an input, as it is called in the run that is told of.
func (t *teller) stageOf(u engine.LineageUse) string {
	name := ""
	for i := range t.doc.Stages {
		switch st := &t.doc.Stages[i]; {
		case st.Name == u.Stage:
			return u.Stage
		case st.Key == u.By:
			name = st.Name
		}
	}
	if name != "" {
		return name
	}
	return u.Stage
}

func fileAt(p engine.LineagePlace) identifier {
	return identifier{"file", path.Join(p.Project, p.Path), "FILE"}
}

// from names data by its URL, or by the reference in a container registry.
func from(where string) identifier {
	if u, err := url.Parse(where); err == nil && u.Host != "" {
		return identifier{u.Scheme + "://" + u.Host, u.Path, "URL"}
	}
	host, name, _ := strings.Cut(where, "/")
	return identifier{"oci://" + host, name, "OCI"}
}
