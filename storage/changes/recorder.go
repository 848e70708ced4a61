package changes

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/denrooms/den/storage/sqlite"
)

// A Recorder records the changes of a connection's database. Its methods return errors of package sqlite as they are. One
// goroutine uses a Recorder; only Seq may be called by others.
type Recorder struct {
	statements
	tables  tables
	capture capture
	log     log

	pending   Seq      // of the action that FinishAction has finished, until EndAction; 0: it changed nothing
	redefined []string // the tables that the action in work may have redefined
	schema    bool     // the action in work has changed the schema
}

// New makes a Recorder for a connection. It records nothing before Load, and until Limit an action may change any number of rows.
func New(c *sqlite.Conn) *Recorder {
	return newRecorder(statements{c, sqlite.NewCache[bool](maxStatements)})
}

// Renew makes a Recorder for the next database of the same connection, with the statements that are compiled. After that
// only Seq of r may be used.
func (r *Recorder) Renew() *Recorder {
	for s := range r.cache.All() {
		s.Info = false
	}
	return newRecorder(r.statements)
}

func newRecorder(s statements) *Recorder {
	r := &Recorder{statements: s}
	r.capture = capture{conn: s.conn, tables: &r.tables, maxRows: math.MaxInt, maxBytes: math.MaxInt}
	r.log.statements, r.log.tables, r.log.oldest = &r.statements, &r.tables, math.MaxInt64
	return r
}

// Limit sets how many rows of the tracked tables an action may change, and how many bytes they may have, old and new
// together. Another action is refused with ErrTooLarge.
func (r *Recorder) Limit(rows, bytes int) { r.capture.maxRows, r.capture.maxBytes = rows, bytes }

// Close drops the compiled statements, and what was recorded. It has to be called before the connection is closed.
func (r *Recorder) Close() {
	r.Pause()
	r.cache.Clear()
	r.capture.end()
}

// Used returns the statements that were used since New or Renew, for Prepare of another connection.
func (r *Recorder) Used() (texts []string) {
	for s := range r.cache.All() {
		if s.Info {
			texts = append(texts, s.SQL())
		}
	}
	return texts
}

// Prepare compiles statements before they are needed. One that cannot be compiled is left to who needs it.
func (r *Recorder) Prepare(texts []string) {
	for _, sql := range texts {
		if s, err := r.prepare(sql); err == nil {
			s.Release()
		}
	}
}

// Seq returns the number of the newest action that changed something, the open transaction's too. Any goroutine may call it.
func (r *Recorder) Seq() Seq { return Seq(r.log.seq.Load()) }

// Floor returns the seq up to which the changes are forgotten.
func (r *Recorder) Floor() Seq { return r.log.floor }

// Load reads how far the log goes, and returns the number of its newest transaction. floor is what Floor returned when that
// transaction was committed, 0 in a new database.
func (r *Recorder) Load(floor Seq) (number uint64, err error) {
	l := &r.log
	l.extent, l.oldest = extent{floor: floor}, math.MaxInt64
	l.seq.Store(0)
	err = l.each("SELECT id, at FROM _den_changes ORDER BY id LIMIT 1", func(r *sqlite.Row) { l.first, l.oldest = r.Int(0), r.Int(1) })
	if err != nil {
		return 0, err
	}
	err = l.each("SELECT id, number, last FROM _den_changes ORDER BY id DESC LIMIT 1", func(r *sqlite.Row) {
		l.last, number, l.covered = r.Int(0), uint64(r.Int(1)), Seq(r.Int(2))
		l.seq.Store(uint64(l.covered))
	})
	if err == nil && (l.first < 0 || int64(number) < 0 || int64(l.covered) < 0) {
		err = fmt.Errorf("%w: a negative number in _den_changes", ErrCorrupt)
	}
	return number, err
}

// LoadTables reads the tracked tables, again or for the first time. Tables that were declared stay so. known are the
// definitions of the tables, if they are known; of the other tables they are read, and fresh reports whether there were such.
// unfit are the tables that cannot be declared any more; the caller has to call GiveUp for each, in a transaction.
func (r *Recorder) LoadTables(known Definitions) (unfit []*Table, fresh bool, err error) {
	old := r.tables.byName
	r.tables = tables{declared: r.tables.declared}
	if len(old) > 0 {
		r.cache.Clear() // they may be of another schema
	}
	var found []*Table
	err = r.each("SELECT id, name, stale, floor FROM _den_tables", func(row *sqlite.Row) {
		found = append(found, &Table{id: row.Int(0), name: string(row.Bytes(1)), stale: row.Int(2) != 0, floor: Seq(row.Int(3))})
	})
	if err != nil {
		return nil, false, err
	}
	for _, t := range found {
		if d := known[t.name]; d != nil && !t.stale {
			t.definition = *d
		} else {
			now, err := r.describe(t.name)
			switch {
			case err == nil:
				t.definition, t.root, fresh = now.definition, now.root, true
			case !errors.Is(err, ErrSchema):
				return nil, false, err
			case !t.stale:
				t.stale = true
				unfit = append(unfit, t)
			}
		}
		if was := old[t.name]; was != nil {
			t.declared = was.declared
			t.highest = was.highest
			t.highest.raised = false
		}
		r.tables.put(t)
	}
	return unfit, fresh, nil
}

