package fetch

import "net/http"

// Retrying is a transport that asks again, as Client does, below code that sends
// requests of its own, such as for tokens. What is final comes back as an error
// that nobody above tries again; statuses that do not pass are answers as usual.
// Only requests without a body are repeated.
type Retrying struct {
	Client *Client
	Base   http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t *Retrying) RoundTrip(req *http.Request) (*http.Response, error) {
	p := &patience{c: t.Client, url: req.URL.String()}
	for {
		resp, err := t.Base.RoundTrip(req)
		if err == nil {
			status := &StatusError{URL: Display(p.url), Code: resp.StatusCode, RetryAfter: retryAfter(resp.Header.Get("Retry-After"))}
			if !passing(status) {
				return resp, nil
			}
			err = status
			_ = resp.Body.Close() // the answer is not of use
		}
		if req.Body != nil && req.Body != http.NoBody {
			return nil, Permanent(err)
		}
		if err := p.again(req.Context(), err); err != nil {
			return nil, Permanent(err)
		}
	}
}
