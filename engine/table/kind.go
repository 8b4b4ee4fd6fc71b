package table

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
	"unsafe"
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
	kindObject
	kindList
	kinds // how many there are
)

var kindNames = [kinds]string{"boolean", "integer", "double", "date", "timestamp", "text", "object", "list"}

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
	if count[kindObject]+count[kindList] > 0 {
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
	var n int64
	i := 0
	for ; i < len(digits) && i < 18 && digits[i]-'0' < 10; i++ {
		n = n*10 + int64(digits[i]-'0')
	}
	if i == len(digits) && i > 0 {
		if b[0] == '-' {
			n = -n
		}
		return kindInteger, float64(n)
	}
	if i == 4 && len(digits) == len(b) && len(b) >= 10 && b[4] == '-' {
		return parseTime(b)
	}
	if len(digits) > 0 && (digits[0] == 'I' || digits[0] == 'i') { // infinity with a sign
		k, v := parse(digits)
		if k == kindDouble && b[0] == '-' {
			v = -v
		}
		return k, v
	}
	if bytes.IndexByte(b, '_') >= 0 || bytes.IndexByte(b, 'x') >= 0 || bytes.IndexByte(b, 'X') >= 0 {
		return kindText, 0 // numbers in Go, and nowhere else
	}
	// The string lasts as long as the call, and b does not change before.
	v, err := strconv.ParseFloat(unsafe.String(&b[0], len(b)), 64)
	if err != nil && !math.IsInf(v, 0) {
		return kindText, 0
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return kindDouble, v
		}
	}
	return kindInteger, v // of more than 18 digits
}

func parseTime(b []byte) (kind, float64) {
	s := string(b)
	if len(s) == 10 {
		t, err := time.Parse(time.DateOnly, s)
		if err != nil {
			return kindText, 0
		}
		return kindDate, float64(t.Unix())
	}
	s = s[:10] + "T" + s[11:]
	if b[10] != ' ' && b[10] != 'T' {
		return kindText, 0
	}
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05Z07", "2006-01-02T15:04"} {
		if t, err := time.Parse(layout, s); err == nil {
			return kindTimestamp, float64(t.Unix()) + float64(t.Nanosecond())/1e9
		}
	}
	return kindText, 0
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
