package changes

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/denrooms/den/storage/sqlite"
)

// A Table is a tracked table: one that was declared once. Its changes are recorded before it is declared again, so that what a
// migration does to it then reaches the clients that were away.
type Table struct {
	definition

	id      int64
	name    string
	root    int64 // the root page, which changes if the table is dropped and made again; 0: not known yet
	queries [queries]string

	declared bool    // by this Recorder
	floor    Seq     // what changed up to here is forgotten
	stale    bool    // its definition was unfit, and its changes were not recorded: the next declaration starts its log again
	rebased  bool    // redefined by the action in work: all of its rows count as changed
	highest  highest // of the stamps that clients may have seen
}

// A definition is what a table's columns and keys are.
type definition struct {
	columns  []string
	virtual  []bool // the virtual generated columns; nil if there are none
	sql      string // CREATE TABLE, as sqlite_schema has it
	nullable bool   // SQLite lets NULL into the first column
	rowid    string // a name of the rowid that no column has; "": it has none that can be named
}

// Definitions are those of all tracked tables of a database, by the tables' names. They do not change.
type Definitions map[string]*definition

// Columns returns the names of the columns, which must not be changed.
func (t *Table) Columns() []string { return t.columns }

// HasRowid reports whether the queries FirstScan and NextScan read the table in the order of its rowids.
func (t *Table) HasRowid() bool { return t.rowid != "" }

func (t *Table) createdAt() int { return len(t.columns) - 3 }
func (t *Table) updatedAt() int { return len(t.columns) - 2 }
func (t *Table) deletedAt() int { return len(t.columns) - 1 }

// A Query is one of the ways in which a table is read.
type Query int

// The queries. All but Live read tombstones too. A scan has one value more in a row than the table has columns, which is
// the row's place: the rowid, or the first column in a table that has none.
const (
	Live      Query = iota // the rows that are not deleted, by their ids
	FirstPage              // the first ?1 rows by their ids
	NextPage               // the first ?1 rows whose ids are above ?2, by their ids
	FirstScan              // the first ?1 rows in the order in which the table keeps them
	NextScan               // the first ?1 rows after the place ?2
	current                // the row whose id is ?1
	queries
)

// SQL returns the text of a query.
func (t *Table) SQL(q Query) string {
	if t.queries[q] == "" {
		t.queries[q] = t.query(q)
	}
	return t.queries[q]
}

func (t *Table) query(q Query) string {
	id, place := sqlite.Quote(t.columns[0]), t.rowid
	if place == "" {
		place = id
	}
	columns := make([]string, len(t.columns))
	for i, c := range t.columns {
		columns[i] = sqlite.Quote(c)
	}
	list, from := strings.Join(columns, ", "), sqlite.Quote(t.name)
	switch q {
	case Live:
		return fmt.Sprintf("SELECT %s FROM %s WHERE %s IS NULL ORDER BY %s", list, from, columns[t.deletedAt()], id)
	case FirstPage:
		return fmt.Sprintf("SELECT %s FROM %s ORDER BY %s LIMIT ?1", list, from, id)
	case NextPage:
		return fmt.Sprintf("SELECT %s FROM %s WHERE %s > ?2 ORDER BY %[3]s LIMIT ?1", list, from, id)
	case FirstScan:
		return fmt.Sprintf("SELECT %s, %s FROM %s ORDER BY %[2]s LIMIT ?1", list, place, from)
	case NextScan:
		return fmt.Sprintf("SELECT %s, %s FROM %s WHERE %[2]s > ?2 ORDER BY %[2]s LIMIT ?1", list, place, from)
	}
	return fmt.Sprintf("SELECT %s FROM %s WHERE %s = ?1", list, from, id)
}

// Reserved is what the names of Den's own tables begin with.
const Reserved = "_den_"

// internal reports whether a table is Den's own or SQLite's.
func internal(name string) bool {
	return strings.HasPrefix(name, "sqlite_") || strings.HasPrefix(name, Reserved)
}

// rowidName returns a name of the table's rowid that none of its columns has.
func (d *definition) rowidName() string {
	for _, name := range []string{"rowid", "_rowid_", "oid"} {
		if !slices.ContainsFunc(d.columns, func(c string) bool { return strings.EqualFold(c, name) }) {
			return name
		}
	}
	return ""
}

// Tombstones tell clients of deletions. They go to everybody who may have the row, and to many who never had it. So a
// tombstone has the row's id, its stamps, and as many columns as the table, because clients read deleted_at from the last
// one; and nothing of what the row said.
//
// A row that was removed by DELETE is not in the table any more; its tombstone is made from the change log. A row whose
// deleted_at an SQL statement has set stays in the table as it is, and only what clients get is masked.

// tombstone returns the tombstone of a row.
func (t *Table) tombstone(key, stamp []byte) []byte {
	image := make([]byte, 0, len(key)+2*len(stamp)+len(t.columns))
	image = append(image, key...)
	for i := 1; i < len(t.columns); i++ {
		if i == t.updatedAt() || i == t.deletedAt() {
			image = append(image, stamp...)
		} else {
			image = append(image, byte(sqlite.Null))
		}
	}
	return image
}

func (t *Table) deleted(row []byte) bool { return !isNull(sqlite.Column(row, t.deletedAt())) }

// public returns a copy of a row for clients: without its content if its deleted_at is set.
func (t *Table) public(row []byte) []byte {
	if !t.deleted(row) {
		return bytes.Clone(row)
	}
	masked := make([]byte, 0, len(t.columns)+len(row)/2)
	for i := range t.columns {
		n := sqlite.Size(row)
		if i == 0 || i >= t.createdAt() {
			masked = append(masked, row[:n]...)
		} else {
			masked = append(masked, byte(sqlite.Null))
		}
		row = row[n:]
	}
	return masked
}

func isNull(value []byte) bool { return sqlite.Type(value[0]) == sqlite.Null }
