package runtimetest

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"plumb/engine/runtime"
)

// RunBuilder is the conformance suite of a runtime that is a runtime.Builder.
func RunBuilder(t *testing.T, newRuntime New) {
	b := &bench{rt: newRuntime(t)}
	builder, ok := b.rt.(runtime.Builder)
	if !ok {
		t.Fatalf("a %T is no runtime.Builder", b.rt)
	}
	t.Run("changes", func(t *testing.T) { b.testChanges(t, builder) })
	t.Run("nothing changed", func(t *testing.T) { b.testNoChanges(t, builder) })
	t.Run("refusals", func(t *testing.T) { b.testBareRefusals(t, builder) })
}

// netRaw is the capability of ping, as an attribute of a file that belongs to any root.
const netRaw = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// places are what a bare container needs of its image, and a tree to change.
func places(files ...File) Image {
	dirs := []File{{Path: "proc/", Mode: 0o555}, {Path: "sys/", Mode: 0o555}, {Path: "dev/", Mode: 0o755}, {Path: "run/", Mode: 0o755}}
	return Image{Files: append(dirs, files...), Links: []string{"t/outside /etc", "t/link keep"}}
}

func treeToChange() Image {
	return places(
		File{Path: "t/", Mode: 0o755},
		File{Path: "t/anew/", Mode: 0o750}, File{Path: "t/anew/old", Data: "old", Mode: 0o644},
		File{Path: "t/capable", Mode: 0o755, Capability: netRaw},
		File{Path: "t/chmod", Data: "x", Mode: 0o644}, File{Path: "t/chown", Data: "x", Mode: 0o644},
		File{Path: "t/dir/", Mode: 0o755}, File{Path: "t/dir/a", Data: "a", Mode: 0o644}, File{Path: "t/dir/b", Data: "b", Mode: 0o644},
		File{Path: "t/dir2file/", Mode: 0o755}, File{Path: "t/dir2file/x", Mode: 0o644},
		File{Path: "t/dirmode/", Mode: 0o755}, File{Path: "t/dirmode/x", Mode: 0o644},
		File{Path: "t/file2dir", Data: "f", Mode: 0o644}, File{Path: "t/gone", Data: "g", Mode: 0o644},
		File{Path: "t/gonedir/", Mode: 0o755}, File{Path: "t/gonedir/x", Mode: 0o644},
		File{Path: "t/keep", Data: "kept", Mode: 0o640, UID: 7, GID: 8}, File{Path: "t/linked", Data: "linked", Mode: 0o644},
		File{Path: "t/modify", Data: "before", Mode: 0o644, UID: 1000, GID: 29}, File{Path: "t/moved", Data: "moved", Mode: 0o644},
		File{Path: "t/opened", Data: "opened", Mode: 0o644}, File{Path: "t/touched", Data: "touched", Mode: 0o644},
		File{Path: "t/unlinked", Data: "u", Mode: 0o644},
	)
}

// change does to that tree what maintainer scripts do.
const change = `
	cd /t
	rm -r anew; mkdir anew; echo new > anew/new
	chmod 700 capable; chmod 600 chmod; chown 42:43 chown
	rm dir/a; echo c > dir/c
	rm -r dir2file; echo file > dir2file
	chmod 2775 dirmode
	rm file2dir; mkdir file2dir; echo in > file2dir/in
	rm gone; rm -r gonedir
	ln linked dir/linked; ln linked z
	rm link; ln -s /t/modify link
	echo after > modify; mv moved dir/moved
	: >> opened
	rm outside; mkdir outside; echo mine > outside/passwd
	cp /bin/tool suid; chmod 4755 suid
	touch touched
	ln unlinked tmp; rm tmp; : >> unlinked
	echo first > a; ln a b
	mkdir new new/deep; chmod 1777 new; echo x > new/deep/x; chown 65535:0 new/deep/x
	echo x > gone-too; rm gone-too
	echo x > /run/pid`

const changes = `
	reg 644 0:0 run/pid "x\n"
	reg 644 0:0 t/a "first\n"
	dir 755 0:0 t/anew/ ""
	reg 600 0:0 t/anew/.wh..wh..opq ""
	reg 644 0:0 t/anew/new "new\n"
	link 644 0:0 t/b = t/a
	reg 700 0:0 t/capable "" may network
	reg 600 0:0 t/chmod "x"
	reg 644 42:43 t/chown "x"
	reg 600 0:0 t/dir/.wh.a ""
	reg 644 0:0 t/dir/c "c\n"
	reg 644 0:0 t/dir/linked "linked"
	reg 644 0:0 t/dir/moved "moved"
	reg 644 0:0 t/dir2file "file\n"
	dir 2775 0:0 t/dirmode/ ""
	dir 755 0:0 t/file2dir/ ""
	reg 644 0:0 t/file2dir/in "in\n"
	reg 600 0:0 t/.wh.gone ""
	reg 600 0:0 t/.wh.gonedir ""
	symlink 777 0:0 t/link > /t/modify
	link 644 0:0 t/linked = t/dir/linked
	reg 644 1000:29 t/modify "after\n"
	reg 600 0:0 t/.wh.moved ""
	dir 1777 0:0 t/new/ ""
	dir 755 0:0 t/new/deep/ ""
	reg 644 65535:0 t/new/deep/x "x\n"
	dir 755 0:0 t/outside/ ""
	reg 644 0:0 t/outside/passwd "mine\n"
	reg 4755 0:0 t/suid (tool)
	reg 644 0:0 t/touched "touched"
	link 644 0:0 t/z = t/dir/linked
`

