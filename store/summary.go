package store

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// Beside each run stands a summary of what runs are picked and sorted by, in a form that
// takes a microsecond to read: to go through a hundred thousand runs opens neither their
// records nor their tables of stages. It is made of the record and the table, and made
// anew where it is missing. Many metrics are a blob of their own, by content, so that runs
// that had nothing to do share them.

// RunSummary is what runs are picked by. Metrics are by their full names, "stage.metric".
type RunSummary struct {
	ID      RunID
	Project string
	Status  string
	Started time.Time
	Seconds float64
	Params  []RunParam // without their origins
	Metrics map[string]float64
	Table   Digest // of its stages: equal ones are the same stages with the same keys

	apart Digest // blob of the metrics, zero when they stand here
}

// metricsApart is from how many bytes on metrics are a blob of their own.
const metricsApart = 512

// MetricName is the full name of a stage's metric.
func MetricName(stage, metric string) string { return stage + "." + metric }

func summaryOf(r *Run, table Digest) *RunSummary {
	sum := &RunSummary{ID: r.ID, Project: r.Project, Status: r.Status, Started: r.Started, Seconds: r.Seconds, Params: r.Params, Table: table}
	for i := range r.Stages {
		for name, v := range r.Stages[i].Metrics {
			if sum.Metrics == nil {
				sum.Metrics = map[string]float64{}
			}
			sum.Metrics[MetricName(r.Stages[i].Name, name)] = v
		}
	}
	return sum
}

func encodeMetrics(m map[string]float64) []byte {
	w := &writer{}
	w.metrics(m)
	return w.b
}

func encodeSummary(sum *RunSummary, metrics []byte) []byte {
	w := &writer{b: make([]byte, 0, 256)}
	w.string(sum.Project)
	w.string(sum.Status)
	w.time(sum.Started)
	w.float(sum.Seconds)
	w.uint(uint64(len(sum.Params)))
	for _, p := range sum.Params {
		w.string(p.Name)
		w.string(p.Value)
	}
	w.digest(sum.Table)
	w.digest(sum.apart)
	w.bytes(metrics)
	return w.b
}

// decodeSummary leaves metrics that are a blob of their own to the caller.
func decodeSummary(id RunID, b []byte) (*RunSummary, error) {
	r := &reader{b: b}
	sum := &RunSummary{ID: id, Project: r.string(), Status: r.string(), Started: r.time(), Seconds: r.float()}
	sum.Params = make([]RunParam, r.count(2))
	for i := range sum.Params {
		sum.Params[i] = RunParam{Name: r.string(), Value: r.string()}
	}
	sum.Table, sum.apart = r.digest(), r.digest()
	metrics := r.take(r.uint())
	if !r.done() {
		return nil, errFrame
	}
	if len(metrics) == 0 {
		return sum, nil
	}
	m := &reader{b: metrics}
	sum.Metrics = m.metrics()
	if !m.done() {
		return nil, errFrame
	}
	return sum, nil
}

// summarise makes the frame of a run's summary.
func (b *Batch) summarise(r *Run, table Digest) ([]byte, error) {
	sum := summaryOf(r, table)
	metrics := encodeMetrics(sum.Metrics)
	if len(metrics) > metricsApart {
		var err error
		if sum.apart, err = b.addFrame(metrics); err != nil {
			return nil, err
		}
		metrics = nil
	}
	return b.fit(encodeSummary(sum, metrics))
}

// Summaries calls fn with the summaries of runs, newest first, until it says that it has
// enough. Of the filter's fields it heeds Project, Status, Since, Until and Before.
func (s *Store) Summaries(f RunFilter, fn func(*RunSummary) (more bool, err error)) error {
	sums := summaries{s: s}
	err := s.view(func(txn *badger.Txn) error {
		walk := newSummaryWalk(txn)
		defer walk.it.Close()
		return s.eachRun(txn, f, func(id RunID) (bool, error) {
			frame, err := walk.to(id)
			if err != nil {
				return false, err
			}
			sum, err := sums.open(txn, id, frame)
			if err != nil || sum == nil || !f.covers(sum) {
				return err == nil, err
			}
			return fn(sum)
		})
	})
	if err != nil {
		return fmt.Errorf("going through runs: %w", err)
	}
	return nil
}

