package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// userID is of an ordinary user that no machine has.
const userID = 62023

// sandbox measures what is around a stage: its log, a shell in its place, and a container
// of an ordinary user beside one of root.
func (b *bench) sandbox(ctx context.Context) error {
	return errors.Join(b.log1G(ctx), b.shell(ctx), b.rootless(ctx))
}

// log1G is a stage that prints a gigabyte in lines of an ordinary length, beside the same
// into /dev/null, by plumb's own account: from the start of the container to its end, and
// to when its result is on the disk.
func (b *bench) log1G(ctx context.Context) (err error) {
	dir := b.path("projects", "log")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	// One line again and again costs nothing to make; a line that is made each time is what
	// stages print.
	const again = "yes '2026-11-25T19:54:49Z epoch 12 step 3400 loss 0.123456 accuracy 0.9876' | head -c 1073741824"
	const made = `awk 'BEGIN { for (i = 0; i < 4000000; i++) printf "2026-11-25T19:54:49Z epoch %d step %d loss %.6f\\n", i / 100, i, 1 / (i + 1) }'`
	text := "image \"tools\" { builtin = \"toolbox\" }\n"
	for name, command := range map[string]string{"loud": again, "quiet": again + " > /dev/null", "made": made, "unseen": made + " > /dev/null"} {
		text += fmt.Sprintf("stage %q {\n  image = image.tools\n  command = %q\n}\n", name, command)
	}
	if err := os.WriteFile(filepath.Join(dir, "plumb.hcl"), []byte(text), 0o644); err != nil {
		return err
	}
	if err := b.plumb.stop(ctx); err != nil { // so that its peak is of this alone
		return err
	}
	own := series{}
	turn := func(stage string, whole bool) contender {
		return contender{stage, pause, func(ctx context.Context, round int) (time.Duration, error) {
			t, err := b.plumb.force(ctx, dir, stage, stage)
			if err == nil && whole && round > 0 {
				own = append(own, t.whole.Seconds())
			}
			return t.command, err
		}}
	}
	b.say("a gigabyte of log, %d rounds", b.long)
	times, err := interleave(ctx, b.long, []contender{turn("loud", true), turn("quiet", false), turn("made", false), turn("unseen", false)})
	if err != nil {
		return err
	}
	times["/dev/null"] = times["quiet"]
	b.table.times("a stage that prints 1 GiB, start to exit", times["loud"], times, "/dev/null").below("/dev/null", 1.3)
	b.table.times("the same until its result is recorded", own, times, "/dev/null")
	b.table.times("4 million lines that are made one by one, start to exit", times["made"], map[string]series{"/dev/null": times["unseen"]}, "/dev/null").below("/dev/null", 1.3)
	s, err := b.plumb.status(ctx)
	if err != nil {
		return err
	}
	most, err := peak(s.PID)
	if err != nil {
		return err
	}
	b.table.value("agent, at its peak over these", size, float64(most)).atMost(64 << 20)
	return nil
}

// shell is plumb shell with a command that does nothing, from outside.
func (b *bench) shell(ctx context.Context) error {
	dir := b.path("projects", "shell")
	if err := b.image.project(dir, trivialGraph, 1, 1); err != nil {
		return err
	}
	open := contender{"shell", pause, func(ctx context.Context, _ int) (time.Duration, error) {
		return timed(b.plumb.command(ctx, dir, "shell", "--quiet", "trivial", "--", "true"), "")
	}}
	b.say("a shell, %d rounds", b.single)
	times, err := interleave(ctx, b.single, []contender{open})
	if err != nil {
		return err
	}
	b.table.times("plumb shell, there and gone", times["shell"], nil).atMost(0.150)
	return nil
}

// rootless is the trivial stage of an ordinary user, beside the same of root.
func (b *bench) rootless(ctx context.Context) (err error) {
	home, err := os.MkdirTemp("", "plumb-user-")
	if err != nil {
		return err
	}
	user := b.plumb
	user.home, user.as = filepath.Join(home, "store"), &syscall.Credential{Uid: userID, Gid: userID}
	defer func() { err = errors.Join(err, user.stop(context.WithoutCancel(ctx)), os.RemoveAll(home)) }()
	if err := os.Chown(home, userID, userID); err != nil {
		return err
	}
	var all []contender
	own := map[string]map[string]series{}
	for name, p := range map[string]plumb{"root": b.plumb, "user": user} {
		dir := b.path("projects", "trivial-"+name)
		if err := b.image.project(dir, trivialGraph, 1, 1); err != nil {
			return err
		}
		if _, err := p.run(ctx, dir); err != nil { // unpacks the image
			return err
		}
		own[name] = map[string]series{}
		all = append(all, contender{name, pause, func(ctx context.Context, round int) (time.Duration, error) {
			t, err := p.force(ctx, dir, "trivial")
			if err == nil && round > 0 {
				own[name]["whole"] = append(own[name]["whole"], t.whole.Seconds())
			}
			return t.wall, err
		}})
	}
	b.say("a trivial container of a user and of root, %d rounds", b.single)
	times, err := interleave(ctx, b.single, all)
	if err != nil {
		return err
	}
	b.table.times("plumb run --force as a user, from outside", times["user"], times, "root").below("root", 1)
	b.table.times("  start of the run to recorded", own["user"]["whole"], map[string]series{"root": own["root"]["whole"]}, "root").below("root", 1)
	return nil
}
