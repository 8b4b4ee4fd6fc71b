package apt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"plumb/engine/fetch"
)

// release is what a suite's release file says.
type release struct {
	date   time.Time
	files  map[string]listed // by path below the suite
	byHash bool
}

// listed is a file that a release vouches for.
type listed struct {
	size   int64
	sha256 string
}

// maxRelease is far above any real one, which have a few hundred kilobytes.
const maxRelease = 16 << 20

// release reads InRelease, or Release with its signature beside it.
func (r Resolver) release(ctx context.Context, s Source, req Request) (*release, error) {
	base := s.URL + "/dists/" + s.Suite
	keys, err := keyring(s, req)
	if err != nil {
		return nil, err
	}
	text, err := r.get(ctx, base+"/InRelease")
	if fetch.Status(err) == http.StatusNotFound {
		text, err = r.detached(ctx, base, s, keys)
	} else if err == nil {
		text, err = r.inline(text, s, keys)
	}
	if err != nil {
		return nil, err
	}
	return r.readRelease(text, s, req)
}

func (r Resolver) get(ctx context.Context, url string) ([]byte, error) {
	in, err := r.Client.Open(ctx, fetch.Object{URL: url})
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(in, maxRelease+1))
	if err = errors.Join(err, in.Close()); err != nil {
		return nil, err
	}
	if len(b) > maxRelease {
		return nil, fmt.Errorf("%s is larger than %d MiB", fetch.Display(url), maxRelease>>20)
	}
	return b, nil
}

// keyring reads the keys that may sign a source.
func keyring(s Source, req Request) (openpgp.EntityList, error) {
	files := req.Keyrings
	if s.Keyring != "" {
		files = []string{s.Keyring}
	}
	var all openpgp.EntityList
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("reading a keyring: %w", err)
		}
		keys, err := readKeys(b)
		if err != nil {
			return nil, fmt.Errorf("reading the keyring %q: %w", name, err)
		}
		all = append(all, keys...)
	}
	return all, nil
}

// readKeys reads a keyring. One that is armored may be several, one behind the other,
// as `cat` makes it.
func readKeys(b []byte) (all openpgp.EntityList, err error) {
	begin := []byte("-----BEGIN PGP")
	if !bytes.Contains(b, begin) {
		return openpgp.ReadKeyRing(bytes.NewReader(b))
	}
	for _, block := range bytes.Split(b, begin)[1:] {
		keys, err := openpgp.ReadArmoredKeyRing(io.MultiReader(bytes.NewReader(begin), bytes.NewReader(block)))
		if err != nil {
			return nil, err
		}
		all = append(all, keys...)
	}
	return all, nil
}

func (r Resolver) inline(text []byte, s Source, keys openpgp.EntityList) ([]byte, error) {
	block, rest := clearsign.Decode(text)
	if block == nil {
		if s.Trusted {
			return text, nil
		}
		return nil, errors.New("its InRelease is not signed; name a mirror that signs")
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("its InRelease has text behind its signature")
	}
	return block.Plaintext, r.verified(block.Bytes, block.ArmoredSignature.Body, s, keys)
}

func (r Resolver) detached(ctx context.Context, base string, s Source, keys openpgp.EntityList) ([]byte, error) {
	text, err := r.get(ctx, base+"/Release")
	if fetch.Status(err) == http.StatusNotFound {
		return nil, errors.New("the mirror does not have it: it has neither InRelease nor Release (404); check the suite's name")
	}
	if err != nil || s.Trusted {
		return text, err
	}
	signature, err := r.get(ctx, base+"/Release.gpg")
	if fetch.Status(err) == http.StatusNotFound {
		return nil, errors.New("its Release is not signed; name a mirror that signs")
	}
	if err != nil {
		return nil, err
	}
	_, err = openpgp.CheckArmoredDetachedSignature(keys, bytes.NewReader(text), bytes.NewReader(signature), r.pgp())
	return text, signatureError(err, s)
}

func (r Resolver) pgp() *packet.Config { return &packet.Config{Time: r.Now} }

func (r Resolver) verified(signed []byte, signature io.Reader, s Source, keys openpgp.EntityList) error {
	_, err := openpgp.CheckDetachedSignature(keys, bytes.NewReader(signed), signature, r.pgp())
	return signatureError(err, s)
}

func signatureError(err error, s Source) error {
	switch {
	case err == nil || s.Trusted:
		return nil
	case errors.Is(err, pgperrors.ErrUnknownIssuer):
		return errors.New("its release file is signed by a key that is not in the keyring; set keyring to the file that has it")
	case errors.Is(err, pgperrors.ErrKeyExpired), errors.Is(err, pgperrors.ErrSignatureExpired):
		return fmt.Errorf("its release file is signed by a key that has expired (%w); update the keyring", err)
	}
	return fmt.Errorf("the signature of its release file is not good: %w", err)
}

func (r Resolver) readRelease(text []byte, s Source, req Request) (*release, error) {
	all := paragraphsOf(string(text))
	if len(all) != 1 {
		return nil, errors.New("its release file is not in the form of one")
	}
	f := all[0]
	rel := &release{files: map[string]listed{}, byHash: f["acquire-by-hash"] == "yes"}
	suite := strings.TrimSuffix(s.Suite, "/updates")
	if f["suite"] != suite && f["codename"] != suite && f["codename"] != s.Suite && f["suite"] != s.Suite {
		return nil, fmt.Errorf("its release file is of the suite %q (%q)", f["suite"], f["codename"])
	}
	var err error
	if rel.date, err = time.Parse(time.RFC1123, f["date"]); err != nil {
		return nil, fmt.Errorf("its release file has the date %q", f["date"])
	}
	rel.date = rel.date.UTC()
	if rel.date.After(r.Now().Add(24 * time.Hour)) {
		return nil, fmt.Errorf("its release file is of %s, which is yet to come; check this machine's clock", rel.date.Format(time.RFC3339))
	}
	if until, err := time.Parse(time.RFC1123, f["valid-until"]); err == nil && until.Before(r.Now()) && !req.AcceptExpired {
		return nil, fmt.Errorf("its release file expired on %s: the mirror is not updated any more; accept_expired = true takes it all the same", until.Format(time.RFC3339))
	}
	for line := range strings.SplitSeq(f["sha256"], "\n") {
		words := strings.Fields(line)
		if len(words) != 3 {
			continue
		}
		size, err := strconv.ParseInt(words[1], 10, 64)
		if err == nil && len(words[0]) == 64 {
			rel.files[words[2]] = listed{size, words[0]}
		}
	}
	if len(rel.files) == 0 {
		return nil, errors.New("its release file has no SHA-256 of any list")
	}
	return rel, nil
}
