package agent

import (
	"context"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"plumb/engine"
	"plumb/engine/event"
	"plumb/hcl"
	"plumb/store"
)

// verbs is each call that gives one document, and the document that fake gives.
var verbs = []struct {
	name string
	call func(ctx context.Context, c engine.API) (any, error)
	want any
}{
	{"plan", func(ctx context.Context, c engine.API) (any, error) {
		return c.Plan(ctx, engine.Request{Project: engine.Project{Dir: "/p"}, Targets: []string{"a", "b"}})
	}, &engine.PlanDoc{Pipeline: "/p", Hits: 2}},
	{"why", func(ctx context.Context, c engine.API) (any, error) {
		return c.Why(ctx, engine.WhyRequest{Stage: "a", RunA: "r1"})
	}, &engine.WhyDoc{Stage: "a", OldRun: "r1"}},
	{"diff", func(ctx context.Context, c engine.API) (any, error) {
		return c.Diff(ctx, engine.DiffRequest{A: "r1", B: "r2"})
	}, &engine.DiffDoc{A: engine.DiffRun{Run: "r1"}, B: engine.DiffRun{Run: "r2"}}},
	{"runs", func(ctx context.Context, c engine.API) (any, error) {
		return c.Runs(ctx, engine.RunsRequest{Limit: 3})
	}, &engine.RunsDoc{Runs: make([]engine.RunRow, 3)}},
	{"compare", func(ctx context.Context, c engine.API) (any, error) {
		return c.Compare(ctx, engine.CompareRequest{Names: []string{"a", "b"}})
	}, &engine.CompareDoc{Same: 2}},
	{"annotate", func(ctx context.Context, c engine.API) (any, error) {
		none := ""
		return c.Annotate(ctx, engine.AnnotateRequest{Run: "r1", Tags: []string{"v1"}, Note: &none})
	}, &engine.AnnotateDoc{Run: "r1", Annotation: store.Annotation{Tags: []string{"v1"}}}},
	{"show", func(ctx context.Context, c engine.API) (any, error) {
		return c.Show(ctx, engine.ShowRequest{Dir: "/p", Run: "r1"})
	}, &engine.ShowDoc{Schema: engine.Schema, Run: store.Run{ID: "r1"}, Stages: []engine.ShownStage{{Name: "/p"}}}},
	{"get", func(ctx context.Context, c engine.API) (any, error) {
		return c.Get(ctx, engine.GetRequest{Name: "a.out", Path: "/x"})
	}, &engine.GetDoc{Name: "a.out", Path: "/x"}},
	{"lineage", func(ctx context.Context, c engine.API) (any, error) {
		return c.Lineage(ctx, engine.LineageRequest{Name: "r1"})
	}, &engine.LineageDoc{Of: engine.LineageOf{Name: "r1"}}},
	{"restore", func(ctx context.Context, c engine.API) (any, error) {
		return c.Restore(ctx, engine.RestoreRequest{To: "/to"}, func(event.Event) {})
	}, &engine.RestoreDoc{To: "/to"}},
	{"gc", func(ctx context.Context, c engine.API) (any, error) {
		return c.GC(ctx, engine.GCRequest{KeepRuns: 7})
	}, &engine.GCDoc{Schema: 7}},
	{"fsck", func(ctx context.Context, c engine.API) (any, error) {
		return c.Fsck(ctx, engine.FsckRequest{Repair: true}, func(event.Event) {})
	}, &engine.FsckDoc{Schema: 1, FsckReport: store.FsckReport{Repair: true, OK: true}}},
}

func TestCall(t *testing.T) {
	r := newRig(t, &fake{}, Options{})
	for _, v := range verbs {
		t.Run(v.name, func(t *testing.T) {
			got, err := v.call(t.Context(), r.client)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(v.want, got); d != "" {
				t.Errorf("document (-want +got):\n%s", d)
			}
		})
	}
}

// An error is the same on both sides of the socket, whatever was asked.
func TestErrors(t *testing.T) {
	diags := hcl.Diagnostics{{
		Severity: hcl.SeverityError, Summary: "Unknown stage", Detail: "There is no stage \"trian\".", Hint: `did you mean "train"?`,
		Context: `stage "eval"`, Snippet: `inputs = [stage.trian.out]`,
		Subject: hcl.Range{File: "plumb.hcl", Start: hcl.Pos{Line: 3, Column: 5, Byte: 40}, End: hcl.Pos{Line: 3, Column: 10, Byte: 45}},
	}}
	tests := []struct {
		name string
		give error
		want *engine.Error
	}{
		{"typed", &engine.Error{Kind: engine.Differs, Message: "the lock differs", Hint: "run without --locked"}, &engine.Error{Kind: engine.Differs, Message: "the lock differs", Hint: "run without --locked"}},
		{"diagnostics", diags, &engine.Error{Kind: engine.Invalid, Diagnostics: diags}},
		{"unclassified", errors.New("disk full"), &engine.Error{Kind: engine.Machine, Message: "disk full"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, &fake{
				err:  tt.give,
				run:  func(context.Context, engine.RunRequest, func(event.Event)) error { return tt.give },
				logs: func(context.Context, engine.LogsRequest, func(engine.LogLine)) error { return tt.give },
			}, Options{})
			check := func(verb string, err error) {
				t.Helper()
				var got *engine.Error
				if !errors.As(err, &got) {
					t.Fatalf("%s gives %v", verb, err)
				}
				if d := cmp.Diff(tt.want, got); d != "" {
					t.Errorf("error of %s (-want +got):\n%s", verb, d)
				}
			}
			for _, v := range verbs {
				_, err := v.call(t.Context(), r.client)
				check(v.name, err)
			}
			nothing := func(event.Event) { t.Error("an event came") }
			check("run", r.client.Run(t.Context(), engine.RunRequest{}, nothing))
			check("run --detach", r.client.Run(t.Context(), engine.RunRequest{Detach: true}, nothing))
			check("logs", r.client.Logs(t.Context(), engine.LogsRequest{}, func(engine.LogLine) {}))
		})
	}
}

