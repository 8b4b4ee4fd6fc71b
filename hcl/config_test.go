package hcl

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestConfig(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "config.hcl")
	text := `
registry "registry.lab:5000" { plain_http = true }
registry "docker.io" {
  mirrors = ["mirror.example:5000/hub", "other.example"]
  ca      = "hub.pem"
}
images {
  max_unpacked = "2GiB"
  max_ratio    = 50
}
debian {
  mirrors  = ["http://deb.example/debian", "https://deb.example/debian-security  bookworm-security main"]
  snapshot = "http://snapshot.example/archive/debian/20260101T000000Z"
  keyring  = "keys.gpg"
}
`
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	got, diags := ReadConfig(name, true)
	if len(diags) > 0 {
		t.Fatal(rendered(diags))
	}
	want := Config{
		Registries: []RegistryConfig{
			{Host: "docker.io", Mirrors: []string{"mirror.example:5000/hub", "other.example"}, CA: filepath.Join(dir, "hub.pem")},
			{Host: "registry.lab:5000", PlainHTTP: true},
		},
		Images: ImagesConfig{MaxUnpacked: 2 << 30, MaxRatio: 50},
		Debian: DebianConfig{
			Mirrors:  []string{"http://deb.example/debian", "https://deb.example/debian-security bookworm-security main"},
			Snapshot: "http://snapshot.example/archive/debian/20260101T000000Z", Keyring: filepath.Join(dir, "keys.gpg"),
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestConfigMayBeMissingUnlessNamed(t *testing.T) {
	name := filepath.Join(t.TempDir(), "none.hcl")
	if c, diags := ReadConfig(name, false); len(diags) > 0 || len(c.Registries) > 0 {
		t.Errorf("%v, %s", c, rendered(diags))
	}
	if _, diags := ReadConfig(name, true); !diags.HasErrors() {
		t.Error("a named file that is missing is no error")
	}
}

func TestConfigMistakes(t *testing.T) {
	tests := []struct {
		name, text string
		want       []expectation
	}{
		{"unknown block", "registri \"a\" {}\n", []expectation{{1, "Unknown block"}}},
		{"unknown attribute", "registry \"a.example\" { mirror = [] }\n", []expectation{{1, "Unknown attribute"}}},
		{"no host", "registry {}\n", []expectation{{1, "Bad registry"}}},
		{"bad host", "registry \"http://a\" {}\n", []expectation{{1, "Bad registry"}}},
		{"twice", "registry \"a\" {}\nregistry \"a\" {}\n", []expectation{{2, "Duplicate block"}}},
		{"mirror with a scheme", "registry \"a\" { mirrors = [\"http://b\"] }\n", []expectation{{1, "Bad mirror"}}},
		{"bad size", "images { max_unpacked = \"lots\" }\n", []expectation{{1, "Bad size"}}},
		{"bad ratio", "images { max_ratio = 0 }\n", []expectation{{1, "Bad number"}}},
		{"debian with a name", "debian \"sid\" {}\n", []expectation{{1, "Bad block header"}}},
		{"debian twice", "debian {}\ndebian {}\n", []expectation{{2, "Duplicate block"}}},
		{"debian of a pipeline", "debian { suite = \"sid\" }\n", []expectation{{1, "Unknown attribute"}}},
		{"mirror without a scheme", "debian { mirrors = [\"deb.example/debian\"] }\n", []expectation{{1, "Bad mirror"}}},
		{"mirror with a password", "debian { mirrors = [\"http://a:b@deb.example/debian\"] }\n", []expectation{{1, "Password in a URL"}}},
		{"one mirror", "debian { mirrors = \"http://deb.example/debian\" }\n", []expectation{{1, "Wrong type"}}},
		{"bad snapshot", "debian { snapshot = \"now\" }\n", []expectation{{1, "Bad snapshot"}}},
		{"syntax", "registry \"a\" {\n", []expectation{{1, "Unclosed configuration block"}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, diags := decodeConfig("config.hcl", []byte(test.text))
			if diff := cmp.Diff(test.want, found(diags)); diff != "" {
				t.Errorf("diagnostics (-want +got):\n%s%s", diff, rendered(diags))
			}
		})
	}
}

func TestConfigFile(t *testing.T) {
	home := t.TempDir()
	if err := os.MkdirAll(filepath.Join(home, ".config", "plumb"), 0o755); err != nil {
		t.Fatal(err)
	}
	mine := filepath.Join(home, ".config", "plumb", "config.hcl")
	env := map[string]string{"HOME": home}
	getenv := func(n string) string { return env[n] }
	if got := ConfigFile(getenv); got != "/etc/plumb/config.hcl" {
		t.Errorf("without a file of one's own: %q", got)
	}
	if err := os.WriteFile(mine, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := ConfigFile(getenv); got != mine {
		t.Errorf("with one: %q", got)
	}
	env["PLUMB_CONFIG"] = "/x.hcl"
	if got := ConfigFile(getenv); got != "/x.hcl" {
		t.Errorf("named: %q", got)
	}
}
