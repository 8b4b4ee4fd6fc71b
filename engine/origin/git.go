package origin

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"plumb/store"
)

// gitTime bounds how long git may take to say what differs. A run does not wait for
// longer: that it is not known is recorded then by there being no Git at all.
const gitTime = 10 * time.Second

// Git tells of the work tree that holds dir; nil when there is none. It asks the git
// that is installed: that one knows the user's filters, sparse checkouts and submodules,
// and its index makes it quick. Without one, or when it will not read somebody else's
// work tree, what is checked out is told and not what differs.
//
// Files that differ are read, unless known has their digests; it may be nil.
func Git(ctx context.Context, dir string, known Contents) *store.Git {
	if !inWorkTree(dir) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, gitTime)
	defer cancel()
	g := head(dir)
	status, err := git(ctx, dir, "status", "--porcelain=v2", "--branch", "--no-renames", "--untracked-files=normal", "-z", "--", ".")
	if err != nil {
		return g
	}
	g = &store.Git{Checked: true}
	var dirt []string
	for _, line := range strings.Split(status, "\x00") {
		switch {
		case strings.HasPrefix(line, "# branch.oid "):
			if g.Commit = strings.TrimPrefix(line, "# branch.oid "); g.Commit == "(initial)" {
				g.Commit = ""
			}
		case strings.HasPrefix(line, "# branch.head "):
			if g.Branch = strings.TrimPrefix(line, "# branch.head "); g.Branch == "(detached)" {
				g.Branch = ""
			}
		case line != "" && !strings.HasPrefix(line, "#"):
			dirt = append(dirt, line)
		}
	}
	if g.Dirty = len(dirt) > 0; g.Dirty {
		g.Diff, g.Cut = usual.diffOf(ctx, look{dir: dir, known: known}, dirt)
	}
	return g
}

// inWorkTree looks for .git in dir and above, which is cheaper than to ask.
func inWorkTree(dir string) bool { return topOf(dir) != "" }

// topOf is where that is; "" for nowhere.
func topOf(dir string) string {
	for {
		if _, err := os.Lstat(filepath.Join(dir, ".git")); err == nil {
			return dir
		}
		above := filepath.Dir(dir)
		if above == dir {
			return ""
		}
		dir = above
	}
}

// git runs one that takes nothing from the environment but where programs and its
// configuration are, writes nothing and asks nothing. That it refuses the work tree of
// another user is left to it: filters in there would be run as this one.
func git(ctx context.Context, dir string, args ...string) (string, error) {
	out, err := command(ctx, dir, args...).Output()
	return string(out), err
}

func command(ctx context.Context, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "git", append([]string{"--no-optional-locks", "-C", dir}, args...)...)
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "LC_ALL=C", "GIT_TERMINAL_PROMPT=0", "GIT_OPTIONAL_LOCKS=0",
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=core.fsmonitor", "GIT_CONFIG_VALUE_0=false",
	}
	cmd.Dir = "/"
	return cmd
}

// head reads the commit and the branch from git's files; nil when they are elsewhere,
// as they are for linked work trees and submodules.
func head(dir string) *store.Git {
	root := dir
	for {
		fi, err := os.Lstat(filepath.Join(root, ".git"))
		if err == nil && fi.IsDir() {
			break
		}
		if err == nil || root == filepath.Dir(root) {
			return nil
		}
		root = filepath.Dir(root)
	}
	at := os.DirFS(filepath.Join(root, ".git"))
	b, err := fs.ReadFile(at, "HEAD")
	if err != nil {
		return nil
	}
	ref, ok := strings.CutPrefix(strings.TrimSpace(string(b)), "ref: ")
	if !ok {
		return &store.Git{Commit: strings.TrimSpace(string(b))}
	}
	g := &store.Git{Branch: strings.TrimPrefix(ref, "refs/heads/")}
	if b, err := fs.ReadFile(at, ref); err == nil {
		g.Commit = strings.TrimSpace(string(b))
		return g
	}
	packed, err := fs.ReadFile(at, "packed-refs")
	if err != nil {
		return g
	}
	for _, line := range strings.Split(string(packed), "\n") {
		if commit, name, ok := strings.Cut(line, " "); ok && name == ref {
			g.Commit = commit
		}
	}
	return g
}
