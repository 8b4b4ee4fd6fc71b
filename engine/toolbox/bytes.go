package toolbox

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
)

func byteTools() map[string]tool {
	all := map[string]tool{
		"base64": {run: base64Tool, usage: "[-d] [-i] [-w columns] [file]"},
		"cksum":  {run: cksum, usage: "[file]…", lacks: "-a and all other flags"},
		"cmp":    {run: compareFiles, fail: 2, usage: "[-l] [-s] [-n bytes] file1 [file2]", lacks: "-b and -i"},
		"od":     {run: od, usage: "[-A d|o|x|n] [-t type] [-bcox] [-v] [-N bytes] [-j bytes] [-w[bytes]] [file]…", lacks: "floating point and -s; types a, c, d, o, u and x with sizes 1, 2, 4, 8"},
		"split":  {run: split, usage: "[-l lines | -b bytes] [-a length] [-d] [--additional-suffix=text] [file [prefix]]", lacks: "-C, -n, --filter and -x"},
		"shuf":   {run: shuf, usage: "--seed n [-n count] [-e] [-i low-high] [-z] [file]", lacks: "--random-source and -r; without --seed it refuses, since a stage is to do the same each time"},
	}
	for name := range hashes() {
		all[name] = tool{run: checksum, usage: "[-b] [-t] [-c [--quiet] [--status] [--strict] [--ignore-missing]] [--tag] [-z] [file]…", lacks: "-w"}
	}
	return all
}

func hashes() map[string]func() hash.Hash {
	return map[string]func() hash.Hash{"md5sum": md5.New, "sha1sum": sha1.New, "sha224sum": sha256.New224, "sha256sum": sha256.New, "sha384sum": sha512.New384, "sha512sum": sha512.New}
}

