package plan

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"plumb/store"
)

// Parse gives the action whose fields these are. What a key does not tell is not in
// it: sizes of inputs, and values that are Sensitive, which are digests.
func Parse(fields []Field) (*Action, error) {
	a := &Action{}
	for _, f := range fields {
		if err := a.set(f); err != nil {
			return nil, fmt.Errorf("reading the %s %q of an action: %w", f.Kind, f.Name, err)
		}
	}
	return a, nil
}

func (a *Action) set(f Field) (err error) {
	switch f.Kind {
	case FieldSandbox:
	case FieldImage:
		a.Image, err = store.ParseDigest(f.Value)
	case FieldPlatform:
		a.Platform = f.Value
	case FieldCommand:
		a.Command, err = parseCommand(f.Value)
	case FieldIsolation:
		a.Isolation = f.Value
	case FieldEnv:
		v, sensitive := unmasked(f.Value)
		a.Env = append(a.Env, EnvVar{Name: f.Name, Value: v, Sensitive: sensitive})
	case FieldParam:
		v, sensitive := unmasked(f.Value)
		a.Params = append(a.Params, Param{Name: f.Name, Value: v, Sensitive: sensitive})
	case FieldSecret:
		a.Secrets = append(a.Secrets, f.Name)
	case FieldInput:
		in, ok := parseInput(f)
		if !ok {
			return ErrEncoding
		}
		a.Inputs = append(a.Inputs, in)
	case FieldOutput:
		path, dir := strings.CutPrefix(f.Value, "directory ")
		a.Outputs = append(a.Outputs, Output{Name: f.Name, Path: path, Dir: dir})
	case FieldMetrics:
		a.Metrics = f.Value
	case FieldSeed:
		var n int64
		n, err = strconv.ParseInt(f.Value, 10, 64)
		a.Seed = &n
	case FieldNetwork:
		a.Network = true
	case FieldCheckpoint:
		a.Checkpoint = f.Value
	default:
		return ErrEncoding
	}
	return err
}

// parseCommand reads what commandValue wrote.
func parseCommand(v string) (args []string, err error) {
	rest, ok := strings.CutPrefix(v, "bytes [")
	if !ok {
		if err = json.Unmarshal([]byte(v), &args); len(args) == 0 {
			args = nil
		}
		return args, err
	}
	for rest != "]" {
		quoted, err := strconv.QuotedPrefix(strings.TrimPrefix(rest, " "))
		if err != nil {
			return nil, err
		}
		arg, err := strconv.Unquote(quoted)
		if err != nil {
			return nil, err
		}
		args = append(args, arg)
		rest = strings.TrimPrefix(rest, " ")[len(quoted):]
	}
	return args, nil
}

// unmasked reads what masked wrote.
func unmasked(v string) (value string, sensitive bool) {
	if digest, ok := strings.CutPrefix(v, "sensitive:"); ok {
		return digest, true
	}
	return strings.TrimPrefix(v, "="), false
}

func parseInput(f Field) (Input, bool) {
	kind, d, ok := InputDigest(f.Value)
	return Input{Path: f.Name, Artifact: store.Artifact{Kind: kind, Digest: d, Exec: strings.Contains(f.Value, " executable ")}}, ok
}
