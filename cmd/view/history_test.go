package view

import (
	"bytes"
	"strings"
	"testing"

	"plumb/engine"
)

func TestRestoredStatus(t *testing.T) {
	for status, want := range map[string]string{"failed": "that run had failed\n", "canceled": "that run was canceled\n"} {
		var out bytes.Buffer
		Restored(&out, Style{}, &engine.RestoreDoc{Status: status, Command: []string{"plumb", "run"}}, "")
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s: %s", status, out.String())
		}
	}
}
