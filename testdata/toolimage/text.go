package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func cat(args []string) error {
	return overFiles(args, func(_ string, r io.Reader) error {
		_, err := io.Copy(os.Stdout, r)
		return err
	})
}

// lines calls f for each line of the files, without its end.
func lines(names []string, f func(line string) error) error {
	return overFiles(names, func(_ string, r io.Reader) error {
		s := bufio.NewScanner(r)
		s.Buffer(nil, 64<<20)
		for s.Scan() {
			if err := f(s.Text()); err != nil {
				return err
			}
		}
		return s.Err()
	})
}

func readLines(names []string) (all []string, err error) {
	err = lines(names, func(l string) error {
		all = append(all, l)
		return nil
	})
	return all, err
}

// count takes -n N or -N off args.
func count(args []string) (int, []string, error) {
	if len(args) > 1 && args[0] == "-n" {
		n, err := strconv.Atoi(strings.TrimPrefix(args[1], "+"))
		return n, args[2:], err
	}
	if len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' {
		n, err := strconv.Atoi(strings.TrimPrefix(args[0][1:], "n"))
		return n, args[1:], err
	}
	return 10, args, nil
}

func head(args []string) error {
	n, args, err := count(args)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(os.Stdout)
	defer w.Flush()
	err = lines(args, func(l string) error {
		if n--; n < 0 {
			return io.EOF
		}
		_, err := w.WriteString(l + "\n")
		return err
	})
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// tail prints the last N lines, or with -n +N from the Nth on.
func tail(args []string) error {
	from := len(args) > 1 && strings.HasPrefix(args[1], "+")
	n, args, err := count(args)
	if err != nil {
		return err
	}
	all, err := readLines(args)
	if from {
		printLines(all[min(max(n-1, 0), len(all)):])
	} else {
		printLines(all[max(len(all)-n, 0):])
	}
	return err
}

func printLines(all []string) {
	w := bufio.NewWriter(os.Stdout)
	defer w.Flush()
	for _, l := range all {
		w.WriteString(l + "\n")
	}
}

// sortLines sorts by bytes, with -n by number, -r backwards, -u once each.
func sortLines(args []string) error {
	set, args := options(args)
	all, err := readLines(args)
	if err != nil {
		return err
	}
	slices.SortStableFunc(all, func(a, b string) int {
		order := strings.Compare(a, b)
		if set['n'] {
			x, _ := strconv.ParseFloat(strings.TrimSpace(a), 64)
			y, _ := strconv.ParseFloat(strings.TrimSpace(b), 64)
			if x != y {
				order = map[bool]int{true: -1, false: 1}[x < y]
			}
		}
		if set['r'] {
			order = -order
		}
		return order
	})
	if set['u'] {
		all = slices.Compact(all)
	}
	printLines(all)
	return nil
}

func uniq(args []string) error {
	set, args := options(args)
	all, err := readLines(args)
	for i := 0; i < len(all); {
		j := i
		for j < len(all) && all[j] == all[i] {
			j++
		}
		if set['c'] {
			fmt.Printf("%7d ", j-i)
		}
		fmt.Println(all[i])
		i = j
	}
	return err
}

// wc counts lines, words and bytes, or what is asked for.
func wc(args []string) error {
	set, args := options(args)
	return overFiles(args, func(name string, r io.Reader) error {
		b, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		var out []string
		for _, c := range []struct {
			flag rune
			n    int
		}{{'l', strings.Count(string(b), "\n")}, {'w', len(strings.Fields(string(b)))}, {'c', len(b)}} {
			if set[c.flag] || len(set) == 0 {
				out = append(out, strconv.Itoa(c.n))
			}
		}
		if name != "-" {
			out = append(out, name)
		}
		fmt.Println(strings.Join(out, " "))
		return nil
	})
}

// cut is cut -d C -f N[,N…] [file…].
func cut(args []string) error {
	separator, fields := "\t", ""
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' {
		flag, value := args[0][:2], args[0][2:]
		args = args[1:]
		if value == "" && len(args) > 0 {
			value, args = args[0], args[1:]
		}
		switch flag {
		case "-d":
			separator = value
		case "-f":
			fields = value
		}
	}
	return lines(args, func(l string) error {
		parts := strings.Split(l, separator)
		var out []string
		for f := range strings.SplitSeq(fields, ",") {
			n, err := strconv.Atoi(f)
			if err != nil || n < 1 {
				return fmt.Errorf("bad field %q", f)
			}
			if n <= len(parts) {
				out = append(out, parts[n-1])
			}
		}
		fmt.Println(strings.Join(out, separator))
		return nil
	})
}

