// Package origin finds out where a run comes from: the machine, the user, the CI job,
// and the commit of the project. All of it is recorded beside a run and part of no key.
// What cannot be told is left out: no run fails for it.
package origin

import (
	"bufio"
	"bytes"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"plumb/store"
)

// Machine tells of this one; memory is what there is for stages, in bytes.
func Machine(memory int64) store.Host {
	h := store.Host{Cores: runtime.NumCPU(), Memory: memory, CPU: cpuModel("/proc/cpuinfo")}
	if name, err := os.Hostname(); err == nil {
		h.Name = name
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		h.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	h.GPUs, h.Driver = nvidia("/proc/driver/nvidia")
	return h
}

func cpuModel(path string) string {
	return field(path, "model name", "Model", "cpu model")
}

// field gives the value of the first of these names that a file of "name : value" lines has.
func field(path string, names ...string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	in := bufio.NewScanner(bytes.NewReader(b))
	for in.Scan() {
		name, value, ok := strings.Cut(in.Text(), ":")
		if ok && slices.Contains(names, strings.TrimSpace(name)) {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// nvidia reads what that driver tells of itself; other vendors' do not.
func nvidia(root string) (models []string, version string) {
	b, err := os.ReadFile(filepath.Join(root, "version"))
	if err != nil {
		return nil, ""
	}
	// NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu …
	line, _, _ := strings.Cut(string(b), "\n")
	for _, word := range strings.Fields(line) {
		if strings.Contains(word, ".") && strings.Trim(word, "0123456789.") == "" {
			version = word
			break
		}
	}
	cards, err := filepath.Glob(filepath.Join(root, "gpus", "*", "information"))
	if err != nil {
		return nil, version
	}
	for _, card := range cards {
		if m := field(card, "Model"); m != "" {
			models = append(models, m)
		}
	}
	return models, version
}

// Caller tells who starts a run: env is the environment of the client, of which the
// variables that CI systems set are looked at.
func Caller(env map[string]string) (name string, ci *store.CI) {
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	switch {
	case env["GITHUB_ACTIONS"] == "true":
		ci = &store.CI{System: "github", Job: env["GITHUB_JOB"], Run: env["GITHUB_RUN_ID"], User: env["GITHUB_ACTOR"]}
		if env["GITHUB_SERVER_URL"] != "" && env["GITHUB_REPOSITORY"] != "" && ci.Run != "" {
			ci.URL = env["GITHUB_SERVER_URL"] + "/" + env["GITHUB_REPOSITORY"] + "/actions/runs/" + ci.Run
		}
	case env["GITLAB_CI"] == "true":
		ci = &store.CI{System: "gitlab", Job: env["CI_JOB_NAME"], Run: env["CI_PIPELINE_ID"], URL: env["CI_JOB_URL"], User: env["GITLAB_USER_LOGIN"]}
	case env["JENKINS_URL"] != "":
		ci = &store.CI{System: "jenkins", Job: env["JOB_NAME"], Run: env["BUILD_NUMBER"], URL: env["BUILD_URL"], User: env["BUILD_USER"]}
	case env["CI"] == "true":
		ci = &store.CI{System: "other"}
	}
	return name, ci
}

// Variables are those of a client's environment that Caller looks at. None holds a
// secret.
func Variables() []string {
	return []string{
		"CI", "GITHUB_ACTIONS", "GITHUB_JOB", "GITHUB_RUN_ID", "GITHUB_ACTOR", "GITHUB_SERVER_URL", "GITHUB_REPOSITORY",
		"GITLAB_CI", "CI_JOB_NAME", "CI_PIPELINE_ID", "CI_JOB_URL", "GITLAB_USER_LOGIN", "JENKINS_URL", "JOB_NAME", "BUILD_NUMBER", "BUILD_URL", "BUILD_USER",
	}
}
