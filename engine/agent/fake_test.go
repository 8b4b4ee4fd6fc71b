package agent

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"time"

	"plumb/engine"
	"plumb/engine/event"
	"plumb/engine/runtime"
	"plumb/store"
)

// fake answers each call with what shows that the request arrived, or with err.
// Run and Logs do what the test says.
type fake struct {
	err  error
	run  func(ctx context.Context, req engine.RunRequest, emit func(event.Event)) error
	logs func(ctx context.Context, req engine.LogsRequest, emit func(engine.LogLine)) error
}

var _ engine.API = (*fake)(nil)

func answerOf[Doc any](f *fake, doc Doc) (*Doc, error) {
	if f.err != nil {
		return nil, f.err
	}
	return &doc, nil
}

func (f *fake) Plan(_ context.Context, r engine.Request) (*engine.PlanDoc, error) {
	return answerOf(f, engine.PlanDoc{Pipeline: r.Project.Dir, Hits: len(r.Targets)})
}

// Shell reads what the client typed, and prints it as it came.
func (f *fake) Shell(ctx context.Context, r engine.ShellRequest, s runtime.Streams, emit func(event.Event)) (*engine.ShellDoc, error) {
	emit(event.Event{Type: event.ShellOpened, Stage: r.Stage})
	if s.Console != nil {
		_, err := s.Console.WriteString("console")
		return &engine.ShellDoc{Stage: r.Stage}, err
	}
	typed, err := io.ReadAll(s.Files[0])
	if err == nil {
		_, err = s.Files[1].Write(typed)
	}
	if r.Fresh { // stays until its client is gone
		<-ctx.Done()
		_, err = s.Files[2].WriteString("gone")
	}
	return &engine.ShellDoc{Stage: r.Stage, ExitCode: 7}, err
}

func (f *fake) Why(_ context.Context, r engine.WhyRequest) (*engine.WhyDoc, error) {
	return answerOf(f, engine.WhyDoc{Stage: r.Stage, OldRun: store.RunID(r.RunA)})
}

func (f *fake) Diff(_ context.Context, r engine.DiffRequest) (*engine.DiffDoc, error) {
	return answerOf(f, engine.DiffDoc{A: engine.DiffRun{Run: store.RunID(r.A)}, B: engine.DiffRun{Run: store.RunID(r.B)}})
}

func (f *fake) Runs(_ context.Context, r engine.RunsRequest) (*engine.RunsDoc, error) {
	return answerOf(f, engine.RunsDoc{Runs: make([]engine.RunRow, max(0, min(r.Limit, 100)))})
}

func (f *fake) Compare(_ context.Context, r engine.CompareRequest) (*engine.CompareDoc, error) {
	return answerOf(f, engine.CompareDoc{Same: len(r.Names)})
}

func (f *fake) Annotate(_ context.Context, r engine.AnnotateRequest) (*engine.AnnotateDoc, error) {
	return answerOf(f, engine.AnnotateDoc{Run: store.RunID(r.Run), Annotation: store.Annotation{Note: *r.Note, Tags: r.Tags}})
}

func (f *fake) Show(_ context.Context, r engine.ShowRequest) (*engine.ShowDoc, error) {
	return answerOf(f, engine.ShowDoc{Schema: engine.Schema, Run: store.Run{ID: store.RunID(r.Run)}, Stages: []engine.ShownStage{{Name: r.Dir}}})
}

func (f *fake) Get(_ context.Context, r engine.GetRequest) (*engine.GetDoc, error) {
	return answerOf(f, engine.GetDoc{Name: r.Name, Path: r.Path})
}

func (f *fake) Lock(_ context.Context, req engine.LockRequest, emit func(event.Event)) (*engine.LockDoc, error) {
	for n := range int64(3) {
		emit(event.Event{Type: event.Progress, Message: "image x", Done: n, Total: 3})
	}
	if req.Check {
		return nil, &engine.Error{Kind: engine.Differs, Message: "moved"}
	}
	return &engine.LockDoc{Path: req.Project.Dir, Written: true}, nil
}

func (f *fake) Images(context.Context, engine.ImagesRequest) (*engine.ImagesDoc, error) {
	return &engine.ImagesDoc{}, nil
}

func (f *fake) RemoveImages(_ context.Context, r engine.ImagesRequest) (*engine.ImagesDoc, error) {
	return &engine.ImagesDoc{Schema: len(r.Names)}, nil
}

func (f *fake) ShowImage(ctx context.Context, _ engine.ImageRequest, _ func(event.Event)) (*engine.ImageDoc, error) {
	<-ctx.Done() // takes until the client gives up
	return nil, ctx.Err()
}

func (f *fake) DiffImages(context.Context, engine.ImageDiffRequest, func(event.Event)) (*engine.ImageDiffDoc, error) {
	return &engine.ImageDiffDoc{}, nil
}

