package toolbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/big"
	"os"
	"os/user"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func valueTools() map[string]tool {
	return map[string]tool{
		"basename": {run: basename, usage: "[-az] [-s suffix] path [suffix]"},
		"dirname":  {run: dirname, usage: "[-z] path…"},
		"seq":      {run: seq, usage: "[-w] [-s text] [-f format] [first [step]] last"},
		"sleep":    {run: sleep, usage: "number[smhd]…"},
		"true":     {run: func(context.Context, *Call) error { return nil }},
		"false":    {run: func(context.Context, *Call) error { return exit(1) }},
		"printenv": {run: printenv, usage: "[-0] [name]…"},
		"id":       {run: id, usage: "[-ugGnr]", lacks: "other users, -Z and -z"},
		"whoami":   {run: whoami},
		"uname":    {run: uname, usage: "[-asnrvmo]", lacks: "-p and -i"},
		"hostname": {run: uname, lacks: "setting the name, and all flags"},
		"nproc":    {run: nproc, usage: "[--all] [--ignore=n]"},
		"kill":     {run: kill, usage: "[-s signal | -signal] pid… | -l [number]", lacks: "jobs of the shell ($!, %1), which are no processes of their own here"},
		"expr":     {run: expr, fail: 2, usage: "expression", lacks: "references in patterns to more than \\1 of the result"},
		"sync":     {run: func(context.Context, *Call) error { syscall.Sync(); return nil }, lacks: "files and flags"},
		"which":    {run: which, usage: "[-a] name…"},
		"tty":      {run: func(_ context.Context, c *Call) error { fmt.Fprintln(c.out(), "not a tty"); return exit(1) }, lacks: "terminals: a stage has none"},
		"logname":  {run: whoami},
	}
}

func basename(_ context.Context, c *Call) error {
	o, err := c.options("+a,multiple s,suffix: z,zero")
	if err != nil {
		return err
	}
	names, suffix := o.operands, o.value("s", "")
	switch {
	case len(names) == 0:
		return usageError("needs a path")
	case !o.has("a") && !o.has("s"):
		if len(names) > 2 {
			return usageError("too many operands")
		}
		if len(names) == 2 {
			suffix = names[1]
		}
		names = names[:1]
	}
	for _, name := range names {
		base := path.Base(name)
		if name == "" {
			base = ""
		}
		if base != suffix {
			base = strings.TrimSuffix(base, suffix)
		}
		c.line(base, o.has("z"))
	}
	return nil
}

// line prints a line; a write that fails is seen when the output is flushed.
func (c *Call) line(text string, zero bool) {
	c.out().WriteString(text)
	if zero {
		c.out().WriteByte(0)
		return
	}
	c.out().WriteByte('\n')
}

func dirname(_ context.Context, c *Call) error {
	o, err := c.options("+z,zero")
	if err != nil {
		return err
	}
	if len(o.operands) == 0 {
		return usageError("needs a path")
	}
	for _, name := range o.operands {
		trimmed := strings.TrimRight(name, "/")
		i := strings.LastIndexByte(trimmed, '/')
		dir := "."
		switch {
		case trimmed == "" && name != "":
			dir = "/"
		case i >= 0:
			if dir = strings.TrimRight(trimmed[:i], "/"); dir == "" {
				dir = "/"
			}
		}
		c.line(dir, o.has("z"))
	}
	return nil
}

