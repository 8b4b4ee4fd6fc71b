package toolbox

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

func printfTool() tool {
	return tool{run: printf, usage: "format [argument]…", lacks: "%q, %n and floating point of more than 64 bits"}
}

// printing is printf at work: the format is used again until no argument is left.
type printing struct {
	c     *Call
	args  []string
	taken bool
	stop  bool // \c
	out   bytes.Buffer
}

func printf(_ context.Context, c *Call) error {
	args := c.Args[1:]
	if len(args) > 0 && args[0] == "--help" {
		return errHelp
	}
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		return usageError("needs a format")
	}
	p := &printing{c: c, args: args[1:]}
	for again := true; again && !p.stop; again = p.taken && len(p.args) > 0 {
		p.taken = false
		if err := p.once(args[0]); err != nil {
			c.out().Write(p.out.Bytes()) // what went well is printed; the error is said anyway
			return err
		}
	}
	_, err := c.out().Write(p.out.Bytes())
	return err
}

func (p *printing) once(format string) error {
	for i := 0; i < len(format) && !p.stop; {
		switch c := format[i]; {
		case c == '\\':
			i += p.escape(format[i:], false)
		case c == '%' && strings.HasPrefix(format[i:], "%%"):
			p.out.WriteByte('%')
			i += 2
		case c == '%':
			n, err := p.directive(format[i:])
			if err != nil {
				return err
			}
			i += n
		default:
			p.out.WriteByte(c)
			i++
		}
	}
	return nil
}

// escape writes what an escape at the start of s stands for and says how long it is.
// In %b an octal number has a zero in front, and \c ends all.
func (p *printing) escape(s string, inArgument bool) int {
	if len(s) == 1 {
		p.out.WriteByte('\\')
		return 1
	}
	if i := strings.IndexByte(`\abfnrtv"`, s[1]); i >= 0 {
		p.out.WriteByte("\\\a\b\f\n\r\t\v\""[i])
		return 2
	}
	digits := func(from, most, base int) int {
		end := from
		for end < len(s) && end < from+most {
			if _, err := strconv.ParseUint(s[end:end+1], base, 8); err != nil {
				break
			}
			end++
		}
		n, _ := strconv.ParseUint(s[from:end], base, 32) // digits alone, or none: zero
		p.out.WriteByte(byte(n))
		return end
	}
	switch c := s[1]; {
	case c == 'c' && inArgument:
		p.stop = true
		return 2
	case c == '0' && inArgument:
		return digits(2, 3, 8)
	case c >= '0' && c <= '7':
		return digits(1, 3, 8)
	case c == 'x' && len(s) > 2:
		return digits(2, 2, 16)
	case c == 'e':
		p.out.WriteByte(0x1b)
		return 2
	}
	p.out.WriteString(s[:2])
	return 2
}

func (p *printing) next() string {
	p.taken = true
	if len(p.args) == 0 {
		return ""
	}
	a := p.args[0]
	p.args = p.args[1:]
	return a
}

// directive writes one % with its argument.
func (p *printing) directive(s string) (int, error) {
	i := 1
	for i < len(s) && strings.IndexByte("-+ #0", s[i]) >= 0 {
		i++
	}
	flags := s[1:i]
	number := func() (int, bool) {
		if i < len(s) && s[i] == '*' {
			i++
			return int(p.integer(p.next())), true
		}
		start := i
		for i < len(s) && isDigit(rune(s[i])) {
			i++
		}
		n, err := strconv.Atoi(s[start:i])
		return min(n, 1<<20), err == nil
	}
	width, _ := number()
	if width < 0 {
		flags, width = flags+"-", -width
	}
	precision := -1
	if i < len(s) && s[i] == '.' {
		i++
		if n, ok := number(); ok && n >= 0 {
			precision = n
		} else {
			precision = 0
		}
	}
	for i < len(s) && strings.IndexByte("hlLjzt", s[i]) >= 0 {
		i++ // sizes mean nothing here
	}
	if i >= len(s) {
		return 0, usageError(fmt.Sprintf("the format %q ends early", s))
	}
	text, err := p.convert(s[i], flags, precision)
	if err != nil {
		return 0, err
	}
	p.pad(text, flags, width, strings.IndexByte("diouxX", s[i]) >= 0 && precision >= 0)
	return i + 1, nil
}

// pad brings to the width; zeros go behind a sign.
func (p *printing) pad(text, flags string, width int, exact bool) {
	missing := width - utf8.RuneCountInString(text)
	switch {
	case missing <= 0:
		p.out.WriteString(text)
	case strings.Contains(flags, "-"):
		p.out.WriteString(text + strings.Repeat(" ", missing))
	case strings.Contains(flags, "0") && !exact && text != "" && (isDigit(rune(text[len(text)-1])) || strings.Trim(text, "+-0123456789abcdefABCDEFx.") == ""):
		sign := text[:len(text)-len(strings.TrimLeft(text, "+- "))]
		text = text[len(sign):]
		if strings.HasPrefix(text, "0x") || strings.HasPrefix(text, "0X") {
			sign, text = sign+text[:2], text[2:]
		}
		p.out.WriteString(sign + strings.Repeat("0", missing) + text)
	default:
		p.out.WriteString(strings.Repeat(" ", missing) + text)
	}
}

