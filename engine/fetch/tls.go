package fetch

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
)

// isTLS says whether two sides did not agree on a secure connection, which does not
// pass by itself.
func isTLS(err error) bool {
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var host x509.HostnameError
	var verify *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	return errors.As(err, &unknown) || errors.As(err, &invalid) || errors.As(err, &host) || errors.As(err, &verify) || errors.As(err, &record)
}
