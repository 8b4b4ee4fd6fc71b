package engine

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"plumb/store"
)

// Logs tells what stages of a run printed, line by line; with Follow it goes on
// until the run is over.
func (e *Engine) Logs(ctx context.Context, req LogsRequest, emit func(LogLine)) error {
	rec, err := e.findRun(req.Dir, req.Run)
	if err != nil {
		return err
	}
	if live := e.live.find(rec.ID); live != nil {
		return e.followLogs(ctx, live, req, emit)
	}
	full, err := e.store.Run(rec.ID)
	if err != nil {
		return fmt.Errorf("reading run %q: %w", rec.ID, err)
	}
	found := false
	for i := range full.Stages {
		st := &full.Stages[i]
		if req.Stage != "" && st.Name != req.Stage {
			continue
		}
		found = true
		if err := e.recordedLog(st, req.Stage != "", emit); err != nil {
			return err
		}
	}
	if !found && req.Stage != "" {
		return invalid("plumb show lists its stages", "run %s has no stage %q", rec.ID, req.Stage)
	}
	return nil
}

// recordedLog tells the attempts of a stage in a run; asked for by name, a cached
// stage shows what the run that made its result printed.
func (e *Engine) recordedLog(st *store.StageResult, named bool, emit func(LogLine)) error {
	attempts := st.Attempts
	if len(attempts) == 0 && named && !st.Key.IsZero() {
		rec, err := e.store.Record(st.Key)
		if err != nil {
			return fmt.Errorf("reading the result of stage %q: %w", st.Name, err)
		}
		if rec != nil {
			attempts = rec.Attempts
		}
	}
	for n := range attempts {
		if attempts[n].Log.IsZero() {
			continue
		}
		if err := e.blobLog(attempts[n].Log, 0, LogLine{Stage: st.Name, Attempt: n + 1}, emit); err != nil {
			return err
		}
	}
	return nil
}

// blobLog tells the lines of a kept log from offset on.
func (e *Engine) blobLog(d store.Digest, offset int64, as LogLine, emit func(LogLine)) (err error) {
	rc, err := e.store.OpenLog(d)
	if err != nil {
		return fmt.Errorf("opening the log of stage %q: %w", as.Stage, err)
	}
	defer func() { err = errors.Join(err, rc.Close()) }()
	in := bufio.NewReaderSize(rc, 64<<10)
	if _, err := io.CopyN(io.Discard, in, offset); err != nil {
		return fmt.Errorf("reading the log of stage %q: %w", as.Stage, err)
	}
	for {
		b, err := in.ReadBytes('\n')
		if len(b) > 0 {
			as.Line = string(bytes.TrimRight(b, "\r\n"))
			emit(as)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the log of stage %q: %w", as.Stage, err)
		}
	}
}

// reader is how far a segment was told.
type reader struct {
	offset  int64
	partial []byte
	done    bool
}

func (e *Engine) followLogs(ctx context.Context, live *liveRun, req LogsRequest, emit func(LogLine)) error {
	readers := map[int]*reader{}
	for {
		segments, over, changed := live.view()
		turn, endTurn := context.WithCancel(ctx) // ends what waits in this turn
		var more <-chan struct{}
		progress := false
		for n := range segments {
			s := &segments[n]
			if req.Stage != "" && s.stage != req.Stage {
				continue
			}
			if readers[n] == nil {
				readers[n] = &reader{}
			}
			wait, did, err := e.advance(s, readers[n], emit)
			if err != nil {
				endTurn()
				return err
			}
			progress = progress || did
			if wait != nil {
				more = either(turn, more, wait)
			}
		}
		if progress {
			endTurn()
			continue
		}
		if over || !req.Follow {
			endTurn()
			return nil
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-more:
		}
		endTurn()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// either is closed when one of both is, or when the context ends.
func either(ctx context.Context, a, b <-chan struct{}) <-chan struct{} {
	if a == nil {
		return b
	}
	c := make(chan struct{})
	go func() {
		defer close(c)
		select {
		case <-a:
		case <-b:
		case <-ctx.Done():
		}
	}()
	return c
}

// advance tells what a segment has beyond what was told.
func (e *Engine) advance(s *segment, r *reader, emit func(LogLine)) (wait <-chan struct{}, did bool, err error) {
	if r.done {
		return nil, false, nil
	}
	as := LogLine{Stage: s.stage, Attempt: s.attempt}
	if s.done {
		r.done = true
		if s.digest.IsZero() {
			return nil, true, nil
		}
		return nil, true, e.blobLog(s.digest, r.offset-int64(len(r.partial)), as, emit)
	}
	buf := make([]byte, 64<<10)
	n, wait, err := s.log.readAt(buf, r.offset)
	if errors.Is(err, os.ErrClosed) { // it ended between the view and now: the next view says so
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("reading the log of stage %q: %w", s.stage, err)
	}
	r.offset += int64(n)
	r.partial = append(r.partial, buf[:n]...)
	for {
		line, rest, whole := bytes.Cut(r.partial, []byte{'\n'})
		if !whole {
			if len(r.partial) > 1<<20 { // a line without end is told in pieces
				as.Line = string(r.partial)
				emit(as)
				r.partial = nil
			}
			return wait, n > 0, nil
		}
		as.Line = string(bytes.TrimSuffix(line, []byte{'\r'}))
		emit(as)
		r.partial = rest
	}
}
