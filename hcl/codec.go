package hcl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
)

// The kept form of a pipeline: a version byte, a table of all distinct strings,
// and the fields in order as varints, strings by their number in the table. One
// description of each type, below, serves both directions, so that the two cannot
// drift apart; a field added to a type must be added here, which a test holds.

// codecVersion changes with the layout; other versions are refused and evaluated
// again.
const codecVersion = 9

// errCorrupt is what Decode finds in bytes that Encode did not write.
var errCorrupt = errors.New("kept pipeline is corrupt")

// codec goes over the fields of a pipeline, writing or reading each.
type codec struct {
	reading bool
	data    []byte            // what is written, or what is left to read
	numbers map[string]uint64 // writing: the strings seen
	strings []string          // by number
	bad     bool              // reading: the data does not fit
}

// Encode writes an evaluated pipeline in a compact form that Decode reads fast.
// Equal pipelines give equal bytes.
func Encode(p *Pipeline) []byte {
	c := &codec{numbers: map[string]uint64{}}
	c.pipeline(p)
	out := []byte{codecVersion}
	out = binary.AppendUvarint(out, uint64(len(c.strings)))
	for _, s := range c.strings {
		out = binary.AppendUvarint(out, uint64(len(s)))
		out = append(out, s...)
	}
	return append(out, c.data...)
}

// Decode reads what Encode wrote. Any other bytes, those of another version
// included, give an error.
func Decode(data []byte) (*Pipeline, error) {
	if len(data) == 0 || data[0] != codecVersion {
		return nil, fmt.Errorf("read kept pipeline: not of version %d", codecVersion)
	}
	c := &codec{reading: true, data: data[1:]}
	c.table()
	p := &Pipeline{}
	c.pipeline(p)
	if c.bad || len(c.data) > 0 {
		return nil, errCorrupt
	}
	return p, nil
}

// table reads the strings; they share one allocation.
func (c *codec) table() {
	n := c.size(1)
	all := string(c.data)
	c.strings = make([]string, 0, n)
	for range n {
		length := c.size(1)
		if c.bad {
			return
		}
		from := len(all) - len(c.data)
		c.strings = append(c.strings, all[from:from+length])
		c.data = c.data[length:]
	}
}

// size reads a count of things that take at least so many bytes each.
func (c *codec) size(bytes int) int {
	n := c.uvarint()
	if n > uint64(len(c.data)/bytes) {
		c.bad = true
		return 0
	}
	return int(n)
}

func (c *codec) uvarint() uint64 {
	if len(c.data) > 0 && c.data[0] < 0x80 { // most are small
		v := uint64(c.data[0])
		c.data = c.data[1:]
		return v
	}
	v, n := binary.Uvarint(c.data)
	if n <= 0 {
		c.bad, c.data = true, nil
		return 0
	}
	c.data = c.data[n:]
	return v
}

func (c *codec) uint(v *uint64) {
	if c.reading {
		*v = c.uvarint()
		return
	}
	c.data = binary.AppendUvarint(c.data, *v)
}

// integer codes any integer; negative ones take ten bytes and are rare.
func integer[T ~int | ~int64](c *codec, v *T) {
	u := uint64(*v)
	c.uint(&u)
	*v = T(u)
}

func (c *codec) bool(v *bool) {
	var u uint64
	if *v {
		u = 1
	}
	c.uint(&u)
	c.bad = c.bad || u > 1
	*v = u == 1
}

func (c *codec) float(v *float64) {
	u := math.Float64bits(*v)
	c.uint(&u)
	*v = math.Float64frombits(u)
}

func (c *codec) bytes32(v *[32]byte) {
	if !c.reading {
		c.data = append(c.data, v[:]...)
		return
	}
	if len(c.data) < len(v) {
		c.bad, c.data = true, nil
		return
	}
	c.data = c.data[copy(v[:], c.data):]
}

