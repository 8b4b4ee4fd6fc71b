package cmd

import (
	"github.com/urfave/cli/v2"

	"plumb/cmd/view"
	"plumb/engine"
	"plumb/hcl"
)

func newValidateCommand(env *Env) *cli.Command {
	return &cli.Command{
		Name: "validate", Usage: "check the pipeline's files", Description: "Parses, and checks types, references, cycles, paths and image tags. No container, no network, no store.",
		Flags: projectFlags(),
		Action: func(c *cli.Context) error {
			if err := noArgs(c); err != nil {
				return err
			}
			g, err := globals(c, env)
			if err != nil {
				return err
			}
			p, err := project(c, env, g)
			if err != nil {
				return err
			}
			return runValidate(p, g, env)
		},
	}
}

// load evaluates the pipeline in this process.
func load(p engine.Project) (*hcl.Pipeline, hcl.Diagnostics) {
	return hcl.Load(p.Dir, hcl.Options{Params: p.Params, ParamFiles: p.Files, Environ: p.Environ, Profile: p.Profile, Version: Version()})
}

func runValidate(p engine.Project, g global, env *Env) error {
	pl, diags := load(p)
	if pl != nil {
		diags = append(diags, hcl.Check(p.Dir, pl)...)
		diags.Sort()
		diags = diags.Dedupe()
	}
	if diags.HasErrors() {
		return diags.WithSnippets(p.Dir)
	}
	doc := view.ValidDoc{Schema: engine.Schema, Valid: true, Pipeline: pl.Name, Stages: len(pl.Stages), Diagnostics: append(hcl.Diagnostics{}, diags...)}
	return show(env, g, doc, func(s view.Style) { view.Valid(env.Stdout, env.Stderr, s, doc) })
}
