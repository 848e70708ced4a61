package storage

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/denrooms/den/storage/roomfile"
)

// scrubAll has all pieces of a file compared.
func scrubAll(scrub func(from int64) (int64, error)) (pieces int, err error) {
	for from := int64(0); ; pieces++ {
		if from, err = scrub(from); from == 0 || err != nil {
			return pieces, err
		}
	}
}

// A flipped bit in any page is found in a file that nobody has open and in that of an open room. The first is marked then, the second
// when it is closed. A marked file is left alone.
func TestScrub(t *testing.T) {
	for _, open := range []bool{false, true} {
		o := testOptions(t)
		d := openTest(t, o)
		mustExec(t, d, "CREATE TABLE big (x); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60) INSERT INTO big SELECT randomblob(3000) FROM n")
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		o = d.Options()
		whole := fileContent(t, o.Path)
		pages := len(whole) / pageSize
		for page := 1; page <= pages; page += 7 {
			scrub := func(from int64) (int64, error) { return ScrubFile(o, from) }
			if open {
				d = openTest(t, o)
				scrub = func(from int64) (int64, error) { return Scrub(d, from) }
			}
			if pieces, err := scrubAll(scrub); err != nil || pieces != pages/16 {
				t.Fatalf("a whole file of %d pages: %d pieces, %v", pages, pieces, err)
			}
			at := int64(page-1)*pageSize + 3000
			overwrite(t, o.Path, at, []byte{whole[at] ^ 8})
			_, err := scrubAll(scrub)
			if said := fmt.Sprintf("page %d of %s does not have its checksum", page, o.Path); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), said) {
				t.Fatalf("%v, want that %s", err, said)
			}
			if there, err := roomfile.Exists(o.FS, o.Path+roomfile.SuspectSuffix); err != nil || there == open {
				t.Fatalf("open: %v, marked: %v, %v", open, there, err)
			}
			if open {
				d.Fence()
				if there, err := roomfile.Exists(o.FS, o.Path+roomfile.SuspectSuffix); err != nil || !there {
					t.Fatalf("it is not marked after its end: %v", err)
				}
			}
			if _, err := scrubAll(func(from int64) (int64, error) { return ScrubFile(o, from) }); err != nil {
				t.Errorf("a marked file: %v", err)
			}
			overwrite(t, o.Path, at, []byte{whole[at]})
			os.Remove(o.Path + roomfile.SuspectSuffix)
			os.Remove(o.Path + "-wal")
		}
	}
}

// overwrite changes a file in its place.
func overwrite(t *testing.T, path string, at int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteAt(b, at)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Files in which a missing checksum says nothing are left out, without an error: one without checksums, one that a crash has left with a
// part in its WAL, one that does not exist, and the database of a room that has no file.
func TestScrubLeavesOut(t *testing.T) {
	none := func(what string, scrub func() (int64, error)) {
		t.Helper()
		if next, err := scrub(); next != 0 || err != nil {
			t.Errorf("%s: %d, %v", what, next, err)
		}
	}
	o, err := testOptions(t).WithDefaults()
	if err != nil {
		t.Fatal(err)
	}
	none("no file", func() (int64, error) { return ScrubFile(o, 0) })
	makePlain(t, o)
	overwrite(t, o.Path, 3*pageSize-1, []byte{7})
	none("a file without checksums", func() (int64, error) { return ScrubFile(o, 0) })
	d := openTest(t, o)
	none("a room without checksums", func() (int64, error) { return Scrub(d, 0) })
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}

	r := newRig(t, 9)
	defer r.close()
	r.mustStart()
	d = r.mustOpen("torn")
	for id := range 30 {
		if err := put(d, id, strings.Repeat("x", 3000)); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	if err := put(d, 31, "in the WAL"); err != nil {
		t.Fatal(err)
	}
	d.AfterCommit()
	d.Fence()
	torn := r.options("torn")
	r.disk.Corrupt(torn.Path, 2*pageSize-600, []byte(strings.Repeat("torn", 128)))
	none("a file that its WAL completes", func() (int64, error) { return ScrubFile(torn, 0) })
	if err := torn.FS.Remove(torn.Path + "-wal"); err != nil {
		t.Fatal(err)
	}
	if _, err := ScrubFile(torn, 0); !errors.Is(err, ErrCorrupt) {
		t.Errorf("without its WAL: %v: nothing is tested", err)
	}

	n := newPoolRig(t)
	n.make("first", todosTable2)
	d = n.open("young")
	if !d.store.inMemory() {
		t.Fatal("the room has a file: nothing is tested")
	}
	none("a room in memory", func() (int64, error) { return Scrub(d, 0) })
	n.close(d)
	if _, err := Scrub(d, 0); !errors.Is(err, ErrClosed) {
		t.Errorf("a closed room: %v", err)
	}
}

// Damage in the header that hides the checksums from who looks there, and a file that was cut, are found without an opening.
func TestScrubHeader(t *testing.T) {
	o := testOptions(t)
	d := openTest(t, o)
	mustExec(t, d, "CREATE TABLE big (x); INSERT INTO big VALUES (randomblob(30000))")
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	o = d.Options()
	whole := []byte(fileContent(t, o.Path))
	check := func(what string, content []byte) {
		t.Helper()
		if err := os.WriteFile(o.Path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := scrubAll(func(from int64) (int64, error) { return ScrubFile(o, from) }); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", what, err)
		}
		os.Remove(o.Path + roomfile.SuspectSuffix)
	}
	for at := range headerSize {
		for _, bit := range []byte{1, 16, 128} {
			flipped := slices.Clone(whole)
			flipped[at] ^= bit
			check(fmt.Sprintf("byte %d with the bit %d changed", at, bit), flipped)
		}
	}
	check("without its last page", whole[:len(whole)-pageSize])
	check("empty", nil)
	check("zeroed", make([]byte, len(whole)))
	if err := os.WriteFile(o.Path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := scrubAll(func(from int64) (int64, error) { return ScrubFile(o, from) }); err != nil {
		t.Errorf("whole again: %v", err)
	}
}

// A file that was cut to nothing is refused: the room had something, which may be nowhere else.
func TestEmptyFileIsRefused(t *testing.T) {
	o := testOptions(t)
	d := openTest(t, o)
	mustExec(t, d, "CREATE TABLE big (x)")
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	o = d.Options()
	if err := os.Truncate(o.Path, 0); err != nil {
		t.Fatal(err)
	}
	if d, err := Open(o); !errors.Is(err, ErrCorrupt) {
		t.Errorf("got %v", err)
		if err == nil {
			d.Close()
		}
	}
	if err := os.Remove(o.Path); err != nil {
		t.Fatal(err)
	}
	if err := openTest(t, o).Close(); err != nil {
		t.Error(err)
	}
}
