package apt

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/mikelolasagasti/xz"

	"plumb/engine/fetch"
)

// maxList bounds a list after decompression: Debian's largest has 50 MB.
const maxList = 1 << 30

// list gives a component's package list. Mirrors have it compressed in two ways; gzip
// is a third larger to download than xz, and decompressed in a fifth of the time.
func (r Resolver) list(ctx context.Context, s Source, rel *release, component, arch string) (string, error) {
	plain := path.Join(component, "binary-"+arch, "Packages")
	whole, ok := rel.files[plain]
	if !ok {
		return "", fmt.Errorf("the release has no list for it; check the component, and the architecture %q", arch)
	}
	if err := os.MkdirAll(r.Cache, 0o700); err != nil {
		return "", err
	}
	kept := filepath.Join(r.Cache, whole.sha256)
	if text, err := keptList(kept, whole); err == nil {
		return text, nil
	}
	if whole.size == 0 { // nothing to read, and mirrors may leave it out
		return "", nil
	}
	text, err := r.download(ctx, s, rel, plain, whole)
	if errors.Is(err, fs.ErrNotExist) {
		// Who wanted the same list at the same time, from another mirror or in another
		// run, was quicker, and has kept it.
		return keptList(kept, whole)
	}
	return text, err
}

// keptList reads a list from the cache, which counts as using it.
func keptList(name string, want listed) (_ string, err error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	text, err := readText(f, want)
	if err == nil {
		now := time.Now()
		_ = os.Chtimes(name, now, now) // it is only collected earlier
	}
	return text, err
}

// readText reads a list that should be of this size and digest. It is held once:
// Debian's has fifty megabytes.
func readText(in io.Reader, want listed) (string, error) {
	if want.size > maxList {
		return "", fmt.Errorf("its list has %d bytes", want.size)
	}
	h := sha256.New()
	var text strings.Builder
	text.Grow(int(want.size))
	n, err := io.Copy(io.MultiWriter(&text, h), io.LimitReader(in, want.size+1))
	if err != nil {
		return "", err
	}
	if n != want.size || hex.EncodeToString(h.Sum(nil)) != want.sha256 {
		return "", errOtherList
	}
	return text.String(), nil
}

var errOtherList = errors.New("its list decompresses to something else than its release vouches for")

// keep puts a list into the cache, at once or not at all.
func keep(name string, text string) error {
	f, err := os.CreateTemp(filepath.Dir(name), "list-*")
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// forms are the ways in which a list may lie on a mirror, the best first. Releases
// name forms that not every mirror has.
var forms = []string{".gz", ".xz", ""}

func (r Resolver) download(ctx context.Context, s Source, rel *release, plain string, whole listed) (string, error) {
	var last error
	for _, form := range forms {
		from, ok := rel.files[plain+form]
		if !ok {
			continue
		}
		text, err := r.downloadForm(ctx, s, rel, plain+form, whole)
		if fetch.Status(err) != http.StatusNotFound {
			return text, err
		}
		last = fmt.Errorf("%w (%s)", err, from.sha256)
	}
	if last == nil {
		last = errors.New("its release names no list that can be read here")
	}
	return "", last
}

func (r Resolver) downloadForm(ctx context.Context, s Source, rel *release, name string, whole listed) (_ string, err error) {
	from := rel.files[name]
	part := filepath.Join(r.Cache, "download-"+from.sha256)
	defer func() { err = errors.Join(err, ignoreMissing(os.Remove(part))) }()
	base := s.URL + "/dists/" + s.Suite + "/"
	urls := []string{base + name}
	if rel.byHash { // which stays right while a mirror is being updated
		urls = []string{base + path.Join(path.Dir(name), "by-hash", "SHA256", from.sha256), base + name}
	}
	for i, url := range urls {
		err = r.Client.Download(ctx, fetch.Object{URL: url, Size: from.size}, from.sha256, part, r.Progress)
		if fetch.Status(err) != http.StatusNotFound || i == len(urls)-1 {
			break
		}
	}
	if fetch.IsMismatch(err) {
		return "", fmt.Errorf("%w: the mirror's list is not the one that its release vouches for; it may be being updated, try again", err)
	}
	if err != nil {
		return "", err
	}
	text, err := unpackList(part, path.Ext(name), whole)
	if err != nil {
		return "", err
	}
	return text, keep(filepath.Join(r.Cache, whole.sha256), text) // before its download is removed, see list
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

func unpackList(name, form string, want listed) (_ string, err error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var in io.Reader = f
	switch form {
	case ".gz":
		in, err = gzip.NewReader(f)
	case ".xz":
		in, err = xz.NewReader(bufio.NewReader(f), xz.DefaultDictMax)
	}
	if err != nil {
		return "", fmt.Errorf("decompressing its list: %w", err)
	}
	text, err := readText(in, want)
	if err != nil && !errors.Is(err, errOtherList) {
		err = fmt.Errorf("decompressing its list: %w", err)
	}
	return text, err
}
