package toolbox

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Cache remembers small values between processes. A value that is gone is made
// again, so that Put has no error.
type Cache interface {
	Get(key string) ([]byte, bool)
	Put(key string, value []byte)
}

// Image is the image over a binary: one layer that holds the binary once, and a
// link to it under the name of each tool. The same binary gives the same image on
// every machine: nothing else is in it, and no time but zero.
//
// The layer is written from the file as it is read and kept nowhere. Its digest is
// remembered by the file's identity; whoever reads the layer checks it, and a
// binary that was replaced under its name gives an error there.
type Image struct {
	Platform string // "linux/amd64"
	exe      string
	size     int64
	layer    string
	manifest []byte
	config   []byte
}

// placed is where the image has the binary.
const placed = "usr/lib/plumb/toolbox"

// layout changes when the bytes of the image would, for the same binary: it goes
// into the key under which the digest is remembered.
const layout = "1"

// Open makes the image over the binary exe, which /proc/self/exe names for the
// running one, also after its file was replaced.
func Open(exe string, cache Cache) (*Image, error) {
	f, err := os.Open(exe)
	if err != nil {
		return nil, fmt.Errorf("opening the binary for the toolbox: %w", err)
	}
	defer f.Close() // was only read
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("opening the binary for the toolbox: %w", err)
	}
	m := &Image{Platform: runtime.GOOS + "/" + runtime.GOARCH, exe: exe, size: info.Size()}
	key := identityKey(f, info)
	known, ok := cache.Get(key)
	if m.layer = string(known); !ok || !isDigest(m.layer) {
		if err := static(f); err != nil {
			return nil, fmt.Errorf("the binary %q as the toolbox: %w", exe, err)
		}
		if m.layer, err = m.digest(f); err != nil {
			return nil, fmt.Errorf("the binary %q as the toolbox: %w", exe, err)
		}
		cache.Put(key, []byte(m.layer))
	}
	return m, m.describe()
}

// identityKey is by what a file is known again: where it really is, and its device,
// inode, size and times.
func identityKey(f *os.File, info os.FileInfo) string {
	path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		path = f.Name()
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Sprintf("toolbox %s %q %d %d", layout, path, info.Size(), info.ModTime().UnixNano())
	}
	return fmt.Sprintf("toolbox %s %q %d %d %d %d %d %s", layout, path, st.Dev, st.Ino, st.Size, st.Mtim.Nano(), st.Ctim.Nano(), namesKey())
}

// namesKey stands for the names in the image.
func namesKey() string {
	sum := sha256.Sum256([]byte(strings.Join(Names(), "\n")))
	return hex.EncodeToString(sum[:8])
}

func isDigest(s string) bool {
	digits, ok := strings.CutPrefix(s, "sha256:")
	raw, err := hex.DecodeString(digits)
	return ok && err == nil && len(raw) == sha256.Size
}

// static refuses a binary that needs a loader: the image has none.
func static(f io.ReaderAt) error {
	e, err := elf.NewFile(f)
	if err != nil {
		return fmt.Errorf("it is no ELF binary: %w", err)
	}
	for _, p := range e.Progs {
		if p.Type == elf.PT_INTERP {
			return errors.New("it is linked dynamically and would not start in an image of its own; the toolbox needs a plumb that is linked statically, as releases are")
		}
	}
	return nil
}

func (m *Image) digest(f *os.File) (string, error) {
	h := sha256.New()
	if err := m.write(h, f); err != nil {
		return "", err
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), nil
}

