package hcl

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	hashi "github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// SecretDir is where a stage finds the secrets that it lists, each a file.
const SecretDir = "/run/secrets"

// evalSecrets reads where secrets come from. Their values are nowhere in a
// pipeline, so no expression can have one.
func (ev *evaluation) evalSecrets() {
	for _, b := range ev.blocks.secrets {
		if secret, ok := ev.evalSecret(b); ok {
			ev.pipeline.Secrets = append(ev.pipeline.Secrets, secret)
		}
	}
}

// secretOrigins are the attributes of which a secret has exactly one.
var secretOrigins = []string{"env", "file", "command"}

func (ev *evaluation) evalSecret(b *hclsyntax.Block) (Secret, bool) {
	ev.conform(b.Body, "secret", shape{attributes: append([]string{"description"}, secretOrigins...)})
	s := ev.newScope()
	secret := Secret{Name: b.Labels[0], Range: rangeOf(b.DefRange())}
	secret.Description, _ = s.stringAttr(b.Body, "description", 0)
	if !ev.oneOrigin(b) {
		return secret, false
	}
	ok := true
	if attr := b.Body.Attributes["env"]; attr != nil {
		secret.Env, ok = s.stringAttr(b.Body, "env", allowParam)
		if ok && !envName.MatchString(secret.Env) {
			ev.report(attr.Expr.Range(), "Bad variable name",
				fmt.Sprintf("%s cannot be the name of an environment variable.", quoted(secret.Env)), "write the name alone, as in env = \"DB_PASSWORD\"")
			ok = false
		}
	}
	if attr := b.Body.Attributes["file"]; attr != nil {
		secret.File, ok = s.stringAttr(b.Body, "file", allowParam)
		if ok && (secret.File == "" || strings.HasSuffix(secret.File, "/")) {
			ev.report(attr.Expr.Range(), "Bad path", fmt.Sprintf("%s is not the path of a file.", quoted(secret.File)), "")
			ok = false
		}
	}
	if attr := b.Body.Attributes["command"]; attr != nil {
		secret.Command, ok = s.secretCommand(attr)
	}
	return secret, ok
}

// oneOrigin requires exactly one of env, file and command.
func (ev *evaluation) oneOrigin(b *hclsyntax.Block) bool {
	var said []*hclsyntax.Attribute
	for _, name := range secretOrigins {
		if attr := b.Body.Attributes[name]; attr != nil {
			said = append(said, attr)
		}
	}
	switch len(said) {
	case 0:
		ev.report(b.DefRange(), "Secret without origin", fmt.Sprintf("Secret %s does not say where its value comes from.", quoted(b.Labels[0])),
			"add env = \"NAME\", or file = \"~/…\", or command = [\"pass\", \"show\", \"…\"]")
		return false
	case 1:
		return true
	}
	ev.report(said[1].NameRange, "Secret with two origins",
		fmt.Sprintf("Secret %s says both %s and %s; its value can come from one of them only.", quoted(b.Labels[0]), said[0].Name, said[1].Name), "")
	return false
}

// secretCommand reads the program and its arguments. There is no string form: it
// would want a shell, on the machine of whoever runs the pipeline.
func (s *scope) secretCommand(attr *hclsyntax.Attribute) ([]string, bool) {
	found, ok := s.elements(attr.Expr, allowParam, "command")
	var args []string
	for _, e := range found {
		v, fine := s.open(e.value, e.valueRange, "command")
		if fine {
			var arg string
			arg, fine = s.str(v, e.valueRange, "argument")
			args = append(args, arg)
		}
		ok = ok && fine
	}
	if ok && (len(args) == 0 || args[0] == "") {
		s.ev.report(attr.Expr.Range(), "Empty command", "The list must start with the program to run.", "write for example [\"pass\", \"show\", \"db\"]")
		return nil, false
	}
	return args, ok
}

