package openlineage

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"plumb/engine"
	"plumb/store"
)

// schemas are those of the specification, as it publishes them.
type schemas struct {
	event  *jsonschema.Schema
	facets []*jsonschema.Schema // each looks at its own property
}

func loadSchemas(t *testing.T) *schemas {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	paths, err := filepath.Glob("testdata/spec/*.json")
	if err != nil || len(paths) < 10 {
		t.Fatal(paths, err)
	}
	var ids []string
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		id := doc.(map[string]any)["$id"].(string)
		if err := c.AddResource(id, doc); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	s := &schemas{event: c.MustCompile(spec + "2-0-2/OpenLineage.json#/$defs/RunEvent")}
	for _, id := range ids {
		if !strings.HasSuffix(id, "/OpenLineage.json") {
			s.facets = append(s.facets, c.MustCompile(id))
		}
	}
	return s
}

// check holds one event, as it is sent, against the schema of events, and all facets in it
// against those of facets.
func (s *schemas) check(t *testing.T, line []byte) {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(line))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.event.Validate(v); err != nil {
		t.Errorf("%v\n%s", err, line)
	}
	var facets func(v any)
	facets = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for name, inner := range v {
				if strings.HasSuffix(strings.ToLower(name), "facets") {
					for _, f := range s.facets {
						if err := f.Validate(inner); err != nil {
							t.Errorf("%v\n%s", err, line)
						}
					}
				}
				facets(inner)
			}
		case []any:
			for _, inner := range v {
				facets(inner)
			}
		}
	}
	facets(v)
}

func digest(text string) store.Digest { return store.Sum([]byte(text)) }

// wine is a run of four stages: one cached, one that ran, one that failed, one skipped.
func wine() *engine.LineageDoc {
	at := time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
	seed := int64(7)
	use := func(name, path string) engine.LineageUse {
		return engine.LineageUse{Name: name, Path: path, Digest: digest(path)}
	}
	by := func(path, stage string) engine.LineageUse {
		return engine.LineageUse{Path: path, Digest: digest(path), By: store.Key(digest(stage))}
	}
	place := func(role store.PlaceRole, path, from string) []engine.LineagePlace {
		return []engine.LineagePlace{{Run: "20261124-090000-aaaa", Project: "/home/ada/wine", Place: store.Place{Path: path, Role: role, From: from}}}
	}
	return &engine.LineageDoc{
		Schema: 1, Of: engine.LineageOf{Kind: "run"},
		Run: &store.Run{ID: "20261124-090000-aaaa", Project: "/home/ada/wine", Pipeline: "wine", Status: "failed", Started: at, Seconds: 3, Version: "0.1.0"},
		Stages: []engine.LineageStage{
			{Name: "clean", Status: "cached", Key: store.Key(digest("clean")), MadeBy: "20261120-090000-aaaa"},
			{Name: "train", Status: "ran", Key: store.Key(digest("train")), Started: at.Add(time.Second), Seconds: 1.5},
			{Name: "eval", Status: "failed", Key: store.Key(digest("eval")), Error: "exit status 3", Started: at.Add(2 * time.Second)},
			{Name: "deploy", Status: "skipped"},
		},
		Actions: []engine.LineageAction{
			{
				Key: store.Key(digest("clean")), Stage: "clean", Run: "20261120-090000-aaaa", Pipeline: "wine", Created: at.AddDate(0, 0, -4), Command: []string{"clean"},
				Inputs: []engine.LineageUse{use("", "raw.csv"), use("", "web.csv"), use("", "lost.csv")}, Outputs: []engine.LineageUse{use("csv", "clean.csv")},
			},
			{
				Key: store.Key(digest("train")), Stage: "train", Run: "20261124-090000-aaaa", Pipeline: "wine", Created: at.Add(2500 * time.Millisecond), Seed: &seed,
				Command: []string{"/bin/sh", "-eu", "-c", "python train.py"}, Params: []engine.LineageText{{Name: "lr", Value: "0.1"}},
				Inputs: []engine.LineageUse{by("clean.csv", "clean")}, Outputs: []engine.LineageUse{use("model", "model.bin")},
			},
			{Key: store.Key(digest("eval")), Stage: "eval", Run: "20261124-090000-aaaa", Pipeline: "wine", Failed: true, Inputs: []engine.LineageUse{by("model.bin", "train")}},
			{Key: store.Key(digest("other")), Stage: "use", Run: "20261125-090000-aaaa", Pipeline: "shop", Created: at.AddDate(0, 0, 1), Inputs: []engine.LineageUse{by("model.bin", "train")}},
		},
		Artifacts: []engine.LineageArtifact{
			{Digest: digest("raw.csv"), Size: 12, Places: place(store.PlaceInput, "data/raw.csv", "")},
			{Digest: digest("web.csv"), Places: place(store.PlaceOutside, "web.csv", "https://data.example.org/v1/web.csv")},
			{Digest: digest("clean.csv"), Size: 10, MadeBy: store.Key(digest("clean"))},
			{Digest: digest("model.bin"), Size: 99, MadeBy: store.Key(digest("train")), Places: place(store.PlaceExport, "models/model.bin", "")},
		},
	}
}

