package storage

// What a Verifier looks at in one room, and which files it finds beside those of rooms.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/denrooms/den/storage/dbfile"
	"github.com/denrooms/den/storage/internal/history"
	"github.com/denrooms/den/storage/pagelog"
	"github.com/denrooms/den/storage/roomfile"
)

// Room checks the room of o.Namespace and o.Room, whose file is o.Path, and reports whether it exists. The other fields say how the
// room is opened, except FS, Log, Pool and Past, which are the Verifier's.
func (v *Verifier) Room(o Options) (there bool) {
	what := Finding{Namespace: o.Namespace, Room: o.Room, Path: o.Path}
	o.FS, o.Pool, o.Past = v.rooms, nil, v.o.PastDir
	counted := &countedLog{NodeLog: v.log}
	if v.log != nil {
		o.Log = counted
	} else {
		o.Log = nil
	}
	there = true
	v.guard(what.of("open"), func() (err error) {
		defer v.rooms.Reset()
		if there, err = v.header(o, what); there {
			v.count.Rooms++
		}
		if err != nil || !there {
			return diagnose(o.Path, err)
		}
		if o, err = o.WithDefaults(); err != nil {
			return err
		}
		d, err := openRoom(o) // Open, without what it does for a room that is refused
		if err == nil || errors.Is(err, ErrCorrupt) {
			v.guard(what.of("checksums"), func() error { return diagnose(o.Path, v.checksums(o, what.of("checksums"))) })
		}
		if err != nil {
			return diagnose(o.Path, err)
		}
		defer d.Fence() // nothing of what Close would write is wanted
		if counted.replayed > 0 {
			v.count.Replayed += counted.replayed
			v.note(what.of("log"), "the file lacks %d transactions, which the log has", counted.replayed)
		}
		v.content(d, what)
		v.guard(what.of("history"), func() error { return diagnose(o.Path, v.history(d, what.of("history"))) })
		return nil
	})
	return there
}

func (f Finding) of(check string) Finding {
	f.Check = check
	return f
}

func (v *Verifier) note(f Finding, format string, args ...any) {
	f.Err = fmt.Errorf(format, args...)
	v.report(f)
}

func (v *Verifier) problem(f Finding, format string, args ...any) {
	f.Severity, f.Err = Problem, fmt.Errorf(format, args...)
	v.report(f)
}

// header checks a file without opening the room, and reports whether there is a room to open.
func (v *Verifier) header(o Options, what Finding) (there bool, err error) {
	what = what.of("header")
	size, err := o.FS.Size(o.Path)
	if errors.Is(err, fs.ErrNotExist) {
		if there, err = Exists(o); err == nil && !there && v.owes(o) {
			return true, fmt.Errorf("%w: the room's file does not exist, and what the commit log has of the room does not go back to its first transaction: the file was removed, or a part of the log is missing", ErrCorrupt)
		}
		return there || err != nil, err
	}
	if err != nil {
		return true, err
	}
	if size == 0 { // Open says so
		return true, nil
	}
	f, err := o.FS.Open(o.Path, os.O_RDONLY)
	if err != nil {
		return true, err
	}
	defer f.Close()
	first := make([]byte, headerSize)
	n, err := f.ReadAt(first, 0)
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return true, err
	case n < headerSize:
		return true, fmt.Errorf("%w: %d bytes", ErrNotDatabase, n)
	}
	switch bytes := binary.BigEndian.Uint16(first[16:]); {
	case string(first[:len(magic)]) != magic: // Open says so
	case bytes != pageSize:
		v.problem(what, "%w: its pages have %d bytes, a room's have %d", ErrCorrupt, bytes, pageSize)
	case first[18] != byte(roomfile.WALMode) || first[19] != byte(roomfile.WALMode):
		v.note(what, "the file is not in WAL mode, as a backup that was put in the room's place; it is written again when the room is opened")
	}
	return true, nil
}

// countedLog counts what is replayed.
type countedLog struct {
	*NodeLog
	replayed int
}

// Room is Log's.
func (l *countedLog) Room(namespace, room, epoch string) (RoomLog, error) {
	r, err := l.NodeLog.Room(namespace, room, epoch)
	if err != nil {
		return nil, err
	}
	return countedRoom{r, l}, nil
}

type countedRoom struct {
	RoomLog
	log *countedLog
}

// Replay is RoomLog's.
func (r countedRoom) Replay(after uint64, do func(LogEntry) error) error {
	return r.RoomLog.Replay(after, func(e LogEntry) error {
		err := do(e)
		if err == nil {
			r.log.replayed++
		}
		return err
	})
}

