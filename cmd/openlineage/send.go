package openlineage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Write writes events as lines, the form in which a file of them is read.
func Write(w io.Writer, events []Event) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for i := range events {
		if err := enc.Encode(&events[i]); err != nil {
			return fmt.Errorf("writing an event: %w", err)
		}
	}
	return nil
}

// Server is where events are sent.
type Server struct {
	url  string
	name string // the scheme and the host, which are all that errors say: the rest may be secret
	key  string // never part of an error
	http *http.Client
}

// The times that a server may take: for an event, and for all of them.
const (
	eventTime = 5 * time.Second
	sendTime  = 30 * time.Second
)

// ServerOf reads where to from the variables that all producers of OpenLineage know:
// OPENLINEAGE_URL, OPENLINEAGE_ENDPOINT and OPENLINEAGE_API_KEY; nil when there is no URL.
func ServerOf(getenv func(string) string) (*Server, error) {
	base := getenv("OPENLINEAGE_URL")
	if base == "" {
		return nil, nil //nolint:nilnil // there is none
	}
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("OPENLINEAGE_URL is no address like https://host:port")
	}
	endpoint := getenv("OPENLINEAGE_ENDPOINT")
	if endpoint == "" {
		endpoint = "api/v1/lineage"
	}
	u.Path = strings.TrimSuffix(u.Path, "/") + "/" + strings.TrimPrefix(endpoint, "/")
	return &Server{url: u.String(), name: u.Scheme + "://" + u.Host, key: getenv("OPENLINEAGE_API_KEY"), http: &http.Client{
		Timeout: eventTime,
		// Redirected, a POST becomes a GET without the event, and the key goes to somebody else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Send sends events in order, until one cannot be sent.
func (s *Server) Send(ctx context.Context, events []Event) error {
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	for i := range events {
		if err := s.send(ctx, &events[i]); err != nil {
			return fmt.Errorf("sending event %d of %d to OpenLineage: %w", i+1, len(events), err)
		}
	}
	return nil
}

func (s *Server) send(ctx context.Context, e *Event) (err error) {
	body, err := json.Marshal(e)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return s.nameless(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if s.key != "" {
		req.Header.Set("Authorization", "Bearer "+s.key)
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return s.nameless(err)
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	if resp.StatusCode/100 == 2 {
		_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20)) // so that the connection serves again
		return err
	}
	if to := resp.Header.Get("Location"); resp.StatusCode/100 == 3 && to != "" {
		return fmt.Errorf("the server answers %s and names another address%s: set OPENLINEAGE_URL to the one that takes events", resp.Status, s.elsewhere(resp))
	}
	said, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
	return fmt.Errorf("the server answers %s: %s", resp.Status, s.withoutKey(strings.Join(strings.Fields(string(said)), " ")))
}

// nameless is an error of net/http without the address, of which the user's name and the
// query may be as secret as a password.
func (s *Server) nameless(err error) error {
	var of *url.Error
	if errors.As(err, &of) {
		err = of.Err
	}
	return fmt.Errorf("reaching %s: %w", s.name, err)
}

// elsewhere is where a server says that events go, as far as that holds no secret.
func (s *Server) elsewhere(resp *http.Response) string {
	to, err := resp.Location()
	if err != nil {
		return ""
	}
	return ", " + s.withoutKey((&url.URL{Scheme: to.Scheme, Host: to.Host, Path: to.Path}).String())
}

// withoutKey takes the key out of what a server says, which may repeat what it was sent.
func (s *Server) withoutKey(said string) string {
	if s.key == "" {
		return said
	}
	return strings.ReplaceAll(said, s.key, "***")
}
