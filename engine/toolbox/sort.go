package toolbox

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
)

func sortTool() tool {
	return tool{
		run: sortFiles, fail: 2,
		usage: "[-bcCdfghiMnrRsuVzm] [-k from[.char][flags][,to[.char][flags]]]… [-t char] [-o file] [file]…",
		lacks: "-R, files larger than memory (-S, -T and --parallel are taken and do nothing), orders of a locale other than by bytes",
	}
}

// sortKey is one -k, or the whole line.
type sortKey struct {
	from, fromChar int // from 1; fromChar 0 is the first
	to, toChar     int // to 0 is the end of the line
	order          string
	skipFrom       bool // b at the start and at the end of the key
	skipTo         bool
}

type sorting struct {
	keys   []sortKey
	mark   []byte // of -t; nil is blanks
	back   bool   // -r for the last resort
	stable bool
	unique bool
}

const sortOrders = "dfghiMnrV"

func sortFiles(_ context.Context, c *Call) error {
	o, err := c.options("b,ignore-leading-blanks c C check? d,dictionary-order f,ignore-case g,general-numeric-sort h,human-numeric-sort i,ignore-nonprinting M,month-sort " +
		"n,numeric-sort r,reverse s,stable u,unique V,version-sort z,zero-terminated m,merge k,key: t,field-separator: o,output: S,buffer-size: T,temporary-directory: parallel: R,random-sort sort:")
	if err != nil {
		return err
	}
	s, err := newSorting(o)
	if err != nil {
		return err
	}
	end := byte('\n')
	if o.has("z") {
		end = 0
	}
	all, err := c.readLines(o.operands, end)
	if err != nil {
		return err
	}
	if c.status != 0 {
		return exit(2) // a file that cannot be read ends it all
	}
	if o.has("c") || o.has("C") || o.has("check") {
		quiet := o.has("C") || strings.HasPrefix(o.value("check", ""), "q") || o.value("check", "") == "silent"
		return s.check(c, o.operands, all, quiet)
	}
	return sortOutput(c, o.value("o", ""), s.ordered(all), end)
}

func sortOutput(c *Call, name string, all [][]byte, end byte) error {
	w := c.out()
	var f *os.File
	if name != "" {
		var err error
		if f, err = c.create(name, os.O_TRUNC); err != nil {
			return err
		}
		w = bufio.NewWriterSize(f, bufferSize)
	}
	for _, l := range all {
		if err := writeLine(w, l, end); err != nil {
			return errors.Join(err, closeFile(f))
		}
	}
	if f == nil {
		return nil
	}
	return errors.Join(w.Flush(), f.Close())
}

func closeFile(f *os.File) error {
	if f == nil {
		return nil
	}
	return f.Close()
}

func newSorting(o *options) (*sorting, error) {
	if o.has("R") {
		return nil, usageError("-R is not supported: see shuf, which takes a seed")
	}
	s := &sorting{back: o.has("r"), stable: o.has("s"), unique: o.has("u")}
	if o.has("t") {
		t := o.value("t", "")
		if t == `\0` {
			t = "\x00"
		}
		if len(t) != 1 {
			return nil, usageError(fmt.Sprintf("the field separator %q is not one byte", t))
		}
		s.mark = []byte(t)
	}
	order := ""
	for _, g := range o.given {
		if len(g.name) == 1 && strings.Contains(sortOrders, g.name) {
			order += g.name
		}
		if g.name == "sort" {
			letter := map[string]string{"general-numeric": "g", "human-numeric": "h", "month": "M", "numeric": "n", "version": "V"}[g.value]
			if letter == "" {
				return nil, usageError(fmt.Sprintf("unknown order %q", g.value))
			}
			order += letter
		}
	}
	for _, v := range o.values("k") {
		k, err := parseKey(v)
		if err != nil {
			return nil, err
		}
		if k.order == "" && !k.skipFrom && !k.skipTo {
			k.order, k.skipFrom, k.skipTo = order, o.has("b"), o.has("b")
		}
		s.keys = append(s.keys, k)
	}
	if len(s.keys) == 0 && (order != "" && order != strings.Repeat("r", len(order)) || o.has("b")) {
		s.keys = []sortKey{{from: 1, order: order, skipFrom: o.has("b"), skipTo: o.has("b")}}
	}
	return s, nil
}

// parseKey reads F[.C][flags][,F[.C][flags]].
func parseKey(text string) (sortKey, error) {
	bad := usageError(fmt.Sprintf("invalid key %q", text))
	k := sortKey{}
	from, to, second := strings.Cut(text, ",")
	position := func(s string, skip *bool) (field, char int, has, ok bool) {
		digits := strings.TrimRight(s, sortOrders+"b")
		for _, f := range s[len(digits):] {
			if f == 'b' {
				*skip = true
			} else {
				k.order += string(f)
			}
		}
		first, rest, has := strings.Cut(digits, ".")
		field, err := strconv.Atoi(first)
		if err == nil && has {
			char, err = strconv.Atoi(rest)
		}
		return field, char, has, err == nil && field > 0 && char >= 0
	}
	var ok, has bool
	if k.from, k.fromChar, has, ok = position(from, &k.skipFrom); !ok || has && k.fromChar == 0 {
		return k, bad
	}
	if second {
		if k.to, k.toChar, _, ok = position(to, &k.skipTo); !ok {
			return k, bad
		}
	}
	return k, nil
}

