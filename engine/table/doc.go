// Package table tells what differs between two tables: files of CSV, JSON Lines or
// Parquet. It has one function, Compare.
//
// # How
//
// Rows are compared as the files have them first, side by side and by fingerprints of
// 128 bits. Where the files part, the reader looks a little ahead for where they meet
// again (align.go); rows between go through a pool that finds equal ones anywhere
// (pool.go). What is left is compared once more by the cells of the columns that both
// have, so that quotes, the order of columns or one column more make no row differ.
// The rows left then are paired by a key or by their place (key.go, place.go): they are
// what was added, removed and changed, and nothing is guessed about other rows.
//
// All that follows is a matter of those few rows. A column's values differ if they
// differ among them; its distribution is read for such columns only, and rows that both
// tables have are read in one and count for both.
//
// # Shift
//
// For numbers and times the measure is the Kolmogorov–Smirnov statistic ("ks"): how far
// apart the shares of values below some value are, 0 to 1. Under 0.05 it is called
// none, under 0.2 small, else large. For texts and all else it is the population
// stability index ("psi") over the 20 most frequent values and the others: under 0.1
// none, under 0.25 small, else large. Nulls are no part of either.
//
// Quantiles and shift are exact up to about 65,000 rows that both tables have and as
// many that one has (fewer of more than 32 columns); beyond that they are of a sample,
// and it is said. The common rows' sample is one for both tables: between tables
// of equally many rows it cancels, and the shift is as exact as the rows that differ.
// Nulls, least, greatest and mean are always exact. Distinct values are counted exactly
// up to half the sample's size, and estimated beyond.
//
// # Limits
//
// Memory and time are bounded whatever the tables hold. More than maxColumns columns are
// not compared, and a comparison that takes longer than Options.Time ends: Diff.Note says
// so, and the sizes are told; so does it where DuckDB would need more memory than it may
// take. A row of a text file has up to 16 MiB.
//
// # Forms
//
// A name's extension tells the form, and the content has to agree: FormError says where
// it does not. CSV is as in RFC 4180, with a comma, tab, semicolon or bar between
// fields, a newline with or without carriage return, and a byte order mark or none. An
// empty field is a null, a quoted empty one an empty text, an empty line no row (unless
// there is but one column). The first row names the columns if it looks like it: see
// looksLikeHeader.
//
// # DuckDB
//
// DuckDB reads Parquet, and is opened for that only; importing the package starts
// nothing. It is used by its C interface (duckdb-go-bindings) and not as a database/sql
// driver: that would bring Arrow and more, and make a Go value of every cell.
//
// It reads text forms as well, and was measured first. Of two CSV files of 100 MB with
// ten columns that differ in a few hundred rows, EXCEPT ALL in one direction takes it
// 3.6 s of processor time and SUMMARIZE 2 s for each; Compare takes 0.9 s in all. The
// promise is three times counting lines and hashing, which leaves 5 ns a byte on two
// cores. Besides, it recovers from damage in ways of its own, where a ragged row has to
// be an error that names its line.
//
// DuckDB may read the file it was given and nothing else: external access is off, the
// configuration is locked, and in this program there is no dlopen by which it could
// load an extension (dl.c).
package table