func checksum(_ context.Context, c *Call) error {
	o, err := c.options("b,binary t,text c,check quiet status strict ignore-missing tag z,zero w,warn")
	if err != nil {
		return err
	}
	make := hashes()[c.Args[0]]
	if o.has("c") {
		return checkSums(c, o, make)
	}
	algorithm := strings.ToUpper(strings.TrimSuffix(c.Args[0], "sum"))
	return c.each(o.operands, func(name string, r io.Reader) error {
		h := make()
		if _, err := io.Copy(h, r); err != nil {
			return err
		}
		mark := " "
		if o.last("b", "t") == "b" {
			mark = "*"
		}
		shown, escape := name, ""
		if strings.ContainsAny(name, "\n\\\r") && !o.has("z") {
			shown, escape = strings.NewReplacer("\\", `\\`, "\n", `\n`, "\r", `\r`).Replace(name), `\`
		}
		text := fmt.Sprintf("%s%x %s%s", escape, h.Sum(nil), mark, shown)
		if o.has("tag") {
			text = fmt.Sprintf("%s%s (%s) = %x", escape, algorithm, shown, h.Sum(nil))
		}
		c.line(text, o.has("z"))
		return nil
	})
}

// checkSums reads lines of sums and compares.
func checkSums(c *Call, o *options, make func() hash.Hash) error {
	bad, unread, malformed, seen := 0, 0, 0, 0
	err := c.eachLine(o.operands, '\n', func(line []byte, _ bool) error {
		sum, name, ok := sumLine(string(line), make().Size())
		if !ok {
			malformed++
			return nil
		}
		r, err := c.open(name)
		if err != nil && o.has("ignore-missing") && errors.Is(err, os.ErrNotExist) {
			return nil
		}
		seen++
		h := make()
		if err == nil {
			_, err = io.Copy(h, r)
			r.Close() // was only read
		}
		result := "OK"
		switch {
		case err != nil:
			c.say(err)
			unread++
			result = "FAILED open or read"
		case !bytes.Equal(h.Sum(nil), sum):
			bad++
			result = "FAILED"
		}
		if !o.has("status") && !(result == "OK" && o.has("quiet")) {
			fmt.Fprintf(c.out(), "%s: %s\n", name, result)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, w := range []struct {
		n    int
		text string
	}{{malformed, "lines are not formatted as sums"}, {unread, "listed files could not be read"}, {bad, "computed sums did NOT match"}} {
		if w.n > 0 && !o.has("status") {
			fmt.Fprintf(c.Stderr, "%s: WARNING: %d %s\n", c.Args[0], w.n, w.text)
		}
	}
	if seen == 0 {
		return errors.New("no sum was checked")
	}
	if bad > 0 || unread > 0 || malformed > 0 && o.has("strict") {
		return exit(1)
	}
	return nil
}

// sumLine reads "digest  name" or "SHA256 (name) = digest".
func sumLine(line string, size int) (sum []byte, name string, ok bool) {
	if i := strings.LastIndex(line, ") = "); i > 0 && strings.Contains(line[:i], " (") {
		_, name, _ = strings.Cut(line[:i], " (")
		sum, err := hex.DecodeString(line[i+4:])
		return sum, name, err == nil && len(sum) == size
	}
	escaped := strings.HasPrefix(line, `\`)
	line = strings.TrimPrefix(line, `\`)
	if len(line) < 2*size+3 || line[2*size] != ' ' {
		return nil, "", false
	}
	sum, err := hex.DecodeString(line[:2*size])
	name = line[2*size+2:]
	if escaped {
		name = strings.NewReplacer(`\\`, `\`, `\n`, "\n", `\r`, "\r").Replace(name)
	}
	return sum, name, err == nil
}

// cksum is POSIX's CRC, over the content and its length.
func cksum(_ context.Context, c *Call) error {
	o, err := c.options("")
	if err != nil {
		return err
	}
	var table [256]uint32
	for i := range table {
		crc := uint32(i) << 24
		for range 8 {
			if crc&0x80000000 != 0 {
				crc = crc<<1 ^ 0x04c11db7
			} else {
				crc <<= 1
			}
		}
		table[i] = crc
	}
	return c.each(o.operands, func(name string, r io.Reader) error {
		crc, size := uint32(0), 0
		buf := make([]byte, bufferSize)
		for {
			n, err := r.Read(buf)
			for _, b := range buf[:n] {
				crc = crc<<8 ^ table[byte(crc>>24)^b]
			}
			size += n
			if err == io.EOF {
				break
			}
			if err != nil {
				return err
			}
		}
		for n := size; n > 0; n >>= 8 {
			crc = crc<<8 ^ table[byte(crc>>24)^byte(n)]
		}
		text := fmt.Sprintf("%d %d", ^crc, size)
		if len(o.operands) > 0 {
			text += " " + name
		}
		c.line(text, false)
		return nil
	})
}

func base64Tool(_ context.Context, c *Call) error {
	o, err := c.options("d,decode,D i,ignore-garbage w,wrap:")
	if err != nil {
		return err
	}
	if len(o.operands) > 1 {
		return usageError("takes one file")
	}
	width, err := strconv.Atoi(o.value("w", "76"))
	if err != nil || width < 0 {
		return usageError("invalid width")
	}
	return c.each(o.operands, func(_ string, r io.Reader) error {
		data, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		if o.has("d") {
			return unbase64(c, data, o.has("i"))
		}
		text := base64.StdEncoding.EncodeToString(data)
		for width > 0 && len(text) > width {
			c.line(text[:width], false)
			text = text[width:]
		}
		if text != "" {
			c.out().WriteString(text) // seen when flushed
			if width > 0 {
				c.out().WriteByte('\n')
			}
		}
		return nil
	})
}

func unbase64(c *Call, data []byte, lenient bool) error {
	var kept []byte
	for _, b := range data {
		known := isASCIIAlnum(rune(b)) || b == '+' || b == '/' || b == '='
		if known || !lenient && b != '\n' {
			kept = append(kept, b)
		}
	}
	out, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, bytes.NewReader(kept)))
	if _, werr := c.out().Write(out); werr != nil {
		return werr
	}
	if err != nil {
		return errors.New("invalid input")
	}
	return nil
}

func compareFiles(_ context.Context, c *Call) error {
	o, err := c.options("l,verbose s,quiet,silent n,bytes:")
	if err != nil {
		return err
	}
	if len(o.operands) == 1 {
		o.operands = append(o.operands, "-")
	}
	if len(o.operands) != 2 {
		return usageError("needs two files")
	}
	limit, err := size(o.value("n", "4611686018427387904"))
	if err != nil {
		return usageError("invalid number")
	}
	var ins [2]io.ReadCloser
	for i, name := range o.operands {
		if ins[i], err = c.open(name); err != nil {
			return err
		}
		defer ins[i].Close() // was only read
	}
	a, b := newBytes(ins[0], limit), newBytes(ins[1], limit)
	line, differs := 1, false
	for at := int64(1); ; at++ {
		x, errX := a.ReadByte()
		y, errY := b.ReadByte()
		switch {
		case errX == io.EOF && errY == io.EOF:
			if differs {
				return exit(1)
			}
			return nil
		case errX == io.EOF || errY == io.EOF:
			name := o.operands[0]
			if errY == io.EOF {
				name = o.operands[1]
			}
			if !o.has("s") {
				fmt.Fprintf(c.Stderr, "cmp: EOF on %s after byte %d\n", name, at-1)
			}
			return exit(1)
		case errX != nil || errY != nil:
			return errors.Join(errX, errY)
		case x != y && o.has("s"):
			return exit(1)
		case x != y && !o.has("l"):
			fmt.Fprintf(c.out(), "%s %s differ: byte %d, line %d\n", o.operands[0], o.operands[1], at, line)
			return exit(1)
		case x != y:
			differs = true
			fmt.Fprintf(c.out(), "%d %3o %3o\n", at, x, y)
		}
		if x == '\n' {
			line++
		}
	}
}

func split(_ context.Context, c *Call) error {
	o, err := c.options("l,lines: b,bytes: a,suffix-length: d,numeric-suffixes additional-suffix: #")
	if err != nil {
		return err
	}
	if len(o.operands) > 2 {
		return usageError("too many operands")
	}
	unit := o.last("l", "b", "#")
	n, err := size(o.value(unit, "1000"))
	length, err2 := strconv.Atoi(o.value("a", "2"))
	if err != nil || err2 != nil || n < 1 || length < 1 {
		return usageError("invalid number")
	}
	prefix, names := "x", o.operands
	if len(names) == 2 {
		prefix, names = names[1], names[:1]
	}
	s := &splitting{c: c, prefix: prefix, suffix: o.value("additional-suffix", ""), length: length, digits: o.has("d"), limit: n}
	err = c.each(names, func(_ string, r io.Reader) error {
		if unit == "b" {
			return s.bytes(r)
		}
		return s.lines(r)
	})
	return errors.Join(err, s.close())
}

type splitting struct {
	c              *Call
	prefix, suffix string
	length         int
	digits         bool
	limit, used    int64
	count          int
	f              *os.File
}

func (s *splitting) close() error {
	f := s.f
	s.f = nil
	return closeFile(f)
}

// next opens the next file.
func (s *splitting) next() error {
	if err := s.close(); err != nil {
		return err
	}
	letters := "abcdefghijklmnopqrstuvwxyz"
	if s.digits {
		letters = "0123456789"
	}
	name, n := make([]byte, s.length), s.count
	for i := s.length - 1; i >= 0; i-- {
		name[i], n = letters[n%len(letters)], n/len(letters)
	}
	if n > 0 {
		return errors.New("no more names: use a longer suffix")
	}
	s.count++
	s.used = 0
	var err error
	s.f, err = s.c.create(s.prefix+string(name)+s.suffix, os.O_TRUNC)
	return err
}

func (s *splitting) bytes(r io.Reader) error {
	in := newBytes(r, 1<<62)
	for {
		if _, err := in.Peek(1); err != nil {
			return ignoreEOF(err)
		}
		if err := s.next(); err != nil {
			return err
		}
		if _, err := io.CopyN(s.f, in, s.limit); err != nil {
			return ignoreEOF(err)
		}
	}
}

func (s *splitting) lines(r io.Reader) error {
	l := newLines(r, '\n')
	for {
		line, ended, err := l.next()
		if err != nil {
			return ignoreEOF(err)
		}
		if s.f == nil || s.used == s.limit {
			if err := s.next(); err != nil {
				return err
			}
		}
		s.used++
		if ended {
			line = append(line[:len(line):len(line)], '\n')
		}
		if _, err := s.f.Write(line); err != nil {
			return err
		}
	}
}

func shuf(_ context.Context, c *Call) error {
	o, err := c.options("seed: n,head-count: e,echo i,input-range: z,zero-terminated o,output:")
	if err != nil {
		return err
	}
	if o.has("o") {
		return usageError("-o is not supported")
	}
	seed, err := strconv.ParseUint(o.value("seed", ""), 10, 64)
	if err != nil {
		return usageError("needs --seed with a number, so that the same stage gives the same result")
	}
	end := byte('\n')
	if o.has("z") {
		end = 0
	}
	var all [][]byte
	switch {
	case o.has("e"):
		for _, a := range o.operands {
			all = append(all, []byte(a))
		}
	case o.has("i"):
		from, to, _ := strings.Cut(o.value("i", ""), "-")
		low, err := strconv.Atoi(from)
		high, err2 := strconv.Atoi(to)
		if err != nil || err2 != nil || high < low-1 || high-low > 100_000_000 {
			return usageError("invalid range")
		}
		for n := low; n <= high; n++ {
			all = append(all, strconv.AppendInt(nil, int64(n), 10))
		}
	default:
		if all, err = c.readLines(o.operands, end); err != nil {
			return err
		}
	}
	rng := rand.New(rand.NewPCG(seed, 0))
	rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	if o.has("n") {
		n, err := strconv.Atoi(o.value("n", ""))
		if err != nil || n < 0 {
			return usageError("invalid count")
		}
		all = all[:min(n, len(all))]
	}
	for _, l := range all {
		if err := writeLine(c.out(), l, end); err != nil {
			return err
		}
	}
	return nil
}
