package toolbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

func dd(ctx context.Context, c *Call) error {
	values := map[string]string{"bs": "512"}
	for _, a := range c.Args[1:] {
		name, value, ok := strings.Cut(a, "=")
		switch name {
		case "--help":
			return errHelp
		case "if", "of", "bs", "count", "skip", "seek", "conv", "status":
		default:
			ok = false
		}
		if !ok {
			return usageError(fmt.Sprintf("unknown operand %q", a))
		}
		values[name] = value
	}
	n := map[string]int64{"count": -1}
	for _, name := range []string{"bs", "count", "skip", "seek"} {
		if v, ok := values[name]; ok {
			var err error
			if n[name], err = size(v); err != nil || n[name] < 0 || name == "bs" && n[name] == 0 {
				return usageError(fmt.Sprintf("invalid number %q", v))
			}
		}
	}
	return c.dd(ctx, values, n)
}

func (c *Call) dd(ctx context.Context, values map[string]string, n map[string]int64) error {
	in, out := c.Stdin, c.Stdout
	if name := values["if"]; name != "" {
		f, err := os.Open(c.path(name))
		if err != nil {
			return c.named(name, err)
		}
		defer f.Close() // was only read
		in = f
	}
	keep, sync := false, false
	for conv := range strings.FieldsFuncSeq(values["conv"], func(r rune) bool { return r == ',' }) {
		switch conv {
		case "notrunc":
			keep = true
		case "fsync", "fdatasync":
			sync = true
		default:
			return usageError(fmt.Sprintf("the conversion %q is not supported", conv))
		}
	}
	if _, err := io.CopyN(io.Discard, in, n["skip"]*n["bs"]); err != nil && err != io.EOF {
		return err
	}
	var f *os.File
	if name := values["of"]; name != "" {
		mode := os.O_TRUNC
		if keep || n["seek"] > 0 {
			mode = 0
		}
		var err error
		if f, err = c.create(name, mode); err != nil {
			return err
		}
		if n["seek"] > 0 {
			if !keep {
				err = f.Truncate(n["seek"] * n["bs"])
			}
			if _, e := f.Seek(n["seek"]*n["bs"], io.SeekStart); e != nil || err != nil {
				return errors.Join(err, e, f.Close())
			}
		}
		out = f
	}
	full, part, total, err := ddBlocks(ctx, in, out, n)
	if f != nil {
		if sync && err == nil {
			err = f.Sync()
		}
		err = errors.Join(err, f.Close())
	}
	if values["status"] != "none" && err == nil {
		fmt.Fprintf(c.Stderr, "%d+%d records in\n%d+%d records out\n", full, part, full, part)
		if values["status"] != "noxfer" {
			fmt.Fprintf(c.Stderr, "%d bytes copied\n", total)
		}
	}
	return err
}

func ddBlocks(ctx context.Context, in io.Reader, out io.Writer, n map[string]int64) (full, part, total int64, _ error) {
	buf := make([]byte, n["bs"])
	for i := int64(0); (n["count"] < 0 || i < n["count"]) && ctx.Err() == nil; i++ {
		got, err := in.Read(buf)
		if got > 0 {
			if _, err := out.Write(buf[:got]); err != nil {
				return full, part, total, err
			}
			total += int64(got)
			if int64(got) == n["bs"] {
				full++
			} else {
				part++
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return full, part, total, err
		}
	}
	return full, part, total, ctx.Err()
}
