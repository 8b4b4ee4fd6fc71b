package image

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/net/http/httpproxy"

	"plumb/engine/fetch"
)

// Registries is how container registries are reached: as the user configured them,
// with the credentials that docker login and podman login left. Nothing is read from
// the process's own environment: an agent works for clients with others.
//
// A registry is asked over TLS. Plain HTTP is for loopback addresses, and where the
// configuration says so; a registry in a private network that does not speak TLS is
// not asked in the clear unless it does.
type Registries struct {
	Hosts       []Host
	Credentials Credentials
	Proxy       func(*url.URL) (*url.URL, error) // nil for none
	Offline     bool                             // refuse every request
	Client      *fetch.Client                    // how patiently; nil for the usual

	mu       sync.Mutex
	sessions map[string]*session // by host and repository
}

// Host is one registry that is reached in a way of its own.
type Host struct {
	Name      string   // "docker.io", "registry.lab:5000"
	Mirrors   []string // hosts with a path, asked first
	PlainHTTP bool
	CA        string // PEM file of certificates that are trusted besides the machine's
}

// RegistriesFromEnv takes credentials and proxies from where an environment says.
func RegistriesFromEnv(getenv func(string) string) *Registries {
	proxy := httpproxy.Config{
		HTTPProxy:  first(getenv("HTTP_PROXY"), getenv("http_proxy")),
		HTTPSProxy: first(getenv("HTTPS_PROXY"), getenv("https_proxy")),
		NoProxy:    first(getenv("NO_PROXY"), getenv("no_proxy")),
	}
	return &Registries{Credentials: credentialsFromEnv(getenv), Proxy: proxy.ProxyFunc()}
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

func (r *Registries) host(registry string) Host {
	for _, h := range r.Hosts {
		if canonical(h.Name) == canonical(registry) {
			return h
		}
	}
	return Host{Name: registry}
}

// canonical gives the registry without a name its many names' one.
func canonical(host string) string {
	switch host {
	case "docker.io", "registry-1.docker.io", name.DefaultRegistry:
		return name.DefaultRegistry
	}
	return strings.ToLower(host)
}

// places are where a repository may be asked for, mirrors first.
func (r *Registries) places(repo name.Repository) ([]name.Repository, error) {
	var all []name.Repository
	for _, m := range r.host(repo.RegistryStr()).Mirrors {
		at, err := name.NewRepository(strings.TrimSuffix(m, "/") + "/" + repo.RepositoryStr())
		if err != nil {
			return nil, fmt.Errorf("the mirror %q of %q: %w", m, repo.RegistryStr(), err)
		}
		all = append(all, at)
	}
	return append(all, repo), nil
}

// session is an authenticated connection to one repository.
type session struct {
	once sync.Once
	base string // "https://host/v2/name"
	http *http.Client
	err  error
}

// open logs in to a repository, once.
func (r *Registries) open(ctx context.Context, repo name.Repository) (*session, error) {
	r.mu.Lock()
	s := r.sessions[repo.Name()]
	if s == nil {
		s = &session{}
		if r.sessions == nil {
			r.sessions = map[string]*session{}
		}
		r.sessions[repo.Name()] = s
	}
	r.mu.Unlock()
	s.once.Do(func() { s.err = r.login(ctx, repo, s) })
	if s.err == nil {
		return s, nil
	}
	r.mu.Lock() // the next one tries anew
	if r.sessions[repo.Name()] == s {
		delete(r.sessions, repo.Name())
	}
	r.mu.Unlock()
	if errors.Is(s.err, context.Canceled) && ctx.Err() == nil {
		return r.open(ctx, repo) // the one who logged in gave up, and this one did not
	}
	return s, s.err
}

func (r *Registries) login(ctx context.Context, repo name.Repository, s *session) error {
	reg := repo.Registry
	if r.plain(reg.RegistryStr()) {
		var err error
		if reg, err = name.NewRegistry(reg.RegistryStr(), name.Insecure); err != nil {
			return err
		}
	}
	base, err := r.transport(reg.RegistryStr())
	if err != nil {
		return err
	}
	auth, err := r.Credentials.find(repo)
	if err != nil {
		return err
	}
	watched := &spokenScheme{base: base}
	t, err := transport.NewWithContext(ctx, reg, auth, watched, []string{repo.Scope(transport.PullScope)})
	if err != nil {
		return err
	}
	s.http = &http.Client{Transport: t}
	s.base = watched.scheme() + "://" + reg.RegistryStr() + "/v2/" + repo.RepositoryStr()
	return nil
}

func (r *Registries) plain(registry string) bool {
	return r.host(registry).PlainHTTP || loopback(registry)
}

func loopback(registry string) bool {
	host := registry
	if h, _, err := net.SplitHostPort(registry); err == nil {
		host = h
	}
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return ip != nil && ip.IsLoopback()
}

// client is how patiently registries are asked.
func (r *Registries) client() fetch.Client {
	if r.Client == nil {
		return fetch.Client{}
	}
	return *r.Client
}

// transport is what all requests to a registry, and to where it sends them, go
// through: retried, never in the clear unless that was allowed.
func (r *Registries) transport(registry string) (http.RoundTripper, error) {
	if r.Offline {
		return offline{}, nil
	}
	t := fetch.NewTransport()
	t.Proxy = nil
	if r.Proxy != nil {
		t.Proxy = func(req *http.Request) (*url.URL, error) { return r.Proxy(req.URL) }
	}
	if ca := r.host(registry).CA; ca != "" {
		pool, err := trusting(ca)
		if err != nil {
			return nil, err
		}
		t.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	c := r.client()
	return &fetch.Retrying{Client: &c, Base: &guarded{base: t, plain: r.plain}}, nil
}

func trusting(ca string) (*x509.CertPool, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // a machine without certificates trusts those alone that are named
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, fmt.Errorf("reading the certificates of a registry: %w", err)
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("reading the certificates of a registry: %q holds none in PEM form", ca)
	}
	return pool, nil
}

// guarded sends nothing in the clear to where that was not allowed.
type guarded struct {
	base  http.RoundTripper
	plain func(host string) bool
}

func (g *guarded) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "https" && !g.plain(req.URL.Host) {
		return nil, fetch.Permanent(fmt.Errorf("%s would be asked over plain HTTP; registry %q { plain_http = true } in plumb's configuration allows it", req.URL.Host, req.URL.Host))
	}
	return g.base.RoundTrip(req)
}

// offline refuses every request.
type offline struct{}

func (offline) RoundTrip(req *http.Request) (*http.Response, error) {
	return nil, fetch.Permanent(fmt.Errorf("--offline allows no request to %q", req.URL.Host))
}

// spokenScheme notes how the registry answered the first time: the login tries TLS
// and, where that is allowed, then plain HTTP.
type spokenScheme struct {
	base http.RoundTripper
	mu   sync.Mutex
	said string
}

func (s *spokenScheme) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := s.base.RoundTrip(req)
	if err == nil {
		s.mu.Lock()
		if s.said == "" {
			s.said = req.URL.Scheme
		}
		s.mu.Unlock()
	}
	return resp, err
}

func (s *spokenScheme) scheme() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return first(s.said, "https")
}