// tr translates or deletes (-d) characters of ranges.
func tr(args []string) error {
	set, args := options(args)
	if len(args) == 0 {
		return errors.New("needs characters")
	}
	from, to := expand(args[0]), []rune(nil)
	if len(args) > 1 {
		to = expand(args[1])
	}
	in, err := io.ReadAll(os.Stdin)
	fmt.Print(strings.Map(func(r rune) rune {
		i := slices.Index(from, r)
		switch {
		case i < 0:
			return r
		case set['d'] || len(to) == 0:
			return -1
		}
		return to[min(i, len(to)-1)]
	}, string(in)))
	return err
}

func expand(spec string) (all []rune) {
	spec = strings.NewReplacer("[:lower:]", "a-z", "[:upper:]", "A-Z", "[:digit:]", "0-9", `\n`, "\n", `\t`, "\t").Replace(spec)
	r := []rune(spec)
	for i := 0; i < len(r); i++ {
		if i+2 < len(r) && r[i+1] == '-' {
			for c := r[i]; c <= r[i+2]; c++ {
				all = append(all, c)
			}
			i += 2
			continue
		}
		all = append(all, r[i])
	}
	return all
}

// grep has -c, -i, -q and -v; its patterns are Go's.
func grep(args []string) error {
	set, args := options(args)
	if len(args) == 0 {
		return errors.New("needs a pattern")
	}
	pattern := args[0]
	if set['i'] {
		pattern = "(?i)" + pattern
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return err
	}
	found := 0
	err = lines(args[1:], func(l string) error {
		if re.MatchString(l) != set['v'] {
			if found++; !set['q'] && !set['c'] {
				fmt.Println(l)
			}
		}
		return nil
	})
	if set['c'] {
		fmt.Println(found)
	}
	if err == nil && found == 0 {
		return exit(1)
	}
	return err
}

// sed does s/pattern/text/[g] alone; its patterns are Go's.
func sed(args []string) error {
	_, args = options(args)
	if len(args) == 0 || len(args[0]) < 2 || args[0][0] != 's' {
		return errors.New("only s/pattern/text/ is known")
	}
	parts := strings.Split(args[0][2:], args[0][1:2])
	if len(parts) != 3 {
		return errors.New("only s/pattern/text/ is known")
	}
	re, err := regexp.Compile(parts[0])
	if err != nil {
		return err
	}
	text := regexp.MustCompile(`\\(\d)`).ReplaceAllString(strings.ReplaceAll(parts[1], "$", "$$"), "$${$1}")
	return lines(args[1:], func(l string) error {
		first := true
		fmt.Println(re.ReplaceAllStringFunc(l, func(m string) string {
			if !first && parts[2] != "g" {
				return m
			}
			first = false
			return re.ReplaceAllString(m, text)
		}))
		return nil
	})
}

func tee(args []string) error {
	set, args := options(args)
	writers := []io.Writer{os.Stdout}
	for _, name := range args {
		mode := os.O_TRUNC
		if set['a'] {
			mode = os.O_APPEND
		}
		f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|mode, 0o666)
		if err != nil {
			return err
		}
		defer f.Close()
		writers = append(writers, f)
	}
	_, err := io.Copy(io.MultiWriter(writers...), os.Stdin)
	return err
}

