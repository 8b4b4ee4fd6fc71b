package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// debian measures images of Debian packages, from this machine's own mirror: until a
// stage has run in them, beside mmdebstrap, which makes a directory. Whoever works from
// nothing gets a place of its own each round, and nothing is removed before the end:
// ext4 writes many times slower just after it has lost a large tree.
func (b *bench) debian(ctx context.Context) error {
	suite, err := codename()
	if err != nil {
		return err
	}
	return errors.Join(b.minimalImage(ctx, suite), b.standardImage(ctx, suite))
}

// codename is the suite of the machine, which is that of its apt sources.
func codename() (string, error) {
	b, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "VERSION_CODENAME="); ok {
			return name, nil
		}
	}
	return "", errors.New("/etc/os-release names no suite; is this a Debian?")
}

// debianProject is a project with one stage in an image of a package, whose lock is
// gone when fresh is set.
func (b *bench) debianProject(name, suite, variant, pkg, command string, fresh bool) (string, error) {
	dir := b.path("projects", name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	if fresh {
		if err := removed(filepath.Join(dir, "plumb.lock.hcl")); err != nil {
			return "", err
		}
	}
	text := fmt.Sprintf(`image "deb" {
  debian {
    suite    = %q
    packages = [%q]
    variant  = %q
  }
}
stage "first" {
  image   = image.deb
  command = %q
  outputs = { out = "out" }
}
`, suite, pkg, variant, command)
	return dir, os.WriteFile(filepath.Join(dir, "plumb.hcl"), []byte(text), 0o644)
}

// fromNothing is plumb with an empty store and no lock.
func (b *bench) fromNothing(name string, project func(fresh bool) (string, error), after func(p plumb) error) contender {
	return contender{name, synced, func(ctx context.Context, round int) (time.Duration, error) {
		dir, err := project(true)
		if err != nil {
			return 0, err
		}
		p := plumb{exe: b.plumb.exe, home: b.path("stores", fmt.Sprintf("%s-%d", filepath.Base(dir), round))}
		took, err := p.run(ctx, dir)
		if err == nil {
			err = p.did(ctx, dir, 1, 0)
		}
		if err == nil && after != nil {
			err = after(p)
		}
		return took, errors.Join(err, p.stop(ctx))
	}}
}

// fromPackages is plumb with its lock and the packages that it downloaded in round 0,
// in a store that has nothing else.
func (b *bench) fromPackages(name string, project func(fresh bool) (string, error)) contender {
	store := func(dir string, round int) string {
		return b.path("stores", fmt.Sprintf("%s-%d", filepath.Base(dir), round))
	}
	return contender{name, func(ctx context.Context, round int) error {
		dir, err := project(false)
		if err == nil && round > 0 {
			err = os.CopyFS(filepath.Join(store(dir, round), "downloads"), os.DirFS(filepath.Join(store(dir, 0), "downloads")))
		}
		return errors.Join(err, synced(ctx, round))
	}, func(ctx context.Context, round int) (time.Duration, error) {
		dir, err := project(false)
		if err != nil {
			return 0, err
		}
		p := plumb{exe: b.plumb.exe, home: store(dir, round)}
		took, err := p.run(ctx, dir)
		if err == nil {
			err = p.did(ctx, dir, 1, 0)
		}
		return took, errors.Join(err, p.stop(ctx))
	}}
}

func (b *bench) minimalImage(ctx context.Context, suite string) error {
	b.say("an image of busybox-static, %d rounds", b.rounds)
	project := func(name string) func(bool) (string, error) {
		return func(fresh bool) (string, error) {
			return b.debianProject(name, suite, "minimal", "busybox-static", "echo hello > out", fresh)
		}
	}
	times, err := interleave(ctx, b.rounds, []contender{
		b.fromNothing("nothing", project("busybox-new"), nil), b.fromPackages("packages", project("busybox")),
	})
	if err == nil {
		b.table.times("busybox-static, from nothing to a stage that ran", times["nothing"], times).atMost(1.5)
		b.table.times("the same from the package cache", times["packages"], times).atMost(0.4)
	}
	return err
}

func (b *bench) standardImage(ctx context.Context, suite string) error {
	const pkg = "python3-sklearn"
	b.say("an image of %s, %d rounds", pkg, b.long)
	var most int64
	project := func(name string) func(bool) (string, error) {
		return func(fresh bool) (string, error) {
			return b.debianProject(name, suite, "standard", pkg, "python3 -c 'import sklearn' && touch out", fresh)
		}
	}
	all := []contender{
		b.fromNothing("nothing", project("sklearn-new"), func(p plumb) error {
			s, err := p.status(ctx)
			if err != nil {
				return err
			}
			n, err := peak(s.PID)
			most = max(most, n)
			return err
		}),
		b.fromPackages("packages", project("sklearn")),
	}
	if b.has("mmdebstrap", "mmdebstrap") {
		all = append(all, contender{"mmdebstrap", synced, func(ctx context.Context, round int) (time.Duration, error) {
			return timed(exec.CommandContext(ctx, "mmdebstrap", "--variant=essential", "--include="+pkg, suite, b.path(fmt.Sprintf("mmdebstrap-%d", round))), "")
		}})
	}
	times, err := interleave(ctx, b.long, all)
	if err == nil {
		b.table.times(pkg+", from nothing to a stage that ran", times["nothing"], times, "mmdebstrap").below("mmdebstrap", 0.8)
		b.table.times("the same from the package cache", times["packages"], times, "mmdebstrap").below("mmdebstrap", 0.4)
		b.table.value("agent, at its peak", size, float64(most)).atMost(300e6)
	}
	return err
}
