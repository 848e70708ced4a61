package dump

// Reading a room's file for an export: its schema and, one by one, its rows.

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/storage/sqlite"
)

// Format is a form of an export.
type Format uint8

const (
	// SQL is a script of SQL statements.
	SQL Format = iota + 1
	// Lines is one JSON object a line.
	Lines
)

// ErrFormat: a text is not an export, is of a newer Den, or is cut off.
var ErrFormat = errors.New("not an export")

const (
	exportFormat  = "den-export" // names both formats in their headers
	exportVersion = 1            // of both
)

// An exportHeader begins an export: as the first line of Lines, and after "-- den: " as
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

// How the content of a table is imported.
const (
	loadRows    = "rows"    // by its rows
	loadShadow  = "shadow"  // a virtual table: by the rows of its shadow tables
	loadRebuild = "rebuild" // a full-text index of another table: SQLite builds it again
)

// An exportTable is a table and how it is loaded.
type exportTable struct {
	Name    string   `json:"name"`
	SQL     string   `json:"sql"`
	Load    string   `json:"load"`
	Shadows []string `json:"shadows,omitempty"` // its shadow tables
	Rowid   string   `json:"rowid,omitempty"`   // the name of the rowid in an INSERT, if no column holds the rowid

	columns []string
	virtual bool
}

// An exportObject is an index, a view or a trigger.
type exportObject struct {
	Type string `json:"type"`
	Name string `json:"name"`
	SQL  string `json:"sql"`
}

// An internalTable is one of Den's own tables that is exported.
type internalTable struct {
	Name string       `json:"name"`
	SQL  string       `json:"sql"`
	Rows []orderedRow `json:"rows"`
}

// reserved begins the names of Den's own tables.
const reserved = "_den_"

// exported reports whether one of Den's own tables is exported.
func exported(name string) bool { return name == "_den_migrations" }

// Export writes the content of a room's file, which is a backup or a file that nobody uses. now is the time of the export in
// RFC 3339. Export has one row in memory at a time.
//
// Errors: storage.ErrNotDatabase, ErrNewer, ErrCorrupt, ErrInUse, ErrIO; and those of to.
func Export(f storage.FS, path string, to io.Writer, format Format, now string) error {
	x, err := openExport(f, path, now)
	if err != nil {
		return fmt.Errorf("export %s: %w", path, err)
	}
	switch format {
	case SQL:
		err = x.writeSQL(to)
	case Lines:
		err = x.writeLines(to)
	default:
		err = fmt.Errorf("storage: %w: format %d", storage.ErrMisuse, format)
	}
	return errors.Join(err, x.close())
}

// An exporter reads one file.
type exporter struct {
	file    *storage.Internal
	close   func() error
	header  exportHeader
	shadows map[string]exportTable // by name
	rows    int64
}

func openExport(f storage.FS, path, now string) (*exporter, error) {
	file, closeFile, err := storage.OpenBackup(f, path)
	if err != nil {
		return nil, err
	}
	x := &exporter{file: file, close: closeFile, header: exportHeader{Format: exportFormat, Version: exportVersion, ExportedAt: now}, shadows: make(map[string]exportTable)}
	if err := x.read(); err != nil {
		return nil, errors.Join(err, x.close())
	}
	return x, nil
}

