package changes

// How the columns "entries" and "highs" of a row of _den_changes are written and read.
//
//	entries: for each changed row: uvarint id of the table, uvarint seq - first, key, stamp of its deletion or NULL
//	highs:   for each table that has one: uvarint id of the table, its highest stamp
//
// Keys and stamps are values in the form of package sqlite.

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/denrooms/den/storage/sqlite"
)

// ErrCorrupt: one of the tables _den_tables and _den_changes holds what this package does not write.
var ErrCorrupt = errors.New("the change log is damaged")

// An entry is one changed row, in a row of the log.
type entry struct {
	table        int64  // the id in _den_tables
	offset       uint64 // the action's seq, counted from the first one of the log's row
	key, deleted []byte // deleted is NULL if the row is there
}

func appendEntry(dst []byte, e entry) []byte {
	dst = binary.AppendUvarint(dst, uint64(e.table))
	dst = binary.AppendUvarint(dst, e.offset)
	return append(append(dst, e.key...), e.deleted...)
}

// cutEntry returns the entry that b starts with, which is valid as long as b, and what follows it.
func cutEntry(b []byte) (e entry, rest []byte, ok bool) {
	id, n := binary.Uvarint(b)
	if n <= 0 {
		return e, nil, false
	}
	offset, m := binary.Uvarint(b[n:])
	if m <= 0 {
		return e, nil, false
	}
	e.table, e.offset = int64(id), offset
	if e.key, rest, ok = sqlite.Cut(b[n+m:]); ok {
		e.deleted, rest, ok = sqlite.Cut(rest)
	}
	return e, rest, ok
}

func eachEntry(entries []byte, table int64, do func(entry)) error {
	for len(entries) > 0 {
		e, rest, ok := cutEntry(entries)
		if !ok {
			return fmt.Errorf("%w: the entries of a row of _den_changes", ErrCorrupt)
		}
		entries = rest
		if e.table == table {
			do(e)
		}
	}
	return nil
}

func appendHighest(dst []byte, table int64, stamp []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(table)), stamp...)
}

// cutHighest returns the highest stamp that b starts with, its table, and what follows it.
func cutHighest(b []byte) (table int64, stamp, rest []byte, ok bool) {
	id, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil, nil, false
	}
	stamp, rest, ok = sqlite.Cut(b[n:])
	return int64(id), stamp, rest, ok
}

// highestIn returns a table's highest stamp among those of a row of the log, nil if there is none.
func highestIn(highs []byte, table int64) ([]byte, error) {
	for len(highs) > 0 {
		id, stamp, rest, ok := cutHighest(highs)
		if !ok {
			return nil, fmt.Errorf("%w: the stamps of a row of _den_changes", ErrCorrupt)
		}
		if id == table {
			return stamp, nil
		}
		highs = rest
	}
	return nil, nil
}
