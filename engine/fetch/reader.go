package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// Reader is the content of an object from an offset on. It goes on by itself after
// a broken connection. Read it from one goroutine.
type Reader struct {
	c    *Client
	ctx  context.Context
	o    Object
	at   int64  // offset of the next byte
	size int64  // of the whole, -1 when it is not known
	tag  string // what tells the object from a later one: a strong ETag, or when it was modified
	body io.ReadCloser
	p    patience
	err  error
}

// Open begins to read an object.
func (c *Client) Open(ctx context.Context, o Object) (*Reader, error) {
	r := &Reader{c: c, ctx: ctx, o: o, at: o.Offset, size: -1, p: patience{c: c, url: o.URL}}
	if o.Size > 0 {
		r.size = o.Size
	}
	for {
		err := r.connect()
		if err == nil {
			return r, nil
		}
		if err := r.p.again(ctx, err); err != nil {
			return nil, err
		}
	}
}

// Size is how large the whole object is, -1 when nobody said.
func (r *Reader) Size() int64 { return r.size }

// Close ends the request.
func (r *Reader) Close() error {
	if r.err == nil {
		r.err = errors.New("it is closed")
	}
	return r.hangUp()
}

func (r *Reader) hangUp() error {
	if r.body == nil {
		return nil
	}
	err := r.body.Close()
	r.body = nil
	return err
}

// connect asks for what is not read yet.
func (r *Reader) connect() error {
	if r.size >= 0 && r.at >= r.size && r.at > 0 {
		r.body = http.NoBody
		return nil
	}
	req, err := http.NewRequestWithContext(r.ctx, http.MethodGet, r.o.URL, nil)
	if err != nil {
		return Permanent(fmt.Errorf("asking for %s: the URL cannot be read", Display(r.o.URL)))
	}
	for name, values := range r.o.Header {
		req.Header[name] = values
	}
	req.Header.Set("Accept-Encoding", "identity")
	if r.at > 0 {
		req.Header.Set("Range", "bytes="+strconv.FormatInt(r.at, 10)+"-")
		if r.tag != "" {
			req.Header.Set("If-Range", r.tag)
		}
	}
	resp, err := r.c.once(req)
	if err != nil {
		return err
	}
	return r.accept(resp)
}

// accept takes an answer's body, from the right byte on.
func (r *Reader) accept(resp *http.Response) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, resp.Body.Close())
		}
	}()
	tag := identity(resp.Header)
	if r.tag != "" && tag != r.tag {
		return fmt.Errorf("reading %s: %w", Display(r.o.URL), errChanged)
	}
	total := resp.ContentLength
	begins := int64(0)
	if resp.StatusCode == http.StatusPartialContent {
		begins, total = contentRange(resp.Header.Get("Content-Range"))
		if begins != r.at {
			return Permanent(fmt.Errorf("reading %s: asked for byte %d on, and got it from byte %d on", Display(r.o.URL), r.at, begins))
		}
	}
	if total >= 0 {
		if r.size >= 0 && total != r.size {
			return &MismatchError{Display(r.o.URL), "size", strconv.FormatInt(r.size, 10), strconv.FormatInt(total, 10)}
		}
		r.size = total
	}
	if begins < r.at { // the server sends all of it, always
		if _, err := io.CopyN(io.Discard, resp.Body, r.at-begins); err != nil {
			return fmt.Errorf("reading %s again: %w", Display(r.o.URL), err)
		}
	}
	r.tag, r.body = tag, resp.Body
	return nil
}

// identity is what If-Range takes: an ETag that promises equal bytes, or a date.
func identity(h http.Header) string {
	if tag := h.Get("Etag"); tag != "" && !strings.HasPrefix(tag, "W/") {
		return tag
	}
	return h.Get("Last-Modified")
}

// contentRange reads "bytes 5-9/10"; the total is -1 when it is not said.
func contentRange(value string) (begins, total int64) {
	var ends int64
	var of string
	if n, _ := fmt.Sscanf(value, "bytes %d-%d/%s", &begins, &ends, &of); n != 3 {
		return -1, -1
	}
	total, err := strconv.ParseInt(of, 10, 64)
	if err != nil {
		return begins, -1
	}
	return begins, total
}

// Read implements io.Reader. The end is told only when all has come.
func (r *Reader) Read(b []byte) (int, error) {
	for {
		if r.err != nil {
			return 0, r.err
		}
		n, err := r.body.Read(b)
		r.at += int64(n)
		if n > 0 {
			r.p.progress()
		}
		if r.size >= 0 && r.at > r.size {
			r.err = &MismatchError{Display(r.o.URL), "size", strconv.FormatInt(r.size, 10), "more than that"}
			return 0, r.err
		}
		switch {
		case err == nil:
			return n, nil
		case err == io.EOF && (r.size < 0 || r.at == r.size):
			r.err = io.EOF
			return n, io.EOF
		}
		r.broken(err)
		if n > 0 {
			return n, nil // what went wrong is told by the next call
		}
	}
}

// broken connects again after a cut. What cannot be mended is what Read says next.
func (r *Reader) broken(cause error) {
	if cause == io.EOF {
		cause = io.ErrUnexpectedEOF
	}
	_ = r.hangUp() // it is broken already
	if r.o.Unchecked && r.at > 0 && r.tag == "" {
		r.err = Permanent(fmt.Errorf("reading %s: cut off after %d bytes, and the server gives no way to tell whether what is there now is still the same", Display(r.o.URL), r.at))
		return
	}
	cause = fmt.Errorf("reading %s: cut off after %d bytes: %w", Display(r.o.URL), r.at, shown(cause))
	for r.err == nil {
		if r.err = r.p.again(r.ctx, cause); r.err != nil {
			return
		}
		if cause = r.connect(); cause == nil {
			return
		}
	}
}
