package report

import (
	"io"

	"github.com/parquet-go/parquet-go"

	"plumb/engine"
)

// Parquet writes runs as a Parquet file: params that are integers in all runs have 64 bits,
// other numbers are doubles, times are microseconds of UTC, and what a run lacks is null.
func Parquet(w io.Writer, runs Runs) (int, error) {
	t, _, err := tableOf(runs)
	if err != nil {
		return 0, err
	}
	group := parquet.Group{}
	for _, c := range t.columns {
		group[c.name] = parquet.Optional(c.node())
	}
	schema := parquet.NewSchema("runs", group)
	at := make([]int, len(t.columns)) // a group's columns stand by their names
	for i, c := range t.columns {
		leaf, _ := schema.Lookup(c.name) // it was put in above
		at[i] = leaf.ColumnIndex
	}
	out := parquet.NewGenericWriter[any](w, schema, parquet.Compression(&parquet.Zstd))
	n := 0
	row := make(parquet.Row, len(t.columns))
	if err := runs(func(r *engine.RunRow) error {
		n++
		for i := range t.columns {
			row[at[i]] = t.columns[i].cell(r, at[i])
		}
		_, err := out.WriteRows([]parquet.Row{row})
		return err
	}); err != nil {
		return n, err
	}
	return n, out.Close()
}

func (c *column) node() parquet.Node {
	switch c.kind {
	case kindNumber:
		return parquet.Leaf(parquet.DoubleType)
	case kindInteger:
		return parquet.Int(64)
	case kindTime:
		return parquet.Timestamp(parquet.Microsecond)
	}
	return parquet.String()
}

func (c *column) cell(r *engine.RunRow, at int) parquet.Value {
	switch c.kind {
	case kindNumber:
		if v, ok := c.num(r); ok {
			return parquet.DoubleValue(v).Level(0, 1, at)
		}
	case kindInteger:
		if v, ok := c.int(r); ok {
			return parquet.Int64Value(v).Level(0, 1, at)
		}
	case kindTime:
		if t, ok := c.when(r); ok {
			return parquet.Int64Value(t.UnixMicro()).Level(0, 1, at)
		}
	default:
		if s, ok := c.text(r); ok {
			return parquet.ByteArrayValue([]byte(s)).Level(0, 1, at)
		}
	}
	return parquet.NullValue().Level(0, 0, at)
}