// checksums reads all pages of a file as it is after it was opened, with what was in its WAL and what the log has.
func (v *Verifier) checksums(o Options, what Finding) error {
	f, err := o.FS.Open(o.Path, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	found := 0
	err = dbfile.NewDatabase(f, o.Path).Scan(func(page uint32) {
		if found++; found <= mostFaults {
			v.problem(what, "%w: page %d of the file does not have its checksum", ErrCorrupt, page)
		}
	})
	if found > mostFaults {
		v.problem(what, "%w: %d more pages of the file do not have their checksums", ErrCorrupt, found-mostFaults)
	}
	return err
}

// mostFaults is how many faults one check tells of a file.
const mostFaults = 20

// content checks what is in an open file.
func (v *Verifier) content(d *DB, what Finding) {
	v.guard(what.of("integrity"), func() error {
		d.sql.Mu.Lock()
		defer d.sql.Mu.Unlock()
		err := d.sql.Each(fmt.Sprintf("PRAGMA integrity_check(%d)", mostFaults), func(r *Rows) {
			if verdict := string(r.Bytes(0)); verdict != "ok" {
				v.problem(what.of("integrity"), "%w: %s", ErrCorrupt, verdict)
			}
		})
		if err != nil {
			return err
		}
		violations := 0
		if err := d.sql.Each("PRAGMA foreign_key_check", func(*Rows) { violations++ }); err == nil && violations > 0 {
			v.note(what.of("foreign keys"), "%d rows refer to rows that do not exist", violations)
		}
		return nil
	})
	v.guard(what.of("tables"), func() error {
		d.sql.Mu.Lock()
		defer d.sql.Mu.Unlock()
		return v.tables(d, what.of("tables"))
	})
	if v.o.Inspect != nil {
		v.guard(what.of("tables"), func() error { return v.o.Inspect(d) })
	}
}

// history walks the file back as far as the log goes. Each page that a transaction has changed must be
// what it left. A history that ends at a file of the log that is missing is no fault of the room's: the
// room was opened without that file, and the log's own Finding names it.
func (v *Verifier) history(d *DB, what Finding) error {
	if d.store.room == nil || d.store.number == 0 {
		return nil
	}
	if err := d.Checkpoint(); err != nil { // now the file has all
		return err
	}
	f, err := d.o.FS.Open(d.o.Path, os.O_RDWR)
	if err != nil {
		return err
	}
	defer func() { f.Close() }()
	r := rewinder(d, dbfile.NewDatabase(f, d.o.Path), func(path string) (pagelog.File, error) { // what is written to it is the overlay's
		next, err := d.o.FS.Open(path, os.O_RDWR)
		if err != nil {
			return nil, err
		}
		f.Close()
		f = next
		return dbfile.NewDatabase(f, path), nil
	})
	seq := uint64(d.Seq())
	err = d.store.room.Backward(func(e LogEntry) (bool, error) {
		if r.Number == d.store.number && e.Number < d.store.number { // a log that is relaxed has lost its end
			v.note(what, "the file has transactions up to %d, the log ends at %d", d.store.number, e.Number)
			return false, nil
		}
		if err := pagelog.CheckOrder(e.Number, r.Number); err != nil {
			return false, history.PagesError(err)
		}
		if e.Seq > seq || e.Number == d.store.number && e.Seq != seq {
			return false, fmt.Errorf("%w: transaction %d is of seq %d, what follows of %d", ErrLogMismatch, e.Number, e.Seq, seq)
		}
		ok, err := r.Revert(e.Number, e.Payload)
		if ok {
			v.count.Transactions++
		}
		seq = e.Seq
		return ok && r.Number > 0, history.PagesError(err)
	})
	if errors.Is(err, ErrLogIncomplete) {
		v.note(what, "the history does not go back further than transaction %d, because a file of the commit log is missing", r.Number)
		return nil
	}
	return err
}

// other tells of a file that is no room's. there are the names beside it.
func (v *Verifier) other(path, name string, there map[string]bool) {
	what := Finding{Path: path, Check: "leftover"}
	if room, suffix, is := roomfile.CutJournal(name); is && strings.HasSuffix(room, ".db") {
		if size, err := v.o.FS.Size(path); suffix != "-shm" && !there[room] && (err != nil || size > 0) {
			v.problem(what, "%w: there is a %s but not the database that it belongs to", ErrCorrupt, name)
		}
		return
	}
	if is, known := roomfile.Describe(name); known {
		if is != "" {
			v.note(what, "%s", is)
		}
		return
	}
	what.Check = "name"
	if strings.HasSuffix(name, ".db") {
		v.problem(what, "%w: no room's file has this name in this directory", ErrWrongRoom)
		return
	}
	v.note(what, "it is no file of Den's")
}

// sortedKeys is for checks that report in the same order always.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
