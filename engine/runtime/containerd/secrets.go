package containerd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"plumb/engine/runtime"
)

// The secrets of a container are files of a tmpfs of its own, which the agent mounts
// among its mounts and binds into the container. It is unmounted when the container
// is deleted, and a killed agent takes it along, as all that it had mounted. Where
// the kernel can be told (since Linux 6.4) it is not swapped out either.

// secretsDir is where they are mounted.
func (r *Runtime) secretsDir() string { return filepath.Join(r.opts.State, "secrets") }

// keepSecrets writes the container's secrets and adds the mount to s.
func (c *container) keepSecrets(s *runtime.Spec, uid, gid int) error {
	if len(s.Secrets.Files) == 0 {
		return nil
	}
	if err := os.MkdirAll(c.r.secretsDir(), 0o711); err != nil {
		return fmt.Errorf("making a place for secrets: %w", err)
	}
	c.secret = filepath.Join(c.r.secretsDir(), c.id)
	if err := os.Mkdir(c.secret, 0o700); err != nil {
		return fmt.Errorf("making a place for secrets: %w", err)
	}
	if err := mountSecrets(c.secret, s.Secrets.Files, uid, gid); err != nil {
		return fmt.Errorf("mounting secrets: %w", err)
	}
	for name, value := range s.Secrets.Files {
		if err := writeSecret(filepath.Join(c.secret, name), value, uid, gid); err != nil {
			return fmt.Errorf("writing the secret %q: %w", name, err)
		}
	}
	mounts := append([]runtime.Mount(nil), s.Mounts...)
	s.Mounts = append(mounts, runtime.Mount{Source: c.secret, Target: s.Secrets.Dir, ReadOnly: true})
	return nil
}

// mountSecrets mounts a tmpfs that has room for the files and for no more.
func mountSecrets(dir string, files map[string][]byte, uid, gid int) error {
	page := os.Getpagesize()
	pages := 1
	for _, value := range files {
		pages += 2 + len(value)/page
	}
	options := fmt.Sprintf("mode=0500,uid=%d,gid=%d,size=%d,nr_inodes=%d", uid, gid, pages*page, len(files)+2)
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	err := unix.Mount("tmpfs", dir, "tmpfs", flags, options+",noswap")
	if errors.Is(err, unix.EINVAL) {
		err = unix.Mount("tmpfs", dir, "tmpfs", flags, options)
	}
	return err
}

func writeSecret(name string, value []byte, uid, gid int) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o400)
	if err != nil {
		return err
	}
	_, err = f.Write(value)
	return errors.Join(err, f.Chown(uid, gid), f.Chmod(0o400), f.Close())
}

// dropSecrets takes them away, also when there is only a part of them.
func (c *container) dropSecrets() error {
	if c.secret == "" {
		return nil
	}
	if err := detach(c.secret); err != nil {
		return err
	}
	if err := os.Remove(c.secret); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("removing the place of secrets: %w", err)
	}
	return nil
}
