package storage

// A copy of a room's file that is taken while the room goes on: SQLite's backup, some
// pages at a time. What is written between two steps gets into the copy too, so that at
// its end it is the room as of the last step.

import (
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/denrooms/den/storage/dbfile"
	"github.com/denrooms/den/storage/roomfile"
	"github.com/denrooms/den/storage/sqlite"
	"github.com/denrooms/den/storage/vfs"
)

// A Backup is a copy under way. Step is called by the DB's goroutine, between batches;
// Finish and Close by any, but not at the same time as one another.
type Backup struct {
	// immutable

	d      *DB
	path   string
	temp   string
	become identity

	// protected by d.mu

	dest        *sqlite.Conn // nil when the copy is done or given up
	copy        *sqlite.Backup
	copied      bool
	err         error
	pages, left int
}

// Backup begins a copy of the room into a file that must not be there (ErrExists). The
// file appears under its name with Finish. A Backup that is not finished is given up
// with Close, or with the DB.
//
// The copy is a history of its own: it has another epoch, and its change log begins
// behind everything that it holds, so that no cursor of the room leads into it. It opens
// as the same room does. It is in SQLite's rollback mode, one file that any tool reads.
func (d *DB) Backup(path string) (*Backup, error) {
	if err := d.lock(); err != nil {
		return nil, err
	}
	defer d.mu.Unlock()
	become := identity{namespace: d.o.Namespace, room: d.o.Room, at: d.o.Now().UnixMilli()}
	if err := become.newEpoch(d.o.Random); err != nil {
		return nil, err
	}
	temp, err := roomfile.Unique(d.o.Random, path+roomfile.PartInfix)
	if err != nil {
		return nil, err
	}
	b := &Backup{d: d, path: path, temp: temp, become: become}
	if err := b.start(); err != nil {
		roomfile.RemoveDatabase(d.o.FS, temp)
		return nil, fmt.Errorf("backup to %s: %w", path, diagnose(path, err))
	}
	d.backups = append(d.backups, b)
	return b, nil
}

func (b *Backup) start() error {
	d := b.d
	if err := roomfile.Absent(d.o.FS, b.path); err != nil {
		return err
	}
	if _, err := d.o.FS.MakeDirs(filepath.Dir(b.path)); err != nil {
		return err
	}
	if err := roomfile.Make(d.o.FS, b.temp); err != nil {
		return err
	}
	var err error
	if b.dest, err = dbfile.Open(d.o.FS.SQLite(), b.temp, sqlite.OpenReadWrite); err != nil {
		return failed(err)
	}
	if err = failed(b.dest.ExecScript("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF")); err == nil {
		b.copy, err = sqlite.NewBackup(b.dest, d.c.Conn)
		err = failed(err)
	}
	if err != nil {
		b.drop(err)
	}
	return err
}

// Step copies some pages of 4096 bytes; a negative number is all that is left. done tells
// that all are there. Step must not be called while a batch is open (ErrMisuse). After an
// error the copy is given up; ErrClosed says that the DB was.
//
// When an action of the room is rolled back, SQLite begins the copy again. Who calls Step
// sees it by Left, and ends it by taking more pages at once.
func (b *Backup) Step(pages int) (done bool, err error) {
	d := b.d
	if err := d.lock(); err != nil {
		return false, err
	}
	defer d.mu.Unlock()
	switch {
	case b.copied:
		return true, nil
	case b.err != nil:
		return false, b.err
	case d.batch != nil:
		return false, fmt.Errorf("storage: %w: a step of a backup while a batch is open", ErrMisuse)
	}
	more, err := b.copy.Step(pages)
	b.pages, b.left = b.copy.PageCount(), b.copy.Remaining()
	switch {
	case err != nil:
		return false, b.drop(fmt.Errorf("backup to %s: %w", b.path, failed(err)))
	case more:
		return false, nil
	}
	b.copied = true
	err = b.drop(nil)
	return err == nil, err
}

// Left is how many pages are still to be copied, and of how many; as of the last Step.
func (b *Backup) Left() (left, of int) {
	b.d.mu.Lock()
	defer b.d.mu.Unlock()
	return b.left, b.pages
}

