package storage

// What a room holds as text: as an SQL script that any SQLite reads, or as lines of JSON.
// Both begin with a header, and hold the schema, then the rows, then what is to be made
// behind the rows: indexes and triggers. Den's own tables are left out, but for the
// record of the migrations, without which the room's program would run them again.

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// Format is a form of an export.
type Format uint8

const (
	// SQL is a script of SQL statements.
	SQL Format = iota + 1
	// Lines is one JSON object a line.
	Lines
)

// ErrFormat: a text that is no export, is of a newer Den, or ends too early.
var ErrFormat = errors.New("not an export")

// exportVersion is the version of both formats.
const exportVersion = 1

// exportFormat names the formats in their headers.
const exportFormat = "den-export"

// An exportHeader begins an export: as the first line of Lines, and behind "-- den: " as
// the first line of SQL, there without Tables and After.
type exportHeader struct {
	Format     string          `json:"format"`
	Version    int             `json:"version"`
	Namespace  string          `json:"namespace"`
	Room       string          `json:"room"`
	Seq        int64           `json:"seq"`
	ExportedAt string          `json:"exported_at"` // RFC 3339
	Tables     []exportTable   `json:"tables,omitempty"`
	After      []exportObject  `json:"after,omitempty"`
	Internal   []internalTable `json:"internal,omitempty"`
}

// How the content of a table comes.
const (
	loadRows    = "rows"    // by its rows
	loadShadow  = "shadow"  // a virtual table: by the rows of the tables behind it
	loadRebuild = "rebuild" // a full-text index of another table: it is made anew
)

// An exportTable is a table and how it is loaded.
type exportTable struct {
	Name    string   `json:"name"`
	SQL     string   `json:"sql"`
	Load    string   `json:"load"`
	Shadows []string `json:"shadows,omitempty"` // the tables behind it
	Rowid   string   `json:"rowid,omitempty"`   // a name under which the rowid, that no column holds, can be given

	columns []string
	virtual bool
}

// An exportObject is an index, a view or a trigger.
type exportObject struct {
	Type string `json:"type"`
	Name string `json:"name"`
	SQL  string `json:"sql"`
}

// An internalTable is a table of Den's own that goes along.
type internalTable struct {
	Name string       `json:"name"`
	SQL  string       `json:"sql"`
	Rows []orderedRow `json:"rows"`
}

// carried are the names of those.
func carried(name string) bool { return name == "_den_migrations" }

// Export writes the content of a room's file, which must be a backup or be in use by
// nobody, at now in RFC 3339. It takes memory for one row at a time.
//
// SQL: a script in one transaction, for the sqlite3 shell or for Import. A text with a
// NUL or another control character is written as CAST(x'…' AS TEXT).
//
// Lines: the header, {"table":…,"row":{column: value}} for each row, {"end":{"rows":n}}.
// Numbers with a point or an exponent are floats. A blob is {"$blob": base64}, an integer
// beyond ±2^53 {"$int":"…"}, an infinity {"$float":"inf"} or {"$float":"-inf"}, a text
// that is not UTF-8 {"$text": base64}. "rowid" stands beside "row" where no column of the
// table holds it.
//
// Errors: ErrNotDatabase, ErrNewer, ErrCorrupt, ErrIO; and those of to.
func Export(f FS, path string, to io.Writer, format Format, now string) error {
	x, err := openExport(f, path, now)
	if err != nil {
		return fmt.Errorf("export %s: %w", path, diagnose(path, err))
	}
	switch format {
	case SQL:
		err = x.writeSQL(to)
	case Lines:
		err = x.writeLines(to)
	default:
		err = fmt.Errorf("storage: %w: format %d", ErrMisuse, format)
	}
	return errors.Join(err, x.d.Close())
}

// An exporter reads one file.
type exporter struct {
	d       *DB
	header  exportHeader
	shadows map[string]exportTable // of the tables that are loaded by them
	rows    int64
}

