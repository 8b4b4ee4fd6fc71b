package engine

import (
	"strings"
	"testing"
)

func TestParsePlace(t *testing.T) {
	tests := []struct {
		isolation, runtime string
		want               Place
		wrong              string
	}{
		{"", "", Place{}, ""},
		{"container", "", Place{}, ""},
		{"chroot", "", Place{Isolation: IsolationChroot}, ""},
		{"", "containerd=/run/c.sock", Place{Containerd: "/run/c.sock"}, ""},
		{"container", "containerd=unix:///run//c.sock", Place{Containerd: "/run/c.sock"}, ""},
		{"none", "", Place{}, `there is no isolation "none"`},
		{"", "docker", Place{}, `there is no runtime "docker"`},
		{"", "containerd", Place{}, `there is no runtime "containerd"`},
		{"", "containerd=c.sock", Place{}, `must be an absolute path, and "c.sock" is not`},
		{"chroot", "containerd=/run/c.sock", Place{}, `cannot be had with isolation "chroot"`},
	}
	for _, tt := range tests {
		got, err := ParsePlace(tt.isolation, tt.runtime)
		switch {
		case tt.wrong == "" && (err != nil || got != tt.want):
			t.Errorf("ParsePlace(%q, %q) is %+v, %v; want %+v", tt.isolation, tt.runtime, got, err, tt.want)
		case tt.wrong != "" && (err == nil || !strings.Contains(err.Error(), tt.wrong) || AsError(err).Kind != Invalid):
			t.Errorf("ParsePlace(%q, %q) gives %v; want %q", tt.isolation, tt.runtime, err, tt.wrong)
		}
	}
}
