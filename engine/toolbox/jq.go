package toolbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/itchyny/gojq"
)

func jqTool() tool {
	return tool{
		run: jq, fail: 2,
		usage: "[-acejnrsSR] [--tab] [--indent n] [--arg name value]… [--argjson name value]… [--slurpfile name file]… [--rawfile name file]… [--args|--jsonargs] [-f file] filter [file|value]…",
		lacks: "the order of an object's keys, which come out sorted; -C, --seq, --stream, -L and modules; what gojq leaves out of jq",
	}
}

// filtering is jq at work.
type filtering struct {
	o      *options
	args   map[string]any
	values []any
	indent string
	last   any
	none   bool
}

func jq(ctx context.Context, c *Call) error {
	f := &filtering{args: map[string]any{}, none: true}
	rest, err := f.named(c)
	if err != nil {
		return err
	}
	sub := *c
	sub.Args = rest
	o, err := sub.options("a,ascii-output c,compact-output e,exit-status j,join-output n,null-input r,raw-output s,slurp S,sort-keys R,raw-input M,monochrome-output tab indent: f,from-file: args jsonargs raw-output0")
	if err != nil {
		return err
	}
	f.o = o
	if err := f.setIndent(); err != nil {
		return err
	}
	text, err := f.filter(c)
	if err != nil {
		return err
	}
	query, err := gojq.Parse(text)
	if err != nil {
		c.say(fmt.Errorf("in the filter: %w", err))
		return exit(3)
	}
	if err := f.positional(); err != nil {
		return err
	}
	inputs, err := f.inputs(c)
	if err != nil {
		return err
	}
	return f.run(ctx, c, query, inputs)
}

// named takes the flags with two values, which nothing else has, off the line.
func (f *filtering) named(c *Call) (rest []string, _ error) {
	args := c.Args
	for i := 0; i < len(args); i++ {
		a := args[i]
		if a == "--" {
			return append(rest, args[i:]...), nil
		}
		switch a {
		case "--arg", "--argjson", "--slurpfile", "--rawfile":
		default:
			rest = append(rest, a)
			continue
		}
		if i+2 >= len(args) {
			return nil, usageError(a + " needs a name and a value")
		}
		value, err := f.argument(c, a, args[i+2])
		if err != nil {
			return nil, usageError(fmt.Sprintf("%s %s: %v", a, args[i+1], err))
		}
		if _, ok := f.args[args[i+1]]; !ok {
			f.args[args[i+1]] = value
		}
		i += 2
	}
	return rest, nil
}

func (f *filtering) argument(c *Call, flag, text string) (any, error) {
	switch flag {
	case "--arg":
		return text, nil
	case "--argjson":
		return decodeOne(text)
	}
	r, err := c.open(text)
	if err != nil {
		return nil, err
	}
	defer r.Close() // was only read
	data, err := io.ReadAll(r)
	if err != nil || flag == "--rawfile" {
		return string(data), err
	}
	all, err := decodeAll(data)
	if all == nil {
		all = []any{}
	}
	return all, err
}