func text[T ~string](c *codec, v *T) {
	if c.reading {
		n := c.uvarint()
		if n >= uint64(len(c.strings)) {
			c.bad = true
			return
		}
		*v = T(c.strings[n])
		return
	}
	n, ok := c.numbers[string(*v)]
	if !ok {
		n = uint64(len(c.strings))
		c.numbers[string(*v)] = n
		c.strings = append(c.strings, string(*v))
	}
	c.uint(&n)
}

// list codes a slice whose elements take at least so many bytes; an empty one is
// read as nil.
func list[T any](c *codec, v *[]T, bytes int, each func(*codec, *T)) {
	n := uint64(len(*v))
	if !c.reading {
		c.uint(&n)
	} else if n = uint64(c.size(bytes)); n > 0 {
		*v = make([]T, n)
	}
	for i := range *v {
		if c.bad {
			return
		}
		each(c, &(*v)[i])
	}
}

// optional codes a pointer.
func optional[T any](c *codec, v **T, each func(*codec, *T)) {
	present := *v != nil
	c.bool(&present)
	if !present || c.bad {
		return
	}
	if c.reading {
		*v = new(T)
	}
	each(c, *v)
}

func (c *codec) texts(v *[]string) { list(c, v, 1, text[string]) }

func (c *codec) pos(v *Pos) {
	integer(c, &v.Line)
	integer(c, &v.Column)
	integer(c, &v.Byte)
}

// at codes a range, its end by the distance from the start where that is short.
func (c *codec) at(v *Range) {
	text(c, &v.File)
	c.pos(&v.Start)
	end := Pos{v.End.Line - v.Start.Line, v.End.Column, v.End.Byte - v.Start.Byte}
	c.pos(&end)
	v.End = Pos{end.Line + v.Start.Line, end.Column, end.Byte + v.Start.Byte}
}

func (c *codec) pipeline(p *Pipeline) {
	text(c, &p.Name)
	text(c, &p.Description)
	text(c, &p.Requires)
	c.at(&p.Range)
	text(c, &p.Profile)
	c.texts(&p.Profiles)
	list(c, &p.Params, 13, (*codec).param)
	list(c, &p.Secrets, 12, (*codec).secret)
	list(c, &p.Sources, 22, (*codec).source)
	list(c, &p.Images, 20, (*codec).image)
	list(c, &p.Stages, 60, (*codec).stage)
	list(c, &p.Exports, 10, (*codec).export)
	list(c, &p.Reads, 34, (*codec).read)
}

func (c *codec) param(v *Param) {
	text(c, &v.Name)
	text(c, &v.Description)
	text(c, &v.Type)
	text(c, &v.Value)
	text(c, &v.Origin)
	c.bool(&v.Sensitive)
	c.at(&v.Range)
}

func (c *codec) secret(v *Secret) {
	text(c, &v.Name)
	text(c, &v.Description)
	text(c, &v.Env)
	text(c, &v.File)
	c.texts(&v.Command)
	c.at(&v.Range)
}

func (c *codec) source(v *Source) {
	text(c, &v.Name)
	text(c, &v.Description)
	text(c, &v.Path)
	c.bool(&v.Glob)
	text(c, &v.URL)
	text(c, &v.OCI)
	c.bool(&v.Floating)
	c.bool(&v.Discard)
	c.at(&v.Range)
	c.at(&v.PathRange)
}

func (c *codec) image(v *Image) {
	text(c, &v.Name)
	text(c, &v.Ref)
	c.bool(&v.Floating)
	text(c, &v.Archive)
	text(c, &v.Builtin)
	optional(c, &v.Debian, (*codec).debian)
	text(c, &v.Platform)
	c.at(&v.Range)
	c.at(&v.LocatorRange)
}

func (c *codec) debian(v *Debian) {
	text(c, &v.Suite)
	c.texts(&v.Packages)
	text(c, &v.Variant)
	c.bool(&v.Recommends)
	c.texts(&v.Components)
	c.texts(&v.Mirrors)
	text(c, &v.Snapshot)
	text(c, &v.Keyring)
	c.bool(&v.AcceptExpired)
	c.at(&v.Range)
}

