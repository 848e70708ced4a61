package dump

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/storage/archive"
	"github.com/denrooms/den/storage/sqlite"
)

// everyKind is a schema with all that an export must think of.
const everyKind = `
	CREATE TABLE plain (a, b TEXT, c INTEGER, d REAL, e BLOB);
	CREATE TABLE "odd "" name; -- '" ("rowid" TEXT, "select" INT DEFAULT 7, "a
b" GENERATED ALWAYS AS ("select" * 2) VIRTUAL, stored AS ("rowid" || 'x') STORED);
	CREATE TABLE counted (id INTEGER PRIMARY KEY AUTOINCREMENT, x);
	CREATE TABLE never (id INTEGER PRIMARY KEY AUTOINCREMENT);
	CREATE TABLE keyed (k TEXT, n INT, v, PRIMARY KEY (k, n)) WITHOUT ROWID;
	CREATE TABLE strict (id TEXT PRIMARY KEY, i INTEGER, r REAL, t TEXT, b BLOB, a ANY) STRICT;
	CREATE TABLE parent (id INTEGER PRIMARY KEY);
	CREATE TABLE child (id INTEGER PRIMARY KEY DESC, parent REFERENCES parent (id), self REFERENCES child (id));
	CREATE INDEX byb ON plain (b COLLATE NOCASE, lower(a)) WHERE c > 0;
	CREATE UNIQUE INDEX onlyd ON strict (r);
	CREATE VIEW seen AS SELECT id, x FROM counted;
	CREATE TRIGGER tr AFTER INSERT ON plain WHEN new.c = 1 BEGIN INSERT INTO counted (x) VALUES ('by; trigger'); UPDATE counted SET x = CASE WHEN 1 THEN x ELSE 0 END; END;
	CREATE TRIGGER instead INSTEAD OF INSERT ON seen BEGIN INSERT INTO counted (x) VALUES (new.x); END;
	CREATE VIRTUAL TABLE words USING fts5 (title, body, tokenize = 'porter');
	CREATE VIRTUAL TABLE outside USING fts5 (b, content='plain', content_rowid='rowid');
	CREATE VIRTUAL TABLE viewed USING fts5 (x, content=seen, content_rowid=id);
	CREATE VIRTUAL TABLE bare USING fts5 (x, content='');
	CREATE VIRTUAL TABLE boxes USING rtree (id, x0, x1);`

// randomValue makes a value of any kind.
func randomValue(rng *rand.Rand) storage.Value {
	switch rng.IntN(14) {
	case 0:
		return nil
	case 1:
		return int64(rng.IntN(20) - 10)
	case 2:
		return int64(rng.Uint64())
	case 3:
		return []int64{math.MinInt64, math.MaxInt64, maxExact, maxExact + 1, -maxExact - 1}[rng.IntN(5)]
	case 4:
		return math.Float64frombits(rng.Uint64())
	case 5:
		return []float64{0, math.Copysign(0, -1), 1, -1, 1e20, 1e100, math.Inf(1), math.Inf(-1), math.MaxFloat64, math.SmallestNonzeroFloat64, 0.1}[rng.IntN(11)]
	case 6:
		return rng.NormFloat64()
	case 7:
		return string(randomBytes(rng, 6)) // not UTF-8, as a rule
	case 8:
		return strings.Repeat("long \U0001F600 '", rng.IntN(400))
	case 9, 10:
		return randomBytes(rng, 40)
	}
	pieces := []string{"a", "'", `"`, "\\", "\n", "\r\n", "\x00", ";", "--", "/*", "END;", "\u00e9", "\u2028", "\ufeff", "\U0001F680", "\x7f", "<&>", "[", "`", "$blob"}
	var s strings.Builder
	for range rng.IntN(12) {
		s.WriteString(pieces[rng.IntN(len(pieces))])
	}
	return s.String()
}

