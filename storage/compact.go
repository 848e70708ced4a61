package storage

// Giving the disk what a room has deleted. SQLite keeps the pages that become free in the file, for
// what is written next; auto_vacuum would give them back and cost every transaction. So the file of a
// room that sleeps is written again without them, by VACUUM INTO, which keeps the rowids.
//
//	NAME.fresh    the new content, being written and checked; worth nothing
//
// The room's transactions are all in the file before the beginning: Compact opens the room and closes it again. So both files hold
// the same, and need no mark to tell them apart: NAME.fresh is synced and checked; the WAL of NAME is removed for good, because
// SQLite would play it over the new file if a power cut brought it back; NAME.fresh becomes NAME. A power cut leaves the one or the
// other. A NAME.fresh that is left over goes at the next Open.
//
// The entries of the commit log are differences of pages, and the same rows are on other pages now. The number of the file's newest
// transaction is the layout of the new file: it is in _den_meta, and each entry names the layout that it was made for. Whoever
// walks back and comes to that transaction goes on with the file that was replaced, which is in Options.Past: see pagelog.Archive.

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/denrooms/den/internal/bug"
	"github.com/denrooms/den/storage/dbfile"
	"github.com/denrooms/den/storage/internal/session"
	"github.com/denrooms/den/storage/roomfile"
	"github.com/denrooms/den/storage/sqlite"
	"github.com/denrooms/den/storage/vfs"
)

// Slack is how much of a room's file nothing is in.
type Slack struct {
	Free, Size int64 // bytes
}

// leastSlack is how much of a file must be free before it is worth compacting, in bytes.
const leastSlack = 1 << 20

// Due reports whether more than half of the file and more than 1 MiB of it are free.
func (s Slack) Due() bool { return s.Free > leastSlack && s.Free > s.Size/2 }

// CompactDue reports whether the room's file is worth compacting, with the transactions that are not in it yet. It
// reports false for a room that has no file yet, and after an error.
func (d *DB) CompactDue() bool {
	s, err := d.slack(leastSlack)
	return err == nil && s.Due()
}

// slack returns how much of the room's file is free, with the transactions that are not in it yet. A room of at most beyond
// bytes, or without a file, counts as having nothing free.
func (d *DB) slack(beyond int64) (s Slack, err error) {
	if err := d.sql.Lock(); err != nil {
		return s, err
	}
	defer d.sql.Mu.Unlock()
	if d.store.inMemory() || d.store.wal != nil && int64(d.store.wal.Pages)*pageSize <= beyond {
		return s, nil
	}
	err = d.sql.Each("SELECT freelist_count, page_count FROM pragma_freelist_count, pragma_page_count", func(r *Rows) {
		s = Slack{Free: r.Int(0) * pageSize, Size: r.Int(1) * pageSize}
	})
	return s, err
}

// Compacted is what Compact did.
type Compacted struct {
	Before, After int64 // the file's size in bytes; equal: there was nothing to do
}

// Compact writes the file of a room again without its free pages, if that is worth it; nil: in any case, unless
// nothing was written since the last time. Nobody may have the room open. The room's
// transactions, seq and epoch stay as they are, and so does its history if Options.Past is set. It needs room on the
// disk for the new file; with a history that goes back, the old one stays in Options.Past.
//
// When ctx ends, Compact gives up within milliseconds, unless the new file is just taking its place,
// and returns ctx's cause. After an error the room is as it was, but for the file that it has. Errors: those of Open;
// fs.ErrNotExist, the room has no file; ErrFull, ErrIO, ErrCorrupt.
func Compact(ctx context.Context, o Options, worth func(Slack) bool) (Compacted, error) {
	o, err := o.WithDefaults()
	if err != nil {
		return Compacted{}, err
	}
	if worth == nil {
		worth = func(Slack) bool { return true }
	}
	done, err := compact(ctx, o, worth)
	if ctx.Err() != nil && (errors.Is(err, ErrInterrupted) || errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx))) {
		return done, context.Cause(ctx)
	}
	if err != nil {
		return done, fmt.Errorf("compact %s: %w", o.Path, diagnose(o.Path, err))
	}
	return done, nil
}

func compact(ctx context.Context, o Options, worth func(Slack) bool) (done Compacted, err error) {
	if done.Before, err = o.FS.Size(o.Path); err != nil {
		return done, err
	}
	done.After = done.Before
	job, err := bringToRest(o)
	if err != nil {
		return done, err
	}
	if done.Before, err = o.FS.Size(o.Path); err != nil {
		return done, err
	}
	done.After = done.Before
	if !worth(job.slack) || job.number == job.layout { // compacted, and not written to since
		return done, nil
	}
	if err := job.write(ctx); err != nil {
		return done, errors.Join(err, roomfile.RemoveDatabase(o.FS, job.fresh()))
	}
	kept, err := job.keepPrevious()
	if err == nil {
		err = o.File().RemoveJournals()
	}
	if err == nil {
		err = o.FS.Rename(job.fresh(), o.Path)
	}
	if err != nil {
		return done, errors.Join(err, roomfile.RemoveDatabase(o.FS, job.fresh()), dropPrevious(o.FS, kept))
	}
	if err := o.File().SyncDir(); err != nil { // the next Open makes durable whichever it finds
		return done, err
	}
	done.After, err = o.FS.Size(o.Path)
	return done, err
}

