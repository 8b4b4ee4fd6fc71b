package debian

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"
)

// A .deb is an ar archive of three members. The kept libraries for the format either
// pass over what they cannot read, or bring all of Debian's tools along; it is a
// header of sixty bytes.

// member is one file of an ar archive.
type member struct {
	name string
	data *io.SectionReader
}

const (
	arMagic  = "!<arch>\n"
	arHeader = 60
)

// membersOf lists the members of an archive.
func membersOf(f *os.File) (all []member, err error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	magic := make([]byte, len(arMagic))
	if _, err := f.ReadAt(magic, 0); err != nil || string(magic) != arMagic {
		return nil, errors.New("it does not begin as an ar archive")
	}
	for at := int64(len(arMagic)); at < info.Size(); {
		head := make([]byte, arHeader)
		if _, err := f.ReadAt(head, at); err != nil {
			return nil, fmt.Errorf("it is cut off at byte %d", info.Size())
		}
		at += arHeader
		size, err := strconv.ParseInt(strings.TrimSpace(string(head[48:58])), 10, 64)
		if err != nil || size < 0 || !bytes.Equal(head[58:], []byte("`\n")) {
			return nil, fmt.Errorf("it has no member where one should be, at byte %d", at-arHeader)
		}
		if at+size > info.Size() {
			return nil, fmt.Errorf("it is cut off at byte %d", info.Size())
		}
		name := strings.TrimSuffix(strings.TrimSpace(string(head[:16])), "/")
		all = append(all, member{name, io.NewSectionReader(f, at, size)})
		at += size + size%2
	}
	return all, nil
}

// open decompresses a member. The way is told by the member's name, as for dpkg.
func (m member) open() (io.ReadCloser, error) {
	in := bufio.NewReaderSize(m.data, 128<<10)
	switch ext := path.Ext(m.name); ext {
	case ".tar":
		return io.NopCloser(in), nil
	case ".gz":
		return gzip.NewReader(in)
	case ".bz2":
		return io.NopCloser(bzip2.NewReader(in)), nil
	case ".xz":
		return openXZ(in)
	case ".zst":
		r, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return nil, err
		}
		return r.IOReadCloser(), nil
	default:
		return nil, fmt.Errorf("its member %q is compressed in a way that is not known here", m.name)
	}
}

// xzReaders are kept for the next package: each holds a dictionary of megabytes.
var xzReaders = sync.Pool{New: func() any {
	r, err := xz.NewReader(nil, xz.DefaultDictMax)
	if err != nil {
		panic(err) // there is nothing to read that could be wrong
	}
	return r
}}

type xzReader struct{ *xz.Reader }

func openXZ(in io.Reader) (io.ReadCloser, error) {
	r := xzReaders.Get().(*xz.Reader)
	if err := r.Reset(in); err != nil {
		return nil, err
	}
	return &xzReader{r}, nil
}

func (r *xzReader) Close() error {
	if r.Reader != nil {
		xzReaders.Put(r.Reader)
		r.Reader = nil
	}
	return nil
}
