package hcl

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"

	"plumb/hcl/funcs"
)

// recorder gives the functions file and fileset their view of the project, which
// os.Root confines, and remembers what they saw.
type recorder struct {
	dir   string
	root  *os.Root // opened at the first use
	reads map[Read]bool
	apart map[Read]bool // nil unless those of one expression are wanted
}

func newRecorder(dir string) *recorder { return &recorder{dir: dir, reads: map[Read]bool{}} }

func (r *recorder) close() {
	if r.root != nil {
		r.root.Close() //nolint:errcheck // it was only read
	}
}

func (r *recorder) open() (*os.Root, error) {
	if r.root == nil {
		root, err := os.OpenRoot(r.dir)
		if err != nil {
			return nil, fmt.Errorf("open project directory: %w", err)
		}
		r.root = root
	}
	return r.root, nil
}

// checked is cleanPath as an error, for functions.
func checked(path string) (string, error) {
	if path == "." {
		return path, nil
	}
	clean, _, problem := cleanPath(path)
	if problem != nil {
		return "", fmt.Errorf("%s: %s", problem.summary, problem.detail)
	}
	return clean, nil
}

// ReadFile implements funcs.Project.
func (r *recorder) ReadFile(path string) ([]byte, error) {
	data, clean, err := r.content(path)
	if err != nil {
		return nil, fmt.Errorf("read %q: %s", path, reasonOf(err))
	}
	r.saw(Read{Path: clean, Digest: sha256.Sum256(data)})
	return data, nil
}

func (r *recorder) content(path string) (data []byte, clean string, err error) {
	clean, err = checked(path)
	if err != nil {
		return nil, "", err
	}
	root, err := r.open()
	if err != nil {
		return nil, "", err
	}
	f, err := root.Open(clean)
	if err != nil {
		return nil, "", err
	}
	defer f.Close() //nolint:errcheck // it was only read
	data, err = io.ReadAll(f)
	return data, clean, err
}

// Glob implements funcs.Project.
func (r *recorder) Glob(dir, pattern string) ([]string, error) {
	names, clean, err := r.listing(dir, pattern)
	if err != nil {
		return nil, fmt.Errorf("list %q: %s", dir, reasonOf(err))
	}
	r.saw(Read{Path: clean, Pattern: pattern, Digest: digestNames(names)})
	return names, nil
}

func (r *recorder) listing(dir, pattern string) (names []string, clean string, err error) {
	clean, err = checked(dir)
	if err != nil {
		return nil, "", err
	}
	root, err := r.open()
	if err != nil {
		return nil, "", err
	}
	sub, err := root.OpenRoot(clean)
	if err != nil {
		return nil, "", err
	}
	defer sub.Close() //nolint:errcheck // it was only read
	names, err = funcs.Glob(sub.FS(), pattern)
	return names, clean, err
}

func digestNames(names []string) [32]byte {
	var framed []byte
	for _, name := range names {
		framed = binary.AppendUvarint(framed, uint64(len(name)))
		framed = append(framed, name...)
	}
	return sha256.Sum256(framed)
}

func (r *recorder) saw(read Read) {
	r.reads[read] = true
	if r.apart != nil {
		r.apart[read] = true
	}
}

// seen lists the reads, sorted.
func (r *recorder) seen() []Read { return sortedReads(r.reads) }

func sortedReads(reads map[Read]bool) []Read {
	if len(reads) == 0 {
		return nil
	}
	return slices.SortedFunc(maps.Keys(reads), func(a, b Read) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Pattern, b.Pattern))
	})
}

// manyReads is how many reads of one expression are told apart. A thousand files in one
// text are one thing, of which each instance of a stage would have a list.
const manyReads = 16

// during lists what is read while fn evaluates an expression. Many reads are one, whose
// path is that of no file.
func (r *recorder) during(fn func()) []Read {
	r.apart = map[Read]bool{}
	fn()
	reads := sortedReads(r.apart)
	r.apart = nil
	if len(reads) <= manyReads {
		return reads
	}
	all := sha256.New()
	for _, read := range reads {
		fmt.Fprintf(all, "%q %q %x\n", read.Path, read.Pattern, read.Digest)
	}
	return []Read{{Path: ManyRead, Digest: [32]byte(all.Sum(nil))}}
}

// ManyRead stands for the paths of many reads of one expression.
const ManyRead = "*"

// ReadsUnchanged reports whether file and fileset would see in dir what they saw
// when p was evaluated, so that a kept pipeline may stand for its files.
func ReadsUnchanged(dir string, p *Pipeline) bool {
	r := newRecorder(dir)
	defer r.close()
	for _, read := range p.Reads {
		if !r.unchanged(read) {
			return false
		}
	}
	return true
}

func (r *recorder) unchanged(read Read) bool {
	if read.Pattern != "" {
		names, _, err := r.listing(read.Path, read.Pattern)
		return err == nil && digestNames(names) == read.Digest
	}
	data, _, err := r.content(read.Path)
	return err == nil && sha256.Sum256(data) == read.Digest
}

// Seen is what file and fileset saw: files, and the names of others.
type Seen struct {
	Files []File
	Names []string // relative to the project, sorted
}

// ReadAgain gives what file and fileset saw in dir when p was evaluated; false when the
// project has changed since.
func ReadAgain(dir string, p *Pipeline) (Seen, bool) {
	r := newRecorder(dir)
	defer r.close()
	var seen Seen
	for _, read := range p.Reads {
		if read.Pattern != "" {
			names, _, err := r.listing(read.Path, read.Pattern)
			if err != nil || digestNames(names) != read.Digest {
				return Seen{}, false
			}
			for _, name := range names {
				seen.Names = append(seen.Names, path.Join(read.Path, name))
			}
			continue
		}
		data, _, err := r.content(read.Path)
		if err != nil || sha256.Sum256(data) != read.Digest {
			return Seen{}, false
		}
		seen.Files = append(seen.Files, File{Name: read.Path, Data: data})
	}
	slices.Sort(seen.Names)
	seen.Names = slices.Compact(seen.Names)
	return seen, true
}
