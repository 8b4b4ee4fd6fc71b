package early

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestUpTo(t *testing.T) {
	for _, c := range []struct {
		name string
		all  []Range
		want []Range
	}{
		{"none", nil, nil},
		{"one", []Range{{100000, 65536}}, []Range{{100000, 65536}}},
		{"more than needed", []Range{{100000, 1 << 20}}, []Range{{100000, 65536}}},
		{"two", []Range{{100000, 60000}, {300000, 60000}}, []Range{{100000, 60000}, {300000, 5536}}},
		{"overlapping", []Range{{100000, 1000}, {100500, 1000}, {200000, 10}}, []Range{{100000, 1000}, {200000, 10}}},
		{"enough before the last", []Range{{100000, 65536}, {300000, 65536}}, []Range{{100000, 65536}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, upTo(c.all, fullRange)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseRange(t *testing.T) {
	for _, c := range []struct {
		line, name string
		want       Range
		ok         bool
	}{
		{"ann:100000:65536", "ann", Range{100000, 65536}, true},
		{" 1000:7:1 ", "1000", Range{7, 1}, true},
		{"ann:100000", "", Range{}, false},
		{"ann:100000:0", "ann", Range{100000, 0}, false},
		{"ann:-1:5", "ann", Range{0, 5}, false},
		{"ann:4294967296:5", "ann", Range{4294967295, 5}, false},
		{"# ann:1:5", "# ann", Range{1, 5}, true},
		{"", "", Range{}, false},
	} {
		if name, got, ok := parseRange(c.line); name != c.name || got != c.want || ok != c.ok {
			t.Errorf("%q: got %q, %v, %v", c.line, name, got, ok)
		}
	}
}

func TestContiguous(t *testing.T) {
	for _, c := range []struct {
		name, mapping string
		want          []Range
	}{
		{"root", "         0          0 4294967295\n", []Range{{0, 4294967295}}},
		{"one id", "0 1000 1\n", []Range{{0, 1}}},
		{"a user", "1 100000 65536\n0 1000 1\n", []Range{{0, 1}, {1, 65536}}},
		{"a gap", "0 1000 1\n2 100000 65536\n", []Range{{0, 1}}},
		{"no root", "1000 1000 1\n", []Range{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, contiguous(c.mapping)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
