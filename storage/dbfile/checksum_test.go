package dbfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/denrooms/den/storage/sqlite"
	"github.com/denrooms/den/storage/vfs"
)

// newSummed makes a database with checksums by SQL, in its rollback mode.
func newSummed(t testing.TB, sql string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "db")
	inSQLite(t, path, func(c *sqlite.Conn) {
		if err := c.ReserveBytes(ReservedBytes); err != nil {
			t.Fatal(err)
		}
		run(t, c, sql)
	})
	return path
}

// inSQLite opens a database, or makes one, and closes it.
func inSQLite(t testing.TB, path string, do func(*sqlite.Conn)) {
	t.Helper()
	c, err := Open(vfs.Host().SQLite(), path, sqlite.OpenReadWrite|sqlite.OpenCreate)
	if err != nil {
		t.Fatal(err)
	}
	run(t, c, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA cache_size = 10")
	do(c)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

// scan gives the pages without their checksums.
func scan(t testing.TB, path string) (bad []uint32) {
	t.Helper()
	f, err := vfs.Host().Open(path, os.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := NewDatabase(f, path).Scan(func(page uint32) { bad = append(bad, page) }); err != nil {
		t.Fatal(err)
	}
	return bad
}

func content(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func overwrite(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// rows fills a table t with rows of a size, of which the first half is deleted again: then there are free pages.
func rows(n, size int) string {
	return fmt.Sprintf(`CREATE TABLE t (a INTEGER PRIMARY KEY, b);
		WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) INSERT INTO t SELECT i, randomblob(%d) FROM n;
		DELETE FROM t WHERE a <= %[1]d / 2`, n, size)
}

// TestSealed: each page that SQLite writes gets its checksum, in whatever order and by whatever way it writes, and what is read has
// zeros in its place.
func TestSealed(t *testing.T) {
	for name, sql := range map[string]string{
		"small":              "PRAGMA journal_mode = OFF; CREATE TABLE t (a); INSERT INTO t VALUES (1)",
		"spilled":            "PRAGMA journal_mode = OFF; BEGIN;" + rows(500, 3000) + "; COMMIT", // before page 1
		"with a journal":     rows(500, 3000),
		"rolled back":        rows(100, 3000) + "; BEGIN; UPDATE t SET b = randomblob(9000); ROLLBACK",
		"a WAL":              "PRAGMA journal_mode = WAL;" + rows(500, 3000),
		"a WAL, in parts":    "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 5;" + rows(500, 3000) + "; UPDATE t SET b = 'x'",
		"vacuum":             rows(500, 3000) + "; VACUUM",
		"incremental vacuum": "PRAGMA auto_vacuum = INCREMENTAL;" + rows(500, 3000) + "; PRAGMA incremental_vacuum",
		"grown by zeros":     "PRAGMA journal_mode = OFF;" + rows(500, 3000) + "; DROP TABLE t; CREATE TABLE u AS SELECT zeroblob(500000)",
	} {
		t.Run(name, func(t *testing.T) {
			path := newSummed(t, sql)
			if bad := scan(t, path); len(bad) > 0 {
				t.Fatalf("pages %v have no checksums", bad)
			}
			b := content(t, path)
			if b[reservedAt] != ReservedBytes || len(b)%PageSize != 0 {
				t.Fatalf("%d reserved bytes, %d bytes", b[reservedAt], len(b))
			}
			inSQLite(t, path, func(c *sqlite.Conn) {
				want(t, c, "PRAGMA integrity_check", "ok")
				want(t, c, "SELECT count(*) FROM sqlite_dbpage WHERE substr(data, -8) <> zeroblob(8)", int64(0))
			})
			own := mustOpen(t, func() (*sqlite.Conn, error) { return sqlite.OpenConn("", path, sqlite.OpenReadWrite) })
			want(t, own, "PRAGMA integrity_check", "ok") // SQLite's own VFS
		})
	}
}

// TestCopiesAreSealed: VACUUM INTO and SQLite's backup make databases of the same kind, VACUUM INTO also of the other one.
func TestCopiesAreSealed(t *testing.T) {
	summed := newSummed(t, rows(300, 3000))
	plain := newDatabase(t, "DELETE")
	inSQLite(t, plain, func(c *sqlite.Conn) { run(t, c, "DROP TABLE t;"+rows(300, 3000)) })
	into := filepath.Join(t.TempDir(), "into")
	inSQLite(t, plain, func(c *sqlite.Conn) {
		if err := c.ReserveBytes(ReservedBytes); err != nil {
			t.Fatal(err)
		}
		run(t, c, "VACUUM INTO '"+into+"'")
	})
	for from, reserved := range map[string]byte{summed: ReservedBytes, plain: 0} {
		for _, how := range []string{"vacuum", "backup"} {
			to := filepath.Join(t.TempDir(), how)
			inSQLite(t, from, func(c *sqlite.Conn) {
				if how == "vacuum" {
					run(t, c, "VACUUM INTO '"+to+"'")
					return
				}
				dest, err := Open(vfs.Host().SQLite(), to, sqlite.OpenReadWrite|sqlite.OpenCreate)
				if err != nil {
					t.Fatal(err)
				}
				run(t, dest, "PRAGMA journal_mode = OFF; PRAGMA cache_size = 10")
				b, err := sqlite.NewBackup(dest, c)
				if err == nil {
					_, err = b.Step(-1)
				}
				if err := errors.Join(err, b.Close(), dest.Close()); err != nil {
					t.Fatal(err)
				}
			})
			if b := content(t, to); b[reservedAt] != reserved || len(scan(t, to)) > 0 {
				t.Errorf("%s of %d reserved bytes: %d; pages %v have no checksums", how, reserved, b[reservedAt], scan(t, to))
			}
			inSQLite(t, to, func(c *sqlite.Conn) { want(t, c, "PRAGMA integrity_check", "ok") })
		}
	}
	if b := content(t, into); b[reservedAt] != ReservedBytes || len(scan(t, into)) > 0 {
		t.Errorf("into: %d reserved bytes; pages %v have no checksums", b[reservedAt], scan(t, into))
	}
}

// TestFlippedBits: each bit of each page is noticed by Scan, and by SQLite where it reads the page: in the header, in a b-tree, in
// overflow pages, in free pages, and in the checksum itself.
func TestFlippedBits(t *testing.T) {
	path := newSummed(t, rows(30, 9000)+"; CREATE TABLE u (x PRIMARY KEY) WITHOUT ROWID; INSERT INTO u SELECT a FROM t")
	whole := content(t, path)
	pages := len(whole) / PageSize
	if pages < 50 {
		t.Fatalf("%d pages", pages)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	var bits []int
	for page := range pages {
		for _, at := range []int{0, 5, 8, 20, 60, 99, 100, 2000, 4087, 4088, 4091, 4092, 4095, rng.IntN(PageSize)} {
			bits = append(bits, (page*PageSize+at)*8+rng.IntN(8))
		}
	}
	for bit := range 100 * 8 {
		bits = append(bits, bit)
	}
	for _, bit := range bits {
		number := uint32(bit/8/PageSize + 1)
		damaged := slices.Clone(whole)
		damaged[bit/8] ^= 1 << (bit % 8)
		overwrite(t, path, damaged)
		if kindOf(damaged) != summed { // the magic, or the number of reserved bytes, which the owner of the file knows
			if number != 1 || bit/8 > reservedAt {
				t.Fatalf("bit %d: it is another kind of file", bit)
			}
			continue
		}
		if bad := scan(t, path); !slices.Equal(bad, []uint32{number}) {
			t.Fatalf("bit %d of page %d: found in %v", bit, number, bad)
		}
	}
	for page := range pages { // through SQLite
		damaged := slices.Clone(whole)
		damaged[page*PageSize+3000] ^= 1
		overwrite(t, path, damaged)
		c, err := Open(vfs.Host().SQLite(), path, sqlite.OpenReadWrite)
		if err != nil {
			t.Fatal(err)
		}
		_, err = query(c, fmt.Sprintf("SELECT max(data) FROM sqlite_dbpage WHERE pgno = %d", page+1))
		said := fmt.Sprintf("page %d of %s does not have its checksum", page+1, path)
		if codeOf(err) != sqlite.ResultCorrupt || !strings.Contains(err.Error(), said) {
			t.Errorf("page %d: %v", page+1, err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	overwrite(t, path, whole)
	if bad := scan(t, path); len(bad) > 0 {
		t.Errorf("the whole file: %v", bad)
	}
}

// TestMisplacedPage: a page in another one's place is noticed, and so is one that is cut short, or behind which the file was made
// longer. A page of zeros is one that nobody has written.
func TestMisplacedPage(t *testing.T) {
	path := newSummed(t, rows(30, 3000))
	whole := content(t, path)
	page := func(b []byte, n int) []byte { return b[(n-1)*PageSize : n*PageSize] }
	last := uint32(len(whole) / PageSize)
	for name, c := range map[string]struct {
		damage func(b []byte) []byte
		bad    []uint32
	}{
		"swapped":             {func(b []byte) []byte { copy(page(b, 5), page(whole, 6)); copy(page(b, 6), page(whole, 5)); return b }, []uint32{5, 6}},
		"twice":               {func(b []byte) []byte { copy(page(b, 5), page(whole, 6)); return b }, []uint32{5}},
		"zeros":               {func(b []byte) []byte { clear(page(b, 5)); return b }, nil},
		"half of it":          {func(b []byte) []byte { clear(page(b, 5)[2048:]); return b }, []uint32{5}},
		"a bit in zeros":      {func(b []byte) []byte { clear(page(b, 5)); page(b, 5)[77] = 4; return b }, []uint32{5}},
		"no checksum":         {func(b []byte) []byte { clear(page(b, 5)[PageSize-8:]); return b }, []uint32{5}},
		"short":               {func(b []byte) []byte { return b[:len(b)-1] }, []uint32{last}},
		"shorter":             {func(b []byte) []byte { return b[:len(b)-4095] }, []uint32{last}},
		"longer":              {func(b []byte) []byte { return append(b, make([]byte, PageSize+5)...) }, nil},
		"longer by something": {func(b []byte) []byte { return append(b, 1) }, []uint32{last + 1}},
	} {
		overwrite(t, path, c.damage(slices.Clone(whole)))
		if bad := scan(t, path); !slices.Equal(bad, c.bad) {
			t.Errorf("%s: found in %v, want %v", name, bad, c.bad)
		}
		f, err := vfs.Host().Open(path, os.O_RDONLY)
		if err != nil {
			t.Fatal(err)
		}
		d := NewDatabase(f, path)
		var read []uint32
		for number := uint32(1); number <= last+1; number++ {
			p := make([]byte, PageSize)
			if _, err := d.ReadAt(p, int64(number-1)*PageSize); codeOf(err) == sqlite.ResultCorrupt {
				read = append(read, number)
			}
		}
		if !slices.Equal(read, c.bad) {
			t.Errorf("%s: %v were refused, want %v", name, read, c.bad)
		}
		f.Close()
	}
}

// TestLockPage: SQLite leaves out the page at 1 GiB, which has the bytes that it locks.
func TestLockPage(t *testing.T) {
	const lockPage = 1<<30/PageSize + 1
	path := newSummed(t, "CREATE TABLE t (a); INSERT INTO t VALUES (1)")
	if err := os.Truncate(path, (lockPage+1)*PageSize); err != nil {
		t.Fatal(err)
	}
	f, err := vfs.Host().Open(path, os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d, p := NewDatabase(f, path), bytes.Repeat([]byte{7}, PageSize)
	if _, err := d.WriteAt(p, lockPage*PageSize); err != nil { // the one behind it
		t.Fatal(err)
	}
	for number := int64(lockPage - 1); number <= lockPage+1; number++ {
		clear(p)
		if _, err := d.ReadAt(p, (number-1)*PageSize); err != nil || (p[0] == 7) != (number == lockPage+1) {
			t.Errorf("page %d: %v, %d", number, err, p[0])
		}
	}
}

// TestPartsOfPages: of a database with checksums nobody reads or writes a part of a page, but for its header.
func TestPartsOfPages(t *testing.T) {
	path := newSummed(t, rows(90, 3000))
	f, err := vfs.Host().Open(path, os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, c := range []struct {
		n   int
		off int64
		ok  bool
	}{{16, 24, true}, {100, 0, true}, {PageSize, 0, true}, {3 * PageSize, PageSize, true}, {512, 0, false}, {PageSize, 512, false}, {PageSize + 1, 0, false}} {
		if _, err := NewDatabase(f, path).ReadAt(make([]byte, c.n), c.off); (err == nil) != c.ok {
			t.Errorf("reading %d bytes at %d: %v", c.n, c.off, err)
		}
	}
	before := content(t, path)
	for _, c := range []struct {
		n   int
		off int64
	}{{2, 18}, {512, PageSize}, {PageSize, 5}} {
		if _, err := NewDatabase(f, path).WriteAt(make([]byte, c.n), c.off); err == nil {
			t.Errorf("%d bytes are written at %d", c.n, c.off)
		}
	}
	other := slices.Clone(before[:PageSize])
	other[reservedAt] = 0
	if _, err := NewDatabase(f, path).WriteAt(other, 0); err == nil {
		t.Error("the database has no checksums any more")
	}
	if !bytes.Equal(content(t, path), before) {
		t.Error("the file has changed")
	}
	b := slices.Clone(before[PageSize : 40*PageSize])
	kept := slices.Clone(b)
	if n, err := NewDatabase(f, path).WriteAt(b, PageSize); n != len(b) || err != nil || !bytes.Equal(b, kept) {
		t.Errorf("%d of %d bytes are written, %v", n, len(b), err)
	}
	if bad := scan(t, path); len(bad) > 0 {
		t.Errorf("pages %v have no checksums", bad)
	}
}

// TestChangedByOthers: what SQLite's own VFS writes has no checksums, until Seal gives it some.
func TestChangedByOthers(t *testing.T) {
	path := newSummed(t, rows(30, 3000))
	c, err := sqlite.OpenConn("", path, sqlite.OpenReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	run(t, c, "UPDATE t SET b = randomblob(2000)")
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if bad := scan(t, path); len(bad) < 10 || bad[0] != 1 {
		t.Fatalf("only the pages %v have no checksums", bad)
	}
	f, err := vfs.Host().Open(path, os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := NewDatabase(f, path).Seal(); err != nil {
		t.Fatal(err)
	}
	if bad := scan(t, path); len(bad) > 0 {
		t.Errorf("pages %v have no checksums", bad)
	}
	inSQLite(t, path, func(c *sqlite.Conn) { want(t, c, "PRAGMA integrity_check", "ok") })
}

// TestWithoutChecksums: any other database is read and written byte for byte as before.
func TestWithoutChecksums(t *testing.T) {
	path := newDatabase(t, "DELETE")
	inSQLite(t, path, func(c *sqlite.Conn) { run(t, c, "DROP TABLE t;"+rows(50, 3000)) })
	b := content(t, path)
	if b[reservedAt] != 0 || len(scan(t, path)) > 0 {
		t.Errorf("%d reserved bytes", b[reservedAt])
	}
	f, err := vfs.Host().Open(path, os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := make([]byte, len(b)+100)
	if n, err := NewDatabase(f, path).ReadAt(got, 0); n != len(b) || !errors.Is(err, io.EOF) || !bytes.Equal(got[:n], b) {
		t.Errorf("%d bytes, %v", n, err)
	}
	if err := NewDatabase(f, path).Seal(); err != nil || !bytes.Equal(content(t, path), b) {
		t.Errorf("Seal has changed it, %v", err)
	}
	if _, err := NewDatabase(f, path).WriteAt([]byte("xyz"), 5000); err != nil || string(content(t, path)[5000:5003]) != "xyz" {
		t.Errorf("%v", err)
	}
}

// TestDamagedThroughFiles: a connection that goes from a damaged file to a sound one knows of each what is wrong with it.
func TestDamagedThroughFiles(t *testing.T) {
	sum := "PRAGMA journal_mode = WAL;" + rows(30, 3000)
	paths := []string{newSummed(t, sum), newSummed(t, sum)}
	c, files := hold(t, paths[0])
	if files.Damaged() {
		t.Error("the first one is damaged")
	}
	leave(t, c, files, paths[0])
	b := content(t, paths[1])
	b[4*PageSize+100] ^= 1
	overwrite(t, paths[1], b)
	enter(t, files, paths[1])
	if _, err := query(c, "SELECT max(data) FROM sqlite_dbpage"); codeOf(err) != sqlite.ResultCorrupt || !strings.Contains(err.Error(), "page 5 of "+paths[1]) {
		t.Errorf("%v", err)
	}
	if !files.Damaged() {
		t.Error("the second one is not damaged")
	}
	if err := errors.Join(files.CloseMain(), files.WAL().Close()); err != nil {
		t.Fatal(err)
	}
	enter(t, files, paths[0])
	if _, err := query(c, "SELECT max(data) FROM sqlite_dbpage"); err != nil || files.Damaged() {
		t.Errorf("back in the first one: %v, %v", err, files.Damaged())
	}
}

// FuzzDatabase: no file panics, and what Scan does not find can be read.
func FuzzDatabase(f *testing.F) {
	whole := content(f, newSummed(f, rows(4, 3000)))
	f.Add(whole, uint32(0), byte(0))
	f.Add(whole, uint32(5000), byte(1))
	f.Add(whole[:5000], uint32(20), byte(8))
	f.Add([]byte(magic), uint32(3), byte(1))
	f.Fuzz(func(t *testing.T, file []byte, at uint32, mask byte) {
		if len(file) > 0 {
			file[int(at)%len(file)] ^= mask
		}
		m := NewMemory(file)
		bad := make(map[uint32]bool)
		if err := NewDatabase(m, "f").Scan(func(page uint32) { bad[page] = true }); err != nil {
			t.Fatal(err)
		}
		d := NewDatabase(m, "f")
		for off := int64(0); off < int64(len(file)); off += PageSize {
			p := make([]byte, PageSize)
			_, err := d.ReadAt(p, off)
			if number := uint32(off/PageSize) + 1; (codeOf(err) == sqlite.ResultCorrupt) != bad[number] {
				t.Fatalf("page %d: %v, and Scan %v", number, err, bad[number])
			}
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	page := bytes.Repeat([]byte("page"), PageSize/4)
	b.SetBytes(PageSize)
	for b.Loop() {
		seal(page, 7)
		if !sealed(page, 7) {
			b.Fatal("not sealed")
		}
	}
}
