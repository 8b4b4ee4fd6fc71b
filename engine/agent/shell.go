package agent

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"

	"plumb/engine"
	"plumb/engine/event"
	"plumb/engine/runtime"
)

// handleShell runs a command with the files that came with the request: three, or the
// one that a terminal is to be sent through. It ends with its client.
func (s *Server) handleShell(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	leaving := s.leaving
	s.mu.Unlock()
	if leaving {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	var streams runtime.Streams
	conn, _ := r.Context().Value(passingKey{}).(*passing)
	serve := telling(func(ctx context.Context, req engine.ShellRequest, emit func(event.Event)) (*engine.ShellDoc, error) {
		// The request was read, so all that came with it is there.
		var files []*os.File
		if conn != nil {
			files = conn.take()
		}
		defer closeAll(files)
		switch len(files) {
		case 1:
			streams.Console = files[0]
		case 3:
			copy(streams.Files[:], files)
		default:
			return nil, &engine.Error{Kind: engine.Invalid, Message: fmt.Sprintf("reading the request: a shell takes 1 or 3 files, and %d came", len(files))}
		}
		return s.api.Shell(ctx, req, streams, emit)
	})
	serve(w, r)
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close() //nolint:errcheck // a copy of what the client holds
	}
}

// Shell implements engine.API. The files of streams are sent to the agent, and are still
// the caller's to close.
func (c *Client) Shell(ctx context.Context, req engine.ShellRequest, streams runtime.Streams, emit func(event.Event)) (*engine.ShellDoc, error) {
	files := streams.Files[:]
	if streams.Console != nil {
		files = []*os.File{streams.Console}
	}
	once := &Client{pid: c.pid, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			conn, err := c.dial(ctx)
			if err != nil {
				return nil, err
			}
			return &sending{UnixConn: conn.(*net.UnixConn), files: files}, nil
		},
		DisableCompression: true, DisableKeepAlives: true,
	}}}
	defer once.Close()
	return listen[engine.ShellDoc](ctx, once, "shell", req, emit)
}
