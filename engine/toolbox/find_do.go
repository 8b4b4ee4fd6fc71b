package toolbox

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// exec is -exec … ; or -exec … {} +.
func (f *finder) exec() (test, error) {
	f.acts = true
	end := slices.IndexFunc(f.args, func(a string) bool { return a == ";" || a == "+" })
	for end > 0 && f.args[end] == "+" && f.args[end-1] != "{}" {
		next := slices.IndexFunc(f.args[end+1:], func(a string) bool { return a == ";" || a == "+" })
		if next < 0 {
			return nil, usageError("-exec has no ; or {} +")
		}
		end += 1 + next
	}
	if end < 1 {
		return nil, usageError("-exec has no command, or no ; or {} +")
	}
	command, many := slices.Clone(f.args[:end]), f.args[end] == "+"
	f.args = f.args[end+1:]
	run := func(args []string) bool {
		f.fail(f.c.out().Flush())
		return f.c.command(f.ctx, args, f.c.Env) == 0
	}
	if !many {
		return func(v *visit) bool {
			var args []string
			for _, a := range command {
				args = append(args, strings.ReplaceAll(a, "{}", v.path))
			}
			return run(args)
		}, nil
	}
	command = command[:len(command)-1]
	var waiting []string
	size := 0
	flush := func() {
		if len(waiting) > 0 && !run(append(slices.Clone(command), waiting...)) {
			f.c.status = 1
		}
		waiting, size = nil, 0
	}
	f.atEnd = append(f.atEnd, flush)
	return func(v *visit) bool {
		if waiting, size = append(waiting, v.path), size+len(v.path)+1; size > 100_000 {
			flush()
		}
		return true
	}, nil
}

func (f *finder) checkFormat(format string) error {
	_, err := f.format(format, nil)
	return err
}

func (f *finder) printf(format string, v *visit) bool {
	text, err := f.format(format, v)
	f.fail(err)
	_, err = f.c.out().Write(text)
	f.fail(err)
	return true
}

// format fills a -printf in; without a file it only checks.
func (f *finder) format(format string, v *visit) ([]byte, error) {
	var b bytes.Buffer
	for i := 0; i < len(format); i++ {
		if format[i] == '\\' && i+1 < len(format) {
			i++
			j := strings.IndexByte(`ntr\0abfv`, format[i])
			if j < 0 {
				return nil, usageError(fmt.Sprintf(`\%c in -printf is not supported`, format[i]))
			}
			b.WriteByte("\n\t\r\\\x00\a\b\f\v"[j])
			continue
		}
		if format[i] != '%' || i+1 >= len(format) {
			b.WriteByte(format[i])
			continue
		}
		i++
		directive := format[i : i+1]
		if directive == "T" && i+1 < len(format) {
			i++
			directive += format[i : i+1]
		}
		value, ok := f.directive(directive, v)
		if !ok {
			return nil, usageError(fmt.Sprintf("%%%s in -printf is not supported", directive))
		}
		b.WriteString(value)
	}
	return b.Bytes(), nil
}

func (f *finder) directive(d string, v *visit) (string, bool) {
	if v == nil {
		return "", slices.Contains(strings.Fields("% p f h P s m M y d l u g i n T@"), d)
	}
	e := entryOf(v.info)
	letter := map[string]byte{"m": 'a', "M": 'A', "s": 's', "i": 'i', "n": 'h', "u": 'U', "g": 'G'}[d]
	if letter != 0 {
		return f.c.statValue(letter, e)
	}
	switch d {
	case "%":
		return "%", true
	case "p":
		return v.path, true
	case "f":
		return filepath.Base(v.path), true
	case "h":
		if i := strings.LastIndexByte(v.path, '/'); i >= 0 {
			return v.path[:i], true
		}
		return ".", true
	case "P":
		return strings.TrimPrefix(strings.TrimPrefix(v.path, v.root), "/"), true
	case "y":
		kind := modeText(e.st.Mode)[:1]
		if kind == "-" {
			kind = "f"
		}
		return kind, true
	case "d":
		return strconv.Itoa(v.depth), true
	case "l":
		to, err := os.Readlink(f.c.path(v.path))
		if err != nil {
			to = "" // no link
		}
		return to, true
	case "T@":
		t := v.info.ModTime()
		return fmt.Sprintf("%d.%09d0", t.Unix(), t.Nanosecond()), true
	}
	return "", false
}
