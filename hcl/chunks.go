package hcl

import (
	"bytes"
	"runtime"

	hashi "github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"golang.org/x/sync/errgroup"
)

// The parser turns a whole file into tokens first, a hundred bytes each, and uses
// one core. A large file is therefore parsed in pieces, cut behind lines that are a
// closing brace in the first column: where top-level blocks end in a file that is
// formatted as usual. A cut at another place, in a heredoc or a comment, leaves a
// piece that does not parse by itself; then the file is parsed as one, which also
// gives the diagnostics. Measured with ten thousand stages on two cores: see
// BenchmarkEvaluate10k.
const (
	chunkFrom = 256 << 10 // files below are parsed as one
	chunkSize = 64 << 10
)

// parseFile parses a file, a large one in pieces.
func parseFile(f File) ([]*hclsyntax.Body, hashi.Diagnostics) {
	if len(f.Data) >= chunkFrom {
		if bodies := parseChunks(f, cut(f.Data)); bodies != nil {
			return bodies, nil
		}
	}
	body, diags := parseBody(f)
	if body == nil {
		return nil, diags
	}
	return []*hclsyntax.Body{body}, diags
}

// parseChunks gives the bodies of a file's pieces in order, nil when the pieces do
// not parse without a word.
func parseChunks(f File, chunks []chunk) []*hclsyntax.Body {
	bodies := make([]*hclsyntax.Body, len(chunks))
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, c := range chunks {
		g.Go(func() error {
			file, diags := hclsyntax.ParseConfig(f.Data[c.start.Byte:c.end], f.Name, c.start)
			if len(diags) > 0 {
				return diags
			}
			bodies[i], _ = file.Body.(*hclsyntax.Body)
			return nil
		})
	}
	if g.Wait() != nil {
		return nil
	}
	return bodies
}

type chunk struct {
	start hashi.Pos
	end   int
}

// cut divides text into pieces of about chunkSize that end behind a line which is
// a closing brace.
func cut(data []byte) []chunk {
	var out []chunk
	at := startPos
	for at.Byte < len(data) {
		end := len(data)
		if rest := at.Byte + chunkSize; rest < len(data) {
			if n := bytes.Index(data[rest:], []byte("\n}\n")); n >= 0 {
				end = rest + n + len("\n}\n")
			}
		}
		out = append(out, chunk{at, end})
		at = hashi.Pos{Line: at.Line + bytes.Count(data[at.Byte:end], []byte{'\n'}), Column: 1, Byte: end}
	}
	return out
}