var options = Options{Namespace: "plumb", Version: "0.1.0"}

func TestEventsFitTheSpecification(t *testing.T) {
	s := loadSchemas(t)
	var b bytes.Buffer
	if err := Write(&b, Events(wine(), options)); err != nil {
		t.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSpace(b.Bytes()), []byte("\n"))
	if len(lines) != 2+3*2+2 {
		t.Fatalf("%d events", len(lines))
	}
	for _, line := range lines {
		s.check(t, line)
	}
}

// TestSchemasRefuse makes sure that the schemas look at what they should: each mistake is
// one that they must find.
func TestSchemasRefuse(t *testing.T) {
	s := loadSchemas(t)
	for name, spoil := range map[string]func(e map[string]any){
		"no run":           func(e map[string]any) { delete(e, "run") },
		"a run id":         func(e map[string]any) { e["run"].(map[string]any)["runId"] = "one" },
		"an event type":    func(e map[string]any) { e["eventType"] = "DONE" },
		"a time":           func(e map[string]any) { e["eventTime"] = "yesterday" },
		"a bare facet":     func(e map[string]any) { e["job"].(map[string]any)["facets"] = map[string]any{"x": map[string]any{}} },
		"a dataset's name": func(e map[string]any) { delete(e["outputs"].([]any)[0].(map[string]any), "name") },
	} {
		b, err := json.Marshal(Events(wine(), options)[4])
		if err != nil {
			t.Fatal(err)
		}
		var e map[string]any
		if err := json.Unmarshal(b, &e); err != nil {
			t.Fatal(err)
		}
		spoil(e)
		if s.event.Validate(e) == nil {
			t.Errorf("%s: nothing is found", name)
		}
	}
}

