package image

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/cli/cli/config/types"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// Credentials is where users and passwords for registries are kept. The first file
// that knows a registry is taken.
type Credentials struct {
	JSON   string   // what DOCKER_AUTH_CONFIG holds
	Files  []string // in the form of docker's config.json; podman's auth.json is too
	Docker string   // docker's directory, whose config.json may name credential helpers
}

func credentialsFromEnv(getenv func(string) string) Credentials {
	c := Credentials{JSON: getenv("DOCKER_AUTH_CONFIG"), Docker: getenv("DOCKER_CONFIG")}
	home := getenv("HOME")
	if c.Docker == "" && home != "" {
		c.Docker = filepath.Join(home, ".docker")
	}
	if f := getenv("REGISTRY_AUTH_FILE"); f != "" {
		c.Files = append(c.Files, f)
	}
	if d := getenv("XDG_RUNTIME_DIR"); d != "" {
		c.Files = append(c.Files, filepath.Join(d, "containers", "auth.json"))
	}
	if d := first(getenv("XDG_CONFIG_HOME"), filepath.Join(home, ".config")); d != "" {
		c.Files = append(c.Files, filepath.Join(d, "containers", "auth.json"))
	}
	return c
}

// find looks a repository up. One that is nowhere is asked as nobody.
func (c Credentials) find(repo name.Repository) (authn.Authenticator, error) {
	files, err := c.load()
	if err != nil {
		return nil, err
	}
	keys := []string{repo.Name(), repo.RegistryStr()}
	if repo.RegistryStr() == name.DefaultRegistry {
		keys = append(keys, authn.DefaultAuthKey, "docker.io")
	}
	for _, f := range files {
		for _, key := range keys {
			a, err := f.GetAuthConfig(key)
			if err != nil {
				return nil, fmt.Errorf("asking the credential helper for %q: %w", repo.RegistryStr(), err)
			}
			a.ServerAddress = ""
			if a != (types.AuthConfig{}) {
				return authn.FromConfig(authn.AuthConfig{
					Username: a.Username, Password: a.Password, Auth: a.Auth, IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken,
				}), nil
			}
		}
	}
	return authn.Anonymous, nil
}

func (c Credentials) load() ([]*configfile.ConfigFile, error) {
	var all []*configfile.ConfigFile
	if c.JSON != "" {
		f, err := config.LoadFromReader(bytes.NewReader([]byte(c.JSON)))
		if err != nil { // what it says may hold a password
			return nil, errors.New("DOCKER_AUTH_CONFIG is not in the form of docker's config.json")
		}
		all = append(all, f)
	}
	names := c.Files
	if c.Docker != "" {
		names = append([]string{filepath.Join(c.Docker, config.ConfigFileName)}, names...)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading credentials: %w", err)
		}
		f, err := config.LoadFromReader(bytes.NewReader(b))
		if err != nil {
			return nil, fmt.Errorf("reading credentials: %q is not in the form of docker's config.json", name)
		}
		f.Filename = name
		all = append(all, f)
	}
	return all, nil
}