// describe makes config and manifest.
func (m *Image) describe() (err error) {
	goos, arch, _ := strings.Cut(m.Platform, "/")
	type descriptor struct {
		MediaType string `json:"mediaType"`
		Digest    string `json:"digest"`
		Size      int64  `json:"size"`
	}
	m.config, err = json.Marshal(map[string]any{
		"architecture": arch, "os": goos,
		"config": map[string]any{"Env": []string{"PATH=/bin"}, "Cmd": []string{"/bin/sh"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{m.layer}},
	})
	if err != nil {
		return err
	}
	m.manifest, err = json.Marshal(struct {
		SchemaVersion int          `json:"schemaVersion"`
		MediaType     string       `json:"mediaType"`
		Config        descriptor   `json:"config"`
		Layers        []descriptor `json:"layers"`
	}{
		2, "application/vnd.oci.image.manifest.v1+json",
		descriptor{"application/vnd.oci.image.config.v1+json", digestOf(m.config), int64(len(m.config))},
		[]descriptor{{"application/vnd.oci.image.layer.v1.tar", m.layer, m.layerSize()}},
	})
	return err
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Manifest is the digest of the image's manifest.
func (m *Image) Manifest() string { return digestOf(m.manifest) }

// Name is what people call the image.
func (*Image) Name() string { return "toolbox" }

// Blob opens the manifest, the config or the layer.
func (m *Image) Blob(ctx context.Context, digest string) (io.ReadCloser, error) {
	switch digest {
	case digestOf(m.manifest):
		return io.NopCloser(bytes.NewReader(m.manifest)), nil
	case digestOf(m.config):
		return io.NopCloser(bytes.NewReader(m.config)), nil
	case m.layer:
		return m.openLayer(ctx)
	}
	return nil, fmt.Errorf("the toolbox has no blob %q", digest)
}

func (m *Image) openLayer(ctx context.Context) (io.ReadCloser, error) {
	f, err := os.Open(m.exe)
	if err != nil {
		return nil, fmt.Errorf("opening the binary for the toolbox: %w", err)
	}
	head, tail, err := m.around()
	if err != nil {
		f.Close() // was only read
		return nil, err
	}
	if info, err := f.Stat(); err != nil || info.Size() != m.size {
		f.Close() // was only read
		return nil, errors.Join(fmt.Errorf("the binary %q has changed since the toolbox was opened", m.exe), err)
	}
	sum := sha256.New()
	all := io.MultiReader(bytes.NewReader(head), io.LimitReader(f, m.size), bytes.NewReader(tail))
	return &layerReader{ctx: ctx, r: io.TeeReader(all, sum), f: f, check: func() error {
		if got := "sha256:" + hex.EncodeToString(sum.Sum(nil)); got != m.layer {
			return fmt.Errorf("the binary %q has changed since the toolbox was opened: its layer is %s, not %s", m.exe, got, m.layer)
		}
		return nil
	}}, nil
}

// layerReader checks at its end that it was the layer that was promised.
type layerReader struct {
	ctx   context.Context
	r     io.Reader
	f     *os.File
	check func() error
}

func (l *layerReader) Read(p []byte) (int, error) {
	if err := l.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := l.r.Read(p)
	if err == io.EOF {
		if err := l.check(); err != nil {
			return n, err
		}
	}
	return n, err
}

func (l *layerReader) Close() error { return l.f.Close() }

func (m *Image) layerSize() int64 {
	head, tail, err := m.around()
	if err != nil {
		return 0 // Open would have failed
	}
	return int64(len(head)) + m.size + int64(len(tail))
}

func (m *Image) write(w io.Writer, f *os.File) error {
	head, tail, err := m.around()
	if err != nil {
		return err
	}
	n, err := io.Copy(w, io.MultiReader(bytes.NewReader(head), io.NewSectionReader(f, 0, m.size), bytes.NewReader(tail)))
	if err == nil && n != int64(len(head))+m.size+int64(len(tail)) {
		err = errors.New("it changed while it was read")
	}
	return err
}

// around is the layer's bytes before the binary's and behind them.
func (m *Image) around() (head, tail []byte, _ error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(h tar.Header, text string) error {
		h.ModTime, h.Format, h.Size = time.Unix(0, 0), tar.FormatUSTAR, int64(len(text))
		if err := w.WriteHeader(&h); err != nil {
			return err
		}
		_, err := io.WriteString(w, text)
		return err
	}
	var errs []error
	for _, d := range []struct {
		name string
		mode int64
	}{{"bin/", 0o755}, {"dev/", 0o755}, {"etc/", 0o755}, {"home/", 0o755}, {"proc/", 0o755}, {"root/", 0o700}, {"sys/", 0o755}, {"tmp/", 0o1777}, {"usr/", 0o755}, {"usr/lib/", 0o755}, {"usr/lib/plumb/", 0o755}, {"var/", 0o755}, {"var/tmp/", 0o1777}} {
		errs = append(errs, add(tar.Header{Typeflag: tar.TypeDir, Name: d.name, Mode: d.mode}, ""))
	}
	link := func(name, to string) {
		errs = append(errs, add(tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to, Mode: 0o777}, ""))
	}
	link("usr/bin", "../bin")
	link("sbin", "bin")
	for _, name := range Names() {
		link("bin/"+name, "../"+placed)
	}
	errs = append(errs,
		add(tar.Header{Typeflag: tar.TypeReg, Name: "etc/passwd", Mode: 0o644}, "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n"),
		add(tar.Header{Typeflag: tar.TypeReg, Name: "etc/group", Mode: 0o644}, "root:x:0:\nnogroup:x:65534:\n"),
		add(tar.Header{Typeflag: tar.TypeReg, Name: "etc/hosts", Mode: 0o644}, "127.0.0.1 localhost\n::1 localhost\n"),
		w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: placed, Mode: 0o755, Size: m.size, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}))
	if err := errors.Join(errs...); err != nil {
		return nil, nil, fmt.Errorf("writing the toolbox's layer: %w", err)
	}
	// The binary's padding, and the two empty blocks that end a tar.
	return b.Bytes(), make([]byte, (512-m.size%512)%512+1024), nil
}
