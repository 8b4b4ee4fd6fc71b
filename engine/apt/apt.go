// Package apt finds out which Debian packages a list of names stands for: those that
// apt-get install would bring to a system that has nothing yet.
//
//	sources.go   where packages come from: the machine's own sources, or mirrors that are named
//	release.go   release files, signatures checked
//	lists.go     package lists, held against the release, kept by their digest
//	index.go     what is in them, by name and by what is provided
//	resolve.go   names ─▶ packages, in the order and with the choices of apt 2
//
// A release vouches for its lists by their digests, the lists for the packages; only
// the release has to be signed. Nothing here downloads a package.
package apt

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"plumb/engine/fetch"
)

// Source is one suite of one mirror.
type Source struct {
	URL        string // of the mirror, without a slash at the end
	Suite      string // "bookworm-security"
	Components []string
	Keyring    string // file that signs it, "" for Request.Keyrings
	Trusted    bool   // unsigned is accepted: [trusted=yes] in the machine's apt sources
}

// Request is what an image asks for.
type Request struct {
	Packages      []string // "python3-sklearn", "busybox-static:amd64", "python3=3.11.2-1+b1"
	Architecture  string   // "amd64"
	Essential     bool     // also what is marked essential, as every Debian system has it
	Recommends    bool
	Sources       []Source
	Keyrings      []string // files
	AcceptExpired bool
}

// Package is one resolved package.
type Package struct {
	Name         string
	Version      string
	Architecture string // "amd64" or "all"
	Source       Source // where it was found
	Path         string // below the mirror
	Size         int64
	SHA256       string   // 64 hex digits
	Essential    bool     // or needed by what is, when Request.Essential is set
	For          []string // of Request.Packages: those that need it, in their order
}

// Resolution is the answer. Packages are sorted by name.
type Resolution struct {
	Packages []Package
	Date     time.Time // of the newest release file
}

// Resolver reads mirrors. Lists are kept in Cache, by their digest.
type Resolver struct {
	Cache    string // directory, made when it is missing
	Client   *fetch.Client
	Now      func() time.Time
	Progress func(done, total int64) // bytes of lists; may be nil
}

// RequestError is an error of what was asked for, not of a mirror.
type RequestError struct{ text string }

func (e *RequestError) Error() string { return e.text }

func requestError(format string, args ...any) error {
	return &RequestError{fmt.Sprintf(format, args...)}
}

// IsRequest says whether what was asked for is to blame: a package that is not
// there, a list that cannot be had together.
func IsRequest(err error) bool {
	var r *RequestError
	return errors.As(err, &r)
}

// Resolve finds the packages.
func (r Resolver) Resolve(ctx context.Context, req Request) (*Resolution, error) {
	if len(req.Sources) == 0 {
		return nil, errors.New("no mirror was named")
	}
	x := newIndex(req.Architecture)
	out := &Resolution{}
	// All are asked at once, and read in their order: of equal versions the first wins.
	found := make([]suite, len(req.Sources))
	g, gctx := errgroup.WithContext(ctx)
	for i, s := range req.Sources {
		g.Go(func() (err error) {
			found[i], err = r.suite(gctx, s, req)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for i, s := range req.Sources {
		if found[i].date.After(out.Date) {
			out.Date = found[i].date
		}
		for _, text := range found[i].lists {
			x.add(text, s)
		}
	}
	var err error
	out.Packages, err = x.resolve(req)
	return out, err
}

// suite is what a source has: the lists of its components.
type suite struct {
	date  time.Time
	lists []string
}

func (r Resolver) suite(ctx context.Context, s Source, req Request) (suite, error) {
	rel, err := r.release(ctx, s, req)
	if err != nil {
		return suite{}, fmt.Errorf("reading suite %q of %s: %w", s.Suite, fetch.Display(s.URL), err)
	}
	out := suite{date: rel.date}
	for _, component := range s.Components {
		text, err := r.list(ctx, s, rel, component, req.Architecture)
		if err != nil {
			return out, fmt.Errorf("reading the packages of suite %q, component %q, of %s: %w", s.Suite, component, fetch.Display(s.URL), err)
		}
		out.lists = append(out.lists, text)
	}
	return out, nil
}
