package store

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// Records and run tables are read ten thousand at a time, so they have a binary
// form of their own; what is read one by one is JSON.

func encodeRecord(r *Record) []byte {
	w := &writer{b: make([]byte, 0, len(r.Action)+len(r.Note)+256)}
	w.bytes(r.Action)
	w.bytes(r.Note)
	w.uint(uint64(len(r.Outputs)))
	for _, o := range r.Outputs {
		w.output(o)
	}
	w.uint(uint64(len(r.Inputs)))
	for _, a := range r.Inputs {
		w.artifact(a)
	}
	w.metrics(r.Metrics)
	w.string(string(r.Run))
	w.string(r.Stage)
	w.time(r.Created)
	w.attempts(r.Attempts)
	return w.b
}

func decodeRecord(k Key, b []byte) (*Record, error) {
	r := &reader{b: b}
	rec := &Record{Key: k, Action: r.bytes(), Note: r.bytes(), Outputs: r.outputs()}
	if n := r.count(4); n > 0 {
		rec.Inputs = make([]Artifact, n)
	}
	for i := range rec.Inputs {
		rec.Inputs[i] = r.artifact()
	}
	rec.Metrics = r.metrics()
	rec.Run = RunID(r.string())
	rec.Stage = r.string()
	rec.Created = r.time()
	rec.Attempts = r.attempts()
	if !r.done() {
		return nil, errFrame
	}
	return rec, nil
}

// The first byte of an artifact. An output that was dropped adds a bit to it, so that
// records of before there was such a thing read as they always did.
const (
	wireFile = iota
	wireExec
	wireTree

	wireDropped = 1 << 2
)

func (w *writer) output(o Output) {
	w.string(o.Name)
	w.string(o.Path)
	at := len(w.b)
	w.artifact(o.Artifact)
	if o.Dropped {
		w.b[at] |= wireDropped
	}
}

func (r *reader) outputs() []Output {
	n := r.count(4)
	if n == 0 {
		return nil
	}
	out := make([]Output, n)
	for i := range out {
		out[i] = r.output()
	}
	return out
}

func (r *reader) output() Output {
	o := Output{Name: r.string(), Path: r.string()}
	kind := r.uint()
	o.Dropped = kind&wireDropped != 0
	o.Artifact = r.artifactOf(kind &^ wireDropped)
	return o
}

func (w *writer) artifact(a Artifact) {
	switch {
	case a.Kind == KindTree:
		w.b = append(w.b, wireTree)
	case a.Exec:
		w.b = append(w.b, wireExec)
	default:
		w.b = append(w.b, wireFile)
	}
	w.digest(a.Digest)
	w.int(a.Size)
	w.int(int64(a.Files))
}

func (r *reader) artifact() Artifact {
	return r.artifactOf(r.uint())
}

// artifactOf reads what stands behind the first byte.
func (r *reader) artifactOf(kind uint64) Artifact {
	a := Artifact{Kind: KindFile}
	switch kind {
	case wireFile:
	case wireExec:
		a.Exec = true
	case wireTree:
		a.Kind = KindTree
	default:
		r.fail()
	}
	a.Digest, a.Size, a.Files = r.digest(), r.int(), int(r.int())
	return a
}

func (w *writer) metrics(m map[string]float64) {
	w.uint(uint64(len(m)))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		w.string(name)
		w.float(m[name])
	}
}

func (r *reader) metrics() map[string]float64 {
	n := r.count(9)
	if n == 0 {
		return nil
	}
	m := make(map[string]float64, n)
	for range n {
		name := r.string()
		m[name] = r.float()
	}
	return m
}

func (w *writer) attempts(list []Attempt) {
	w.uint(uint64(len(list)))
	for i := range list {
		a := &list[i]
		w.string(string(a.Class))
		w.int(int64(a.ExitCode))
		w.string(a.Signal)
		w.string(a.Error)
		w.time(a.Started)
		w.float(a.Seconds)
		w.float(a.CPUSeconds)
		w.int(a.PeakMemory)
		w.int(a.ReadBytes)
		w.int(a.WrittenBytes)
		w.int(a.MemoryLimit)
		w.log(a)
	}
}

// An attempt's log, and before it a byte that says whether there is one, and whether
// the attempt went on from a checkpoint.
const (
	wireLogged  = 1 << 0
	wireResumed = 1 << 1
)

func (w *writer) log(a *Attempt) {
	var marks byte
	if !a.Log.IsZero() {
		marks |= wireLogged
	}
	if a.Resumed {
		marks |= wireResumed
	}
	w.b = append(w.b, marks)
	if marks&wireLogged != 0 {
		w.b = append(w.b, a.Log[:]...)
	}
	w.int(a.LogBytes)
}

