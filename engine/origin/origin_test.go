package origin

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"plumb/store"
)

func TestMachine(t *testing.T) {
	h := Machine(1 << 30)
	if h.Cores < 1 || h.Kernel == "" || h.Name == "" || h.Memory != 1<<30 {
		t.Errorf("this machine is %+v", h)
	}
}

func TestNvidia(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"version":                       "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22 01:44:30 UTC 2024\nGCC version:  12.2.0\n",
		"gpus/0000:01:00.0/information": "Model: \t\t NVIDIA A100-SXM4-40GB\nIRQ:   \t\t 178\n",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	models, version := nvidia(root)
	if d := cmp.Diff([]string{"NVIDIA A100-SXM4-40GB"}, models); d != "" || version != "550.54.14" {
		t.Errorf("driver %q, models (-want +got):\n%s", version, d)
	}
	if models, version := nvidia(t.TempDir()); models != nil || version != "" {
		t.Errorf("without a driver: %v, %q", models, version)
	}
}

func TestCaller(t *testing.T) {
	for name, c := range map[string]struct {
		env  map[string]string
		want *store.CI
	}{
		"nobody": {nil, nil},
		"GitHub": {
			map[string]string{"CI": "true", "GITHUB_ACTIONS": "true", "GITHUB_JOB": "train", "GITHUB_RUN_ID": "7", "GITHUB_ACTOR": "ada", "GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "a/b"},
			&store.CI{System: "github", Job: "train", Run: "7", URL: "https://github.com/a/b/actions/runs/7", User: "ada"},
		},
		"GitLab": {
			map[string]string{"CI": "true", "GITLAB_CI": "true", "CI_JOB_NAME": "train", "CI_PIPELINE_ID": "8", "CI_JOB_URL": "https://gitlab.example/j/1", "GITLAB_USER_LOGIN": "ada"},
			&store.CI{System: "gitlab", Job: "train", Run: "8", URL: "https://gitlab.example/j/1", User: "ada"},
		},
		"Jenkins": {
			map[string]string{"JENKINS_URL": "http://j", "JOB_NAME": "train", "BUILD_NUMBER": "9", "BUILD_URL": "http://j/9"},
			&store.CI{System: "jenkins", Job: "train", Run: "9", URL: "http://j/9"},
		},
		"another": {map[string]string{"CI": "true"}, &store.CI{System: "other"}},
	} {
		if _, got := Caller(c.env); cmp.Diff(c.want, got) != "" {
			t.Errorf("%s (-want +got):\n%s", name, cmp.Diff(c.want, got))
		}
	}
}

// repository is a git work tree with one commit in it.
func repository(t *testing.T) (dir string, git func(args ...string)) {
	t.Helper()
	dir = t.TempDir()
	git = func(args ...string) {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=a", "-c", "user.email=a@b"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %q: %v\n%s", args, err, out)
		}
	}
	git("init", "-q", "-b", "main")
	write(t, dir, "project/a", "a\n")
	git("add", ".")
	git("commit", "-q", "-m", "first")
	return dir, git
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestGit(t *testing.T) {
	root, run := repository(t)
	dir := filepath.Join(root, "project")
	clean := Git(t.Context(), dir, nil)
	if clean == nil || !clean.Checked || clean.Dirty || clean.Branch != "main" || len(clean.Commit) != 40 || !clean.Diff.IsZero() {
		t.Fatalf("a clean work tree is %+v", clean)
	}
	if d := cmp.Diff(&store.Git{Commit: clean.Commit, Branch: "main"}, head(dir)); d != "" {
		t.Errorf("from git's files (-want +got):\n%s", d)
	}
	write(t, root, "elsewhere", "x\n") // no part of the project
	if g := Git(t.Context(), dir, nil); g.Dirty {
		t.Errorf("what lies beside the project counts: %+v", g)
	}
	diffs := map[store.Digest]string{}
	step := func(what string) {
		t.Helper()
		g := Git(t.Context(), dir, nil)
		if g == nil || !g.Dirty || g.Diff.IsZero() {
			t.Fatalf("%s: %+v", what, g)
		}
		if other, ok := diffs[g.Diff]; ok {
			t.Errorf("%s has the digest of %s", what, other)
		}
		diffs[g.Diff] = what
		if again := Git(t.Context(), dir, nil); again.Diff != g.Diff {
			t.Errorf("%s: another digest at the second look", what)
		}
	}
	write(t, dir, "a", "b\n")
	step("a changed file")
	write(t, dir, "new", "")
	step("an untracked file besides")
	write(t, dir, "new", "more")
	step("the same with other content")
	write(t, dir, "below/it/lies", "one")
	step("an untracked directory")
	write(t, dir, "below/it/lies", "two")
	step("the same with other content in it")
	before := Git(t.Context(), dir, nil).Diff
	run("add", ".")
	if g := Git(t.Context(), dir, nil); !g.Dirty || g.Diff != before {
		t.Errorf("what is staged counts: %+v and %v", g, before)
	}
	run("commit", "-q", "-m", "second")
	if g := Git(t.Context(), dir, nil); g.Dirty || g.Commit == clean.Commit {
		t.Errorf("after the commit: %+v", g)
	}
	run("pack-refs", "--all")
	if g, h := Git(t.Context(), dir, nil), head(dir); g.Commit != h.Commit || h.Branch != "main" {
		t.Errorf("packed: %+v and %+v", g, h)
	}
	run("checkout", "-q", "--detach")
	if g, h := Git(t.Context(), dir, nil), head(dir); g.Branch != "" || h.Branch != "" || g.Commit != h.Commit {
		t.Errorf("detached: %+v and %+v", g, h)
	}
}

func TestGitElsewhere(t *testing.T) {
	if g := Git(t.Context(), t.TempDir(), nil); g != nil {
		t.Errorf("no work tree: %+v", g)
	}
	dir := t.TempDir()
	write(t, dir, ".git/HEAD", "ref: refs/heads/x\n") // git takes it for none
	if g := Git(t.Context(), dir, nil); g == nil || g.Checked || g.Branch != "x" {
		t.Errorf("a damaged one: %+v", g)
	}
	root, _ := repository(t)
	t.Setenv("PATH", t.TempDir())
	if g := Git(t.Context(), root, nil); g == nil || g.Checked || g.Commit == "" {
		t.Errorf("without git: %+v", g)
	}
}
