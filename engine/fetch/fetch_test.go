package fetch

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// faulty serves one object, each request answered as the next of its faults says;
// when they are used up it serves as it should.
type faulty struct {
	mu      sync.Mutex
	content []byte
	etag    string
	faults  []fault
	asked   []string // the Range of each request, "" for none
}

type fault func(f *faulty, w http.ResponseWriter, r *http.Request) (handled bool)

func (f *faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.asked = append(f.asked, r.Header.Get("Range"))
	var next fault
	if len(f.faults) > 0 {
		next, f.faults = f.faults[0], f.faults[1:]
	}
	f.mu.Unlock()
	if next == nil || !next(f, w, r) {
		if f.etag != "" {
			w.Header().Set("ETag", f.etag)
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.content))
	}
}

// cut sends so many bytes of what was asked for and breaks the connection.
func cut(n int) fault {
	return func(f *faulty, w http.ResponseWriter, r *http.Request) bool {
		rec := httptest.NewRecorder()
		rec.Header().Set("ETag", f.etag)
		http.ServeContent(rec, r, "", time.Time{}, bytes.NewReader(f.content))
		for k, v := range rec.Header() {
			w.Header()[k] = v
		}
		w.WriteHeader(rec.Code)
		if _, err := w.Write(rec.Body.Bytes()[:n]); err == nil {
			w.(http.Flusher).Flush()
		}
		panic(http.ErrAbortHandler)
	}
}

func status(code int, retryAfter string) fault {
	return func(_ *faulty, w http.ResponseWriter, _ *http.Request) bool {
		if retryAfter != "" {
			w.Header().Set("Retry-After", retryAfter)
		}
		w.WriteHeader(code)
		return true
	}
}

// whole sends everything, whatever range was asked for.
func whole(f *faulty, w http.ResponseWriter, _ *http.Request) bool {
	w.Header().Set("ETag", f.etag)
	_, _ = w.Write(f.content)
	return true
}

// chunked sends everything without saying how much it is.
func chunked(f *faulty, w http.ResponseWriter, _ *http.Request) bool {
	for i := 0; i < len(f.content); i += 7 {
		_, _ = w.Write(f.content[i:min(i+7, len(f.content))])
		w.(http.Flusher).Flush()
	}
	return true
}

