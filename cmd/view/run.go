package view

import (
	"fmt"
	"io"
	"sort"
	"strings"
	"sync"
	"time"

	"plumb/engine/event"
)

// RunOptions says how much of a run is told.
type RunOptions struct {
	Quiet   bool
	Verbose bool
	Now     func() time.Time
}

// Run shows a run as it happens. On a terminal the running stages stand below, with
// time, memory and their last line, and are drawn anew ten times a second; what is
// done scrolls above. Elsewhere there are plain lines only, what stages print
// included, since that is what people look for in the log of a CI job.
type Run struct {
	w    io.Writer
	s    Style
	o    RunOptions
	mu   sync.Mutex
	live map[string]*liveStage
	work map[string]event.Event // long work besides stages, by what it is
	rows int                    // drawn below, to be wiped before the next line
	done chan struct{}
	wait sync.WaitGroup
	wide int // the longest stage name so far
}

type liveStage struct {
	since  time.Time
	memory int64
	line   string
}

// NewRun shows to w until Close.
func NewRun(w io.Writer, s Style, o RunOptions) *Run {
	r := &Run{w: w, s: s, o: o, live: map[string]*liveStage{}, work: map[string]event.Event{}, done: make(chan struct{})}
	if s.Live && !o.Quiet {
		r.wait.Go(r.redraw)
	}
	return r
}

// redrawEvery is often enough to look alive.
const redrawEvery = 100 * time.Millisecond

func (r *Run) redraw() {
	t := time.NewTicker(redrawEvery)
	defer t.Stop()
	for {
		select {
		case <-r.done:
			return
		case <-t.C:
			r.mu.Lock()
			r.paint()
			r.mu.Unlock()
		}
	}
}

// Close wipes what is still drawn.
func (r *Run) Close() {
	close(r.done)
	r.wait.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wipe()
}

// wipe removes the rows drawn below.
func (r *Run) wipe() {
	if r.rows > 0 {
		fmt.Fprintf(r.w, "\x1b[%dA\r\x1b[J", r.rows)
		r.rows = 0
	}
}

// paint draws the running stages, at most a dozen.
func (r *Run) paint() {
	const most = 12
	var names []string
	for n := range r.live {
		names = append(names, n)
	}
	sort.Slice(names, func(i, j int) bool {
		a, b := r.live[names[i]], r.live[names[j]]
		return a.since.Before(b.since) || a.since.Equal(b.since) && names[i] < names[j]
	})
	r.wipe()
	var b strings.Builder
	rows := 0
	for _, k := range keys(r.work) {
		fmt.Fprintln(&b, r.s.clip("  "+progressLine(k, r.work[k]), 0))
		rows++
	}
	for i, n := range names {
		if i == most {
			fmt.Fprintf(&b, "  … and %d more running\n", len(names)-most)
			rows++
			break
		}
		fmt.Fprintln(&b, r.stageLine(n, r.live[n]))
		rows++
	}
	io.WriteString(r.w, b.String()) //nolint:errcheck // a terminal that is gone takes nothing
	r.rows = rows
}

func (r *Run) stageLine(name string, st *liveStage) string {
	head := fmt.Sprintf("  ▸ %-*s  %6s", r.wide, name, seconds(r.o.Now().Sub(st.since).Truncate(100*time.Millisecond).Seconds()))
	if st.memory > 0 {
		head += "  " + size(st.memory)
	}
	head = r.s.clip(head, 0)
	line := r.s.clip(printable(st.line), len([]rune(head))+2)
	return r.s.paint(blue, head) + "  " + r.s.paint(dim, line)
}

func progressLine(what string, e event.Event) string {
	if e.Total <= 0 {
		return fmt.Sprintf("%s  %s", what, size(e.Done))
	}
	const cells = 24
	full := int(min(e.Done, e.Total) * cells / e.Total)
	return fmt.Sprintf("%s  [%s%s] %3d %%  %s", what, strings.Repeat("█", full), strings.Repeat("░", cells-full), 100*min(e.Done, e.Total)/e.Total, size(e.Total))
}

// say prints a line that stays.
func (r *Run) say(line string) {
	r.wipe()
	fmt.Fprintln(r.w, line)
}

// Event takes the next event.
func (r *Run) Event(e event.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wide = max(r.wide, len([]rune(e.Stage)))
	switch e.Type {
	case event.RunStarted:
		if r.o.Verbose {
			r.say("run " + string(e.Run))
		}
	case event.StageState:
		r.stage(e)
	case event.StageLog:
		r.printed(e)
	case event.StageUsage:
		if st := r.live[e.Stage]; st != nil {
			st.memory = e.Memory
		}
	case event.Progress:
		r.progress(e)
	case event.Warning:
		r.say(r.s.paint(yellow, "warning: ") + printable(e.Message))
	case event.RunFinished:
		r.live, r.work = map[string]*liveStage{}, map[string]event.Event{}
		r.wipe()
		if !r.o.Quiet || e.Status != "succeeded" {
			summary(r.w, r.s, e, r.o)
		}
	}
}

func (r *Run) progress(e event.Event) {
	if e.Total > 0 && e.Done >= e.Total {
		delete(r.work, e.Message)
		return
	}
	r.work[e.Message] = e
}

func (r *Run) printed(e event.Event) {
	if st := r.live[e.Stage]; st != nil && strings.TrimSpace(e.Line) != "" {
		st.line = e.Line
	}
	if !r.s.Live && !r.o.Quiet || r.o.Verbose {
		r.say(r.s.paint(dim, e.Stage+" | ") + printable(e.Line))
	}
}

func (r *Run) stage(e event.Event) {
	name := fmt.Sprintf("%-*s", r.wide, e.Stage)
	took := ""
	if e.Seconds > 0 {
		took = "  " + seconds(e.Seconds)
	}
	line := ""
	switch e.State {
	case "running":
		r.live[e.Stage] = &liveStage{since: e.Time}
		if r.s.Live || r.o.Quiet {
			return
		}
		line = "▸ " + name + "  running"
		if e.Reason != "" {
			line += "  " + printable(e.Reason)
		}
	case "cached":
		line = r.s.paint(dim, "· "+name+"  cached")
	case "succeeded":
		line = r.s.paint(green, "✔ ") + name + "  ran" + took
		if r.s.Live && e.Reason != "" {
			line += r.s.paint(dim, "  "+r.s.clip(printable(e.Reason), len(name)+20))
		}
	case "failed":
		line = r.s.paint(red, "✘ ") + name + "  " + r.s.paint(red, "failed") + took + "  " + printable(e.Message)
	case "skipped":
		line = r.s.paint(dim, "- "+name+"  skipped  "+printable(e.Reason))
	case "canceled":
		line = r.s.paint(yellow, "- "+name+"  canceled")
	default:
		return
	}
	if e.State != "running" {
		delete(r.live, e.Stage)
	}
	if !r.o.Quiet || e.State == "failed" {
		r.say(line)
	}
}