// seq counts in decimal fractions, which have no rounding.
func seq(ctx context.Context, c *Call) error {
	// -1 and the like are numbers here.
	for i, a := range c.Args[1:] {
		if len(a) > 1 && a[0] == '-' && (isDigit(rune(a[1])) || a[1] == '.') {
			c.Args = slices.Insert(slices.Clone(c.Args), i+1, "--")
			break
		}
		if a == "--" || !strings.HasPrefix(a, "-") && !slices.Contains([]string{"-s", "-f", "--separator", "--format"}, c.Args[i]) {
			break
		}
	}
	o, err := c.options("+w,equal-width s,separator: f,format:")
	if err != nil {
		return err
	}
	if len(o.operands) < 1 || len(o.operands) > 3 {
		return usageError("needs one to three numbers")
	}
	numbers := [3]*big.Rat{big.NewRat(1, 1), big.NewRat(1, 1), nil}
	places, width := 0, 0
	for i, text := range o.operands {
		n, ok := new(big.Rat).SetString(text)
		if !ok || strings.Contains(text, "/") {
			return usageError(fmt.Sprintf("invalid number %q", text))
		}
		last := i == len(o.operands)-1
		if _, part, ok := strings.Cut(text, "."); ok && !last {
			places = max(places, len(part))
		}
		switch {
		case last:
			numbers[2] = n
		default:
			numbers[i] = n
		}
	}
	if numbers[1].Sign() == 0 {
		return usageError("the step is zero")
	}
	format := func(n *big.Rat) string { return n.FloatString(places) }
	if o.has("w") {
		width = max(len(format(numbers[0])), len(format(numbers[2])))
	}
	if f := o.value("f", ""); o.has("f") {
		if strings.Count(strings.ReplaceAll(f, "%%", ""), "%") != 1 || strings.Trim(strings.ReplaceAll(f, "%%", "")[strings.Index(strings.ReplaceAll(f, "%%", ""), "%")+1:], "0123456789.-+ ") == "" {
			return usageError(fmt.Sprintf("invalid format %q", f))
		}
		if i := strings.IndexAny(f[strings.Index(f, "%"):], "gfeGE"); i < 0 {
			return usageError(fmt.Sprintf("invalid format %q", f))
		}
		format = func(n *big.Rat) string {
			v, _ := n.Float64() // the nearest is good enough for what printf would do
			return fmt.Sprintf(f, v)
		}
	}
	return c.sequence(ctx, numbers, o.value("s", "\n"), func(n *big.Rat) string {
		s := format(n)
		if len(s) < width {
			sign := strings.HasPrefix(s, "-")
			s = strings.Repeat("0", width-len(s)) + strings.TrimPrefix(s, "-")
			if sign {
				s = "-" + s
			}
		}
		return s
	})
}

func (c *Call) sequence(ctx context.Context, numbers [3]*big.Rat, between string, format func(*big.Rat) string) error {
	n, step, last := numbers[0], numbers[1], numbers[2]
	first := true
	for n.Cmp(last)*step.Sign() <= 0 && ctx.Err() == nil {
		if !first {
			c.out().WriteString(between) // an error comes back from the next write
		}
		if _, err := c.out().WriteString(format(n)); err != nil {
			return err
		}
		first = false
		n = n.Add(n, step)
	}
	if !first {
		c.out().WriteByte('\n') // seen when flushed
	}
	return ctx.Err()
}

func sleep(ctx context.Context, c *Call) error {
	o, err := c.options("")
	if err != nil {
		return err
	}
	if len(o.operands) == 0 {
		return usageError("needs a number")
	}
	var sum time.Duration
	for _, text := range o.operands {
		d, err := duration(text)
		if err != nil {
			return err
		}
		sum += d
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(sum):
		return nil
	}
}

// duration is seconds, or what the letter behind says.
func duration(text string) (time.Duration, error) {
	unit := time.Second
	digits := text
	if text != "" {
		switch text[len(text)-1] {
		case 's':
			digits = text[:len(text)-1]
		case 'm':
			digits, unit = text[:len(text)-1], time.Minute
		case 'h':
			digits, unit = text[:len(text)-1], time.Hour
		case 'd':
			digits, unit = text[:len(text)-1], 24*time.Hour
		}
	}
	n, err := strconv.ParseFloat(digits, 64)
	if digits == "infinity" || err == nil && n*float64(unit) > math.MaxInt64 {
		return math.MaxInt64, nil
	}
	if err != nil || n < 0 || math.IsNaN(n) {
		return 0, usageError(fmt.Sprintf("invalid time %q", text))
	}
	return time.Duration(n * float64(unit)), nil
}

