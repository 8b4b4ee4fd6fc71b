package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// options takes the single-letter flags off the front of args.
func options(args []string) (map[rune]bool, []string) {
	set := map[rune]bool{}
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' {
		word := args[0]
		args = args[1:]
		if word == "--" {
			break
		}
		for _, f := range word[1:] {
			set[f] = true
		}
	}
	return set, args
}

func cp(args []string) error {
	set, args := options(args)
	return each(args, func(from, to string) error {
		return copyPath(from, to, set['a'] || set['p'], set['r'] || set['R'] || set['a'])
	})
}

// each calls f for the sources and the target, or its directory.
func each(args []string, f func(from, to string) error) error {
	if len(args) < 2 {
		return errors.New("needs a source and a target")
	}
	target := args[len(args)-1]
	info, err := os.Stat(target)
	into := err == nil && info.IsDir()
	for _, from := range args[:len(args)-1] {
		to := target
		if into {
			to = filepath.Join(target, filepath.Base(from))
		}
		if err := f(from, to); err != nil {
			return err
		}
	}
	return nil
}

func copyPath(from, to string, keep, recursive bool) error {
	info, err := os.Lstat(from)
	if err != nil {
		return err
	}
	if !recursive && info.Mode()&fs.ModeSymlink != 0 {
		if info, err = os.Stat(from); err != nil {
			return err
		}
	}
	switch {
	case info.IsDir() && !recursive:
		return fmt.Errorf("%s is a directory", from)
	case info.IsDir():
		err = copyDir(from, to, keep)
	case info.Mode()&fs.ModeSymlink != 0:
		link, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(link, to)
	default:
		err = copyFile(from, to, info.Mode().Perm())
	}
	if err != nil || !keep {
		return err
	}
	owner := info.Sys().(*syscall.Stat_t)
	return errors.Join(os.Lchown(to, int(owner.Uid), int(owner.Gid)), os.Chmod(to, info.Mode()), os.Chtimes(to, info.ModTime(), info.ModTime()))
}

