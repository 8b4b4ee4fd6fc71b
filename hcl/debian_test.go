package hcl

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDebianArchitecture(t *testing.T) {
	tests := map[string]string{
		"linux/amd64": "amd64", "linux/arm64": "arm64", "linux/arm/v7": "armhf", "linux/arm/v5": "armel", "linux/386": "i386",
		"linux/riscv64": "riscv64", "linux/ppc64le": "ppc64el", "linux/s390x": "s390x", "linux/arm": "", "windows/amd64": "", "": "",
	}
	for platform, want := range tests {
		got, ok := DebianArchitecture(platform)
		if got != want || ok != (want != "") {
			t.Errorf("%q is %q, %v; want %q", platform, got, ok, want)
		}
		if ok && platformOf(got) != platform {
			t.Errorf("%q is %q, and that is %q", platform, got, platformOf(got))
		}
	}
}

func TestPackageName(t *testing.T) {
	tests := map[string]string{
		"bash": "bash", "g++": "g++", "libc6.1": "libc6.1", "0ad": "0ad", "bash=5.2-1+b8": "bash", "bash=1:5.2~rc1-1": "bash",
		"bash:amd64": "bash:amd64", "bash:amd64=1:2": "bash:amd64", "linux-image:kfreebsd-amd64": "linux-image:kfreebsd-amd64",
		"": "-", "a": "-", "Bash": "-", "+bash": "-", "bash ": "-", "bash=": "-", "bash=1 2": "-", "bash:": "-", "bash:a_b": "-", "bash/sid": "-", "bäsh": "-", "=1": "-", "bash==1": "-",
	}
	for asked, want := range tests {
		got, ok := packageName(asked)
		if !ok {
			got = "-"
		}
		if got != want {
			t.Errorf("%q names %q, want %q", asked, got, want)
		}
	}
}

func TestMirrorLine(t *testing.T) {
	tests := map[string]string{
		"http://a/debian": "http://a/debian", " https://a:1/  sid  main non-free/x ": "https://a:1/ sid main non-free/x", "file:///srv/d": "file:///srv/d",
		"": "-", "http:///debian": "-", "http://a sid": "-", "http://a Sid main": "-", "http://a sid ./": "-", "file://host/srv": "-", "file:///": "file:///",
		"http://u@a/": "-", "http://a/?x": "-", "http://a/#": "-", "http://a/%zz": "-", "ssh://a/": "-", "/srv/debian": "-",
	}
	for text, want := range tests {
		got, ok := mirrorLine(text)
		if !ok {
			got = "-"
		}
		if got != want {
			t.Errorf("%q is read as %q, want %q", text, got, want)
		}
	}
}

func TestCheckFindsKeyring(t *testing.T) {
	dir := project(t, map[string]string{"here.gpg": "", "plumb.hcl": `image "a" {
  debian {
    suite    = "bookworm"
    packages = []
    keyring  = "here.gpg"
  }
}
image "b" {
  debian {
    suite    = "bookworm"
    packages = []
    keyring  = "none.gpg"
  }
}
`})
	p, diags := Load(dir, Options{})
	if len(diags) > 0 {
		t.Fatal(rendered(diags))
	}
	diags = Check(dir, p)
	if diff := cmp.Diff([]expectation{{9, "Input does not exist"}}, found(diags)); diff != "" {
		t.Errorf("diagnostics (-want +got):\n%s%s", diff, rendered(diags))
	}
}
