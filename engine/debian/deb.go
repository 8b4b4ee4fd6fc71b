package debian

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
)

// maxControl bounds the control files of a package together: the largest real ones
// have a few megabytes.
const maxControl = 64 << 20

// debFile is an open .deb.
type debFile struct {
	f       *os.File
	control []controlFile // in the order of the package
	data    *member
}

// controlFile is a file of the control part: "control", "postinst".
type controlFile struct {
	name string
	mode int64
	data []byte
}

// ErrDamaged is in errors about a .deb that is not the one that was pinned.
var ErrDamaged = errors.New("the kept file is damaged")

// openDeb opens a package and checks that it is the one that is meant.
func openDeb(p Package) (_ *debFile, err error) {
	f, err := os.Open(p.File)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	if err := p.is(f); err != nil {
		return nil, err
	}
	d := &debFile{f: f}
	return d, d.members()
}

// Check says whether the .deb is the one that is meant: ErrDamaged when it is not.
func (p Package) Check() (err error) {
	f, err := os.Open(p.File)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return p.is(f)
}

func (p Package) is(f io.Reader) error {
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if have := hex.EncodeToString(h.Sum(nil)); have != p.SHA256 {
		return fmt.Errorf("%w: it has the digest sha256:%s, not sha256:%s", ErrDamaged, have, p.SHA256)
	}
	return nil
}

// members finds the parts.
func (d *debFile) members() error {
	all, err := membersOf(d.f)
	if err != nil {
		return fmt.Errorf("it is no .deb: %w", err)
	}
	for _, m := range all {
		switch {
		case strings.HasPrefix(m.name, "control.tar"):
			if d.control, err = controlFiles(m); err != nil {
				return fmt.Errorf("reading its control files: %w", err)
			}
		case strings.HasPrefix(m.name, "data.tar"):
			d.data = &m
		}
	}
	if d.data == nil || d.file("control") == "" {
		return errors.New("it is no .deb: it lacks its control file or its data")
	}
	return nil
}

func controlFiles(m member) (all []controlFile, err error) {
	in, err := m.open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	left := int64(maxControl)
	r := tar.NewReader(in)
	for {
		h, err := r.Next()
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		name := path.Clean(h.Name)
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if strings.ContainsAny(name, "/ \n") || strings.HasPrefix(name, ".") {
			return nil, fmt.Errorf("there is one of the name %q", h.Name)
		}
		if left -= h.Size; left < 0 {
			return nil, fmt.Errorf("there are more than %d MiB of them", maxControl>>20)
		}
		b := make([]byte, h.Size)
		if _, err := io.ReadFull(r, b); err != nil {
			return nil, err
		}
		all = append(all, controlFile{name, h.Mode & 0o777, b})
	}
}

// file gives a control file; nothing when there is none.
func (d *debFile) file(name string) string {
	for _, c := range d.control {
		if c.name == name {
			return string(c.data)
		}
	}
	return ""
}

func (d *debFile) close() error { return d.f.Close() }

// fieldOf gives a field of a control paragraph, with its continuation lines.
func fieldOf(paragraph, name string) string {
	found := false
	var value []string
	for line := range strings.SplitSeq(paragraph, "\n") {
		switch {
		case found && (strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t")):
			value = append(value, line)
		case found:
			return strings.TrimSpace(strings.Join(value, "\n"))
		case len(line) > len(name) && line[len(name)] == ':' && strings.EqualFold(line[:len(name)], name):
			found, value = true, append(value, line[len(name)+1:])
		}
	}
	return strings.TrimSpace(strings.Join(value, "\n"))
}