func openExport(f FS, path, now string) (*exporter, error) {
	missing, err := inspect(f, path)
	if err == nil && missing {
		err = fmt.Errorf("%w: there is nothing in it", ErrNotDatabase)
	}
	if err != nil {
		return nil, err
	}
	d, err := openBeside(f, path)
	if err != nil {
		return nil, err
	}
	x := &exporter{d: d, header: exportHeader{Format: exportFormat, Version: exportVersion, ExportedAt: now}, shadows: make(map[string]exportTable)}
	if err := x.read(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return x, nil
}

// read reads what the header says.
func (x *exporter) read() error {
	h := &x.header
	err := x.d.each("SELECT name, value FROM _den_meta WHERE name IN ('namespace', 'room')", func(r *Rows) {
		if string(r.Bytes(0)) == "room" {
			h.Room = string(r.Bytes(1))
		} else {
			h.Namespace = string(r.Bytes(1))
		}
	})
	if err != nil {
		return err
	}
	if err := x.d.each("SELECT coalesce(max(last), 0) FROM _den_changes", func(r *Rows) { h.Seq = r.Int(0) }); err != nil {
		return err
	}
	kinds := map[string]string{} // of tables: table, virtual or shadow
	without := map[string]bool{} // ROWID
	err = x.d.each("SELECT name, type, wr FROM pragma_table_list WHERE schema = 'main'", func(r *Rows) {
		kinds[string(r.Bytes(0))], without[string(r.Bytes(0))] = string(r.Bytes(1)), r.Int(2) != 0
	})
	if err != nil {
		return err
	}
	var objects []exportObject
	err = x.d.each("SELECT type, name, coalesce(sql, '') FROM sqlite_schema ORDER BY rowid", func(r *Rows) {
		objects = append(objects, exportObject{string(r.Bytes(0)), string(r.Bytes(1)), string(r.Bytes(2))})
	})
	if err != nil {
		return err
	}
	for _, o := range objects {
		if err := x.take(o, kinds, without); err != nil {
			return err
		}
	}
	x.sort()
	return nil
}

// take puts an object of the schema where it belongs.
func (x *exporter) take(o exportObject, kinds map[string]string, without map[string]bool) error {
	own := strings.HasPrefix(strings.ToLower(o.Name), reserved)
	switch {
	case o.SQL == "" || strings.HasPrefix(o.Name, "sqlite_"):
		return nil // made along with its table
	case own && carried(o.Name):
		return x.carry(o)
	case own || o.Type == "table" && kinds[o.Name] == "shadow":
		return nil
	case o.Type != "table":
		x.header.After = append(x.header.After, o)
		return nil
	}
	t := exportTable{Name: o.Name, SQL: o.SQL, Load: loadRows, virtual: kinds[o.Name] == "virtual"}
	if t.virtual {
		t.Load = loadOf(o.SQL)
	}
	if t.Load == loadShadow {
		for name, kind := range kinds {
			if kind == "shadow" && strings.HasPrefix(name, o.Name+"_") {
				t.Shadows = append(t.Shadows, name)
			}
		}
		slices.Sort(t.Shadows)
		for _, name := range t.Shadows {
			s := exportTable{Name: name}
			if err := x.columns(&s, without); err != nil {
				return err
			}
			x.shadows[name] = s
		}
	}
	err := x.columns(&t, without)
	x.header.Tables = append(x.header.Tables, t)
	return err
}

var (
	fts5       = regexp.MustCompile(`(?is)^\s*CREATE\s+VIRTUAL\s+TABLE\b.*?\bUSING\s+["'\[` + "`" + `]?fts5\b`)
	ftsContent = regexp.MustCompile(`(?i)\bcontent\s*=\s*(''|"")?`)
)

// loadOf tells how a virtual table is loaded.
func loadOf(sql string) string {
	if !fts5.MatchString(sql) {
		return loadShadow
	}
	switch content := ftsContent.FindStringSubmatch(sql); {
	case content == nil:
		return loadRows
	case content[1] != "":
		return loadShadow // it has no content but its index
	}
	return loadRebuild
}

// columns finds out which columns are given to an INSERT.
func (x *exporter) columns(t *exportTable, without map[string]bool) error {
	var all []string
	keys, integer := 0, false
	err := x.d.each("SELECT name, type, pk, hidden FROM pragma_table_xinfo(?1)", func(r *Rows) {
		name := string(r.Bytes(0))
		all = append(all, strings.ToLower(name))
		if r.Int(3) == 0 {
			t.columns = append(t.columns, name)
		}
		if r.Int(2) > 0 {
			keys++
			integer = strings.EqualFold(string(r.Bytes(1)), "INTEGER")
		}
	}, t.Name)
	if err != nil || without[t.Name] {
		return err
	}
	separate := false // the key has an index of its own: INTEGER PRIMARY KEY DESC
	if err := x.d.each("SELECT 1 FROM pragma_index_list(?1) WHERE origin = 'pk'", func(*Rows) { separate = true }, t.Name); err != nil {
		return err
	}
	if keys == 1 && integer && !separate {
		return nil
	}
	for _, name := range []string{"rowid", "_rowid_", "oid"} {
		if !slices.Contains(all, name) {
			t.Rowid = name
			break
		}
	}
	return nil
}

// carry takes a table of Den's own along.
func (x *exporter) carry(o exportObject) error {
	t := internalTable{Name: o.Name, SQL: o.SQL, Rows: []orderedRow{}}
	err := x.d.each("SELECT * FROM "+quote(o.Name), func(r *Rows) {
		t.Rows = append(t.Rows, orderedRow{slices.Clone(r.Columns()), r.Values()})
	})
	x.header.Internal = append(x.header.Internal, t)
	return err
}

// sort brings virtual tables behind those that they may read, and views to the front of
// what follows the tables, triggers to its end.
func (x *exporter) sort() {
	order := map[string]int{"view": 0, "index": 1, "trigger": 2}
	slices.SortStableFunc(x.header.Tables, func(a, b exportTable) int { return a.rank() - b.rank() })
	slices.SortStableFunc(x.header.After, func(a, b exportObject) int { return order[a.Type] - order[b.Type] })
}

// rank puts virtual tables last.
func (t exportTable) rank() int {
	if t.virtual {
		return 1
	}
	return 0
}

// each reads a table's rows: the rowid first, if it is to be given.
func (x *exporter) each(t exportTable, do func(r *Rows) error) error {
	list := make([]string, 0, len(t.columns)+1)
	if t.Rowid != "" {
		list = append(list, t.Rowid)
	}
	for _, c := range t.columns {
		list = append(list, quote(c))
	}
	rows, err := x.d.query(own, "SELECT "+strings.Join(list, ", ")+" FROM "+quote(t.Name), nil)
	if err != nil {
		return err
	}
	for rows.next() {
		if err := do(rows); err != nil {
			rows.finish()
			return err
		}
		x.rows++
	}
	return rows.err
}

// sequences are the counters of AUTOINCREMENT, which SQLite keeps in a table of its own.
func (x *exporter) sequences() (t exportTable, there bool, err error) {
	err = x.d.each("SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_sequence'", func(*Rows) { there = true })
	return exportTable{Name: "sqlite_sequence", columns: []string{"name", "seq"}}, there, err
}

// ownSequence tells whether a counter is of one of Den's own tables.
func ownSequence(r *Rows) bool {
	return r.Type(0) == Text && strings.HasPrefix(strings.ToLower(string(r.Bytes(0))), reserved)
}

// ParseFormat reads a format's name: "sql" or "jsonl".
func ParseFormat(name string) (Format, error) {
	switch name {
	case "sql":
		return SQL, nil
	case "jsonl":
		return Lines, nil
	}
	return 0, fmt.Errorf("storage: %w: the format %q: want sql or jsonl", ErrMisuse, name)
}

// String is the format's name.
func (f Format) String() string {
	switch f {
	case SQL:
		return "sql"
	case Lines:
		return "jsonl"
	}
	return "unknown"
}

// checkHeader refuses what this Den cannot import.
func (h *exportHeader) check() error {
	switch {
	case h.Format != exportFormat:
		return fmt.Errorf("%w: it begins with the format %q, not %q", ErrFormat, h.Format, exportFormat)
	case h.Version > exportVersion:
		return fmt.Errorf("%w: %w: its version is %d, this Den knows up to %d", ErrFormat, ErrNewer, h.Version, exportVersion)
	}
	return nil
}

// marshal is for headers: SQL stays readable in them.
func marshal(v any) ([]byte, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return []byte(b.String()), nil
}