// tell prints the whole tree as it looks from inside.
const tellTree = `
	cd /
	for f in $(find t run); do
		if [ -L $f ]; then ls -ld $f; readlink $f
		elif [ -d $f ]; then ls -ld $f | awk '{ print $1, $2, $3, $5 }'; ls -a $f
		else ls -ld $f; sha256sum $f
		fi
	done`

// testChanges makes a layer of what a container changed, and looks whether an image
// with it looks as the container did.
func (b *bench) testChanges(t *testing.T, builder runtime.Builder) {
	build := begin(t, builder)
	half := treeToChange().Source(t)
	if err := build.Prepare(t.Context(), half); err != nil {
		t.Fatal(err)
	}
	var told []string
	var layers []string
	for range 2 { // the same twice
		c, log := b.create(t, b.bare(half, change+tellTree))
		b.finish(t, c, log)
		layer, size, err := build.Add(t.Context(), func(w io.Writer) error { return writeLayer(t, build, c, w) })
		if err != nil {
			t.Fatal(err)
		}
		told, layers = append(told, log.String()), append(layers, describe(t, build, c))
		if len(layers) == 1 {
			b.testWhole(t, build, half, v1.Descriptor{MediaType: v1.MediaTypeImageLayer, Digest: digest.Digest(layer), Size: size}, log.String())
		}
	}
	want := strings.ReplaceAll(strings.TrimPrefix(changes, "\n"), "\t", "")
	if diff := cmp.Diff(want, layers[0]); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(layers[0], layers[1]) + cmp.Diff(told[0], told[1]); diff != "" {
		t.Errorf("the second time (-first +second):\n%s", diff)
	}
}

// testWhole runs a container of the image with the layer.
func (b *bench) testWhole(t *testing.T, build runtime.Build, half Source, layer v1.Descriptor, want string) {
	whole := extend(t, build, half, layer)
	if err := build.Prepare(t.Context(), whole); err != nil {
		t.Fatal(err)
	}
	s := b.bare(half, tellTree)
	s.Image = whole.Manifest()
	if got := b.run(t, s); got.log != want || got.Code != 0 {
		t.Errorf("the image made of the changes (-the container +the image):\n%s", cmp.Diff(want, got.log))
	}
}

// testNoChanges is about what making a container leaves in it.
func (b *bench) testNoChanges(t *testing.T, builder runtime.Builder) {
	build := begin(t, builder)
	img := places(File{Path: "in/", Mode: 0o755}).Source(t)
	if err := build.Prepare(t.Context(), img); err != nil {
		t.Fatal(err)
	}
	host := tree(t, map[string]string{"a": "input\n", "work/": ""})
	s := b.bare(img, "cat /in/a; ls -a /; cat /etc/passwd; id; echo x > /proc/sys/kernel/hostname || true; echo y > /tmp/x; rm /tmp/x")
	s.Dir = "/root"
	s.Mounts = []runtime.Mount{{Source: host, Target: "/in", ReadOnly: true}, {Source: host + "/work", Target: "/tmp"}}
	c, log := b.create(t, s)
	b.finish(t, c, log)
	if got := describe(t, build, c); got != "" {
		t.Errorf("changes:\n%s", got)
	}
	if !strings.HasPrefix(log.String(), "input\n") || !strings.Contains(log.String(), "uid=0(root)") {
		t.Errorf("printed %q", log)
	}
}

