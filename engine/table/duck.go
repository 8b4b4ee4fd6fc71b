package table

// #cgo LDFLAGS: -Wl,--wrap=dlopen
import "C" // for dl.c

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"unsafe"

	duckdb "github.com/duckdb/duckdb-go-bindings"
)

// duck is one DuckDB in memory, with one thread and one connection, that can read one
// file and nothing else: no network, no extension, no other path but its own
// directory for what does not fit into memory.
type duck struct {
	db   duckdb.Database
	conn duckdb.Connection
	temp string
}

func openDuck(path string, o Options) (*duck, error) {
	// DuckDB may read what lies in its temporary directory, so that is a new one.
	temp, err := os.MkdirTemp(o.Temp, "duckdb-*")
	if err != nil {
		return nil, fmt.Errorf("open DuckDB: %w", err)
	}
	d := &duck{temp: temp}
	if err := d.open(path, o); err != nil {
		d.close()
		return nil, fmt.Errorf("open DuckDB: %w", err)
	}
	return d, nil
}

func (d *duck) open(path string, o Options) error {
	var config duckdb.Config
	if duckdb.CreateConfig(&config) == duckdb.StateError {
		return errors.New("no configuration")
	}
	defer duckdb.DestroyConfig(&config)
	for _, set := range [][2]string{
		{"threads", "1"}, // rows come in order, and each file has a thread anyway
		{"memory_limit", fmt.Sprintf("%dB", o.Memory/2)},
		{"temp_directory", d.temp},
		{"autoinstall_known_extensions", "false"},
		{"autoload_known_extensions", "false"},
		{"allow_community_extensions", "false"},
	} {
		if duckdb.SetConfig(config, set[0], set[1]) == duckdb.StateError {
			return fmt.Errorf("setting %q is refused", set[0])
		}
	}
	var message string
	if duckdb.OpenExt(":memory:", &d.db, config, &message) == duckdb.StateError {
		return errors.New(firstLine(message))
	}
	if duckdb.Connect(d.db, &d.conn) == duckdb.StateError {
		return errors.New("no connection")
	}
	// These can be set only now. The order matters: each closes a door behind it.
	for _, set := range []string{
		"SET TimeZone = 'UTC'",
		"SET allowed_paths = [" + quoted(path) + "]",
		"SET enable_external_access = false",
		"SET lock_configuration = true",
	} {
		if err := d.exec(set); err != nil {
			return err
		}
	}
	return nil
}

// close leaves nothing behind but a temporary directory that cannot be removed, which
// its owner will find.
func (d *duck) close() {
	duckdb.Disconnect(&d.conn)
	duckdb.Close(&d.db)
	os.RemoveAll(d.temp)
}

func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}

// duckError is what DuckDB says about a query.
type duckError struct {
	kind    duckdb.ErrorType
	message string
}

func (e *duckError) Error() string { return firstLine(e.message) }

func (d *duck) exec(sql string) error {
	var result duckdb.Result
	defer duckdb.DestroyResult(&result)
	if duckdb.Query(d.conn, sql, &result) == duckdb.StateError {
		return &duckError{duckdb.ResultErrorType(&result), duckdb.ResultError(&result)}
	}
	return nil
}

// query is a running SELECT of texts, whose result is never whole in memory.
type query struct {
	statement duckdb.PreparedStatement
	result    duckdb.Result
	chunk     duckdb.DataChunk
	size, row int
	columns   []textColumn
	release   func() bool
}

type textColumn struct {
	data  unsafe.Pointer // of duckdb_string_t
	valid unsafe.Pointer // a bitmap, nil when all are
}

// start begins a query; it ends early when ctx does.
func (d *duck) start(ctx context.Context, sql string) (*query, error) {
	q := &query{release: func() bool { return true }}
	if duckdb.Prepare(d.conn, sql, &q.statement) == duckdb.StateError {
		err := &duckError{duckdb.ErrorTypeInvalid, duckdb.PrepareError(q.statement)}
		q.close()
		return nil, err
	}
	q.release = context.AfterFunc(ctx, func() { duckdb.Interrupt(d.conn) })
	// Deprecated since no successor was ever named: what is not deprecated takes the whole result first.
	if duckdb.ExecutePreparedStreaming(q.statement, &q.result) == duckdb.StateError { //lint:ignore SA1019 see above
		err := &duckError{duckdb.ResultErrorType(&q.result), duckdb.ResultError(&q.result)}
		q.close()
		return nil, err
	}
	q.columns = make([]textColumn, int(duckdb.ColumnCount(&q.result)))
	return q, nil
}

func (q *query) close() {
	q.release()
	duckdb.DestroyDataChunk(&q.chunk)
	duckdb.DestroyResult(&q.result)
	duckdb.DestroyPrepare(&q.statement)
}

// next goes to the next row and says whether there is one.
func (q *query) next() (bool, error) {
	if q.row++; q.row < q.size {
		return true, nil
	}
	duckdb.DestroyDataChunk(&q.chunk)
	if duckdb.StreamFetchChunk(q.result, &q.chunk) == duckdb.StateError {
		q.size = 0
		if message := duckdb.ResultError(&q.result); message != "" {
			return false, &duckError{duckdb.ResultErrorType(&q.result), message}
		}
		return false, nil // some kinds of result end so
	}
	q.row, q.size = 0, int(duckdb.DataChunkGetSize(q.chunk))
	for i := range q.columns {
		v := duckdb.DataChunkGetVector(q.chunk, duckdb.IdxT(i))
		q.columns[i] = textColumn{duckdb.VectorGetData(v), duckdb.VectorGetValidity(v)}
	}
	return q.size > 0, nil
}

// text is a cell of the row, nil for a null; it lasts until the next call of next.
// The layout is that of duckdb_string_t in DuckDB's C interface: a length of 4 bytes,
// then up to 12 bytes of text, or 4 of prefix and a pointer. Asking by its functions
// would cost two calls into C for each cell.
func (q *query) text(column int) []byte {
	c := q.columns[column]
	if c.valid != nil && *(*uint64)(unsafe.Add(c.valid, q.row/64*8))&(1<<(q.row%64)) == 0 {
		return nil
	}
	at := unsafe.Add(c.data, q.row*16)
	n := *(*uint32)(at)
	if n <= 12 {
		return unsafe.Slice((*byte)(unsafe.Add(at, 4)), n)
	}
	return unsafe.Slice(*(**byte)(unsafe.Add(at, 8)), n)
}