// Events come in order and none is left out, in bursts too.
func TestRunTellsInOrder(t *testing.T) {
	const many = 5000
	var asked engine.RunRequest
	r := newRig(t, &fake{run: func(_ context.Context, req engine.RunRequest, emit func(event.Event)) error {
		asked = req
		for i := range many {
			emit(event.Event{Type: event.StageLog, Stage: "a", Line: "<é>\n\x00", Number: i})
		}
		return nil
	}}, Options{})
	req := engine.RunRequest{Request: engine.Request{Force: []string{"a"}}, Jobs: 3, KeepGoing: true}
	got := await(t, r.runs(t.Context(), req), "the run's end")
	if got.err != nil || len(got.events) != many {
		t.Fatalf("%d events came, and %v", len(got.events), got.err)
	}
	for i, e := range got.events {
		if e.Number != i || e.Stage != "a" || e.Line != "<é>\n\x00" {
			t.Fatalf("event %d is %+v", i, e)
		}
	}
	if d := cmp.Diff(req, asked); d != "" {
		t.Errorf("request (-want +got):\n%s", d)
	}
}

// What is told is not kept back until there is more of it.
func TestRunTellsAtOnce(t *testing.T) {
	h := newHeld()
	r := newRig(t, &fake{run: h.run}, Options{})
	first, out := make(chan event.Event, 2), make(chan error, 1)
	go func() { out <- r.client.Run(t.Context(), engine.RunRequest{}, func(e event.Event) { first <- e }) }()
	if e := await(t, first, "the first event"); e.Type != event.RunStarted {
		t.Errorf("the first event is %+v", e)
	}
	close(h.letGo)
	if err := await(t, out, "the run's end"); err != nil {
		t.Error(err)
	}
}

func TestLogs(t *testing.T) {
	want := []engine.LogLine{{Stage: "a", Attempt: 1, Line: "one"}, {Stage: "a", Attempt: 2, Line: ""}}
	r := newRig(t, &fake{logs: func(_ context.Context, req engine.LogsRequest, emit func(engine.LogLine)) error {
		if req.Stage != "a" {
			return errors.New("the request did not arrive")
		}
		for _, l := range want {
			emit(l)
		}
		return nil
	}}, Options{})
	var got []engine.LogLine
	if err := r.client.Logs(t.Context(), engine.LogsRequest{Stage: "a"}, func(l engine.LogLine) { got = append(got, l) }); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("lines (-want +got):\n%s", d)
	}
}

func TestCancelTellsTheEnd(t *testing.T) {
	tests := []struct {
		name   string
		before bool // canceled before the run was asked for
	}{{"under way", false}, {"before it began", true}}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHeld()
			r := newRig(t, &fake{run: h.run}, Options{})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if tt.before {
				cancel()
			}
			out := r.runs(ctx, engine.RunRequest{})
			await(t, h.began, "the run's begin")
			cancel()
			got := await(t, out, "the run's end")
			wantKind(t, got.err, errInterrupted.Kind, errInterrupted.Message)
			if d := cmp.Diff([]event.Event{{Type: event.RunStarted, Run: "r1"}, {Type: event.RunFinished, Status: "canceled"}}, got.events); d != "" {
				t.Errorf("events (-want +got):\n%s", d)
			}
		})
	}
}