func (c *codec) stage(v *Stage) {
	text(c, &v.Name)
	text(c, &v.Block)
	text(c, &v.Description)
	text(c, &v.Image)
	c.command(&v.Command)
	list(c, &v.Inputs, 15, (*codec).input)
	list(c, &v.Outputs, 11, (*codec).output)
	text(c, &v.Metrics)
	c.at(&v.MetricsRange)
	list(c, &v.Env, 4, (*codec).env)
	c.texts(&v.Params)
	c.texts(&v.Passed)
	c.texts(&v.Secrets)
	optional(c, &v.Seed, integer[int64])
	text(c, &v.SeedSource)
	optional(c, &v.Each, (*codec).each)
	c.bool(&v.Network)
	optional(c, &v.Cache, (*codec).bool)
	text(c, &v.Checkpoint)
	c.at(&v.CheckpointRange)
	c.bool(&v.Effect)
	c.bool(&v.Idempotent)
	integer(c, (*int64)(&v.Timeout))
	integer(c, (*int64)(&v.Grace))
	c.resources(&v.Resources)
	c.retry(&v.Retry)
	c.texts(&v.After)
	optional(c, &v.When, (*codec).expr)
	c.at(&v.Range)
	c.at(&v.ImageRange)
}

func (c *codec) each(v *Each) {
	text(c, &v.Source)
	text(c, &v.Value)
	list(c, &v.Reads, 34, (*codec).read)
}

func (c *codec) command(v *Command) {
	c.bool(&v.Shell)
	list(c, &v.Args, 2, (*codec).text)
	text(c, &v.Source)
	list(c, &v.Reads, 34, (*codec).read)
	c.at(&v.Range)
}

func (c *codec) text(v *Text) {
	text(c, &v.Value)
	optional(c, &v.Expr, (*codec).expr)
}

func (c *codec) expr(v *Expr) {
	text(c, &v.Source)
	c.at(&v.Range)
	names := slices.Sorted(maps.Keys(v.Vars))
	c.texts(&names)
	if c.reading {
		v.Vars = make(map[string]string, len(names))
	}
	for _, name := range names {
		value := v.Vars[name]
		text(c, &value)
		v.Vars[name] = value
	}
	list(c, &v.Metrics, 2, (*codec).metric)
	c.bool(&v.Sensitive)
}

func (c *codec) metric(v *MetricRef) {
	text(c, &v.Stage)
	text(c, &v.Metric)
}

func (c *codec) input(v *Input) {
	text(c, &v.Name)
	text(c, &v.Kind)
	text(c, &v.Path)
	c.bool(&v.Glob)
	text(c, &v.Target)
	text(c, &v.Source)
	text(c, &v.Stage)
	text(c, &v.Output)
	c.at(&v.Range)
}

func (c *codec) output(v *Output) {
	text(c, &v.Name)
	text(c, &v.Path)
	c.bool(&v.Dir)
	c.bool(&v.Unkept)
	c.at(&v.Range)
}

func (c *codec) env(v *EnvVar) {
	text(c, &v.Name)
	c.text(&v.Value)
	c.bool(&v.Sensitive)
	text(c, &v.Source)
	c.texts(&v.SensitiveParams)
	list(c, &v.Reads, 34, (*codec).read)
}

func (c *codec) resources(v *Resources) {
	c.float(&v.CPU)
	integer(c, &v.Memory)
	integer(c, &v.Pids)
	integer(c, &v.GPUs)
	list(c, &v.Devices, 1, text[string])
}

func (c *codec) retry(v *Retry) {
	integer(c, &v.Exit)
	list(c, &v.Codes, 1, integer[int])
	integer(c, &v.OOM)
	integer(c, &v.Timeout)
	optional(c, &v.Preempted, integer[int])
	optional(c, &v.Infra, integer[int])
	c.float(&v.MemoryFactor)
	integer(c, (*int64)(&v.Backoff))
}

func (c *codec) export(v *Export) {
	text(c, &v.Path)
	text(c, &v.Stage)
	text(c, &v.Output)
	c.at(&v.Range)
}

func (c *codec) read(v *Read) {
	text(c, &v.Path)
	text(c, &v.Pattern)
	c.bytes32(&v.Digest)
}
