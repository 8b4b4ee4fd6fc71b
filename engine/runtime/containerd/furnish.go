package containerd

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	securejoin "github.com/cyphar/filepath-securejoin"
	"github.com/moby/sys/user"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// Images are often short of what programs take for granted: an entry for their
// user in /etc/passwd, a home that the user may write, /tmp, localhost in
// /etc/hosts. What an image lacks is put into a directory that becomes the
// topmost of its layers. It is made when the first container needs it and
// shared by all of the image and home; it costs the others nothing. It does
// not outlive the process.

// furnished is an image made habitable.
type furnished struct {
	user   user.ExecUser
	layers []string // idmapped, topmost first
	dir    string   // the layer that was added
	note   string   // for people, on what is not as the image says
}

// furnishImage answers the layers and the user of containers of img.
func (i *images) furnishImage(img *image, home string) (furnished, error) {
	img.mu.Lock()
	defer img.mu.Unlock()
	if f, ok := img.homes[home]; ok {
		return f, nil
	}
	f, err := i.makeFurniture(img, home)
	if err != nil {
		return f, fmt.Errorf("completing image %q: %w", img.digest, err)
	}
	img.homes[home] = f
	return f, nil
}

func (i *images) makeFurniture(img *image, home string) (f furnished, err error) {
	view, done, err := look(img.layers, i.rootfs.state)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, done()) }()
	room := furniture{view: view, ids: int(i.rootfs.ids)}
	sum := sha256.Sum256([]byte(home))
	room.layer = filepath.Join(i.furnish, img.digest.Encoded(), hex.EncodeToString(sum[:8]))
	if err := os.MkdirAll(room.layer, 0o755); err != nil {
		return f, err
	}
	if room.layer, err = i.rootfs.seeOwn(room.layer); err != nil {
		return f, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, i.rootfs.unsee([]string{room.layer}))
		}
	}()
	if f.user, err = room.fill(img.config.User, home); err != nil {
		return f, err
	}
	if name, _, _ := strings.Cut(img.config.User, ":"); room.ids == 1 && name != "" && name != "0" && name != "root" {
		f.note = fmt.Sprintf("the image's user is %q, and there is one id only: its containers run as root inside; %s", name, idsRemedy)
	}
	f.dir = room.layer
	f.layers, err = i.rootfs.mapLayers(append([]string{room.layer}, img.layers...))
	return f, err
}

// unfurnish removes what was made for an image.
func (i *images) unfurnish(dgst digest.Digest) error {
	return os.RemoveAll(filepath.Join(i.furnish, dgst.Encoded()))
}

// mappedLayers are all that mapLayers was called for on account of the image.
func (img *image) mappedLayers() []string {
	img.mu.Lock()
	defer img.mu.Unlock()
	var all []string
	for _, f := range img.homes {
		all = append(append(all, f.dir), img.layers...)
	}
	if img.bare != nil {
		all = append(all, img.layers...)
	}
	return all
}

// seenLayers are all that see was called for on account of the image.
func (img *image) seenLayers() []string {
	img.mu.Lock()
	defer img.mu.Unlock()
	all := slices.Clone(img.layers)
	for _, f := range img.homes {
		all = append(all, f.dir)
	}
	return all
}

// look makes the files of all layers visible in one directory.
func look(layers []string, state string) (dir string, done func() error, err error) {
	if len(layers) == 1 {
		return layers[0], func() error { return nil }, nil
	}
	if err := os.MkdirAll(state, 0o711); err != nil {
		return "", nil, err
	}
	if dir, err = os.MkdirTemp(state, "look-"); err != nil {
		return "", nil, err
	}
	m := mount.Mount{Type: "overlay", Source: "overlay", Options: append(overlayNotes(), "ro", "lowerdir="+strings.Join(layers, ":"))}
	if err := m.Mount(dir); err != nil {
		return "", nil, errors.Join(err, os.Remove(dir))
	}
	return dir, func() error { return errors.Join(detach(dir), os.Remove(dir)) }, nil
}

// furniture is one layer being made over the image visible in view. Ids in both
// are the image's own.
type furniture struct {
	view  string
	layer string
	ids   int
}

func (f furniture) fill(name, home string) (user.ExecUser, error) {
	u, err := f.user(name)
	if err != nil {
		return u, err
	}
	for _, dir := range []string{"/", "/proc", "/sys", "/dev", "/etc"} {
		if _, err := f.dir(dir); err != nil {
			return u, err
		}
	}
	if err := errors.Join(f.hosts(), f.passwd(u, home), f.group(u)); err != nil {
		return u, err
	}
	if err := f.own("/tmp", 0, 0, 0o1777); err != nil || home == "" || home == "/" {
		return u, err
	}
	return u, f.own(home, u.Uid, u.Gid, 0o755)
}

