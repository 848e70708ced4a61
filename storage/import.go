package storage

// An export made into a room's file again. It is built beside the room's place, like a
// restore, and nobody sees it before it is whole.

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/denrooms/den/storage/sqlite"
)

// maxStatement is the longest line or statement of an import, in bytes. A value of the
// largest size that a room takes has twice as many digits.
const maxStatement = 256 << 20

// PrepareImport makes a replacement for the room of o from an export of either format.
// SQL may come from elsewhere too, the sqlite3 shell's .dump for instance, but it cannot
// name tables _den_…, and no ATTACH, PRAGMA or transaction of it is obeyed.
//
// Nothing is visible before Install. Errors: ErrFormat; ErrConstraint where a foreign key
// leads nowhere, or a row breaks another rule; ErrForbidden; ErrTooLarge, ErrFull, ErrIO.
func PrepareImport(o Options, from io.Reader) (*Replacement, error) {
	r, err := newReplacement(o)
	if err != nil {
		return nil, err
	}
	if err := r.build(bufio.NewReaderSize(from, 64<<10)); err != nil {
		r.Discard()
		return nil, fmt.Errorf("import: %w", diagnose(r.o.Path, err))
	}
	return r, nil
}

// build makes the file.
func (r *Replacement) build(from *bufio.Reader) error {
	if err := makeFile(r.o.FS, r.temp); err != nil {
		return err
	}
	epoch, err := randomEpoch(r.o.Random)
	if err != nil {
		return err
	}
	if err := fillNew(r.temp, r.o, epoch); err != nil {
		return err
	}
	d, err := openBeside(r.o.FS, r.temp)
	if err != nil {
		return err
	}
	im := &importer{d: d, from: from}
	return errors.Join(im.run(r.o), d.Close())
}

// fillNew writes a new room's content, which has Den's own tables, into a file that is there. SQLite is to use no WAL for it.
func fillNew(path string, o Options, epoch string) error {
	t, err := plainTemplate(o)
	if err != nil {
		return err
	}
	content, err := t.fill(o, epoch)
	if err != nil {
		return err
	}
	f, err := o.FS.Open(path, os.O_RDWR)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(content, 0)
	if err == nil {
		err = setJournalMode(f, rollbackMode)
	}
	return errors.Join(err, f.Close())
}

// An importer fills one file. All of it is one transaction, without a journal: pages go
// to the file when the cache is full.
type importer struct {
	d    *DB
	from *bufio.Reader
	rows int64

	// Of Lines: the names of the tables' rowids, and the statement that inserts the rows
	// that come now.

	rowids  map[string]string
	insert  *statement
	table   string
	columns []string
}

func (im *importer) run(o Options) error {
	d := im.d
	for _, s := range []struct {
		option sqlite.Config
		on     int32
	}{{sqlite.ConfigDQSDDL, 0}, {sqlite.ConfigDQSDML, 0}} {
		if err := d.c.SetConfig(s.option, s.on); err != nil {
			return failed(err)
		}
	}
	d.c.SetLimit(sqlite.LimitAttached, 0)
	d.c.SetLimit(sqlite.LimitLength, int32(min(o.MaxValueBytes, 1<<30)))
	if err := d.install(); err != nil {
		return err
	}
	if _, err := d.exec(own, fmt.Sprintf("PRAGMA max_page_count = %d; BEGIN", o.MaxBytes/pageSize), nil); err != nil {
		return err
	}
	format, err := im.detect()
	if err == nil && format == Lines {
		err = im.readLines()
	} else if err == nil {
		err = im.readSQL()
	}
	im.done()
	if err == nil {
		err = im.check()
	}
	if err != nil {
		return err
	}
	_, err = d.exec(own, "COMMIT", nil)
	return err
}

// detect looks which format it is: lines begin with a brace, and no statement does.
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

// check looks at the whole: the rows came while foreign keys were not watched.
func (im *importer) check() error {
	problem := ""
	err := im.d.each("SELECT coalesce(\"table\", ''), coalesce(\"parent\", '') FROM pragma_foreign_key_check LIMIT 1", func(r *Rows) {
		problem = fmt.Sprintf("a row of %s leads to none of %s", r.Bytes(0), r.Bytes(1))
	})
	if err != nil {
		return err
	}
	if problem != "" {
		return fmt.Errorf("%w: %s", ErrConstraint, problem)
	}
	err = im.d.check("PRAGMA quick_check(1)")
	if errors.Is(err, ErrCorrupt) { // a CHECK or a NOT NULL
		err = fmt.Errorf("%w: %w", ErrConstraint, err)
	}
	return err
}

// exec runs one statement of the import with a handler's rights.
func (im *importer) exec(sql string) error {
	s, rest, err := im.d.prepareOne(handler, sql, 0)
	if err != nil || s == nil {
		return err
	}
	if !sqlite.Blank(rest) {
		s.Release()
		return fmt.Errorf("%w: several statements where one is wanted", ErrFormat)
	}
	_, err = im.d.run(s, nil)
	return err
}

// put inserts a row. The statement is kept as long as the rows are alike.
func (im *importer) put(table string, columns []string, values []any) error {
	if im.insert == nil || im.table != table || !slices.Equal(im.columns, columns) {
		im.done()
		names := make([]string, len(columns))
		for i, c := range columns {
			names[i] = quote(c)
		}
		s, _, err := im.d.prepareOne(handler, fmt.Sprintf("INSERT INTO %s (%s) VALUES (?%s)",
			quote(table), strings.Join(names, ", "), strings.Repeat(", ?", len(columns)-1)), 0)
		if err != nil {
			return err
		}
		s.Keep()
		im.insert, im.table, im.columns = s, table, slices.Clone(columns)
	}
	im.insert.Use()
	_, err := im.d.run(im.insert, values)
	im.rows++
	return err
}

// done ends the kept statement.
func (im *importer) done() {
	if im.insert != nil {
		im.insert.Finalize()
		im.insert = nil
	}
}

// carry makes the tables of Den's own that came along.
func (im *importer) carry(tables []internalTable) error {
	for _, t := range tables {
		if !carried(t.Name) {
			return fmt.Errorf("%w: the table %q is not to be imported", ErrFormat, t.Name)
		}
		if err := im.carryOne(t); err != nil {
			return err
		}
	}
	return nil
}

func (im *importer) carryOne(t internalTable) error {
	s, rest, err := im.d.prepareOne(peer, t.SQL, 0)
	if err != nil {
		return err
	}
	none := s == nil
	if !none && !sqlite.Blank(rest) {
		s.Release()
		none = true
	}
	if none {
		return fmt.Errorf("%w: the table %s has a definition that is none", ErrFormat, t.Name)
	}
	if _, err := im.d.run(s, nil); err != nil {
		return err
	}
	for _, row := range t.Rows {
		names := make([]string, len(row.columns))
		for i, c := range row.columns {
			names[i] = quote(c)
		}
		if len(names) == 0 {
			continue
		}
		_, err := im.d.exec(peer, fmt.Sprintf("INSERT INTO %s (%s) VALUES (?%s)",
			quote(t.Name), strings.Join(names, ", "), strings.Repeat(", ?", len(names)-1)), row.values)
		if err != nil {
			return err
		}
	}
	return nil
}
