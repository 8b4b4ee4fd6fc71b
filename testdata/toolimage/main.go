// Command toolimage is all there is in the image that the tests run stages in.
//
// It is one static program under many names: a shell, awk, and as many of the
// usual commands as the tests and the example need, written as plainly as they
// can be. It takes no more options than are used there. What a test wants to
// know from inside a container it asks by the commands of probe.go.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/benhoyt/goawk/interp"
	"github.com/benhoyt/goawk/parser"
	sh "mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

// command is one of the program's names. An error is printed, and is status 1
// unless it is an exit.
type command func(args []string) error

// exit is a status without words.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

func main() {
	name, args := filepath.Base(os.Args[0]), os.Args[1:]
	commands := commands()
	if commands[name] == nil && len(args) > 0 {
		name, args = args[0], args[1:]
	}
	run := commands[name]
	if run == nil {
		fmt.Fprintf(os.Stderr, "%s: no such command\n", name)
		os.Exit(127)
	}
	os.Exit(status(name, run(args)))
}

func status(name string, err error) int {
	var e exit
	switch {
	case err == nil:
		return 0
	case errors.As(err, &e):
		return int(e)
	}
	fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
	return 1
}

func commands() map[string]command {
	return map[string]command{
		"[": bracket, "awk": awk, "basename": basename, "cat": cat, "chmod": chmod, "chown": chown, "cp": cp, "cut": cut, "date": date,
		"dd": dd, "env": env, "false": func([]string) error { return exit(1) }, "find": find, "grep": grep, "head": head, "id": id,
		"kill": kill, "ln": ln, "ls": ls, "mkdir": mkdir, "mv": mv, "pwd": pwd, "readlink": readlink, "rm": rm, "sed": sed, "seq": seq, "sh": shell,
		"sha256sum": sha256sum, "sleep": sleep, "sort": sortLines, "stat": stat, "tail": tail, "tee": tee, "test": test,
		"touch": touch, "tr": tr, "true": func([]string) error { return nil }, "uniq": uniq, "wc": wc, "yes": yes,
		"probe-connect": probeConnect, "probe-effect": probeEffect, "probe-daemon": probeDaemon, "probe-files": probeFiles, "probe-fork": probeFork, "probe-memory": probeMemory,
		"probe-names": probeNames, "probe-remount": probeRemount, "probe-spin": probeSpin, "probe-syscall": probeSyscall,
		"probe-winsize": probeWinsize, "probe-betray": probeBetray, "probe-abstract": probeAbstract, "probe-binary": probeBinary, "probe-bomb": probeBomb, "probe-fill": probeFill,
		"probe-limits": probeLimits, "probe-make": probeMake, "probe-many": probeMany, "probe-mounts": probeMounts, "probe-readable": probeReadable,
		"probe-silent": probeSilent, "probe-stop": probeStop, "probe-stubborn": probeStubborn, "probe-swap": probeSwap, "probe-trace": probeTrace, "probe-writable": probeWritable,
	}
}

// The first process of a container gets no signal that it has no handler for;
// Go's runtime has one for all, which ends the program. A shell has none.
func heedless() {
	if os.Getpid() == 1 {
		signal.Notify(make(chan os.Signal, 1), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	}
}

// shell is sh [-e] [-u] [-x] [-c script] [file] [args…].
func shell(args []string) error {
	heedless()
	var options []string
	var script io.Reader = os.Stdin
	name := "sh"
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		flags := args[0][1:]
		args = args[1:]
		for _, f := range flags {
			if f != 'c' {
				options = append(options, "-"+string(f))
			}
		}
		if strings.Contains(flags, "c") {
			if len(args) == 0 {
				return errors.New("-c needs a script")
			}
			script, args = strings.NewReader(args[0]), args[1:]
			return interpret(script, name, options, args)
		}
	}
	if len(args) > 0 {
		f, err := os.Open(args[0])
		if err != nil {
			return err
		}
		defer f.Close()
		script, name, args = f, args[0], args[1:]
	}
	return interpret(script, name, options, args)
}

func interpret(script io.Reader, name string, options, args []string) error {
	file, err := syntax.NewParser(syntax.Variant(syntax.LangPOSIX)).Parse(script, name)
	if err != nil {
		return err
	}
	r, err := sh.New(sh.StdIO(os.Stdin, os.Stdout, os.Stderr), sh.Params(append(append(options, "--"), args...)...))
	if err != nil {
		return err
	}
	err = r.Run(context.Background(), file)
	var s sh.ExitStatus
	if errors.As(err, &s) {
		return exit(s)
	}
	return err
}

// awk is awk [-F sep] [-v name=value]… program [file…].
func awk(args []string) error {
	config := &interp.Config{Argv0: "awk", Error: os.Stderr}
	for len(args) > 1 && strings.HasPrefix(args[0], "-") && args[0] != "-" {
		flag, value := args[0][:2], args[0][2:]
		args = args[1:]
		if value == "" && flag != "--" {
			value, args = args[0], args[1:]
		}
		switch flag {
		case "-F":
			config.Vars = append(config.Vars, "FS", value)
		case "-v":
			name, v, _ := strings.Cut(value, "=")
			config.Vars = append(config.Vars, name, v)
		case "-f":
			text, err := os.ReadFile(value)
			if err != nil {
				return err
			}
			args = append([]string{string(text)}, args...)
		default:
			return fmt.Errorf("unknown option %q", flag)
		}
	}
	if len(args) == 0 {
		return errors.New("no program")
	}
	program, err := parser.ParseProgram([]byte(args[0]), nil)
	if err != nil {
		return err
	}
	config.Args = args[1:]
	code, err := interp.ExecProgram(program, config)
	if err == nil && code != 0 {
		return exit(code)
	}
	return err
}
