package table

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// kind is the type of one cell of a file that declares none.
type kind uint8

const (
	kindBoolean kind = iota
	kindInteger
	kindDouble
	kindDate
	kindTimestamp
	kindText
	kindString // of JSON, where a number may stand beside it
	kindObject
	kindList
	kinds // how many there are
)

var kindNames = [kinds]string{"boolean", "integer", "double", "date", "timestamp", "text", "text", "object", "list"}

// typeOf is the narrowest type of all values, given how many there are of each kind.
func typeOf(count [kinds]int64) string {
	var total int64
	for _, n := range count {
		total += n
	}
	numbers := count[kindInteger] + count[kindDouble]
	times := count[kindDate] + count[kindTimestamp]
	switch {
	case total == 0:
		return "null"
	case numbers == total && count[kindDouble] > 0:
		return kindNames[kindDouble]
	case times == total && count[kindTimestamp] > 0:
		return kindNames[kindTimestamp]
	}
	for k, n := range count {
		if n == total {
			return kindNames[k]
		}
	}
	if count[kindString]+count[kindObject]+count[kindList] > 0 {
		return "json"
	}
	return kindNames[kindText]
}

// parse tells a text's kind, and for numbers and times its value: times in seconds
// since 1970, in UTC where they name no zone.
func parse(b []byte) (kind, float64) {
	switch c := b[0]; {
	case c >= '0' && c <= '9' || c == '-' || c == '+' || c == '.':
		return parseNumber(b)
	case len(b) > 8:
		return kindText, 0
	}
	switch string(b) {
	case "true", "false", "True", "False", "TRUE", "FALSE":
		return kindBoolean, 0
	case "NaN", "nan", "NAN":
		return kindDouble, math.NaN()
	case "inf", "Inf", "INF", "Infinity", "infinity":
		return kindDouble, math.Inf(1)
	}
	return kindText, 0
}

func parseNumber(b []byte) (kind, float64) {
	digits := b
	if b[0] == '-' || b[0] == '+' {
		digits = b[1:]
	}
	n, i := leading(digits, 18)
	sign := 1.0
	if b[0] == '-' {
		sign = -1
	}
	switch {
	case i == len(digits) && i > 0:
		return kindInteger, sign * float64(n)
	case i == 4 && len(digits) == len(b) && len(b) >= 10 && b[4] == '-':
		return parseTime(b)
	case i > 0 && i < len(digits) && digits[i] == '.':
		// Both fit exactly into a double, so the quotient is rounded once.
		fraction, k := leading(digits[i+1:], 15)
		if n < 1e15 && i+k <= 15 && i+1+k == len(digits) {
			return kindDouble, sign * float64(n*int64(tens[k])+fraction) / tens[k]
		}
	case len(digits) > 0 && (digits[0] == 'I' || digits[0] == 'i'): // infinity with a sign
		kind, v := parse(digits)
		return kind, sign * v
	}
	return parseAnyNumber(b, digits)
}

var tens = [...]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15}

// leading reads the digits that b begins with, so many at most.
func leading(b []byte, most int) (n int64, digits int) {
	for digits < len(b) && digits < most && b[digits]-'0' < 10 {
		n = n*10 + int64(b[digits]-'0')
		digits++
	}
	return n, digits
}

func parseAnyNumber(b, digits []byte) (kind, float64) {
	if bytes.ContainsAny(b, "_xXpP") {
		return kindText, 0 // numbers in Go, and nowhere else
	}
	v, err := strconv.ParseFloat(string(b), 64)
	if err != nil && !math.IsInf(v, 0) {
		return kindText, 0
	}
	if _, i := leading(digits, len(digits)); i == len(digits) {
		return kindInteger, v // of more than 18 digits
	}
	return kindDouble, v
}

// parseTime reads what begins with four digits and a dash: a date, with a time of day
// or without.
func parseTime(b []byte) (kind, float64) {
	y, _ := leading(b, 4)
	m, i := leading(b[5:], 2)
	d, j := leading(b[8:], 2)
	if i != 2 || j != 2 || b[7] != '-' || m < 1 || m > 12 || d < 1 || d > daysIn(y, m) {
		return kindText, 0
	}
	seconds := float64(daysBefore(y, m, d)) * 86400
	if len(b) == 10 {
		return kindDate, seconds
	}
	if len(b) < 16 || b[10] != ' ' && b[10] != 'T' {
		return kindText, 0
	}
	clock, rest, ok := parseClock(b[11:])
	zone, zoned := parseZone(rest)
	if !ok || !zoned {
		return kindText, 0
	}
	return kindTimestamp, seconds + clock - zone
}

func daysIn(year, month int64) int64 {
	switch month {
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

// daysBefore is how many days a date is after 1970-01-01. The year is made to begin in
// March, so that the leap day is its last.
func daysBefore(year, month, day int64) int64 {
	if month <= 2 {
		year--
		month += 12
	}
	return 365*year + year/4 - year/100 + year/400 + (153*(month-3)+2)/5 + day - 719469
}

// parseClock reads hours and minutes, with seconds and their fraction or without.
func parseClock(b []byte) (seconds float64, rest []byte, ok bool) {
	h, i := leading(b, 2)
	if i != 2 || h > 23 || len(b) < 5 || b[2] != ':' {
		return 0, nil, false
	}
	m, i := leading(b[3:], 2)
	if i != 2 || m > 59 {
		return 0, nil, false
	}
	seconds, b = float64(h*3600+m*60), b[5:]
	if len(b) == 0 || b[0] != ':' {
		return seconds, b, true
	}
	s, i := leading(b[1:], 2)
	if i != 2 || s > 60 {
		return 0, nil, false
	}
	seconds, b = seconds+float64(s), b[3:]
	if len(b) > 1 && b[0] == '.' {
		fraction, k := leading(b[1:], 9)
		if k == 0 {
			return 0, nil, false
		}
		seconds, b = seconds+float64(fraction)/tens[k], b[1+k:]
	}
	return seconds, b, true
}

// parseZone reads nothing, Z, +hh, +hhmm or +hh:mm.
func parseZone(b []byte) (seconds float64, ok bool) {
	if len(b) == 0 || string(b) == "Z" {
		return 0, true
	}
	h, i := leading(b[1:], 2)
	if b[0] != '+' && b[0] != '-' || i != 2 {
		return 0, false
	}
	rest := bytes.TrimPrefix(b[3:], []byte(":"))
	m, i := leading(rest, 2)
	if i != len(rest) || i == 1 {
		return 0, false
	}
	seconds = float64(h*3600 + m*60)
	if b[0] == '-' {
		seconds = -seconds
	}
	return seconds, true
}

// shown is the longest text that a Diff quotes from a table.
const shown = 1024

// printable is a cell's text as a Diff has it.
func printable(b []byte) string {
	var out strings.Builder
	for i := 0; i < len(b); {
		if out.Len() >= shown {
			fmt.Fprintf(&out, "… (%d bytes)", len(b))
			break
		}
		r, n := utf8.DecodeRune(b[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&out, `\x%02x`, b[i])
		case unicode.IsControl(r) && r != '\n' && r != '\t' && r != '\r':
			fmt.Fprintf(&out, `\x%02x`, r)
		default:
			out.Write(b[i : i+n])
		}
		i += n
	}
	return out.String()
}

// value is printable, nil for a null.
func value(cell []byte) *string {
	if cell == nil {
		return nil
	}
	s := printable(cell)
	return &s
}
