package plan

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"plumb/store"
)

// An action is stored as its fields, and its key is the digest of those stored
// bytes and of nothing else. So whatever makes two keys differ is there to be
// read: two actions with different keys differ in at least one field, because
// equal fields have equal bytes. That is why the encoding is a list of fields
// and not a struct that somebody hashes beside storing it.
//
// Form: the magic, then every field as kind, name and value, each with its
// length before it (so that no two lists share their bytes), sorted. What is
// absent has no field; what is empty has a field with an empty value.
const magic = "plumb action 1\n"

// FieldKind says which ingredient of an action a field is.
type FieldKind string

// The ingredients of an action.
const (
	FieldCommand   FieldKind = "command"
	FieldImage     FieldKind = "image"
	FieldPlatform  FieldKind = "platform"
	FieldParam     FieldKind = "param"
	FieldEnv       FieldKind = "env"
	FieldSeed      FieldKind = "seed"
	FieldInput     FieldKind = "input"
	FieldOutput    FieldKind = "output"
	FieldMetrics   FieldKind = "metrics"
	FieldNetwork   FieldKind = "network"
	FieldIsolation FieldKind = "isolation"
	FieldSecret    FieldKind = "secret"
	FieldSandbox   FieldKind = "sandbox"

	FieldCheckpoint FieldKind = "checkpoint"
)

// Field is one ingredient of an action.
type Field struct {
	Kind        FieldKind
	Name, Value string
}

// Sandbox is the version of all that plumb itself gives every stage: the fixed
// environment, the working directory, how a string command is run. It is a field
// of each action, so that a plumb that changes any of it misses, and says why.
const Sandbox = "1"

// Action is a stage with everything resolved that may change its outputs. The
// order of Env, Params, Secrets, Inputs and Outputs means nothing.
type Action struct {
	Image     store.Digest // of the platform's manifest
	Platform  string
	Command   []string
	Env       []EnvVar
	Params    []Param
	Secrets   []string // names: that a stage sees one counts, the value does not
	Inputs    []Input
	Outputs   []Output
	Metrics   string // path, "" for none
	Seed      *int64
	Network   bool
	Isolation string

	Checkpoint string // path of the directory that attempts share, "" for none; never what is in it
}

// EnvVar is one declared environment entry. Value is a digest when Sensitive.
type EnvVar struct {
	Name, Value string
	Sensitive   bool
}

// Param is a param that the stage refers to. Value is JSON, a digest when Sensitive.
type Param struct {
	Name, Value string
	Sensitive   bool
}

// Input is an artifact at its place in the workspace.
type Input struct {
	Path string
	store.Artifact
}

// Output is a declared output; Dir when it must be a directory.
type Output struct {
	Name, Path string
	Dir        bool
}

// Fields lists the ingredients, sorted.
func (a *Action) Fields() []Field {
	f := make([]Field, 0, 8+len(a.Env)+len(a.Params)+len(a.Secrets)+len(a.Inputs)+len(a.Outputs))
	add := func(k FieldKind, name, value string) { f = append(f, Field{k, name, value}) }
	add(FieldSandbox, "", Sandbox)
	add(FieldImage, "", a.Image.String())
	add(FieldPlatform, "", a.Platform)
	add(FieldCommand, "", commandValue(a.Command))
	add(FieldIsolation, "", a.Isolation)
	for _, e := range a.Env {
		add(FieldEnv, e.Name, masked(e.Value, e.Sensitive))
	}
	for _, p := range a.Params {
		add(FieldParam, p.Name, masked(p.Value, p.Sensitive))
	}
	for _, name := range a.Secrets {
		add(FieldSecret, name, "")
	}
	for _, in := range a.Inputs {
		add(FieldInput, in.Path, inputValue(in.Artifact))
	}
	for _, o := range a.Outputs {
		add(FieldOutput, o.Name, outputValue(o))
	}
	if a.Metrics != "" {
		add(FieldMetrics, "", a.Metrics)
	}
	if a.Seed != nil {
		add(FieldSeed, "", strconv.FormatInt(*a.Seed, 10))
	}
	if a.Network {
		add(FieldNetwork, "", "host")
	}
	if a.Checkpoint != "" {
		add(FieldCheckpoint, "", a.Checkpoint)
	}
	slices.SortFunc(f, Field.compare)
	return f
}

func (f Field) compare(g Field) int {
	return cmp.Or(cmp.Compare(f.Kind, g.Kind), cmp.Compare(f.Name, g.Name), cmp.Compare(f.Value, g.Value))
}

// commandValue is JSON so that the borders between arguments stay visible; a
// nil and an empty command are the same nothing.
func commandValue(args []string) string {
	if len(args) == 0 {
		return "[]"
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if e.Encode(args) != nil { // a []string always encodes
		panic("plan: a command that is no list of strings")
	}
	// JSON replaces invalid UTF-8, which would make two commands one: such
	// arguments are spelled by their bytes.
	for _, a := range args {
		if !validUTF8(a) {
			return fmt.Sprintf("bytes %q", args)
		}
	}
	return string(bytes.TrimSuffix(b.Bytes(), []byte("\n")))
}

func validUTF8(s string) bool {
	return bytes.Equal(bytes.ToValidUTF8([]byte(s), nil), []byte(s))
}

// masked tells a sensitive value from a plain one that happens to read the same.
func masked(v string, sensitive bool) string {
	if sensitive {
		return "sensitive:" + v
	}
	return "=" + v
}

func inputValue(a store.Artifact) string {
	kind := string(a.Kind)
	if a.Exec {
		kind += " executable"
	}
	return kind + " " + a.Digest.String()
}

func outputValue(o Output) string {
	if o.Dir {
		return "directory " + o.Path
	}
	return o.Path
}

// Encode gives the canonical bytes of the action.
func (a *Action) Encode() []byte { return encode(a.Fields()) }

func encode(fields []Field) []byte {
	n := len(magic)
	for _, f := range fields {
		n += len(f.Kind) + len(f.Name) + len(f.Value) + 6
	}
	b := append(make([]byte, 0, n), magic...)
	for _, f := range fields {
		for _, s := range [...]string{string(f.Kind), f.Name, f.Value} {
			b = binary.AppendUvarint(b, uint64(len(s)))
			b = append(b, s...)
		}
	}
	return b
}

// KeyOf is the key of an encoded action.
func KeyOf(encoded []byte) store.Key { return store.Key(store.Sum(encoded)) }

// ErrEncoding says that bytes are no encoded action of this version.
var ErrEncoding = errors.New("not an action of this format")

// Decode reads the fields of an encoded action.
func Decode(b []byte) ([]Field, error) {
	rest, ok := bytes.CutPrefix(b, []byte(magic))
	if !ok {
		return nil, ErrEncoding
	}
	var fields []Field
	for len(rest) > 0 {
		var parts [3]string
		for i := range parts {
			n, w := binary.Uvarint(rest)
			if w <= 0 || n > uint64(len(rest)-w) {
				return nil, ErrEncoding
			}
			parts[i] = string(rest[w : w+int(n)])
			rest = rest[w+int(n):]
		}
		fields = append(fields, Field{FieldKind(parts[0]), parts[1], parts[2]})
	}
	return fields, nil
}