// seq is seq [first [step]] last.
func seq(args []string) error {
	var n []int
	for _, a := range args {
		v, err := strconv.Atoi(a)
		if err != nil {
			return err
		}
		n = append(n, v)
	}
	first, step, last := 1, 1, 0
	switch len(n) {
	case 1:
		last = n[0]
	case 2:
		first, last = n[0], n[1]
	case 3:
		first, step, last = n[0], n[1], n[2]
	default:
		return errors.New("needs one to three numbers")
	}
	w := bufio.NewWriter(os.Stdout)
	for i := first; step > 0 && i <= last || step < 0 && i >= last; i += step {
		fmt.Fprintln(w, i)
	}
	return w.Flush()
}

func yes(args []string) error {
	word := "y"
	if len(args) > 0 {
		word = args[0]
	}
	for {
		if _, err := fmt.Println(word); err != nil {
			return err
		}
	}
}

// sleep takes seconds with a fraction. It minds SIGTERM also as the first
// process of a container, which would not die of it.
func sleep(args []string) error {
	if len(args) == 0 {
		return errors.New("needs seconds")
	}
	seconds, err := strconv.ParseFloat(strings.TrimSuffix(args[0], "s"), 64)
	if err != nil {
		return err
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	select {
	case <-term:
		return exit(128 + int(syscall.SIGTERM))
	case <-time.After(time.Duration(seconds * float64(time.Second))):
		return nil
	}
}

func date(args []string) error {
	now := time.Now().UTC()
	switch {
	case len(args) > 0 && args[0] == "+%s":
		fmt.Println(now.Unix())
	case len(args) > 0 && args[0] == "+%s%N":
		fmt.Println(now.UnixNano())
	default:
		fmt.Println(now.Format(time.UnixDate))
	}
	return nil
}

// kill is kill [-SIGNAL] pid….
func kill(args []string) error {
	sig := syscall.SIGTERM
	if len(args) > 0 && strings.HasPrefix(args[0], "-") {
		known := map[string]syscall.Signal{"9": syscall.SIGKILL, "KILL": syscall.SIGKILL, "15": syscall.SIGTERM, "TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "0": 0}
		var ok bool
		if sig, ok = known[strings.TrimPrefix(args[0][1:], "SIG")]; !ok {
			return fmt.Errorf("unknown signal %q", args[0])
		}
		args = args[1:]
	}
	for _, a := range args {
		pid, err := strconv.Atoi(a)
		if err != nil {
			return err
		}
		if err := syscall.Kill(pid, sig); err != nil {
			return err
		}
	}
	return nil
}

func bracket(args []string) error {
	if len(args) == 0 || args[len(args)-1] != "]" {
		return exit(2)
	}
	return test(args[:len(args)-1])
}

// test knows the commonest questions; the shell has its own.
func test(args []string) error {
	if len(args) > 0 && args[0] == "!" {
		if test(args[1:]) == nil {
			return exit(1)
		}
		return nil
	}
	yes := false
	switch len(args) {
	case 1:
		yes = args[0] != ""
	case 2:
		info, err := os.Stat(args[1])
		switch args[0] {
		case "-e":
			yes = err == nil
		case "-f":
			yes = err == nil && info.Mode().IsRegular()
		case "-d":
			yes = err == nil && info.IsDir()
		case "-s":
			yes = err == nil && info.Size() > 0
		case "-n":
			yes = args[1] != ""
		case "-z":
			yes = args[1] == ""
		default:
			return exit(2)
		}
	case 3:
		a, errA := strconv.Atoi(args[0])
		b, errB := strconv.Atoi(args[2])
		switch args[1] {
		case "=":
			yes = args[0] == args[2]
		case "!=":
			yes = args[0] != args[2]
		case "-eq":
			yes = a == b
		case "-lt":
			yes = a < b
		case "-gt":
			yes = a > b
		default:
			return exit(2)
		}
		if strings.HasPrefix(args[1], "-") && (errA != nil || errB != nil) {
			return exit(2)
		}
	default:
		return exit(2)
	}
	if !yes {
		return exit(1)
	}
	return nil
}