// cutChunked breaks such an answer off.
func cutChunked(f *faulty, w http.ResponseWriter, _ *http.Request) bool {
	_, _ = w.Write(f.content[:7])
	w.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

// still sends a little and then nothing until the client hangs up.
func still(f *faulty, w http.ResponseWriter, r *http.Request) bool {
	w.Header().Set("Content-Length", fmt.Sprint(len(f.content)))
	_, _ = w.Write(f.content[:2])
	w.(http.Flusher).Flush()
	<-r.Context().Done()
	return true
}

// replace puts other content in place before it answers.
func replace(content, etag string) fault {
	return func(f *faulty, _ http.ResponseWriter, _ *http.Request) bool {
		f.content, f.etag = []byte(content), etag
		return false
	}
}

func serve(t *testing.T, f *faulty) string {
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return s.URL
}

// patient is a client that notes its waits and does not wait.
func patient(waits *[]time.Duration) *Client {
	return &Client{Idle: 50 * time.Millisecond, Sleep: func(_ context.Context, d time.Duration) error {
		if waits != nil {
			*waits = append(*waits, d)
		}
		return nil
	}}
}

const text = "0123456789abcdefghij"

func TestReaderGoesOn(t *testing.T) {
	tests := []struct {
		name   string
		etag   string
		faults []fault
		asked  []string
	}{
		{"nothing wrong", `"1"`, nil, []string{""}},
		{"cut in the middle", `"1"`, []fault{cut(5)}, []string{"", "bytes=5-"}},
		{"cut again and again", `"1"`, []fault{cut(5), cut(1), cut(1), cut(1), cut(1), cut(1), cut(1)}, []string{"", "bytes=5-", "bytes=6-", "bytes=7-", "bytes=8-", "bytes=9-", "bytes=10-", "bytes=11-"}},
		{"cut without an etag", "", []fault{cut(5)}, []string{"", "bytes=5-"}},
		{"cut before the first byte", `"1"`, []fault{cut(0)}, []string{"", ""}},
		{"ranges are not known", `"1"`, []fault{cut(5), whole}, []string{"", "bytes=5-"}},
		{"of unknown size", "", []fault{chunked}, []string{""}},
		{"of unknown size, and cut", "", []fault{cutChunked}, []string{"", "bytes=7-"}},
		{"busy at first", `"1"`, []fault{status(503, ""), status(500, ""), status(408, "")}, []string{"", "", "", ""}},
		{"busy after a cut", `"1"`, []fault{cut(3), status(502, ""), cut(2)}, []string{"", "bytes=3-", "bytes=3-", "bytes=5-"}},
		{"standing still", `"1"`, []fault{still}, []string{"", "bytes=2-"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := &faulty{content: []byte(text), etag: test.etag, faults: test.faults}
			r, err := patient(nil).Open(t.Context(), Object{URL: serve(t, f)})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			got, err := io.ReadAll(r)
			if err != nil || string(got) != text {
				t.Errorf("%q, %v", got, err)
			}
			if diff := cmp.Diff(test.asked, f.asked); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
		})
	}
}

// What nobody checks is not put together of two halves that may not belong together.
func TestUncheckedGoesOnOnlyWithTheSame(t *testing.T) {
	for _, test := range []struct {
		name, etag string
		unchecked  bool
		want       string
	}{
		{"no etag, checked", "", false, ""},
		{"no etag, unchecked", "", true, "no way to tell"},
		{"an etag, unchecked", `"1"`, true, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := &faulty{content: []byte(text), etag: test.etag, faults: []fault{cut(5)}}
			r, err := patient(nil).Open(t.Context(), Object{URL: serve(t, f), Unchecked: test.unchecked})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			_, err = io.ReadAll(r)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

// Also what is read at one go, such as a manifest, may not stand still for ever.
func TestDoHangsUpOnWhatStandsStill(t *testing.T) {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, serve(t, &faulty{content: []byte(text), faults: []fault{still}}), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := patient(nil).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); !errors.Is(err, errStill) {
		t.Errorf("error %v", err)
	}
}

func TestReaderRefuses(t *testing.T) {
	down := []fault{status(503, ""), status(503, ""), status(503, ""), status(503, ""), status(503, "")}
	tests := []struct {
		name   string
		faults []fault
		size   int64
		want   string
	}{
		{"not there", []fault{status(404, "")}, 0, "answered 404 Not Found"},
		{"not allowed", []fault{status(401, "")}, 0, "answered 401 Unauthorized"},
		{"always busy", down, 0, "answered 503 Service Unavailable (5 attempts)"},
		{"come back much later", []fault{status(429, "7200")}, 0, "longer than the 2m0s"},
		{"another size", nil, 7, "has the size 20, not 7"},
		{"replaced after a cut", []fault{cut(5), replace("other text, as long", `"2"`)}, 0, "replaced while it was read"},
		{"always cut", []fault{cut(0), cut(0), cut(0), cut(0), cut(0)}, 0, "cut off after 0 bytes"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := &faulty{content: []byte(text), etag: `"1"`, faults: test.faults}
			r, err := patient(nil).Open(t.Context(), Object{URL: serve(t, f), Size: test.size})
			if err == nil {
				_, err = io.ReadAll(r)
				_ = r.Close()
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestWaitsAsAsked(t *testing.T) {
	soon := time.Now().Add(30 * time.Second).UTC().Format(http.TimeFormat)
	var waits []time.Duration
	f := &faulty{content: []byte(text), faults: []fault{status(429, "7"), status(503, soon), status(503, "")}}
	c := patient(&waits)
	var told []int
	c.Notify = func(r Retry) { told = append(told, r.Attempt) }
	r, err := c.Open(t.Context(), Object{URL: serve(t, f)})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if len(waits) != 3 || waits[0] != 7*time.Second || waits[1] < 25*time.Second || waits[1] > 30*time.Second || waits[2] < time.Second || waits[2] > 3*time.Second {
		t.Errorf("waited %v", waits)
	}
	if diff := cmp.Diff([]int{1, 2, 3}, told); diff != "" {
		t.Error(diff)
	}
}

func TestUnknownHostIsSaidAtOnce(t *testing.T) {
	var waits []time.Duration
	_, err := patient(&waits).Open(t.Context(), Object{URL: "http://no-such-host.invalid/x"})
	if err == nil || len(waits) > 0 {
		t.Errorf("error %v after %d waits", err, len(waits))
	}
}

func TestNoSecretsInErrors(t *testing.T) {
	f := &faulty{faults: []fault{status(404, "")}}
	url := strings.Replace(serve(t, f), "http://", "http://me:s3cret@", 1) + "/x?token=t0ken"
	_, err := patient(nil).Open(t.Context(), Object{URL: url})
	if err == nil || strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "t0ken") {
		t.Errorf("error %v", err)
	}
	_, err = patient(nil).Open(t.Context(), Object{URL: "http://me:s3cret@127.0.0.1:1/x?token=t0ken"})
	if err == nil || strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "t0ken") {
		t.Errorf("error %v", err)
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := &Client{Idle: time.Minute}
	r, err := c.Open(ctx, Object{URL: serve(t, &faulty{content: []byte(text), faults: []fault{still}})})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := io.ReadAll(r); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func sum(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}

func TestDownload(t *testing.T) {
	tests := []struct {
		name   string
		part   string // what a killed process left
		faults []fault
		want   string // digest of it
		asked  []string
		fails  string
	}{
		{"new", "", nil, sum(text), []string{""}, ""},
		{"gone on with", text[:8], nil, sum(text), []string{"bytes=8-"}, ""},
		{"cut, too", text[:8], []fault{cut(2)}, sum(text), []string{"bytes=8-", "bytes=10-"}, ""},
		{"all there already", text, nil, sum(text), nil, ""},
		{"a part of something else", "else", nil, sum(text), []string{"bytes=4-", ""}, ""},
		{"other content", "", nil, sum("x"), []string{""}, "has the digest"},
		{"other content behind a part", text[:8], nil, sum("x"), []string{"bytes=8-", ""}, "has the digest"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x")
			if test.part != "" {
				if err := os.WriteFile(path+".part", []byte(test.part), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			f := &faulty{content: []byte(text), etag: `"1"`, faults: test.faults}
			var last int64
			err := patient(nil).Download(t.Context(), Object{URL: serve(t, f), Size: int64(len(text))}, test.want, path, func(done, _ int64) { last = done })
			got, rerr := os.ReadFile(path)
			if test.fails != "" {
				if err == nil || !IsMismatch(err) || !strings.Contains(err.Error(), test.fails) || !errors.Is(rerr, os.ErrNotExist) {
					t.Errorf("error %v; the file: %v", err, rerr)
				}
			} else if err != nil || string(got) != text || len(test.asked) > 0 && last != int64(len(text)) {
				t.Errorf("%q, %v, told %d", got, err, last)
			}
			if diff := cmp.Diff(test.asked, f.asked); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
			if _, err := os.Stat(path + ".part"); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the part is still there: %v", err)
			}
		})
	}
}

func TestTwoDownloadsToOnePath(t *testing.T) {
	f := &faulty{content: bytes.Repeat([]byte(text), 10000)}
	url := serve(t, f)
	path := filepath.Join(t.TempDir(), "x")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := patient(nil).Download(t.Context(), Object{URL: url}, sum(string(f.content)), path, nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(f.asked) != 1 {
		t.Errorf("%d requests", len(f.asked))
	}
}

func TestRetryingTransport(t *testing.T) {
	f := &faulty{content: []byte(text), faults: []fault{status(503, ""), status(429, "3"), status(401, "")}}
	var waits []time.Duration
	c := &http.Client{Transport: &Retrying{Client: patient(&waits), Base: http.DefaultTransport}}
	url := serve(t, f)
	resp, err := c.Get(url)
	if err != nil || resp.StatusCode != http.StatusUnauthorized || len(waits) != 2 || waits[1] != 3*time.Second {
		t.Fatalf("%v, %v, waited %v", resp, err, waits)
	}
	_ = resp.Body.Close()
	f.faults = []fault{status(500, ""), status(500, ""), status(500, ""), status(500, ""), status(500, "")}
	waits = nil
	above := patient(&waits)
	above.HTTP = c
	if _, err := above.Open(t.Context(), Object{URL: url}); Status(err) != 500 || len(waits) != 4 {
		t.Errorf("error %v after %d waits", err, len(waits))
	}
}

func TestDownloadOfUnknownSizeThatWasThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(path+".part", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := patient(nil).Download(t.Context(), Object{URL: serve(t, &faulty{content: []byte(text)})}, sum(text), path, nil); err != nil {
		t.Error(err)
	}
}
