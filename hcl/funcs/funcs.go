// Package funcs holds the functions that expressions of a pipeline may call.
//
// All are deterministic: a pipeline means the same on every machine and at every
// time, which is why there is no function for the environment, the clock or
// chance. Two look at the project, file and fileset; they do so through a Project
// that the caller gives, which confines them and remembers what they saw.
//
// Every function has a description, for `plumb docs` and for completion.
package funcs

import (
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// Function is one function of the language.
type Function struct {
	Name        string
	Description string
	Impl        function.Function
}

// Table indexes functions by name, as an evaluation context wants them.
func Table(list []Function) map[string]function.Function {
	table := make(map[string]function.Function, len(list))
	for _, f := range list {
		table[f.Name] = f.Impl
	}
	return table
}

// All lists every function; file and fileset read through p.
func All(p Project) []Function { return append(Pure(), Files(p)...) }

// Pure lists the functions that depend on their arguments alone.
func Pure() []Function {
	var all []Function
	all = append(all, texts()...)
	all = append(all, numbers()...)
	all = append(all, collections()...)
	return append(all, conversions()...)
}

func texts() []Function {
	return []Function{
		{"chomp", "the text without line breaks at its end", stdlib.ChompFunc},
		{"format", "text from a pattern with verbs such as %s, %d and %05.2f", stdlib.FormatFunc},
		{"formatlist", "format for every element of lists", stdlib.FormatListFunc},
		{"indent", "the text with spaces before every line but the first", stdlib.IndentFunc},
		{"join", "the elements of a list as one text, with a separator", stdlib.JoinFunc},
		{"lower", "the text in lower case", stdlib.LowerFunc},
		{"regex", "the first match of a regular expression, with its groups", stdlib.RegexFunc},
		{"regexall", "all matches of a regular expression", stdlib.RegexAllFunc},
		{"regexreplace", "the text with every match of a regular expression replaced", stdlib.RegexReplaceFunc},
		{"replace", "the text with every occurrence of another replaced", stdlib.ReplaceFunc},
		{"split", "the parts of a text between separators", stdlib.SplitFunc},
		{"strlen", "the number of characters of a text", stdlib.StrlenFunc},
		{"strrev", "the text backwards", stdlib.ReverseFunc},
		{"substr", "part of a text, by offset and length", stdlib.SubstrFunc},
		{"title", "the text with every word's first letter in upper case", stdlib.TitleFunc},
		{"trim", "the text without the given characters at both ends", stdlib.TrimFunc},
		{"trimprefix", "the text without a given beginning", stdlib.TrimPrefixFunc},
		{"trimspace", "the text without white space at both ends", stdlib.TrimSpaceFunc},
		{"trimsuffix", "the text without a given end", stdlib.TrimSuffixFunc},
		{"upper", "the text in upper case", stdlib.UpperFunc},
	}
}

func numbers() []Function {
	return []Function{
		{"abs", "the number without its sign", stdlib.AbsoluteFunc},
		{"ceil", "the next whole number above", stdlib.CeilFunc},
		{"floor", "the next whole number below", stdlib.FloorFunc},
		{"int", "the whole part of a number", stdlib.IntFunc},
		{"log", "the logarithm of a number to a base", stdlib.LogFunc},
		{"max", "the greatest of the numbers", stdlib.MaxFunc},
		{"min", "the least of the numbers", stdlib.MinFunc},
		{"parseint", "the number that a text stands for in a base", stdlib.ParseIntFunc},
		{"pow", "a number to the power of another", stdlib.PowFunc},
		{"range", "a list of numbers: up to a limit, from a start, by a step", stdlib.RangeFunc},
		{"signum", "-1, 0 or 1 by the sign of a number", stdlib.SignumFunc},
	}
}

func collections() []Function {
	return []Function{
		{"chunklist", "the list in lists of at most so many elements", stdlib.ChunklistFunc},
		{"coalesce", "the first argument that is not null", stdlib.CoalesceFunc},
		{"coalescelist", "the first list that is not empty", stdlib.CoalesceListFunc},
		{"compact", "the list of strings without empty ones", stdlib.CompactFunc},
		{"concat", "lists one after the other", stdlib.ConcatFunc},
		{"contains", "whether a list has an element", stdlib.ContainsFunc},
		{"distinct", "the list without repetitions", stdlib.DistinctFunc},
		{"element", "the element at an index, counted round and round", stdlib.ElementFunc},
		{"flatten", "lists in lists as one list", stdlib.FlattenFunc},
		{"hasindex", "whether a collection has an index or a key", stdlib.HasIndexFunc},
		{"index", "the element at an index or a key", stdlib.IndexFunc},
		{"keys", "the keys of a map, sorted", stdlib.KeysFunc},
		{"length", "the number of elements", stdlib.LengthFunc},
		{"lookup", "the value of a key in a map, or a default", stdlib.LookupFunc},
		{"merge", "maps over each other, the later one wins", stdlib.MergeFunc},
		{"reverse", "the list backwards", stdlib.ReverseListFunc},
		{"setintersection", "the elements that are in all sets", stdlib.SetIntersectionFunc},
		{"setproduct", "all combinations of elements, one of each set", stdlib.SetProductFunc},
		{"setsubtract", "the elements of a set that are not in another", stdlib.SetSubtractFunc},
		{"setunion", "the elements that are in any of the sets", stdlib.SetUnionFunc},
		{"slice", "part of a list, from an index to before another", stdlib.SliceFunc},
		{"sort", "the list of strings in order", stdlib.SortFunc},
		{"values", "the values of a map, in the order of its keys", stdlib.ValuesFunc},
		{"zipmap", "a map of a list of keys and a list of values", stdlib.ZipmapFunc},
	}
}

func conversions() []Function {
	return []Function{
		{"csvdecode", "the rows of a CSV text as objects", stdlib.CSVDecodeFunc},
		{"jsondecode", "the value that a JSON text stands for", stdlib.JSONDecodeFunc},
		{"jsonencode", "a value as JSON text", stdlib.JSONEncodeFunc},
		{"tobool", "the value as true or false", stdlib.MakeToFunc(cty.Bool)},
		{"tolist", "the value as a list", stdlib.MakeToFunc(cty.List(cty.DynamicPseudoType))},
		{"tomap", "the value as a map", stdlib.MakeToFunc(cty.Map(cty.DynamicPseudoType))},
		{"tonumber", "the value as a number", stdlib.MakeToFunc(cty.Number)},
		{"toset", "the value as a set", stdlib.MakeToFunc(cty.Set(cty.DynamicPseudoType))},
		{"tostring", "the value as text", stdlib.MakeToFunc(cty.String)},
	}
}
