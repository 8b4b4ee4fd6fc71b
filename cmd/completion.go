package cmd

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// completion scripts are written from the verbs and flags themselves, so they
// cannot lag behind.
func newCompletionCommand(env *Env, app *cli.App) *cli.Command {
	return &cli.Command{
		Name: "completion", Usage: "a script that completes verbs and flags", ArgsUsage: "bash|zsh|fish",
		Description: "bash: source <(plumb completion bash)\nzsh:  source <(plumb completion zsh)\nfish: plumb completion fish | source",
		Action: func(c *cli.Context) error {
			write := map[string]func(*Env, *cli.App){"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}[c.Args().First()]
			if write == nil || c.NArg() != 1 {
				return usageError("", "plumb completion takes one of bash, zsh, fish")
			}
			write(env, app)
			return nil
		},
	}
}

func flagWords(flags []cli.Flag) []string {
	var out []string
	for _, f := range flags {
		for _, n := range f.Names() {
			if len(n) == 1 {
				out = append(out, "-"+n)
			} else {
				out = append(out, "--"+n)
			}
		}
	}
	return out
}

// secondWords are what may follow a verb besides flags and names.
func secondWords(c *cli.Command) []string {
	var out []string
	for _, s := range c.VisibleCommands() {
		if s.Name != "help" {
			out = append(out, s.Name)
		}
	}
	if strings.Contains(c.ArgsUsage, "|") && c.ArgsUsage == strings.ToLower(c.ArgsUsage) {
		out = append(out, strings.Split(c.ArgsUsage, "|")...)
	}
	return out
}

func verbs(app *cli.App) string {
	var names []string
	for _, c := range app.Commands {
		names = append(names, c.Name)
	}
	return strings.Join(names, " ")
}

func bashCompletion(env *Env, app *cli.App) {
	fmt.Fprintf(env.Stdout, "_plumb() {\n  local cur=${COMP_WORDS[COMP_CWORD]} verb= word\n  local verbs=%q\n", verbs(app))
	fmt.Fprint(env.Stdout, "  for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n    case \" $verbs \" in *\" $word \"*) verb=$word; break;; esac\n  done\n  local words=\n  case $verb in\n")
	all := strings.Join(flagWords(app.Flags), " ")
	for _, c := range app.Commands {
		fmt.Fprintf(env.Stdout, "    %s) words=%q;;\n", c.Name, strings.Join(slices.Concat(secondWords(c), flagWords(c.Flags), []string{all}), " "))
	}
	fmt.Fprintf(env.Stdout, "    *) words=\"$verbs %s\";;\n  esac\n", all)
	fmt.Fprint(env.Stdout, "  COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n  [ -n \"$verb\" ] && COMPREPLY+=($(compgen -f -- \"$cur\"))\n}\ncomplete -F _plumb plumb\n")
}

func zshCompletion(env *Env, app *cli.App) {
	fmt.Fprintln(env.Stdout, "autoload -U +X bashcompinit && bashcompinit")
	bashCompletion(env, app)
}

func fishCompletion(env *Env, app *cli.App) {
	flag := func(condition string, f cli.Flag) {
		for _, n := range f.Names() {
			kind := "-l"
			if len(n) == 1 {
				kind = "-s"
			}
			fmt.Fprintf(env.Stdout, "complete -c plumb %s%s %s\n", condition, kind, n)
		}
	}
	for _, c := range app.Commands {
		fmt.Fprintf(env.Stdout, "complete -c plumb -n __fish_use_subcommand -a %s -d %q\n", c.Name, c.Usage)
		for _, w := range secondWords(c) {
			fmt.Fprintf(env.Stdout, "complete -c plumb -n '__fish_seen_subcommand_from %s' -a %s\n", c.Name, w)
		}
		for _, f := range c.Flags {
			flag("-n '__fish_seen_subcommand_from "+c.Name+"' ", f)
		}
	}
	for _, f := range app.Flags {
		flag("", f)
	}
}