func TestEvents(t *testing.T) {
	var got []string
	for _, e := range Events(wine(), options) {
		line := e.EventType + " " + e.Job.Name
		for _, d := range e.Inputs {
			line += " <" + d.Namespace + " " + d.Name
		}
		for _, d := range e.Outputs {
			line += " >" + d.Namespace + " " + d.Name
		}
		got = append(got, line)
	}
	want := []string{
		"START wine",
		"START wine/clean",
		"COMPLETE wine/clean <file /home/ada/wine/data/raw.csv <https://data.example.org /v1/web.csv <plumb " + digest("lost.csv").String() + " >plumb wine/clean.csv",
		"START wine/train", "COMPLETE wine/train <plumb wine/clean.csv >plumb wine/train.model",
		"START wine/eval", "FAIL wine/eval <plumb wine/train.model",
		"FAIL wine",
		"START shop/use", "COMPLETE shop/use <plumb wine/train.model",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	o := options
	o.Own = true
	if n := len(Events(wine(), o)); n != 8 {
		t.Errorf("%d events of the run alone", n)
	}
}

// Data is named after the stages of the run that is told of, whatever they were called when
// their results were made, and after the output that was read when another has its bytes.
func TestEventsNameDataAsTheRunDoes(t *testing.T) {
	clean, same := store.Key(digest("clean")), digest("clean.csv")
	doc := &engine.LineageDoc{
		Run: &store.Run{ID: "20261124-090000-aaaa", Project: "/home/ada/wine", Pipeline: "wine", Status: "succeeded"},
		Stages: []engine.LineageStage{
			{Name: "tidy", Status: "cached", Key: clean, MadeBy: "20261120-090000-aaaa"},
			{Name: "train", Status: "ran", Key: store.Key(digest("train"))},
		},
		Actions: []engine.LineageAction{
			{
				Key: clean, Stage: "clean", Run: "20261120-090000-aaaa", Project: "/home/ada/old", Pipeline: "old",
				Inputs: []engine.LineageUse{{Path: "raw.csv", Digest: same}}, Outputs: []engine.LineageUse{{Name: "a", Path: "a.csv", Digest: same}, {Name: "b", Path: "b.csv", Digest: same}},
			},
			{
				Key: store.Key(digest("train")), Stage: "train", Run: "20261124-090000-aaaa", Project: "/home/ada/wine", Pipeline: "wine",
				Inputs: []engine.LineageUse{{Path: "b.csv", Digest: same, Stage: "clean", Name: "b", By: clean}, {Path: "raw.csv", Digest: same}},
			},
		},
		Artifacts: []engine.LineageArtifact{
			{Digest: same, Places: []engine.LineagePlace{{Run: "20261124-090000-aaaa", Project: "/home/ada/wine", Place: store.Place{Path: "raw.csv", Role: store.PlaceInput}}}},
			{Digest: same, MadeBy: clean, Places: []engine.LineagePlace{{Run: "20261124-090000-aaaa", Project: "/home/ada/wine", Place: store.Place{Path: "out.csv", Role: store.PlaceExport, Stage: "tidy", Output: "b"}}}},
		},
	}
	var got []string
	for _, e := range Events(doc, options) {
		for _, d := range e.Inputs {
			got = append(got, e.Job.Name+" < "+d.Name)
		}
		for _, d := range e.Outputs {
			line := e.Job.Name + " > " + d.Name
			if also, ok := d.Facets["symlinks"].(symlinksFacet); ok {
				line += " = " + also.Identifiers[0].Name
			}
			got = append(got, line)
		}
	}
	want := []string{
		"wine/tidy < /home/ada/wine/raw.csv", "wine/tidy > wine/tidy.a", "wine/tidy > wine/tidy.b = /home/ada/wine/out.csv",
		"wine/train < wine/tidy.b", "wine/train < /home/ada/wine/raw.csv",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestIDsAreAlwaysTheSame(t *testing.T) {
	for _, c := range []struct {
		parts []string
		want  string
	}{
		{[]string{"20261124-090000-aaaa"}, "99b63c52-9e53-5065-8ee9-8a31711eb23d"},
		{[]string{"20261124-090000-aaaa", "train"}, "ee058bfb-1988-5cf7-ae63-3271fff5aa26"},
	} {
		if got := idOf(c.parts...); got != c.want {
			t.Errorf("%q has the id %s and had %s", c.parts, got, c.want)
		}
	}
	if idOf("a", "b") == idOf("ab") || idOf("a", "b") == idOf("a") {
		t.Error("two runs have one id")
	}
	// A stage that is told of from elsewhere is the one that its own run told of.
	doc := wine()
	own := Events(doc, options)[4].Run.ID
	doc.Run, doc.Stages = nil, nil
	if other := Events(doc, options)[3].Run.ID; other != own {
		t.Errorf("%s and %s", own, other)
	}
}

func TestSend(t *testing.T) {
	type call struct{ path, auth, kind string }
	var calls []call
	status := http.StatusCreated
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var e Event
		b, err := io.ReadAll(r.Body)
		if err == nil {
			err = json.Unmarshal(b, &e)
		}
		if err != nil {
			t.Error(err)
		}
		calls = append(calls, call{r.URL.Path, r.Header.Get("Authorization"), e.EventType + " " + e.Job.Name})
		w.WriteHeader(status)
		fmt.Fprint(w, "what it says")
	}))
	defer server.Close()
	env := map[string]string{"OPENLINEAGE_URL": server.URL + "/", "OPENLINEAGE_API_KEY": "hidden-key"}
	s, err := ServerOf(func(n string) string { return env[n] })
	if err != nil {
		t.Fatal(err)
	}
	events := Events(wine(), options)
	if err := s.Send(t.Context(), events[:2]); err != nil {
		t.Fatal(err)
	}
	want := []call{{"/api/v1/lineage", "Bearer hidden-key", "START wine"}, {"/api/v1/lineage", "Bearer hidden-key", "START wine/clean"}}
	if d := cmp.Diff(want, calls, cmp.AllowUnexported(call{})); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	status, calls = http.StatusForbidden, nil
	err = s.Send(t.Context(), events)
	if err == nil || !strings.Contains(err.Error(), "sending event 1 of 10 to OpenLineage: the server answers 403 Forbidden: what it says") || strings.Contains(err.Error(), "hidden") || len(calls) != 1 {
		t.Errorf("after %d calls: %v", len(calls), err)
	}
	server.Close()
	if err := s.Send(t.Context(), events); err == nil || strings.Contains(err.Error(), "hidden") {
		t.Errorf("of a server that is gone: %v", err)
	}
}