func (f *RunFilter) covers(sum *RunSummary) bool {
	return (f.Project == "" || sum.Project == f.Project) && (f.Status == "" || sum.Status == f.Status) &&
		(f.Since.IsZero() || !sum.Started.Before(f.Since)) && (f.Until.IsZero() || !sum.Started.After(f.Until))
}

// summaries reads them, and metrics that are shared once for as long as they repeat.
type summaries struct {
	s       *Store
	apart   Digest
	metrics map[string]float64
}

// summaryWalk goes along the summaries, from the newest to the oldest, beside whoever goes
// along the runs: a step costs a tenth of looking one up.
type summaryWalk struct{ it *badger.Iterator }

func newSummaryWalk(txn *badger.Txn) *summaryWalk {
	o := badger.DefaultIteratorOptions
	o.Reverse, o.PrefetchValues, o.Prefix = true, false, []byte{inSummaries} // values lie beside their keys
	w := &summaryWalk{txn.NewIterator(o)}
	w.it.Seek([]byte{inSummaries, 0xff})
	return w
}

// to gives the frame of a run's summary, nil when it has none. Runs of other projects in
// between are stepped over while they are few. It is good until the next call.
func (w *summaryWalk) to(id RunID) (frame []byte, err error) {
	const few = 16
	for range few {
		if !w.it.Valid() || string(w.it.Item().Key()[1:]) <= string(id) {
			break
		}
		w.it.Next()
	}
	if w.it.Valid() && string(w.it.Item().Key()[1:]) > string(id) {
		w.it.Seek(runKey(inSummaries, id))
	}
	if !w.it.Valid() || string(w.it.Item().Key()[1:]) != string(id) {
		return nil, nil
	}
	err = w.it.Item().Value(func(v []byte) error {
		frame = v
		return nil
	})
	return frame, err
}

// read gives nil for a run that is damaged.
func (c *summaries) read(txn *badger.Txn, id RunID) (*RunSummary, error) {
	frame, err := value(txn, runKey(inSummaries, id))
	if err != nil {
		return nil, err
	}
	return c.open(txn, id, frame)
}

func (c *summaries) open(txn *badger.Txn, id RunID, frame []byte) (sum *RunSummary, err error) {
	if frame != nil {
		var p []byte
		if p, err = c.s.open(txn, frame); err == nil {
			sum, err = decodeSummary(id, p)
		}
	}
	if sum != nil && err == nil && !sum.apart.IsZero() {
		err = c.shared(txn, sum)
	}
	if err == nil && sum != nil {
		return sum, nil
	}
	if err != nil && !errors.Is(err, errFrame) && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrDamaged) {
		return nil, err
	}
	return c.anew(txn, id)
}

func (c *summaries) shared(txn *badger.Txn, sum *RunSummary) error {
	if c.apart != sum.apart {
		frame, err := c.s.readBlobIn(txn, sum.apart, maxPayload)
		if err != nil {
			return err
		}
		p, _, err := c.s.pack.unframe(frame)
		if err != nil {
			return err
		}
		r := &reader{b: p}
		if c.metrics = r.metrics(); !r.done() {
			c.apart = Digest{}
			return errFrame
		}
		c.apart = sum.apart
	}
	sum.Metrics = c.metrics
	return nil
}

// anew makes the summary of a run that has none.
func (c *summaries) anew(txn *badger.Txn, id RunID) (*RunSummary, error) {
	sr, err := c.s.storedRun(txn, id)
	if errors.Is(err, errFrame) {
		return nil, nil
	}
	if sr == nil || err != nil {
		return nil, err
	}
	if sr.Run.Stages, err = c.s.table(txn, sr.Table); err != nil {
		c.s.log.Warn("the stages of a run are damaged", "run", string(id), "error", err)
	}
	return summaryOf(&sr.Run, sr.Table), nil
}

