package table

// Diff is what differs from table a to table b. Lists are never nil, and their order
// depends on the tables alone.
type Diff struct {
	Same bool   `json:"same"` // as tables; Bytes may differ all the same, in quoting for example
	Form string `json:"form"` // "csv", "jsonl" or "parquet": a's
	A    Size   `json:"a"`
	B    Size   `json:"b"`

	Columns Columns       `json:"columns"`
	Rows    Rows          `json:"rows"`
	Shifts  []ColumnShift `json:"shifts"` // of columns whose values differ, in a's order

	// Note says why rows were not compared, "" when they were. Rows and Shifts hold nothing
	// then, nor does Columns when there are too many.
	Note string `json:"note,omitempty"`
}

// Size is one of the tables.
type Size struct {
	Name      string `json:"name"`
	Form      string `json:"form"`
	Rows      int64  `json:"rows"` // without the header, but of too many columns with it
	Bytes     int64  `json:"bytes"`
	Delimiter string `json:"delimiter,omitempty"` // CSV only
	Header    bool   `json:"header,omitempty"`    // CSV only
}

// Columns is what differs between the columns themselves.
type Columns struct {
	Added   []Column `json:"added"`
	Removed []Column `json:"removed"`
	Renamed []Rename `json:"renamed"`
	Retyped []Retype `json:"retyped"`
	Moved   []Move   `json:"moved"`
	Common  int      `json:"common"` // how many both have, renamed ones among them
}

// Column is a column that one table has. Columns without a name are called column1
// and so on; of several with one name the later ones are called name#2 and so on.
type Column struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// Rename is a column whose content came back under another name: the same value in
// each row, more than one value, and no other column that has it too.
type Rename struct {
	Old string `json:"old"`
	New string `json:"new"`
}

// Retype is a column whose type changed. A CSV or JSON Lines file declares no types:
// there it is the narrowest that all values have.
type Retype struct {
	Name string `json:"name"`
	Old  string `json:"old"`
	New  string `json:"new"`
}

// Move is a column that both tables have and that stands elsewhere among the others.
// Places are those in each file, counted from 1.
type Move struct {
	Name string `json:"name"`
	Old  int    `json:"old"`
	New  int    `json:"new"`
}

// Rows is what differs between the rows, which are compared by the columns that both
// tables have.
type Rows struct {
	Added   int64 `json:"added"`
	Removed int64 `json:"removed"`
	Changed int64 `json:"changed"`
	Moved   int64 `json:"moved"` // equal rows in another order

	Key          string      `json:"key,omitempty"` // changed rows have the same value of this column; else the same position
	FirstAdded   []Row       `json:"first_added"`
	FirstRemoved []Row       `json:"first_removed"`
	FirstChanged []RowChange `json:"first_changed"`
}

// Row is a row that one table has. Its number counts from 1, without the header.
type Row struct {
	Number int64   `json:"number"`
	Cells  []Value `json:"cells"` // in the order of the table's columns
}

// Value is a cell's text, nil for a null. Bytes that are not UTF-8 are written \xff,
// a text of more than a kibibyte is cut and says so.
type Value struct {
	Column string  `json:"column"`
	Text   *string `json:"text"`
}

// RowChange is a row that both tables have with other values.
type RowChange struct {
	NumberA int64        `json:"number_a"`
	NumberB int64        `json:"number_b"`
	Key     string       `json:"key,omitempty"` // the value of Rows.Key
	Cells   []CellChange `json:"cells"`
}

// CellChange is one value that changed.
type CellChange struct {
	Column string  `json:"column"` // a's name
	Old    *string `json:"old"`
	New    *string `json:"new"`
}

// ColumnShift is how the values of a column are distributed in both tables.
type ColumnShift struct {
	Name    string       `json:"name"`
	A       Distribution `json:"a"`
	B       Distribution `json:"b"`
	Measure string       `json:"measure"` // "ks" or "psi", "" when a side has no value
	Shift   float64      `json:"shift"`
	Size    string       `json:"size"`    // "none", "small" or "large"
	Sampled bool         `json:"sampled"` // quantiles and shift are of a sample
}

// Distribution is that of one column of one table. Min and Max are as the file has
// them: by number or time if the type is one, else by bytes.
type Distribution struct {
	Type          string    `json:"type"`
	Nulls         int64     `json:"nulls"`
	Distinct      int64     `json:"distinct"`       // without null
	DistinctExact bool      `json:"distinct_exact"` // else within two percent, mostly
	Min           *string   `json:"min"`
	Max           *string   `json:"max"`
	Mean          *float64  `json:"mean"`       // of finite numbers
	NotFinite     int64     `json:"not_finite"` // NaN and infinities
	Quantiles     []float64 `json:"quantiles"`  // at Quantiles, of finite numbers; times in seconds since 1970
}

// Quantiles are where distributions are looked at.
var Quantiles = [...]float64{0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99}