// drop ends SQLite's part of the copy. The DB's mutex is held, or the DB is not yet known
// to anybody else.
func (b *Backup) drop(cause error) error {
	if b.dest == nil {
		return b.err
	}
	if b.copy != nil {
		if err := b.copy.Close(); cause == nil {
			cause = failed(err)
		}
		b.copy = nil
	}
	if err := b.dest.Close(); cause == nil {
		cause = failed(err)
	}
	b.dest = nil
	if cause != nil {
		b.copied, b.err = false, cause
	}
	b.d.backups = slices.DeleteFunc(b.d.backups, func(other *Backup) bool { return other == b })
	return cause
}

// dropBackups gives up the copies that are under way, before their source is closed.
func (d *DB) dropBackups() {
	for len(d.backups) > 0 {
		d.backups[0].drop(ErrClosed)
	}
}

// Finish makes a copy that is done durable and gives it its name. It waits for the disk,
// and the room does not wait with it.
func (b *Backup) Finish() error {
	b.d.mu.Lock()
	copied, err := b.copied, b.err
	b.d.mu.Unlock()
	if !copied {
		if err == nil {
			err = fmt.Errorf("storage: %w: Finish of a backup that is not done", ErrMisuse)
		}
		return err
	}
	f := b.d.o.FS
	err = b.become.settle(f, b.temp, rollbackMode)
	if err == nil {
		err = roomfile.Publish(f, b.temp, b.path)
	}
	if err != nil {
		roomfile.RemoveDatabase(f, b.temp)
		return fmt.Errorf("backup to %s: %w", b.path, diagnose(b.path, err))
	}
	return nil
}

// Close gives the copy up, if it is not finished.
func (b *Backup) Close() error {
	b.d.mu.Lock()
	if b.dest != nil {
		b.drop(ErrClosed)
	}
	b.d.mu.Unlock()
	return roomfile.RemoveDatabase(b.d.o.FS, b.temp)
}

// WriteBackup copies the room into a file that must not be there, at one go.
func (d *DB) WriteBackup(path string) error {
	b, err := d.Backup(path)
	if err != nil {
		return err
	}
	defer b.Close()
	if _, err := b.Step(-1); err != nil {
		return err
	}
	return b.Finish()
}

