package roomfile

// What a file says of itself: the room, and the epoch.

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/denrooms/den/storage/dbfile"
	"github.com/denrooms/den/storage/sqlite"
	"github.com/denrooms/den/storage/vfs"
)

// An Identity makes a copied file a room of its own.
type Identity struct {
	Namespace, Room string
	Epoch           string
	Above           uint64 // the room's seq will be higher than this
	At              int64  // Unix milliseconds
	// More is called with the file in the same transaction. It may be nil.
	More func(Conn) error
}

// NewEpoch returns a random epoch: 32 hex digits.
func NewEpoch(random io.Reader) (string, error) {
	epoch := make([]byte, 16)
	if _, err := io.ReadFull(random, epoch); err != nil {
		return "", err
	}
	return hex.EncodeToString(epoch), nil
}

// EpochSum is the row of _den_meta that has the checksum of the epoch. The epoch leads from a file to its transactions in the
// commit log. A Relaxed log may have none of them, so a damaged epoch would look like a room that has lost its last
// transactions. An older file has no such row.
const EpochSum = "epoch_sum"

// SumOf returns the value of the row EpochSum.
func SumOf(epoch string) int64 { return int64(castagnoli(0, []byte(epoch))) }

// CheckEpoch returns ErrCorrupt unless the epoch in _den_meta is one that Den has made.
func CheckEpoch(meta map[string]sqlite.Value) error {
	epoch, is := meta["epoch"].(string)
	if raw, err := hex.DecodeString(epoch); !is || err != nil || len(raw) != 16 {
		return fmt.Errorf("%w: the epoch in _den_meta is %v, which is not 32 hex digits", ErrCorrupt, meta["epoch"])
	}
	if sum, there := meta[EpochSum]; there && sum != SumOf(epoch) {
		return fmt.Errorf("%w: the epoch in _den_meta does not have its checksum", ErrCorrupt)
	}
	return nil
}

// Settle gives a complete file that nobody has open its identity, syncs it, and returns the room's seq. The change log begins
// again at the next seq. So whatever a client knows from before is below the floor, in any epoch. A file that takes a room's
// place needs WALMode, because SQLite's own switch to it uses a journal that a power cut could bring back.
func (id Identity) Settle(f vfs.FS, path string, mode JournalMode) (seq uint64, err error) {
	if err := setModeOf(f, path, RollbackMode); err != nil {
		return 0, err
	}
	c, err := Open(f, path)
	if err != nil {
		return 0, err
	}
	seq, err = id.write(c)
	if err = errors.Join(err, c.Close()); err == nil {
		err = setModeOf(f, path, mode)
	}
	if err == nil {
		err = syncFile(f, path)
	}
	return seq, err
}

func (id Identity) write(c Conn) (uint64, error) {
	var number, last int64
	err := c.Each("SELECT number, last FROM _den_changes ORDER BY id DESC LIMIT 1", func(r *sqlite.Row) { number, last = r.Int(0), r.Int(1) })
	if err != nil {
		return 0, err
	}
	seq := max(last, int64(id.Above)) + 1
	if err := c.Exec("BEGIN; DELETE FROM _den_changes; DELETE FROM _den_meta WHERE name = 'layout'"); err != nil {
		return 0, err
	}
	err = c.Exec("INSERT INTO _den_changes (id, number, at, first, last, highs, entries) VALUES (1, ?1, ?2, ?3, ?4, x'', x'')",
		number+1, id.At, seq+1, seq)
	if err != nil {
		return 0, err
	}
	err = c.Exec(`INSERT INTO _den_meta (name, value) VALUES
		('namespace', ?1), ('room', ?2), ('epoch', ?3), ('epoch_sum', ?4), ('floor', ?5), ('log', ''), ('clean', 0)
		ON CONFLICT (name) DO UPDATE SET value = excluded.value`, id.Namespace, id.Room, id.Epoch, SumOf(id.Epoch), seq)
	if err == nil && id.More != nil {
		err = id.More(c)
	}
	if err != nil {
		return 0, err
	}
	return uint64(seq), c.Exec("COMMIT")
}

// LastIn returns the newest row of a file's change log: the number of the newest transaction, the room's seq, and the time in
// Unix milliseconds. The file must be in WAL mode, and nobody may have it open. LastIn leaves it as it was, synced.
func LastIn(f vfs.FS, path string) (e Entry, err error) {
	if err := setModeOf(f, path, RollbackMode); err != nil {
		return e, err
	}
	c, err := Open(f, path)
	if err != nil {
		return e, err
	}
	err = c.Each("SELECT number, last, at FROM _den_changes ORDER BY id DESC LIMIT 1", func(r *sqlite.Row) {
		e = Entry{Number: uint64(r.Int(0)), Seq: uint64(r.Int(1)), At: r.Int(2)}
	})
	if err = errors.Join(err, c.Close()); err == nil {
		err = setModeOf(f, path, WALMode)
	}
	if err == nil {
		err = syncFile(f, path)
	}
	return e, err
}

// A JournalMode is the journal mode in a file's header: bytes 18 and 19, sqlite.org/fileformat2.html.
type JournalMode byte

// The journal modes.
const (
	RollbackMode JournalMode = 1
	WALMode      JournalMode = 2
)

// SetJournalMode changes the header of a file that nobody has open and that has no journal. It does not sync the file.
func SetJournalMode(f *dbfile.Database, mode JournalMode) error {
	return EditHeader(f, func(header []byte) { header[18], header[19] = byte(mode), byte(mode) })
}

// EditHeader changes the first page of a file that nobody has open. It does not sync the file.
func EditHeader(f *dbfile.Database, edit func(page []byte)) error {
	page := make([]byte, dbfile.PageSize)
	n, err := f.ReadAt(page, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return Failed(err)
	}
	edit(page)
	_, err = f.WriteAt(page[:n], 0)
	return Failed(err)
}

// setModeOf is SetJournalMode of a file that is not open.
func setModeOf(f vfs.FS, path string, mode JournalMode) error {
	return vfs.Use(f, path, os.O_RDWR, func(file vfs.File) error { return SetJournalMode(dbfile.NewDatabase(file, path), mode) })
}
