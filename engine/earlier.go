package engine

import (
	"sync"

	"plumb/engine/plan"
	"plumb/store"
)

// What a stage is compared with is what it did in the last run of the project: that is
// what a person has changed something since. A run's table of stages says which action
// each had, executed or cached, so the newest table is read when the first stage asks,
// once for a plan; a plan of nothing but hits never asks. Stages that the newest run was
// not about, or did not come to, are looked for in the runs before it, as far as is
// bounded here: a stage that is new is looked for in all of them.
const (
	lastTables = 32     // that are read
	lastRows   = 50_000 // stages in them
	lastRuns   = 512    // that are passed over: those with nothing to do share tables
)

// earlierLimit is among how many earlier actions the nearest is looked for.
const earlierLimit = 8

// lately is what stages did in the newest runs of a project, read as far back as somebody
// asked.
type lately struct {
	mu     sync.Mutex
	tables []lastTable
	known  map[store.Digest]bool // tables
	rows   int
	runs   int
	oldest store.RunID // up to which they were looked at
	end    bool
}

type lastTable struct {
	run  store.RunID
	keys map[string]store.Key // of stages that the run came to
}

// cameTo says that a run came to do what a stage's key says, by its status.
func cameTo(status string) bool { return status == "ran" || status == "cached" || status == "failed" }

// Last goes from the newest run that came to the stage to older ones until it finds an
// action that is kept.
func (r *records) Last(stage string) (*plan.Earlier, error) {
	tried := map[store.Key]bool{}
	for n := 0; ; n++ {
		t, err := r.table(n)
		if t == nil || err != nil {
			return nil, err
		}
		k, ok := t.keys[stage]
		if !ok || tried[k] {
			continue
		}
		tried[k] = true
		e, err := r.earlier(k)
		if err != nil {
			return nil, err
		}
		if e.Action != nil {
			e.Run = t.run
			return e, nil
		}
	}
}

// table is the n-th newest one that differs from those after it, nil when no more are
// looked at. All up to it were asked for before.
func (r *records) table(n int) (*lastTable, error) {
	l := &r.lately
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.tables) <= n {
		if l.end || n >= lastTables || l.rows >= lastRows {
			return nil, nil
		}
		if err := l.more(r); err != nil {
			return nil, err
		}
	}
	return &l.tables[n], nil
}

// more reads one table more.
func (l *lately) more(r *records) error {
	var next *store.RunSummary
	err := r.store.Summaries(store.RunFilter{Project: r.project, Before: l.oldest}, func(sum *store.RunSummary) (bool, error) {
		l.oldest = sum.ID
		l.runs++
		if !sum.Table.IsZero() && !l.known[sum.Table] { // one that is under way has none
			next = sum
		}
		return next == nil && l.runs < lastRuns, nil
	})
	if next == nil || err != nil {
		l.end = true
		return err
	}
	stages, err := r.store.TableStages(next.Table)
	if err != nil {
		return err
	}
	if l.known == nil {
		l.known = map[store.Digest]bool{}
	}
	l.known[next.Table] = true
	l.rows += len(stages)
	t := lastTable{run: next.ID, keys: make(map[string]store.Key, len(stages))}
	for i := range stages {
		// One that was begun may have left its result before its agent was killed.
		if s := &stages[i]; !s.Key.IsZero() && (cameTo(s.Status) || len(s.Attempts) > 0) {
			t.keys[s.Name] = s.Key
		}
	}
	l.tables = append(l.tables, t)
	return nil
}

// Earlier gives those of the stage's history that are kept, and when none is, one of
// which only the key is known.
func (r *records) Earlier(stage string) ([]plan.Earlier, error) {
	keys, err := r.store.StageHistory(r.project, stage, 0)
	if err != nil {
		return nil, err
	}
	var out []plan.Earlier
	for _, k := range keys {
		e, err := r.earlier(k)
		if err != nil {
			return nil, err
		}
		if e.Action != nil {
			out = append(out, *e)
		}
		if len(out) == earlierLimit {
			break
		}
	}
	if len(out) == 0 && len(keys) > 0 { // collected since: that there was one is still of use
		out = append(out, plan.Earlier{Key: keys[0]})
	}
	return out, nil
}

// earlier reads an action; without one when it is not kept.
func (r *records) earlier(k store.Key) (*plan.Earlier, error) {
	action, note, err := actionOf(r.store, k)
	if err != nil || action == nil {
		return &plan.Earlier{Key: k}, err
	}
	n, err := plan.DecodeNote(note)
	if err != nil {
		return nil, err
	}
	return &plan.Earlier{Key: k, Action: action, Note: n}, nil
}