// WriteStateAt copies the room as it was at a point in its history (see CopyAt) into a file
// that must not be there; what comes of it is as of Backup. No batch may be open, and the
// room waits. Errors besides those of Backup: a *HistoryError, which matches ErrNoHistory or ErrNotYet.
func (d *DB) WriteStateAt(path string, p Point) error {
	is, err := d.isAt(p)
	if err != nil {
		return err
	}
	if is {
		return d.WriteBackup(path)
	}
	f := d.o.FS
	temp, err := roomfile.Unique(d.o.Random, path+roomfile.PartInfix)
	if err != nil {
		return err
	}
	become := identity{namespace: d.o.Namespace, room: d.o.Room, at: d.o.Now().UnixMilli()}
	err = become.newEpoch(d.o.Random)
	if err == nil {
		err = roomfile.Absent(f, path)
	}
	if err == nil {
		_, err = f.MakeDirs(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("state to %s: %w", path, diagnose(path, err))
	}
	if err = d.CopyAt(temp, p); err == nil {
		err = become.settle(f, temp, rollbackMode)
	}
	if err == nil {
		err = roomfile.Publish(f, temp, path)
	}
	if err != nil {
		roomfile.RemoveDatabase(f, temp)
		if _, history := errors.AsType[*HistoryError](err); history { // it is not about the file
			return err
		}
		return fmt.Errorf("state to %s: %w", path, diagnose(path, err))
	}
	return nil
}

// isAt reports whether the room as it is now is what a point names. That needs no history.
func (d *DB) isAt(p Point) (bool, error) {
	if err := d.lock(); err != nil {
		return false, err
	}
	defer d.mu.Unlock()
	newest, err := d.position()
	if err == nil {
		err = p.notYet(newest, d.o.Now())
	}
	return err == nil && p.isBehind(newest), err
}

// An identity is what makes a copied file a room of its own.
type identity struct {
	namespace, room string
	epoch           string
	above           Seq         // the room's seq is to be higher than this
	seq             Seq         // what it is, when settle has returned
	at              int64       // Unix milliseconds
	carried         []keptTable // tables that are in the file's place now, and stay
}

func (id *identity) newEpoch(random io.Reader) (err error) {
	id.epoch, err = roomfile.NewEpoch(random)
	return err
}

// epochSum is the row of _den_meta that has the checksum of the epoch. The epoch is what leads from a file to its transactions in the
// commit log: a log that is relaxed may rightly have none, so a damaged epoch would pass for a room that has lost its end.
// An older file has no such row.
const epochSum = "epoch_sum"

func sumOf(epoch string) int64 {
	return int64(crc32.Checksum([]byte(epoch), crc32.MakeTable(crc32.Castagnoli)))
}

// checkEpoch looks whether the epoch in _den_meta is one that Den has made.
func checkEpoch(meta map[string]Value) error {
	epoch, is := meta["epoch"].(string)
	if raw, err := hex.DecodeString(epoch); !is || err != nil || len(raw) != 16 {
		return fmt.Errorf("%w: the epoch in _den_meta is %v, which is not 32 hex digits", ErrCorrupt, meta["epoch"])
	}
	if sum, there := meta[epochSum]; there && sum != sumOf(epoch) {
		return fmt.Errorf("%w: the epoch in _den_meta does not have its checksum", ErrCorrupt)
	}
	return nil
}

// settle gives a whole file that nobody has open its identity, and syncs it. The change
// log begins again, one seq further: everything that a client knows from before is below
// the floor, whatever epoch it names. A file that takes a room's place is to be in WAL mode: the
// switch to it goes through a journal that a power cut could bring back.
func (id *identity) settle(f FS, path string, mode journalMode) error {
	if err := setFileJournalMode(f, path, rollbackMode); err != nil {
		return err
	}
	d, err := openBeside(f, path)
	if err != nil {
		return err
	}
	if err := errors.Join(id.write(d), d.Close()); err != nil {
		return err
	}
	if err := setFileJournalMode(f, path, mode); err != nil {
		return err
	}
	return roomfile.Sync(f, path)
}

func (id *identity) write(d *DB) error {
	var number, seq int64
	err := d.each("SELECT number, last FROM _den_changes ORDER BY id DESC LIMIT 1", func(r *Rows) { number, seq = r.Int(0), r.Int(1) })
	if err != nil {
		return err
	}
	seq = max(seq, int64(id.above)) + 1
	id.seq = Seq(seq)
	if _, err := d.exec(own, "BEGIN; DELETE FROM _den_changes; DELETE FROM _den_meta WHERE name = 'layout'", nil); err != nil {
		return err
	}
	_, err = d.exec(own, "INSERT INTO _den_changes (id, number, at, first, last, highs, entries) VALUES (1, ?1, ?2, ?3, ?4, x'', x'')",
		[]any{number + 1, id.at, seq + 1, seq})
	if err != nil {
		return err
	}
	_, err = d.exec(own, `INSERT INTO _den_meta (name, value) VALUES
		('namespace', ?1), ('room', ?2), ('epoch', ?3), ('epoch_sum', ?4), ('floor', ?5), ('log', ''), ('clean', 0)
		ON CONFLICT (name) DO UPDATE SET value = excluded.value`, []any{id.namespace, id.room, id.epoch, sumOf(id.epoch), seq})
	if err != nil {
		return err
	}
	for _, t := range id.carried {
		if err := t.write(d); err != nil {
			return fmt.Errorf("keeping %s: %w", t.name, err)
		}
	}
	_, err = d.exec(own, "COMMIT", nil)
	return err
}

// openBeside opens a file that is being made beside its place: without a journal and
// without syncs, for it is thrown away if anything fails. There are no limits and no
// callbacks.
func openBeside(f FS, path string) (*DB, error) {
	o, err := Options{Path: path, FS: f, StatementCache: 1}.withDefaults()
	if err != nil {
		return nil, err
	}
	d, err := connect(o, f.SQLite(), path)
	if err != nil {
		return nil, err
	}
	// EXCLUSIVE before anything is read: there is no shared memory then.
	_, err = d.exec(own, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = OFF; PRAGMA journal_mode = OFF; PRAGMA temp_store = MEMORY", nil)
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// A journalMode is what a file's header says of its journal: bytes 18 and 19,
// sqlite.org/fileformat2.html.
type journalMode byte

const (
	rollbackMode journalMode = 1
	walMode      journalMode = 2
)

// setJournalMode changes the header of a file that nobody has open and that has no journal.
func setJournalMode(f vfs.File, mode journalMode) error {
	_, err := f.WriteAt([]byte{byte(mode), byte(mode)}, 18)
	return err
}

// setFileJournalMode is setJournalMode of a file that is not open, which it does not sync.
func setFileJournalMode(f FS, path string, mode journalMode) error {
	file, err := f.Open(path, os.O_RDWR)
	if err != nil {
		return err
	}
	return errors.Join(setJournalMode(file, mode), file.Close())
}
