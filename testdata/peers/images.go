package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// A large image is made of files of text-like bytes, which compress about as well
// as programs and libraries do.
const (
	imageFiles = 6000
	imageFile  = 48 << 10
)

// images measures how long a large image takes until stages can run in it: from an
// archive, beside ctr's import, and from a registry, beside skopeo and umoci.
func (b *bench) images(ctx context.Context) error {
	archive, err := b.largeImage(ctx)
	if archive == "" {
		return err
	}
	return errors.Join(b.importing(ctx, archive), b.pulling(ctx, archive))
}

// largeImage makes an OCI archive with one layer; "" when what makes it is missing.
func (b *bench) largeImage(ctx context.Context) (string, error) {
	for program, pkg := range map[string]string{"umoci": "umoci", "skopeo": "skopeo"} {
		if !b.has(program, pkg) {
			return "", nil
		}
	}
	b.say("an image of %s", size.text(imageFiles*imageFile))
	layer, layout, archive := b.path("layer.tar"), b.path("large-image"), b.path("large.tar")
	if err := writeLayer(layer); err != nil {
		return "", err
	}
	for _, args := range [][]string{
		{"umoci", "init", "--layout", layout}, {"umoci", "new", "--image", layout + ":x"},
		{"umoci", "config", "--image", layout + ":x", "--architecture", "amd64", "--os", "linux"},
		{"umoci", "raw", "add-layer", "--image", layout + ":x", layer},
		{"skopeo", "copy", "oci:" + layout + ":x", "oci-archive:" + archive + ":x"},
	} {
		if _, err := output(exec.CommandContext(ctx, args[0], args[1:]...)); err != nil {
			return "", err
		}
	}
	return archive, nil
}

func writeLayer(name string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	w := tar.NewWriter(f) // umoci compresses it
	r := rand.New(rand.NewPCG(1, 2))
	block := make([]byte, imageFile)
	for n := range imageFiles {
		for i := range block { // six bits of a byte are used
			block[i] = ' ' + byte(r.Uint32()&63)
		}
		h := &tar.Header{Name: fmt.Sprintf("usr/lib/part%03d/file%d", n/100, n), Typeflag: tar.TypeReg, Mode: 0o644, Size: imageFile}
		if err = w.WriteHeader(h); err != nil {
			break
		}
		if _, err = w.Write(block); err != nil {
			break
		}
	}
	return errors.Join(err, w.Close(), f.Close())
}

// prepare brings the image of a project in, from nothing.
func (b *bench) prepare(name, dir string) contender {
	return contender{name,
		func(ctx context.Context, round int) error {
			if round > 0 {
				if _, err := output(b.plumb.command(ctx, dir, "image", "rm", "large")); err != nil {
					return err
				}
			}
			return synced(ctx, round)
		},
		func(ctx context.Context, _ int) (time.Duration, error) {
			return timed(b.plumb.command(ctx, dir, "image", "show", "large"), "1 layer")
		}}
}

func (b *bench) imageProject(name, origin string) (string, error) {
	dir := b.path("projects", name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	return dir, os.WriteFile(filepath.Join(dir, "plumb.hcl"), []byte("image \"large\" { "+origin+" }\n"), 0o644)
}

func (b *bench) importing(ctx context.Context, archive string) (err error) {
	if !b.has("containerd", "containerd") || !b.has("ctr", "containerd") {
		return nil
	}
	dir, err := b.imageProject("importing", `archive = "large.tar"`)
	if err == nil {
		err = os.Link(archive, filepath.Join(dir, "large.tar"))
	}
	if err != nil {
		return err
	}
	d, err := b.startDaemon(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.stop()) }()
	times, err := interleave(ctx, b.long, []contender{
		b.prepare("plumb", dir),
		{"ctr import", func(ctx context.Context, round int) error {
			if round > 0 {
				if _, err := output(d.ctr(ctx, "images", "rm", "--sync", "large/x:x")); err != nil {
					return err
				}
			}
			return synced(ctx, round)
		}, func(ctx context.Context, _ int) (time.Duration, error) {
			return timed(d.ctr(ctx, "images", "import", "--base-name", "large/x", archive), "large/x:x")
		}},
	})
	if err == nil {
		b.table.times("import of a large image", times["plumb"], times, "ctr import").below("ctr import", 0.8)
	}
	return err
}

func (b *bench) pulling(ctx context.Context, archive string) (err error) {
	if !b.has("docker-registry", "docker-registry") {
		return nil
	}
	host, stop, err := b.startRegistry(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	if _, err := output(exec.CommandContext(ctx, "skopeo", "copy", "--dest-tls-verify=false", "oci-archive:"+archive+":x", "docker://"+host+"/large:1")); err != nil {
		return err
	}
	dir, err := b.imageProject("pulling", fmt.Sprintf("ref = %q", host+"/large:1"))
	if err != nil {
		return err
	}
	layout, bundle := b.path("pulled"), b.path("bundle")
	times, err := interleave(ctx, b.long, []contender{
		b.prepare("plumb", dir),
		{"skopeo and umoci", func(ctx context.Context, round int) error {
			return errors.Join(os.RemoveAll(layout), os.RemoveAll(bundle), synced(ctx, round))
		}, func(ctx context.Context, _ int) (time.Duration, error) {
			copied, err := timed(exec.CommandContext(ctx, "skopeo", "copy", "--src-tls-verify=false", "docker://"+host+"/large:1", "oci:"+layout+":x"), "")
			if err != nil {
				return 0, err
			}
			unpacked, err := timed(exec.CommandContext(ctx, "umoci", "unpack", "--image", layout+":x", bundle), "")
			return copied + unpacked, err
		}},
	})
	if err == nil {
		b.table.times("pull of a large image from this machine", times["plumb"], times, "skopeo and umoci").below("skopeo and umoci", 1)
	}
	return err
}

// startRegistry runs a container registry on a loopback port.
func (b *bench) startRegistry(ctx context.Context) (host string, stop func() error, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	host = l.Addr().String()
	if err := l.Close(); err != nil {
		return "", nil, err
	}
	config := b.path("registry.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage:\n  filesystem: {rootdirectory: %s}\nhttp:\n  addr: %s\n", b.path("registry"), host)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return "", nil, err
	}
	cmd := exec.Command("docker-registry", "serve", config)
	cmd.Stdout, cmd.Stderr = io.Discard, io.Discard
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() error {
		err := cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		return err
	}
	for range 100 {
		if c, err := net.Dial("tcp", host); err == nil {
			return host, stop, c.Close()
		}
		select {
		case <-ctx.Done():
			return "", nil, errors.Join(ctx.Err(), stop())
		case <-time.After(50 * time.Millisecond):
		}
	}
	return "", nil, errors.Join(errors.New("docker-registry does not listen"), stop())
}
