package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"

	"plumb/engine"
	"plumb/store"
)

// MLflow's file store is a directory for each experiment, and below it one for each run:
//
//	EXPERIMENT/meta.yaml
//	EXPERIMENT/RUN/meta.yaml
//	EXPERIMENT/RUN/params/NAME     the value
//	EXPERIMENT/RUN/metrics/NAME    a line for each value: milliseconds, value, step
//	EXPERIMENT/RUN/tags/NAME       the value
//	EXPERIMENT/RUN/artifacts/
//
// A project is an experiment. Its id is a number that follows from its path, as ids have
// to be numbers of no more than 18 digits, so that two exports agree; a run's id is the
// first half of the digest of plumb's own, in hexadecimal, as MLflow makes them, and its
// name is plumb's. Names have letters, digits and _ - . and space; what a name has besides
// becomes an underscore, and the tag plumb.names then says which was which.

// mlflow writes the store into dir, which will be at final.
func mlflow(dir, final string, runs Runs) (int, error) {
	m := &mlflowStore{dir: dir, final: final, experiments: map[string]*experiment{}}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return 0, err
	}
	n := 0
	if err := runs(func(r *engine.RunRow) error {
		n++
		return m.run(r)
	}); err != nil {
		return n, err
	}
	return n, m.finish()
}

type mlflowStore struct {
	dir, final  string
	experiments map[string]*experiment // by project
}

// experiment is a project. Times are milliseconds.
type experiment struct {
	id, name    string
	first, last int64
}

func (m *mlflowStore) experiment(project string) *experiment {
	e := m.experiments[project]
	if e == nil {
		d := store.Sum([]byte(project))
		number := uint64(0)
		for _, b := range d[:8] {
			number = number<<8 | uint64(b)
		}
		const span = 900_000_000_000_000_000
		e = &experiment{id: strconv.FormatUint(100_000_000_000_000_000+number%span, 10), name: project}
		m.experiments[project] = e
	}
	return e
}

// RunID is how a run is called in MLflow.
func RunID(id store.RunID) string {
	d := store.Sum([]byte(id))
	return d.Hex()[:32]
}

// mlflowStatus is MLflow's number for a state.
var mlflowStatus = map[string]int{"running": 1, "succeeded": 3, "failed": 4, "canceled": 5}

func (m *mlflowStore) run(r *engine.RunRow) error {
	e := m.experiment(r.Project)
	start := r.Started.UnixMilli()
	end := start + int64(r.Run.Seconds*1000)
	if e.first == 0 || start < e.first {
		e.first = start
	}
	e.last = max(e.last, end)
	id := RunID(r.ID)
	dir := filepath.Join(m.dir, e.id, id)
	for _, sub := range []string{"params", "metrics", "tags", "artifacts"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return err
		}
	}
	params, metrics := map[string]string{}, map[string]string{}
	for _, p := range r.Params {
		if p.Value != "" {
			params[p.Name] = plainParam(p.Value)
		}
	}
	for name, v := range r.Metrics {
		metrics[name] = fmt.Sprintf("%d %s 0\n", end, strconv.FormatFloat(v, 'g', -1, 64))
	}
	renamed := map[string]string{}
	return errors.Join(
		writeNamed(filepath.Join(dir, "params"), params, renamed),
		writeNamed(filepath.Join(dir, "metrics"), metrics, renamed),
		writeNamed(filepath.Join(dir, "tags"), tagsOf(r, renamed), nil),
		writeYAML(filepath.Join(dir, "meta.yaml"), m.meta(r, e, start, end)),
	)
}

// meta is what MLflow wants to know of a run, and in what order it writes that.
func (m *mlflowStore) meta(r *engine.RunRow, e *experiment, start, end int64) []field {
	id := RunID(r.ID)
	ended := any(end)
	if r.Status == "running" {
		ended = nil
	}
	user := ""
	if r.Origin != nil {
		user = r.Origin.User
	}
	return []field{
		{"artifact_uri", m.uri(e.id, id, "artifacts")}, {"end_time", ended}, {"entry_point_name", ""}, {"experiment_id", e.id}, {"lifecycle_stage", "active"},
		{"run_id", id}, {"run_name", string(r.ID)}, {"run_uuid", id}, {"source_name", ""}, {"source_type", 4}, {"source_version", ""}, {"start_time", start},
		{"status", mlflowStatus[r.Status]}, {"tags", []string{}}, {"user_id", user},
	}
}

func (m *mlflowStore) uri(elem ...string) string {
	u := url.URL{Scheme: "file", Path: filepath.ToSlash(filepath.Join(append([]string{m.final}, elem...)...))}
	return u.String()
}

// tagsOf are those that MLflow shows by itself, and plumb's own.
func tagsOf(r *engine.RunRow, renamed map[string]string) map[string]string {
	tags := map[string]string{
		"mlflow.runName": string(r.ID), "mlflow.source.name": r.Project, "mlflow.source.type": "PROJECT",
		"plumb.version": r.Version, "plumb.status": r.Status,
	}
	set := func(name, value string) {
		if value != "" {
			tags[name] = value
		}
	}
	set("mlflow.note.content", r.Note)
	set("plumb.profile", r.Profile)
	set("plumb.tags", joined(r.Tags))
	if o := r.Origin; o != nil {
		set("mlflow.user", o.User)
		if o.Git != nil {
			set("mlflow.source.git.commit", o.Git.Commit)
			set("mlflow.source.git.branch", o.Git.Branch)
		}
	}
	if len(renamed) > 0 {
		b, _ := json.Marshal(renamed) // of strings: no error
		tags["plumb.names"] = string(b)
	}
	return tags
}

// writeNamed writes a file for each value, and notes the names that had to be changed.
func writeNamed(dir string, values, renamed map[string]string) error {
	taken := map[string]bool{}
	for _, name := range sorted(values) {
		plain := plainName(name)
		for n := 2; taken[strings.ToLower(plain)]; n++ {
			plain = plainName(name) + "_" + strconv.Itoa(n)
		}
		taken[strings.ToLower(plain)] = true
		if plain != name && renamed != nil {
			renamed[plain] = name
		}
		if err := os.WriteFile(filepath.Join(dir, plain), []byte(values[name]), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// plainName is a name that MLflow takes, and that is one file's.
func plainName(name string) string {
	plain := strings.Map(func(c rune) rune {
		if c == '_' || c == '-' || c == '.' || c == ' ' || c < unicode.MaxASCII && (unicode.IsLetter(c) || unicode.IsDigit(c)) {
			return c
		}
		return '_'
	}, name)
	if strings.Trim(plain, ".") == "" {
		plain = "_" + plain
	}
	const longest = 250
	return plain[:min(len(plain), longest)]
}

func (m *mlflowStore) finish() error {
	for _, e := range m.experiments {
		if err := writeYAML(filepath.Join(m.dir, e.id, "meta.yaml"), []field{
			{"artifact_location", m.uri(e.id)}, {"creation_time", e.first}, {"experiment_id", e.id}, {"last_update_time", e.last}, {"lifecycle_stage", "active"}, {"name", e.name},
		}); err != nil {
			return err
		}
	}
	return nil
}

// field is a line of a file in YAML. All that is written there is plain: a string in
// double quotes is what JSON makes of it, numbers and null are the same in both, as is an
// empty list.
type field struct {
	name  string
	value any
}

func writeYAML(path string, fields []field) error {
	var b strings.Builder
	for _, f := range fields {
		v, err := json.Marshal(f.value)
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s: %s\n", f.name, v)
	}
	return os.WriteFile(path, []byte(b.String()), 0o644)
}
