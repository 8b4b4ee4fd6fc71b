package toolbox

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/itchyny/timefmt-go"
)

func dateTool() tool {
	return tool{
		run:   date,
		usage: "[-u] [-d time | -r file] [-I[date|hours|minutes|seconds|ns]] [-R] [--rfc-3339=date|seconds|ns] [+format]",
		lacks: "setting the clock, times in words (like 'yesterday' or '+1 day'), -f; names of months are English",
	}
}

// zone is the time zone of TZ. One that is not known here is UTC, as everywhere.
func (c *Call) zone() *time.Location {
	name := strings.TrimPrefix(c.getenv("TZ"), ":")
	if name == "" {
		return time.Local
	}
	z, err := time.LoadLocation(name)
	if err != nil {
		return time.UTC
	}
	return z
}

// parseTime reads a date, a time of day with it, or @seconds.
func parseTime(text string, zone *time.Location) (time.Time, error) {
	s := strings.TrimSpace(text)
	if unix, ok := strings.CutPrefix(s, "@"); ok {
		whole, part, _ := strings.Cut(unix, ".")
		n, err := strconv.ParseInt(whole, 10, 64)
		nanos, err2 := strconv.ParseInt((part + "000000000")[:9], 10, 64)
		if err == nil && err2 == nil {
			return time.Unix(n, nanos).In(zone), nil
		}
	}
	if s == "now" {
		return time.Now().In(zone), nil
	}
	for _, suffix := range []string{" UTC", " GMT", " Z", "Z"} {
		if t, ok := strings.CutSuffix(s, suffix); ok {
			s, zone = t, time.UTC
			break
		}
	}
	for _, day := range []string{"2006-01-02", "20060102", "2006/01/02"} {
		for _, clock := range []string{"", " 15:04:05", " 15:04", "T15:04:05", "T15:04"} {
			for _, offset := range []string{"", "-07:00", " -0700", "-0700", " -07:00"} {
				if clock == "" && offset != "" {
					continue
				}
				if t, err := time.ParseInLocation(day+clock+offset, s, zone); err == nil {
					return t.In(zone), nil
				}
			}
		}
	}
	if t, err := time.ParseInLocation("Mon, 02 Jan 2006 15:04:05 -0700", s, zone); err == nil {
		return t.In(zone), nil
	}
	return time.Time{}, usageError(fmt.Sprintf("invalid or unsupported time %q", text))
}

// parseStamp reads [[CC]YY]MMDDhhmm[.ss].
func parseStamp(text string, zone *time.Location) (time.Time, error) {
	digits, seconds, _ := strings.Cut(text, ".")
	switch len(digits) {
	case 8:
		digits = strconv.Itoa(time.Now().In(zone).Year()) + digits
	case 10:
		century := "20"
		if digits >= "69" {
			century = "19"
		}
		digits = century + digits
	}
	if seconds == "" {
		seconds = "00"
	}
	t, err := time.ParseInLocation("20060102150405", digits+seconds, zone)
	if err != nil {
		return t, usageError(fmt.Sprintf("invalid time %q", text))
	}
	return t, nil
}

func date(_ context.Context, c *Call) error {
	o, err := c.options("u,utc,universal d,date: r,reference: I,iso-8601? R,rfc-email rfc-3339:")
	if err != nil {
		return err
	}
	zone := c.zone()
	if o.has("u") {
		zone = time.UTC
	}
	t := time.Now().In(zone)
	switch {
	case o.has("d"):
		t, err = parseTime(o.value("d", ""), zone)
	case o.has("r"):
		var info os.FileInfo
		if info, err = os.Stat(c.path(o.value("r", ""))); err == nil {
			t = info.ModTime().In(zone)
		}
	}
	if err != nil {
		return err
	}
	format, err := dateFormat(o)
	if err != nil {
		return err
	}
	fmt.Fprintln(c.out(), strftime(t, format))
	return nil
}

func dateFormat(o *options) (string, error) {
	iso := map[string]string{
		"": "%Y-%m-%d", "date": "%Y-%m-%d", "hours": "%Y-%m-%dT%H%:z", "minutes": "%Y-%m-%dT%H:%M%:z",
		"seconds": "%Y-%m-%dT%H:%M:%S%:z", "ns": "%Y-%m-%dT%H:%M:%S,%N%:z",
	}
	rfc := map[string]string{"date": "%Y-%m-%d", "seconds": "%Y-%m-%d %H:%M:%S%:z", "ns": "%Y-%m-%d %H:%M:%S.%N%:z"}
	var format string
	ok := true
	switch {
	case len(o.operands) > 1 || len(o.operands) == 1 && !strings.HasPrefix(o.operands[0], "+"):
		return "", usageError("only one operand, +format, is supported")
	case len(o.operands) == 1:
		return o.operands[0][1:], nil
	case o.has("I"):
		format, ok = iso[o.value("I", "")]
	case o.has("R"):
		format = "%a, %d %b %Y %H:%M:%S %z"
	case o.has("rfc-3339"):
		format, ok = rfc[o.value("rfc-3339", "")]
	default:
		format = "%a %b %e %H:%M:%S %Z %Y"
	}
	if !ok {
		return "", usageError("unknown form of time")
	}
	return format, nil
}

// strftime writes a time; nanoseconds (%N, %3N) are not the library's.
func strftime(t time.Time, format string) string {
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 >= len(format) {
			b.WriteByte(format[i])
			continue
		}
		j := i + 1
		for j < len(format)-1 && strings.IndexByte("0123456789_-^#:", format[j]) >= 0 {
			j++
		}
		if format[j] == 'N' {
			digits := 9
			if n, err := strconv.Atoi(format[i+1 : j]); err == nil {
				digits = min(max(n, 1), 9)
			}
			fmt.Fprintf(&b, "%.*s", digits, fmt.Sprintf("%09d", t.Nanosecond()))
		} else {
			b.WriteString(timefmt.Format(t, format[i:j+1]))
		}
		i = j
	}
	return b.String()
}
