package hcl

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	hashi "github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// Config is what a user says once for all projects: how container registries are
// reached from here, what an image may unpack to, and where packages of Debian come
// from. It changes where bytes come from, never which.
//
//	registry "docker.io" {
//	  mirrors = ["mirror.example:5000/hub"]
//	}
//	registry "registry.lab:5000" {
//	  plain_http = true
//	}
//	registry "registry.example" {
//	  ca = "example-ca.pem"
//	}
//	images {
//	  max_unpacked = "64GiB"
//	  max_ratio    = 200
//	}
//	debian {
//	  mirrors  = ["http://deb.example/debian", "http://deb.example/debian-security bookworm-security main"]
//	  snapshot = "http://snapshot.example/archive/debian/20260101T000000Z"
//	  keyring  = "keys.gpg"
//	}
type Config struct {
	Registries []RegistryConfig `json:"registries,omitempty"` // sorted by host
	Images     ImagesConfig     `json:"images"`
	Debian     DebianConfig     `json:"debian"`
}

// RegistryConfig says how one container registry is reached.
type RegistryConfig struct {
	Host      string   `json:"host"`                 // as in references, "docker.io" for the one without a name
	Mirrors   []string `json:"mirrors,omitempty"`    // hosts, with a path where there is one, asked before Host in this order
	PlainHTTP bool     `json:"plain_http,omitempty"` // of Host
	CA        string   `json:"ca,omitempty"`         // absolute path of a PEM file with certificates that are trusted besides the machine's
}

// ImagesConfig bounds what a layer of an image may unpack to. 0 is the default.
type ImagesConfig struct {
	MaxUnpacked int64 `json:"max_unpacked,omitempty"` // bytes
	MaxRatio    int64 `json:"max_ratio,omitempty"`    // of unpacked to packed bytes, once it is beyond 1 GiB
}

// DebianConfig says where the packages of Debian images come from, for those that
// do not say so themselves.
type DebianConfig struct {
	Mirrors  []string `json:"mirrors,omitempty"`  // "URL" or "URL SUITE COMPONENT…"; empty for the machine's apt sources
	Snapshot string   `json:"snapshot,omitempty"` // a mirror that keeps old packages
	Keyring  string   `json:"keyring,omitempty"`  // absolute path of a file with the keys that sign the mirrors
}

// ConfigFile is where the user's configuration is: $PLUMB_CONFIG; else below
// $XDG_CONFIG_HOME or ~/.config; else /etc/plumb/config.hcl.
func ConfigFile(getenv func(string) string) string {
	if name := getenv("PLUMB_CONFIG"); name != "" {
		return name
	}
	base := getenv("XDG_CONFIG_HOME")
	if base == "" && getenv("HOME") != "" {
		base = filepath.Join(getenv("HOME"), ".config")
	}
	if base != "" {
		name := filepath.Join(base, "plumb", "config.hcl")
		if _, err := os.Stat(name); err == nil {
			return name
		}
	}
	return "/etc/plumb/config.hcl"
}

// ReadConfig reads a configuration. Only a file that was named has to be there.
func ReadConfig(name string, named bool) (Config, Diagnostics) {
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return Config{}, nil
	}
	if err != nil {
		return Config{}, unreadable(name, err)
	}
	c, diags := decodeConfig(name, data)
	for i, r := range c.Registries {
		if r.CA != "" && !filepath.IsAbs(r.CA) {
			c.Registries[i].CA = filepath.Join(filepath.Dir(name), r.CA)
		}
	}
	if keyring := c.Debian.Keyring; keyring != "" && !filepath.IsAbs(keyring) {
		c.Debian.Keyring = filepath.Join(filepath.Dir(name), keyring)
	}
	return c, diags
}

func decodeConfig(name string, data []byte) (Config, Diagnostics) {
	ev := &evaluation{sources: map[string][]byte{name: data}, base: &hashi.EvalContext{}, reads: newRecorder("")}
	ev.blocks.names = map[string]map[string]hashi.Range{}
	c := Config{}
	if bodies := ev.parse([]File{{Name: name, Data: data}}); !ev.diags.HasErrors() {
		ev.readConfig(&c, bodies[0])
	}
	diags := ev.finish(nil)
	if diags.HasErrors() {
		return Config{}, diags
	}
	return c, nil
}

