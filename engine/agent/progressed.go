package agent

import (
	"context"
	"errors"
	"net/http"

	"plumb/engine"
	"plumb/engine/event"
)

// progressed is one line of an answer that takes time: what happens meanwhile, then the
// document.
type progressed[Doc any] struct {
	Event *event.Event `json:"event,omitempty"`
	Doc   *Doc         `json:"doc,omitempty"`
}

// telling serves a call that tells how far it is. It ends with its client.
func telling[Req, Doc any](f func(context.Context, Req, func(event.Event)) (*Doc, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var req Req
		if err := read(w, r, &req); err != nil {
			reply(w, nil, err)
			return
		}
		out := newLines(w, func(l progressed[Doc]) bool { return l.Event != nil && optionalEvent(*l.Event) })
		doc, err := f(r.Context(), req, func(e event.Event) { out.send(progressed[Doc]{Event: &e}) })
		if err == nil {
			out.send(progressed[Doc]{Doc: doc})
		}
		out.finish(err)
	}
}

// listen makes such a call.
func listen[Doc any](ctx context.Context, c *Client, verb string, req any, emit func(event.Event)) (*Doc, error) {
	var doc *Doc
	err := stream(ctx, c, verb, req, nil, func(l progressed[Doc]) {
		switch {
		case l.Event != nil:
			emit(*l.Event)
		case l.Doc != nil:
			doc = l.Doc
		}
	})
	if err == nil && doc == nil {
		err = ErrGone
	}
	if err != nil && ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = &engine.Error{Kind: engine.Interrupted, Message: "canceled"}
	}
	return doc, err
}

// Lock implements engine.API.
func (c *Client) Lock(ctx context.Context, r engine.LockRequest, emit func(event.Event)) (*engine.LockDoc, error) {
	return listen[engine.LockDoc](ctx, c, "lock", r, emit)
}

// Fsck implements engine.API.
func (c *Client) Fsck(ctx context.Context, r engine.FsckRequest, emit func(event.Event)) (*engine.FsckDoc, error) {
	return listen[engine.FsckDoc](ctx, c, "fsck", r, emit)
}

// Restore implements engine.API.
func (c *Client) Restore(ctx context.Context, r engine.RestoreRequest, emit func(event.Event)) (*engine.RestoreDoc, error) {
	return listen[engine.RestoreDoc](ctx, c, "restore", r, emit)
}

// Images implements engine.API.
func (c *Client) Images(ctx context.Context, r engine.ImagesRequest) (*engine.ImagesDoc, error) {
	return call[engine.ImagesDoc](ctx, c, "images", r)
}

// RemoveImages implements engine.API.
func (c *Client) RemoveImages(ctx context.Context, r engine.ImagesRequest) (*engine.ImagesDoc, error) {
	return call[engine.ImagesDoc](ctx, c, "images/remove", r)
}

// ShowImage implements engine.API.
func (c *Client) ShowImage(ctx context.Context, r engine.ImageRequest, emit func(event.Event)) (*engine.ImageDoc, error) {
	return listen[engine.ImageDoc](ctx, c, "images/show", r, emit)
}

// DiffImages implements engine.API.
func (c *Client) DiffImages(ctx context.Context, r engine.ImageDiffRequest, emit func(event.Event)) (*engine.ImageDiffDoc, error) {
	return listen[engine.ImageDiffDoc](ctx, c, "images/diff", r, emit)
}

// ExportImage implements engine.API.
func (c *Client) ExportImage(ctx context.Context, r engine.ImageExportRequest, emit func(event.Event)) (*engine.ImageExportDoc, error) {
	return listen[engine.ImageExportDoc](ctx, c, "images/export", r, emit)
}