// user looks the image's USER up: a name or number, a group behind a colon.
func (f furniture) user(name string) (user.ExecUser, error) {
	passwd, group := f.read("/etc/passwd"), f.read("/etc/group")
	u, err := user.GetExecUser(name, nil, bytes.NewReader(passwd), bytes.NewReader(group))
	if err != nil {
		return user.ExecUser{}, fmt.Errorf("looking up the image's user %q: %w", name, err)
	}
	if f.ids == 1 {
		// Refusing would leave out most images that have a user, and being root of one's
		// own files is as good as being that user.
		return user.ExecUser{Home: u.Home}, nil
	}
	for _, id := range append([]int{u.Uid, u.Gid}, u.Sgids...) {
		if id >= f.ids {
			return user.ExecUser{}, fmt.Errorf("looking up the image's user %q: id %d is beyond the %d that a container has", name, id, f.ids)
		}
	}
	return *u, nil
}

// read answers nothing for what is not there or no file.
func (f furniture) read(path string) []byte {
	real, err := securejoin.SecureJoin(f.view, path)
	if err != nil {
		return nil
	}
	b, err := os.ReadFile(real)
	if err != nil {
		return nil
	}
	return b
}

func (f furniture) hosts() error {
	if bytes.Contains(f.read("/etc/hosts"), []byte("localhost")) {
		return nil
	}
	return f.write("/etc/hosts", []byte("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"))
}

func (f furniture) passwd(u user.ExecUser, home string) error {
	have := f.read("/etc/passwd")
	found, err := user.ParsePasswdFilter(bytes.NewReader(have), func(e user.User) bool { return e.Uid == u.Uid })
	if err != nil || len(found) > 0 {
		return err
	}
	if home == "" {
		home = "/"
	}
	entry := fmt.Sprintf("%s:x:%d:%d::%s:/bin/sh\n", nameFor(u.Uid), u.Uid, u.Gid, home)
	return f.write("/etc/passwd", appendLine(have, entry))
}

func (f furniture) group(u user.ExecUser) error {
	have := f.read("/etc/group")
	found, err := user.ParseGroupFilter(bytes.NewReader(have), func(e user.Group) bool { return e.Gid == u.Gid })
	if err != nil || len(found) > 0 {
		return err
	}
	return f.write("/etc/group", appendLine(have, fmt.Sprintf("%s:x:%d:\n", nameFor(u.Gid), u.Gid)))
}

func nameFor(id int) string {
	if id == 0 {
		return "root"
	}
	return "plumb"
}

func appendLine(have []byte, line string) []byte {
	if len(have) > 0 && have[len(have)-1] != '\n' {
		have = append(have, '\n')
	}
	return append(have, line...)
}

// write adds a file. Its directory keeps the attributes it has in the image.
func (f furniture) write(path string, data []byte) error {
	dir, err := f.dir(filepath.Dir(path))
	if err != nil {
		return err
	}
	file := filepath.Join(dir, filepath.Base(path))
	if err := os.WriteFile(file, data, 0o644); err != nil {
		return err
	}
	return errors.Join(os.Chmod(file, 0o644), os.Chtimes(file, time.Unix(0, 0), time.Unix(0, 0)), f.likeness(dir))
}

// own adds a directory with an owner and mode, whatever it was before.
func (f furniture) own(path string, uid, gid int, mode uint32) error {
	dir, err := f.dir(path)
	if err != nil {
		return err
	}
	if err := os.Lchown(dir, uid, gid); err != nil {
		return err
	}
	return unix.Chmod(dir, mode)
}

// dir adds a directory and those it is in, with the image's attributes where
// the image has them. It follows the image's links, within the image.
func (f furniture) dir(path string) (string, error) {
	real, err := securejoin.SecureJoin(f.view, path)
	if err != nil {
		return "", err
	}
	rel, err := filepath.Rel(f.view, real)
	if err != nil {
		return "", err
	}
	made := f.layer
	for _, part := range append([]string{"."}, strings.Split(rel, "/")...) {
		made = filepath.Join(made, part)
		if err := os.Mkdir(made, 0o755); errors.Is(err, fs.ErrExist) && part != "." {
			continue
		} else if err != nil && !errors.Is(err, fs.ErrExist) {
			return "", err
		}
		if err := f.likeness(made); err != nil {
			return "", err
		}
	}
	return made, nil
}

// likeness gives a directory of the layer the attributes of the image's, so that
// adding to it does not show.
func (f furniture) likeness(dir string) error {
	rel, err := filepath.Rel(f.layer, dir)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	switch err := unix.Lstat(filepath.Join(f.view, rel), &st); {
	case err == unix.ENOENT:
		if err := unix.Chmod(dir, 0o755); err != nil {
			return err
		}
		return os.Chtimes(dir, time.Unix(0, 0), time.Unix(0, 0))
	case err != nil:
		return &os.PathError{Op: "lstat", Path: rel, Err: err}
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return fmt.Errorf("/%s is not a directory in the image", rel)
	}
	if err := os.Lchown(dir, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if err := unix.Chmod(dir, st.Mode&0o7777); err != nil {
		return err
	}
	return os.Chtimes(dir, time.Unix(st.Atim.Unix()), time.Unix(st.Mtim.Unix()))
}
