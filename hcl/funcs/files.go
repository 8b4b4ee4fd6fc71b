package funcs

import (
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

// Project is what file and fileset see: the project's files, confined to it.
type Project interface {
	// ReadFile returns the content of a file of the project.
	ReadFile(path string) ([]byte, error)
	// Glob lists the files below dir that match pattern, relative to dir, sorted.
	Glob(dir, pattern string) ([]string, error)
}

// ReadsFiles reports whether the function of that name looks at the project.
func ReadsFiles(name string) bool { return name == "file" || name == "fileset" }

// Files lists the functions that look at the project.
func Files(p Project) []Function {
	return []Function{
		{"file", "the content of a file of the project, as text", fileFunc(p)},
		{"fileset", "the set of files below a directory that match a pattern", filesetFunc(p)},
	}
}

// ErrSensitive says that a name of files is made of a marked value: which files were read
// is no secret.
var ErrSensitive = errors.New("the name is sensitive")

// named refuses marked names, which are passed on for that.
func named(args []cty.Value) error {
	if slices.ContainsFunc(args, cty.Value.IsMarked) {
		return ErrSensitive
	}
	return nil
}

func fileFunc(p Project) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "path", Type: cty.String, AllowMarked: true}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			if err := named(args); err != nil {
				return cty.NilVal, err
			}
			data, err := p.ReadFile(args[0].AsString())
			if err != nil {
				return cty.NilVal, function.NewArgError(0, err)
			}
			if !utf8.Valid(data) {
				return cty.NilVal, function.NewArgErrorf(0, "read %q: the file is not UTF-8 text", args[0].AsString())
			}
			return cty.StringVal(string(data)), nil
		},
	})
}

func filesetFunc(p Project) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "dir", Type: cty.String, AllowMarked: true}, {Name: "pattern", Type: cty.String, AllowMarked: true}},
		Type:   function.StaticReturnType(cty.Set(cty.String)),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			if err := named(args); err != nil {
				return cty.NilVal, err
			}
			pattern := args[1].AsString()
			if pattern == "" {
				return cty.NilVal, function.NewArgError(1, fmt.Errorf("the pattern is empty"))
			}
			names, err := p.Glob(args[0].AsString(), pattern)
			if err != nil {
				return cty.NilVal, function.NewArgError(0, err)
			}
			if len(names) == 0 {
				return cty.SetValEmpty(cty.String), nil
			}
			values := make([]cty.Value, len(names))
			for i, name := range names {
				values[i] = cty.StringVal(name)
			}
			return cty.SetVal(values), nil
		},
	})
}
