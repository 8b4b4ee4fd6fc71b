package image

import (
	"net/http"
	"testing"
)

type answering struct{ asked int }

func (a *answering) RoundTrip(r *http.Request) (*http.Response, error) {
	a.asked++
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: r}, nil
}

// Only loopback addresses, and those that the configuration names, are asked in the
// clear: a private network's are not.
func TestNothingGoesInTheClear(t *testing.T) {
	r := &Registries{Hosts: []Host{{Name: "registry.lab:5000", PlainHTTP: true}}}
	for url, want := range map[string]bool{
		"https://registry.example/v2/":  true,
		"http://registry.example/v2/":   false,
		"http://192.168.1.9:5000/v2/":   false,
		"http://registry.lab:5000/v2/":  true,
		"http://registry.lab/v2/":       false,
		"http://127.0.0.1:5000/v2/":     true,
		"http://localhost:5000/v2/":     true,
		"http://[::1]:5000/v2/":         true,
		"http://localhost.example/v2/":  false,
		"http://127.0.0.1.example/v2/x": false,
	} {
		base := &answering{}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := (&guarded{base: base, plain: r.plain}).RoundTrip(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		if (err == nil) != want || base.asked > 0 != want {
			t.Errorf("%s: %v", url, err)
		}
	}
}