func (p *printing) convert(letter byte, flags string, precision int) (string, error) {
	switch letter {
	case 's', 'b':
		text := p.next()
		if letter == 'b' {
			text = p.unescaped(text)
		}
		if precision >= 0 && precision < len(text) {
			text = text[:precision]
		}
		return text, nil
	case 'c':
		text := p.next()
		return text[:min(1, len(text))], nil
	case 'd', 'i':
		n := p.integer(p.next())
		if n < 0 {
			return "-" + least(strconv.FormatInt(n, 10)[1:], precision), nil
		}
		return signed(flags) + least(strconv.FormatInt(n, 10), precision), nil
	case 'o', 'u', 'x', 'X':
		n := uint64(p.integer(p.next()))
		base := map[byte]int{'o': 8, 'u': 10, 'x': 16, 'X': 16}[letter]
		text := least(strconv.FormatUint(n, base), precision)
		prefix := map[byte]string{'o': "0", 'x': "0x", 'X': "0x"}[letter]
		if strings.Contains(flags, "#") && n != 0 {
			text = prefix + text
		}
		if letter == 'X' {
			text = strings.ToUpper(text)
		}
		return text, nil
	case 'e', 'E', 'f', 'F', 'g', 'G':
		return p.float(letter, flags, precision), nil
	}
	return "", usageError(fmt.Sprintf("the conversion %%%c is not supported", letter))
}

func signed(flags string) string {
	switch {
	case strings.Contains(flags, "+"):
		return "+"
	case strings.Contains(flags, " "):
		return " "
	}
	return ""
}

func least(digits string, precision int) string {
	return strings.Repeat("0", max(precision-len(digits), 0)) + digits
}

func (p *printing) unescaped(text string) string {
	sub := &printing{}
	for i := 0; i < len(text) && !sub.stop; {
		if text[i] == '\\' {
			i += sub.escape(text[i:], true)
			continue
		}
		sub.out.WriteByte(text[i])
		i++
	}
	p.stop = sub.stop
	return sub.out.String()
}

// integer is an argument as a number, in C's forms, or the code of a character behind
// a quote. What is none is told, and zero.
func (p *printing) integer(text string) int64 {
	if text == "" {
		return 0
	}
	if text[0] == '\'' || text[0] == '"' {
		r, _ := utf8.DecodeRuneInString(text[1:])
		return int64(r)
	}
	n, err := strconv.ParseInt(strings.TrimSpace(text), 0, 64)
	if err != nil {
		if u, e := strconv.ParseUint(strings.TrimSpace(text), 0, 64); e == nil {
			return int64(u)
		}
		p.bad(text)
		digits := text[:len(text)-len(strings.TrimLeft(text, "-0123456789"))]
		n, _ = strconv.ParseInt(digits, 10, 64) // as far as it is one
	}
	return n
}

func (p *printing) bad(text string) {
	p.c.say(fmt.Errorf("%q is not a number", text))
	p.c.status = 1
}

func (p *printing) float(letter byte, flags string, precision int) string {
	text := p.next()
	v, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil && text != "" {
		if strings.HasPrefix(text, "'") || strings.HasPrefix(text, `"`) || strings.HasPrefix(text, "0x") {
			v = float64(p.integer(text))
		} else if !math.IsInf(v, 0) {
			p.bad(text)
		}
	}
	if precision < 0 {
		precision = 6
	}
	sign := signed(flags)
	if math.Signbit(v) {
		sign, v = "-", -v
	}
	if math.IsInf(v, 0) || math.IsNaN(v) {
		return sign + strings.ToLower(strings.TrimPrefix(strconv.FormatFloat(v, 'g', -1, 64), "+"))
	}
	if letter == 'g' || letter == 'G' {
		precision = max(precision, 1)
		return sign + general(v, letter, precision, strings.Contains(flags, "#"))
	}
	if letter == 'F' {
		letter = 'f'
	}
	return sign + strconv.FormatFloat(v, letter, precision, 64)
}

// general is C's %g.
func general(v float64, letter byte, precision int, keep bool) string {
	e := strconv.FormatFloat(v, letter-2, precision-1, 64)
	at := strings.IndexAny(e, "eE")
	exponent, err := strconv.Atoi(e[at+1:])
	if err != nil {
		return e // it always is a number
	}
	text, tail := e[:at], e[at:]
	if exponent >= -4 && exponent < precision {
		text, tail = strconv.FormatFloat(v, 'f', precision-1-exponent, 64), ""
	}
	if !keep && strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text + tail
}