func decodeOne(text string) (any, error) {
	all, err := decodeAll([]byte(text))
	if err == nil && len(all) != 1 {
		err = errors.New("is not one JSON value")
	}
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

func decodeAll(data []byte) (all []any, _ error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	for {
		var v any
		if err := d.Decode(&v); err != nil {
			return all, ignoreEOF(err)
		}
		all = append(all, v)
	}
}

func (f *filtering) setIndent() error {
	f.indent = "  "
	switch f.o.last("tab", "indent", "c") {
	case "tab":
		f.indent = "\t"
	case "c":
		f.indent = ""
	case "indent":
		n, err := strconv.Atoi(f.o.value("indent", ""))
		if err != nil || n < 0 || n > 7 {
			return usageError("invalid indentation")
		}
		f.indent = strings.Repeat(" ", n)
	}
	return nil
}

func (f *filtering) filter(c *Call) (string, error) {
	if f.o.has("f") {
		r, err := c.open(f.o.value("f", ""))
		if err != nil {
			return "", err
		}
		defer r.Close() // was only read
		data, err := io.ReadAll(r)
		return string(data), err
	}
	if len(f.o.operands) == 0 {
		return ".", nil
	}
	text := f.o.operands[0]
	f.o.operands = f.o.operands[1:]
	return text, nil
}

// positional makes $ARGS of what is behind --args.
func (f *filtering) positional() error {
	way := f.o.last("args", "jsonargs")
	f.values = []any{}
	if way == "" {
		return nil
	}
	for _, a := range f.o.operands {
		var v any = a
		if way == "jsonargs" {
			var err error
			if v, err = decodeOne(a); err != nil {
				return usageError(fmt.Sprintf("%q: %v", a, err))
			}
		}
		f.values = append(f.values, v)
	}
	f.o.operands = nil
	return nil
}

// inputs are the values of the files one after the other.
func (f *filtering) inputs(c *Call) (gojq.Iter, error) {
	names := f.o.operands
	if f.o.has("n") && len(names) == 0 && !f.o.has("R") && !f.o.has("s") {
		return &decoding{open: func() (io.Reader, error) { return c.Stdin, nil }}, nil
	}
	if !f.o.has("s") && !f.o.has("R") && len(names) == 0 {
		return &decoding{open: func() (io.Reader, error) { return c.Stdin, nil }}, nil
	}
	var all []any
	var raw strings.Builder
	err := c.each(names, func(name string, r io.Reader) error {
		data, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		if f.o.has("R") {
			raw.Write(data)
			return nil
		}
		more, err := decodeAll(data)
		all = append(all, more...)
		if err != nil {
			all = append(all, fmt.Errorf("%s: %w", name, err))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	switch {
	case f.o.has("R") && f.o.has("s"):
		return gojq.NewIter[any](raw.String()), nil
	case f.o.has("R"):
		for _, l := range splitLines([]byte(raw.String()), '\n') {
			all = append(all, string(l))
		}
	case f.o.has("s"):
		for _, v := range all {
			if err, ok := v.(error); ok {
				return nil, err
			}
		}
		if all == nil {
			all = []any{}
		}
		return gojq.NewIter[any](all), nil
	}
	return gojq.NewIter(all...), nil
}

// decoding reads standard input as it comes.
type decoding struct {
	open func() (io.Reader, error)
	d    *json.Decoder
	done bool
}

func (d *decoding) Next() (any, bool) {
	if d.done {
		return nil, false
	}
	if d.d == nil {
		r, err := d.open()
		if err != nil {
			d.done = true
			return err, true
		}
		d.d = json.NewDecoder(r)
		d.d.UseNumber()
	}
	var v any
	err := d.d.Decode(&v)
	if err == nil {
		return v, true
	}
	d.done = true
	if err == io.EOF {
		return nil, false
	}
	return fmt.Errorf("input: %w", err), true
}

func (f *filtering) run(ctx context.Context, c *Call, query *gojq.Query, inputs gojq.Iter) error {
	names, values := []string{"$ARGS"}, []any{map[string]any{"named": f.args, "positional": f.values}}
	for name, v := range f.args {
		names, values = append(names, "$"+name), append(values, v)
	}
	code, err := gojq.Compile(query, gojq.WithVariables(names), gojq.WithInputIter(inputs), gojq.WithEnvironLoader(func() []string { return c.Env }))
	if err != nil {
		c.say(fmt.Errorf("in the filter: %w", err))
		return exit(3)
	}
	failed := false
	for once := f.o.has("n"); ; once = false {
		var input any
		if !once {
			if f.o.has("n") {
				break
			}
			v, ok := inputs.Next()
			if !ok {
				break
			}
			if err, is := v.(error); is {
				c.say(err)
				c.status = 2
				break
			}
			input = v
		}
		bad, err := f.one(c, code.RunWithContext(ctx, input, values...))
		if err != nil {
			return err
		}
		failed = failed || bad
	}
	switch {
	case failed:
		return exit(5)
	case c.status != 0:
		return nil
	case f.o.has("e") && f.none:
		return exit(4)
	case f.o.has("e") && (f.last == nil || f.last == false):
		return exit(1)
	}
	return nil
}

// one prints the results for one input. An error of the filter ends only that.
func (f *filtering) one(c *Call, results gojq.Iter) (failed bool, _ error) {
	for {
		v, ok := results.Next()
		if !ok {
			return false, nil
		}
		if err, is := v.(error); is {
			var halt *gojq.HaltError
			if errors.As(err, &halt) {
				return false, f.halt(c, halt)
			}
			if err := c.out().Flush(); err != nil {
				return false, err
			}
			fmt.Fprintf(c.Stderr, "jq: error: %v\n", err)
			return true, nil
		}
		f.last, f.none = v, false
		if err := f.print(c, v); err != nil {
			return false, err
		}
	}
}

func (f *filtering) halt(c *Call, halt *gojq.HaltError) error {
	if v := halt.Value(); v != nil {
		if s, ok := v.(string); ok {
			fmt.Fprint(c.Stderr, s)
		} else if data, err := gojq.Marshal(v); err == nil {
			fmt.Fprintf(c.Stderr, "%s\n", data)
		}
	}
	return exit(halt.ExitCode())
}

func (f *filtering) print(c *Call, v any) error {
	out := c.out()
	s, isText := v.(string)
	if isText && (f.o.has("r") || f.o.has("j") || f.o.has("raw-output0")) {
		if _, err := out.WriteString(s); err != nil {
			return err
		}
	} else {
		data, err := gojq.Marshal(v)
		if err != nil {
			return err
		}
		if f.o.has("a") {
			data = asciiOnly(data)
		}
		if f.indent != "" {
			var b bytes.Buffer
			if err := json.Indent(&b, data, "", f.indent); err != nil {
				return err
			}
			data = b.Bytes()
		}
		if _, err := out.Write(data); err != nil {
			return err
		}
	}
	switch {
	case f.o.has("raw-output0"):
		return out.WriteByte(0)
	case f.o.has("j"):
		return nil
	}
	return out.WriteByte('\n')
}

func asciiOnly(data []byte) []byte {
	var out []byte
	for _, r := range string(data) {
		switch {
		case r < 0x80:
			out = append(out, byte(r))
		case r < 0x10000:
			out = fmt.Appendf(out, `\u%04x`, r)
		default:
			r -= 0x10000
			out = fmt.Appendf(out, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		}
	}
	return out
}
