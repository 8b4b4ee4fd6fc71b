// Package report writes what runs did in forms that other tools read. Each writer goes
// through the runs as often as it needs, and holds none: a table's columns are found in a
// first pass, its rows are written in a second.
//
//	csv      a header, and a row for each run
//	parquet  the same table with types: integers, or numbers, where a column has nothing else
//	mlflow   a directory as MLflow's file store lays it out (see mlflow.go)
//
// Integers stay as they are: where a column has one that a double does not hold, and others
// that are no integers, it is text. Text stands in csv as people wrote it, as in other tools'
// exports: a spreadsheet may take what begins with = + - or @ for a formula, which a prefix
// would prevent at the price that everything else reads another text.
//
// What a run lacks is an empty field, or null. A file or directory is there whole or not
// at all, and nothing that is there already is written over.
package report

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"plumb/engine"
)

// Runs calls fn for each run, the same ones each time.
type Runs func(fn func(*engine.RunRow) error) error

// Formats lists the forms.
func Formats() []string { return []string{"csv", "parquet", "mlflow"} }

// Write writes runs to a path and says how many there were.
func Write(format, path string, runs Runs) (n int, err error) {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = &engine.Error{Kind: engine.Invalid, Message: fmt.Sprintf("%q is there already", path), Hint: "name another path with -o"}
		}
		return 0, err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return 0, fmt.Errorf("exporting runs: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	made := filepath.Join(tmp, "made")
	switch format {
	case "mlflow":
		n, err = mlflow(made, path, runs)
	case "parquet":
		n, err = intoFile(made, runs, Parquet)
	default:
		n, err = intoFile(made, runs, CSV)
	}
	if err != nil {
		return n, fmt.Errorf("exporting runs to %q: %w", path, err)
	}
	return n, os.Rename(made, path)
}

func intoFile(path string, runs Runs, write func(io.Writer, Runs) (int, error)) (int, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return 0, err
	}
	w := bufio.NewWriterSize(f, 1<<16)
	n, err := write(w, runs)
	return n, errors.Join(err, w.Flush(), f.Close())
}

// table is the form of the rows.
type table struct {
	columns []column
}

// column takes its values from runs.
type column struct {
	name string
	kind kind
	text func(*engine.RunRow) (string, bool)
	num  func(*engine.RunRow) (float64, bool)
	int  func(*engine.RunRow) (int64, bool)
	when func(*engine.RunRow) (time.Time, bool)
}

type kind int

const (
	kindText kind = iota
	kindNumber
	kindInteger
	kindTime
)

// tableOf finds the columns that runs need: those that each has, then params and metrics
// by name.
func tableOf(runs Runs) (*table, int, error) {
	params, metrics := map[string]values{}, map[string]bool{}
	n := 0
	err := runs(func(r *engine.RunRow) error {
		n++
		for _, p := range r.Params {
			params[p.Name] = params[p.Name].and(p.Value)
		}
		for name := range r.Metrics {
			metrics[name] = true
		}
		return nil
	})
	if err != nil {
		return nil, n, err
	}
	t := &table{columns: fixed()}
	for _, name := range sorted(params) {
		t.columns = append(t.columns, paramColumn(name, params[name].kind()))
	}
	for _, name := range sorted(metrics) {
		t.columns = append(t.columns, column{name: "metric." + name, kind: kindNumber, num: func(r *engine.RunRow) (float64, bool) {
			v, ok := r.Metrics[name]
			return v, ok
		}})
	}
	return t, n, nil
}

func sorted[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// fixed are the columns that every run fills.
func fixed() []column {
	text := func(name string, of func(*engine.RunRow) string) column {
		return column{name: name, text: func(r *engine.RunRow) (string, bool) { v := of(r); return v, v != "" }}
	}
	count := func(name string, of func(*engine.RunRow) int) column {
		return column{name: name, kind: kindNumber, num: func(r *engine.RunRow) (float64, bool) { return float64(of(r)), true }}
	}
	return []column{
		text("run", func(r *engine.RunRow) string { return string(r.ID) }),
		text("project", func(r *engine.RunRow) string { return r.Project }),
		text("pipeline", func(r *engine.RunRow) string { return r.Pipeline }),
		text("profile", func(r *engine.RunRow) string { return r.Profile }),
		text("status", func(r *engine.RunRow) string { return r.Status }),
		{name: "started", kind: kindTime, when: func(r *engine.RunRow) (time.Time, bool) { return r.Started, true }},
		{name: "seconds", kind: kindNumber, num: func(r *engine.RunRow) (float64, bool) { return r.Run.Seconds, true }},
		count("ran", func(r *engine.RunRow) int { return r.Counts.Ran }),
		count("cached", func(r *engine.RunRow) int { return r.Counts.Cached }),
		count("failed", func(r *engine.RunRow) int { return r.Counts.Failed }),
		text("commit", func(r *engine.RunRow) string {
			if r.Origin == nil || r.Origin.Git == nil {
				return ""
			}
			return r.Origin.Git.Commit
		}),
		text("tags", func(r *engine.RunRow) string { return joined(r.Tags) }),
		text("note", func(r *engine.RunRow) string { return r.Note }),
	}
}

func joined(tags []string) string {
	out := ""
	for i, t := range tags {
		if i > 0 {
			out += " "
		}
		out += t
	}
	return out
}

func paramColumn(name string, of kind) column {
	value := func(r *engine.RunRow) (string, bool) {
		for _, p := range r.Params {
			if p.Name == name {
				return p.Value, p.Value != "" // a sensitive one is not exported
			}
		}
		return "", false
	}
	c := column{name: "param." + name, kind: of}
	switch of {
	case kindInteger:
		c.int = func(r *engine.RunRow) (int64, bool) {
			v, _ := value(r)
			n, err := strconv.ParseInt(v, 10, 64)
			return n, err == nil
		}
	case kindNumber:
		c.num = func(r *engine.RunRow) (float64, bool) {
			v, _ := value(r)
			n, err := strconv.ParseFloat(v, 64)
			return n, err == nil
		}
	default:
		c.text = func(r *engine.RunRow) (string, bool) {
			v, ok := value(r)
			return plainParam(v), ok
		}
	}
	return c
}

// values is what there is among those of one param.
type values struct {
	text    bool // no number
	large   bool // no int64, or it has a fraction
	inexact bool // an integer that a double does not hold
}

// and adds a value, which is JSON.
func (v values) and(value string) values {
	n, err := strconv.ParseFloat(value, 64)
	if err != nil {
		v.text = true
		return v
	}
	if _, err := strconv.ParseInt(value, 10, 64); err != nil {
		v.large = true
	}
	if strings.Trim(value, "-0123456789") == "" && strconv.FormatFloat(n, 'f', 0, 64) != value {
		v.inexact = true
	}
	return v
}

func (v values) kind() kind {
	switch {
	case v.text || v.large && v.inexact:
		return kindText
	case v.large:
		return kindNumber
	}
	return kindInteger
}

// plainParam is a param's value as text: a string is not quoted.
func plainParam(value string) string {
	var s string
	if json.Unmarshal([]byte(value), &s) == nil {
		return s
	}
	return value
}