func printenv(_ context.Context, c *Call) error {
	o, err := c.options("+0,null")
	if err != nil {
		return err
	}
	if len(o.operands) == 0 {
		for _, v := range c.Env {
			c.line(v, o.has("0"))
		}
		return nil
	}
	for _, name := range o.operands {
		i := slices.IndexFunc(c.Env, func(v string) bool { return strings.HasPrefix(v, name+"=") })
		if i < 0 {
			c.status = 1
			continue
		}
		c.line(c.getenv(name), o.has("0"))
	}
	return nil
}

// nameOf is the name of a user or group, or the number where it has none.
func nameOf(kind string, n int) (string, bool) {
	number := strconv.Itoa(n)
	if kind == "group" {
		if g, err := user.LookupGroupId(number); err == nil {
			return g.Name, true
		}
	} else if u, err := user.LookupId(number); err == nil {
		return u.Username, true
	}
	return number, false
}

func id(_ context.Context, c *Call) error {
	o, err := c.options("u,user g,group G,groups n,name r,real")
	if err != nil {
		return err
	}
	if len(o.operands) > 0 {
		return usageError("other users are not supported")
	}
	groups, err := os.Getgroups()
	if err != nil {
		return err
	}
	if !slices.Contains(groups, os.Getgid()) {
		groups = append([]int{os.Getgid()}, groups...)
	}
	show := func(kind string, n int) string {
		name, ok := nameOf(kind, n)
		switch {
		case o.has("n"):
			return name
		case len(o.given) == 0 && ok:
			return fmt.Sprintf("%d(%s)", n, name)
		}
		return strconv.Itoa(n)
	}
	var all []string
	for _, g := range groups {
		all = append(all, show("group", g))
	}
	switch o.last("u", "g", "G") {
	case "u":
		c.line(show("user", os.Geteuid()), false)
	case "g":
		c.line(show("group", os.Getegid()), false)
	case "G":
		c.line(strings.Join(all, " "), false)
	default:
		if o.has("n") {
			return usageError("-n goes only with -u, -g or -G")
		}
		c.line(fmt.Sprintf("uid=%s gid=%s groups=%s", show("user", os.Geteuid()), show("group", os.Getegid()), strings.Join(all, ",")), false)
	}
	return nil
}

func whoami(_ context.Context, c *Call) error {
	if _, err := c.options(""); err != nil {
		return err
	}
	name, ok := nameOf("user", os.Geteuid())
	if !ok {
		return fmt.Errorf("no name for user %s", name)
	}
	c.line(name, false)
	return nil
}

func uname(_ context.Context, c *Call) error {
	spec := "a,all s,kernel-name n,nodename r,kernel-release v,kernel-version m,machine o,operating-system"
	if c.Args[0] == "hostname" {
		spec = ""
	}
	o, err := c.options(spec)
	if err != nil {
		return err
	}
	if len(o.operands) > 0 {
		return usageError("takes no operand")
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return err
	}
	if c.Args[0] == "hostname" {
		c.line(unix.ByteSliceToString(u.Nodename[:]), false)
		return nil
	}
	var parts []string
	for _, p := range []struct{ flag, value string }{
		{"s", unix.ByteSliceToString(u.Sysname[:])}, {"n", unix.ByteSliceToString(u.Nodename[:])}, {"r", unix.ByteSliceToString(u.Release[:])},
		{"v", unix.ByteSliceToString(u.Version[:])}, {"m", unix.ByteSliceToString(u.Machine[:])}, {"o", "GNU/Linux"},
	} {
		if o.has(p.flag) || o.has("a") || len(o.given) == 0 && p.flag == "s" {
			parts = append(parts, p.value)
		}
	}
	c.line(strings.Join(parts, " "), false)
	return nil
}

