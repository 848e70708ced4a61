package storage

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/denrooms/den/storage/dbfile"
	"github.com/denrooms/den/storage/pagelog"
)

// rememberFile lets a test bring the file back to how a crash that took all that was not
// synced would leave it: as
// it was at a moment of the test's choice, while the log has more.
func rememberFile(t *testing.T, o Options) (restore func()) {
	t.Helper()
	dir := t.TempDir()
	for _, suffix := range []string{"", "-wal"} {
		if b, err := os.ReadFile(o.Path + suffix); err == nil {
			if err := os.WriteFile(filepath.Join(dir, "f"+suffix), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return func() {
		for _, suffix := range []string{"", "-wal"} {
			os.Remove(o.Path + suffix)
			if b, err := os.ReadFile(filepath.Join(dir, "f"+suffix)); err == nil {
				if err := os.WriteFile(o.Path+suffix, b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

// pagesOf reads all pages of a database.
func pagesOf(t *testing.T, d *DB) []byte {
	t.Helper()
	var all []byte
	d.sql.Mu.Lock()
	defer d.sql.Mu.Unlock()
	if err := d.sql.Each("SELECT data FROM sqlite_dbpage('main') ORDER BY pgno", func(r *Rows) { all = append(all, r.Bytes(0)...) }); err != nil {
		t.Fatal(err)
	}
	pagelog.ClearCounters(all)
	return all
}

// pagesIn is pagesOf for a file that nobody has open.
func pagesIn(t *testing.T, path string) []byte {
	t.Helper()
	f, err := HostFS().Open(path, os.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		t.Fatal(err)
	}
	all := make([]byte, size)
	if _, err := dbfile.NewDatabase(f, path).ReadAt(all, 0); err != nil {
		t.Fatal(err)
	}
	pagelog.ClearCounters(all)
	return all
}

// What the log has and the file lacks is in the file after it was opened, byte for byte:
// rows, schema changes, full-text segments, sequences.
func TestReplayAfterALostFile(t *testing.T) {
	log := newMemLog()
	o := testOptions(t)
	o.Log = log
	d, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, d, todosTable)
	if err := d.Sync("todos"); err != nil {
		t.Fatal(err)
	}
	restore := rememberFile(t, o)
	for i := range 300 {
		mustExec(t, d, fmt.Sprintf(`INSERT INTO todos (id, text, created_at, updated_at) VALUES ('%04d', hex(randomblob(200)), 1, 1)`, i))
	}
	mustExec(t, d, `CREATE VIRTUAL TABLE words USING fts5 (text)`)
	mustExec(t, d, `INSERT INTO words SELECT text FROM todos`)
	mustExec(t, d, `CREATE TABLE seqs (id INTEGER PRIMARY KEY AUTOINCREMENT, x)`)
	mustExec(t, d, `INSERT INTO seqs (x) SELECT randomblob(3000) FROM todos`)
	mustExec(t, d, `DELETE FROM seqs WHERE id % 2`)
	mustExec(t, d, `ALTER TABLE seqs ADD COLUMN y DEFAULT 7`)
	want, seq, number := pagesOf(t, d), d.Seq(), d.store.number
	d.Fence() // no checkpoint, no mark
	restore()
	log.crashed++

	d = openTest(t, o)
	if d.Seq() != seq || d.store.number != number {
		t.Errorf("seq %d, number %d; want %d, %d", d.Seq(), d.store.number, seq, number)
	}
	if !bytes.Equal(pagesOf(t, d), want) {
		t.Error("the file is not what it was")
	}
	mustExec(t, d, `INSERT INTO seqs (x) VALUES (1)`)
}

func TestFileThatTheLogDoesNotFit(t *testing.T) {
	for name, tc := range map[string]func(t *testing.T, o *Options, log *memLog){
		"older than the log's start": func(t *testing.T, o *Options, log *memLog) {
			for _, r := range log.rooms {
				r.entries = r.entries[len(r.entries)-2:]
			}
		},
		"a missing entry": func(t *testing.T, o *Options, log *memLog) {
			for _, r := range log.rooms {
				n := len(r.entries) - 3
				r.entries = append(r.entries[:n:n], r.entries[n+1:]...)
			}
		},
		"another entry in its place": func(t *testing.T, o *Options, log *memLog) {
			for _, r := range log.rooms {
				n := len(r.entries)
				r.entries[n-2].Payload = r.entries[n-1].Payload
			}
		},
		"another log": func(t *testing.T, o *Options, log *memLog) { o.Log = otherLog{newMemLog()} },
		"no log":      func(t *testing.T, o *Options, log *memLog) { o.Log = nil },
		"an entry that is no entry": func(t *testing.T, o *Options, log *memLog) {
			for _, r := range log.rooms {
				r.entries[len(r.entries)-1].Payload = []byte("x")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			log := newMemLog()
			o := testOptions(t)
			o.Log = log
			d, err := Open(o)
			if err != nil {
				t.Fatal(err)
			}
			mustExec(t, d, todosTable)
			d.AfterCommit()
			restore := rememberFile(t, o)
			for i := range 20 {
				mustExec(t, d, fmt.Sprintf(`INSERT INTO todos (id) VALUES (%d)`, i))
			}
			d.Fence()
			restore()
			log.crashed++
			tc(t, &o, log)
			before := fileContent(t, o.Path)
			d, err = Open(o)
			if err == nil {
				d.Close()
				t.Fatal("opened")
			}
			if !errors.Is(err, ErrLogMismatch) && !errors.Is(err, ErrLogMissing) && !errors.Is(err, ErrCorrupt) {
				t.Errorf("error %v", err)
			}
			if fileContent(t, o.Path) != before {
				t.Error("the file was touched")
			}
		})
	}
}

type otherLog struct{ *memLog }

func (otherLog) ID() string { return "another" }

// A log that refuses takes the batch with it, and nothing of it is in the file.
func TestLogThatRefuses(t *testing.T) {
	log := newMemLog()
	o := testOptions(t)
	o.Log = log
	d := openTest(t, o)
	mustExec(t, d, todosTable)
	for _, want := range []error{ErrFull, ErrIO} {
		log.fail = fmt.Errorf("%w: injected", want)
		_, err := d.Exec(`INSERT INTO todos (id) VALUES (1)`)
		wantError(t, err, want)
		log.fail = nil
		if want == ErrIO {
			break
		}
		if got := query(t, d, `SELECT * FROM todos`); len(got) != 0 {
			t.Errorf("%v is there", got)
		}
		mustExec(t, d, `INSERT INTO todos (id) VALUES (2)`)
	}
	if _, err := d.Exec(`INSERT INTO todos (id) VALUES (3)`); err == nil {
		t.Error("the file is used on after an unknown outcome")
	}
}