// A client that is killed cannot ask for anything: its connection just ends.
func TestHangUp(t *testing.T) {
	t.Run("cancels a run", func(t *testing.T) {
		h := newHeld()
		r := newRig(t, &fake{run: h.run}, Options{})
		ctx, hangUp := context.WithCancel(t.Context())
		out := make(chan error, 1)
		go func() { out <- stream(ctx, r.client, "run", engine.RunRequest{}, nil, func(event.Event) {}) }()
		await(t, h.began, "the run's begin")
		hangUp()
		await(t, h.canceled, "the run's cancellation")
		if err := await(t, out, "the call's end"); !errors.Is(err, context.Canceled) {
			t.Errorf("the client got %v", err)
		}
	})
	t.Run("leaves a detached run alone", func(t *testing.T) {
		h := newHeld()
		r := newRig(t, &fake{run: h.run}, Options{})
		got := await(t, r.runs(t.Context(), engine.RunRequest{Detach: true}), "the run's id")
		if d := cmp.Diff(told{events: []event.Event{{Type: event.RunStarted, Run: "r1"}}}, got, cmp.AllowUnexported(told{})); d != "" {
			t.Errorf("told (-want +got):\n%s", d)
		}
		r.client.Close()
		st, err := r.client.Leave(t.Context(), false)
		if err != nil || st.Runs != 1 {
			t.Fatalf("the agent says %+v, %v", st, err)
		}
		select {
		case err := <-r.served:
			t.Fatalf("it left in the middle of a detached run: %v", err)
		case <-h.canceled:
			t.Fatal("the run was canceled")
		case <-time.After(20 * time.Millisecond):
		}
		close(h.letGo)
		r.gone()
	})
	t.Run("but stopping the agent ends a detached run", func(t *testing.T) {
		h := newHeld()
		r := newRig(t, &fake{run: h.run}, Options{})
		if got := await(t, r.runs(t.Context(), engine.RunRequest{Detach: true}), "the run's id"); got.err != nil {
			t.Fatal(got.err)
		}
		r.stop()
		await(t, h.canceled, "the run's cancellation")
		r.gone()
	})
}

func TestRequestsThatCannotBeRead(t *testing.T) {
	r := newRig(t, &fake{}, Options{})
	tests := []struct {
		name, verb string
		req        any
		want       string
	}{
		{"oversized", "why", engine.WhyRequest{Stage: strings.Repeat("x", maxRequest+1<<20)}, "request body too large"},
		{"of another type", "why", []int{1}, "cannot unmarshal array"},
		{"of another type, for a stream", "logs", "x", "cannot unmarshal string"},
		{"run of another type", "run", 1, "cannot unmarshal number"},
		{"leave of another type", "leave", 1, "cannot unmarshal number"},
		{"cancel of another type", "cancel", 1, "cannot unmarshal number"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := call[engine.WhyDoc](t.Context(), r.client, tt.verb, tt.req)
			var e *engine.Error
			if !errors.As(err, &e) || e.Kind != engine.Invalid || !strings.HasPrefix(e.Message, "reading the request: ") || !strings.Contains(e.Message, tt.want) {
				t.Errorf("the answer is %#v", err)
			}
		})
	}
	if _, err := call[bool](t.Context(), r.client, "unheard-of", 1); err == nil || !strings.Contains(err.Error(), `does not know the request "unheard-of"`) {
		t.Errorf("an unknown verb gives %v", err)
	}
	if _, err := r.client.Plan(t.Context(), engine.Request{}); err != nil {
		t.Errorf("after all that, a plan gives %v", err)
	}
}

// broken is an agent that answers a run as the test says.
func broken(t *testing.T, run http.HandlerFunc) *Client {
	t.Helper()
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, socketName))
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/status", func(w http.ResponseWriter, _ *http.Request) { reply(w, Status{}, nil) })
	mux.HandleFunc("POST /v1/", run)
	h := &http.Server{Handler: mux}
	served := make(chan error, 1)
	go func() { served <- h.Serve(l) }()
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	c, _, err := Dial(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestAgentVanishes(t *testing.T) {
	const whole = `{"doc":{"event":"run_started","schema":1}}` + "\n"
	tests := []struct {
		name   string
		sent   string
		abort  bool // the connection breaks; else the answer ends in good form
		events int
		gone   bool
	}{
		{"before it answered", "", true, 0, true},
		{"between two events", whole, true, 1, true},
		{"in the middle of an event", whole + whole[:20], true, 1, true},
		{"with an answer that lacks its end", whole, false, 1, true},
		{"with nothing at all", "", false, 0, true},
		{"not, but talks nonsense", whole + "nonsense\n", false, 1, false},
		{"not, but talks of something else", whole + `{"doc":7}` + "\n", false, 1, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := broken(t, func(w http.ResponseWriter, _ *http.Request) {
				if _, err := w.Write([]byte(tt.sent)); err != nil {
					t.Error(err)
				}
				if !tt.abort {
					return
				}
				if tt.sent != "" {
					w.(http.Flusher).Flush()
				}
				panic(http.ErrAbortHandler)
			})
			events := 0
			err := c.Run(t.Context(), engine.RunRequest{}, func(event.Event) { events++ })
			if err == nil || errors.Is(err, ErrGone) != tt.gone || events != tt.events {
				t.Errorf("%s events, and %v", strconv.Itoa(events), err)
			}
			if _, err := c.Plan(t.Context(), engine.Request{}); tt.sent == "" && !errors.Is(err, ErrGone) {
				t.Errorf("a plan gives %v", err)
			}
		})
	}
}

func TestDialNobody(t *testing.T) {
	if _, st, err := Dial(t.Context(), t.TempDir()); !errors.Is(err, ErrGone) {
		t.Errorf("dialing gives %+v, %v", st, err)
	}
}