// Summary gives that of one run; nil when there is no such run, or it is damaged.
func (s *Store) Summary(id RunID) (*RunSummary, error) {
	var sum *RunSummary
	c := summaries{s: s}
	err := s.view(func(txn *badger.Txn) (err error) {
		sum, err = c.read(txn, id)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the summary of run %q: %w", id, err)
	}
	return sum, nil
}

// StageKey finds the key of a stage, by name, in a table of stages; zero when it has none.
func (s *Store) StageKey(table Digest, stage string) (Key, error) {
	k, _, err := s.StageState(table, stage)
	return k, err
}

// StageState is StageKey with what became of the stage.
func (s *Store) StageState(table Digest, stage string) (k Key, status string, err error) {
	err = s.view(func(txn *badger.Txn) error {
		p, err := s.listPayload(txn, table)
		if p != nil && err == nil {
			k, status, err = keyInTable(p, stage)
		}
		return err
	})
	if errors.Is(err, errFrame) || errors.Is(err, ErrNotFound) || errors.Is(err, ErrDamaged) {
		s.log.Warn("a table of stages is damaged", "table", table.String(), "error", err)
		return Key{}, "", nil
	}
	if err != nil {
		return k, "", fmt.Errorf("looking for stage %q: %w", stage, err)
	}
	return k, status, nil
}

// TableStages gives the stages of a table, in their order; none of one that is damaged.
func (s *Store) TableStages(table Digest) (stages []StageResult, err error) {
	err = s.view(func(txn *badger.Txn) error {
		stages, err = listIn(s, txn, table, decodeTable)
		return err
	})
	if errors.Is(err, errFrame) || errors.Is(err, ErrNotFound) || errors.Is(err, ErrDamaged) {
		s.log.Warn("a table of stages is damaged", "table", table.String(), "error", err)
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading a table of stages: %w", err)
	}
	return stages, nil
}

// Heads gives runs without their stages, in the order of ids; those that are gone or
// damaged are left out.
func (s *Store) Heads(ids []RunID) ([]Run, error) {
	out := make([]Run, 0, len(ids))
	err := s.view(func(txn *badger.Txn) error {
		for _, id := range ids {
			sr, err := s.storedRun(txn, id)
			if err != nil && !errors.Is(err, errFrame) {
				return err
			}
			if sr != nil && err == nil {
				out = append(out, sr.Run)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading runs: %w", err)
	}
	return out, nil
}

// summaryRefs: shared metrics are a blob.
func (g *gcRun) summaryRefs(_ *badger.Txn, key, payload []byte) ([]Artifact, error) {
	sum, err := decodeSummary(RunID(key[1:]), payload)
	if err != nil || sum.apart.IsZero() {
		return nil, err
	}
	return []Artifact{{Kind: KindFile, Digest: sum.apart}}, nil
}

// summary looks whether a summary says what its run says.
func (f *fsck) summary(txn *badger.Txn, item *badger.Item) error {
	id := RunID(item.Key()[1:])
	x := Finding{Kind: FoundWrongIndex, Object: "summary of run " + string(id), Effect: "plumb runs may pick the run, or not, for what it did not say", Remedy: "it is dropped, and made of the run when it is wanted"}
	drop := edit{key: item.KeyCopy(nil), version: item.Version()}
	c := summaries{s: f.s}
	if _, err := f.s.storedRun(txn, id); errors.Is(err, errFrame) {
		return nil // it goes with the run
	}
	want, err := c.anew(txn, id)
	if err != nil {
		return err
	}
	if want == nil {
		x.Detail = "there is no such run"
		return f.change(x, drop)
	}
	p, err := f.s.payload(txn, drop.key)
	var sum *RunSummary
	if err == nil {
		sum, err = decodeSummary(id, p)
	}
	if err == nil && !sum.apart.IsZero() {
		err = c.shared(txn, sum)
	}
	switch {
	case err != nil:
		x.Detail = err.Error()
	case !sum.same(want):
		x.Detail = "it is not what the run says"
	default:
		return nil
	}
	return f.change(x, drop)
}

func (sum *RunSummary) same(other *RunSummary) bool {
	return sum.Status == other.Status && sum.Project == other.Project && sum.Started.Equal(other.Started) && sum.Seconds == other.Seconds && sum.Table == other.Table &&
		slices.EqualFunc(sum.Params, other.Params, func(a, b RunParam) bool { return a.Name == b.Name && a.Value == b.Value }) &&
		maps.EqualFunc(sum.Metrics, other.Metrics, func(a, b float64) bool { return a == b || a != a && b != b })
}
