package engine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"plumb/engine/event"
	"plumb/engine/mask"
	"plumb/engine/plan"
	"plumb/engine/runtime"
	"plumb/hcl"
)

// A secret's value is with the client until a stage that lists it is about to run.
// Then the run is refused with the names that it wants, and the client sends it
// again with their values:
//
//	client  run ─────────────▶ engine   plans; nothing runs that lists a secret: it runs
//	client  ◀── Wanting: db ── engine
//	client  run, db = … ─────▶ engine   plans again, from what it remembers, and runs
//
// So a run with nothing to do asks for nothing, nobody looks secrets up who needs
// none, and the value is in the memory of a request, of the container's files, and of
// what hides it in logs; it goes when the run does.
//
// The client takes where a value comes from out of its own reading of the pipeline,
// not from what asks: an agent may belong to somebody else than who calls it.

// MaxSecret bounds the value of a secret, MaxSecrets those of a run together.
const (
	MaxSecret  = 1 << 20
	MaxSecrets = 8 << 20
)

// Secret is the value of a secret, or why there is none.
type Secret struct {
	Value   []byte `json:"value,omitempty"`
	Missing string `json:"missing,omitempty"` // a clause: "the variable X is not set"
}

// String keeps the value out of whatever prints it.
func (Secret) String() string { return "(secret)" }

// GoString does too.
func (Secret) GoString() string { return "(secret)" }

// wantSecrets looks whether the secrets are there that stages which will run list.
// Of a stage that may turn out to be unchanged they are asked for, but they need not
// be there.
func (s *session) wantSecrets(have map[string]Secret) error {
	var want, told []string
	var diags hcl.Diagnostics
	for i := range s.pipeline.Stages {
		st := &s.pipeline.Stages[i]
		if len(st.Secrets) == 0 || !s.selected[i] || s.outside[i] {
			continue
		}
		runs, certain := willRun(s.planner.Decision(i))
		for _, name := range st.Secrets {
			secret, sent := have[name]
			switch {
			case runs && !sent:
				want = append(want, name)
			case certain && secret.Missing != "" && !slices.Contains(told, name):
				told = append(told, name)
				diags = append(diags, missingSecret(s.pipeline, st, name, secret))
			}
		}
	}
	if len(want) > 0 {
		slices.Sort(want)
		want = slices.Compact(want)
		return &Error{Kind: Wanting, Message: "the run needs the secrets " + strings.Join(want, ", "), Secrets: want}
	}
	if len(diags) > 0 {
		diags.Sort()
		return diags
	}
	return nil
}

// willRun says whether a stage may run, and whether nothing can spare it: one that
// waits for others and differs in itself is not found unchanged later.
func willRun(d plan.Decision) (may, certain bool) {
	switch d.Verdict {
	case plan.Execute:
		return true, true
	case plan.Pending:
		return true, len(d.Reasons) > 0 && d.Reasons[0].Kind != plan.ReasonUpstream
	}
	return false, false
}

func missingSecret(p *hcl.Pipeline, st *hcl.Stage, name string, secret Secret) hcl.Diagnostic {
	d := hcl.Diagnostic{
		Severity: hcl.SeverityError, Summary: "Secret without a value",
		Detail: fmt.Sprintf("Stage %q needs secret %q: %s.", st.Name, name, secret.Missing), Subject: st.Range,
	}
	for _, declared := range p.Secrets {
		if declared.Name == name {
			d.Subject, d.Hint = declared.Range, secretHint(&declared)
		}
	}
	return d
}

func secretHint(s *hcl.Secret) string {
	switch {
	case s.Env != "":
		return fmt.Sprintf("set the variable %s where plumb is called", s.Env)
	case s.File != "":
		return fmt.Sprintf("put the value into the file %s", s.File)
	}
	return "run the command by itself to see what is wrong"
}

// secrets are the files that stage i finds; an error when one has no value.
func (r *run) secrets(i int) (runtime.Secrets, error) {
	st := r.s.planner.Stage(i)
	if len(st.Secrets) == 0 {
		return runtime.Secrets{}, nil
	}
	files := map[string][]byte{}
	for _, name := range st.Secrets {
		secret, sent := r.req.Secrets[name]
		if !sent { // its result was lost since the run was planned
			secret.Missing = "its value was not sent with the run, run again"
		}
		if secret.Missing != "" {
			return runtime.Secrets{}, hcl.Diagnostics{missingSecret(r.s.pipeline, st, name, secret)}
		}
		files[name] = secret.Value
	}
	return runtime.Secrets{Dir: hcl.SecretDir, Files: files}, nil
}

