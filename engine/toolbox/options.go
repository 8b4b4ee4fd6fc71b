package toolbox

import (
	"fmt"
	"slices"
	"strings"
)

// options are the flags of a command line in the order given, and its operands.
type options struct {
	given    []option
	operands []string
}

type option struct{ name, value string }

func (o *options) has(name string) bool {
	return slices.ContainsFunc(o.given, func(g option) bool { return g.name == name })
}

// value is the last value given to a flag, or otherwise.
func (o *options) value(name, otherwise string) string {
	for _, g := range slices.Backward(o.given) {
		if g.name == name {
			return g.value
		}
	}
	return otherwise
}

func (o *options) values(name string) (all []string) {
	for _, g := range o.given {
		if g.name == name {
			all = append(all, g.value)
		}
	}
	return all
}

// last is the one of the flags that was given last, "" for none: of -H and -h
// the later counts.
func (o *options) last(names ...string) string {
	for _, g := range slices.Backward(o.given) {
		if slices.Contains(names, g.name) {
			return g.name
		}
	}
	return ""
}

// flag is one that a tool knows.
type flag struct {
	names []string // the first is what options calls it
	value byte     // ':' takes one, '?' may have one attached, 0 takes none
}

// options reads the command line by a description of flags, separated by spaces:
// "n,quiet" is -n and --quiet, "e,expression:" takes a value, "i,in-place?" may
// have one attached. "#" stands for -5 and the like. A "+" in front of all ends the
// flags at the first operand; without it they may stand anywhere, as with GNU's.
func (c *Call) options(spec string) (*options, error) {
	spec, early := strings.CutPrefix(spec, "+")
	var known []flag
	for f := range strings.FieldsSeq(spec) {
		var kind byte
		if last := f[len(f)-1]; last == ':' || last == '?' {
			kind, f = last, f[:len(f)-1]
		}
		known = append(known, flag{strings.Split(f, ","), kind})
	}
	o := &options{}
	args := c.Args[1:]
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		var err error
		switch {
		case arg == "--":
			o.operands = append(o.operands, args...)
			return o, nil
		case arg == "--help":
			return nil, errHelp
		case strings.HasPrefix(arg, "--"):
			args, err = o.long(known, arg[2:], args)
		case len(arg) > 1 && arg[0] == '-':
			args, err = o.short(known, arg[1:], args)
		default:
			o.operands = append(o.operands, arg)
			if early {
				o.operands = append(o.operands, args...)
				return o, nil
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return o, nil
}

// long takes --name, --name=value, or --name value; a name may be cut short
// where that is clear.
func (o *options) long(known []flag, arg string, rest []string) ([]string, error) {
	name, value, attached := strings.Cut(arg, "=")
	var found []flag
	for _, f := range known {
		for _, n := range f.names {
			if len(n) > 1 && n == name {
				found = []flag{f}
				goto take
			}
			if len(n) > 1 && strings.HasPrefix(n, name) {
				found = append(found, f)
				break
			}
		}
	}
take:
	if len(found) != 1 {
		return nil, usageError(fmt.Sprintf("unknown option '--%s'", name))
	}
	f := found[0]
	switch {
	case f.value == 0 && attached:
		return nil, usageError(fmt.Sprintf("option '--%s' takes no value", name))
	case f.value == ':' && !attached:
		if len(rest) == 0 {
			return nil, usageError(fmt.Sprintf("option '--%s' needs a value", name))
		}
		value, rest = rest[0], rest[1:]
	}
	o.given = append(o.given, option{f.names[0], value})
	return rest, nil
}

// short takes a word of single letters; the rest of the word or the next one is a
// value.
func (o *options) short(known []flag, word string, rest []string) ([]string, error) {
	for word != "" {
		name := word[:1]
		i := slices.IndexFunc(known, func(f flag) bool { return slices.Contains(f.names, name) })
		if i < 0 && word[0] >= '0' && word[0] <= '9' {
			if slices.ContainsFunc(known, func(f flag) bool { return f.names[0] == "#" }) {
				digits := word[:len(word)-len(strings.TrimLeft(word, "0123456789"))]
				o.given = append(o.given, option{"#", digits})
				word = word[len(digits):]
				continue
			}
		}
		if i < 0 {
			return nil, usageError(fmt.Sprintf("unknown option '-%s'", name))
		}
		word = word[1:]
		value := ""
		switch known[i].value {
		case '?':
			value, word = word, ""
		case ':':
			if word != "" {
				value, word = word, ""
				break
			}
			if len(rest) == 0 {
				return nil, usageError(fmt.Sprintf("option '-%s' needs a value", name))
			}
			value, rest = rest[0], rest[1:]
		}
		o.given = append(o.given, option{known[i].names[0], value})
	}
	return rest, nil
}