// TestSendNamesNoSecret looks for what of an address may be secret, in all that can go
// wrong: a server that is gone, one that refuses and repeats what it was sent, and one
// that does not answer.
func TestSendNamesNoSecret(t *testing.T) {
	repeats := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, "no entry\r\nwith ", r.Header.Get("Authorization"))
	}))
	defer repeats.Close()
	gone := httptest.NewServer(nil)
	gone.Close()
	for name, server := range map[string]string{"refuses": repeats.URL, "gone": gone.URL} {
		for _, address := range []string{strings.Replace(server, "://", "://hidden-name@", 1), strings.Replace(server, "://", "://user:hidden-word@", 1), server + "?api_key=hidden-query"} {
			env := map[string]string{"OPENLINEAGE_URL": address, "OPENLINEAGE_API_KEY": "hidden-key"}
			s, err := ServerOf(func(n string) string { return env[n] })
			if err != nil {
				t.Fatal(err)
			}
			err = s.Send(t.Context(), Events(wine(), options))
			if err == nil || strings.Contains(err.Error(), "hidden") || strings.ContainsAny(err.Error(), "\r\n") {
				t.Errorf("%s, %s: %q", name, address, err)
			}
		}
	}
}

// TestSendDoesNotFollow is that an event that is sent elsewhere is not taken for done, and
// that the key does not go there.
func TestSendDoesNotFollow(t *testing.T) {
	var elsewhere int
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere++ }))
	defer other.Close()
	for _, status := range []int{http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL+"/new?api_key=hidden-query", status)
		}))
		env := map[string]string{"OPENLINEAGE_URL": server.URL, "OPENLINEAGE_API_KEY": "hidden-key"}
		s, err := ServerOf(func(n string) string { return env[n] })
		if err != nil {
			t.Fatal(err)
		}
		err = s.Send(t.Context(), Events(wine(), options))
		if err == nil || !strings.Contains(err.Error(), http.StatusText(status)) || !strings.Contains(err.Error(), other.URL+"/new: set OPENLINEAGE_URL") || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%d: %v", status, err)
		}
		server.Close()
	}
	if elsewhere > 0 {
		t.Errorf("the other server was asked %d times", elsewhere)
	}
}

func TestServerOf(t *testing.T) {
	for _, c := range []struct {
		name string
		env  map[string]string
		url  string
		fail bool
	}{
		{"none", nil, "", false},
		{"an endpoint", map[string]string{"OPENLINEAGE_URL": "http://127.0.0.1:5000/base", "OPENLINEAGE_ENDPOINT": "/x/y"}, "http://127.0.0.1:5000/base/x/y", false},
		{"no address", map[string]string{"OPENLINEAGE_URL": "marquez:5000"}, "", true},
		{"another scheme", map[string]string{"OPENLINEAGE_URL": "file:///tmp/x"}, "", true},
	} {
		s, err := ServerOf(func(n string) string { return c.env[n] })
		if (err != nil) != c.fail {
			t.Errorf("%s: %v", c.name, err)
		}
		if s == nil && c.url != "" || s != nil && s.url != c.url {
			t.Errorf("%s: %+v", c.name, s)
		}
	}
}