func randomBytes(rng *rand.Rand, n int) []byte {
	b := make([]byte, rng.IntN(n+1))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// fillEveryKind puts random rows into the tables of everyKind.
func fillEveryKind(t *testing.T, d *storage.DB, rng *rand.Rand) {
	t.Helper()
	err := act(t, d, clock, func() error {
		for i := range 200 {
			v := func() storage.Value { return randomValue(rng) }
			for _, s := range []struct {
				sql  string
				args []any
			}{
				{`INSERT INTO plain (rowid, a, b, c, d, e) VALUES (?, ?, ?, ?, ?, ?)`, []any{int64(i*7 - 300), v(), v(), v(), v(), v()}},
				{`INSERT INTO "odd "" name; -- '" (_rowid_, "rowid", "select") VALUES (?, ?, ?)`, []any{int64(i * 3), fmt.Sprint(i), int64(i)}},
				{`INSERT INTO counted (x) VALUES (?)`, []any{v()}},
				{`INSERT INTO keyed VALUES (?, ?, ?)`, []any{fmt.Sprint("k", i%7), i, v()}},
				{`INSERT INTO strict VALUES (?, ?, ?, ?, ?, ?)`, []any{fmt.Sprint(i), int64(rng.Uint64()), float64(i) + rng.Float64(), string(randomBytes(rng, 9)), randomBytes(rng, 9), v()}},
				{`INSERT INTO parent VALUES (?)`, []any{i}},
				{`INSERT INTO child VALUES (?, ?, ?)`, []any{i, i, max(i-1, 0)}},
				{`INSERT INTO words (rowid, title, body) VALUES (?, ?, ?)`, []any{int64(i * 2), fmt.Sprint("running title ", i), "words and words"}},
				{`INSERT INTO bare (rowid, x) VALUES (?, ?)`, []any{i + 1, fmt.Sprint("nothing kept ", i%5)}},
				{`INSERT INTO boxes VALUES (?, ?, ?)`, []any{i, float64(i), float64(i) + 2}},
			} {
				if _, err := d.Exec(s.sql, s.args...); err != nil {
					return fmt.Errorf("%s %q: %w", s.sql, s.args, err)
				}
			}
		}
		for _, sql := range []string{
			`DELETE FROM counted WHERE id > 190 OR id % 3 = 0`, `DELETE FROM plain WHERE rowid % 5 = 0`,
			`INSERT INTO outside (outside) VALUES ('rebuild')`, `INSERT INTO viewed (viewed) VALUES ('rebuild')`,
		} {
			if _, err := d.Exec(sql); err != nil {
				return fmt.Errorf("%s: %w", sql, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// allContent is all that a room holds, as text: the schema, and each row with the bits of
// its values.
func allContent(t *testing.T, d *storage.DB) string {
	t.Helper()
	var s strings.Builder
	for _, o := range query(t, d, `SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE '\_den\_%' ESCAPE '\' ORDER BY type, name`) {
		fmt.Fprintln(&s, o...)
	}
	for table, from := range map[string]string{
		"plain": "rowid, *", "odd \" name; -- '": "_rowid_, *", "counted": "*", "never": "*, 0", "keyed": "*", "strict": "rowid, *", "parent": "*, 0",
		"child": "rowid, *", "seen": "*", "words": "rowid, *", "outside": "rowid, *", "viewed": "rowid, *", "boxes": "*", "sqlite_sequence": "*",
	} {
		fmt.Fprintln(&s, table)
		for _, row := range query(t, d, "SELECT "+from+" FROM "+sqlite.Quote(table)+" ORDER BY 1, 2") {
			for _, v := range row {
				if f, ok := v.(float64); ok {
					v = fmt.Sprintf("%v %x", f, math.Float64bits(f))
				}
				fmt.Fprintf(&s, "%T %q ", v, v)
			}
			fmt.Fprintln(&s)
		}
	}
	for _, sql := range []string{
		`SELECT rowid FROM words WHERE words MATCH 'run' ORDER BY 1`, `SELECT rowid FROM outside WHERE outside MATCH 'long' ORDER BY 1`,
		`SELECT rowid FROM viewed WHERE viewed MATCH 'long' ORDER BY 1`, `SELECT rowid FROM bare WHERE bare MATCH '3' ORDER BY 1`,
		`SELECT id FROM boxes WHERE x0 < 9 AND x1 > 5 ORDER BY 1`,
	} {
		fmt.Fprintln(&s, sql, query(t, d, sql))
	}
	return sortedLines(s.String())
}

// sortedLines takes the order of Go's maps out.
func sortedLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

const exportedAt = "2026-11-20T10:00:00Z"

func export(t *testing.T, path string, f Format) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Export(storage.HostFS(), path, &b, f, exportedAt); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// importNew makes a room of an export.
func importNew(t *testing.T, o storage.Options, text []byte) *storage.DB {
	t.Helper()
	r, err := PrepareImport(o, bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Discard()
	if err := r.InstallNew(); err != nil {
		t.Fatal(err)
	}
	return openTest(t, o)
}

// What is exported and imported is the same: values to the bit, rowids, counters,
// full-text indexes, triggers that fire again but did not during the import.
func TestExportAndImport(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	d := openTest(t, testOptions(t))
	mustExec(t, d, everyKind)
	fillEveryKind(t, d, rng)
	if _, err := d.Internal().Exec(`CREATE TABLE _den_migrations (version INTEGER PRIMARY KEY, name TEXT, applied_at INTEGER)`); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Internal().Exec(`INSERT INTO _den_migrations VALUES (1, 'the "first" one', 99)`); err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "copy")
	if err := archive.Write(d, copied); err != nil {
		t.Fatal(err)
	}
	want := allContent(t, d)
	for _, format := range []Format{SQL, Lines} {
		t.Run(format.String(), func(t *testing.T) {
			text := export(t, copied, format)
			o := testOptions(t)
			c := importNew(t, o, text)
			if got := allContent(t, c); got != want {
				t.Errorf("seed %d: the import differs:\n%s", seed, firstDifference(got, want))
			}
			if got := query(t, c, `SELECT * FROM _den_migrations`); fmt.Sprint(got) != `[[1 the "first" one 99]]` {
				t.Errorf("migrations: %v", got)
			}
			next := query(t, c, `SELECT seq + 1 FROM sqlite_sequence WHERE name = 'counted'`)
			mustExec(t, c, `INSERT INTO plain (a, c) VALUES (0, 1)`)
			if got := query(t, c, `SELECT max(id) FROM counted WHERE x = 'by; trigger'`); fmt.Sprint(got) != fmt.Sprint(next) {
				t.Errorf("the trigger: %v, want %v", got, next)
			}
			if dirNames(t, filepath.Dir(o.Path)) != "room.db room.db-wal room.db.seq" {
				t.Errorf("beside the room: %s", dirNames(t, filepath.Dir(o.Path)))
			}
		})
	}
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return fmt.Sprintf("got  %.300s\nwant %.300s", g[i], w[i])
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(g), len(w))
}

// TestExportGolden shows both formats.
func TestExportGolden(t *testing.T) {
	d := openTest(t, storage.Options{Path: filepath.Join(t.TempDir(), "room.db"), Namespace: "tests", Room: "gold/ü", Now: func() time.Time { return time.UnixMilli(clock) }})
	mustExec(t, d, `CREATE TABLE t (id TEXT PRIMARY KEY, v); CREATE INDEX i ON t (v)`)
	for i, v := range []any{nil, 1, int64(1 << 60), 1.0, math.Inf(-1), "it's\n\x00", []byte{0, 255}, "\xff"} {
		mustExec(t, d, `INSERT INTO t VALUES (?, ?)`, fmt.Sprint(i), v)
	}
	copied := filepath.Join(t.TempDir(), "copy")
	if err := archive.Write(d, copied); err != nil {
		t.Fatal(err)
	}
	for format, want := range map[Format]string{SQL: goldenSQL, Lines: goldenLines} {
		if got := string(export(t, copied, format)); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", format, got, want)
		}
	}
}

const goldenSQL = `-- den: {"format":"den-export","version":1,"namespace":"tests","room":"gold/ü","seq":9,"exported_at":"2026-11-20T10:00:00Z"}
PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE t (id TEXT PRIMARY KEY, v);
INSERT INTO "t"(rowid,"id","v") VALUES(1,'0',NULL);
INSERT INTO "t"(rowid,"id","v") VALUES(2,'1',1);
INSERT INTO "t"(rowid,"id","v") VALUES(3,'2',1152921504606846976);
INSERT INTO "t"(rowid,"id","v") VALUES(4,'3',1.0);
INSERT INTO "t"(rowid,"id","v") VALUES(5,'4',-9e999);
INSERT INTO "t"(rowid,"id","v") VALUES(6,'5',CAST(x'697427730a00' AS TEXT));
INSERT INTO "t"(rowid,"id","v") VALUES(7,'6',x'00ff');
INSERT INTO "t"(rowid,"id","v") VALUES(8,'7',CAST(x'ff' AS TEXT));
CREATE INDEX i ON t (v);
COMMIT;
`

const goldenLines = `{"format":"den-export","version":1,"namespace":"tests","room":"gold/ü","seq":9,"exported_at":"2026-11-20T10:00:00Z","tables":[{"name":"t","sql":"CREATE TABLE t (id TEXT PRIMARY KEY, v)","load":"rows","rowid":"rowid"}],"after":[{"type":"index","name":"i","sql":"CREATE INDEX i ON t (v)"}]}
{"table":"t","rowid":1,"row":{"id":"0","v":null}}
{"table":"t","rowid":2,"row":{"id":"1","v":1}}
{"table":"t","rowid":3,"row":{"id":"2","v":{"$int":"1152921504606846976"}}}
{"table":"t","rowid":4,"row":{"id":"3","v":1.0}}
{"table":"t","rowid":5,"row":{"id":"4","v":{"$float":"-inf"}}}
{"table":"t","rowid":6,"row":{"id":"5","v":"it's\n\u0000"}}
{"table":"t","rowid":7,"row":{"id":"6","v":{"$blob":"AP8="}}}
{"table":"t","rowid":8,"row":{"id":"7","v":{"$text":"/w=="}}}
{"end":{"rows":8}}
`

func TestImportRefuses(t *testing.T) {
	head := `{"format":"den-export","version":1,"namespace":"n","room":"r","seq":1,"exported_at":"","tables":[{"name":"t","sql":"CREATE TABLE t (id PRIMARY KEY, p REFERENCES t (id), CHECK (id <> 'bad')) WITHOUT ROWID","load":"rows"}]}` + "\n"
	outside := filepath.Join(t.TempDir(), "outside.db")
	for name, tc := range map[string]struct {
		text string
		want error
	}{
		"empty":              {"", ErrFormat},
		"space":              {" \n\n ", ErrFormat},
		"garbage":            {"garbage in it;", nil},
		"unfinished":         {"CREATE TABLE t (x)", ErrFormat},
		"open quote":         {"INSERT INTO t VALUES ('abc;\n", ErrFormat},
		"no COMMIT":          {"BEGIN;\nCREATE TABLE t (x);\n", ErrFormat},
		"taken back":         {"BEGIN;\nCREATE TABLE t (x);\nROLLBACK; -- due to errors\n", ErrFormat},
		"NUL":                {"SELECT '\x00';", storage.ErrMisuse},
		"attach":             {"ATTACH '" + outside + "' AS other;", storage.ErrForbidden},
		"vacuum into":        {"VACUUM INTO '" + outside + "';", nil},
		"our own table":      {"UPDATE _den_meta SET value = 'x';", storage.ErrForbidden},
		"an own table":       {"CREATE TABLE _den_peers (x);", storage.ErrForbidden},
		"the schema":         {"INSERT INTO sqlite_schema VALUES ('table', 't', 't', 0, 'CREATE VIRTUAL TABLE t USING fts5 (x)');", nil},
		"foreign key":        {"CREATE TABLE p (id PRIMARY KEY); CREATE TABLE c (p REFERENCES p (id)); INSERT INTO c VALUES (1);", storage.ErrConstraint},
		"not JSON":           {"{\n", ErrFormat},
		"another JSON":       {`{"hello":1}` + "\n", ErrFormat},
		"newer":              {strings.Replace(head, `"version":1`, `"version":2`, 1), storage.ErrNewer},
		"newer script":       {"-- den: " + strings.Replace(head, `"version":1`, `"version":2`, 1), storage.ErrNewer},
		"only a header":      {"-- den: " + head, ErrFormat},
		"two definitions":    {strings.Replace(head, `WITHOUT ROWID"`, `WITHOUT ROWID; CREATE TABLE u (x)"`, 1), ErrFormat},
		"two internal ones":  {strings.Replace(head, `"tables"`, `"internal":[{"name":"_den_migrations","sql":"CREATE TABLE _den_migrations (x); CREATE TABLE _den_peers (x)","rows":[]}],"tables"`, 1), ErrFormat},
		"no end":             {head + `{"table":"t","row":{"id":1}}` + "\n", ErrFormat},
		"cut line":           {head + `{"table":"t","row":{"id":`, ErrFormat},
		"rows missing":       {head + `{"end":{"rows":1}}` + "\n", ErrFormat},
		"no such table":      {head + `{"table":"u","row":{"id":1}}` + "\n", nil},
		"a row of Den's":     {head + `{"table":"_den_meta","row":{"name":"epoch"}}` + "\n", storage.ErrForbidden},
		"no columns":         {head + `{"table":"t","row":{}}` + "\n", ErrFormat},
		"a boolean":          {head + `{"table":"t","row":{"id":true}}` + "\n", ErrFormat},
		"a huge number":      {head + `{"table":"t","row":{"id":99999999999999999999}}` + "\n", ErrFormat},
		"an unknown tag":     {head + `{"table":"t","row":{"id":{"$date":"x"}}}` + "\n", ErrFormat},
		"base64":             {head + `{"table":"t","row":{"id":{"$blob":"?"}}}` + "\n", ErrFormat},
		"twice":              {head + strings.Repeat(`{"table":"t","row":{"id":1}}`+"\n", 2), storage.ErrConstraint},
		"a rule":             {head + `{"table":"t","row":{"id":"bad"}}` + "\n", storage.ErrConstraint},
		"leads nowhere":      {head + `{"table":"t","row":{"id":1,"p":2}}` + "\n" + `{"end":{"rows":1}}` + "\n", storage.ErrConstraint},
		"a value too large":  {head + `{"table":"t","row":{"id":"` + strings.Repeat("x", 2<<20) + `"}}` + "\n", storage.ErrTooLarge},
		"an internal table":  {strings.Replace(head, `"tables"`, `"internal":[{"name":"_den_peers","sql":"CREATE TABLE _den_peers (x)","rows":[]}],"tables"`, 1), ErrFormat},
		"no definition":      {strings.Replace(head, `"tables"`, `"internal":[{"name":"_den_migrations","sql":" ","rows":[]}],"tables"`, 1), ErrFormat},
		"another definition": {strings.Replace(head, `"tables"`, `"internal":[{"name":"_den_migrations","sql":"DROP TABLE _den_meta","rows":[]}],"tables"`, 1), storage.ErrForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			o := testOptions(t)
			o.MaxValueBytes = 1 << 20
			_, err := PrepareImport(o, strings.NewReader(tc.text))
			if err == nil {
				t.Fatal("imported")
			}
			if tc.want != nil {
				wantError(t, err, tc.want)
			}
			if left := dirNames(t, filepath.Dir(o.Path)); left != "" {
				t.Errorf("left: %s", left)
			}
			if _, err := os.Stat(outside); !errors.Is(err, os.ErrNotExist) {
				t.Error("the import has written elsewhere")
			}
		})
	}
	o := testOptions(t)
	o.MaxBytes = 1 << 20
	_, err := PrepareImport(o, strings.NewReader("CREATE TABLE t (x);"+strings.Repeat("INSERT INTO t VALUES (zeroblob(100000));", 20)))
	wantError(t, err, storage.ErrFull)
}

// A row has its rowid beside it if and only if no column holds the rowid.
func TestExportRowid(t *testing.T) {
	d := openTest(t, testOptions(t))
	for table, columns := range map[string]string{
		"alias": "id INTEGER PRIMARY KEY, v", "descending": "id INTEGER PRIMARY KEY DESC, v", "int": "id INT PRIMARY KEY, v",
		"text": "id TEXT PRIMARY KEY, v INTEGER", "none": "id INTEGER, v", "two": "id INTEGER, v INTEGER, PRIMARY KEY (id, v)", "hidden": "rowid TEXT, id, v",
	} {
		mustExec(t, d, fmt.Sprintf(`CREATE TABLE %q (%s); INSERT INTO %q (id, v) VALUES (5, 6)`, table, columns, table))
	}
	mustExec(t, d, `CREATE TABLE without (id INTEGER PRIMARY KEY, v) WITHOUT ROWID; INSERT INTO without VALUES (5, 6)`)
	copied := filepath.Join(t.TempDir(), "copy")
	if err := archive.Write(d, copied); err != nil {
		t.Fatal(err)
	}
	lines := string(export(t, copied, Lines))
	for _, want := range []string{
		`{"table":"alias","row":{"id":5,"v":6}}`, `{"table":"descending","rowid":1,"row":{"id":5,"v":6}}`, `{"table":"int","rowid":1,"row":{"id":5,"v":6}}`,
		`{"table":"text","rowid":1,"row":{"id":"5","v":6}}`, `{"table":"none","rowid":1,"row":{"id":5,"v":6}}`,
		`{"table":"two","rowid":1,"row":{"id":5,"v":6}}`, `{"table":"hidden","rowid":1,"row":{"rowid":null,"id":5,"v":6}}`, `{"table":"without","row":{"id":5,"v":6}}`,
	} {
		if !strings.Contains(lines, "\n"+want+"\n") {
			t.Errorf("there is no line %s in\n%s", want, lines)
		}
	}
	if want := `"name":"hidden","sql":"CREATE TABLE \"hidden\" (rowid TEXT, id, v)","load":"rows","rowid":"_rowid_"`; !strings.Contains(lines, want) {
		t.Errorf("the header has no %s", want)
	}
}

// If the reader fails, its error is that of the import, and nothing is left.
func TestImportReadFails(t *testing.T) {
	broken := errors.New("the reader is broken")
	head := `{"format":"den-export","version":1,"namespace":"n","room":"r","seq":1,"exported_at":"","tables":[{"name":"t","sql":"CREATE TABLE t (id)","load":"rows"}]}` + "\n"
	for name, text := range map[string]string{
		"at once": "", "script": "CREATE TABLE t (id); INSERT INTO t VALUES (1", "header": head[:9], "rows": head + `{"table":"t","row":{"id":1}}` + "\n", "a row": head + `{"table":"t",`,
	} {
		t.Run(name, func(t *testing.T) {
			o := testOptions(t)
			_, err := PrepareImport(o, io.MultiReader(strings.NewReader(text), iotest.ErrReader(broken)))
			wantError(t, err, broken)
			if errors.Is(err, ErrFormat) {
				t.Errorf("it is called a bad export: %v", err)
			}
			if left := dirNames(t, filepath.Dir(o.Path)); left != "" {
				t.Errorf("left: %s", left)
			}
		})
	}
}

// A file that is not a room's, or is in use, is not exported.
func TestExportRefuses(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"empty": "", "short": "SQLite format 3", "other": strings.Repeat("x", 4096)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	o := testOptions(t)
	mustExec(t, openTest(t, o), `CREATE TABLE t (x)`)
	for path, want := range map[string]error{
		filepath.Join(dir, "missing"): storage.ErrNotDatabase,
		filepath.Join(dir, "empty"):   storage.ErrNotDatabase,
		filepath.Join(dir, "short"):   storage.ErrNotDatabase,
		filepath.Join(dir, "other"):   storage.ErrNotDatabase,
		o.Path:                        storage.ErrInUse,
	} {
		for _, format := range []Format{SQL, Lines} {
			var b bytes.Buffer
			err := Export(storage.HostFS(), path, &b, format, exportedAt)
			wantError(t, err, want)
			if b.Len() > 0 || err == nil || !strings.HasPrefix(err.Error(), "export "+path+": ") {
				t.Errorf("%s: %v, written: %q", path, err, b.String())
			}
		}
	}
	copied := filepath.Join(dir, "copy")
	if err := archive.Write(openTest(t, testOptions(t)), copied); err != nil {
		t.Fatal(err)
	}
	wantError(t, Export(storage.HostFS(), copied, &bytes.Buffer{}, 0, exportedAt), storage.ErrMisuse)
}

// What is wrong with lines is said with the line's number, the header's being 1.
func TestImportNamesTheLine(t *testing.T) {
	const head = `{"format":"den-export","version":1,"namespace":"n","room":"r","seq":1,"exported_at":"","tables":[{"name":"t","sql":"CREATE TABLE t (id)","load":"rows"}]}` + "\n"
	row := `{"table":"t","row":{"id":1}}` + "\n"
	for line, text := range map[string]string{
		"line 2:":                  head + "garbage\n" + row,
		"line 3:":                  head + row + `{"table":"t","row":{"id":true}}` + "\n" + row,
		"line 4:":                  head + row + row + `{"table":"u","row":{"id":1}}` + "\n",
		"no end line after line 3": head + row + row,
	} {
		if _, err := PrepareImport(testOptions(t), strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), line) {
			t.Errorf("%v, want it to name %q", err, line)
		}
	}
}

// The sqlite3 shell reads our scripts, and we read its dumps.
func TestExportForTheShell(t *testing.T) {
	shell, err := exec.LookPath("sqlite3")
	if err != nil {
		t.Skip("there is no sqlite3 here")
	}
	d := openTest(t, testOptions(t))
	mustExec(t, d, everyKind)
	fillEveryKind(t, d, rand.New(rand.NewPCG(7, 7)))
	mustExec(t, d, `DROP TABLE bare; DROP TABLE boxes; DROP TABLE viewed; DROP TABLE outside; DROP INDEX byb`)
	dir := t.TempDir()
	if err := archive.Write(d, filepath.Join(dir, "copy")); err != nil {
		t.Fatal(err)
	}
	run := func(file, input string) string {
		t.Helper()
		cmd := exec.Command(shell, "-bail", file)
		cmd.Stdin = strings.NewReader(input)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("sqlite3: %v\n%.500s", err, out)
		}
		return string(out)
	}
	run(filepath.Join(dir, "theirs"), string(export(t, filepath.Join(dir, "copy"), SQL)))
	const sum = `SELECT count(*), sum(rowid), sum(length(a)), group_concat(hex(b)), total(c), total(d) FROM plain; SELECT count(*), sum(length(v)) FROM keyed; SELECT count(*) FROM words WHERE words MATCH 'running'; SELECT * FROM sqlite_sequence; PRAGMA integrity_check;`
	ours, theirs := run(filepath.Join(dir, "copy"), sum), run(filepath.Join(dir, "theirs"), sum)
	if ours != theirs || !strings.Contains(ours, "200") {
		t.Errorf("the shell read otherwise: %s", firstDifference(strings.NewReplacer("|", "\n", ",", "\n").Replace(theirs), strings.NewReplacer("|", "\n", ",", "\n").Replace(ours)))
	}
	dump := run(filepath.Join(dir, "theirs"), "DROP TABLE words;\n.dump")
	c := importNew(t, testOptions(t), []byte(dump))
	if got := query(t, c, `SELECT count(*), sum(n) FROM keyed`); fmt.Sprint(got) != "[[200 19900]]" {
		t.Errorf("of the shell's dump: %v", got)
	}
	if got := query(t, c, `SELECT count(*) FROM sqlite_schema WHERE type = 'trigger'`); fmt.Sprint(got) != "[[2]]" {
		t.Errorf("of the shell's dump: %v triggers", got)
	}
}

// The splitter cuts as sqlite3_complete does.
func TestSplitter(t *testing.T) {
	script := "-- a; comment\nCREATE TABLE t (x DEFAULT ';');/* ; */ insert into t values (';''\n;'), (\";\"), (`;`), ([;]);;\n" +
		"EXPLAIN CREATE TEMP TRIGGER a BEGIN SELECT 1; END;CREATE TEMPORARY TRIGGER b BEGIN SELECT CASE WHEN 1 THEN 2 END; SELECT 3; /* END; */ END -- x\n;\n" +
		"SELECT end; CREATE TABLE trigger_end (y); SELECT 5-4/2; -- the last;"
	want := []string{"CREATE TABLE t", "insert into", "EXPLAIN CREATE", "CREATE TEMPORARY", "SELECT end", "CREATE TABLE trigger_end", "SELECT 5"}
	s := splitter{from: bufio.NewReader(strings.NewReader(script))}
	var got []string
	for {
		sql, err := s.next()
		if err != nil {
			break
		}
		got = append(got, sql)
	}
	if len(got) != len(want) {
		t.Fatalf("%d statements: %q", len(got), got)
	}
	strip := regexp.MustCompile(`^(\s|;|--[^\n]*\n|/\*.*?\*/)*`)
	for i, w := range want {
		if !strings.HasPrefix(strip.ReplaceAllString(got[i], ""), w) || !strings.HasSuffix(got[i], ";") {
			t.Errorf("statement %d is %q, want %q…", i, got[i], w)
		}
	}
}
