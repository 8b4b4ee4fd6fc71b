// Package registrytest runs a real container registry for tests: Debian's
// docker-registry, on a loopback port, with or without TLS and a password; and a
// proxy in front of it that fails in ways that registries and networks do.
package registrytest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// The user that a registry with a password knows.
const (
	User     = "reader"
	Password = "s3cret-of-the-registry"
)

// Options says what kind of registry is wanted.
type Options struct {
	TLS      bool // with a certificate of an authority made for it
	Password bool
}

// Registry is a running registry.
type Registry struct {
	Host string // "127.0.0.1:12345"
	CA   string // file with the authority's certificate, "" without TLS
	dir  string
}

// Need ends or skips a test that needs a program: in CI it has to be there.
func Need(tb testing.TB, program string) {
	tb.Helper()
	if _, err := exec.LookPath(program); err == nil {
		return
	}
	Missing(tb, "%s is not installed; .ci/run does it", program)
}

// Missing ends or skips a test that needs something of the machine: in CI it has to
// be there.
func Missing(tb testing.TB, format string, args ...any) {
	tb.Helper()
	if os.Getenv("CI") != "" {
		tb.Fatalf(format, args...)
	}
	tb.Skipf(format, args...)
}

// Start runs a registry until the test ends.
func Start(tb testing.TB, o Options) *Registry {
	tb.Helper()
	Need(tb, "docker-registry")
	r := &Registry{dir: tb.TempDir(), Host: freePort(tb)}
	config := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage:\n  filesystem: {rootdirectory: %s}\n  delete: {enabled: true}\nhttp:\n  addr: %s\n", filepath.Join(r.dir, "data"), r.Host)
	if o.TLS {
		r.CA = filepath.Join(r.dir, "ca.pem")
		certificate(tb, r.dir)
		config += fmt.Sprintf("  tls: {certificate: %s, key: %s}\n", filepath.Join(r.dir, "cert.pem"), filepath.Join(r.dir, "key.pem"))
	}
	if o.Password {
		hash, err := bcrypt.GenerateFromPassword([]byte(Password), bcrypt.MinCost)
		check(tb, err)
		check(tb, os.WriteFile(filepath.Join(r.dir, "users"), []byte(User+":"+string(hash)+"\n"), 0o600))
		config += fmt.Sprintf("auth:\n  htpasswd: {realm: test, path: %s}\n", filepath.Join(r.dir, "users"))
	}
	name := filepath.Join(r.dir, "config.yml")
	check(tb, os.WriteFile(name, []byte(config), 0o600))
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "docker-registry", "serve", name)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	check(tb, cmd.Start())
	tb.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was killed
	})
	for range 200 {
		if c, err := net.Dial("tcp", r.Host); err == nil {
			_ = c.Close()
			return r
		}
		time.Sleep(20 * time.Millisecond)
	}
	tb.Fatalf("docker-registry does not listen:\n%s", out.String())
	return nil
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func freePort(tb testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(tb, err)
	defer l.Close()
	return l.Addr().String()
}

// certificate makes an authority, and a certificate of it for the loopback address.
func certificate(tb testing.TB, dir string) {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(tb, err)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "plumb test authority"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	check(tb, err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(tb, err)
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "127.0.0.1"}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	check(tb, err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	check(tb, err)
	for name, block := range map[string]*pem.Block{
		"ca.pem": {Type: "CERTIFICATE", Bytes: caDER}, "cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "EC PRIVATE KEY", Bytes: keyDER},
	} {
		check(tb, os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600))
	}
}

// Client speaks to the registry as a program that trusts it would.
func (r *Registry) Client(tb testing.TB) http.RoundTripper {
	return trusting(tb, r.CA)
}