func (r *reader) log(a *Attempt) {
	b := r.take(1)
	if b == nil || b[0] > wireLogged|wireResumed {
		r.fail()
		return
	}
	a.Resumed = b[0]&wireResumed != 0
	if b[0]&wireLogged != 0 {
		copy(a.Log[:], r.take(uint64(len(a.Log))))
	}
	a.LogBytes = r.int()
}

func (r *reader) attempts() []Attempt {
	n := r.count(24)
	if n == 0 {
		return nil
	}
	list := make([]Attempt, n)
	for i := range list {
		list[i] = Attempt{
			Class: Class(r.string()), ExitCode: int(r.int()), Signal: r.string(), Error: r.string(),
			Started: r.time(), Seconds: r.float(), CPUSeconds: r.float(),
			PeakMemory: r.int(), ReadBytes: r.int(), WrittenBytes: r.int(), MemoryLimit: r.int(),
		}
		r.log(&list[i])
	}
	return list
}

// A table that begins with the count of its rows is of before rows had outputs; no table
// is empty, so a zero in that place says that there is a version.
const tableVersion = 1

// encodeTable writes the stages of a run. What repeats from row to row (status,
// image, reason) is left to compression.
func encodeTable(stages []StageResult) []byte {
	w := &writer{b: make([]byte, 0, 160*len(stages))}
	w.uint(0)
	w.uint(tableVersion)
	w.uint(uint64(len(stages)))
	for i := range stages {
		s := &stages[i]
		w.string(s.Name)
		w.string(s.Status)
		w.digest(Digest(s.Key))
		w.string(s.Reason)
		w.float(s.Seconds)
		w.string(s.Image)
		w.attempts(s.Attempts)
		w.string(s.Error)
		w.metrics(s.Metrics)
		w.string(string(s.MadeBy))
		w.uint(uint64(len(s.Outputs)))
		for _, o := range s.Outputs {
			w.output(o)
		}
	}
	return w.b
}

// tableHead reads how many rows follow, and of which version.
func (r *reader) tableHead() (n int, version uint64) {
	if n = r.count(16); n > 0 {
		return n, 0
	}
	version = r.uint()
	n = r.count(16)
	if version > tableVersion {
		r.fail()
		n = 0
	}
	return n, version
}

// keyInTable finds the key and status of one stage without making the others.
func keyInTable(b []byte, stage string) (Key, string, error) {
	r := &reader{b: b}
	skip := func() { r.take(r.uint()) }
	n, version := r.tableHead()
	for range n {
		name := r.take(r.uint())
		status := r.take(r.uint())
		key := Key(r.digest())
		if string(name) == stage && !r.bad {
			return key, string(status), nil
		}
		skip() // reason
		r.float()
		skip() // image
		r.attempts()
		skip() // error
		r.metrics()
		if version > 0 {
			skip() // made by
			r.outputs()
		}
	}
	if !r.done() {
		return Key{}, "", errFrame
	}
	return Key{}, "", nil
}

func decodeTable(b []byte) ([]StageResult, error) {
	r := &reader{b: b}
	n, version := r.tableHead()
	stages := make([]StageResult, n)
	for i := range stages {
		stages[i] = StageResult{
			Name: r.string(), Status: r.string(), Key: Key(r.digest()), Reason: r.string(), Seconds: r.float(),
			Image: r.string(), Attempts: r.attempts(), Error: r.string(), Metrics: r.metrics(),
		}
		if version > 0 {
			stages[i].MadeBy = RunID(r.string())
			stages[i].Outputs = r.outputs()
		}
	}
	if !r.done() {
		return nil, errFrame
	}
	return stages, nil
}

// encodeFiles writes the list of a run's files.
func encodeFiles(files []RunFile) []byte {
	w := &writer{}
	w.uint(uint64(len(files)))
	for i := range files {
		f := &files[i]
		w.string(f.Path)
		w.string(string(f.Role))
		w.digest(f.Digest)
		w.int(f.Size)
		w.bool(f.Withheld)
		w.bool(f.Lost)
	}
	return w.b
}

func decodeFiles(b []byte) ([]RunFile, error) {
	r := &reader{b: b}
	files := make([]RunFile, r.count(6))
	for i := range files {
		files[i] = RunFile{Path: r.string(), Role: FileRole(r.string()), Digest: r.digest(), Size: r.int(), Withheld: r.bool(), Lost: r.bool()}
	}
	if !r.done() {
		return nil, errFrame
	}
	return files, nil
}

// storedRun is a run with the blobs of its table and of the list of its files.
type storedRun struct {
	Run
	Table  Digest `json:"table,omitzero"`
	Files  Digest `json:"files,omitzero"`
	Places Digest `json:"places,omitzero"`
}

func decodeJSON[T any](b []byte) (*T, error) {
	v := new(T)
	if err := json.Unmarshal(b, v); err != nil {
		return nil, fmt.Errorf("%w: %w", errFrame, err)
	}
	return v, nil
}