// A compaction is what is known of a room whose file is written again.
type compaction struct {
	o              Options
	epoch          string
	number, layout uint64 // of the file as it is
	slack          Slack
	walked         bool // the commit log has entries that lead back from it
}

func (j *compaction) fresh() string { return j.o.Path + roomfile.FreshSuffix }

// bringToRest opens the room and closes it: then its file is whole without a WAL and without the commit log.
func bringToRest(o Options) (*compaction, error) {
	d, err := Open(o)
	if err != nil {
		return nil, err
	}
	slack, err := d.slack(0)
	j := &compaction{o: o, epoch: d.epoch, layout: d.store.layout, slack: slack}
	if err == nil && d.store.room != nil {
		first, _, failed := d.store.room.Range()
		j.walked, err = first != 0, failed
	}
	if err = errors.Join(err, d.Close()); err != nil {
		return nil, err
	}
	j.number = d.store.number // Close may have added one: that the file needs no log
	if err := takenIn(o.FS, o.Path+"-wal"); err != nil {
		return nil, err
	}
	return j, nil
}

// keepPrevious keeps the file that is about to be replaced, if the room's history leads back from it; "": it does not.
func (j *compaction) keepPrevious() (path string, err error) {
	o := j.o
	if o.Past == "" || !j.walked {
		return "", nil
	}
	if _, err := o.FS.MakeDirs(o.Past); err != nil {
		return "", err
	}
	path = o.archive(j.epoch).Path(j.number, j.layout, o.Now())
	if err := roomfile.Keep(o.FS, o.Path, path); err != nil && !errors.Is(err, fs.ErrExist) { // one of the same name is the same file
		return "", err
	}
	return path, o.FS.SyncDir(o.Past)
}

// dropPrevious removes a file that was not replaced after all.
func dropPrevious(f FS, path string) error {
	if path == "" {
		return nil
	}
	return roomfile.RemoveIfThere(f, path)
}

// takenIn tells by ErrFull that SQLite would take something from a WAL. There is none, or it was emptied, or its header was
// zeroed, unless the disk was full when the room was closed.
func takenIn(f FS, path string) error {
	file, err := f.Open(path, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	var header [4]byte
	if _, err = file.ReadAt(header[:], 0); errors.Is(err, io.EOF) {
		return nil
	}
	if err == nil && binary.BigEndian.Uint32(header[:]) != 0 {
		err = fmt.Errorf("%w: the file cannot take its WAL in", ErrFull)
	}
	return err
}

// write makes NAME.fresh, synced and checked.
func (j *compaction) write(ctx context.Context) error {
	f, fresh := j.o.FS, j.fresh()
	if err := roomfile.RemoveDatabase(f, fresh); err != nil {
		return err
	}
	if err := roomfile.Make(f, fresh); err != nil {
		return err
	}
	cookie, err := j.vacuumInto(ctx, fresh)
	if err != nil {
		return err
	}
	c, err := roomfile.Open(f, fresh)
	if err != nil {
		return err
	}
	err = c.Exec(`INSERT INTO _den_meta (name, value) VALUES ('layout', ?1) ON CONFLICT (name) DO UPDATE SET value = excluded.value`, int64(j.number))
	if err == nil { // the file that it is a copy of may have no checksums
		err = c.Exec(fmt.Sprintf("PRAGMA user_version = %d", roomfile.Version))
	}
	if err = errors.Join(err, c.Close()); err != nil {
		return err
	}
	if err := setHeader(f, fresh, cookie); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return checkFile(ctx, j.o, fresh)
}

// vacuumInto copies the rows, and returns SQLite's count of the changes of the schema. It is in the header, and
// VACUUM INTO counts as one: but what Den has noted of the tables stays true (notes.go).
func (j *compaction) vacuumInto(ctx context.Context, to string) (cookie uint32, err error) {
	d, err := connect(j.o, j.o.FS.SQLite(), j.o.Path)
	if err != nil {
		return 0, err
	}
	d.header = &fileHeader{wal: true} // its journal mode is not to be changed
	if err = d.configure(); err == nil {
		d.sql.Conn.SetLimit(sqlite.LimitAttached, 1)
		d.sql.Conn.SetLimit(sqlite.LimitLength, 1<<30)
		err = failed(d.sql.Conn.ReserveBytes(dbfile.ReservedBytes))
	}
	if err == nil {
		err = d.sql.While(ctx, func() error {
			if err := d.sql.Each("PRAGMA schema_version", func(r *Rows) { cookie = uint32(r.Int(0)) }); err != nil {
				return err
			}
			_, err := d.sql.Exec(session.Own, "VACUUM INTO ?1", []any{to})
			return err
		})
	}
	return cookie, errors.Join(err, d.refuse())
}

// setHeader gives a new file the count of its schema's changes and WAL mode, and syncs it.
func setHeader(f FS, path string, cookie uint32) error {
	return vfs.Use(f, path, os.O_RDWR, func(file vfs.File) error {
		err := roomfile.EditHeader(dbfile.NewDatabase(file, path), func(header []byte) {
			binary.BigEndian.PutUint32(header[40:], cookie)
			header[18], header[19] = byte(roomfile.WALMode), byte(roomfile.WALMode)
		})
		if err == nil && !bug.On("compact-sync") {
			err = file.Sync()
		}
		return err
	})
}
