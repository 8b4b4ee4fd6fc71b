package cmd

import (
	"testing"
	"time"
)

func TestParseKeepSize(t *testing.T) {
	for text, want := range map[string]int64{"20GiB": 20 << 30, "1.5 GB": 1.5e9, "500": 500, "0": 0, "-1GiB": 0, "lots": 0, "": 0} {
		got, err := parseKeepSize(text)
		if got != want || (err == nil) != (want > 0) {
			t.Errorf("parseKeepSize(%q) = %d, %v", text, got, err)
		}
	}
}

func TestParseAge(t *testing.T) {
	const day = 24 * time.Hour
	tests := []struct {
		in   string
		want time.Duration
		ok   bool
	}{
		{"30d", 30 * day, true},
		{"1.5d", 36 * time.Hour, true},
		{"12h", 12 * time.Hour, true},
		{"0s", 0, true},
		{"0d", 0, true},
		{"1e9d", 36500 * day, true},
		{"-1d", 0, false},
		{"-1h", 0, false},
		{"NaNd", 0, false},
		{"d", 0, false},
		{"", 0, false},
		{"soon", 0, false},
	}
	for _, test := range tests {
		t.Run(test.in, func(t *testing.T) {
			got, err := parseAge(test.in)
			if got != test.want || (err == nil) != test.ok {
				t.Errorf("parseAge(%q) = %v, %v", test.in, got, err)
			}
		})
	}
}