func (ev *evaluation) readConfig(c *Config, body *hclsyntax.Body) {
	ev.conform(body, "configuration", shape{blocks: []string{"registry", "images", "debian"}})
	if b := ev.single(body, "debian"); b != nil {
		ev.readDebianConfig(c, b)
	}
	seen := map[string]bool{}
	for _, b := range body.Blocks {
		switch {
		case b.Type == "images":
			ev.readImagesConfig(c, b)
		case b.Type != "registry":
		case len(b.Labels) != 1 || !hostForm.MatchString(b.Labels[0]):
			ev.report(b.DefRange(), "Bad registry", "A registry block is named by the host, with a port where there is one.", "write registry \"registry.example:5000\" { … }")
		case seen[b.Labels[0]]:
			ev.report(b.DefRange(), "Duplicate block", fmt.Sprintf("Registry %s is configured already.", quoted(b.Labels[0])), "")
		default:
			seen[b.Labels[0]] = true
			c.Registries = append(c.Registries, ev.readRegistry(b))
		}
	}
	slices.SortFunc(c.Registries, func(a, b RegistryConfig) int { return strings.Compare(a.Host, b.Host) })
}

var (
	hostForm   = regexp.MustCompile(`^[A-Za-z0-9.-]+(:[0-9]+)?$`)
	mirrorForm = regexp.MustCompile(`^[A-Za-z0-9.-]+(:[0-9]+)?(/[a-z0-9._/-]+)?$`)
)

func (ev *evaluation) readRegistry(b *hclsyntax.Block) RegistryConfig {
	ev.conform(b.Body, "registry", shape{attributes: []string{"mirrors", "plain_http", "ca"}})
	s := ev.newScope()
	r := RegistryConfig{Host: b.Labels[0]}
	r.PlainHTTP, _ = s.boolAttr(b.Body, "plain_http", 0)
	r.CA, _ = s.stringAttr(b.Body, "ca", 0)
	if attr := b.Body.Attributes["mirrors"]; attr != nil {
		all, _ := s.elements(attr.Expr, 0, "mirrors")
		for _, x := range all {
			text, ok := s.str(x.value, x.valueRange, "mirror")
			if ok && !mirrorForm.MatchString(text) {
				ev.report(x.valueRange, "Bad mirror", fmt.Sprintf("%s is not a host with a port and a path.", quoted(text)), "write it as \"mirror.example:5000/hub\", without http://; plain HTTP is said in a registry block of its own")
				continue
			}
			r.Mirrors = append(r.Mirrors, text)
		}
	}
	return r
}

func (ev *evaluation) readImagesConfig(c *Config, b *hclsyntax.Block) {
	ev.conform(b.Body, "images", shape{attributes: []string{"max_unpacked", "max_ratio"}})
	s := ev.newScope()
	if text, ok := s.stringAttr(b.Body, "max_unpacked", 0); ok {
		n, err := parseSize(text)
		if err != nil {
			ev.report(b.Body.Attributes["max_unpacked"].Expr.Range(), "Bad size", err.Error()+".", "write it as \"64GiB\"")
		}
		c.Images.MaxUnpacked = n
	}
	c.Images.MaxRatio, _ = s.wholeAttr(b.Body, "max_ratio", 0, 1)
}

func (ev *evaluation) readDebianConfig(c *Config, b *hclsyntax.Block) {
	ev.conform(b.Body, "debian block", shape{attributes: []string{"mirrors", "snapshot", "keyring"}})
	s := ev.newScope()
	if attr := b.Body.Attributes["mirrors"]; attr != nil {
		all, _ := s.elements(attr.Expr, 0, "mirrors")
		c.Debian.Mirrors = s.mirrors(all)
	}
	c.Debian.Snapshot = s.snapshot(b.Body, 0)
	c.Debian.Keyring, _ = s.stringAttr(b.Body, "keyring", 0)
}
