package containerd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestNamespaceRemedy(t *testing.T) {
	for _, c := range []struct {
		name    string
		sysctls map[string]string
		want    string
	}{
		{"Debian's switch", map[string]string{"kernel/unprivileged_userns_clone": "0\n"}, "kernel.unprivileged_userns_clone=1"},
		{"no namespaces", map[string]string{"user/max_user_namespaces": "0\n", "kernel/unprivileged_userns_clone": "1\n"}, "user.max_user_namespaces=10000"},
		{"Ubuntu's switch", map[string]string{"kernel/apparmor_restrict_unprivileged_userns": "1\n"}, "/etc/apparmor.d/plumb"},
		{"none of them", map[string]string{"user/max_user_namespaces": "96365\n"}, "docker run"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, value := range c.sysctls {
				if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, name), []byte(value), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got := namespaceRemedy(dir); !strings.Contains(got, c.want) {
				t.Errorf("got %q, want something of %q", got, c.want)
			}
		})
	}
}

// A directory of files is as good as a cgroup for finding out whose it is.
func TestDelegated(t *testing.T) {
	for _, c := range []struct {
		name, controllers string
		want              string // of the error
	}{
		{"all", "cpuset cpu io memory pids\n", ""},
		{"no CPU time", "memory pids\n", ""},
		{"no memory", "cpu pids\n", `without the controller "memory"`},
		{"none", "\n", `without the controller "memory"`},
		{"not there", "", "is not this user's"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if c.controllers != "" {
				for name, text := range map[string]string{"cgroup.procs": "", "cgroup.subtree_control": "", "cgroup.controllers": c.controllers} {
					if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
						t.Fatal(err)
					}
				}
			}
			have, err := delegated(dir)
			if c.want == "" && (err != nil || strings.Contains(have, " cpu ") != strings.Contains(c.controllers, "cpu ")) {
				t.Errorf("got %q, %v", have, err)
			}
			if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want something of %q", err, c.want)
			}
		})
	}
}