// checkSecrets refuses values that a client of this build does not send.
func checkSecrets(secrets map[string]Secret) error {
	total := 0
	for name, s := range secrets {
		if total += len(s.Value); len(s.Value) > MaxSecret || total > MaxSecrets {
			return invalid("", "secret %q is larger than %d bytes, or all together are larger than %d", name, MaxSecret, MaxSecrets)
		}
		if len(s.Value) == 0 && s.Missing == "" {
			return invalid("", "secret %q is empty", name)
		}
	}
	return nil
}

// masksOf makes what hides the values of the run in logs: its secrets, and what is
// sensitive in the pipeline.
func masksOf(p *hcl.Pipeline, secrets map[string]Secret) *mask.Set {
	var values [][]byte
	for _, s := range secrets {
		values = append(values, s.Value)
	}
	for i := range p.Params {
		if p.Params[i].Sensitive {
			values = append(values, texts(p.Params[i].Value)...)
		}
	}
	for i := range p.Stages {
		for _, v := range p.Stages[i].Env {
			if v.Sensitive && v.Value.Expr == nil {
				values = append(values, []byte(v.Value.Value))
			}
		}
	}
	return mask.New(values)
}

// texts lists the strings and numbers in a value in JSON, at any depth. Names in it,
// true and false tell nothing.
func texts(value string) [][]byte {
	d := json.NewDecoder(strings.NewReader(value))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return nil // canonical JSON decodes
	}
	var out [][]byte
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case string:
			out = append(out, []byte(v))
		case json.Number:
			out = append(out, []byte(v.String()))
		case []any:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			for _, e := range v {
				walk(e)
			}
		}
	}
	walk(v)
	return out
}

// hide takes values out of what is said of a failure: names of files and metrics are
// a stage's own words.
func (r *run) hide(f *event.Failure) {
	f.Message, f.Hint = r.masks.String(f.Message), r.masks.String(f.Hint)
}

// warnOfSecrets says at the beginning what cannot be hidden, and what may be wanting.
func (r *run) warnOfSecrets() {
	for i := range r.s.pipeline.Stages {
		st := &r.s.pipeline.Stages[i]
		runs, certain := willRun(r.s.planner.Decision(i))
		if !r.s.selected[i] || r.s.outside[i] || !runs {
			continue
		}
		for _, name := range st.Secrets {
			s := r.req.Secrets[name]
			switch {
			case s.Missing != "" && !certain:
				r.emit(event.Event{Type: event.Warning, Stage: st.Name, Message: fmt.Sprintf("secret %s: %s; stage %s fails if it has to run", name, s.Missing, st.Name)})
			case s.Missing == "" && len(s.Value) < mask.Shortest:
				r.emit(event.Event{Type: event.Warning, Stage: st.Name, Message: fmt.Sprintf("secret %s is shorter than %d bytes: it is not hidden in the log of stage %s", name, mask.Shortest, st.Name)})
			}
		}
	}
}

// warnOfKeptSecrets looks for the values of a stage's secrets in what it wrote: that
// is kept, which is the user's to decide. Of each output a small part is read.
func (r *run) warnOfKeptSecrets(st *hcl.Stage, work string) {
	if len(st.Secrets) == 0 {
		return
	}
	root, err := os.OpenRoot(work)
	if err != nil {
		return // capture says it
	}
	defer root.Close()
	look := func(what, path string) {
		for _, name := range st.Secrets {
			value := bytes.TrimSpace(r.req.Secrets[name].Value)
			if len(value) >= mask.Shortest && contains(root, path, value) {
				r.emit(event.Event{Type: event.Warning, Stage: st.Name, Message: fmt.Sprintf("stage %s: %s contains the secret %s, and is kept in the store", st.Name, what, name)})
			}
		}
	}
	for _, o := range st.Outputs {
		look("the output "+o.Name, o.Path)
	}
	if st.Metrics != "" {
		look("the metrics file", st.Metrics)
	}
}

// maxLooked is how many bytes of an output are looked through.
const maxLooked = 16 << 20

// contains looks for a value in a file, or in the files of a directory. What cannot
// be read is passed over: capturing it tells what is wrong.
func contains(root *os.Root, path string, value []byte) bool {
	left, found := int64(maxLooked), false
	err := fs.WalkDir(root.FS(), filepath.ToSlash(path), func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil //nolint:nilerr // see above
		}
		f, err := root.Open(p)
		if err != nil {
			return nil //nolint:nilerr // see above
		}
		b, err := io.ReadAll(io.LimitReader(f, left))
		if err = errors.Join(err, f.Close()); err != nil {
			return nil //nolint:nilerr // see above
		}
		left -= int64(len(b))
		if found = bytes.Contains(b, value); found || left <= 0 {
			return fs.SkipAll
		}
		return nil
	})
	return found && err == nil
}
