package toolbox

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/benhoyt/goawk/interp"
	"github.com/benhoyt/goawk/parser"
)

func awkTool() tool {
	return tool{
		run: awk, fail: 2, process: awkProcess,
		usage: "[-F separator] [-v name=value]… [-f file]… [--csv] [program] [file]…",
		lacks: "gawk's extensions (gensub, arrays of arrays, networking, @include); regular expressions are Go's, so that a reference is an error",
	}
}

// awkProcess: goawk opens files from, and runs commands in, the process's own
// directory and environment. A program that may do that has a process.
func awkProcess(c *Call) bool {
	for _, a := range c.Args[1:] {
		if strings.Contains(strings.ReplaceAll(a, "||", ""), "|") || strings.Contains(a, "system") || strings.Contains(a, "getline") ||
			strings.Contains(a, ">") || strings.HasPrefix(a, "-f") || strings.HasPrefix(a, "--") || exists(c.path(a)) {
			return true
		}
	}
	return false
}

func awk(_ context.Context, c *Call) error {
	o, err := c.options("+F,field-separator: v,assign: f,file: csv version")
	if err != nil {
		return err
	}
	config := &interp.Config{Argv0: "awk", Stdin: c.Stdin, Output: c.Stdout, Error: c.Stderr, Environ: []string{}, Chars: true}
	for _, v := range c.Env {
		name, value, _ := strings.Cut(v, "=")
		config.Environ = append(config.Environ, name, value)
	}
	if o.has("F") {
		fs := o.value("F", "")
		if fs == "t" {
			fs = "\t" // POSIX says so
		}
		config.Vars = append(config.Vars, "FS", fs)
	}
	for _, v := range o.values("v") {
		name, value, ok := strings.Cut(v, "=")
		if !ok {
			return usageError(fmt.Sprintf("-v %q is no assignment", v))
		}
		config.Vars = append(config.Vars, name, value)
	}
	if o.has("csv") {
		config.InputMode = interp.CSVMode
	}
	var source []byte
	for _, name := range o.values("f") {
		r, err := c.open(name)
		if err != nil {
			return err
		}
		data, err := io.ReadAll(r)
		r.Close() // was only read
		if err != nil {
			return err
		}
		source = append(append(source, data...), '\n')
	}
	if !o.has("f") {
		if len(o.operands) == 0 {
			return usageError("needs a program")
		}
		source, o.operands = []byte(o.operands[0]), o.operands[1:]
	}
	program, err := parser.ParseProgram(source, nil)
	if err != nil {
		return err
	}
	config.Args = o.operands
	code, err := interp.ExecProgram(program, config)
	if err != nil {
		return err
	}
	return status(code)
}