func copyDir(from, to string, keep bool) error {
	if err := os.Mkdir(to, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := copyPath(filepath.Join(from, e.Name()), filepath.Join(to, e.Name()), keep, true); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(from, to string, mode fs.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

func mv(args []string) error {
	_, args = options(args)
	return each(args, os.Rename)
}

func ln(args []string) error {
	set, args := options(args)
	return each(args, func(from, to string) error {
		if set['f'] {
			if err := os.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		if set['s'] {
			return os.Symlink(from, to)
		}
		return os.Link(from, to)
	})
}

func rm(args []string) error {
	set, args := options(args)
	for _, path := range args {
		remove := os.Remove
		if set['r'] || set['R'] {
			remove = os.RemoveAll
		}
		if err := remove(path); err != nil && !(set['f'] && errors.Is(err, fs.ErrNotExist)) {
			return err
		}
	}
	return nil
}

func mkdir(args []string) error {
	set, args := options(args)
	for _, path := range args {
		make := os.Mkdir
		if set['p'] {
			make = os.MkdirAll
		}
		if err := make(path, 0o777); err != nil {
			return err
		}
	}
	return nil
}

func touch(args []string) error {
	for _, path := range args {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o666)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Close(), os.Chtimes(path, time.Now(), time.Now())); err != nil {
			return err
		}
	}
	return nil
}

func chmod(args []string) error {
	if len(args) < 2 {
		return errors.New("needs a mode and a file")
	}
	if args[0] == "+x" {
		args[0] = "755"
	}
	mode, err := strconv.ParseUint(args[0], 8, 32)
	if err != nil {
		return err
	}
	for _, path := range args[1:] {
		if err := syscall.Chmod(path, uint32(mode)); err != nil {
			return &fs.PathError{Op: "chmod", Path: path, Err: err}
		}
	}
	return nil
}

func chown(args []string) error {
	if len(args) < 2 {
		return errors.New("needs an owner and a file")
	}
	user, group, _ := strings.Cut(args[0], ":")
	uid, err := strconv.Atoi(user)
	gid := -1
	if err == nil && group != "" {
		gid, err = strconv.Atoi(group)
	}
	if err != nil {
		return err
	}
	for _, path := range args[1:] {
		if err := os.Lchown(path, uid, gid); err != nil {
			return err
		}
	}
	return nil
}

// ls prints names, with -l also mode, owner, group and size.
func ls(args []string) error {
	set, args := options(args)
	if len(args) == 0 {
		args = []string{"."}
	}
	for _, path := range args {
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		infos, names := []fs.FileInfo{info}, []string{path}
		if info.IsDir() && !set['d'] {
			if infos, names, err = list(path, set['a']); err != nil {
				return err
			}
		}
		for i, info := range infos {
			if set['l'] {
				st := info.Sys().(*syscall.Stat_t)
				fmt.Printf("%v %d %d %d ", info.Mode(), st.Uid, st.Gid, info.Size())
			}
			fmt.Println(names[i])
		}
	}
	return nil
}

func list(dir string, all bool) (infos []fs.FileInfo, names []string, _ error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		if !all && strings.HasPrefix(e.Name(), ".") {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return nil, nil, err
		}
		infos, names = append(infos, info), append(names, e.Name())
	}
	return infos, names, nil
}

// stat prints "mode uid gid size name" in octal and numbers.
func stat(args []string) error {
	for _, path := range args {
		var st syscall.Stat_t
		if err := syscall.Lstat(path, &st); err != nil {
			return &fs.PathError{Op: "stat", Path: path, Err: err}
		}
		fmt.Printf("%o %d %d %d %s\n", st.Mode&0o7777, st.Uid, st.Gid, st.Size, path)
	}
	return nil
}

func find(args []string) error {
	_, args = options(args)
	if len(args) == 0 {
		args = []string{"."}
	}
	files := len(args) == 3 && args[1] == "-type" && args[2] == "f"
	return filepath.WalkDir(args[0], func(path string, d fs.DirEntry, err error) error {
		if err == nil && (!files || d.Type().IsRegular()) {
			fmt.Println(path)
		}
		return err
	})
}

func readlink(args []string) error {
	for _, path := range args {
		target, err := os.Readlink(path)
		if err != nil {
			return err
		}
		fmt.Println(target)
	}
	return nil
}

// dd is dd of=FILE bs=BYTES count=N, of zeros.
func dd(args []string) error {
	to, block, count := "", 512, 1
	for _, a := range args {
		name, value, _ := strings.Cut(a, "=")
		n, err := strconv.Atoi(value)
		switch name {
		case "of":
			to, err = value, nil
		case "bs":
			block = n
		case "count":
			count = n
		}
		if err != nil {
			return err
		}
	}
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	buf := make([]byte, block)
	for range count {
		if _, err := f.Write(buf); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return f.Close()
}

func sha256sum(args []string) error {
	return overFiles(args, func(name string, r io.Reader) error {
		h := sha256.New()
		if _, err := io.Copy(h, r); err != nil {
			return err
		}
		fmt.Printf("%x  %s\n", h.Sum(nil), name)
		return nil
	})
}

// overFiles calls f for each file, or for standard input.
func overFiles(names []string, f func(name string, r io.Reader) error) error {
	if len(names) == 0 {
		names = []string{"-"}
	}
	for _, name := range names {
		if name == "-" {
			if err := f(name, os.Stdin); err != nil {
				return err
			}
			continue
		}
		in, err := os.Open(name)
		if err != nil {
			return err
		}
		if err := errors.Join(f(name, in), in.Close()); err != nil {
			return err
		}
	}
	return nil
}

func basename(args []string) error {
	if len(args) == 0 {
		return errors.New("needs a path")
	}
	base := filepath.Base(args[0])
	if len(args) > 1 {
		base = strings.TrimSuffix(base, args[1])
	}
	fmt.Println(base)
	return nil
}

func pwd([]string) error {
	dir, err := os.Getwd()
	fmt.Println(dir)
	return err
}

// env prints the environment, sorted.
func env([]string) error {
	all := os.Environ()
	sort.Strings(all)
	for _, v := range all {
		fmt.Println(v)
	}
	return nil
}