// sortLine is a line with its keys cut out.
type sortLine struct {
	text   []byte
	keys   [][]byte
	number []number
}

// number is the numeric value of a key: the magnitude as digits, so that no
// precision is lost.
type number struct {
	sign  int
	whole []byte
	part  []byte
	unit  int
	float float64
	kind  int // for g: 0 no number, 1 NaN, 2 a number
}

func (s *sorting) prepare(text []byte) sortLine {
	l := sortLine{text: text}
	for _, k := range s.keys {
		key := s.cut(text, k)
		var n number
		switch k.kind() {
		case 'n', 'h':
			n = parseNumber(key)
		case 'g':
			n = parseFloat(key)
		}
		l.keys, l.number = append(l.keys, k.fold(key)), append(l.number, n)
	}
	return l
}

func (k sortKey) kind() byte {
	for i := len(k.order) - 1; i >= 0; i-- {
		if strings.IndexByte("ghMnV", k.order[i]) >= 0 {
			return k.order[i]
		}
	}
	return 0
}

// fold applies f, d and i.
func (k sortKey) fold(key []byte) []byte {
	d, i, f := strings.Contains(k.order, "d"), strings.Contains(k.order, "i"), strings.Contains(k.order, "f")
	if !d && !i && !f {
		return key
	}
	var out []byte
	for _, b := range key {
		if d && !isASCIIAlnum(rune(b)) && b != ' ' && b != '\t' || i && (b < ' ' || b >= 0x7f) {
			continue
		}
		if f && b >= 'a' && b <= 'z' {
			b -= 'a' - 'A'
		}
		out = append(out, b)
	}
	return out
}

// cut is the part of the line that is the key.
func (s *sorting) cut(line []byte, k sortKey) []byte {
	begin := s.field(line, k.from-1)
	if k.skipFrom {
		begin = skipBlanks(line, begin)
	}
	begin = min(begin+max(k.fromChar-1, 0), len(line))
	end := len(line)
	switch {
	case k.to > 0 && k.toChar == 0:
		end = s.fieldEnd(line, k.to-1)
	case k.to > 0:
		end = s.field(line, k.to-1)
		if k.skipTo {
			end = skipBlanks(line, end)
		}
		end = min(end+k.toChar, len(line))
	}
	return line[begin:max(begin, end)]
}

func skipBlanks(line []byte, i int) int {
	for i < len(line) && (line[i] == ' ' || line[i] == '\t') {
		i++
	}
	return i
}

// field is where the n'th field begins, from 0. Without a separator blanks in front
// of a field belong to it.
func (s *sorting) field(line []byte, n int) int {
	i := 0
	for ; n > 0 && i < len(line); n-- {
		i = s.endOf(line, i)
		if s.mark != nil && i < len(line) {
			i++
		}
	}
	return i
}

func (s *sorting) fieldEnd(line []byte, n int) int {
	begin := s.field(line, n)
	return s.endOf(line, begin)
}

func (s *sorting) endOf(line []byte, i int) int {
	if s.mark != nil {
		if j := bytes.IndexByte(line[i:], s.mark[0]); j >= 0 {
			return i + j
		}
		return len(line)
	}
	i = skipBlanks(line, i)
	for i < len(line) && line[i] != ' ' && line[i] != '\t' {
		i++
	}
	return i
}

func parseNumber(key []byte) number {
	key = bytes.TrimLeft(key, " \t")
	n := number{sign: 1}
	if len(key) > 0 && key[0] == '-' {
		n.sign, key = -1, key[1:]
	}
	digits := func() []byte {
		i := 0
		for i < len(key) && isDigit(rune(key[i])) {
			i++
		}
		d := key[:i]
		key = key[i:]
		return d
	}
	n.whole = bytes.TrimLeft(digits(), "0")
	if len(key) > 0 && key[0] == '.' {
		key = key[1:]
		n.part = bytes.TrimRight(digits(), "0")
	}
	if len(n.whole) == 0 && len(n.part) == 0 {
		n.sign = 0
		return n
	}
	if len(key) > 0 {
		n.unit = strings.IndexByte("KMGTPEZYRQ", key[0]) + 1
		if key[0] == 'k' {
			n.unit = 1
		}
	}
	return n
}

func parseFloat(key []byte) number {
	text := strings.TrimLeft(string(key), " \t")
	for end := len(text); end > 0; end-- {
		f, err := strconv.ParseFloat(text[:end], 64)
		if err != nil && strings.Contains(text[:end], "0x") {
			f, err = strconv.ParseFloat(text[:end]+"p0", 64)
		}
		if err != nil && !errors.Is(err, strconv.ErrRange) || strings.Contains(text[:end], "_") {
			continue
		}
		if math.IsNaN(f) {
			return number{kind: 1}
		}
		return number{kind: 2, float: f}
	}
	return number{}
}