func (x *exporter) read() error {
	h := &x.header
	err := x.file.Each("SELECT name, value FROM _den_meta WHERE name IN ('namespace', 'room')", func(r *storage.Rows) {
		if string(r.Bytes(0)) == "room" {
			h.Room = string(r.Bytes(1))
		} else {
			h.Namespace = string(r.Bytes(1))
		}
	})
	if err != nil {
		return err
	}
	if err := x.file.Each("SELECT coalesce(max(last), 0) FROM _den_changes", func(r *storage.Rows) { h.Seq = r.Int(0) }); err != nil {
		return err
	}
	kinds := map[string]string{} // of tables: table, virtual or shadow
	without := map[string]bool{} // ROWID
	err = x.file.Each("SELECT name, type, wr FROM pragma_table_list WHERE schema = 'main'", func(r *storage.Rows) {
		kinds[string(r.Bytes(0))], without[string(r.Bytes(0))] = string(r.Bytes(1)), r.Int(2) != 0
	})
	if err != nil {
		return err
	}
	var objects []exportObject
	err = x.file.Each("SELECT type, name, coalesce(sql, '') FROM sqlite_schema ORDER BY rowid", func(r *storage.Rows) {
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

// take adds an object of the schema to the header.
func (x *exporter) take(o exportObject, kinds map[string]string, without map[string]bool) error {
	own := strings.HasPrefix(strings.ToLower(o.Name), reserved)
	switch {
	case o.SQL == "" || strings.HasPrefix(o.Name, "sqlite_"):
		return nil // SQLite makes it with its table
	case own && exported(o.Name):
		return x.addInternal(o)
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

// loadOf returns how a virtual table is imported.
func loadOf(sql string) string {
	if !fts5.MatchString(sql) {
		return loadShadow
	}
	switch content := ftsContent.FindStringSubmatch(sql); {
	case content == nil:
		return loadRows
	case content[1] != "":
		return loadShadow // a contentless table: nothing but its index is stored
	}
	return loadRebuild
}

// columns sets the columns that an INSERT into the table names, and its Rowid.
func (x *exporter) columns(t *exportTable, without map[string]bool) error {
	var all []string
	keys, integer := 0, false
	err := x.file.Each("SELECT name, type, pk, hidden FROM pragma_table_xinfo(?1)", func(r *storage.Rows) {
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
	if err := x.file.Each("SELECT 1 FROM pragma_index_list(?1) WHERE origin = 'pk'", func(*storage.Rows) { separate = true }, t.Name); err != nil {
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

func (x *exporter) addInternal(o exportObject) error {
	t := internalTable{Name: o.Name, SQL: o.SQL, Rows: []orderedRow{}}
	err := x.file.Each("SELECT * FROM "+sqlite.Quote(o.Name), func(r *storage.Rows) {
		t.Rows = append(t.Rows, orderedRow{slices.Clone(r.Columns()), r.Values()})
	})
	x.header.Internal = append(x.header.Internal, t)
	return err
}

// sort puts virtual tables after the tables that they may read. Of what follows the tables, views come first and triggers last.
func (x *exporter) sort() {
	order := map[string]int{"view": 0, "index": 1, "trigger": 2}
	rank := map[bool]int{true: 1}
	slices.SortStableFunc(x.header.Tables, func(a, b exportTable) int { return rank[a.virtual] - rank[b.virtual] })
	slices.SortStableFunc(x.header.After, func(a, b exportObject) int { return order[a.Type] - order[b.Type] })
}

// names returns the names of the columns that are read and inserted, as they stand in SQL. If the table has a Rowid, it
// is the first.
func (t exportTable) names() []string {
	names := make([]string, 0, len(t.columns)+1)
	if t.Rowid != "" {
		names = append(names, t.Rowid)
	}
	for _, c := range t.columns {
		names = append(names, sqlite.Quote(c))
	}
	return names
}

// each reads a table's rows, whose columns are those of names.
func (x *exporter) each(t exportTable, do func(r *storage.Rows) error) error {
	rows, err := x.file.Query("SELECT " + strings.Join(t.names(), ", ") + " FROM " + sqlite.Quote(t.Name))
	if err != nil {
		return err
	}
	for rows.Next() {
		if err := do(rows); err != nil {
			rows.Close()
			return err
		}
		x.rows++
	}
	return rows.Err()
}

// sequences returns the table in which SQLite keeps the counters of AUTOINCREMENT.
func (x *exporter) sequences() (t exportTable, there bool, err error) {
	err = x.file.Each("SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_sequence'", func(*storage.Rows) { there = true })
	return exportTable{Name: "sqlite_sequence", columns: []string{"name", "seq"}}, there, err
}

// internalSequence reports whether a counter is that of one of Den's own tables.
func internalSequence(r *storage.Rows) bool {
	return r.Type(0) == storage.Text && strings.HasPrefix(strings.ToLower(string(r.Bytes(0))), reserved)
}

// String returns the format's name.
func (f Format) String() string {
	switch f {
	case SQL:
		return "sql"
	case Lines:
		return "jsonl"
	}
	return "unknown"
}

// check returns an error if this Den cannot import what follows the header.
func (h *exportHeader) check() error {
	switch {
	case h.Format != exportFormat:
		return fmt.Errorf("%w: it begins with the format %q, not %q", ErrFormat, h.Format, exportFormat)
	case h.Version > exportVersion:
		return fmt.Errorf("%w: %w: its version is %d, this Den knows up to %d", ErrFormat, storage.ErrNewer, h.Version, exportVersion)
	}
	return nil
}

// marshal encodes a header. It does not escape < and >, so that SQL stays readable.
func marshal(v any) ([]byte, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return []byte(b.String()), nil
}
