package cmd

import (
	"context"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"plumb/cmd/view"
	"plumb/engine"
	"plumb/engine/inventory"
)

func newImageCommand(env *Env) *cli.Command {
	about := "An image is named by an image block of the project, by a reference or a path that it was used under,\nor by the beginning of its digest."
	commands := []*cli.Command{
		{Name: "ls", Usage: "the images that are kept", Action: imageAction(env, 0, 0, imageLs)},
		{Name: "show", Usage: "what is inside: packages and layers", ArgsUsage: "IMAGE", Description: about, Action: imageAction(env, 1, 1, imageShow), Flags: []cli.Flag{
			&cli.StringFlag{Name: "format", Usage: "print the inventory as `FORM`: cyclonedx or spdx, both as JSON"},
		}},
		{Name: "diff", Usage: "the packages and files that differ", ArgsUsage: "IMAGE IMAGE", Description: about, Action: imageAction(env, 2, 2, imageDiff)},
		{Name: "rm", Usage: "remove images; results stay, and an image comes again when it is needed", ArgsUsage: "IMAGE…", Description: about, Action: imageAction(env, 1, 1000, imageRm)},
		{
			Name: "export", Usage: "write an image into an OCI archive, for docker load and the like", ArgsUsage: "IMAGE", Description: about,
			Flags: []cli.Flag{
				&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write to `PATH`", DefaultText: "IMAGE.tar"},
				&cli.BoolFlag{Name: "overwrite", Usage: "replace what is there"},
			},
			Action: imageAction(env, 1, 1, imageExport),
		},
	}
	for _, c := range commands {
		c.Flags = append(c.Flags, platformFlag())
		if c.Name != "ls" && c.Name != "rm" {
			c.Flags = append(c.Flags, &cli.BoolFlag{Name: "offline", Usage: "ask no container registry"})
		}
		c.OnUsageError = badUsage
		c.HideHelpCommand = true
		plainFlags(c.Flags)
	}
	return &cli.Command{Name: "image", Usage: "the images that stages run in: ls, show, diff, rm, export", Subcommands: commands, Action: func(c *cli.Context) error {
		if c.NArg() == 0 {
			return usageError("plumb image ls lists them; plumb image --help tells more", "plumb image needs a verb: ls, show, diff, rm or export")
		}
		return usageError("plumb image --help lists them", fmt.Sprintf("there is no verb %q", "image "+c.Args().First()))
	}}
}

type imageOptions struct {
	global
	req    engine.Request
	names  []string
	output string
	over   bool
	format string
}

func imageAction(env *Env, least, most int, run func(context.Context, imageOptions, *Env, engine.API) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		g, err := globals(c, env)
		if err != nil {
			return err
		}
		o := imageOptions{global: g, names: c.Args().Slice(), output: c.String("output"), over: c.Bool("overwrite"), format: c.String("format")}
		if len(o.names) < least || len(o.names) > most {
			return usageError("plumb image "+c.Command.Name+" --help tells more", fmt.Sprintf("plumb image %s %s", c.Command.Name, c.Command.ArgsUsage))
		}
		if o.req, err = request(c, env, g); err != nil {
			return err
		}
		o.req.Offline = c.Bool("offline")
		api, done, err := env.writer(c.Context, g)
		if err != nil {
			return err
		}
		defer done()
		return run(c.Context, o, env, api)
	}
}

func imageLs(ctx context.Context, o imageOptions, env *Env, api engine.API) error {
	doc, err := api.Images(ctx, engine.ImagesRequest{Request: o.req})
	if err != nil {
		return err
	}
	return show(env, o.global, doc, func(s view.Style) { view.Images(env.Stdout, s, doc, env.Now()) })
}

// inventories are the forms in which others read what is inside an image.
var inventories = map[string]func(io.Writer, inventory.Document) error{"cyclonedx": inventory.WriteCycloneDX, "spdx": inventory.WriteSPDX}

func imageShow(ctx context.Context, o imageOptions, env *Env, api engine.API) error {
	write, ok := inventories[o.format]
	if o.format != "" && !ok {
		return usageError("it is cyclonedx or spdx", fmt.Sprintf("there is no form %q", o.format))
	}
	w := env.work(o.global)
	doc, err := api.ShowImage(ctx, engine.ImageRequest{Request: o.req, Name: o.names[0]}, w.Event)
	w.Close()
	if err != nil {
		return err
	}
	if write != nil {
		name := doc.Digest
		if len(doc.Names) > 0 {
			name = doc.Names[0]
		}
		return write(env.Stdout, inventory.Document{Name: name, Manifest: doc.Digest, Platform: doc.Platform, Version: Version(), Packages: doc.Packages})
	}
	return show(env, o.global, doc, func(s view.Style) { view.Image(env.Stdout, s, doc, env.Now()) })
}

func imageDiff(ctx context.Context, o imageOptions, env *Env, api engine.API) error {
	w := env.work(o.global)
	doc, err := api.DiffImages(ctx, engine.ImageDiffRequest{Request: o.req, A: o.names[0], B: o.names[1]}, w.Event)
	w.Close()
	if err != nil {
		return err
	}
	return show(env, o.global, doc, func(s view.Style) { view.ImageDiff(env.Stdout, s, doc) })
}

func imageRm(ctx context.Context, o imageOptions, env *Env, api engine.API) error {
	doc, err := api.RemoveImages(ctx, engine.ImagesRequest{Request: o.req, Names: o.names})
	if err != nil {
		return err
	}
	return show(env, o.global, doc, func(s view.Style) { view.Removed(env.Stdout, s, doc, o.quiet) })
}

func imageExport(ctx context.Context, o imageOptions, env *Env, api engine.API) error {
	if o.output == "" {
		o.output = defaultName(o.names[0]) + ".tar"
	}
	w := env.work(o.global)
	req := engine.ImageExportRequest{Request: o.req, Name: o.names[0], Path: absolute(env.Dir, o.output), Overwrite: o.over}
	doc, err := api.ExportImage(ctx, req, w.Event)
	w.Close()
	if err != nil {
		return err
	}
	return show(env, o.global, doc, func(s view.Style) { view.Exported(env.Stdout, s, doc, o.quiet) })
}