func compareNumbers(a, b number, units bool) int {
	if a.sign != b.sign {
		return a.sign - b.sign
	}
	order := 0
	switch {
	case units && a.unit != b.unit:
		order = a.unit - b.unit
	case len(a.whole) != len(b.whole):
		order = len(a.whole) - len(b.whole)
	default:
		if order = bytes.Compare(a.whole, b.whole); order == 0 {
			order = bytes.Compare(a.part, b.part)
		}
	}
	return order * a.sign
}

// compareKeys orders by the keys alone.
func (s *sorting) compareKeys(a, b *sortLine) int {
	for i, k := range s.keys {
		order := 0
		switch k.kind() {
		case 'n':
			order = compareNumbers(a.number[i], b.number[i], false)
		case 'h':
			order = compareNumbers(a.number[i], b.number[i], true)
		case 'g':
			if order = a.number[i].kind - b.number[i].kind; order == 0 && a.number[i].float != b.number[i].float {
				order = 1
				if a.number[i].float < b.number[i].float {
					order = -1
				}
			}
		case 'M':
			order = month(a.keys[i]) - month(b.keys[i])
		case 'V':
			order = compareVersions(a.keys[i], b.keys[i])
		default:
			order = bytes.Compare(a.keys[i], b.keys[i])
		}
		if order == 0 {
			continue
		}
		if strings.Contains(k.order, "r") {
			return -order
		}
		return order
	}
	return 0
}

func (s *sorting) compare(a, b *sortLine) int {
	order := s.compareKeys(a, b)
	if order != 0 || len(s.keys) > 0 && (s.stable || s.unique) {
		return order
	}
	order = bytes.Compare(a.text, b.text)
	if s.back {
		return -order
	}
	return order
}

func month(key []byte) int {
	key = bytes.ToUpper(bytes.TrimLeft(key, " \t"))
	for i, name := range []string{"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"} {
		if bytes.HasPrefix(key, []byte(name)) {
			return i + 1
		}
	}
	return 0
}

// compareVersions orders digits by value and the rest by bytes, letters before
// other characters and ~ before the end, as Debian orders versions.
func compareVersions(a, b []byte) int {
	rank := func(s []byte) int {
		switch {
		case len(s) == 0 || isDigit(rune(s[0])):
			return 0
		case s[0] == '~':
			return -1
		case s[0] >= 'a' && s[0] <= 'z' || s[0] >= 'A' && s[0] <= 'Z':
			return int(s[0])
		}
		return int(s[0]) + 256
	}
	for len(a) > 0 || len(b) > 0 {
		for len(a) > 0 && !isDigit(rune(a[0])) || len(b) > 0 && !isDigit(rune(b[0])) {
			if order := rank(a) - rank(b); order != 0 {
				return order
			}
			a, b = a[min(1, len(a)):], b[min(1, len(b)):]
		}
		x, y := parseNumber(digitsOf(a)), parseNumber(digitsOf(b))
		if order := compareNumbers(x, y, false); order != 0 {
			return order
		}
		a, b = a[len(digitsOf(a)):], b[len(digitsOf(b)):]
	}
	return 0
}

func digitsOf(s []byte) []byte {
	i := 0
	for i < len(s) && isDigit(rune(s[i])) {
		i++
	}
	return s[:i]
}

// check says the first line that is out of order.
func (s *sorting) check(c *Call, names []string, all [][]byte, quiet bool) error {
	name := "-"
	if len(names) > 0 {
		name = names[0]
	}
	for i := 1; i < len(all); i++ {
		a, b := s.prepare(all[i-1]), s.prepare(all[i])
		if order := s.compare(&a, &b); order < 0 || order == 0 && !s.unique {
			continue
		}
		if !quiet {
			fmt.Fprintf(c.Stderr, "sort: %s:%d: disorder: %s\n", name, i+1, all[i])
		}
		return exit(1)
	}
	return nil
}

// ordered is the lines sorted, and with -u each once.
func (s *sorting) ordered(all [][]byte) [][]byte {
	if len(s.keys) == 0 {
		slices.SortFunc(all, bytes.Compare)
		if s.back {
			slices.Reverse(all)
		}
		if s.unique {
			all = slices.CompactFunc(all, bytes.Equal)
		}
		return all
	}
	prepared := make([]sortLine, len(all))
	for i, l := range all {
		prepared[i] = s.prepare(l)
	}
	slices.SortStableFunc(prepared, func(a, b sortLine) int { return s.compare(&a, &b) })
	if s.unique {
		prepared = slices.CompactFunc(prepared, func(a, b sortLine) bool { return s.compareKeys(&a, &b) == 0 })
	}
	all = all[:0]
	for _, l := range prepared {
		all = append(all, l.text)
	}
	return all
}