// GiveUp stops recording a table's changes until it is declared again.
func (r *Recorder) GiveUp(t *Table) error {
	t.stale = true
	r.tables.last = nil
	return r.exec("UPDATE _den_tables SET stale = 1 WHERE id = ?1", t.id)
}

// Definitions returns those of the tables whose changes are recorded, and a digest of them.
func (r *Recorder) Definitions() (all Definitions, digest string) {
	sum := sha256.New()
	all = make(Definitions)
	for _, t := range r.tables.sorted {
		if !t.stale {
			fmt.Fprintf(sum, "%q %q %v %q %v\n", t.name, t.columns, t.virtual, t.sql, t.nullable)
			d := t.definition
			all[t.name] = &d
		}
	}
	return all, hex.EncodeToString(sum.Sum(nil)[:16])
}

// Check returns those of the tables that are not tracked. A table must have a first column that is alone the PRIMARY KEY, or
// UNIQUE and NOT NULL, sorted as BINARY; and the last three columns created_at, updated_at, deleted_at. Names are compared
// exactly. The error (ErrSchema) names the table and what is wrong.
func (r *Recorder) Check(names ...string) (fresh []*Table, err error) {
	for _, name := range names {
		t := r.tables.byName[name]
		if t == nil || t.stale {
			if t, err = r.describe(name); err != nil {
				return nil, err
			}
			fresh = append(fresh, t)
		}
		if err := r.checkNulls(t); err != nil {
			return nil, err
		}
	}
	return fresh, nil
}

// Track begins to record the changes of tables that Check has returned. It is called within a transaction, and is one action
// if it changes something. A table that is not empty, or was tracked before, counts as changed as a whole.
func (r *Recorder) Track(fresh []*Table) error {
	seq, anything := r.Seq()+1, false
	for _, t := range fresh {
		err := r.each(`INSERT INTO _den_tables (name, stale, floor) VALUES (?1, 0, 0)
			ON CONFLICT (name) DO UPDATE SET stale = 0 RETURNING id`, func(row *sqlite.Row) { t.id = row.Int(0) }, t.name)
		if err != nil {
			return err
		}
		some, err := r.rebase(t, seq)
		if err != nil {
			return err
		}
		anything = anything || some
	}
	for _, t := range fresh {
		t.highest.accept()
		r.tables.replace(t)
	}
	if anything {
		r.log.seq.Store(uint64(seq))
	}
	return nil
}

// rebase has a table's part of the log begin again at seq: who has seen less gets all of the table. It reports whether there
// is anything to get.
func (r *Recorder) rebase(t *Table, seq Seq) (changed bool, err error) {
	err = r.each("SELECT EXISTS (SELECT 1 FROM "+sqlite.Quote(t.name)+")", func(row *sqlite.Row) { changed = row.Int(0) != 0 })
	if known := r.tables.byName[t.name] != nil; err != nil || !changed && !known {
		return false, err // nobody has rows of a table that is new and empty
	}
	if err := r.log.loadHighest(t); err != nil {
		return false, err
	}
	if err := r.log.raiseToTable(t, &t.highest); err != nil {
		return false, err
	}
	t.floor = seq
	return true, r.exec("UPDATE _den_tables SET floor = ?2 WHERE id = ?1", t.id, int64(seq))
}

// Declare declares tables that are tracked: their changed rows are in each Commit.
func (r *Recorder) Declare(names ...string) {
	for _, name := range names {
		r.tables.byName[name].declared = true
		if !slices.Contains(r.tables.declared, name) {
			r.tables.declared = append(r.tables.declared, name)
		}
	}
}

// Declared returns the names of the declared tables, in the order of their declaration.
func (r *Recorder) Declared() []string { return slices.Clone(r.tables.declared) }

// Table returns the declared table of a name, or nil.
func (r *Recorder) Table(name string) *Table {
	if t := r.tables.byName[name]; t != nil && t.declared {
		return t
	}
	return nil
}

// Redefining notes that the action in work may drop or alter a table.
func (r *Recorder) Redefining(table string) { r.redefined = append(r.redefined, strings.Clone(table)) }

// SchemaChanged notes that the action in work has changed the schema.
func (r *Recorder) SchemaChanged() {
	r.schema = true
	r.cache.Clear()
}

// ChangesSchema reports whether the action in work has changed the schema.
func (r *Recorder) ChangesSchema() bool { return r.schema }
