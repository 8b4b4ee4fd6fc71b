package origin

import (
	"context"
	"errors"
	"os/exec"
	"strings"
)

// Changes lists what in and below dir differs from the commit that is checked out, or is
// not tracked, as git names it. The error says that there is no work tree, or that git
// cannot be asked.
func Changes(ctx context.Context, dir string) ([]string, error) {
	if !inWorkTree(dir) {
		return nil, errors.New("there is no work tree of git")
	}
	out, err := git(ctx, dir, "status", "--porcelain", "--untracked-files=all", "-z", "--", ".")
	if err != nil {
		return nil, saidBy(err)
	}
	var changes []string
	fields := strings.Split(out, "\x00")
	for i := 0; i < len(fields); i++ {
		line := fields[i]
		if len(line) < 4 {
			continue
		}
		changes = append(changes, line)
		if line[0] == 'R' || line[0] == 'C' {
			i++ // the name that it had
		}
	}
	return changes, nil
}

// Ignored lists the files at and below paths of dir that git does not track because it is
// told to ignore them, relative to dir.
func Ignored(ctx context.Context, dir string, paths []string) ([]string, error) {
	if len(paths) == 0 {
		return nil, nil
	}
	args := []string{"--literal-pathspecs", "ls-files", "--others", "--ignored", "--exclude-standard", "-z", "--"}
	out, err := git(ctx, dir, append(args, paths...)...)
	if err != nil {
		return nil, saidBy(err)
	}
	var files []string
	for _, f := range strings.Split(out, "\x00") {
		if f != "" {
			files = append(files, f)
		}
	}
	return files, nil
}

// Hidden lists the files at and below paths of dir that git tracks and was told not to look
// at, so that it does not say whether they differ: they are marked skip-worktree or
// assume-unchanged. Some may not be there.
func Hidden(ctx context.Context, dir string, paths []string) ([]string, error) {
	if len(paths) == 0 {
		return nil, nil
	}
	out, err := git(ctx, dir, append([]string{"--literal-pathspecs", "ls-files", "-v", "-z", "--"}, paths...)...)
	if err != nil {
		return nil, saidBy(err)
	}
	var files []string
	for _, line := range strings.Split(out, "\x00") {
		mark, name, ok := strings.Cut(line, " ")
		if ok && (mark == "S" || mark != strings.ToUpper(mark)) { // small ones are assumed to be unchanged
			files = append(files, name)
		}
	}
	return files, nil
}

// Repositories lists the work trees of other repositories at and below paths of dir that
// git tracks by the commit that is checked out in them. What else they have, other
// branches for one, it does not look at.
func Repositories(ctx context.Context, dir string, paths []string) ([]string, error) {
	if len(paths) == 0 {
		return nil, nil
	}
	out, err := git(ctx, dir, append([]string{"--literal-pathspecs", "ls-files", "--stage", "-z", "--"}, paths...)...)
	if err != nil {
		return nil, saidBy(err)
	}
	var dirs []string
	for _, line := range strings.Split(out, "\x00") {
		if _, name, ok := strings.Cut(line, "\t"); ok && strings.HasPrefix(line, "160000 ") {
			dirs = append(dirs, name)
		}
	}
	return dirs, nil
}

// saidBy puts what git said into an error.
func saidBy(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) > 0 {
		return errors.New("git says: " + strings.TrimSpace(string(exit.Stderr)))
	}
	return err
}