func nproc(_ context.Context, c *Call) error {
	o, err := c.options("all ignore:")
	if err != nil {
		return err
	}
	less, err := strconv.Atoi(o.value("ignore", "0"))
	if err != nil {
		return usageError("invalid number")
	}
	var set unix.CPUSet
	n := runtime.NumCPU()
	if err := unix.SchedGetaffinity(0, &set); err == nil {
		n = set.Count()
	}
	c.line(strconv.Itoa(max(n-less, 1)), false)
	return nil
}

func kill(_ context.Context, c *Call) error {
	args := c.Args[1:]
	sig := syscall.SIGTERM
	if len(args) > 0 && args[0] == "--help" {
		return errHelp
	}
	if len(args) > 0 && args[0] == "-l" {
		return killList(c, args[1:])
	}
	if len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' && args[0] != "--" {
		name := args[0][1:]
		args = args[1:]
		if name == "s" {
			if len(args) == 0 {
				return usageError("-s needs a signal")
			}
			name, args = args[0], args[1:]
		}
		var ok bool
		if sig, ok = signalOf(name); !ok {
			return usageError(fmt.Sprintf("unknown signal %q", name))
		}
	}
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		return usageError("needs a pid")
	}
	for _, a := range args {
		pid, err := strconv.Atoi(a)
		if err != nil {
			if err := c.warn(fmt.Errorf("%q is no pid: jobs of the shell are not supported", a)); err != nil {
				return err
			}
			continue
		}
		if err := syscall.Kill(pid, sig); err != nil {
			if err := c.warn(fmt.Errorf("pid %d: %w", pid, err)); err != nil {
				return err
			}
		}
	}
	return nil
}

func signalOf(name string) (syscall.Signal, bool) {
	if n, err := strconv.Atoi(name); err == nil {
		return syscall.Signal(n), n >= 0 && n <= 64
	}
	name = strings.ToUpper(name)
	if name == "EXIT" {
		return 0, true
	}
	s := unix.SignalNum("SIG" + strings.TrimPrefix(name, "SIG"))
	return s, s != 0
}

func killList(c *Call, args []string) error {
	for _, a := range args {
		n, err := strconv.Atoi(a)
		if err != nil {
			return usageError(fmt.Sprintf("invalid number %q", a))
		}
		if n > 128 {
			n -= 128
		}
		c.line(strings.TrimPrefix(unix.SignalName(syscall.Signal(n)), "SIG"), false)
	}
	for n := syscall.Signal(1); len(args) == 0 && n < 32; n++ {
		c.line(strings.TrimPrefix(unix.SignalName(n), "SIG"), false)
	}
	return nil
}

func which(_ context.Context, c *Call) error {
	o, err := c.options("a")
	if err != nil {
		return err
	}
	for _, name := range o.operands {
		found := false
		for _, p := range c.candidates(name) {
			if info, err := os.Stat(c.path(p)); err == nil && !info.IsDir() && info.Mode()&0o111 != 0 && (!found || o.has("a")) {
				c.line(p, false)
				found = true
			}
		}
		if !found {
			c.status = 1
		}
	}
	return nil
}

// candidates are the paths at which a command of a name may be.
func (c *Call) candidates(name string) (all []string) {
	if strings.Contains(name, "/") {
		return []string{name}
	}
	path := c.getenv("PATH")
	if !slices.ContainsFunc(c.Env, func(v string) bool { return strings.HasPrefix(v, "PATH=") }) {
		path = "/bin:/usr/bin"
	}
	for dir := range strings.SplitSeq(path, ":") {
		if dir == "" {
			dir = "."
		}
		all = append(all, dir+"/"+name)
	}
	return all
}

// lookup is where the command of a name is.
func (c *Call) lookup(name string) (string, error) {
	err := error(fs.ErrNotExist)
	for _, p := range c.candidates(name) {
		info, e := os.Stat(c.path(p))
		switch {
		case e != nil || info.IsDir():
		case info.Mode()&0o111 == 0:
			err = fs.ErrPermission
		default:
			return c.path(p), nil
		}
	}
	if errors.Is(err, fs.ErrPermission) {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return "", fmt.Errorf("%s: command not found", name)
}