func (f *fake) ExportImage(context.Context, engine.ImageExportRequest, func(event.Event)) (*engine.ImageExportDoc, error) {
	return &engine.ImageExportDoc{}, nil
}

func (f *fake) Lineage(_ context.Context, r engine.LineageRequest) (*engine.LineageDoc, error) {
	return answerOf(f, engine.LineageDoc{Of: engine.LineageOf{Name: r.Name}})
}

func (f *fake) Restore(_ context.Context, r engine.RestoreRequest, emit func(event.Event)) (*engine.RestoreDoc, error) {
	emit(event.Event{Type: event.Progress, Message: "restoring", Done: 1, Total: 2})
	return answerOf(f, engine.RestoreDoc{To: r.To})
}

func (f *fake) GC(_ context.Context, r engine.GCRequest) (*engine.GCDoc, error) {
	return answerOf(f, engine.GCDoc{Schema: r.KeepRuns})
}

func (f *fake) Fsck(_ context.Context, r engine.FsckRequest, emit func(event.Event)) (*engine.FsckDoc, error) {
	emit(event.Event{Type: event.Progress, Message: "reading the store", Done: 1, Total: 2})
	return answerOf(f, engine.FsckDoc{Schema: 1, FsckReport: store.FsckReport{Repair: r.Repair, OK: true}})
}

func (f *fake) Run(ctx context.Context, r engine.RunRequest, emit func(event.Event)) error {
	return f.run(ctx, r, emit)
}

func (f *fake) Logs(ctx context.Context, r engine.LogsRequest, emit func(engine.LogLine)) error {
	return f.logs(ctx, r, emit)
}

// errInterrupted is what the engine gives for a run that was canceled.
var errInterrupted = &engine.Error{Kind: engine.Interrupted, Message: "the run was canceled"}

// held is a run that goes on until it is let go or canceled, and then still has
// something to tell.
type held struct {
	began    chan struct{}
	letGo    chan struct{}
	canceled chan struct{}
}

func newHeld() *held {
	return &held{began: make(chan struct{}), letGo: make(chan struct{}), canceled: make(chan struct{})}
}

func (h *held) run(ctx context.Context, _ engine.RunRequest, emit func(event.Event)) error {
	emit(event.Event{Type: event.RunStarted, Run: "r1"})
	close(h.began)
	select {
	case <-h.letGo:
		emit(event.Event{Type: event.RunFinished, Status: "succeeded"})
		return nil
	case <-ctx.Done():
		close(h.canceled)
		emit(event.Event{Type: event.RunFinished, Status: "canceled"})
		return errInterrupted
	}
}

// tooLong is when a test gives up on what should have happened at once.
const tooLong = 10 * time.Second

func await[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(tooLong):
		t.Fatalf("%s: nothing came", what)
		panic("not reached")
	}
}

// rig is an agent over a real socket, with a client.
type rig struct {
	t      *testing.T
	dir    string
	client *Client
	status *Status
	stop   context.CancelFunc
	served chan error
}

func newRig(t *testing.T, api engine.API, opts Options) *rig {
	t.Helper()
	r := serveRig(t, api, opts)
	var err error
	if r.client, r.status, err = Dial(t.Context(), r.dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.client.Close)
	return r
}

// serveRig is newRig without the client.
func serveRig(t *testing.T, api engine.API, opts Options) *rig {
	t.Helper()
	if opts.Dir == "" {
		opts.Dir = t.TempDir()
	}
	opts.Logger = slog.New(slog.DiscardHandler)
	ctx, stop := context.WithCancel(context.Background())
	r := &rig{t: t, dir: opts.Dir, stop: stop, served: make(chan error, 1)}
	ready := make(chan struct{})
	go func() {
		defer close(r.served)
		r.served <- NewServer(api, opts).Serve(ctx, func() { close(ready) })
	}()
	t.Cleanup(func() {
		stop()
		r.ended()
	})
	select {
	case <-ready:
	case err := <-r.served:
		t.Fatalf("serving: %v", err)
	}
	return r
}

// ended waits until Serve has returned and gives its error, once.
func (r *rig) ended() error {
	r.t.Helper()
	return await(r.t, r.served, "the agent's end")
}

// told is what a client got of a run.
type told struct {
	events []event.Event
	err    error
}

// runs starts a run and gives what came of it.
func (r *rig) runs(ctx context.Context, req engine.RunRequest) <-chan told {
	out := make(chan told, 1)
	go func() {
		var got told
		got.err = r.client.Run(ctx, req, func(e event.Event) { got.events = append(got.events, e) })
		out <- got
	}()
	return out
}

// wantKind checks the kind and the text of what the engine's own error became.
func wantKind(t *testing.T, err error, kind engine.ErrorKind, message string) {
	t.Helper()
	var e *engine.Error
	if !errors.As(err, &e) || e.Kind != kind || e.Message != message {
		t.Errorf("the error is %#v, not %s: %s", err, kind, message)
	}
}
