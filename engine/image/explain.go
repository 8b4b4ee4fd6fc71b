package image

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"plumb/engine/fetch"
)

// explained is an error with what to do about it.
type explained struct {
	err  error
	hint string
}

func (e *explained) Error() string { return e.err.Error() }
func (e *explained) Unwrap() error { return e.err }

// Hint says what to do about an error of this package, "" when there is nothing in
// particular.
func Hint(err error) string {
	var e *explained
	if errors.As(err, &e) {
		return e.hint
	}
	return ""
}

// explain puts the errors that people meet into words.
func explain(registry string, err error) error {
	say := func(hint, format string, args ...any) error {
		return &explained{fmt.Errorf(format, args...), hint}
	}
	status := fetch.Status(err)
	var t *transport.Error
	if status == 0 && errors.As(err, &t) {
		status = t.StatusCode
	}
	var dns *net.DNSError
	var op *net.OpError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &certificate):
		return say(fmt.Sprintf("registry %q { ca = \"FILE.pem\" } in plumb's configuration trusts another authority", registry), "the registry %q is not who it says: %w", registry, certificate.Err)
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return say("docker login "+registry+", or podman login, keeps a user and a password; check the name, too: some registries answer so for what does not exist",
			"the registry %q does not let us read it (%d)", registry, status)
	case status == http.StatusNotFound:
		return say("check the name, the tag and the digest", "the registry %q does not have it (404)", registry)
	case status == http.StatusTooManyRequests:
		return say("wait, log in, or name a mirror in plumb's configuration", "the registry %q answers only so many requests: %w", registry, err)
	case status != 0:
		return say("try again later, or name a mirror in plumb's configuration", "the registry %q does not work: %w", registry, err)
	case errors.As(err, &dns):
		return say("check the name, and whether this machine has a network; an archive needs none", "the registry %q was not found: there is no such host", registry)
	case errors.As(err, &op):
		return say("check the network; an archive needs none", "the registry %q was not reached: %w", registry, op)
	}
	return err
}