// testBareRefusals are bare containers that cannot be, and changes that cannot be told.
func (b *bench) testBareRefusals(t *testing.T, builder runtime.Builder) {
	build := begin(t, builder)
	img := places().Source(t)
	without := Image{Files: []File{{Path: "proc/", Mode: 0o755}, {Path: "sys", Mode: 0o755}}}.Source(t)
	if err := errors.Join(build.Prepare(t.Context(), img), build.Prepare(t.Context(), without)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		change func(*runtime.Spec)
		want   string
	}{
		{"network", func(s *runtime.Spec) { s.Network = true }, "no network"},
		{"home", func(s *runtime.Spec) { s.Home = "/root" }, "no home"},
		{"directory", func(s *runtime.Spec) { s.Dir = "/no/such" }, `no directory "/no/such"`},
		{"target", func(s *runtime.Spec) { s.Mounts = []runtime.Mount{{Source: "/etc", Target: "/in", ReadOnly: true}} }, `no "/in"`},
		{"link", func(s *runtime.Spec) {
			s.Mounts = []runtime.Mount{{Source: "/etc", Target: "/t/outside", ReadOnly: true}}
		}, `no "/t/outside"`},
		{"places", func(s *runtime.Spec) { s.Image = without.Manifest() }, `no "/dev" to mount on`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := b.bare(img, "true")
			c.change(&s)
			got, err := b.rt.Create(t.Context(), s)
			if err == nil {
				t.Fatal("it was created", got.Delete(t.Context()))
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %q, want something of %q", err, c.want)
			}
		})
	}
	none := func(*tar.Header, io.Reader) error { return nil }
	c, _ := b.create(t, b.bare(img, "true"))
	if err := build.Changes(t.Context(), c, none); err == nil || !strings.Contains(err.Error(), "has not ended") {
		t.Errorf("changes of one that did not start: %v", err)
	}
	if err := c.Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := build.Changes(t.Context(), c, none); err == nil || !strings.Contains(err.Error(), "is deleted") {
		t.Errorf("changes of one that is deleted: %v", err)
	}
}

func begin(t *testing.T, builder runtime.Builder) runtime.Build {
	t.Helper()
	build, err := builder.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := build.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return build
}

// bare is a bare container of a prepared image that runs a script.
func (b *bench) bare(img Source, script string) runtime.Spec {
	return runtime.Spec{
		ID: fmt.Sprintf("bare-%d", b.last.Add(1)), Image: img.Manifest(), Bare: true, Memory: 1 << 30,
		Args: []string{"/bin/sh", "-eu", "-c", script},
	}
}

// finish runs a container to its end.
func (b *bench) finish(t *testing.T, c runtime.Container, log *bytes.Buffer) {
	t.Helper()
	b.start(t, c)
	if exit, err := c.Wait(t.Context()); err != nil || exit.Code != 0 {
		t.Fatalf("exit status %d, %v: %s", exit.Code, err, log)
	}
}

func writeLayer(t *testing.T, build runtime.Build, c runtime.Container, to io.Writer) error {
	w := tar.NewWriter(to)
	err := build.Changes(t.Context(), c, func(h *tar.Header, content io.Reader) error {
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		_, err := io.Copy(w, content)
		return err
	})
	return errors.Join(err, w.Close())
}

// describe tells the changes of a container, a line each, without times.
func describe(t *testing.T, build runtime.Build, c runtime.Container) string {
	t.Helper()
	kinds := map[byte]string{tar.TypeReg: "reg", tar.TypeDir: "dir", tar.TypeLink: "link", tar.TypeSymlink: "symlink", tar.TypeFifo: "fifo"}
	tool, err := buildTool()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	err = build.Changes(t.Context(), c, func(h *tar.Header, content io.Reader) error {
		what := ""
		switch h.Typeflag {
		case tar.TypeLink:
			what = "= " + h.Linkname
		case tar.TypeSymlink:
			what = "> " + h.Linkname
		default:
			b, err := io.ReadAll(content)
			if err != nil || int64(len(b)) != h.Size {
				t.Errorf("%s: %d bytes of %d, %v", h.Name, len(b), h.Size, err)
			}
			if what = fmt.Sprintf("%q", b); sha256.Sum256(b) == sha256.Sum256(tool) {
				what = "(tool)"
			}
			if h.PAXRecords["SCHILY.xattr.security.capability"] == netRaw {
				what += " may network"
			}
		}
		_, err := fmt.Fprintln(&out, kinds[h.Typeflag], fmt.Sprintf("%o %d:%d", h.Mode, h.Uid, h.Gid), h.Name, what)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// added is an image all of whose blobs the runtime has.
type added string

func (a added) Manifest() string { return string(a) }

func (a added) Blob(_ context.Context, d string) (io.ReadCloser, error) {
	return nil, fmt.Errorf("%w: %q was added and is read again", fs.ErrNotExist, d)
}

// extend adds config and manifest of an image with one layer more.
func extend(t *testing.T, build runtime.Build, img Source, layer v1.Descriptor) runtime.ImageSource {
	t.Helper()
	var m v1.Manifest
	var config v1.Image
	readJSON(t, img, img.Manifest(), &m)
	readJSON(t, img, m.Config.Digest.String(), &config)
	config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, layer.Digest)
	m.Layers = append(m.Layers, layer)
	put := func(v any) (string, int64) {
		d, size, err := build.Add(t.Context(), func(w io.Writer) error { return json.NewEncoder(w).Encode(v) })
		if err != nil {
			t.Fatal(err)
		}
		return d, size
	}
	d, size := put(config)
	m.Config.Digest, m.Config.Size = digest.Digest(d), size
	manifest, _ := put(m)
	return added(manifest)
}

func readJSON(t *testing.T, img Source, d string, into any) {
	t.Helper()
	r, err := img.Blob(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := json.NewDecoder(r).Decode(into); err != nil {
		t.Fatal(err)
	}
}
