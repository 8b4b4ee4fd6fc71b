package hcl

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// sizeUnits are the units of a size, in the order they are tried.
var sizeUnits = [...]struct {
	suffix string
	bytes  float64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"KB", 1e3}, {"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12},
	{"B", 1},
}

// parseSize reads a size in bytes such as "512MB" or "1.5GiB".
func parseSize(text string) (int64, error) {
	s := strings.TrimSpace(text)
	factor := 1.0
	for _, unit := range sizeUnits {
		if rest, ok := strings.CutSuffix(s, unit.suffix); ok {
			s, factor = strings.TrimSpace(rest), unit.bytes
			break
		}
	}
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || strings.ContainsAny(s, "xXpP_nN") {
		return 0, fmt.Errorf("%q is not a size", text)
	}
	return wholeBytes(n * factor)
}

// wholeBytes checks that a size is a positive number of bytes.
func wholeBytes(n float64) (int64, error) {
	if math.IsNaN(n) || n >= math.MaxInt64 {
		return 0, fmt.Errorf("the size is too large")
	}
	if n < 1 {
		return 0, fmt.Errorf("the size is less than one byte")
	}
	return int64(n), nil
}

// parseDuration reads a duration such as "90s" or "1h30m".
func parseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(strings.TrimSpace(text))
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration", text)
	}
	return d, nil
}

// parseExitCode reads the status of a command that did not succeed.
func parseExitCode(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > 255 {
		return 0, fmt.Errorf("%q is none", text)
	}
	return n, nil
}
