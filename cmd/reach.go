package cmd

import (
	"github.com/urfave/cli/v2"

	"plumb/engine"
	"plumb/hcl"
)

// reachVariables are all of a client's environment that a request carries: where
// credentials and certificates are, and which proxies there are.
var reachVariables = []string{
	"HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "DOCKER_AUTH_CONFIG",
	"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
}

// platformFlag chooses the platform of images that name none.
func platformFlag() cli.Flag {
	return &cli.StringFlag{Name: "platform", Usage: "for images that name none: `OS/ARCH`, such as linux/arm64", DefaultText: "the machine's"}
}

// request reads what all verbs about a pipeline have: the project, its values, and
// how what is outside is reached from here.
func request(c *cli.Context, env *Env, g global) (engine.Request, error) {
	r := engine.Request{Place: g.place}
	r.Platform, _ = c.Value("platform").(string) // plumb lock takes several, and reads them itself
	if r.Platform != "" && !hcl.IsPlatform(r.Platform) {
		return r, usageError("write it like linux/amd64", "--platform \""+r.Platform+"\" is not an operating system and an architecture")
	}
	var err error
	if r.Project, err = project(c, env, g); err != nil {
		return r, err
	}
	name := hcl.ConfigFile(env.getenv)
	config, diags := hcl.ReadConfig(name, env.getenv("PLUMB_CONFIG") != "")
	if diags.HasErrors() {
		return r, diags
	}
	r.Reach = engine.Reach{Config: config, Environ: map[string]string{}}
	for _, v := range reachVariables {
		if value := env.getenv(v); value != "" {
			r.Reach.Environ[v] = value
		}
	}
	return r, nil
}