// secrets reads secrets = [secret.x]: names, not values.
func (s *scope) secrets(in *instance) {
	attr := in.block.src.Body.Attributes["secrets"]
	if attr == nil {
		return
	}
	tuple, ok := attr.Expr.(*hclsyntax.TupleConsExpr)
	if !ok {
		s.ev.report(attr.Expr.Range(), "Wrong type", "The secrets must be a list of secrets.", "write secrets = [secret.x]")
		return
	}
	for _, e := range tuple.Exprs {
		t, ok := e.(*hclsyntax.ScopeTraversalExpr)
		if !ok || t.Traversal.RootName() != "secret" || len(t.Traversal) > 2 {
			s.ev.report(e.Range(), "Wrong type", "The secrets must be a list of secrets, each written as secret.name.", s.secretHint(e))
			continue
		}
		if name, ok := s.named(t.Traversal, true); ok {
			in.stage.Secrets = append(in.stage.Secrets, name)
		}
	}
	slices.Sort(in.stage.Secrets)
	in.stage.Secrets = slices.Compact(in.stage.Secrets)
}

func (s *scope) secretHint(e hclsyntax.Expression) string {
	if text, ok := literal(e); ok && s.ev.isDeclared("secret", text) {
		return fmt.Sprintf("write secrets = [secret.%s], without quotes", text)
	}
	return "write secrets = [secret.x]"
}

// secretInText explains that the value of a secret stands in no expression.
func (s *scope) secretInText(t hashi.Traversal) {
	name, ok := s.named(t, true)
	if !ok {
		return
	}
	s.ev.report(t.SourceRange(), "Secret in an expression",
		"The value of a secret cannot be part of an expression, or it would be in a key, a log, or the list of processes. A stage that lists it in secrets finds it in a file.",
		fmt.Sprintf("write secrets = [secret.%s], and read the file %s/%s in the command", name, SecretDir, name))
}

// checkSecretFiles reports secrets that come from a file which the pipeline also
// reads as data: it would be kept in the store.
func (ev *evaluation) checkSecretFiles() {
	for i := range ev.pipeline.Secrets {
		secret := &ev.pipeline.Secrets[i]
		file, ok := ev.inProject(secret.File)
		if !ok {
			continue
		}
		if what, at, ok := ev.readsFile(file); ok {
			ev.reportRange(at, "Secret read as data",
				fmt.Sprintf("%s reads %s, where secret %s comes from. What a stage reads is kept in the store.", what, quoted(file), quoted(secret.Name)),
				"keep the secret out of what is read: in another directory, or outside of the project")
		}
	}
}

// inProject gives a file's path in the project, if it is there.
func (ev *evaluation) inProject(file string) (string, bool) {
	if file == "" || strings.HasPrefix(file, "~/") {
		return "", false
	}
	if filepath.IsAbs(file) {
		dir, err := filepath.Abs(ev.reads.dir)
		if err != nil {
			return "", false
		}
		if file, err = filepath.Rel(dir, file); err != nil {
			return "", false
		}
	}
	file = filepath.ToSlash(filepath.Clean(file))
	return file, filepath.IsLocal(file)
}

// readsFile finds a source or an input that a file of the project is, or is in.
func (ev *evaluation) readsFile(file string) (what string, at Range, ok bool) {
	reads := func(p string, glob bool) bool { return within(file, p) || glob && patternOverlaps(p, file) }
	for _, src := range ev.pipeline.Sources {
		if !src.Remote() && reads(src.Path, src.Glob) {
			return "Source " + quoted(src.Name), src.PathRange, true
		}
	}
	for i := range ev.pipeline.Stages {
		for _, in := range ev.pipeline.Stages[i].Inputs {
			if in.Kind == InputPath && reads(in.Path, in.Glob) {
				return "Stage " + quoted(ev.pipeline.Stages[i].Name), in.Range, true
			}
		}
	}
	return "", Range{}, false
}
