package fetch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"
)

// StatusError is an answer that is no success.
type StatusError struct {
	URL        string // without user, password and query
	Code       int
	RetryAfter time.Duration // as the server asks for, 0 for nothing said
}

func (e *StatusError) Error() string {
	text := fmt.Sprintf("%s answered %d %s", e.URL, e.Code, http.StatusText(e.Code))
	if e.RetryAfter > 0 {
		text += fmt.Sprintf(" and asks to come back in %s", e.RetryAfter.Round(time.Second))
	}
	return text
}

// MismatchError says that content is not what it was expected to be.
type MismatchError struct {
	URL        string
	What       string // "size" or "digest"
	Want, Have string
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("%s has the %s %s, not %s", e.URL, e.What, e.Have, e.Want)
}

// IsMismatch says whether content was not what it was expected to be.
func IsMismatch(err error) bool {
	var m *MismatchError
	return errors.As(err, &m)
}

// Status gives the status of an answer that was no success, 0 for other errors.
func Status(err error) int {
	var s *StatusError
	if errors.As(err, &s) {
		return s.Code
	}
	return 0
}

// errChanged says that an object was replaced between two requests for it.
var errChanged = errors.New("it was replaced while it was read; try again")

// errStill says that nothing came for Client.Idle.
var errStill = errors.New("the connection stood still")

// passing says whether an error may be gone at the next attempt.
func passing(err error) bool {
	var refused *refusedError
	if errors.As(err, &refused) {
		return false
	}
	var status *StatusError
	if errors.As(err, &status) {
		return status.Code >= 500 && status.Code != http.StatusNotImplemented ||
			status.Code == http.StatusTooManyRequests || status.Code == http.StatusRequestTimeout
	}
	var dns *net.DNSError
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, errChanged), IsMismatch(err):
		return false
	case errors.As(err, &dns):
		return dns.IsTimeout || dns.IsTemporary
	case isTLS(err):
		return false
	case errors.Is(err, syscall.ECONNREFUSED):
		return true // a server that is being started again
	}
	return true
}

// refusedError is an error that no attempt can mend, such as a bad URL.
type refusedError struct{ error }

func (e *refusedError) Unwrap() error { return e.error }

// Permanent marks an error of a transport so that nothing is asked again.
func Permanent(err error) error { return &refusedError{err} }

// IsPermanent says whether an error was marked so.
func IsPermanent(err error) bool {
	var refused *refusedError
	return errors.As(err, &refused)
}

// Display is a URL as it may be shown: user, password and query hold secrets.
func Display(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "a URL that cannot be read"
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

// shown takes the URL out of what net/http wraps around an error: it is named
// already, and may hold secrets.
func shown(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
