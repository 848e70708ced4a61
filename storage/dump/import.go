package dump

// Importing an export into a new room's file.

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/storage/archive"
	"github.com/denrooms/den/storage/sqlite"
)

// maxStatement is the most bytes of a line or a statement of an import. The largest value of a room has twice as many digits
// as bytes.
const maxStatement = 256 << 20

// PrepareImport makes a replacement for the room of o from an export of either format. SQL may also come from elsewhere, such
// as the sqlite3 shell's .dump, but it cannot name tables _den_…, and its ATTACH, PRAGMA and transactions have no effect or are
// refused.
//
// Nothing is visible before Install. Errors: ErrFormat; storage.ErrConstraint if a foreign key has no parent row, or a row
// breaks another rule; ErrForbidden; ErrTooLarge, ErrFull, ErrIO.
func PrepareImport(o storage.Options, from io.Reader) (*archive.Replacement, error) {
	return archive.PrepareImport(o, func(to *storage.Loader) error {
		im := &importer{to: to, from: bufio.NewReaderSize(from, 64<<10)}
		return im.run()
	})
}

// An importer fills one file.
type importer struct {
	to   *storage.Loader
	from *bufio.Reader
	rows int64

	// Of Lines: the names of the tables' rowids, and the INSERT of the newest row with its table and columns.

	rowids  map[string]string
	insert  string
	table   string
	columns []string
}

func (im *importer) run() error {
	format, err := im.detect()
	if err != nil {
		return err
	}
	if format == Lines {
		return im.readLines()
	}
	return im.readSQL()
}

// detect returns the format: Lines begin with a brace, and no SQL statement does.
func (im *importer) detect() (Format, error) {
	for {
		c, err := im.from.ReadByte()
		switch {
		case errors.Is(err, io.EOF):
			return 0, fmt.Errorf("%w: it is empty", ErrFormat)
		case err != nil:
			return 0, err
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
			continue
		}
		if err := im.from.UnreadByte(); err != nil {
			return 0, err
		}
		if c == '{' {
			return Lines, nil
		}
		return SQL, nil
	}
}

// exec runs one statement of the import, with the rights of a room's own SQL.
func (im *importer) exec(sql string) error {
	rest, err := im.to.Exec(sql)
	if err == nil && rest != "" {
		err = fmt.Errorf("%w: several statements where one is wanted", ErrFormat)
	}
	return err
}

// put inserts a row. The statement is the same text as long as the rows have the same columns.
func (im *importer) put(table string, columns []string, values []any) error {
	if im.insert == "" || im.table != table || !slices.Equal(im.columns, columns) {
		im.insert, im.table, im.columns = insertInto(table, columns), table, slices.Clone(columns)
	}
	_, err := im.to.Exec(im.insert, values...)
	im.rows++
	return err
}

// insertInto returns an INSERT with a parameter for each column.
func insertInto(table string, columns []string) string {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = sqlite.Quote(c)
	}
	return fmt.Sprintf("INSERT INTO %s (%s) VALUES (?%s)",
		sqlite.Quote(table), strings.Join(names, ", "), strings.Repeat(", ?", len(columns)-1))
}

// internal creates and fills those of Den's own tables that the export has.
func (im *importer) internal(tables []internalTable) error {
	for _, t := range tables {
		if !exported(t.Name) {
			return fmt.Errorf("%w: the table %q is not to be imported", ErrFormat, t.Name)
		}
		if err := im.internalTable(t); err != nil {
			return err
		}
	}
	return nil
}

func (im *importer) internalTable(t internalTable) error {
	rest, err := im.to.ExecInternal(t.SQL)
	if err != nil {
		return err
	}
	if rest != "" || sqlite.Blank(t.SQL) {
		return fmt.Errorf("%w: the table %s has a definition that is none", ErrFormat, t.Name)
	}
	for _, row := range t.Rows {
		if len(row.columns) == 0 {
			continue
		}
		if _, err := im.to.ExecInternal(insertInto(t.Name, row.columns), row.values...); err != nil {
			return err
		}
	}
	return nil
}
