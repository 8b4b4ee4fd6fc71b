package report

import (
	"encoding/csv"
	"io"
	"math"
	"strconv"
	"time"

	"plumb/engine"
)

// CSV writes runs as comma-separated values.
func CSV(w io.Writer, runs Runs) (int, error) {
	t, _, err := tableOf(runs)
	if err != nil {
		return 0, err
	}
	out := csv.NewWriter(w)
	row := make([]string, len(t.columns))
	for i, c := range t.columns {
		row[i] = c.name
	}
	if err := out.Write(row); err != nil {
		return 0, err
	}
	n := 0
	if err := runs(func(r *engine.RunRow) error {
		n++
		for i, c := range t.columns {
			row[i] = c.field(r)
		}
		return out.Write(row)
	}); err != nil {
		return n, err
	}
	out.Flush()
	return n, out.Error()
}

func (c *column) field(r *engine.RunRow) string {
	switch c.kind {
	case kindNumber:
		if v, ok := c.num(r); ok {
			return number(v)
		}
	case kindInteger:
		if v, ok := c.int(r); ok {
			return strconv.FormatInt(v, 10)
		}
	case kindTime:
		if t, ok := c.when(r); ok {
			return t.UTC().Format(time.RFC3339Nano)
		}
	default:
		if s, ok := c.text(r); ok {
			return s
		}
	}
	return ""
}

// number writes integers without an exponent as far as a double holds them all.
func number(v float64) string {
	if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}
