package apttest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// Deb is a package to be made.
type Deb struct {
	Name, Version string
	Architecture  string            // "amd64" when it is empty
	Fields        map[string]string // of its control file besides: "Depends", "Multi-Arch"
	Files         []File
	Scripts       map[string]string // by name: "preinst", "postinst"
	Conffiles     []string          // lines
	Triggers      []string          // lines
	Compression   string            // "xz", "zst", "none"; "gz" when it is empty
}

// File is an entry of a package, in the order of the package.
type File struct {
	Path       string // "usr/bin/x"; that of a directory ends in a slash
	Data       string
	Mode       int64 // 0 for 0755 of directories, 0644 of all else
	UID, GID   int
	Link       string    // a symlink there
	Hard       string    // another name of that file
	Type       byte      // tar's, for what is none of these
	Time       time.Time // zero for Built
	Capability string    // the attribute of that name
}

// Built is the time of files that say none.
var Built = time.Date(2022, 3, 4, 5, 6, 7, 0, time.UTC)

func (d Deb) architecture() string {
	if d.Architecture == "" {
		return "amd64"
	}
	return d.Architecture
}

// Path is where a mirror has the package.
func (d Deb) Path() string {
	_, version, epoch := strings.Cut(d.Version, ":")
	if !epoch {
		version = d.Version
	}
	return fmt.Sprintf("pool/main/%s/%s/%s_%s_%s.deb", d.Name[:1], d.Name, d.Name, version, d.architecture())
}

// paragraph is its control file.
func (d Deb) paragraph() string {
	text := fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: %s\nMaintainer: Test <test@example.org>\n", d.Name, d.Version, d.architecture())
	for _, name := range slices.Sorted(maps.Keys(d.Fields)) {
		text += name + ": " + d.Fields[name] + "\n"
	}
	return text + "Description: a package of a test\n"
}

// Bytes is the .deb file. The same package has the same bytes.
func (d Deb) Bytes(tb testing.TB) []byte {
	tb.Helper()
	name := map[string]string{"": ".tar.gz", "none": ".tar"}[d.Compression]
	if name == "" {
		name = ".tar." + d.Compression
	}
	return Archive(
		Member{"debian-binary", []byte("2.0\n")},
		Member{"control" + name, compress(tb, d.Compression, tarOf(tb, d.control()))},
		Member{"data" + name, compress(tb, d.Compression, tarOf(tb, d.Files))},
	)
}

// Digest is the SHA-256 of bytes as package lists have it.
func Digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Member is a file of an ar archive.
type Member struct {
	Name string
	Data []byte
}

// Archive makes an ar archive, which a .deb is.
func Archive(members ...Member) []byte {
	b := []byte("!<arch>\n")
	for _, m := range members {
		b = fmt.Appendf(b, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", m.Name, Built.Unix(), 0, 0, "100644", len(m.Data))
		b = append(b, m.Data...)
		if len(m.Data)%2 == 1 {
			b = append(b, '\n')
		}
	}
	return b
}

// control are the files of the control part.
func (d Deb) control() []File {
	files := []File{{Path: "control", Data: d.paragraph()}}
	for _, name := range slices.Sorted(maps.Keys(d.Scripts)) {
		files = append(files, File{Path: name, Data: d.Scripts[name], Mode: 0o755})
	}
	for _, f := range []struct {
		name  string
		lines []string
	}{{"conffiles", d.Conffiles}, {"triggers", d.Triggers}} {
		if len(f.lines) > 0 {
			files = append(files, File{Path: f.name, Data: strings.Join(f.lines, "\n") + "\n"})
		}
	}
	return files
}

// tarOf writes entries as dpkg-deb does: the root first, names with "./" in front. A
// path that begins with a dot or a slash is left as it is.
func tarOf(tb testing.TB, files []File) []byte {
	tb.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	check(tb, w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "./", Mode: 0o755, ModTime: Built, Format: tar.FormatGNU}))
	for _, f := range files {
		h := f.header()
		check(tb, w.WriteHeader(h))
		if h.Size > 0 {
			_, err := io.WriteString(w, f.Data)
			check(tb, err)
		}
	}
	check(tb, w.Close())
	return b.Bytes()
}

func (f File) header() *tar.Header {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: f.Path, Mode: f.Mode, Uid: f.UID, Gid: f.GID, ModTime: f.Time, Format: tar.FormatGNU}
	if !strings.HasPrefix(h.Name, ".") && !strings.HasPrefix(h.Name, "/") {
		h.Name = "./" + h.Name
	}
	if h.ModTime.IsZero() {
		h.ModTime = Built
	}
	if h.Mode == 0 {
		h.Mode = 0o644
	}
	switch {
	case f.Type != 0:
		h.Typeflag = f.Type
	case f.Link != "":
		h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, f.Link, 0o777
	case f.Hard != "":
		h.Typeflag, h.Linkname = tar.TypeLink, "./"+path.Clean(f.Hard)
	case strings.HasSuffix(f.Path, "/"):
		h.Typeflag = tar.TypeDir
		if f.Mode == 0 {
			h.Mode = 0o755
		}
	default:
		h.Size = int64(len(f.Data))
	}
	if f.Capability != "" {
		h.Format, h.PAXRecords = tar.FormatPAX, map[string]string{"SCHILY.xattr.security.capability": f.Capability}
	}
	return h
}

func compress(tb testing.TB, how string, b []byte) []byte {
	tb.Helper()
	var out bytes.Buffer
	var w io.WriteCloser
	var err error
	switch how {
	case "none":
		return b
	case "xz":
		w, err = xz.NewWriter(&out)
	case "zst":
		w, err = zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1))
	case "", "gz":
		w = gzip.NewWriter(&out)
	default:
		tb.Fatalf("no package is compressed with %q", how)
	}
	check(tb, err)
	_, err = w.Write(b)
	check(tb, err)
	check(tb, w.Close())
	return out.Bytes()
}
